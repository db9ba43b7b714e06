"""Writes policies to records when rules, accounts or overrides change.

Decisions don't wait for it: they go by the policy in force (`Policies.in_force`). It is for the
proxies, which know nothing but the records, and for people. Awake apps come first, since visitors
are let in by what their records say.

A pass renews what all records together lead to, and writes what differs, some at a time. Rules or
accounts that are replaced meanwhile end the writing, and the next pass begins. One record alone is
written as soon as somebody wants it to be.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from controller.knowledge import Knowledge
from controller.policies import Policies
from controller.records import Records
from controller.slices import Slices
from paastis.app import App, Phase
from paastis.errors import Conflict, RegistryError, UnknownApp

log = logging.getLogger(__name__)

WRITES_AT_A_TIME = 10
"""Fast enough, and what a visitor's wake writes meets no more than these on its way."""

WRITE_TRIES = 5
"""How often a policy is written again at once where others write to the same record."""

AFTER_FAULT = timedelta(seconds=2)
"""When to write again what the registry did not take."""

REST = 4
"""A pass begins after so many times what the last one took, unless rules or accounts were replaced:
while thousands of records are made, the next one would begin as soon as the last has ended."""

_FIRST = {Phase.AWAKE: 0, Phase.STARTING: 1, Phase.STOPPING: 2}


class Renewal:
    """The one who writes policies. Works only while `run` does."""

    def __init__(
        self,
        records: Records,
        policies: Policies,
        knowledge: Knowledge,
        *,
        now: Callable[[], datetime],
        on_renewed: Callable[[], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._records = records
        self._policies = policies
        self._knowledge = knowledge
        self._now = now
        self._on_renewed = on_renewed
        self._on_fault = on_fault
        self._news = asyncio.Event()
        self._pass_wanted = False
        self._superseded = False
        self._rests_until = 0.0
        """In the loop's seconds."""
        self._alarm: asyncio.TimerHandle | None = None
        self._wanted: dict[str, None] = {}
        self._deferred: set[str] = set()
        """Draining: written when that has ended."""

    def ask(self, *, replaced: bool = False) -> None:
        """Something that policies depend on has changed.

        `replaced`: rules or accounts, so what is being written now may be out of date.
        """
        self._pass_wanted = True
        self._superseded |= replaced
        self._news.set()

    def want(self, name: str) -> None:
        """That record does not show the policy in force."""
        self._wanted[name] = None
        self._news.set()

    def seen(self, app: App) -> None:
        """A record as the feed shows it."""
        if self._policies.is_stale(app):
            self.ask()
        if app.phase is not Phase.DRAINING and app.name in self._deferred:
            self._deferred.discard(app.name)
            self.want(app.name)

    def gone(self, name: str) -> None:
        """A record was removed."""
        self._deferred.discard(name)
        if self._policies.counts(name):
            self.ask()

    async def run(self) -> None:
        """Renew whenever it is asked for; cancel to end."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._work()
            except Exception:
                log.exception("unexpected fault")
                self._on_fault("policies")
                self._pass_wanted = True
                await self._again_later()

    async def _work(self) -> None:
        if self._pass_wanted and self._is_rested():
            self._pass_wanted = self._superseded = False
            clock = asyncio.get_running_loop().time
            began = clock()
            await self._policies.renew(self._records.newest())
            self._rests_until = clock() + REST * (clock() - began)
            self._knowledge.link(self._policies.links)
            self._on_renewed()
            if self._superseded:
                return  # the next pass, which is asked for, begins with the writing
            names: Iterable[str] = await self._outdated()
        else:
            names, self._wanted = self._wanted, {}
        if not await self._write_all(names):
            await self._again_later()

    def _is_rested(self) -> bool:
        loop = asyncio.get_running_loop()
        left = self._rests_until - loop.time()
        if left <= 0 or self._superseded:
            return True
        if self._alarm is None or self._alarm.when() <= loop.time():
            self._alarm = loop.call_later(left, self._news.set)
        return False

    async def _again_later(self) -> None:
        """Leave the registry alone for a moment, then go on with what is left."""
        await asyncio.sleep(AFTER_FAULT.total_seconds())
        self._news.set()

    async def _outdated(self) -> list[str]:
        """The records that show another policy than they should, in the order of their hurry."""
        slices = Slices()
        now = self._now()
        found: list[App] = []
        for app in self._records.newest().values():
            await slices.turn()
            if app.phase is Phase.DRAINING:
                self._deferred.add(app.name)
            elif self._records.unfinished(app.name):
                continue
            elif self._policies.change_of(app, now) is not None:
                found.append(app)
        found.sort(key=lambda app: _FIRST.get(app.phase, len(_FIRST)))
        return [app.name for app in found]

    async def _write_all(self, names: Iterable[str]) -> bool:
        """False where something has to be written again later."""
        waiting = deque(names)
        failed: list[str] = []
        slices = Slices()

        async def work() -> None:
            while waiting and not self._superseded:
                await slices.turn()
                if not waiting:
                    return
                name = waiting.popleft()
                if not await self._write(name):
                    failed.append(name)
                    if len(failed) >= WRITES_AT_A_TIME:
                        return  # the registry is away

        async with asyncio.TaskGroup() as group:
            for _ in range(min(WRITES_AT_A_TIME, len(waiting))):
                group.create_task(work())
        if self._superseded:
            return True
        self._wanted.update(dict.fromkeys((*failed, *waiting)))
        return not failed

    async def _write(self, name: str) -> bool:
        """Write one record's policy; False where the registry did not take it."""
        for _ in range(WRITE_TRIES):
            if self._records.unfinished(name):
                return True  # it is being created, with its policy
            app = self._records.get(name)
            change = self._policies.change_of(app, self._now()) if app is not None else None
            if app is None or change is None:
                return True
            try:
                await self._records.write(app, change)
            except Conflict:
                await asyncio.sleep(0)  # the mirror may still have to hear of it
                continue
            except UnknownApp:
                return True
            except RegistryError as error:
                log.warning("policy not written", extra={"app": name, "error": str(error)})
                return False
            return True
        return False
