"""What the terminal shows of apps, as tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from paastis.cli.installation import Parts
from paastis.durations import format_duration
from paastis.system.view import app_view

_COLOURS: Mapping[str, str] = {
    "Awake": "green",
    "Draining": "yellow",
    "Stopping": "yellow",
    "Asleep": "blue",
    "Starting": "yellow",
    "Failed": "red",
    "Unmanaged": "dim",
    "Gone": "dim",
}


def phase_text(phase: str) -> Text:
    """The phase in its colour."""
    return Text(phase, style=_COLOURS.get(phase, ""))


def ago(moment: str | None, now: datetime) -> str:
    """How long ago an ISO time was."""
    if moment is None:
        return "-"
    return f"{_span(now - datetime.fromisoformat(moment))} ago"


def ahead(moment: str | None, now: datetime) -> str:
    """How far ahead an ISO time is."""
    if moment is None:
        return "-"
    left = datetime.fromisoformat(moment) - now
    return "now" if left <= timedelta(seconds=1) else f"in {_span(left)}"


def _span(span: timedelta) -> str:
    """Two units at most: seconds are noise beyond an hour."""
    seconds = max(0, int(span.total_seconds()))
    if seconds >= 86_400:
        seconds -= seconds % 3600
    elif seconds >= 3600:
        seconds -= seconds % 60
    return format_duration(timedelta(seconds=seconds))


def apps_table(views: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """All apps as the running instance knows them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("APP", "PHASE", "REASON", "LAST USE", "SLEEPS", "ADDRESS"):
        table.add_column(column, overflow="fold")
    for view in sorted(views, key=lambda view: str(view["app_name"])):
        used = view["last_access_time"]
        table.add_row(
            str(view["app_name"]),
            phase_text(str(view["phase"])),
            _reason(view),
            ago(used, now) if used else "-",
            ahead(view["sleeps_at"], now),
            str(next(iter(view["addresses"]), "-")),
        )
    return table


def found_table(parts: Parts, now: datetime) -> Table:
    """What was found at the start, and what will become of it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("APP", "PHASE", "SLEEPS", "BECAUSE OF", "ADDRESS"):
        table.add_column(column, overflow="fold")
    for view in (app_view(app, parts.instance) for app in sorted_apps(parts)):
        sources = view["policy"]["sources"]
        idle = f"{view['max_idle_time']} idle, {sources.get('max_idle_time', 'default')}"
        table.add_row(
            str(view["app_name"]),
            phase_text(str(view["phase"])),
            ahead(view["sleeps_at"], now),
            idle if view["sleeps_at"] else str(view["decision"]["reason"]),
            str(next(iter(view["addresses"]), "-")),
        )
    return table


def sorted_apps(parts: Parts) -> list[Any]:
    """By remote name."""
    return sorted(parts.registry.apps().values(), key=lambda app: app.app_name)


def _reason(view: Mapping[str, Any]) -> str:
    told = [row["type"] for row in view["conditions"] if row["status"]]
    return ", ".join([str(view["decision"]["reason"]), *told])
