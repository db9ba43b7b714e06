"""What a look at the provider makes of a record: the change to write, computed without I/O.

Only for records without an open operation, or together with the end of that operation.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from paastis.app import (
    Activity,
    App,
    AppChange,
    Condition,
    Formation,
    Observation,
    OperationKind,
    Phase,
    Retry,
    Snapshot,
    web_amount,
)
from paastis.phases import Transition, raises_cycle, settle
from paastis.providers.port import Inspection
from paastis.reasons import Reason

FIRST_BACK_OFF = timedelta(seconds=10)
LONGEST_BACK_OFF = timedelta(minutes=5)

_RUNNING = frozenset({Observation.RUNNING, Observation.FAILED})


@dataclass(frozen=True, slots=True)
class Settled:
    """The change to write, and what it says about other people's hands."""

    change: AppChange
    by_hand: Reason | None = None
    """A person's change that was noticed."""
    reversal: bool = False
    """It undid what we had done."""


def backed_off(retry: Retry, now: datetime) -> Retry:
    """One more failure: 10 s, doubling to 5 min."""
    failures = retry.failures + 1
    pause = min(FIRST_BACK_OFF * 2 ** min(failures - 1, 10), LONGEST_BACK_OFF)
    return Retry(failures=failures, not_before=now + pause)


def entered(app: App, phase: Phase, reason: Reason, now: datetime) -> AppChange:
    """The fields of every change of phase."""
    change = AppChange(phase=phase, phase_since=now, phase_reason=reason)
    if raises_cycle(app.phase, phase):
        change["cycle"] = app.cycle + 1
    return change


