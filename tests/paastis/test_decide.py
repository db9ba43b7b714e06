"""What is decided in each situation, and when the answer may change.

Tables: a claim, the situation at `NOW`, and the expected action, reason and next look. Around
every limit stand three rows: one second before, at, and one second after.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from paastis.app import Activity, App, Overrides, Phase, Retry
from paastis.decide import Action, Situation, decide
from paastis.policy import Mode, Policy, Power, Schedule, Settings, Window
from paastis.reasons import Reason
from tests.paastis.factories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    OFFICE_HOURS,
    SECOND,
    SIESTA,
    SNAPSHOT,
    a_situation,
    a_start,
    an_app,
    an_app_with,
    contested,
)

TICK = timedelta.resolution


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    claim: str
    given: Situation
    action: Action
    reason: Reason
    look: datetime | None = None


def holds(row: Row) -> None:
    """The decision at `NOW` is the expected one."""
    decision = decide(row.given, NOW)

    assert (row.action, row.reason) == (decision.action, decision.reason)
    assert row.look == decision.look_again_at
    assert decision.message.endswith(".")


def table(*rows: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[row.claim for row in rows])


FADES = NOW + 150 * SECOND + TICK
"""When the ordinary situation's look at the provider has become too old to justify a stop."""
EVENING = datetime(2026, 3, 4, 18, 0, tzinfo=UTC)


def nothing(claim: str, given: Situation, reason: Reason, look: datetime | None = None) -> Row:
    return Row(claim, given, Action.NOTHING, reason, look)


def drains(claim: str, given: Situation, reason: Reason, look: datetime | None = FADES) -> Row:
    return Row(claim, given, Action.BEGIN_DRAIN, reason, look)


# --- unmanaged --------------------------------------------------------------------------------


@table(
    nothing(
        "power Unmanaged",
        a_situation(an_app_with(power=Power.UNMANAGED)),
        Reason.POWER_UNMANAGED,
    ),
    nothing(
        "the account is gone",
        a_situation(unmanaged=Reason.ACCOUNT_MISSING),
        Reason.ACCOUNT_MISSING,
    ),
    nothing(
        "never deployed",
        a_situation(an_app(Phase.ASLEEP, wake_for=6), unmanaged=Reason.NEVER_DEPLOYED),
        Reason.NEVER_DEPLOYED,
    ),
    nothing(
        "maintenance mode, though somebody wants it awake",
        a_situation(
            an_app(Phase.ASLEEP, overrides=Overrides(awake_until=NOW + HOUR)),
            unmanaged=Reason.MAINTENANCE,
        ),
        Reason.MAINTENANCE,
    ),
    nothing("no web process", a_situation(unmanaged=Reason.NO_WEB_PROCESS), Reason.NO_WEB_PROCESS),
    nothing(
        "the provider puts it to sleep itself",
        a_situation(unmanaged=Reason.PROVIDER_SLEEPS),
        Reason.PROVIDER_SLEEPS,
    ),
    nothing(
        "unmanaged beats an open operation",
        a_situation(an_app(Phase.STARTING, operation=a_start()), unmanaged=Reason.MAINTENANCE),
        Reason.MAINTENANCE,
    ),
    nothing(
        "gone, though a visitor wants it",
        a_situation(an_app(Phase.GONE, phase_reason=Reason.DELETED, wake_for=6)),
        Reason.DELETED,
    ),
    Row(
        "managed again: look what it does",
        a_situation(an_app(Phase.UNMANAGED)),
        Action.INSPECT,
        Reason.REMOTE_UNKNOWN,
    ),
)
def test_unmanaged_apps_are_left_alone(row: Row) -> None:
    holds(row)


# --- one operation at a time ------------------------------------------------------------------


@table(
    nothing(
        "a visitor waits for an app that is still stopping",
        a_situation(an_app(Phase.STOPPING, operation=a_start(), wake_for=6)),
        Reason.OPERATION_OPEN,
    ),
    nothing(
        "an idle app whose start has not ended",
        a_situation(an_app(Phase.AWAKE, operation=a_start())),
        Reason.OPERATION_OPEN,
    ),
    nothing(
        "an app that became unmanaged and manageable again while we operated",
        a_situation(an_app(Phase.UNMANAGED, operation=a_start())),
        Reason.OPERATION_OPEN,
    ),
    drains(
        "an operation that has ended is no obstacle",
        a_situation(an_app(Phase.AWAKE, operation=a_start(ended_at=NOW - SECOND))),
        Reason.IDLE,
    ),
)
def test_nothing_is_begun_while_an_operation_is_open(row: Row) -> None:
    holds(row)


