"""How often an app that is said to be awake may be reported as looking stopped. Pure.

Each report costs an inspection. After one that finds the app running, the app's next report waits
10 s, then twice as long each time, up to 10 min.
"""

from dataclasses import dataclass

from paastis.app import App, Phase

_FIRST = 10.0
_LONGEST = 600.0


@dataclass(slots=True)
class _Doubt:
    cycle: int | None = None
    """The cycle that was reported and not yet answered."""
    pause: float = 0.0
    not_before: float = float("-inf")


class Doubts:
    """One app's reports each; times are monotonic seconds."""

    def __init__(self) -> None:
        self._doubts: dict[str, _Doubt] = {}

    def may_report(self, app: App, now: float) -> bool:
        """Whether to report now; also True while the answer to an earlier report is out."""
        doubt = self._doubts.get(app.name)
        return doubt is None or doubt.cycle == app.cycle or now >= doubt.not_before

    def reported(self, app: App) -> None:
        """A report for this cycle was made."""
        self._doubts.setdefault(app.name, _Doubt()).cycle = app.cycle

    def observe(self, app: App, now: float) -> None:
        """Learn a record: it may hold the answer to a report."""
        doubt = self._doubts.get(app.name)
        if doubt is None or doubt.cycle is None or app.cycle <= doubt.cycle:
            return
        if app.phase is Phase.AWAKE and app.cycle == doubt.cycle + 1:
            doubt.cycle = None
            doubt.pause = min(_LONGEST, doubt.pause * 2 or _FIRST)
            doubt.not_before = now + doubt.pause
        else:
            del self._doubts[app.name]  # it was right

    def forget(self, name: str) -> None:
        """The record was removed."""
        self._doubts.pop(name, None)
