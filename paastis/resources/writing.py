"""What is written to a PaastisApp, whole or as a merge patch of what changes.

In a merge patch (RFC 7386) a null takes a value away, a list is replaced whole, and an object keeps
what is not mentioned: so each key of an object that is replaced is mentioned.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from paastis.app import (
    Activity,
    App,
    AppChange,
    Condition,
    Formation,
    Operation,
    Overrides,
    Retry,
    Snapshot,
)
from paastis.resources.policy import policy_change, policy_of
from paastis.resources.settings import settings_change, settings_of
from paastis.resources.standing import condition_of, standing_of
from paastis.resources.values import exactly, given, time_text, use_text


def spec_of(app: App) -> dict[str, Any]:
    """The whole spec: identity, name and what people said."""
    said: dict[str, Any] = {
        "accountRef": {"name": app.identity.account},
        "appId": app.identity.app_id,
        "region": app.identity.region,
        "appName": app.app_name,
    }
    return said | settings_of(app.overrides.settings) | _demands(app.overrides)


def spec_change(change: AppChange) -> dict[str, Any]:
    """A merge patch of the spec for what a change says about it; empty for most changes."""
    said: dict[str, Any] = {}
    if "app_name" in change:
        said["appName"] = change["app_name"]
    if "overrides" in change:
        overrides = change["overrides"]
        said |= settings_change(overrides.settings)
        said |= exactly(_demands(overrides), ("awakeUntil", "sleepFor"))
    return said


def status_of(
    app: App, standing: tuple[Condition, ...], generation: int | None = None
) -> dict[str, Any]:
    """The whole status. `generation` is that of the spec which it takes into account, if known."""
    said = {field.key: field.write(getattr(app, name)) for name, field in _FIELDS.items()}
    return given(
        **said,
        provider=app.provider or None,
        discoveredAt=time_text(app.created_at),
        lastAccessTime=None if app.last_access_time is None else use_text(app.last_access_time),
        wakeFor=app.wake_for,
        policy=policy_of(app.policy),
        conditions=[condition_of(one, generation) for one in (*app.conditions, *standing)] or None,
        observedGeneration=generation,
    )


def status_change(
    change: AppChange,
    *,
    before: App,
    standing: tuple[Condition, ...],
    generation: int | None = None,
) -> dict[str, Any]:
    """A merge patch of the status for what a change says about it; empty if it says nothing.

    `before` is the record that is changed, and `standing` are its standing conditions, which are
    renewed together with it; `generation` is that of the spec that was seen, if known.
    """
    said: dict[str, Any] = {}
    for name, field in _FIELDS.items():
        if name in change:
            value = field.write(change[name])  # type: ignore[literal-required] # one of its keys
            said[field.key] = exactly(value, field.parts) if value and field.parts else value
    if "policy" in change:
        said["policy"] = policy_change(change["policy"], before=before.policy)
    after = replace(before, **change)
    standing_after = standing_of(after, standing)
    if "conditions" in change or standing_after != standing:
        said["conditions"] = [
            condition_of(one, generation) for one in (*after.conditions, *standing_after)
        ]
    if said and generation is not None:
        said["observedGeneration"] = generation
    return said


def access_change(when: datetime, wake_for: int | None) -> dict[str, Any]:
    """A merge patch of the status for a use, and for a wake where one is asked for."""
    return {"lastAccessTime": use_text(when)} | given(wakeFor=wake_for)


def _demands(overrides: Overrides) -> dict[str, Any]:
    return given(awakeUntil=_time(overrides.awake_until), sleepFor=overrides.sleep_for)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else time_text(moment)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _formation(formation: Formation) -> list[dict[str, Any]] | None:
    return [
        given(type=process.type, amount=process.amount, size=process.size) for process in formation
    ] or None


def _snapshot(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return given(
        takenAt=time_text(snapshot.taken_at),
        processes=_formation(snapshot.processes) or [],
        autoscalers=list(snapshot.autoscalers) or None,
    )


def _operation(operation: Operation | None) -> dict[str, Any] | None:
    if operation is None:
        return None
    return given(
        kind=operation.kind.value,
        id=operation.id,
        sentAt=time_text(operation.sent_at),
        ref=operation.ref,
        endedAt=_time(operation.ended_at),
    )


def _retry(retry: Retry) -> dict[str, Any] | None:
    if retry == Retry():
        return None
    return given(failures=retry.failures, notBefore=_time(retry.not_before))


def _activity(activity: Activity | None) -> dict[str, Any] | None:
    if activity is None:
        return None
    return {"time": time_text(activity.time), "reason": activity.reason.value}


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field of `AppChange` is written; None where it is left out."""

    key: str
    write: Callable[[Any], Any] = lambda value: value
    parts: tuple[str, ...] = ()
    """Of an object: its keys."""


_FIELDS: Mapping[str, _Field] = {
    "phase": _Field("phase", lambda phase: phase.value),
    "phase_since": _Field("phaseSince", _time),
    "phase_reason": _Field("reason", lambda reason: reason.value),
    "cycle": _Field("cycle"),
    "url": _Field("url"),
    "hosts": _Field("hosts", lambda hosts: list(hosts) or None),
    "formation": _Field("formation", _formation),
    "snapshot": _Field("snapshot", _snapshot, ("takenAt", "processes", "autoscalers")),
    "operation": _Field("operation", _operation, ("kind", "id", "sentAt", "ref", "endedAt")),
    "retry": _Field("retry", _retry, ("failures", "notBefore")),
    "last_activity": _Field("lastActivity", _activity),
    "last_start_time": _Field("lastStartTime", _time),
    "last_stop_time": _Field("lastStopTime", _time),
    "usual_boot": _Field("usualBootSeconds", _seconds),
    "asleep_seconds": _Field("asleepSeconds"),
    "deployment": _Field("deployment"),
}
"""What a change may replace in the status, but for the policy and the conditions."""
