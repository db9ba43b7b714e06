"""Ending operations: by the provider's report, or when their call can no longer take effect.

An operation with a handle ends when the provider says that it is done, failed or unknown. One
without (its answer was lost, or it was never sent) ends when the provider's visibility window has
passed and a look shows nothing in progress. Until then no inspection moves the app.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from controller.account import Account
from controller.looking import FAILED_LOOK_PAUSE, Looking
from controller.sending import DONE_AT_ONCE, WRITE_TRIES
from controller.settling import entered, told
from controller.tools import Tools, moved, remote_of
from paastis.app import (
    App,
    AppChange,
    Observation,
    Operation,
    OperationKind,
    Phase,
)
from paastis.errors import Conflict, ProviderError, RegistryError, UnknownApp
from paastis.providers.port import Followed, Inspection, OpenOperation, Progress, Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

_IN_PROGRESS = frozenset({Observation.STARTING, Observation.STOPPING, Observation.UNKNOWN})

_ENDED = frozenset({Progress.DONE, Progress.FAILED, Progress.UNKNOWN})

BOOT_WEIGHT = 0.3
"""How much the latest start counts in the usual boot time."""


class Following:
    """Follows the open operations of one account."""

    def __init__(self, tools: Tools, account: Account, looking: Looking) -> None:
        self._tools = tools
        self._account = account
        self._looking = looking

    def open_apps(self) -> list[App]:
        """The records whose operation may still take effect."""
        return [
            app
            for app in self._tools.records.newest().values()
            if app.open_operation is not None and app.identity.account == self._account.name
        ]

    async def round(self) -> None:
        """Look at all open operations once. One that cannot be looked at holds up no other."""
        apps = self.open_apps()
        followed = await self._ask(apps)
        async with asyncio.TaskGroup() as group:
            for app in apps:
                if app.open_operation is not None:
                    group.create_task(self._guarded(app, app.open_operation, followed))

    async def _guarded(
        self, app: App, operation: Operation, followed: Mapping[str, Followed]
    ) -> None:
        extra = {"app": app.name}
        try:
            await self._follow(app, operation, followed)
        except ProviderError as error:
            log.warning("cannot look", extra={**extra, "error": str(error)})
        except (Conflict, UnknownApp):
            pass  # the next round sees the record as it is now
        except RegistryError as error:
            log.warning("cannot follow", extra={**extra, "error": str(error)})
        except Exception:
            log.exception("unexpected fault", extra=extra)
            self._tools.metrics.errors.labels("following").inc()

    async def _ask(self, apps: list[App]) -> Mapping[str, Followed]:
        asked: list[OpenOperation] = []
        for app in apps:
            ref = app.operation.ref if app.operation is not None else None
            if ref is not None and ref != DONE_AT_ONCE:
                asked.append(OpenOperation(remote_of(app), ref))
        if not asked:
            return {}
        try:
            return await self._account.provider.follow(asked)
        except ProviderError as error:
            log.warning("cannot follow operations", extra={"error": str(error)})
            return {}

    async def _follow(
        self, app: App, operation: Operation, followed: Mapping[str, Followed]
    ) -> None:
        now = self._tools.now()
        limits = self._account.provider.limits
        if operation.ref is None:
            if self._tools.knowledge.of(app.name).sending == operation.id:
                return  # its call may still have to leave
            if now - self._sent_at(app, operation) >= limits.visibility:
                await self._end(app, operation, None)
                return
        elif operation.ref == DONE_AT_ONCE:
            await self._end(app, operation, Followed(Progress.DONE))
            return
        else:
            state = followed.get(operation.ref)
            if state is not None and state.progress in _ENDED:
                await self._end(app, operation, state)
                return
        if now - operation.sent_at > limits.operation_timeout:
            message = f"The {operation.kind} takes longer than it should."
            conditions = told(app.conditions, Reason.OPERATION_OVERDUE, message, now)
            await self._tools.records.write(app, AppChange(conditions=conditions))

    def _sent_at(self, app: App, operation: Operation) -> datetime:
        """When the call had left at the latest.

        The record holds the time on the clock of the one who sent it. Where that was another
        machine, what counts is when the operation was first seen here: at the start of our term,
        which began when no call of an earlier one could leave any more.
        """
        known = self._tools.knowledge.of(app.name)
        if not self._tools.registry.shared or known.own_operation == operation.id:
            return operation.sent_at
        seen = known.operation_seen
        return seen[1] if seen is not None and seen[0] == operation.id else self._tools.now()

    async def _end(self, app: App, operation: Operation, followed: Followed | None) -> None:
        """The call can no longer take effect: see what it led to, and close it.

        `followed` is None where the call had no answer.
        """
        known = self._tools.knowledge.of(app.name)
        if known.paused_until is not None and self._tools.now() < known.paused_until:
            return
        start = operation.kind is OperationKind.START
        # A proxy lets visitors into a starting app by itself, so none waits for this look at it; one
        # who came while the app was being stopped does wait.
        visitor = not start and app.wake_asked
        routine = Urgency.SCHEDULED if start else Urgency.STOP
        urgency = Urgency.VISITOR if visitor else routine
        try:
            inspection = await self._looking.inspect(app, self._account, urgency=urgency)
        except ProviderError:
            self._looking.pause(app, FAILED_LOOK_PAUSE)
            raise
        if followed is None and inspection.state in _IN_PROGRESS:
            return
        failed = followed is not None and followed.progress is Progress.FAILED
        words = followed.message if failed and followed is not None else ""
        await self._close(app, operation, inspection, words)

    async def _close(
        self, app: App, operation: Operation, inspection: Inspection, words: str
    ) -> None:
        """Write the end. What proxies write to the record meanwhile does not matter for it."""
        now = self._tools.now()
        start = operation.kind is OperationKind.START
        extra = AppChange(operation=replace(operation, ended_at=now))
        seen_whole = self._tools.knowledge.of(app.name).own_operation == operation.id
        if start and seen_whole and inspection.state is Observation.RUNNING:
            extra["usual_boot"] = _usual_boot(app, now - operation.sent_at)
        for _ in range(WRITE_TRIES):
            current = self._tools.records.get(app.name)
            if current is None or current.operation != operation:
                return
            try:
                if start and inspection.state is Observation.STOPPED and self._orphaned(current):
                    # The start of a controller that is gone may never have been sent, and nobody
                    # failed: whoever still waits asks for the new cycle.
                    change = entered(current, Phase.ASLEEP, Reason.START_FAILED, now)
                    written = await self._tools.records.write(
                        current, AppChange(**{**extra, **change})
                    )
                    moved(self._tools, current, written)
                else:
                    await self._looking.settle(current, inspection, extra, words=words)
            except Conflict:
                continue
            return

    def _orphaned(self, app: App) -> bool:
        operation = app.operation
        if operation is None or operation.ref is not None:
            return False
        return self._tools.knowledge.of(app.name).own_operation != operation.id


def _usual_boot(app: App, boot: timedelta) -> timedelta:
    if app.usual_boot is None:
        return boot
    return app.usual_boot + (boot - app.usual_boot) * BOOT_WEIGHT