def in_transit(phase: Phase, looked: timedelta | None, **app: object) -> Situation:
    looked_at = None if looked is None else NOW - looked
    return a_situation(
        an_app(phase, phase_reason=Reason.STARTED_BY_HAND, **app), looked_at=looked_at
    )


@table(
    Row(
        "never looked at",
        in_transit(Phase.STARTING, None),
        Action.INSPECT,
        Reason.STARTED_BY_HAND,
    ),
    nothing(
        "looked at 4 s ago",
        in_transit(Phase.STARTING, 4 * SECOND),
        Reason.STARTED_BY_HAND,
        NOW + SECOND,
    ),
    Row(
        "looked at 5 s ago",
        in_transit(Phase.STOPPING, 5 * SECOND),
        Action.INSPECT,
        Reason.STARTED_BY_HAND,
    ),
    Row(
        "looked at 6 s ago",
        in_transit(Phase.STOPPING, 6 * SECOND),
        Action.INSPECT,
        Reason.STARTED_BY_HAND,
    ),
    nothing(
        "a visitor who comes while it stops waits for the end",
        in_transit(Phase.STOPPING, 2 * SECOND, wake_for=6),
        Reason.STARTED_BY_HAND,
        NOW + 3 * SECOND,
    ),
)
def test_app_on_its_way_without_an_operation_is_looked_at_every_five_seconds(row: Row) -> None:
    holds(row)


# --- wanted awake -----------------------------------------------------------------------------


def asleep(reason: Reason = Reason.IDLE, **app: object) -> Situation:
    return a_situation(an_app(Phase.ASLEEP, phase_reason=reason, **app))


def awake_until(until: datetime) -> Overrides:
    return Overrides(awake_until=until)


@table(
    Row("a visitor came", asleep(wake_for=6), Action.START, Reason.WAKE_ASKED),
    nothing("a visit of an earlier cycle is spent", asleep(wake_for=5), Reason.ASLEEP),
    nothing("a visit of a later cycle is not for this sleep", asleep(wake_for=7), Reason.ASLEEP),
    nothing("nobody came", asleep(), Reason.ASLEEP),
    nothing(
        "use of a sleeping app starts nothing",
        a_situation(an_app(Phase.ASLEEP), last_use=NOW, linked_use=NOW),
        Reason.ASLEEP,
    ),
    Row(
        "power AlwaysOn",
        asleep(policy=Policy(power=Power.ALWAYS_ON)),
        Action.START,
        Reason.ALWAYS_ON,
    ),
    Row(
        "awake until in a second",
        asleep(overrides=awake_until(NOW + SECOND)),
        Action.START,
        Reason.AWAKE_UNTIL,
        NOW + SECOND,
    ),
    nothing("awake until now", asleep(overrides=awake_until(NOW)), Reason.ASLEEP),
    nothing("awake until a second ago", asleep(overrides=awake_until(NOW - SECOND)), Reason.ASLEEP),
    Row(
        "a visitor of an app that was stopped by hand",
        asleep(Reason.STOPPED_BY_HAND, wake_for=6),
        Action.START,
        Reason.WAKE_ASKED,
    ),
    Row(
        "a visitor of an app that was found stopped",
        asleep(Reason.FOUND_STOPPED, wake_for=6),
        Action.START,
        Reason.WAKE_ASKED,
    ),
    nothing("an app that was found stopped", asleep(Reason.FOUND_STOPPED), Reason.ASLEEP),
)
def test_sleeping_app_starts_only_if_somebody_wants_it(row: Row) -> None:
    holds(row)


def wake_all(reason: Reason, **app: object) -> Situation:
    return asleep(reason, policy=Policy(mode=Mode.WAKE_ALL), **app)


