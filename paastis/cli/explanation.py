"""How `paastis explain` tells about one app."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from paastis.cli.tables import ago, ahead, phase_text

_POLICY = (
    ("power", "power"),
    ("mode", "mode"),
    ("max_idle_time", "sleeps after"),
    ("linked_apps", "links to"),
    ("display_name", "also called"),
    ("hosts", "extra hosts"),
    ("schedule", "schedule"),
    ("rewrite", "rewrites"),
    ("max_tunnel_idle", "tunnels end after"),
)
_WAKE = ("mode", "by", "timeout", "page_status", "ready_path")


def explanation(view: Mapping[str, Any], now: datetime) -> RenderableType:
    """Everything about one app that a person would ask."""
    decision = view["decision"]
    parts: list[RenderableType] = [
        Text.assemble(
            (str(view["app_name"]), "bold"),
            "  ",
            phase_text(str(view["phase"])),
            f"  since {ago(view['phase_since'], now)}  ({view['reason']}, cycle {view['cycle']})",
        ),
        Text(f"{_action(view)}: {decision['message']}  [{decision['reason']}]"),
    ]
    parts += [Text(line) for line in _times(view, now)]
    parts += [Text(line, style="yellow") for line in _problems(view, now)]
    parts += [Text(), _policy_table(view)]
    return Group(*parts)


def _action(view: Mapping[str, Any]) -> str:
    """What is being done; in an account that is only observed, what would be."""
    action = str(view["decision"]["action"])
    shown = view["policy"]["mode"] == "Observe" and action not in {"Nothing", "Inspect"}
    return f"Only shown, not done: {action}" if shown else action


def _times(view: Mapping[str, Any], now: datetime) -> Iterator[str]:
    activity = view["last_activity"]
    yield f"last use        {ago(view['last_access_time'], now)}"
    if activity is not None:
        yield f"other activity  {ago(activity['time'], now)} ({activity['reason']})"
    yield f"sleeps          {ahead(view['sleeps_at'], now)}"
    again = view["decision"]["look_again_at"]
    yield f"may change      {ahead(again, now) if again else 'when something happens'}"
    yield f"address         {', '.join(view['addresses']) or '-'}"
    yield f"app's own       {view['url'] or '-'}"
    yield f"formation       {_formation(view['formation'])}"
    if view["snapshot"] is not None:
        taken = ago(view["snapshot"]["taken_at"], now)
        yield f"to restore      {_formation(view['snapshot']['processes'])}, noted {taken}"
    if view["operation"] is not None and view["operation"]["ended_at"] is None:
        operation = view["operation"]
        yield f"on its way      {operation['kind']}, sent {ago(operation['sent_at'], now)}"


def _problems(view: Mapping[str, Any], now: datetime) -> Iterator[str]:
    for condition in view["conditions"]:
        if condition["status"]:
            yield f"{condition['type']} ({ago(condition['since'], now)}): {condition['message']}"


def _formation(processes: Any) -> str:
    told = [f"{row['type']} {row['amount']}×{row['size'] or 'default'}" for row in processes]  # noqa: RUF001 (a number of processes)
    return ", ".join(told) or "not known yet"


def _policy_table(view: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("POLICY", "VALUE", "SET BY"):
        table.add_column(column)
    policy = view["policy"]
    sources = policy["sources"]
    for name, words in _POLICY:
        table.add_row(words, _value(policy[name]), sources.get(name, "default"))
    for name in _WAKE:
        value = _value(policy["wake"][name])
        table.add_row(f"wake {name}", value, sources.get(f"wake.{name}", "default"))
    return table


def _value(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(inner)}" for key, inner in value.items())
    return str(value)