def told(
    conditions: tuple[Condition, ...],
    kind: Reason,
    message: str | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions with that problem told, or with it cleared where `message` is None.

    Unchanged (the very same tuple) where nothing new is said.
    """
    before = next((found for found in conditions if found.type == kind), None)
    if before is None and message is None:
        return conditions
    if before is not None and before.status == (message is not None):
        if message is None or message == before.message:
            return conditions
        since = before.since
    else:
        since = now
    text = message if message is not None else ""
    updated = Condition(kind, message is not None, kind, text, since)
    others = tuple(found for found in conditions if found.type != kind)
    return (*others, updated)


def lacks(formation: Formation, wanted: Formation) -> bool:
    """Whether a process type has fewer processes than it should; types that are gone don't count."""
    amounts = {process.type: process.amount for process in formation}
    return any(process.amount > amounts.get(process.type, process.amount) for process in wanted)


def owes_restore(app: App) -> bool:
    """A stop of ours took effect in part, and nobody has touched the app since."""
    failed = app.condition(Reason.STOP_FAILED)
    if app.phase is not Phase.AWAKE or app.snapshot is None or failed is None or not failed.status:
        return False
    activity = app.last_activity
    by_hand = {Reason.SCALED_BY_HAND, Reason.STARTED_BY_HAND, Reason.DEPLOYED}
    if activity is not None and activity.reason in by_hand and activity.time > failed.since:
        return False
    return web_amount(app.formation) > 0 and lacks(app.formation, app.snapshot.processes)


def put_to_sleep_by_us(app: App) -> bool:
    """Whether we stopped the app and it has not been started since: its snapshot is needed."""
    return app.put_to_sleep_by_us


def settled(
    app: App, inspection: Inspection, now: datetime, *, wanted: bool, words: str = ""
) -> Settled:
    """What an inspection makes of a record whose operation, if any, has ended.

    `words` are the provider's own about an operation that failed.
    """
    change = AppChange()
    by_hand: Reason | None = None
    if inspection.deployment is not None and inspection.deployment != app.deployment:
        change["deployment"] = inspection.deployment
        if app.deployment is not None:
            by_hand = Reason.DEPLOYED
    if inspection.unmanaged is not None and inspection.state is not Observation.MISSING:
        if app.phase is not Phase.UNMANAGED or app.phase_reason is not inspection.unmanaged:
            change.update(entered(app, Phase.UNMANAGED, inspection.unmanaged, now))
        return Settled(change)
    transition = settle(app.phase, inspection.state, wanted=wanted)
    if transition.phase is not app.phase:
        change.update(_moved(app, transition, now, words))
    elif app.phase is Phase.AWAKE and app.wake_asked:
        # The report of a stopped origin is answered: the demand is spent.
        change["cycle"] = app.cycle + 1
    awake_before = app.phase in {Phase.AWAKE, Phase.DRAINING}
    awake_after = transition.phase in {Phase.AWAKE, Phase.DRAINING}
    if awake_after and inspection.state in _RUNNING and web_amount(inspection.formation):
        if awake_before and _scaled_by_hand(app, inspection):
            by_hand = by_hand or Reason.SCALED_BY_HAND
        if inspection.formation != app.formation:
            change["formation"] = inspection.formation
    if transition.reason in {Reason.STARTED_BY_HAND, Reason.STOPPED_BY_HAND}:
        by_hand = transition.reason
    if by_hand is not None and (awake_after or transition.phase is Phase.STARTING):
        change["last_activity"] = Activity(now, by_hand)
    return Settled(change, by_hand, reversal=_reverses_us(app, transition))


def _moved(app: App, transition: Transition, now: datetime, words: str) -> AppChange:
    reason = transition.reason or Reason.DISCOVERED
    phase = transition.phase
    change = entered(app, phase, reason, now)
    if phase is Phase.AWAKE:
        change.update(_awoken(app, reason, now, words))
    elif phase is Phase.ASLEEP:
        change.update(_fallen_asleep(app, now))
    elif phase is Phase.FAILED:
        change["retry"] = backed_off(app.retry, now)
        change["conditions"] = told(
            app.conditions, Reason.START_FAILED, words or "The app did not come up.", now
        )
    return change


def _awoken(app: App, reason: Reason, now: datetime, words: str) -> AppChange:
    if app.phase is Phase.STARTING and app.phase_reason is Reason.STARTED_BY_HAND:
        reason = Reason.STARTED_BY_HAND
    change = AppChange(phase_reason=reason)
    if reason is Reason.STOP_FAILED:
        change["retry"] = backed_off(app.retry, now)
        change["conditions"] = told(
            app.conditions, Reason.STOP_FAILED, words or "The app went on running.", now
        )
        return change
    if app.phase is Phase.DRAINING:
        return change
    change["retry"] = Retry()
    conditions = told(app.conditions, Reason.START_FAILED, None, now)
    change["conditions"] = told(conditions, Reason.OPERATION_OVERDUE, None, now)
    change["last_activity"] = Activity(now, reason)
    stopped = app.last_stop_time
    if app.phase in {Phase.ASLEEP, Phase.STARTING, Phase.FAILED}:
        change["last_start_time"] = now
        if stopped is not None and put_to_sleep_by_us(app):
            change["asleep_seconds"] = app.asleep_seconds + (now - stopped).total_seconds()
    elif put_to_sleep_by_us(app):
        change["last_start_time"] = now  # while nobody here looked: how long it slept is not known
    return change


def _fallen_asleep(app: App, now: datetime) -> AppChange:
    if app.phase is Phase.STOPPING:
        conditions = told(app.conditions, Reason.STOP_FAILED, None, now)
        return AppChange(
            phase_reason=app.phase_reason,  # why we stopped it
            last_stop_time=now,
            retry=Retry(),
            conditions=told(conditions, Reason.OPERATION_OVERDUE, None, now),
        )
    if app.phase not in {Phase.AWAKE, Phase.DRAINING} and put_to_sleep_by_us(app):
        # Left alone, or missing, for a while: it still sleeps because of us.
        return AppChange(phase_reason=Reason.ASLEEP)
    # Stopped by somebody else: the formation last seen awake is what to come back to.
    if web_amount(app.formation) and app.snapshot is not None and not owes_restore(app):
        return AppChange(snapshot=replace(app.snapshot, processes=app.formation))
    return AppChange()


def _scaled_by_hand(app: App, inspection: Inspection) -> bool:
    if not app.formation:
        return False  # never looked at before

    def fixed(formation: Formation) -> set[tuple[str, int, str | None]]:
        return {
            (process.type, process.amount, process.size)
            for process in formation
            if process.type not in inspection.autoscaled_types
        }

    return fixed(app.formation) != fixed(inspection.formation)


def _reverses_us(app: App, transition: Transition) -> bool:
    ours = app.operation
    if transition.reason is Reason.STARTED_BY_HAND:
        return ours is not None and ours.kind is OperationKind.STOP
    if transition.reason is Reason.STOPPED_BY_HAND:
        return ours is not None and ours.kind is OperationKind.START
    return False


def snapshot_of(app: App, inspection: Inspection, now: datetime) -> Snapshot:
    """What to restore after the stop that this inspection precedes.

    Autoscalers that an earlier start still owes are kept.
    """
    owed = app.snapshot.autoscalers if app.snapshot is not None else ()
    return Snapshot(
        taken_at=now,
        processes=inspection.formation,
        autoscalers=tuple(dict.fromkeys((*inspection.autoscalers, *owed))),
    )
