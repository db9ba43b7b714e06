"""Looking closely at an app, and writing what follows from it."""

import logging
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.settling import settled, told
from controller.tools import Tools, moved, remote_of
from paastis.app import App, AppChange, Observation, Phase
from paastis.decide import wanted_awake
from paastis.errors import ProviderError
from paastis.providers.port import Inspection, Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

FAILED_LOOK_PAUSE = timedelta(seconds=10)
"""How long an app is left alone after a look at it did not work out."""


class Looking:
    """Inspections and what they settle."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._records = tools.records
        self._knowledge = tools.knowledge
        self._now = tools.now

    async def inspect(
        self, app: App, account: Account, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        """Ask the provider, and remember what is not for the record."""
        inspection = await account.provider.inspect(
            remote_of(app), urgency=urgency, autoscaled=autoscaled
        )
        known = self._knowledge.of(app.name)
        known.looked_at = inspection.sent_at
        known.deploying = inspection.deploying
        known.unmanaged = inspection.unmanaged
        if inspection.state is not Observation.UNKNOWN:
            known.remote_at = inspection.sent_at
            known.look_wanted = False
        return inspection

    async def look(self, app: App, account: Account) -> None:
        """Look at an app whose operation, if any, has ended, and write what follows."""
        reported = app.phase is Phase.AWAKE and app.wake_asked
        urgency = Urgency.VISITOR if app.wake_asked else Urgency.STOP
        try:
            inspection = await self.inspect(app, account, urgency=urgency)
        except ProviderError as error:
            self.pause(app, FAILED_LOOK_PAUSE)
            log.warning("cannot look at the app", extra={"app": app.name, "error": str(error)})
            return
        if self._overdue(app, account):
            inspection = replace(inspection, state=Observation.FAILED)
        known = self._knowledge.of(app.name)
        if reported and inspection.state is Observation.STOPPED:
            known.origin_found_stopped()
        elif reported:
            known.origin_found_running(self._now())
        await self.settle(app, inspection)

    def _overdue(self, app: App, account: Account) -> bool:
        """A start that nobody of us is doing has taken too long."""
        if app.phase is not Phase.STARTING or app.phase_since is None:
            return False
        return self._now() - app.phase_since > account.provider.limits.operation_timeout

    async def settle(self, app: App, inspection: Inspection, extra: AppChange | None = None) -> App:
        """Write what an inspection makes of the record, together with `extra`."""
        now = self._now()
        wanted = wanted_awake(self._knowledge.situation(app, self._records.all()), now)
        outcome = settled(app, inspection, now, wanted=wanted is not None)
        change = AppChange(**{**(extra or {}), **outcome.change})
        conditions = change.get("conditions", app.conditions)
        if outcome.by_hand is not None:
            if not outcome.reversal:
                conditions = told(conditions, Reason.CONTESTED, None, now)
            elif self._knowledge.of(app.name).reversed_by_somebody(now):
                message = "Somebody keeps reversing what paastis does with this app."
                conditions = told(conditions, Reason.CONTESTED, message, now)
            log.info("changed by hand", extra={"app": app.name, "reason": outcome.by_hand})
        change["conditions"] = conditions
        written = await self._records.write(app, change)
        moved(self._tools, app, written)
        return written

    def pause(self, app: App, span: timedelta) -> None:
        self._knowledge.of(app.name).paused_until = self._now() + span
