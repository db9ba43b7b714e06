"""Time that moves when a test says so."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)


@dataclass(order=True)
class _Due:
    at: datetime
    order: int
    callback: Callable[[], object] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that stands still between two calls of `advance`."""

    def __init__(self) -> None:
        self._now = START
        self._due: list[_Due] = []
        self._order = 0

    def now(self) -> datetime:
        return self._now

    def call_later(self, delay: timedelta, callback: Callable[[], object]) -> _Due:
        self._order += 1
        due = _Due(self._now + delay, self._order, callback)
        heapq.heappush(self._due, due)
        return due

    def advance(self, seconds: float) -> None:
        """Let time pass, and what falls due happen at its own moment."""
        until = self._now + timedelta(seconds=seconds)
        while self._due and self._due[0].at <= until:
            due = heapq.heappop(self._due)
            self._now = due.at
            if not due.cancelled:
                due.callback()
        self._now = until

    def waiting(self) -> int:
        """How many calls are still to come."""
        return sum(not due.cancelled for due in self._due)
