"""The effective policy of an app in its status.

Thousands of apps share a few policies, so equal ones are read once and shared.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from paastis.durations import format_duration
from paastis.policy import (
    IgnoreAccess,
    Mode,
    Policy,
    Power,
    Schedule,
    Settings,
    Wake,
    Window,
)
from paastis.resources.settings import (
    IGNORE_ACCESS_KEYS,
    SCHEDULE_KEYS,
    ignore_access_of,
    schedule_of,
)
from paastis.resources.values import duration_from, exactly, given

E = TypeVar("E", bound=StrEnum)

RULE_SOURCE = "PaastisRule "
"""What the source of a rule's values begins with; its name follows."""

_KEPT = 1024  # policies, of about 2 KB each
_DEFAULT = Policy()


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


_SOURCE_KEYS = {
    name: ".".join(map(_camel, name.split(".")))
    for name in (
        "mode",
        "access_resolution",
        *(field.name for field in fields(Settings) if field.name != "wake"),
        *(f"wake.{field.name}" for field in fields(Wake)),
    )
}
"""What a policy's `sources` may name, and how it is spelt in a resource."""
_SOURCE_NAMES = {key: name for name, key in _SOURCE_KEYS.items()}

POLICY_KEYS = (
    "power",
    "mode",
    "maxIdleTime",
    "linkedApps",
    "displayName",
    "hosts",
    "schedule",
    "wake",
    "ignoreAccess",
    "rewrite",
    "maxTunnelIdle",
    "accessResolution",
    "rule",
    "sources",
)


def policy_from(raw: Any) -> Policy:
    """Raises ValueError with a sentence if it cannot be read."""
    return _DEFAULT if not raw else _read(json.dumps(raw, sort_keys=True))


def policy_of(policy: Policy) -> dict[str, Any]:
    """Everything that applies, and which rules said any of it."""
    said: dict[str, Any] = {
        "power": policy.power.value,
        "mode": policy.mode.value,
        "maxIdleTime": format_duration(policy.max_idle_time),
        "linkedApps": list(policy.linked_apps),
        "hosts": list(policy.hosts),
        "wake": {
            "mode": policy.wake.mode.value,
            "by": policy.wake.by.value,
            "timeout": format_duration(policy.wake.timeout),
            "pageStatus": policy.wake.page_status,
            "readyPath": policy.wake.ready_path,
            "readyStatus": list(policy.wake.ready_status),
        },
        "ignoreAccess": ignore_access_of(policy.ignore_access),
        "rewrite": policy.rewrite,
        "accessResolution": format_duration(policy.access_resolution),
        "sources": {_SOURCE_KEYS.get(key, key): text for key, text in policy.sources.items()},
    }
    tunnel = policy.max_tunnel_idle
    return said | given(
        displayName=policy.display_name,
        schedule=None if policy.schedule is None else schedule_of(policy.schedule),
        maxTunnelIdle=None if tunnel is None else format_duration(tunnel),
        rule=_rules(policy.sources),
    )


def policy_change(policy: Policy, *, before: Policy) -> dict[str, Any]:
    """The object in a merge patch that makes a status say exactly this policy."""
    said = policy_of(policy)
    said["ignoreAccess"] = exactly(said["ignoreAccess"], IGNORE_ACCESS_KEYS)
    if "schedule" in said:
        said["schedule"] = exactly(said["schedule"], SCHEDULE_KEYS)
    old_keys = (_SOURCE_KEYS.get(name, name) for name in before.sources)
    said["sources"] = exactly(said["sources"], {*_SOURCE_NAMES, *old_keys})
    return exactly(said, POLICY_KEYS)


def _rules(sources: Mapping[str, str]) -> str | None:
    """The names of the rules that set anything, once each."""
    names = (text.removeprefix(RULE_SOURCE) for text in sources.values() if _of_rule(text))
    return ", ".join(dict.fromkeys(names)) or None


def _of_rule(source: str) -> bool:
    return source.startswith(RULE_SOURCE)


@lru_cache(maxsize=_KEPT)
def _read(text: str) -> Policy:
    raw = json.loads(text)
    wake, ignore = raw.get("wake") or {}, raw.get("ignoreAccess") or {}
    tunnel = raw.get("maxTunnelIdle")
    return Policy(
        # By a word that only another version knows, nothing is known to be allowed.
        power=_word(raw, "power", Power.UNMANAGED) if "power" in raw else _DEFAULT.power,
        mode=_word(raw, "mode", Mode.OBSERVE) if "mode" in raw else _DEFAULT.mode,
        max_idle_time=_span(raw, "maxIdleTime", _DEFAULT.max_idle_time),
        linked_apps=tuple(raw.get("linkedApps") or ()),
        display_name=raw.get("displayName"),
        hosts=tuple(raw.get("hosts") or ()),
        schedule=_schedule(raw.get("schedule")),
        wake=Wake(
            mode=_word(wake, "mode", _DEFAULT.wake.mode),
            by=_word(wake, "by", _DEFAULT.wake.by),
            timeout=_span(wake, "timeout", _DEFAULT.wake.timeout),
            page_status=int(wake.get("pageStatus", _DEFAULT.wake.page_status)),
            ready_path=wake.get("readyPath", _DEFAULT.wake.ready_path),
            ready_status=tuple(wake.get("readyStatus") or ()),
        ),
        ignore_access=IgnoreAccess(
            methods=tuple(ignore.get("methods") or ()),
            paths=tuple(ignore.get("paths") or ()),
            user_agents=tuple(ignore.get("userAgents") or ()),
            addresses=tuple(ignore.get("addresses") or ()),
            built_in=bool(ignore.get("builtIn", True)),
        ),
        rewrite=bool(raw.get("rewrite", _DEFAULT.rewrite)),
        max_tunnel_idle=None if tunnel is None else duration_from(tunnel),
        access_resolution=_span(raw, "accessResolution", _DEFAULT.access_resolution),
        sources=MappingProxyType(
            {_SOURCE_NAMES.get(key, key): said for key, said in (raw.get("sources") or {}).items()}
        ),
    )


def _schedule(raw: Any) -> Schedule | None:
    if raw is None:
        return None

    def windows(key: str) -> tuple[Window, ...]:
        return tuple(Window(window["start"], window["end"]) for window in raw.get(key) or ())

    return Schedule(raw.get("timeZone", "UTC"), windows("awake"), windows("sleep"))


def _word(raw: Mapping[str, Any], key: str, default: E) -> E:
    """The enumeration's member; the default for a word that only another version knows."""
    try:
        return type(default)(raw[key])
    except (KeyError, ValueError):
        return default


def _span(raw: Mapping[str, Any], key: str, default: Any) -> Any:
    text = raw.get(key)
    return default if text is None else duration_from(text)