@table(
    Row(
        "we put it to sleep",
        wake_all(Reason.IDLE, snapshot=SNAPSHOT),
        Action.START,
        Reason.WAKE_ALL,
    ),
    nothing(
        "a person stopped it",
        wake_all(Reason.STOPPED_BY_HAND, snapshot=SNAPSHOT),
        Reason.ASLEEP,
    ),
    nothing(
        "it was found stopped, and had been ours before it vanished and came back",
        wake_all(Reason.FOUND_STOPPED, snapshot=SNAPSHOT),
        Reason.ASLEEP,
    ),
    nothing("we never stopped it", wake_all(Reason.IDLE, snapshot=None), Reason.ASLEEP),
    nothing(
        "and nothing goes to sleep",
        a_situation(an_app_with(mode=Mode.WAKE_ALL)),
        Reason.PAUSED,
    ),
    Row(
        "and a drain is given up",
        a_situation(an_app(Phase.DRAINING, policy=Policy(mode=Mode.WAKE_ALL))),
        Action.CANCEL_DRAIN,
        Reason.PAUSED,
    ),
)
def test_wake_all_wakes_what_we_put_to_sleep(row: Row) -> None:
    holds(row)


@table(
    Row(
        "opens now",
        asleep(policy=Policy(schedule=Schedule(awake=(Window("0 12 * * *", "0 13 * * *"),)))),
        Action.START,
        Reason.KEEP_AWAKE_WINDOW,
        NOW + HOUR,
    ),
    nothing(
        "opens in a minute",
        asleep(policy=Policy(schedule=Schedule(awake=(Window("1 12 * * *", "0 13 * * *"),)))),
        Reason.ASLEEP,
        NOW + MINUTE,
    ),
    nothing(
        "closes now",
        asleep(policy=Policy(schedule=Schedule(awake=(Window("0 8 * * *", "0 12 * * *"),)))),
        Reason.ASLEEP,
        NOW + 20 * HOUR,
    ),
    Row(
        "closes in a minute",
        asleep(policy=Policy(schedule=Schedule(awake=(Window("0 8 * * *", "1 12 * * *"),)))),
        Action.START,
        Reason.KEEP_AWAKE_WINDOW,
        NOW + MINUTE,
    ),
    nothing(
        "keeps an idle app awake till its end",
        a_situation(an_app_with(schedule=OFFICE_HOURS)),
        Reason.KEEP_AWAKE_WINDOW,
        EVENING,
    ),
    Row(
        "ends a drain",
        a_situation(an_app(Phase.DRAINING, policy=Policy(schedule=OFFICE_HOURS))),
        Action.CANCEL_DRAIN,
        Reason.KEEP_AWAKE_WINDOW,
        EVENING,
    ),
    nothing(
        "a sleep window is no reason to start",
        asleep(policy=Policy(schedule=SIESTA)),
        Reason.ASLEEP,
        NOW + 2 * HOUR,
    ),
)
def test_keep_awake_window(row: Row) -> None:
    holds(row)


@pytest.mark.parametrize(
    ("now", "action"),
    [
        (datetime(2026, 3, 5, 7, 59, 59, tzinfo=UTC), Action.NOTHING),
        (datetime(2026, 3, 5, 8, 0, 0, tzinfo=UTC), Action.START),
        (datetime(2026, 3, 5, 8, 0, 1, tzinfo=UTC), Action.START),
        (datetime(2026, 3, 5, 17, 59, 59, tzinfo=UTC), Action.START),
        (datetime(2026, 3, 5, 18, 0, 0, tzinfo=UTC), Action.NOTHING),
        (datetime(2026, 3, 5, 18, 0, 1, tzinfo=UTC), Action.NOTHING),
    ],
)
def test_keep_awake_window_opens_and_closes_on_the_second(now: datetime, action: Action) -> None:
    situation = asleep(policy=Policy(schedule=OFFICE_HOURS))

    assert action is decide(situation, now).action


# --- a person's hand --------------------------------------------------------------------------

BY_HAND = Reason.STOPPED_BY_HAND
TWO_WINDOWS = Schedule(
    awake=(Window("0 8 * * *", "0 18 * * *"), Window("0 9 * * *", "0 11 * * *")),
)
LUNCH_INSIDE = replace(OFFICE_HOURS, sleep=(Window("30 11 * * *", "0 14 * * *"),))
TEN = NOW - 2 * HOUR


