"""Follows one kind of resource: list, then watch from there, for ever.

A watch is not trusted. It may fall silent, end, or miss something, and the server forgets its
history after minutes. So: without a line for `quiet` seconds it is opened again from the last
version seen; where that has expired, everything is listed again; and every `compare` seconds a
list is held against what the watch has told. Meanwhile whoever reads the follower gets the last
knowledge there is, and `age` says how old that is.

Retries back off, and only what a watch brings ends that: a server that lists well and then says
"expired" each time would otherwise be listed as fast as it answers.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from paastis.errors import Expired, RegistryError
from paastis.metrics import Metrics
from paastis.registry.cluster import PAGE, QUIET, STRETCH, Cluster, Event, Object
from paastis.registry.listing import everything
from paastis.resources.names import Resource

log = logging.getLogger(__name__)


class Follower(Protocol):
    """Who is told. None of these may await: what is shown changes between two awaits at most."""

    def begin(self) -> None:
        """A list begins. One that began before and did not end is void."""

    def page(self, items: Sequence[Object]) -> None:
        """A part of the list."""

    def listed(self, version: int) -> None:
        """That was all: whatever was not in the list was gone at that version."""

    def happened(self, event: Event) -> None:
        """A line of the watch, which may be older than what a list has shown."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds."""

    quiet: float = QUIET
    stretch: int = STRETCH
    compare: float = 600.0
    """Between comparisons: how long a missed deletion may stay unnoticed."""
    first_pause: float = 0.1
    longest_pause: float = 10.0
    page: int = PAGE
    """Objects listed at once."""


class Reflector:
    """One kind of resource of one namespace, told to one follower."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        follower: Follower,
        *,
        monotonic: Callable[[], float],
        rng: random.Random,
        field_selector: str = "",
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        metrics: Metrics | None = None,
    ) -> None:
        """`sleep` waits between tries; `monotonic` measures `age`."""
        self._cluster = cluster
        self._resource = resource
        self._follower = follower
        self._monotonic = monotonic
        self._rng = rng
        self._field_selector = field_selector
        self._pace = Pace() if pace is None else pace
        self._sleep = sleep
        self._metrics = metrics
        self._listing = asyncio.Lock()
        self._version: int | None = None
        self._brought = False
        self._heard = monotonic()

    def age(self) -> float:
        """Seconds since the API server was last heard; counted from the beginning at first."""
        return self._monotonic() - self._heard

    def heard(self) -> None:
        """News came by another way."""
        self._heard = self._monotonic()

    async def compare(self) -> None:
        """List everything, as it is after this call, and tell the follower.

        Raises `RegistryError`; the follower then goes on with what it has.
        """
        async with self._listing:
            self._follower.begin()
            version = None
            parts = everything(
                self._cluster,
                self._resource,
                field_selector=self._field_selector,
                size=self._pace.page,
            )
            async with aclosing(parts):
                async for page in parts:
                    self._follower.page(page.items)
                    version = page.version
                    self.heard()
                    await asyncio.sleep(0)  # a page is decoded in 10 ms; others have their turn
            assert version is not None  # noqa: S101 - there is one page at least
            self._follower.listed(version)
            if self._version is None:
                self._version = version
            if self._metrics is not None:
                self._metrics.registry_lists.labels(self._resource.plural).inc()

    async def compare_regularly(self) -> None:
        """For ever; the first time after one interval."""
        wait = self._pace.compare
        while True:
            # Several programs that were started together shall not list together for ever.
            await self._sleep(wait * (0.8 + 0.4 * self._rng.random()))
            try:
                await self.compare()
                wait = self._pace.compare
            except RegistryError as error:
                log.warning("The %s could not be listed: %s", self._resource.plural, error)
                wait = self._pace.compare / 10

    async def follow(self) -> None:
        """List if that was not done yet, then watch, for ever."""
        failures = 0
        while True:
            self._brought = False
            try:
                if self._version is None:
                    await self.compare()
                await self._watch()
            except Expired:
                log.info("The watch of %s has expired.", self._resource.plural)
                self._version = None
            except RegistryError as error:
                log.warning("The %s cannot be watched: %s", self._resource.plural, error)
            failures = 0 if self._brought else failures + 1
            await self._sleep(self._pause(failures))

    async def _watch(self) -> None:
        assert self._version is not None  # noqa: S101 - it was listed
        events = self._cluster.watch(
            self._resource,
            version=self._version,
            field_selector=self._field_selector,
            quiet=self._pace.quiet,
            stretch=self._pace.stretch,
        )
        async with aclosing(events):
            async for event in events:
                self._follower.happened(event)
                self._version = event.version
                self._brought = True
                self.heard()

    def _pause(self, failures: int) -> float:
        longest = min(self._pace.longest_pause, self._pace.first_pause * 2.0 ** min(failures, 20))
        return longest * (0.5 + 0.5 * self._rng.random())
