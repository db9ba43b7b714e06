"""Creates a record again that a person deleted although its app is there.

The record may hold what nobody else knows: how to bring a sleeping app back. So it is created again
at once from what the feed said of it last. Overrides are gone, since the person deleted them too.

Where the record was deleted while no controller looked, nothing is known of it: discovery finds the
app like a new one, without a snapshot, and its first start takes the formation from the provider's
history.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.happening import Happening, restored
from controller.tools import Tools
from paastis.app import App, AppChange, Overrides, Phase
from paastis.errors import Conflict, RegistryError
from paastis.registry.port import Change

log = logging.getLogger(__name__)

WRITES_AT_A_TIME = 50

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
"""Between tries where the registry does not take it: from the first, doubling to the last."""


class Restoring:
    """Takes note of deleted records and creates them again."""

    def __init__(
        self,
        tools: Tools,
        accounts: Mapping[str, Account],
        *,
        of_new: Callable[[App], App],
        touch: Callable[[str], None],
        announce: Callable[[Happening], None],
    ) -> None:
        self._tools = tools
        self._accounts = accounts
        self._of_new = of_new
        self._touch = touch
        self._announce = announce
        self._waiting: dict[str, App] = {}
        self._news = asyncio.Event()

    def note(self, change: Change) -> bool:
        """A record was removed, and not by us. True where it is to be created again."""
        app = change.last
        if app is None or app.phase is Phase.GONE:
            return False
        account = self._accounts.get(app.identity.account)
        if account is None or not account.config.covers(app.app_name):
            return False
        self._waiting[app.name] = self._of_new(replace(app, overrides=Overrides(), version=0))
        self._news.set()
        return True

    async def run(self) -> None:
        """Create again what was noted, until it is there; cancel to end."""
        pause = FIRST_PAUSE
        while True:
            await self._news.wait()
            self._news.clear()
            waiting, self._waiting = self._waiting, {}
            places = asyncio.Semaphore(WRITES_AT_A_TIME)
            async with asyncio.TaskGroup() as group:
                for app in waiting.values():
                    group.create_task(self._restore(app, places))
            if self._waiting and not self._news.is_set():
                await asyncio.sleep(pause.total_seconds())
                pause = min(2 * pause, LONGEST_PAUSE)
                self._news.set()
            else:
                pause = FIRST_PAUSE

    async def _restore(self, app: App, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                written = await self._created(app)
            except RegistryError as error:
                log.warning("record not restored", extra={"app": app.name, "error": str(error)})
                self._waiting.setdefault(app.name, app)
                return
            except Exception:
                log.exception("unexpected fault", extra={"app": app.name})
                self._tools.metrics.errors.labels("restoring").inc()
                return
        self._touch(app.name)
        if written is not None:
            log.info("record restored", extra={"app": app.name, "phase": app.phase})
            self._tools.knowledge.restored(written, self._tools.now())
            self._announce(restored(written))

    async def _created(self, app: App) -> App | None:
        """The record as it is then; None where another app has its name now."""
        try:
            return await self._tools.records.create(app)
        except Conflict:
            return await self._complete(app)

    async def _complete(self, app: App) -> App | None:
        """Somebody was faster: complete a record that discovery made of the same app meanwhile."""
        found = self._tools.records.get(app.name)
        if found is None:
            raise Conflict(f"the record of {app.name} is not known yet")
        if found.identity != app.identity or found.created_at <= app.created_at:
            return None
        known = AppChange(
            phase=app.phase,
            phase_since=app.phase_since,
            phase_reason=app.phase_reason,
            cycle=app.cycle,
            formation=app.formation,
            snapshot=app.snapshot,
            operation=app.operation,
            retry=app.retry,
            last_activity=app.last_activity,
            last_start_time=app.last_start_time,
            last_stop_time=app.last_stop_time,
            usual_boot=app.usual_boot,
            asleep_seconds=app.asleep_seconds,
            deployment=app.deployment,
            conditions=app.conditions,
        )
        return await self._tools.records.write(found, known)