@table(
    nothing(
        "AlwaysOn from a rule",
        asleep(BY_HAND, policy=Policy(power=Power.ALWAYS_ON)),
        Reason.ASLEEP,
    ),
    Row(
        "AlwaysOn from a person's override",
        asleep(
            BY_HAND,
            policy=Policy(power=Power.ALWAYS_ON),
            overrides=Overrides(settings=Settings(power=Power.ALWAYS_ON)),
        ),
        Action.START,
        Reason.ALWAYS_ON,
    ),
    Row(
        "awakeUntil, which a person sets",
        asleep(BY_HAND, overrides=awake_until(NOW + SECOND)),
        Action.START,
        Reason.AWAKE_UNTIL,
        NOW + SECOND,
    ),
    nothing(
        "the keep-awake window in which it was stopped",
        asleep(BY_HAND, policy=Policy(schedule=OFFICE_HOURS), phase_since=TEN),
        Reason.ASLEEP,
        EVENING,
    ),
    nothing(
        "that window, stopped at its first second",
        asleep(BY_HAND, policy=Policy(schedule=OFFICE_HOURS), phase_since=NOW - 4 * HOUR),
        Reason.ASLEEP,
        EVENING,
    ),
    Row(
        "a window that opened one second after the stop",
        asleep(BY_HAND, policy=Policy(schedule=OFFICE_HOURS), phase_since=NOW - 4 * HOUR - SECOND),
        Action.START,
        Reason.KEEP_AWAKE_WINDOW,
        EVENING,
    ),
    Row(
        "a window that opens this second",
        asleep(
            BY_HAND,
            policy=Policy(schedule=Schedule(awake=(Window("0 12 * * *", "0 13 * * *"),))),
            phase_since=TEN,
        ),
        Action.START,
        Reason.KEEP_AWAKE_WINDOW,
        NOW + HOUR,
    ),
    Row(
        "the same window, a day later",
        asleep(BY_HAND, policy=Policy(schedule=OFFICE_HOURS), phase_since=TEN - DAY),
        Action.START,
        Reason.KEEP_AWAKE_WINDOW,
        EVENING,
    ),
    nothing(
        "that window, though another one has closed since",
        asleep(BY_HAND, policy=Policy(schedule=TWO_WINDOWS), phase_since=TEN),
        Reason.ASLEEP,
        EVENING,
    ),
    nothing(
        "that window, though a sleep window has opened since",
        asleep(BY_HAND, policy=Policy(schedule=LUNCH_INSIDE), phase_since=TEN),
        Reason.ASLEEP,
        NOW + 2 * HOUR,
    ),
)
def test_stop_by_hand_beats_rules_but_not_people(row: Row) -> None:
    holds(row)


# --- failed starts ----------------------------------------------------------------------------


def failed(pause: timedelta | None, **app: object) -> Situation:
    retry = Retry(failures=1, not_before=None if pause is None else NOW + pause)
    return a_situation(an_app(Phase.FAILED, phase_reason=Reason.START_FAILED, retry=retry, **app))


@table(
    nothing(
        "a second before its end",
        failed(SECOND, wake_for=6),
        Reason.BACKING_OFF,
        NOW + SECOND,
    ),
    Row("at its end", failed(timedelta(0), wake_for=6), Action.START, Reason.WAKE_ASKED),
    Row("a second after it", failed(-SECOND, wake_for=6), Action.START, Reason.WAKE_ASKED),
    Row("none", failed(None, wake_for=6), Action.START, Reason.WAKE_ASKED),
    nothing("over, but only the failed start's visitor came", failed(-SECOND), Reason.ASLEEP),
    nothing(
        "longer than somebody's wish",
        failed(MINUTE, overrides=awake_until(NOW + SECOND)),
        Reason.BACKING_OFF,
        NOW + SECOND,
    ),
    nothing(
        "AlwaysOff ends the attempts",
        failed(-SECOND, wake_for=6, policy=Policy(power=Power.ALWAYS_OFF)),
        Reason.ASLEEP,
    ),
)
def test_back_off_after_a_failed_start(row: Row) -> None:
    holds(row)


# --- reports of a stopped origin --------------------------------------------------------------


