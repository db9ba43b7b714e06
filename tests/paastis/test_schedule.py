"""Schedules: windows, clock changes, and agreement with a minute-by-minute model."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paastis.policy import Schedule, Window
from paastis.schedule import check_cron, check_time_zone, is_open, next_change, next_firing

PARIS = ZoneInfo("Europe/Paris")
MINUTE = timedelta(minutes=1)
OFFICE_HOURS = Window("0 8 * * 1-5", "0 20 * * 1-5")


def paris(text: str, *, fold: int = 0) -> datetime:
    """That local time, as UTC: times that occur twice never compare equal across zones."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-06-01T07:59:59", False),
        ("2026-06-01T08:00:00", True),
        ("2026-06-01T19:59:59", True),
        ("2026-06-01T20:00:00", False),
        ("2026-06-05T19:59:59", True),  # a Friday
        ("2026-06-06T12:00:00", False),
        ("2026-06-07T12:00:00", False),
    ],
)
def test_office_hours_are_open_on_weekdays_by_the_local_clock(now: str, expected: bool) -> None:
    assert is_open(OFFICE_HOURS, "Europe/Paris", paris(now)) is expected


def test_office_hours_change_at_each_end_and_not_over_the_weekend() -> None:
    schedule = Schedule("Europe/Paris", awake=(OFFICE_HOURS,))

    assert next_change(schedule, paris("2026-06-05T12:00")) == paris("2026-06-05T20:00")
    assert next_change(schedule, paris("2026-06-05T20:00")) == paris("2026-06-08T08:00")


def test_local_hours_stay_the_same_across_both_clock_changes() -> None:
    schedule = Schedule("Europe/Paris", awake=(OFFICE_HOURS,))

    assert next_change(schedule, paris("2026-03-28T12:00")) == paris("2026-03-30T08:00")
    assert next_change(schedule, paris("2026-10-24T12:00")) == paris("2026-10-26T08:00")
    assert paris("2026-03-30T08:00").hour == 6
    assert paris("2026-10-26T08:00").hour == 7


def test_a_window_may_span_midnight() -> None:
    night = Window("0 22 * * *", "0 6 * * *")

    assert is_open(night, "UTC", datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert not is_open(night, "UTC", datetime(2026, 1, 2, 6, tzinfo=UTC))
    assert is_open(night, "UTC", datetime(2026, 1, 2, 22, tzinfo=UTC))


def test_a_time_that_the_clock_change_skips_fires_right_after_it() -> None:
    # 2026-03-29: 02:00 is followed by 03:00.
    assert next_firing("30 2 * * *", paris("2026-03-29T00:00"), "Europe/Paris") == paris(
        "2026-03-29T03:00"
    )
    window = Window("30 2 * * *", "0 5 * * *")
    assert not is_open(window, "Europe/Paris", paris("2026-03-29T01:59"))
    assert is_open(window, "Europe/Paris", paris("2026-03-29T03:00"))


def test_a_time_that_occurs_twice_fires_the_first_time_only() -> None:
    # 2026-10-25: after 02:59 it is 02:00 again.
    first, second = paris("2026-10-25T02:30"), paris("2026-10-25T02:30", fold=1)

    assert next_firing("30 2 * * *", first - MINUTE, "Europe/Paris") == first
    for moment in (first, second - MINUTE, second, paris("2026-10-25T02:10", fold=1)):
        assert next_firing("30 2 * * *", moment, "Europe/Paris") == paris("2026-10-26T02:30")


def test_a_window_opened_in_a_repeated_hour_stays_open_through_its_second_pass() -> None:
    window = Window("30 2 * * *", "0 5 * * *")

    assert not is_open(window, "Europe/Paris", paris("2026-10-25T02:29"))
    assert is_open(window, "Europe/Paris", paris("2026-10-25T02:30"))
    assert is_open(window, "Europe/Paris", paris("2026-10-25T02:10", fold=1))
    assert is_open(window, "Europe/Paris", paris("2026-10-25T04:59"))
    assert not is_open(window, "Europe/Paris", paris("2026-10-25T05:00"))


def test_a_window_whose_start_and_end_coincide_never_opens() -> None:
    window = Window("0 8 * * *", "0 8 * * *")

    assert not is_open(window, "UTC", datetime(2026, 1, 1, 8, tzinfo=UTC))
    assert not is_open(window, "UTC", datetime(2026, 1, 1, 12, tzinfo=UTC))


def test_a_schedule_without_windows_never_changes() -> None:
    assert next_change(Schedule(), datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        is_open(OFFICE_HOURS, "UTC", datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "refused",
    [
        "",
        "* * *",
        "99 * * * *",
        "* * * * * *",
        "a b c d e",
        "0 0 31 2 *",
        "5-1 * * * *",
        "0 " * 200,
    ],
)
def test_what_is_no_cron_expression_is_refused_with_an_example(refused: str) -> None:
    with pytest.raises(ValueError, match="expected five fields"):
        check_cron(refused)


def test_a_cron_expression_is_tidied() -> None:
    assert check_cron("  0  8 * *   mon-fri ") == "0 8 * * mon-fri"


@pytest.mark.parametrize(
    "refused", ["", "Mars/Olympus", "../etc/passwd", "Europe", "a\x00b", "\ud800"]
)
def test_what_is_no_time_zone_is_refused(refused: str) -> None:
    with pytest.raises(ValueError, match="expected a name such as Europe/Paris"):
        check_time_zone(refused)


@given(st.one_of(st.text(), st.text("0123456789*/,-#LW SUNMOJA", max_size=30)))
def test_any_text_is_a_cron_expression_or_a_value_error(anything: str) -> None:
    try:
        tidy = check_cron(anything)
    except ValueError:
        return
    assert next_firing(tidy, datetime(2026, 1, 1, tzinfo=UTC)) is not None


# --- against a model that walks minute by minute


def _field(name: str, low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.lists(number, min_size=2, max_size=3).map(lambda many: ",".join(map(str, many))),
        st.sampled_from(["*/7", "*/15"] if name == "minute" else ["*/2", "*/3"]),
    )


CRONS = st.builds(
    lambda minute, hour, weekday: f"{minute} {hour} * * {weekday}",
    _field("minute", 0, 59),
    _field("hour", 0, 23),
    st.sampled_from(["*", "1-5", "0", "6"]),
)
ZONES = st.sampled_from(
    ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "America/St_Johns"]
)
MOMENTS = st.one_of(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001
    # around the changes of Paris, New York and St John's
    st.sampled_from([datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 3, 8)]).flatmap(  # noqa: DTZ001
        lambda day: st.integers(-600, 900).map(lambda minutes: day + minutes * MINUTE)
    ),
    st.integers(0, 900).map(lambda minutes: datetime(2026, 11, 1) + minutes * MINUTE),  # noqa: DTZ001
).map(lambda naive: naive.replace(tzinfo=UTC))


