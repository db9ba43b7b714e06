"""Waking an app: look, announce with the operation, send one start with the whole formation."""

import logging
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.looking import FAILED_LOOK_PAUSE, Looking
from controller.sending import Sending
from controller.settling import entered, told
from controller.tools import Tools, may_start, moved, remote_of
from paastis.app import (
    App,
    AppChange,
    Formation,
    Observation,
    Operation,
    OperationKind,
    Phase,
    Process,
    Snapshot,
    web_amount,
)
from paastis.decide import Decision
from paastis.errors import Busy, Conflict, ProviderError
from paastis.providers.port import Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

BUSY_PAUSE = timedelta(seconds=2)
"""How soon a start is tried again where a stop or deployment is in the way; doubles to 16 s."""


RESTORE_PAUSE = timedelta(minutes=1)
ANNOUNCE_TRIES = 5


class Starting:
    """From the wish to the call."""

    def __init__(self, tools: Tools, looking: Looking, sending: Sending) -> None:
        self._tools = tools
        self._records = tools.records
        self._knowledge = tools.knowledge
        self._now = tools.now
        self._looking = looking
        self._sending = sending

    async def start(self, app: App, account: Account, decision: Decision) -> None:
        """Start an app that is wanted awake; its place is taken already."""
        urgency = Urgency.VISITOR if app.wake_asked else Urgency.SCHEDULED
        try:
            await self._start(app, account, decision, urgency)
        except Busy as error:
            known = self._knowledge.of(app.name)
            known.busy_looks = min(known.busy_looks + 1, 4)
            known.start_not_before = self._now() + BUSY_PAUSE * 2 ** (known.busy_looks - 1)
            log.info("not started yet", extra={"app": app.name, "error": str(error)})
        except ProviderError as error:
            await self._sending.fail(app, str(error))

    async def _start(
        self, app: App, account: Account, decision: Decision, urgency: Urgency
    ) -> None:
        inspection = await self._looking.inspect(app, account, urgency=urgency)
        if inspection.state is Observation.STOPPING or inspection.deploying:
            raise Busy("The app is being stopped or deployed.")
        if inspection.state is Observation.UNKNOWN:
            raise Busy("What the provider tells of the app makes no sense now.")
        startable = inspection.state is Observation.STOPPED or (
            app.phase is Phase.FAILED and inspection.state is Observation.FAILED
        )
        if inspection.unmanaged is not None or not startable:
            await self._looking.settle(app, inspection)
            return
        self._knowledge.of(app.name).busy_looks = 0
        snapshot, guessed = await self._formation_for(app, account)
        command = self._tools.hooks_of(app).before_start
        if command is not None:
            await self._tools.hooks.run(command, "before-start", app, decision.reason)
        if not may_start(self._tools, app):
            return
        starting = await self._announce_start(app, decision, guessed)
        if starting is not None:
            await self._send_start(starting, account, snapshot, urgency)

    async def _announce_start(
        self, app: App, decision: Decision, guessed: str | None
    ) -> App | None:
        """Write `Starting` with its operation. A visitor's access written meanwhile is no reason
        to look again: only the phase and the cycle count."""
        current: App | None = app
        for _ in range(ANNOUNCE_TRIES):
            if current is None or current.phase is not app.phase or current.cycle != app.cycle:
                return None
            now = self._now()
            change = entered(current, Phase.STARTING, decision.reason, now)
            change["operation"] = Operation(OperationKind.START, self._tools.new_id(), now)
            change["conditions"] = told(current.conditions, Reason.FORMATION_GUESSED, guessed, now)
            try:
                starting = await self._records.write(current, change)
            except Conflict:
                current = self._records.get(app.name)
                continue
            moved(self._tools, app, starting)
            return starting
        return None

    async def restore(self, app: App, account: Account) -> None:
        """A stop took effect in part: start from its snapshot before anything else."""
        if app.snapshot is None:
            return
        known = self._knowledge.of(app.name)
        now = self._now()
        # Whatever comes of it, it is not tried over and over.
        known.restore_not_before = now + RESTORE_PAUSE
        change = entered(app, Phase.STARTING, Reason.STOP_FAILED, now)
        change["operation"] = Operation(OperationKind.START, self._tools.new_id(), now)
        starting = await self._records.write(app, change)
        moved(self._tools, app, starting)
        await self._send_start(starting, account, app.snapshot, Urgency.SCHEDULED)
        current = self._records.get(app.name)
        if current is not None and current.phase is Phase.FAILED:
            # The start was refused, but the app runs in part: don't keep visitors away from it.
            known.look_wanted = True

    async def _send_start(
        self, app: App, account: Account, snapshot: Snapshot, urgency: Urgency
    ) -> None:
        """Send the start that the record announces."""
        remote = remote_of(app)
        await self._sending.send(
            app, account, lambda: account.provider.start(remote, snapshot, urgency=urgency)
        )

    async def _formation_for(self, app: App, account: Account) -> tuple[Snapshot, str | None]:
        """What to restore, and a sentence where it had to be guessed."""
        now = self._now()
        if app.snapshot is not None and web_amount(app.snapshot.processes):
            return app.snapshot, None
        if web_amount(app.formation):
            return Snapshot(now, app.formation), None
        formation: Formation | None = await account.provider.last_formation(remote_of(app))
        if formation is not None and web_amount(formation):
            return Snapshot(now, formation), "Restored from the provider's event history."
        return Snapshot(now, (Process("web", 1),)), "Nothing was known: started one web process."

    async def enable_autoscalers(self, app: App, account: Account) -> None:
        """Complete what a stop took away: the autoscalers that it disabled."""
        snapshot = app.snapshot
        if snapshot is None:
            return
        try:
            await self._sending.fenced(
                account,
                lambda: account.provider.enable_autoscalers(
                    remote_of(app), snapshot.autoscalers, urgency=Urgency.SCHEDULED
                ),
            )
        except ProviderError as error:
            self._looking.pause(app, FAILED_LOOK_PAUSE)
            log.warning("autoscalers not enabled", extra={"app": app.name, "error": str(error)})
            return
        await self._records.write(app, AppChange(snapshot=replace(snapshot, autoscalers=())))