def reported(not_before: datetime | None, app: App | None = None) -> Situation:
    return a_situation(app or an_app(wake_for=6), inspect_not_before=not_before)


@table(
    Row("the first one", reported(None), Action.INSPECT, Reason.ORIGIN_LOOKS_STOPPED),
    nothing(
        "9 s after a look",
        reported(NOW + SECOND),
        Reason.ORIGIN_LOOKS_STOPPED,
        NOW + SECOND,
    ),
    Row("10 s after a look", reported(NOW), Action.INSPECT, Reason.ORIGIN_LOOKS_STOPPED),
    Row("11 s after a look", reported(NOW - SECOND), Action.INSPECT, Reason.ORIGIN_LOOKS_STOPPED),
    drains("one of an earlier cycle", reported(None, an_app(wake_for=5)), Reason.IDLE),
    Row(
        "on an app that is kept awake anyway",
        reported(None, an_app(wake_for=6, policy=Policy(power=Power.ALWAYS_ON))),
        Action.INSPECT,
        Reason.ORIGIN_LOOKS_STOPPED,
    ),
    Row(
        "while it drains: it is in use",
        reported(None, an_app(Phase.DRAINING, wake_for=6)),
        Action.CANCEL_DRAIN,
        Reason.WAKE_ASKED,
    ),
    drains(
        "on an app that is to be off",
        reported(None, an_app(wake_for=6, policy=Policy(power=Power.ALWAYS_OFF))),
        Reason.ALWAYS_OFF,
    ),
)
def test_report_of_a_stopped_origin_makes_us_look(row: Row) -> None:
    holds(row)


# --- stops need certainty ---------------------------------------------------------------------


@table(
    nothing("never seen", a_situation(remote_at=None), Reason.REMOTE_UNKNOWN),
    drains(
        "seen a second less than three discovery intervals ago",
        a_situation(remote_at=NOW - 3 * MINUTE + SECOND),
        Reason.IDLE,
        NOW + SECOND + TICK,
    ),
    drains(
        "seen three discovery intervals ago",
        a_situation(remote_at=NOW - 3 * MINUTE),
        Reason.IDLE,
        NOW + TICK,
    ),
    nothing(
        "seen a second more than that ago",
        a_situation(remote_at=NOW - 3 * MINUTE - SECOND),
        Reason.REMOTE_UNKNOWN,
    ),
    nothing("a deployment", a_situation(deploying=True), Reason.DEPLOYING),
    nothing("the account pauses", a_situation(an_app_with(mode=Mode.PAUSE)), Reason.PAUSED),
    drains(
        "an account that is only observed gets the same decision",
        a_situation(an_app_with(mode=Mode.OBSERVE)),
        Reason.IDLE,
    ),
    nothing(
        "a second before every proxy has reported",
        a_situation(steady_from=NOW + SECOND),
        Reason.JUST_TOOK_OVER,
        NOW + SECOND,
    ),
    drains("when every proxy has reported", a_situation(steady_from=NOW), Reason.IDLE),
    drains("a second later", a_situation(steady_from=NOW - SECOND), Reason.IDLE),
    nothing("contested", a_situation(an_app(conditions=(contested(),))), Reason.CONTESTED),
    drains(
        "contested no more",
        a_situation(an_app(conditions=(contested(status=False),))),
        Reason.IDLE,
    ),
    nothing(
        "a second before a failed stop is tried again",
        a_situation(an_app(retry=Retry(1, NOW + SECOND))),
        Reason.BACKING_OFF,
        NOW + SECOND,
    ),
    drains("when it is tried again", a_situation(an_app(retry=Retry(1, NOW))), Reason.IDLE),
    drains("a second after that", a_situation(an_app(retry=Retry(1, NOW - SECOND))), Reason.IDLE),
    nothing(
        "a demand for sleep needs it too",
        a_situation(an_app(overrides=Overrides(sleep_for=6)), remote_at=None),
        Reason.REMOTE_UNKNOWN,
    ),
    nothing(
        "AlwaysOff needs it too",
        a_situation(an_app_with(power=Power.ALWAYS_OFF), deploying=True),
        Reason.DEPLOYING,
    ),
)
def test_nothing_is_stopped_without_certainty(row: Row) -> None:
    holds(row)


