"""Durations as people write them: `90s`, `15m`, `2h`, `1h30m`, `500ms`, or a bare number.

A bare number keeps the unit that its setting always had (minutes for idle times, seconds for
time-outs), which is why the unit is an argument. Arithmetic is exact, in microseconds.
"""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation

_MICROSECONDS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_BARE = re.compile(_NUMBER)
# Each unit at most once, the longest first: `30m1h` is more likely a slip than a wish.
_WITH_UNITS = re.compile(
    r"\s*".join(rf"(?:(?P<{unit}>{_NUMBER})\s*{unit}(?![a-z]))?" for unit in _MICROSECONDS)
)
_LONGEST_TEXT = 60  # characters; keeps the arithmetic small whatever is given
LONGEST = timedelta(days=3660)
"""The longest duration accepted: ten years, far from where adding it to a date overflows."""


def parse_duration(given: str | int | float, *, unit: timedelta) -> timedelta:
    """Read a duration from 0 to ten years, exact to the microsecond.

    `unit` is what a bare number counts. Raises ValueError with a sentence that names what was
    given and what is expected.
    """
    refusal = f"{_shown(given)} is not a duration such as 90s, 15m, 2h or 1h30m"
    text = repr(given) if isinstance(given, int | float) else given.strip().lower()
    if not text or len(text) > _LONGEST_TEXT or isinstance(given, bool):
        raise ValueError(refusal)
    if isinstance(given, int | float) or _BARE.fullmatch(text):
        microseconds = _decimal(text, refusal) * (unit // timedelta(microseconds=1))
    elif match := _WITH_UNITS.fullmatch(text):
        microseconds = sum(
            (
                Decimal(amount) * _MICROSECONDS[name]
                for name, amount in match.groupdict("0").items()
            ),
            Decimal(0),
        )
    else:
        raise ValueError(refusal)
    if microseconds < 0:
        raise ValueError(f"{_shown(given)} is negative; expected a duration such as 90s or 15m")
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f"{_shown(given)} is longer than {format_duration(LONGEST)}")
    return timedelta(microseconds=round(microseconds))


def format_duration(duration: timedelta) -> str:
    """Write it short and exact, as in `1h30m` or `45s`: `parse_duration` reads it back."""
    rest = abs(duration) // timedelta(microseconds=1)
    parts = []
    for unit, size in _MICROSECONDS.items():
        amount, rest = divmod(rest, size)
        if unit == "ms" and rest:
            parts.append(f"{amount}.{rest:03d}".rstrip("0") + unit)
        elif amount:
            parts.append(f"{amount}{unit}")
    return ("-" if duration < timedelta(0) else "") + ("".join(parts) or "0s")


def _decimal(text: str, refusal: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(refusal) from None
    if not number.is_finite():
        raise ValueError(refusal)
    return number


def _shown(given: object) -> str:
    text = str(given)
    return repr(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")
