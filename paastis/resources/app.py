"""A PaastisApp as an `App`: the same record, as the cluster and as we know it.

The spec says who the app is, and what people want of it. The status is what proxies and the
controller write; see `paastis/resources/writing.py`. Reading is quick, since ten thousand are read
at a start, and bears other versions: unknown keys are ignored, missing ones take their defaults.
"""

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from paastis.app import (
    Activity,
    App,
    Condition,
    Formation,
    Identity,
    Operation,
    OperationKind,
    Overrides,
    Phase,
    Process,
    Retry,
    Snapshot,
)
from paastis.config import values
from paastis.reasons import Reason
from paastis.resources.fields import Fields
from paastis.resources.policy import policy_from
from paastis.resources.settings import SETTINGS_KEYS, settings_from
from paastis.resources.standing import reason_from, split_conditions
from paastis.resources.values import BadResource, time_from

OVERRIDE_KEYS = (*SETTINGS_KEYS, "awakeUntil", "sleepFor")

_NO_OVERRIDES = Overrides()
_NO_RETRY = Retry()
_PHASES = {phase.value: phase for phase in Phase}


def app_from(resource: Mapping[str, Any]) -> App:
    """The record. An override that cannot be used is left out, and told in `Overrides.problems`.

    Raises `BadResource` for anything else that cannot be read.
    """
    metadata = resource.get("metadata") or {}
    try:
        return _app(metadata, resource["spec"], resource.get("status") or {})
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    except (AttributeError, TypeError):
        problem = "a field has another type than it should"
    except ValueError as error:
        problem = str(error)
    raise BadResource(f"PaastisApp {metadata.get('name')!r} cannot be read: {problem}.")


def standing_from(resource: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The standing conditions that a readable resource has at present."""
    return split_conditions((resource.get("status") or {}).get("conditions"))[1]


def _app(metadata: Mapping[str, Any], spec: Mapping[str, Any], status: Mapping[str, Any]) -> App:
    phase = _PHASES.get(status["phase"]) if "phase" in status else Phase.UNMANAGED
    reason = reason_from(status["reason"]) if "reason" in status else Reason.DISCOVERED
    if phase is None:
        # Of another version: forwarded to as it is, until discovery has looked at it.
        phase, reason = Phase.UNMANAGED, Reason.UNKNOWN
    discovered = status.get("discoveredAt") or metadata["creationTimestamp"]
    boot = status.get("usualBootSeconds")
    return App(
        name=metadata["name"],
        identity=Identity(
            account=sys.intern(spec["accountRef"]["name"]),
            region=sys.intern(spec["region"]),
            app_id=spec["appId"],
        ),
        provider=sys.intern(status.get("provider", "")),
        app_name=spec.get("appName") or metadata["name"],
        created_at=time_from(discovered),
        overrides=_overrides(spec),
        last_access_time=_time(status, "lastAccessTime"),
        wake_for=_number(status, "wakeFor"),
        phase=phase,
        phase_since=_time(status, "phaseSince"),
        phase_reason=reason,
        cycle=int(status.get("cycle", 1)),
        url=status.get("url"),
        hosts=tuple(status.get("hosts") or ()),
        policy=policy_from(status.get("policy")),
        formation=_formation(status.get("formation")),
        snapshot=_snapshot(status.get("snapshot")),
        operation=_operation(status.get("operation")),
        retry=_retry(status.get("retry")),
        last_activity=_activity(status.get("lastActivity")),
        last_start_time=_time(status, "lastStartTime"),
        last_stop_time=_time(status, "lastStopTime"),
        usual_boot=None if boot is None else timedelta(seconds=boot),
        asleep_seconds=float(status.get("asleepSeconds", 0.0)),
        deployment=status.get("deployment"),
        conditions=split_conditions(status.get("conditions"))[0],
        version=int(metadata["resourceVersion"]),
    )


def _overrides(spec: Mapping[str, Any]) -> Overrides:
    if spec.keys().isdisjoint(OVERRIDE_KEYS):
        return _NO_OVERRIDES
    problems: list[str] = []
    fields = Fields(spec, path="spec", problems=problems)
    return Overrides(
        settings=settings_from(fields, host=values.domain),
        awake_until=fields.one("awakeUntil", time_from),
        sleep_for=fields.one("sleepFor", values.integer(0, 10**12 - 1)),
        problems=tuple(problems),
    )


def _time(raw: Mapping[str, Any], key: str) -> datetime | None:
    text = raw.get(key)
    return None if text is None else time_from(text)


def _number(raw: Mapping[str, Any], key: str) -> int | None:
    number = raw.get(key)
    return None if number is None else int(number)


def _formation(raw: Any) -> Formation:
    return tuple(
        Process(sys.intern(one["type"]), int(one["amount"]), one.get("size")) for one in raw or ()
    )


def _snapshot(raw: Any) -> Snapshot | None:
    if raw is None:
        return None
    return Snapshot(
        taken_at=time_from(raw["takenAt"]),
        processes=_formation(raw.get("processes")),
        autoscalers=tuple(raw.get("autoscalers") or ()),
    )


def _operation(raw: Any) -> Operation | None:
    if raw is None:
        return None
    return Operation(
        kind=OperationKind(raw["kind"]),
        id=raw["id"],
        sent_at=time_from(raw["sentAt"]),
        ref=raw.get("ref"),
        ended_at=_time(raw, "endedAt"),
    )


def _retry(raw: Any) -> Retry:
    if raw is None:
        return _NO_RETRY
    return Retry(failures=int(raw.get("failures", 0)), not_before=_time(raw, "notBefore"))


def _activity(raw: Any) -> Activity | None:
    return None if raw is None else Activity(time_from(raw["time"]), reason_from(raw["reason"]))
