"""A live account of what happens to the apps, for the demo's terminal."""

from collections.abc import Mapping

from rich.console import Console

from paastis.app import App, Phase
from paastis.cli.installation import Parts
from paastis.cli.settings import utc_now
from paastis.reasons import Reason

_WORDS: Mapping[Phase, str] = {
    Phase.AWAKE: "[green]is awake[/green]",
    Phase.DRAINING: "is idle; asking the proxies whether anybody uses it",
    Phase.STOPPING: "is being stopped",
    Phase.ASLEEP: "[blue]sleeps[/blue]",
    Phase.STARTING: "[yellow]is being woken[/yellow]",
    Phase.FAILED: "[red]could not be started[/red]",
    Phase.UNMANAGED: "[dim]is left alone[/dim]",
    Phase.GONE: "is gone",
}


async def tell_events(parts: Parts, console: Console) -> None:
    """A line for each change of phase, until cancelled."""
    phases: dict[str, Phase] = {}
    for app in parts.registry.apps().values():
        _tell(parts, console, app)
        phases[app.name] = app.phase
    async for change in parts.registry.changes():
        changed = change.app
        if changed is None:
            console.print(f"{_clock()}  {change.name} is forgotten")
            phases.pop(change.name, None)
        elif phases.get(change.name) is not changed.phase:
            phases[change.name] = changed.phase
            _tell(parts, console, changed)


def _tell(parts: Parts, console: Console, app: App) -> None:
    words = _WORDS[app.phase]
    because = "" if app.phase_reason is Reason.DISCOVERED else f"  ({app.phase_reason})"
    where = f"  {parts.address(app)}" if app.phase in {Phase.AWAKE, Phase.ASLEEP} else ""
    console.print(
        f"{_clock()}  [bold]{app.app_name}[/bold] {words}{because}{where}", soft_wrap=True
    )


def _clock() -> str:
    return f"[dim]{utc_now().astimezone():%H:%M:%S}[/dim]"