_DOUBTS: dict[str, tuple[dict[str, Any], Reason, datetime | None]] = {
    "unknown": ({"remote_at": None}, Reason.REMOTE_UNKNOWN, None),
    "deploying": ({"deploying": True}, Reason.DEPLOYING, None),
    "just took over": ({"steady_from": NOW + SECOND}, Reason.JUST_TOOK_OVER, NOW + SECOND),
}


@pytest.mark.parametrize("doubt", _DOUBTS)
def test_doubt_ends_a_drain(doubt: str) -> None:
    change, reason, look = _DOUBTS[doubt]
    decision = decide(a_situation(an_app(Phase.DRAINING), **change), NOW)

    assert decision.action is Action.CANCEL_DRAIN
    assert decision.reason is reason
    assert decision.look_again_at == look


@pytest.mark.parametrize("doubt", _DOUBTS)
def test_doubt_holds_back_no_visitor(doubt: str) -> None:
    change, _, _ = _DOUBTS[doubt]
    decision = decide(a_situation(an_app(Phase.ASLEEP, wake_for=6), **change), NOW)

    assert decision.action is Action.START
    assert decision.reason is Reason.WAKE_ASKED


# --- use and idleness -------------------------------------------------------------------------

QUARTER = 15 * MINUTE


def used(ago: timedelta, app: App | None = None, **fields: object) -> Situation:
    return a_situation(app or an_app(), last_use=NOW - ago, **fields)


@table(
    nothing("a second less", used(QUARTER - SECOND), Reason.IN_USE, NOW + SECOND),
    drains("exactly that", used(QUARTER), Reason.IDLE),
    drains("a second more", used(QUARTER + SECOND), Reason.IDLE),
    nothing("used this moment", used(timedelta(0)), Reason.IN_USE, NOW + QUARTER),
    nothing(
        "used in what our clock calls the future",
        used(-MINUTE),
        Reason.IN_USE,
        NOW + QUARTER + MINUTE,
    ),
    nothing(
        "discovered a second less than that ago, never used",
        a_situation(an_app(created_at=NOW - QUARTER + SECOND), last_use=None),
        Reason.IN_USE,
        NOW + SECOND,
    ),
    drains(
        "discovered that long ago, never used",
        a_situation(an_app(created_at=NOW - QUARTER), last_use=None),
        Reason.IDLE,
    ),
    nothing(
        "deployed a minute ago counts as use",
        a_situation(an_app(last_activity=Activity(NOW - MINUTE, Reason.DEPLOYED))),
        Reason.IN_USE,
        NOW + 14 * MINUTE,
    ),
    Row(
        "use ends a drain",
        used(QUARTER - SECOND, an_app(Phase.DRAINING)),
        Action.CANCEL_DRAIN,
        Reason.IN_USE,
        NOW + SECOND,
    ),
    nothing(
        "used lately, and a window changes sooner than the idle time ends",
        used(timedelta(0), an_app_with(max_idle_time=8 * HOUR, schedule=SIESTA)),
        Reason.IN_USE,
        NOW + 5 * MINUTE,
    ),
    nothing(
        "used lately, and the sleep window opens before it would be idle",
        used(
            10 * MINUTE,
            an_app_with(
                max_idle_time=HOUR, schedule=Schedule(sleep=(Window("1 12 * * *", "0 13 * * *"),))
            ),
        ),
        Reason.IN_USE,
        NOW + MINUTE,
    ),
)
def test_app_sleeps_after_its_idle_time(row: Row) -> None:
    holds(row)


@table(
    nothing(
        "an app that links to it was used a second less than its idle time ago",
        a_situation(linked_use=NOW - QUARTER + SECOND, linked_by="front"),
        Reason.LINKED_IN_USE,
        NOW + SECOND,
    ),
    drains(
        "that app was used exactly that long ago",
        a_situation(linked_use=NOW - QUARTER, linked_by="front"),
        Reason.IDLE,
    ),
    drains(
        "a second longer ago",
        a_situation(linked_use=NOW - QUARTER - SECOND, linked_by="front"),
        Reason.IDLE,
    ),
    nothing(
        "its own use is later",
        used(MINUTE, linked_use=NOW - 2 * MINUTE, linked_by="front"),
        Reason.IN_USE,
        NOW + 14 * MINUTE,
    ),
    Row(
        "linked use ends a drain",
        a_situation(an_app(Phase.DRAINING), linked_use=NOW - MINUTE, linked_by="front"),
        Action.CANCEL_DRAIN,
        Reason.LINKED_IN_USE,
        NOW + 14 * MINUTE,
    ),
)
def test_use_of_an_app_that_links_to_it_counts(row: Row) -> None:
    holds(row)


