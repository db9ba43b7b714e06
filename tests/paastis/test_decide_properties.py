"""What holds for every decision, whatever the situation."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from paastis.app import Phase
from paastis.decide import Action, Situation, decide, idle_from, unmanaged_reason
from paastis.policy import Mode, Power
from paastis.reasons import Reason
from tests.paastis.factories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    WINDOWS,
    a_start,
    contested,
    situations,
)

TICK = timedelta.resolution


def _times(value: object) -> Iterator[datetime]:
    """Every time that a situation mentions, however deep."""
    if isinstance(value, datetime):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _times(getattr(value, field.name))


def _firings() -> Iterator[datetime]:
    """Whole minutes at which one of the windows may open or close within the next week."""
    marked = {int(field) for w in WINDOWS for c in (w.start, w.end) for field in _minutes(c)}
    hours = range(24 * 8)
    return (NOW + hour * HOUR + minute * MINUTE for hour in hours for minute in sorted(marked))


def _minutes(cron: str) -> list[str]:
    minute = cron.split()[0]
    return [minute] if minute.isdigit() else ["0", "20", "30", "40"]


FIRINGS = tuple(_firings())


def _turning_points(situation: Situation) -> list[datetime]:
    """Where a decision may turn, and a moment before and after each."""
    policy = situation.app.policy
    spans = {
        timedelta(0),
        situation.drain_time,
        situation.fresh_for,
        5 * SECOND,
        5 * MINUTE,
        policy.max_idle_time,
        3 * policy.access_resolution,
    }
    points = {time + span for time in _times(situation) for span in spans}
    if policy.schedule is not None:
        points.update(FIRINGS)
    around = {point + nudge for point in points for nudge in (-SECOND, -TICK, 0 * TICK, TICK)}
    return sorted(around)


@given(situation=situations, later=st.integers(1, 7 * 24 * 3600))
@settings(max_examples=150, deadline=None)
def test_time_alone_changes_no_action_before_the_next_look(
    situation: Situation, later: int
) -> None:
    decision = decide(situation, NOW)
    until = decision.look_again_at or NOW + 7 * DAY
    probes = [*_turning_points(situation), NOW + later * SECOND]

    for probe in probes:
        if NOW < probe < until:
            then = decide(situation, probe)
            assert then.action is decision.action, f"{then} at {probe}, announced: {decision}"


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_next_look_lies_ahead(situation: Situation) -> None:
    look = decide(situation, NOW).look_again_at

    assert look is None or look > NOW


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_sleeping_and_waking_wait_for_no_more_than_what_was_announced(
    situation: Situation,
) -> None:
    """Looking only when told ends in the same action as looking all the time."""
    told = NOW
    for _ in range(5):
        decision = decide(situation, told)
        if decision.look_again_at is None or decision.action is not Action.NOTHING:
            break
        just_before = decide(situation, decision.look_again_at - TICK)
        assert Action.NOTHING is just_before.action
        told = decision.look_again_at


STOPS = frozenset({Action.BEGIN_DRAIN, Action.STOP})


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_nothing_sleeps_on_stale_knowledge(situation: Situation) -> None:
    seen = situation.remote_at
    if decide(situation, NOW).action in STOPS:
        assert seen is not None
        assert NOW - seen <= situation.fresh_for


@given(situation=situations, age=st.integers(1, 3600))
def test_stale_knowledge_stops_nothing(situation: Situation, age: int) -> None:
    stale = replace(situation, remote_at=NOW - situation.fresh_for - age * SECOND)

    assert decide(stale, NOW).action not in STOPS
    assert decide(replace(stale, remote_at=None), NOW).action not in STOPS


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_doubts_never_hold_back_a_wake(situation: Situation) -> None:
    app = situation.app
    sure = replace(
        situation,
        remote_at=NOW,
        deploying=False,
        steady_from=None,
        app=replace(app, conditions=()),
    )
    paused = (
        app.policy if app.policy.mode is Mode.WAKE_ALL else replace(app.policy, mode=Mode.PAUSE)
    )
    doubtful = replace(
        situation,
        remote_at=None,
        deploying=True,
        steady_from=NOW + HOUR,
        app=replace(app, conditions=(contested(),), policy=paused),
    )

    wakes = {Action.START, Action.CANCEL_DRAIN, Action.INSPECT}
    certain = decide(sure, NOW)
    if certain.action in wakes and situation.app.phase is not Phase.DRAINING:
        assert certain == decide(doubtful, NOW)
    if app.phase is Phase.DRAINING and certain.action is Action.CANCEL_DRAIN:
        assert Action.CANCEL_DRAIN is decide(doubtful, NOW).action


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_unmanaged_apps_never_get_an_action(situation: Situation) -> None:
    reason = unmanaged_reason(situation)
    if reason is not None:
        assert decide(situation, NOW).action is Action.NOTHING
        assert decide(situation, NOW).reason is reason
    for kept_off in (
        replace(situation, unmanaged=Reason.PROVIDER_SLEEPS),
        _with_power(situation, Power.UNMANAGED),
        replace(situation, app=replace(situation.app, phase=Phase.GONE)),
    ):
        assert Action.NOTHING is decide(kept_off, NOW).action


def _with_power(situation: Situation, power: Power) -> Situation:
    app = situation.app
    return replace(situation, app=replace(app, policy=replace(app.policy, power=power)))


@given(situation=situations)
def test_open_operation_forbids_every_action(situation: Situation) -> None:
    app = replace(situation.app, operation=a_start())

    assert Action.NOTHING is decide(replace(situation, app=app), NOW).action


_POSSIBLE = {
    Action.START: {Phase.ASLEEP, Phase.FAILED},
    Action.BEGIN_DRAIN: {Phase.AWAKE},
    Action.CANCEL_DRAIN: {Phase.DRAINING},
    Action.STOP: {Phase.DRAINING},
    Action.INSPECT: {Phase.AWAKE, Phase.STARTING, Phase.STOPPING, Phase.UNMANAGED},
    Action.NOTHING: set(Phase),
}


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_each_action_belongs_to_its_phases(situation: Situation) -> None:
    assert situation.app.phase in _POSSIBLE[decide(situation, NOW).action]


@given(situation=situations)
@settings(max_examples=150, deadline=None)
def test_nothing_stops_before_its_drain_is_over(situation: Situation) -> None:
    if decide(situation, NOW).action is Action.STOP:
        assert situation.app.phase_since is not None
        assert NOW - situation.app.phase_since >= situation.drain_time
        assert idle_from(situation, NOW) <= NOW


@given(
    situation=situations,
    ago=st.integers(0, 1800),
    whose=st.sampled_from(["last_use", "linked_use"]),
)
@settings(max_examples=150, deadline=None)
def test_more_use_never_brings_sleep_closer(situation: Situation, ago: int, whose: str) -> None:
    before = getattr(situation, whose)
    later = NOW - ago * SECOND
    more = later if before is None else max(before, later)
    used_more = replace(situation, **{whose: more})  # type: ignore[arg-type] # by its name

    if decide(situation, NOW).action not in STOPS:
        assert decide(used_more, NOW).action not in STOPS


@given(situation=situations, ago=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_use_within_three_resolutions_always_holds(situation: Situation, ago: int) -> None:
    used_now = replace(situation, last_use=NOW - ago * SECOND, use_since_demand=NOW - ago * SECOND)

    assert decide(used_now, NOW).action not in STOPS
