"""Windows of time: cron expressions in a time zone, "open now?", "when does that change?".

A window is open from a firing of its start to the next firing of its end, so it may span days. It
is open when the last firing of `start` is later than the last firing of `end`; where both fire at
the same minute it is closed.

Across clock changes, as Debian's cron has it: a time that the change skips fires at the first
minute after the gap, a time that occurs twice fires once, the first time. Expressions whose minute
or hour begins with `*` simply go by the clock on the wall.

Every answer holds for a whole minute, since expressions have five fields; that is what the caches
rest on, and why thousands of apps with the same schedule cost no more than one.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from paastis.policy import Schedule, Window

_MINUTE = timedelta(minutes=1)
_LONGEST_CRON = 100  # characters
_ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)
# Starts that coincide with ends leave the window closed and are skipped; a day of minutes of them
# is enough, beyond that an early look does no harm.
_MOST_SKIPPED = 1440


def check_cron(expression: str) -> str:
    """Return the expression with single spaces.

    Raises ValueError with a sentence if it is not a five-field cron expression, or never fires.
    """
    tidy = " ".join(expression.split())
    expected = "expected five fields (minute hour day-of-month month day-of-week) as in 0 8 * * 1-5"
    if len(tidy) > _LONGEST_CRON:
        raise ValueError(f"a cron expression of {len(tidy)} characters; {expected}")
    if len(tidy.split()) != 5:
        raise ValueError(f"{tidy!r} is not a cron expression; {expected}")
    try:
        fires = next(CronSim(tidy, _ANY_TIME), None)
    except CronSimError as error:
        said = str(error).lower()
        raise ValueError(f"{tidy!r} is not a cron expression ({said}); {expected}") from None
    if fires is None:
        raise ValueError(f"{tidy!r} never fires; {expected}")
    return tidy


def check_time_zone(name: str) -> str:
    """Return the name; raises ValueError with a sentence if there is no such time zone."""
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is not a time zone; expected a name such as Europe/Paris or UTC"
        ) from None
    return name


def next_firing(cron: str, now: datetime, time_zone: str = "UTC") -> datetime | None:
    """The first firing strictly after `now`, in UTC; None if there is none within 50 years."""
    return _next_firing(cron, time_zone, _minute(now))


def is_open(window: Window, time_zone: str, now: datetime) -> bool:
    """Whether the window is open at that moment."""
    return _is_open(window, time_zone, _minute(now))


def next_change(schedule: Schedule, now: datetime) -> datetime | None:
    """When the first of the schedule's windows opens or closes, strictly after `now`, in UTC.

    None: never again (within 50 years).
    """
    minute = _minute(now)
    changes = (
        _next_change(window, schedule.time_zone, minute)
        for window in (*schedule.awake, *schedule.sleep)
    )
    return min((change for change in changes if change is not None), default=None)


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _minute(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("a time without its zone cannot be compared with a schedule")
    return now.astimezone(UTC).replace(second=0, microsecond=0)


@lru_cache(maxsize=4096)
def _is_open(window: Window, time_zone: str, minute: datetime) -> bool:
    started = _last_firing(window.start, time_zone, minute)
    if started is None:
        return False
    ended = _last_firing(window.end, time_zone, minute)
    return ended is None or started > ended


@lru_cache(maxsize=4096)
def _next_change(window: Window, time_zone: str, minute: datetime) -> datetime | None:
    if _is_open(window, time_zone, minute):
        return _next_firing(window.end, time_zone, minute)
    start = None
    for start in islice(_firings(window.start, time_zone, minute), _MOST_SKIPPED):
        if _is_open(window, time_zone, start):
            break
    return start


@lru_cache(maxsize=4096)
def _next_firing(cron: str, time_zone: str, minute: datetime) -> datetime | None:
    return next(_firings(cron, time_zone, minute), None)


def _firings(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    """Firings strictly after a whole minute."""
    for local in CronSim(cron, after.astimezone(_zone(time_zone))):
        firing = local.astimezone(UTC)
        # In the second pass of a repeated hour, the parser offers the first pass again.
        if firing > after:
            yield firing


@lru_cache(maxsize=4096)
def _last_firing(cron: str, time_zone: str, minute: datetime) -> datetime | None:
    """The last firing at or before a whole minute; None if there is none within 50 years."""
    zone = _zone(time_zone)
    if _goes_by_wall_clock(cron):
        before = (minute + _MINUTE).astimezone(zone)
    else:
        local = minute.astimezone(zone)
        # A fixed time fires in the first pass of a repeated hour. Seen from the second pass, all
        # of that hour is over, so look back from its end.
        repeated = _offset(local.replace(fold=0)) - _offset(local) if local.fold else timedelta(0)
        before = local.replace(fold=0) + repeated + _MINUTE
    for found in CronSim(cron, before, reverse=True):
        firing = found.astimezone(UTC)
        if firing <= minute:
            return firing
    return None


def _goes_by_wall_clock(cron: str) -> bool:
    minute, hour, *_ = cron.split()
    return minute.startswith("*") or hour.startswith("*")


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None  # noqa: S101 (a ZoneInfo always has one)
    return offset
