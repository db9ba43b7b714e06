"""Conditions that every app has at all times, as `kubectl wait` and dashboards look for them.

They follow from the app's phase, and are no part of an `App`. Where the app is left alone, paastis
does not know whether it answers: `Ready` and `Asleep` are absent then, which in Kubernetes means
that nobody knows.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from paastis.app import App, Condition, Phase
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.resources.values import shown, time_from, time_text

READY = "Ready"
ASLEEP = "Asleep"
MANAGED = "Managed"
STANDING = (READY, ASLEEP, MANAGED)

_LONGEST_MESSAGE = 32768  # characters, as for every condition in Kubernetes

_SAID = {
    Phase.AWAKE: "The app is awake.",
    Phase.DRAINING: "The app is awake, and is stopped unless somebody uses it now.",
    Phase.STOPPING: "The app is being stopped.",
    Phase.ASLEEP: "The app is asleep.",
    Phase.STARTING: "The app is being started.",
    Phase.FAILED: "The app could not be started.",
    Phase.GONE: "The app does not exist any more.",
}
_REASONS = {reason.value: reason for reason in Reason}


def standing_of(app: App, before: Iterable[Condition]) -> tuple[Condition, ...]:
    """The standing conditions of an app as it is now.

    Where a condition's status is what it was `before`, so is the time of its last change; else it
    is when the app's phase began.
    """
    known = {condition.type: condition for condition in before}
    since = app.phase_since or app.created_at
    found = []
    for kind, status, reason, message in _standing(app):
        old = known.get(kind)
        same = old is not None and old.status == status
        found.append(Condition(kind, status, reason, message, old.since if same and old else since))
    return tuple(found)


def _standing(app: App) -> Iterator[tuple[str, bool, Reason, str]]:
    if app.phase is Phase.UNMANAGED:
        yield MANAGED, False, app.phase_reason, "The app is left as it is."
        return
    said = _SAID[app.phase]
    yield READY, app.phase in {Phase.AWAKE, Phase.DRAINING}, app.phase_reason, said
    yield ASLEEP, app.phase is Phase.ASLEEP, app.phase_reason, said
    if app.phase is Phase.GONE:
        yield MANAGED, False, app.phase_reason, said
    elif app.policy.mode is Mode.OBSERVE:
        yield MANAGED, False, Reason.OBSERVED, "The app is watched only, and nothing is done to it."
    else:
        yield MANAGED, True, Reason.MANAGED, "paastis looks after the app."


def split_conditions(raw: Any) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """A status's conditions: the app's own, and the standing ones.

    Raises ValueError with a sentence if they cannot be read.
    """
    own: list[Condition] = []
    standing: list[Condition] = []
    for one in raw or ():
        (standing if one["type"] in STANDING else own).append(condition_from(one))
    return tuple(own), tuple(standing)


def condition_from(raw: Any) -> Condition:
    """Raises ValueError with a sentence if it cannot be read."""
    if raw["status"] not in {"True", "False"}:
        raise ValueError(f"{shown(raw['status'])} is neither True nor False")
    return Condition(
        type=sys.intern(raw["type"]),
        status=raw["status"] == "True",
        reason=reason_from(raw["reason"]),
        message=sys.intern(raw.get("message") or ""),  # thousands of apps say the same
        since=time_from(raw["lastTransitionTime"]),
    )


def condition_of(condition: Condition, generation: int | None) -> dict[str, Any]:
    """A condition as every Kubernetes client knows it; `generation` is the spec's, if known."""
    said = {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason.value,
        "message": condition.message[:_LONGEST_MESSAGE],
        "lastTransitionTime": time_text(condition.since),
    }
    return said if generation is None else {**said, "observedGeneration": generation}


def reason_from(word: Any) -> Reason:
    """The reason of that name; `Unknown` for one that only another version knows."""
    return _REASONS.get(word, Reason.UNKNOWN)


def changed(
    kind: str,
    status: bool,
    reason: Reason,
    message: str,
    *,
    before: Iterable[Condition],
    now: datetime,
) -> Condition:
    """A condition whose status changed now, unless it is what it was `before`."""
    old = next((one for one in before if one.type == kind and one.status == status), None)
    return Condition(kind, status, reason, message, now if old is None else old.since)
