"""`Settings` as people write them, in rules and as overrides of one app."""

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any

from paastis.config import values
from paastis.config.values import SECOND, Check
from paastis.pattern import MOST_OPEN_REPEATS_ON_VISITS, compile_pattern
from paastis.policy import (
    IgnoreAccess,
    Power,
    Schedule,
    Settings,
    WakeBy,
    WakeMode,
    WakeSettings,
    Window,
)
from paastis.resources.fields import Fields, word
from paastis.resources.values import duration_text, exactly, given
from paastis.schedule import check_cron, check_time_zone

SCHEDULE_KEYS = ("timeZone", "awake", "sleep")
WAKE_KEYS = ("mode", "by", "timeout", "pageStatus", "readyPath", "readyStatus")
IGNORE_ACCESS_KEYS = ("methods", "paths", "userAgents", "addresses", "builtIn")
SETTINGS_KEYS = (
    "power",
    "maxIdleTime",
    "linkedApps",
    "displayName",
    "hosts",
    "schedule",
    "wake",
    "ignoreAccess",
    "rewrite",
    "maxTunnelIdle",
)


def settings_from(fields: Fields, *, host: Check[str]) -> Settings:
    """What the fields of a spec say; `host` checks a host name, or a template of one."""
    return Settings(
        power=fields.one("power", word(Power)),
        max_idle_time=fields.one("maxIdleTime", values.idle_time),
        linked_apps=fields.many("linkedApps", values.text),
        display_name=fields.one("displayName", values.text),
        hosts=fields.many("hosts", host),
        schedule=_schedule_from(fields.object("schedule")),
        wake=_wake_from(fields.object("wake")),
        ignore_access=_ignore_access_from(fields.object("ignoreAccess")),
        rewrite=fields.flag("rewrite"),
        max_tunnel_idle=fields.one(
            "maxTunnelIdle", values.duration(unit=SECOND, low=SECOND, high=timedelta(days=365))
        ),
    )


def settings_of(settings: Settings) -> dict[str, Any]:
    """The fields of a spec that say this."""
    said: dict[str, Any] = given(
        power=_text(settings.power),
        maxIdleTime=_duration(settings.max_idle_time),
        linkedApps=_list(settings.linked_apps),
        displayName=settings.display_name,
        hosts=_list(settings.hosts),
        rewrite=settings.rewrite,
        maxTunnelIdle=_duration(settings.max_tunnel_idle),
    )
    if settings.schedule is not None:
        said["schedule"] = schedule_of(settings.schedule)
    if settings.wake is not None:
        said["wake"] = given(
            mode=_text(settings.wake.mode),
            by=_text(settings.wake.by),
            timeout=_duration(settings.wake.timeout),
            pageStatus=settings.wake.page_status,
            readyPath=settings.wake.ready_path,
            readyStatus=_list(settings.wake.ready_status),
        )
    if settings.ignore_access is not None:
        said["ignoreAccess"] = ignore_access_of(settings.ignore_access)
    return said


def settings_change(settings: Settings) -> dict[str, Any]:
    """The fields of a merge patch that makes a spec say exactly this."""
    said = settings_of(settings)
    for key, parts in (
        ("schedule", SCHEDULE_KEYS),
        ("wake", WAKE_KEYS),
        ("ignoreAccess", IGNORE_ACCESS_KEYS),
    ):
        if key in said:
            said[key] = exactly(said[key], parts)
    return exactly(said, SETTINGS_KEYS)


def schedule_of(schedule: Schedule) -> dict[str, Any]:
    """A schedule; lists that are empty are left out."""
    said: dict[str, Any] = {"timeZone": schedule.time_zone}
    for key, windows in (("awake", schedule.awake), ("sleep", schedule.sleep)):
        if windows:
            said[key] = [{"start": window.start, "end": window.end} for window in windows]
    return said


def ignore_access_of(ignore: IgnoreAccess) -> dict[str, Any]:
    """What is no use of an app; lists that are empty are left out."""
    lists = {
        "methods": ignore.methods,
        "paths": ignore.paths,
        "userAgents": ignore.user_agents,
        "addresses": ignore.addresses,
    }
    said: dict[str, Any] = {key: list(items) for key, items in lists.items() if items}
    said["builtIn"] = ignore.built_in
    return said


def _schedule_from(fields: Fields | None) -> Schedule | None:
    if fields is None:
        return None
    zone = fields.one("timeZone", check_time_zone)
    if zone is None and "timeZone" in fields:
        return None  # its windows would open at hours that nobody meant
    return Schedule(
        time_zone=zone or "UTC",
        awake=tuple(_windows(fields, "awake")),
        sleep=tuple(_windows(fields, "sleep")),
    )


def _windows(fields: Fields, key: str) -> Iterator[Window]:
    for window in fields.objects(key):
        start, end = window.one("start", check_cron), window.one("end", check_cron)
        for bound in ("start", "end"):
            if bound not in window:
                window.refuse(f"a window without its {bound}")
        if start and end:
            yield Window(start, end)


def _wake_from(fields: Fields | None) -> WakeSettings | None:
    if fields is None:
        return None
    return WakeSettings(
        mode=fields.one("mode", word(WakeMode)),
        by=fields.one("by", word(WakeBy)),
        timeout=fields.one(
            "timeout", values.duration(unit=SECOND, low=SECOND, high=timedelta(minutes=10))
        ),
        page_status=fields.one("pageStatus", values.choice({"503": 503, "200": 200, "202": 202})),
        ready_path=fields.one("readyPath", values.path),
        ready_status=fields.many("readyStatus", values.integer(100, 599)),
    )


def _ignore_access_from(fields: Fields | None) -> IgnoreAccess | None:
    if fields is None:
        return None
    built_in = fields.flag("builtIn")
    return IgnoreAccess(
        methods=fields.many("methods", values.method) or (),
        paths=fields.many("paths", _visit_pattern) or (),
        user_agents=fields.many("userAgents", _visit_pattern) or (),
        addresses=fields.many("addresses", values.network) or (),
        built_in=True if built_in is None else built_in,
    )


def _visit_pattern(text: str) -> str:
    compile_pattern(text, most_open_repeats=MOST_OPEN_REPEATS_ON_VISITS)
    return text


def _duration(span: timedelta | None) -> str | None:
    return None if span is None else duration_text(span)


def _text(member: StrEnum | None) -> str | None:
    return None if member is None else member.value


def _list(items: tuple[Any, ...] | None) -> list[Any] | None:
    return None if items is None else list(items)
