"""What a look at the provider makes of a record."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.settling import (
    backed_off,
    entered,
    lacks,
    owes_restore,
    put_to_sleep_by_us,
    settled,
    snapshot_of,
    told,
)
from paastis.app import (
    Activity,
    App,
    Formation,
    Identity,
    Observation,
    Operation,
    OperationKind,
    Phase,
    Process,
    Retry,
    Snapshot,
)
from paastis.providers.port import Inspection
from paastis.reasons import Reason

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)
WHOLE: Formation = (Process("web", 2, "M"), Process("worker", 1, "S"), Process("clock", 0, "S"))
ZERO: Formation = tuple(replace(process, amount=0) for process in WHOLE)
PART: Formation = (Process("web", 2, "M"), Process("worker", 0, "S"), Process("clock", 0, "S"))


def record(phase: Phase, **fields: Any) -> App:
    given: dict[str, Any] = {
        "name": "my-app",
        "identity": Identity("main", "osc-fr1", "id-1"),
        "provider": "scalingo",
        "app_name": "my-app",
        "created_at": BEFORE - timedelta(days=1),
        "phase": phase,
        "phase_since": BEFORE,
        "cycle": 5,
        "formation": WHOLE,
        "deployment": "d1",
        **fields,
    }
    return App(**given)


def look(state: Observation, formation: Formation = WHOLE, **fields: Any) -> Inspection:
    return Inspection(**{"state": state, "formation": formation, "sent_at": NOW, **fields})


def changed(app: App, inspection: Inspection, *, wanted: bool = False) -> App:
    return replace(app, **settled(app, inspection, NOW, wanted=wanted).change)


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, 10), (1, 20), (2, 40), (3, 80), (4, 160), (5, 300), (60, 300)]
)
def test_back_off_doubles_to_five_minutes(failures: int, pause: int) -> None:
    retry = backed_off(Retry(failures), NOW)

    assert retry == Retry(failures + 1, NOW + timedelta(seconds=pause))


@pytest.mark.parametrize(
    ("before", "after", "cycle"),
    [
        (Phase.AWAKE, Phase.DRAINING, 5),
        (Phase.DRAINING, Phase.AWAKE, 5),
        (Phase.DRAINING, Phase.STOPPING, 6),
        (Phase.STOPPING, Phase.ASLEEP, 5),
        (Phase.STOPPING, Phase.AWAKE, 6),
        (Phase.ASLEEP, Phase.STARTING, 5),
        (Phase.STARTING, Phase.AWAKE, 6),
        (Phase.STARTING, Phase.FAILED, 6),
        (Phase.AWAKE, Phase.ASLEEP, 6),
    ],
)
def test_cycle_rises_when_a_change_is_settled(before: Phase, after: Phase, cycle: int) -> None:
    app = record(before)

    assert replace(app, **entered(app, after, Reason.IDLE, NOW)).cycle == cycle


def test_condition_that_says_nothing_new_is_the_very_same() -> None:
    once = told((), Reason.START_FAILED, "no", NOW)

    assert told(once, Reason.START_FAILED, "no", NOW + timedelta(hours=1)) is once
    assert told((), Reason.START_FAILED, None, NOW) == ()


def test_condition_keeps_its_time_while_only_its_words_change() -> None:
    once = told((), Reason.START_FAILED, "no", NOW)
    again = told(once, Reason.START_FAILED, "no, again", NOW + timedelta(hours=1))
    cleared = told(again, Reason.START_FAILED, None, NOW + timedelta(hours=2))

    assert again[0].since == NOW
    assert not cleared[0].status
    assert cleared[0].since == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("formation", "missing"),
    [
        (WHOLE, False),
        (PART, True),
        (ZERO, True),
        ((Process("web", 1, "M"), *WHOLE[1:]), True),
        ((Process("web", 4, "M"), *WHOLE[1:]), False),
        ((Process("web", 2, "M"),), False),  # a type that left the Procfile is not missing
    ],
)
def test_formation_lacks_what_has_fewer_processes(formation: Formation, missing: bool) -> None:
    assert lacks(formation, WHOLE) is missing


FAILED_STOP = told((), Reason.STOP_FAILED, "in part", BEFORE)
TAKEN = Snapshot(BEFORE, WHOLE)


@pytest.mark.parametrize(
    ("app", "owed"),
    [
        (record(Phase.AWAKE, formation=PART, snapshot=TAKEN, conditions=FAILED_STOP), True),
        (record(Phase.AWAKE, formation=WHOLE, snapshot=TAKEN, conditions=FAILED_STOP), False),
        (record(Phase.AWAKE, formation=PART, snapshot=TAKEN), False),
        (record(Phase.AWAKE, formation=PART, conditions=FAILED_STOP), False),
        (record(Phase.STARTING, formation=PART, snapshot=TAKEN, conditions=FAILED_STOP), False),
        (
            record(
                Phase.AWAKE,
                formation=PART,
                snapshot=TAKEN,
                conditions=FAILED_STOP,
                last_activity=Activity(NOW, Reason.SCALED_BY_HAND),
            ),
            False,
        ),
        (
            record(
                Phase.AWAKE,
                formation=PART,
                snapshot=TAKEN,
                conditions=FAILED_STOP,
                last_activity=Activity(BEFORE - timedelta(hours=1), Reason.SCALED_BY_HAND),
            ),
            True,
        ),
    ],
)
def test_restore_is_owed_after_a_stop_in_part_that_nobody_touched(app: App, owed: bool) -> None:
    assert owes_restore(app) is owed


@pytest.mark.parametrize(
    ("stopped", "started", "ours"),
    [
        (None, None, False),
        (None, NOW, False),
        (NOW, None, True),
        (NOW, BEFORE, True),
        (BEFORE, NOW, False),
    ],
)
def test_we_put_it_to_sleep_if_the_last_stop_was_ours(
    stopped: datetime | None, started: datetime | None, ours: bool
) -> None:
    app = record(Phase.UNMANAGED, last_stop_time=stopped, last_start_time=started)

    assert put_to_sleep_by_us(app) is ours


def test_formation_seen_asleep_changes_neither_snapshot_nor_formation() -> None:
    app = record(Phase.ASLEEP, snapshot=TAKEN)
    after = changed(app, look(Observation.STOPPED, ZERO))

    assert after.snapshot == TAKEN
    assert after.formation == WHOLE


def test_crashing_app_is_awake_and_that_is_its_own_affair() -> None:
    app = record(Phase.AWAKE)

    assert changed(app, look(Observation.FAILED)) == app


def test_formation_changed_by_hand_is_activity() -> None:
    app = record(Phase.AWAKE)
    more = (Process("web", 3, "M"), *WHOLE[1:])
    after = changed(app, look(Observation.RUNNING, more))

    assert after.formation == more
    assert after.last_activity == Activity(NOW, Reason.SCALED_BY_HAND)


def test_amount_that_an_autoscaler_moves_is_nobodys_hand() -> None:
    app = record(Phase.AWAKE)
    more = (Process("web", 3, "M"), *WHOLE[1:])
    after = changed(app, look(Observation.RUNNING, more, autoscaled_types=("web",)))

    assert after.formation == more
    assert after.last_activity is None


def test_first_formation_seen_is_nobodys_hand() -> None:
    app = record(Phase.AWAKE, formation=())

    assert changed(app, look(Observation.RUNNING)).last_activity is None


def test_deployment_is_activity_but_the_first_one_seen_is_not() -> None:
    deployed = look(Observation.RUNNING, deployment="d2")

    seen = changed(record(Phase.AWAKE), deployed)
    first = changed(record(Phase.AWAKE, deployment=None), deployed)

    assert seen.last_activity == Activity(NOW, Reason.DEPLOYED)
    assert first.deployment == "d2"
    assert first.last_activity is None


@pytest.mark.parametrize(
    ("kind", "phase", "state", "reversal"),
    [
        (OperationKind.STOP, Phase.ASLEEP, Observation.RUNNING, True),
        (OperationKind.START, Phase.AWAKE, Observation.STOPPED, True),
        (OperationKind.START, Phase.ASLEEP, Observation.RUNNING, False),
        (OperationKind.STOP, Phase.AWAKE, Observation.STOPPED, False),
        (None, Phase.AWAKE, Observation.STOPPED, False),
    ],
)
def test_reversal_is_what_undoes_our_last_operation(
    kind: OperationKind | None, phase: Phase, state: Observation, reversal: bool
) -> None:
    operation = None if kind is None else Operation(kind, "1", BEFORE, "r", BEFORE)
    app = record(phase, operation=operation)

    assert settled(app, look(state), NOW, wanted=False).reversal is reversal


def test_stop_that_failed_backs_off_with_the_providers_words() -> None:
    app = record(Phase.STOPPING, snapshot=TAKEN)
    outcome = settled(app, look(Observation.RUNNING), NOW, wanted=False, words="quota")
    after = replace(app, **outcome.change)
    condition = after.condition(Reason.STOP_FAILED)

    assert after.phase is Phase.AWAKE
    assert after.retry.failures == 1
    assert condition is not None
    assert condition.message == "quota"


def test_start_that_worked_clears_failures_and_counts_as_use() -> None:
    conditions = told((), Reason.START_FAILED, "no", BEFORE)
    app = record(Phase.STARTING, retry=Retry(3, BEFORE), conditions=conditions)
    after = changed(app, look(Observation.RUNNING))

    assert after.retry == Retry()
    assert after.last_activity == Activity(NOW, Reason.STARTED)
    assert not after.conditions[0].status


def test_time_slept_is_added_up_only_where_we_stopped_it() -> None:
    ours = record(Phase.ASLEEP, last_stop_time=BEFORE, asleep_seconds=10.0)
    theirs = record(Phase.ASLEEP, last_stop_time=BEFORE, last_start_time=NOW - timedelta(minutes=9))

    assert changed(ours, look(Observation.RUNNING)).asleep_seconds == 3610.0
    assert changed(theirs, look(Observation.RUNNING)).asleep_seconds == 0.0


@pytest.mark.parametrize("phase", [Phase.UNMANAGED, Phase.GONE])
def test_app_that_slept_because_of_us_is_taken_up_as_such(phase: Phase) -> None:
    app = record(phase, last_stop_time=BEFORE, snapshot=TAKEN)
    after = changed(app, look(Observation.STOPPED, ZERO))

    assert (after.phase, after.phase_reason) == (Phase.ASLEEP, Reason.ASLEEP)
    assert after.snapshot == TAKEN


def test_app_that_cannot_be_managed_is_told_once_and_its_deployment_noted() -> None:
    app = record(Phase.UNMANAGED, phase_reason=Reason.NO_WEB_PROCESS)
    seen = look(Observation.STOPPED, deployment="d2", unmanaged=Reason.NO_WEB_PROCESS)
    after = changed(app, seen)

    assert after == replace(app, deployment="d2")
    assert changed(after, seen) == after


def test_answered_report_of_a_stopped_origin_raises_the_cycle() -> None:
    app = record(Phase.AWAKE, wake_for=5)

    assert changed(app, look(Observation.RUNNING), wanted=True).cycle == 6


def test_snapshot_keeps_autoscalers_that_an_earlier_start_still_owes() -> None:
    app = record(Phase.DRAINING, snapshot=Snapshot(BEFORE, WHOLE, ("owed", "both")))
    taken = snapshot_of(app, look(Observation.RUNNING, autoscalers=("new", "both")), NOW)

    assert taken == Snapshot(NOW, WHOLE, ("new", "both", "owed"))


def test_app_stopped_by_hand_comes_back_as_it_was_last_seen() -> None:
    three = (Process("web", 3, "M"),)
    app = record(Phase.AWAKE, formation=three, snapshot=TAKEN)
    after = changed(app, look(Observation.STOPPED, ZERO))

    assert after.snapshot is not None
    assert after.snapshot.processes == three


def test_snapshot_stays_in_force_where_a_stop_in_part_is_still_owed() -> None:
    app = record(Phase.AWAKE, formation=PART, snapshot=TAKEN, conditions=FAILED_STOP)
    after = changed(app, look(Observation.STOPPED, ZERO))

    assert after.snapshot == TAKEN