def test_message_names_the_app_that_links_to_it() -> None:
    decision = decide(a_situation(linked_use=NOW, linked_by="front"), NOW)

    assert decision.message == "front links to it and is in use."


NO_IDLE_TIME = Policy(max_idle_time=timedelta(0), access_resolution=10 * SECOND)


@table(
    nothing(
        "maxIdleTime 0, used 29 s ago",
        used(29 * SECOND, an_app(policy=NO_IDLE_TIME)),
        Reason.IN_USE,
        NOW + SECOND,
    ),
    drains(
        "maxIdleTime 0, used 30 s ago",
        used(30 * SECOND, an_app(policy=NO_IDLE_TIME)),
        Reason.IDLE,
    ),
    drains(
        "maxIdleTime 0, used 31 s ago",
        used(31 * SECOND, an_app(policy=NO_IDLE_TIME)),
        Reason.IDLE,
    ),
    nothing(
        "an idle time below three resolutions of a minute",
        used(
            3 * MINUTE - SECOND,
            an_app_with(max_idle_time=MINUTE, access_resolution=MINUTE),
        ),
        Reason.IN_USE,
        NOW + SECOND,
    ),
    drains(
        "the same after three minutes",
        used(3 * MINUTE, an_app_with(max_idle_time=MINUTE, access_resolution=MINUTE)),
        Reason.IDLE,
    ),
    nothing(
        "a sleep window does not undercut it",
        used(6 * MINUTE - SECOND, an_app_with(schedule=SIESTA, access_resolution=2 * MINUTE)),
        Reason.IN_USE,
        NOW + SECOND,
    ),
)
def test_idle_time_is_never_less_than_three_access_resolutions(row: Row) -> None:
    holds(row)


@table(
    nothing(
        "4 min 59 s unused",
        used(5 * MINUTE - SECOND, an_app_with(schedule=SIESTA)),
        Reason.IN_USE,
        NOW + SECOND,
    ),
    drains("5 min unused", used(5 * MINUTE, an_app_with(schedule=SIESTA)), Reason.IDLE),
    drains(
        "5 min 1 s unused", used(5 * MINUTE + SECOND, an_app_with(schedule=SIESTA)), Reason.IDLE
    ),
    drains(
        "a shorter idle time stays as it is",
        used(4 * MINUTE, an_app_with(schedule=SIESTA, max_idle_time=4 * MINUTE)),
        Reason.IDLE,
    ),
    nothing(
        "not open yet",
        used(
            10 * MINUTE,
            an_app_with(schedule=Schedule(sleep=(Window("1 12 * * *", "0 13 * * *"),))),
        ),
        Reason.IN_USE,
        NOW + MINUTE,
    ),
    nothing(
        "just closed",
        used(
            10 * MINUTE,
            an_app_with(schedule=Schedule(sleep=(Window("0 11 * * *", "0 12 * * *"),))),
        ),
        Reason.IN_USE,
        NOW + 5 * MINUTE,
    ),
)
def test_idle_time_inside_a_sleep_window_is_five_minutes_at_most(row: Row) -> None:
    holds(row)


# --- demands for sleep ------------------------------------------------------------------------

SLEEP_NOW = Overrides(sleep_for=6)
OFF = Policy(power=Power.ALWAYS_OFF)


