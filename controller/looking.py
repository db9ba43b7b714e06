"""Looking closely at an app, and writing what follows from it."""

import logging
from dataclasses import replace
from datetime import timedelta

from controller.account import Account
from controller.settling import settled, told
from controller.tools import Tools, moved, remote_of
from paastis.app import App, AppChange, Observation, Phase
from paastis.decide import wanted_awake
from paastis.errors import Conflict, ProviderError
from paastis.providers.port import Inspection, Urgency
from paastis.reasons import Reason

log = logging.getLogger(__name__)

SETTLE_TRIES = 5

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
        if inspection.state is Observation.UNKNOWN:
            # Nothing was learnt, and asking again at once would tell nothing either.
            self.pause(app, FAILED_LOOK_PAUSE)
        else:
            known.remote_at = inspection.sent_at
            known.look_wanted = False
        return inspection

    async def look(self, app: App, account: Account) -> None:
        """Look at an app whose operation, if any, has ended, and write what follows."""
        reported = app.phase is Phase.AWAKE and app.wake_asked
        urgency = _urgency(app)
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
        await self._settle_newest(app, inspection)

    async def _settle_newest(self, app: App, inspection: Inspection) -> None:
        """Settle, whatever proxies write meanwhile: their notes of use don't change what was seen."""
        current: App | None = app
        for _ in range(SETTLE_TRIES):
            if current is None or _place(current) != _place(app):
                break
            try:
                await self.settle(current, inspection)
            except Conflict:
                current = self._records.get(app.name)
            else:
                return
        raise Conflict(f"the record of {app.name} changed during a look")

    def _overdue(self, app: App, account: Account) -> bool:
        """A start that nobody of us is doing has taken too long."""
        if app.phase is not Phase.STARTING or app.phase_since is None:
            return False
        return self._now() - app.phase_since > account.provider.limits.operation_timeout

    async def settle(
        self,
        app: App,
        inspection: Inspection,
        extra: AppChange | None = None,
        *,
        words: str = "",
    ) -> App:
        """Write what an inspection makes of the record, together with `extra`.

        `words` are the provider's own about an operation that failed.
        """
        now = self._now()
        situation = self._knowledge.situation(self._tools.in_force(app), self._records.all())
        wanted = wanted_awake(situation, now)
        outcome = settled(app, inspection, now, wanted=wanted is not None, words=words)
        change = AppChange(**{**(extra or {}), **outcome.change})
        conditions = change.get("conditions", app.conditions)
        if outcome.by_hand is not None:
            known = self._knowledge.of(app.name)
            if not outcome.reversal:
                known.reversals = ()
                conditions = told(conditions, Reason.CONTESTED, None, now)
            elif known.reversed_by_somebody(now):
                message = "Somebody keeps reversing what paastis does with this app."
                conditions = told(conditions, Reason.CONTESTED, message, now)
            log.info("changed by hand", extra={"app": app.name, "reason": outcome.by_hand})
        change["conditions"] = conditions
        written = await self._records.write(app, change)
        moved(self._tools, app, written, words)
        return written

    def pause(self, app: App, span: timedelta) -> None:
        """Neither look at the app nor stop it for that long."""
        self._knowledge.of(app.name).paused_until = self._now() + span


def _place(app: App) -> tuple[object, ...]:
    """What a look is about: it settles the record only while this stays."""
    return app.phase, app.cycle, app.operation


def _urgency(app: App) -> Urgency:
    """How soon a look is wanted. A proxy lets visitors into a starting app by itself."""
    if app.phase is Phase.STARTING:
        return Urgency.SCHEDULED
    return Urgency.VISITOR if app.wake_asked else Urgency.STOP
