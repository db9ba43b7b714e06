"""Durations as they come from a file or from JSON, where anything may stand in their place."""

from __future__ import annotations

from datetime import timedelta

from paastis.durations import parse_duration

_SECOND = timedelta(seconds=1)


def read_duration(given: object) -> timedelta:
    """Read `80ms`, `3s`, `1m`; a bare number is seconds.

    Raises ValueError with a sentence that names what was given and what is expected.
    """
    if not isinstance(given, str | int | float):
        raise ValueError(f"{given!r} is not a duration such as 80ms, 3s or 1m")  # noqa: TRY004 - bad input
    return parse_duration(given, unit=_SECOND)
