"""What is done about a decision: which step, if any, and when to ask again.

Between a decision and its step stand the places of the account, pauses after what did not work out,
what an earlier stop still owes, and accounts that are only observed.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from controller.account import Account
from controller.learning import ADOPTED_BY_LISTING
from controller.looking import Looking
from controller.settling import entered, owes_restore
from controller.showing import Showing
from controller.starting import Starting
from controller.stopping import Stopping
from controller.tools import Step, Tools
from paastis.app import App, AppChange, OperationKind, Phase
from paastis.decide import Action, Decision
from paastis.policy import Mode
from paastis.reasons import Reason


@dataclass(frozen=True, slots=True)
class Verbs:
    """What can be done to an app."""

    looking: Looking
    stopping: Stopping
    starting: Starting


@dataclass(frozen=True, slots=True)
class Chosen:
    """A step to carry out, a time to decide again, both or neither."""

    step: Step | None = None
    again_at: datetime | None = None


NOTHING = Chosen()


class Choosing:
    """Chooses the steps."""

    def __init__(self, tools: Tools, verbs: Verbs) -> None:
        self._tools = tools
        self._verbs = verbs
        self._showing = Showing(tools)

    def choose(
        self,
        app: App,
        record: App,
        account: Account | None,
        decision: Decision,
        unmanaged: Reason | None,
    ) -> Chosen:
        """`app` is the record with the policy in force, `record` as it is written."""
        now = self._tools.now()
        if app.open_operation is not None or app.phase is Phase.GONE:
            return self._look_if_wanted(app, account, now)
        if unmanaged is not None:
            if app.phase is Phase.UNMANAGED and app.phase_reason is unmanaged:
                return NOTHING
            return Chosen(partial(self._leave_alone, record, unmanaged))
        if account is None:
            return NOTHING
        look_wanted = self._tools.knowledge.of(app.name).look_wanted
        if look_wanted and decision.action is not Action.START:  # which begins with a look
            return self._look_if_wanted(app, account, now)
        if decision.action is Action.BEGIN_DRAIN and app is not record:
            # Proxies go by what the record shows, so it must be right before that.
            policy = self._tools.policy_change(record)
            if policy is not None:
                return Chosen(partial(self._write, record, policy))
        if app.policy.mode is Mode.OBSERVE and decision.action is not Action.INSPECT:
            return Chosen(self._showing.show(app, decision))
        return self._carry(app, account, decision, now)

    def _carry(self, app: App, account: Account, decision: Decision, now: datetime) -> Chosen:
        known = self._tools.knowledge.of(app.name)
        verbs = self._verbs
        if decision.action is Action.CANCEL_DRAIN:
            return Chosen(partial(verbs.stopping.cancel_drain, app, decision.reason))
        if decision.action is Action.START:
            if (waits := _waits(known.start_not_before, now)) is not None:
                return waits
            if not account.slots.claim(app.name, OperationKind.START, visitor=app.wake_asked):
                return NOTHING  # a freed place brings it back
            return Chosen(partial(verbs.starting.start, app, account, decision))
        if app.phase is Phase.DRAINING and known.drain_version != app.version:
            # Announced by a controller that is gone, or somebody used or changed the app since.
            return Chosen(partial(verbs.stopping.cancel_drain, app, Reason.IN_USE))
        if decision.action is Action.NOTHING and app.phase is not Phase.AWAKE:
            return Chosen(self._showing.clear(app))
        if (waits := _waits(known.paused_until, now)) is not None:
            return waits
        if decision.action is Action.INSPECT:
            if account.adopting and app.phase_reason in ADOPTED_BY_LISTING and not app.wake_asked:
                return NOTHING  # the listing that is under way tells of all of them at once
            return Chosen(partial(verbs.looking.look, app, account))
        return self._no_hurry(app, account, decision, now)

    def _no_hurry(self, app: App, account: Account, decision: Decision, now: datetime) -> Chosen:
        """What nobody waits for."""
        stopping = self._verbs.stopping
        owed = self._owed(app, account, now)
        if owed.step is not None:
            return owed
        step: Step | None = None
        if decision.action is Action.NOTHING:
            step = self._showing.clear(app)
        elif decision.action is Action.BEGIN_DRAIN:
            if account.slots.claim_drain(app.name):  # otherwise a freed place brings it back
                step = partial(stopping.begin_drain, app, decision)
        elif account.slots.may_stop(app.name):  # likewise
            step = partial(stopping.stop, app, account, decision)
        return Chosen(step, owed.again_at)

    def _owed(self, app: App, account: Account, now: datetime) -> Chosen:
        """What an earlier stop took away and no start has given back yet."""
        starting = self._verbs.starting
        waits: Chosen | None = None
        if owes_restore(app):
            waits = _waits(self._tools.knowledge.of(app.name).restore_not_before, now)
            if waits is None and account.slots.claim(app.name, OperationKind.START):
                return Chosen(partial(starting.restore, app, account))
        if _owes_autoscalers(app):
            return Chosen(partial(starting.enable_autoscalers, app, account))
        return waits or NOTHING

    def _look_if_wanted(self, app: App, account: Account | None, now: datetime) -> Chosen:
        """A listing contradicts the record: look, once nothing of ours is on its way."""
        known = self._tools.knowledge.of(app.name)
        if not known.look_wanted or account is None or app.open_operation is not None:
            return NOTHING
        waits = _waits(known.paused_until, now)
        return waits or Chosen(partial(self._verbs.looking.look, app, account))

    async def _leave_alone(self, record: App, reason: Reason) -> None:
        change = entered(record, Phase.UNMANAGED, reason, self._tools.now())
        if record.phase is not Phase.DRAINING:
            change = AppChange(**{**(self._tools.policy_change(record) or {}), **change})
        await self._tools.records.write(record, change)

    async def _write(self, app: App, change: AppChange) -> None:
        await self._tools.records.write(app, change)


def _owes_autoscalers(app: App) -> bool:
    """A stop of ours disabled autoscalers, and no start has enabled them again yet."""
    return app.phase is Phase.AWAKE and app.snapshot is not None and bool(app.snapshot.autoscalers)


def _waits(moment: datetime | None, now: datetime) -> Chosen | None:
    """Not yet, but at that moment; None where it has come."""
    return None if moment is None or moment <= now else Chosen(again_at=moment)
