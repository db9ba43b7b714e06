"""Durations as people write them for the simulator: `80ms`, `3s`, `1.5m`, `1h`; a bare number is seconds."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}
_PATTERN = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h)?", re.ASCII)
_LONGEST = timedelta(days=365)


def parse_duration(given: object) -> timedelta:
    """Read a duration, from 0 to a year.

    Raises ValueError with a sentence that names what was given and what is expected.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"{given!r} is not a duration like 80ms, 3s or 1m")  # noqa: TRY004 - bad input
    match = _PATTERN.fullmatch(str(given).strip())
    if match is None:
        raise ValueError(f"{given!r} is not a duration like 80ms, 3s or 1m")
    try:
        duration = float(match["number"]) * _UNITS[match["unit"] or "s"]
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"{given!r} is longer than a year")
    return duration
