"""How often an app that is said to be awake may be reported as looking stopped. Pure.

Each report costs an inspection. After one that finds the app running, the app's next report waits
10 s, then twice as long each time, up to 10 min.
"""

from dataclasses import dataclass
from enum import Enum, auto

from paastis.app import App, Phase

_FIRST = 10.0
_LONGEST = 600.0


class Doubt(Enum):
    """What to do about an answer that may not be the app's own."""

    REPORT = auto()
    PENDING = auto()
    """A report of this cycle was made a moment ago; its answer is on its way."""
    OVERDUE = auto()
    """A report of this cycle was made, and nobody answers."""
    QUIET = auto()
    """The last inspection found the app running, not long ago."""


@dataclass(slots=True)
class _Report:
    cycle: int | None = None
    """The cycle that was reported and not yet answered."""
    at: float = float("-inf")
    pause: float = 0.0
    not_before: float = float("-inf")


class Doubts:
    """Each app's reports; times are monotonic seconds."""

    def __init__(self, *, patience: float) -> None:
        """`patience`: how long the answer to a report is looked forward to."""
        self._patience = patience
        self._reports: dict[str, _Report] = {}

    def about(self, app: App, now: float) -> Doubt:
        """What to do about one more doubtful answer."""
        report = self._reports.get(app.name)
        if report is None:
            return Doubt.REPORT
        if report.cycle == app.cycle:
            return Doubt.PENDING if now < report.at + self._patience else Doubt.OVERDUE
        return Doubt.REPORT if now >= report.not_before else Doubt.QUIET

    def reported(self, app: App, now: float) -> None:
        """A report for this cycle was made."""
        report = self._reports.setdefault(app.name, _Report())
        report.cycle, report.at = app.cycle, now

    def observe(self, app: App, now: float) -> None:
        """Learn a record: it may hold the answer to a report."""
        report = self._reports.get(app.name)
        if report is None or report.cycle is None or app.cycle <= report.cycle:
            return
        if app.phase is Phase.AWAKE and app.cycle == report.cycle + 1:
            report.cycle = None
            report.pause = min(_LONGEST, report.pause * 2 or _FIRST)
            report.not_before = now + report.pause
        else:
            del self._reports[app.name]  # it was right

    def forget(self, name: str) -> None:
        """The record was removed."""
        self._reports.pop(name, None)
