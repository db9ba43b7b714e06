"""What happens to apps, as far as people want to hear of it: in a cluster these become Events.

Computed from two states of a record, so there is one place for it, and nothing is told twice. Told
are ends and surprises, not each step on the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from paastis.app import Activity, App, Phase
from paastis.durations import format_duration
from paastis.reasons import Reason


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, with the record as it is after it."""

    app: App
    warning: bool
    """Something is wrong, or a person has to decide."""
    reason: Reason
    message: str


_TURNED_TRUE = (
    (Reason.CONTESTED, True),
    (Reason.WOULD_SLEEP, False),
    (Reason.WOULD_WAKE, False),
)
"""Conditions worth telling when they begin to hold, and whether each is a warning."""


def happenings(before: App, after: App) -> Iterator[Happening]:
    """What one write to a record means to people; mostly nothing."""
    if before.phase is not after.phase:
        yield from _moved(before, after)
    if after.last_activity != before.last_activity and _by_hand(after.last_activity):
        yield Happening(after, False, Reason.SCALED_BY_HAND, "Somebody changed its processes.")
    for kind, warning in _TURNED_TRUE:
        now, then = after.condition(kind), before.condition(kind)
        if now is not None and now.status and not (then is not None and then.status):
            yield Happening(after, warning, kind, now.message)


def restored(app: App) -> Happening:
    """Somebody deleted the record of an app that still is there."""
    words = "Its record was deleted and is created again with what was known; overrides are gone."
    return Happening(app, False, Reason.RECORD_RESTORED, words)


def _moved(before: App, after: App) -> Iterator[Happening]:
    reason = after.phase_reason
    steps = (before.phase, after.phase)
    if steps == (Phase.STOPPING, Phase.ASLEEP):
        yield Happening(after, False, Reason.ASLEEP, f"It was put to sleep ({reason}).")
    elif steps == (Phase.STARTING, Phase.AWAKE) and reason is Reason.STARTED:
        took = _span(before.phase_since, after.phase_since)
        yield Happening(after, False, reason, f"It was woken{took} ({before.phase_reason}).")
    elif after.phase is Phase.FAILED:
        told = after.condition(Reason.START_FAILED)
        words = told.message if told is not None and told.status else "It does not come up."
        yield Happening(after, True, reason, words)
    elif steps == (Phase.STOPPING, Phase.AWAKE):
        told = after.condition(Reason.STOP_FAILED)
        words = told.message if told is not None and told.status else "It went on running."
        yield Happening(after, True, reason, words)
    elif reason is Reason.STOPPED_BY_HAND:
        yield Happening(after, False, reason, "Somebody stopped it.")
    elif reason is Reason.STARTED_BY_HAND and before.phase_reason is not reason:
        yield Happening(after, False, reason, "Somebody started it.")


def _by_hand(activity: Activity | None) -> bool:
    return activity is not None and activity.reason is Reason.SCALED_BY_HAND


def _span(since: datetime | None, until: datetime | None) -> str:
    if since is None or until is None or until < since:
        return ""
    return f" in {format_duration(until - since)}"