@table(
    drains("at once", used(SECOND, an_app(overrides=SLEEP_NOW)), Reason.SLEEP_ASKED),
    nothing(
        "not for an earlier cycle",
        used(SECOND, an_app(overrides=Overrides(sleep_for=5))),
        Reason.IN_USE,
        NOW + 15 * MINUTE - SECOND,
    ),
    nothing(
        "used since, a second less than three resolutions ago",
        used(
            3 * MINUTE - SECOND,
            an_app(overrides=SLEEP_NOW),
            use_since_demand=NOW - 3 * MINUTE + SECOND,
        ),
        Reason.IN_USE,
        NOW + SECOND,
    ),
    drains(
        "used since, three resolutions ago",
        used(3 * MINUTE, an_app(overrides=SLEEP_NOW), use_since_demand=NOW - 3 * MINUTE),
        Reason.SLEEP_ASKED,
    ),
    drains(
        "used since, a second longer ago",
        used(
            3 * MINUTE + SECOND,
            an_app(overrides=SLEEP_NOW),
            use_since_demand=NOW - 3 * MINUTE - SECOND,
        ),
        Reason.SLEEP_ASKED,
    ),
    Row(
        "use since ends a drain",
        used(SECOND, an_app(Phase.DRAINING, overrides=SLEEP_NOW), use_since_demand=NOW - SECOND),
        Action.CANCEL_DRAIN,
        Reason.IN_USE,
        NOW + 3 * MINUTE - SECOND,
    ),
)
def test_sleep_that_a_person_asked_for(row: Row) -> None:
    holds(row)


@table(
    drains("an app in use begins to drain", used(SECOND, an_app(policy=OFF)), Reason.ALWAYS_OFF),
    nothing(
        "but an open request finishes",
        used(SECOND, an_app(policy=OFF), use_since_demand=NOW - SECOND),
        Reason.IN_USE,
        NOW + 3 * MINUTE - SECOND,
    ),
    drains(
        "and three resolutions after it the app may go",
        used(3 * MINUTE, an_app(policy=OFF), use_since_demand=NOW - 3 * MINUTE),
        Reason.ALWAYS_OFF,
    ),
    drains(
        "awakeUntil does not hold it",
        used(SECOND, an_app(policy=OFF, overrides=awake_until(NOW + HOUR))),
        Reason.ALWAYS_OFF,
    ),
    drains(
        "a keep-awake window does not hold it",
        a_situation(an_app(policy=replace(OFF, schedule=OFFICE_HOURS)), remote_at=NOW),
        Reason.ALWAYS_OFF,
        NOW + 3 * MINUTE + TICK,
    ),
    nothing("no visitor starts it", asleep(policy=OFF, wake_for=6), Reason.ASLEEP),
    nothing(
        "in an account that wakes all, nothing is stopped, whatever its power",
        a_situation(an_app(policy=replace(OFF, mode=Mode.WAKE_ALL))),
        Reason.PAUSED,
    ),
    Row(
        "when the drain is over, it stops",
        a_situation(an_app(Phase.DRAINING, policy=OFF, phase_since=NOW - 5 * SECOND)),
        Action.STOP,
        Reason.ALWAYS_OFF,
        FADES,
    ),
)
def test_app_that_is_to_be_off(row: Row) -> None:
    holds(row)


# --- the drain --------------------------------------------------------------------------------


def draining(since: timedelta, **fields: object) -> Situation:
    return a_situation(an_app(Phase.DRAINING, phase_since=NOW - since), **fields)


@table(
    nothing("4 s of 5", draining(4 * SECOND), Reason.DRAIN_RUNNING, NOW + SECOND),
    Row("5 s", draining(5 * SECOND), Action.STOP, Reason.IDLE, FADES),
    Row("6 s", draining(6 * SECOND), Action.STOP, Reason.IDLE, FADES),
    nothing(
        "knowledge that grows too old before its end",
        draining(SECOND, remote_at=NOW - 3 * MINUTE + 2 * SECOND),
        Reason.DRAIN_RUNNING,
        NOW + 2 * SECOND + TICK,
    ),
)
def test_drain_time_passes_before_the_stop(row: Row) -> None:
    holds(row)


def test_window_that_opens_during_a_drain_is_not_missed() -> None:
    now = datetime(2026, 3, 5, 7, 59, 58, tzinfo=UTC)
    app = an_app(Phase.DRAINING, policy=Policy(schedule=OFFICE_HOURS), phase_since=now)
    situation = a_situation(app, remote_at=now)
    decision = decide(situation, now)

    assert Action.NOTHING is decision.action
    assert now + 2 * SECOND == decision.look_again_at
    assert Action.CANCEL_DRAIN is decide(situation, now + 2 * SECOND).action
