"""Apps and situations for tests of the core: ordinary ones to vary, and random ones.

The ordinary app is managed, awake, seen at the provider half a minute ago and unused for an hour:
nothing keeps it awake, so every test names what it adds.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from paastis.app import (
    Activity,
    App,
    Condition,
    Identity,
    Operation,
    OperationKind,
    Overrides,
    Phase,
    Process,
    Retry,
    Snapshot,
)
from paastis.decide import Situation
from paastis.policy import Mode, Policy, Power, Schedule, Settings, Window
from paastis.reasons import Reason

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
"""A Wednesday, at noon."""

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

FORMATION = (Process("web", 2, "M"), Process("worker", 1, "S"), Process("clock", 0, "S"))
SNAPSHOT = Snapshot(taken_at=NOW - 3 * HOUR, processes=FORMATION)

OFFICE_HOURS = Schedule(awake=(Window("0 8 * * *", "0 18 * * *"),))
"""Awake from 8 to 18 UTC, so open at `NOW`."""
SIESTA = Schedule(sleep=(Window("0 11 * * *", "0 14 * * *"),))
"""Asleep sooner from 11 to 14 UTC, so open at `NOW`."""

_APP = App(
    name="my-app",
    identity=Identity(account="main", region="osc-fr1", app_id="5f1"),
    provider="scalingo",
    app_name="my-app",
    created_at=NOW - 30 * DAY,
    phase=Phase.AWAKE,
    phase_since=NOW - 2 * HOUR,
    phase_reason=Reason.STARTED,
    cycle=6,
    formation=FORMATION,
)


def an_app(phase: Phase = Phase.AWAKE, /, **fields: Any) -> App:
    """The ordinary app, but for those fields."""
    return replace(_APP, phase=phase, **fields)


def an_app_with(**policy: Any) -> App:
    """The ordinary app under a policy with those values."""
    return an_app(policy=Policy(**policy))


def a_situation(app: App = _APP, /, **fields: Any) -> Situation:
    """The ordinary app's situation, or that app's, but for those fields."""
    ordinary = Situation(
        app=app,
        fresh_for=3 * MINUTE,
        drain_time=5 * SECOND,
        remote_at=NOW - 30 * SECOND,
        last_use=NOW - HOUR,
    )
    return replace(ordinary, **fields)


def a_start(**fields: Any) -> Operation:
    """A start of ours that is on its way."""
    start = Operation(kind=OperationKind.START, id="op-1", sent_at=NOW - SECOND)
    return replace(start, **fields)


def contested(status: bool = True) -> Condition:
    """What an app has that somebody else keeps reversing."""
    return Condition(Reason.CONTESTED, status, Reason.CONTESTED, "Somebody reverses us.", NOW)


# --- random ones ------------------------------------------------------------------------------


def moments(earliest: timedelta = -2 * HOUR, latest: timedelta = 2 * HOUR) -> Any:
    """Times around `NOW`, in whole seconds."""
    seconds = st.integers(int(earliest.total_seconds()), int(latest.total_seconds()))
    return seconds.map(lambda offset: NOW + offset * SECOND)


_PAST = moments(latest=timedelta(0))
_SPANS = st.sampled_from([timedelta(0), MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR])

WINDOWS = (
    Window("0 8 * * *", "0 18 * * *"),
    Window("30 11 * * *", "5 12 * * *"),
    Window("2 12 * * *", "10 12 * * 1-5"),
    Window("*/20 * * * *", "*/30 * * * *"),
    Window("0 22 * * 5", "0 6 * * 1"),
)

_WINDOWS = st.lists(st.sampled_from(WINDOWS), max_size=2).map(tuple)

schedules = st.none() | st.builds(
    Schedule,
    time_zone=st.sampled_from(["UTC", "Europe/Paris"]),
    awake=_WINDOWS,
    sleep=_WINDOWS,
)

policies = st.builds(
    Policy,
    power=st.sampled_from(Power) | st.just(Power.AUTO),
    mode=st.sampled_from(Mode) | st.just(Mode.MANAGE),
    max_idle_time=_SPANS,
    schedule=schedules,
    access_resolution=st.sampled_from([2 * SECOND, 10 * SECOND, MINUTE]),
)

_NEAR_CYCLES = st.none() | st.sampled_from([5, 6])

apps = st.builds(
    an_app,
    st.sampled_from(Phase),
    created_at=moments(-30 * DAY, timedelta(0)),
    overrides=st.builds(
        Overrides,
        settings=st.builds(Settings, power=st.none() | st.sampled_from(Power)),
        awake_until=st.none() | moments(),
        sleep_for=_NEAR_CYCLES,
    ),
    wake_for=_NEAR_CYCLES,
    phase_since=_PAST | moments(-10 * SECOND, timedelta(0)),
    phase_reason=st.sampled_from(
        [Reason.IDLE, Reason.STOPPED_BY_HAND, Reason.FOUND_STOPPED, Reason.START_FAILED]
    ),
    policy=policies,
    snapshot=st.none() | st.just(SNAPSHOT),
    operation=st.sampled_from([None, None, None, a_start(), a_start(ended_at=NOW)]),
    retry=st.builds(Retry, failures=st.integers(0, 9), not_before=st.none() | moments()),
    last_activity=st.none() | st.builds(Activity, time=_PAST, reason=st.just(Reason.DEPLOYED)),
    conditions=st.sampled_from([(), (), (contested(),), (contested(status=False),)]),
)

_RECENT = moments(-5 * MINUTE, timedelta(0))

situations = st.builds(
    a_situation,
    apps,
    fresh_for=st.sampled_from([3 * SECOND, 3 * MINUTE]),
    drain_time=st.sampled_from([timedelta(0), 5 * SECOND, MINUTE]),
    remote_at=st.none() | _RECENT,
    looked_at=st.none() | moments(-10 * SECOND, timedelta(0)),
    inspect_not_before=st.none() | moments(),
    deploying=st.sampled_from([False, False, True]),
    unmanaged=st.sampled_from([None, None, None, Reason.MAINTENANCE, Reason.ACCOUNT_MISSING]),
    last_use=st.none() | _PAST | _RECENT,
    linked_use=st.none() | _PAST | _RECENT,
    linked_by=st.just("front"),
    use_since_demand=st.none() | _RECENT,
    steady_from=st.none() | moments(-MINUTE, MINUTE),
)
"""Anything that a controller might have to decide about."""
