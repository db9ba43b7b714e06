"""What people and the CLI are shown of an app, as plain JSON values.

Times are ISO 8601 in UTC, settings that are spans are written as in the configuration (`15m`),
measured spans are seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from paastis.app import App
from paastis.durations import format_duration
from paastis.system.port import AccountStatus, Instance, Outlook

Json = dict[str, Any]


def app_view(app: App, instance: Instance) -> Json:
    """One app of a running program."""
    return record_view(app, instance.outlook(app), instance.addresses(app))


def record_view(app: App, outlook: Outlook, addresses: Sequence[str]) -> Json:
    """One app: what the record says, where it is reached, and what is decided about it."""
    view: Json = {
        "name": app.name,
        "app_name": app.app_name,
        "app_id": app.identity.app_id,
        "account": app.identity.account,
        "region": app.identity.region,
        "provider": app.provider,
        "phase": app.phase,
        "phase_since": app.phase_since,
        "reason": app.phase_reason,
        "cycle": app.cycle,
        "url": app.url,
        "hosts": app.hosts,
        "addresses": tuple(addresses),
        "created_at": app.created_at,
        "last_access_time": app.last_access_time,
        "last_activity": app.last_activity,
        "last_start_time": app.last_start_time,
        "last_stop_time": app.last_stop_time,
        "sleeps_at": outlook.sleeps_at,
        "max_idle_time": app.policy.max_idle_time,
        "policy": app.policy,
        "overrides": app.overrides,
        "formation": app.formation,
        "snapshot": app.snapshot,
        "operation": app.operation,
        "retry": app.retry,
        "conditions": app.conditions,
        "asleep_seconds": app.asleep_seconds,
        "usual_boot_seconds": None if app.usual_boot is None else app.usual_boot.total_seconds(),
        "decision": {
            "action": outlook.action,
            "reason": outlook.reason,
            "message": outlook.message,
            "look_again_at": outlook.look_again_at,
        },
        "version": app.version,
    }
    return {key: plain(value) for key, value in view.items()}


def account_view(account: AccountStatus) -> Json:
    """One account."""
    view: Json = plain(account)
    return view


def plain(value: object) -> Any:
    """The value in JSON's types."""
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return format_duration(value)
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value
