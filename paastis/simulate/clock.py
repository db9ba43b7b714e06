"""The pretend platform's time: what o'clock it is, and being called later.

The world never reads a clock and never sleeps. It asks this, so that tests can move time by hand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta


class Handle(Protocol):
    """A call that is due later and can be taken back."""

    def cancel(self) -> None:
        """Take the call back; harmless when it was made already."""


class Clock(Protocol):
    """Where the world takes its time from."""

    def now(self) -> datetime:
        """The time now, aware, in UTC."""

    def call_later(self, delay: timedelta, callback: Callable[[], object]) -> Handle:
        """Call `callback` once, after `delay`."""


class LoopClock:
    """Real time, on the running event loop."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now

    def call_later(self, delay: timedelta, callback: Callable[[], object]) -> Handle:
        """Call `callback` on the event loop after `delay`."""
        return asyncio.get_running_loop().call_later(delay.total_seconds(), callback)
