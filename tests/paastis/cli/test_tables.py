"""Times and tables as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from paastis.cli.tables import ago, ahead

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(**offset: float) -> str:
    return (NOW + timedelta(**offset)).isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (None, "-"),
        (at(), "0s ago"),
        (at(seconds=-59.9), "59s ago"),
        (at(seconds=-60), "1m ago"),
        (at(minutes=-5, seconds=-7), "5m7s ago"),
        (at(hours=-2, minutes=-3, seconds=-4), "2h3m ago"),
        (at(seconds=5), "0s ago"),  # another clock may be ahead of ours
    ],
)
def test_past_is_told_in_two_units_at_most(moment: str | None, words: str) -> None:
    assert ago(moment, NOW) == words


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (None, "-"),
        (at(seconds=-100), "now"),
        (at(seconds=1), "now"),
        (at(seconds=2), "in 2s"),
        (at(minutes=15), "in 15m"),
    ],
)
def test_future_is_told_in_two_units_at_most(moment: str | None, words: str) -> None:
    assert ahead(moment, NOW) == words