def _matches(cron: str, local: datetime) -> bool:
    minute, hour, _, _, weekday = cron.split()
    return (
        _in(minute, local.minute) and _in(hour, local.hour) and _in(weekday, local.isoweekday() % 7)
    )


def _in(spec: str, value: int) -> bool:
    if spec.startswith("*"):
        return value % int(spec[2:] or 1) == 0
    if "-" in spec:
        low, high = spec.split("-")
        return int(low) <= value <= int(high)
    return str(value) in spec.split(",")


def _model_fires(cron: str, zone: ZoneInfo, minute: datetime) -> bool:
    """What the module's docstring says, for one minute of UTC."""
    local = minute.astimezone(zone)
    minute_field, hour_field, *_ = cron.split()
    if minute_field.startswith("*") or hour_field.startswith("*"):
        return _matches(cron, local)
    if _matches(cron, local) and local.fold == 0:
        return True
    before = (minute - MINUTE).astimezone(zone)
    skipped = local.replace(tzinfo=None) - before.replace(tzinfo=None) - MINUTE
    return any(
        _matches(cron, local.replace(tzinfo=None) - (back + 1) * MINUTE)
        for back in range(skipped // MINUTE)
    )


@settings(deadline=None, max_examples=150)
@given(CRONS, ZONES, MOMENTS)
def test_next_firing_is_the_first_minute_at_which_the_model_fires(
    cron: str, zone: str, now: datetime
) -> None:
    found = next_firing(cron, now, zone)

    minute = now.replace(second=0, microsecond=0) + MINUTE
    for _ in range(2 * 24 * 60):
        if _model_fires(cron, ZoneInfo(zone), minute):
            assert found == minute
            return
        minute += MINUTE
    assert found is not None
    assert found >= minute


@settings(deadline=None, max_examples=150)
@given(CRONS, CRONS, ZONES, MOMENTS)
def test_a_window_is_open_if_the_model_started_it_last(
    start: str, end: str, zone: str, now: datetime
) -> None:
    expected = None
    minute = now.replace(second=0, microsecond=0)
    for _ in range(2 * 24 * 60):
        if _model_fires(end, ZoneInfo(zone), minute):
            expected = False
        elif _model_fires(start, ZoneInfo(zone), minute):
            expected = True
        if expected is not None:
            break
        minute -= MINUTE
    assume(expected is not None)

    assert is_open(Window(start, end), zone, now) is expected


@settings(deadline=None, max_examples=40)
@given(CRONS, CRONS, ZONES, MOMENTS)
def test_nothing_changes_before_the_next_change(
    start: str, end: str, zone: str, now: datetime
) -> None:
    window = Window(start, end)
    change = next_change(Schedule(zone, sleep=(window,)), now)

    if change is None:
        return
    assert change > now
    between = change - now
    for part in (0.0, 0.3, 0.9):
        assert is_open(window, zone, now + between * part) is is_open(window, zone, now)
    if is_open(window, zone, now):
        assert not is_open(window, zone, change)
