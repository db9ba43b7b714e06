"""How many calls one account may send, and whose turn it is.

A provider counts calls as they arrive, and we cannot see when that is. So a call holds its slot from
before it is sent until a whole window after its answer (or after we gave up on it). Then, whenever
the call arrived in between, no window of the provider's ever holds more calls than there are slots.

The last slots are kept for visitors, and as many before them are kept from stops: else a row of stops
would leave no call for following what visitors started, and its place would not become free. Those
who wait are served by urgency, then in order of arrival.
After a "too many calls" nothing is sent until the silence that the provider wants is over.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from paastis.errors import RateLimited
from paastis.providers.port import BudgetState, Urgency

WINDOW = 60.0
"""Seconds over which calls are counted."""
RESERVE = 10
"""Slots kept for visitors, where the account has at least five times as many. Stops leave twice that."""
FIRST_BACK_OFF = 5.0
LONGEST_BACK_OFF = 60.0
"""Seconds of silence after a "too many calls" that names none: from the first, doubling to the last."""
LONGEST_SILENCE = 3600.0
"""A provider that asks for more than an hour of silence is asked again after one."""


@dataclass(slots=True)
class Slot:
    """Leave to send one call."""

    granted_at: float
    sent: bool = False
    """Set right before the call is sent; a slot that was not used is free again at once."""


class Budget:
    """The calls of one account. `per_minute` is at least 1.

    `clock` tells monotonic seconds; without one, the running event loop does. Waiting is done on the
    event loop, so a clock that is not the loop's must run at its pace.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] | None = None) -> None:
        if per_minute < 1:
            raise ValueError(f"{per_minute} calls a minute: at least 1 is needed")
        self._per_minute = per_minute
        self._reserve = min(RESERVE, per_minute // 5)
        self._clock = clock
        self._open = 0
        self._ends: deque[float] = deque()  # when slots of ended calls are free again; sorted
        self._waiting: dict[Urgency, deque[asyncio.Future[None]]] = {
            urgency: deque() for urgency in Urgency
        }
        self._timer: asyncio.TimerHandle | None = None
        self._blocked_until = -math.inf
        self._blocked_at = -math.inf
        self._back_off = FIRST_BACK_OFF

    def time(self) -> float:
        """Now, in the seconds that deadlines are given in."""
        return self._clock() if self._clock is not None else asyncio.get_running_loop().time()

    def state(self, now: datetime) -> BudgetState:
        """What is left. `now` is only used to tell people when a silence is over."""
        silence = self._blocked_until - self.time()
        if silence > 0:
            until = now + timedelta(seconds=silence)
            return BudgetState(per_minute=self._per_minute, left=0, blocked_until=until)
        return BudgetState(per_minute=self._per_minute, left=self._free())

    @asynccontextmanager
    async def slot(self, urgency: Urgency, *, deadline: float) -> AsyncIterator[Slot]:
        """Wait for a slot, at the latest until `deadline` (see `time`), and hold it.

        Raises RateLimited when there is none in time, at once if that is certain.
        """
        await self._take(urgency, deadline)
        slot = Slot(granted_at=self.time())
        try:
            yield slot
        finally:
            self._open -= 1
            if slot.sent:
                self._ends.append(self.time() + WINDOW)
            self._grant()

    def too_many(self, slot: Slot, retry_after: float | None) -> float:
        """The provider answered "too many calls". Returns the seconds of silence from now."""
        now = self.time()
        # Answers to calls that left before the silence began tell nothing new about its length.
        news = slot.granted_at >= self._blocked_at
        if retry_after is not None:
            silence = min(max(retry_after, 0.0), LONGEST_SILENCE)
        elif news:
            silence = self._back_off
            self._back_off = min(2 * self._back_off, LONGEST_BACK_OFF)
        else:
            silence = 0.0
        if news or retry_after is not None:
            self._blocked_at = now
            self._blocked_until = max(self._blocked_until, now + silence)
        self._grant()
        return max(self._blocked_until - now, 0.0)

    def accepted(self, slot: Slot) -> None:
        """The provider answered something else than "too many calls"."""
        if slot.granted_at >= self._blocked_at:
            self._back_off = FIRST_BACK_OFF

    async def _take(self, urgency: Urgency, deadline: float) -> None:
        now = self.time()
        if self._blocked_until > deadline:
            raise self._refusal(urgency)
        granted = asyncio.get_running_loop().create_future()
        self._waiting[urgency].append(granted)
        self._grant()
        try:
            async with asyncio.timeout(max(deadline - now, 0.0)):
                await granted
        except BaseException as gone:
            # The slot may have been granted in the very turn in which we were cancelled.
            if granted.done() and not granted.cancelled():
                self._open -= 1
            granted.cancel()
            self._grant()
            if isinstance(gone, TimeoutError):
                raise self._refusal(urgency) from None
            raise

    def _grant(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self.time()
        if now >= self._blocked_until:
            while (granted := self._next()) is not None:
                self._open += 1
                granted.set_result(None)
        if not any(self._waiting.values()):
            return
        # An open slot's end calls us by itself; only the passing of time needs a timer.
        later = [self._blocked_until] if self._blocked_until > now else []
        if not later and self._ends:
            later = [self._ends[0]]
        if later:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(later[0] - now, 0.0), self._grant)

    def _next(self) -> asyncio.Future[None] | None:
        """Who goes next with the slots that are free, if anybody may."""
        for urgency, queue in self._waiting.items():
            while queue and queue[0].done():
                queue.popleft()
            if queue and self._free() > self._kept_from(urgency):
                return queue.popleft()
        return None

    def _free(self) -> int:
        now = self.time()
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        return self._per_minute - self._open - len(self._ends)

    def _kept_from(self, urgency: Urgency) -> int:
        if urgency is Urgency.VISITOR:
            return 0
        # Discovery is one call now and then, and without it nothing could sleep.
        return 2 * self._reserve if urgency is Urgency.STOP else self._reserve

    def _refusal(self, urgency: Urgency) -> RateLimited:
        """What somebody is told for whom there is no slot in time."""
        now = self.time()
        if self._blocked_until > now:
            wait = timedelta(seconds=self._blocked_until - now)
            return RateLimited(
                f"the provider wants no calls for another {wait.total_seconds():.0f} s",
                retry_after=wait,
            )
        missing = self._kept_from(urgency) + 1 - self._free()
        known = 0 < missing <= len(self._ends)
        seconds = self._ends[missing - 1] - now if known else 1.0
        return RateLimited(
            f"all {self._per_minute} calls a minute of the account are used up",
            retry_after=timedelta(seconds=max(seconds, 1.0)),
        )
