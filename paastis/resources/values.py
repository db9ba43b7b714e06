"""Single values as resources hold them, and the refusal of what is none.

Times are RFC 3339 in UTC, to the microsecond. Durations are texts with units, as in `1h30m`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from paastis.durations import format_duration, parse_duration

_SECOND = timedelta(seconds=1)
_LONGEST_SHOWN = 80

_TIMES = 64
"""The times of one record are often the same one; enough to keep that once."""


class BadResource(ValueError):
    """The resource says nothing that can be used; the message is a sentence about what is wrong."""


def time_text(moment: datetime) -> str:
    """As short as it is exact: `2026-03-04T12:00:00Z`, `2026-03-04T12:00:00.000001Z`."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def use_text(moment: datetime) -> str:
    """Always with six digits after the point, so that the texts themselves can be compared."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def time_from(text: Any) -> datetime:
    """Raises ValueError with a sentence if it is no time with its zone."""
    try:
        moment = _moment(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{shown(text)} is not a time; expected one as in 2026-03-04T12:00:00Z")
    return moment


@lru_cache(maxsize=_TIMES)
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def duration_text(span: timedelta) -> str:
    """As people write it in a spec, where the schema knows no days: `90s`, `1h30m`, `48h`."""
    hours, rest = divmod(span, timedelta(hours=1))
    return f"{hours}h{format_duration(rest) if rest else ''}" if hours else format_duration(rest)


def duration_from(text: Any) -> timedelta:
    """Raises ValueError with a sentence if it is no duration."""
    return parse_duration(text if isinstance(text, str) else str(text), unit=_SECOND)


def exactly(said: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """An object in a merge patch (RFC 7386) that leaves nothing of the old one.

    Such a patch keeps whatever it does not mention, so each of `keys` is mentioned: null where
    nothing is said.
    """
    return {**dict.fromkeys(keys), **said}


def news(said: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The patch, or an empty one where it would change nothing."""
    return {} if all(known.get(key) == value for key, value in said.items()) else said


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def shown(value: Any) -> str:
    """What was given, quoted, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
