"""Durations: what is read, what is refused, and that writing and reading agree."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.durations import LONGEST, format_duration, parse_duration

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("500ms", timedelta(milliseconds=500)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        (" 2H ", timedelta(hours=2)),
        ("1.5h", timedelta(minutes=90)),
        ("1m500ms", timedelta(seconds=60.5)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
        ("15", timedelta(minutes=15)),
        ("0.5", timedelta(seconds=30)),
        (15, timedelta(minutes=15)),
        (0.25, timedelta(seconds=15)),
        (1e-3, timedelta(milliseconds=60)),
    ],
)
def test_a_duration_is_read(given_text: str | float, expected: timedelta) -> None:
    assert parse_duration(given_text, unit=MINUTE) == expected


def test_a_bare_number_counts_the_unit_of_its_setting() -> None:
    assert parse_duration("15", unit=MINUTE) == timedelta(minutes=15)
    assert parse_duration("15", unit=SECOND) == timedelta(seconds=15)


@pytest.mark.parametrize(
    "refused",
    [
        "",
        " ",
        "-1",
        "-5m",
        "nan",
        "inf",
        "-inf",
        "1e3",
        "soon",
        "1x",
        "5 minutes",
        "30m1h",
        "1m1m",
        "1:30",
        "٣s",
        "9999999d",
        "9" * 59,
        "9" * 5000,
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        True,
    ],
)
def test_what_is_no_duration_is_refused_with_a_sentence(refused: str | float) -> None:
    with pytest.raises(ValueError, match=r"expected|such as|longer than"):
        parse_duration(refused, unit=MINUTE)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=45), "45s"),
        (timedelta(minutes=15), "15m"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=1, seconds=1), "1d1s"),
        (timedelta(milliseconds=1500), "1s500ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=1), "0.001ms"),
        (timedelta(minutes=-15), "-15m"),
    ],
)
def test_a_duration_is_written_short(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_what_was_written_is_read_back_exactly(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration), unit=SECOND) == duration


@given(st.one_of(st.text(), st.text("0123456789.dhms -+e_"), st.floats(), st.integers()))
def test_any_input_gives_a_duration_in_range_or_a_value_error(anything: str | float) -> None:
    try:
        duration = parse_duration(anything, unit=MINUTE)
    except ValueError:
        return
    assert timedelta(0) <= duration <= LONGEST
