"""Ending operations: by the provider's report, or when their call can no longer take effect.

An operation with a handle ends when the provider says that it is done, failed or unknown. One
without (its answer was lost, or it was never sent) ends when the provider's visibility window has
passed and a look shows nothing in progress. Until then no inspection moves the app.
"""

import logging
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.looking import FAILED_LOOK_PAUSE, Looking
from controller.sending import DONE_AT_ONCE, WRITE_TRIES
from controller.settling import backed_off, entered, lacks, told
from controller.starting import Starting
from controller.tools import Tools, remote_of
from paastis.app import (
    App,
    AppChange,
    Observation,
    Operation,
    OperationKind,
    Phase,
    web_amount,
)
from paastis.errors import Conflict, ProviderError
from paastis.providers.port import Followed, Inspection, OpenOperation, Progress, Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

_IN_PROGRESS = frozenset({Observation.STARTING, Observation.STOPPING, Observation.UNKNOWN})

_ENDED = frozenset({Progress.DONE, Progress.FAILED, Progress.UNKNOWN})

BOOT_WEIGHT = 0.3
"""How much the latest start counts in the usual boot time."""


class Following:
    """Follows the open operations of one account."""

    def __init__(
        self, tools: Tools, account: Account, looking: Looking, starting: Starting
    ) -> None:
        self._tools = tools
        self._account = account
        self._looking = looking
        self._starting = starting

    def open_apps(self) -> list[App]:
        """The records whose operation may still take effect."""
        names = (
            name
            for name, app in self._tools.records.all().items()
            if app.identity.account == self._account.name
        )
        found = (self._tools.records.get(name) for name in names)
        return [app for app in found if app is not None and app.open_operation is not None]

    async def round(self) -> tuple[str, ...]:
        """Look at all open operations once; returns the apps that wait for a freed place."""
        apps = self.open_apps()
        freed: list[str] = []
        followed = await self._ask(apps)
        for app in apps:
            operation = app.open_operation
            if operation is None:
                continue
            try:
                if await self._follow(app, operation, followed):
                    freed.extend(self._account.slots.release(app.name))
            except ProviderError as error:
                log.warning("cannot look", extra={"app": app.name, "error": str(error)})
            except Conflict:
                continue  # the next round sees the new record
        return tuple(dict.fromkeys(freed))

    async def _ask(self, apps: list[App]) -> dict[str, Followed]:
        asked: list[OpenOperation] = []
        for app in apps:
            ref = app.operation.ref if app.operation is not None else None
            if ref is not None and ref != DONE_AT_ONCE:
                asked.append(OpenOperation(remote_of(app), ref))
        if not asked:
            return {}
        try:
            return dict(await self._account.provider.follow(asked))
        except ProviderError as error:
            log.warning("cannot follow operations", extra={"error": str(error)})
            return {}

    async def _follow(self, app: App, operation: Operation, followed: dict[str, Followed]) -> bool:
        """True where the operation ended."""
        now = self._tools.now()
        limits = self._account.provider.limits
        if operation.ref is None:
            if now - operation.sent_at < limits.visibility:
                return False
            return await self._end(app, operation, None)
        if operation.ref == DONE_AT_ONCE:
            return await self._end(app, operation, Followed(Progress.DONE))
        state = followed.get(operation.ref)
        if state is not None and state.progress in _ENDED:
            return await self._end(app, operation, state)
        if now - operation.sent_at > limits.operation_timeout:
            message = f"The {operation.kind} takes longer than it should."
            conditions = told(app.conditions, Reason.OPERATION_OVERDUE, message, now)
            await self._tools.records.write(app, AppChange(conditions=conditions))
        return False

    async def _end(self, app: App, operation: Operation, followed: Followed | None) -> bool:
        """The call can no longer take effect: see what it led to. True where it is closed.

        `followed` is None where the call had no answer.
        """
        known = self._tools.knowledge.of(app.name)
        if known.paused_until is not None and self._tools.now() < known.paused_until:
            return False
        start = operation.kind is OperationKind.START
        urgency = Urgency.VISITOR if start else Urgency.STOP
        try:
            inspection = await self._looking.inspect(app, self._account, urgency=urgency)
        except ProviderError:
            self._looking.pause(app, FAILED_LOOK_PAUSE)
            raise
        if followed is None and inspection.state in _IN_PROGRESS:
            return False
        closed = await self._close(app, operation, inspection)
        if closed is None:
            return False
        if followed is not None and followed.progress is Progress.FAILED:
            await self._tell_failure(closed, operation, followed.message)
        if not start and self._partly_stopped(closed, inspection):
            self._account.slots.release(app.name)
            await self._starting.restore(closed, self._account)
            return False
        return True

    async def _close(self, app: App, operation: Operation, inspection: Inspection) -> App | None:
        """Write the end. What proxies write to the record meanwhile does not matter for it."""
        now = self._tools.now()
        start = operation.kind is OperationKind.START
        extra = AppChange(operation=replace(operation, ended_at=now))
        if start and inspection.state is Observation.RUNNING:
            extra["usual_boot"] = _usual_boot(app, now - operation.sent_at)
        for _ in range(WRITE_TRIES):
            current = self._tools.records.get(app.name)
            if current is None or current.operation != operation:
                return None
            try:
                if start and inspection.state is Observation.STOPPED and self._orphaned(current):
                    # The start of a controller that is gone may never have been sent, and nobody
                    # failed: whoever still waits asks for the new cycle.
                    change = entered(current, Phase.ASLEEP, Reason.START_FAILED, now)
                    return await self._tools.records.write(
                        current, AppChange(**{**extra, **change})
                    )
                return await self._looking.settle(current, inspection, extra)
            except Conflict:
                continue
        return None

    def _orphaned(self, app: App) -> bool:
        operation = app.operation
        if operation is None or operation.ref is not None:
            return False
        return self._tools.knowledge.of(app.name).own_operation != operation.id

    async def _tell_failure(self, app: App, operation: Operation, words: str) -> None:
        """Keep the provider's own words; they are for operators, never for visitors."""
        start = operation.kind is OperationKind.START
        if app.phase is not (Phase.FAILED if start else Phase.AWAKE):
            return
        kind = Reason.START_FAILED if start else Reason.STOP_FAILED
        now = self._tools.now()
        message = words or "The provider says that the operation failed."
        change = AppChange(conditions=told(app.conditions, kind, message, now))
        if app.retry.not_before is None:
            change["retry"] = backed_off(app.retry, now)
        await self._tools.records.write(app, change)

    @staticmethod
    def _partly_stopped(app: App, inspection: Inspection) -> bool:
        """The web still runs, but something of the formation is missing since the stop."""
        return (
            app.phase is Phase.AWAKE
            and app.phase_reason is Reason.STOP_FAILED
            and app.snapshot is not None
            and web_amount(inspection.formation) > 0
            and lacks(inspection.formation, app.snapshot.processes)
        )


def _usual_boot(app: App, boot: timedelta) -> timedelta:
    if app.usual_boot is None:
        return boot
    return app.usual_boot + (boot - app.usual_boot) * BOOT_WEIGHT
