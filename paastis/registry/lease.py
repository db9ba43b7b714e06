"""Leases: who leads, and which proxies live.

No wall clock of another machine is ever compared with ours. A Lease is judged by when this process
saw it change, on its own monotonic clock; the times that are written into it are for people.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paastis.errors import Conflict, Missing, RegistryError
from paastis.registry.answers import Object, version_of
from paastis.registry.cluster import Cluster
from paastis.registry.port import Leadership
from paastis.resources.names import LEASES

log = logging.getLogger(__name__)

LEADER = "paastis-controller"
"""The name of the leader's Lease."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How leadership is held; all in seconds."""

    lasts: float = 10.0
    """From the moment when a renewal was sent."""
    renew: float = 2.0
    """Between renewals, and between the looks of those who wait."""
    give_up: float = 6.0
    """Without a renewal: what is on its way then has ended before anybody else leads."""
    call: float = 2.0
    """For one call."""
    look: float = 5.0
    """Between looks of those who only want to know whether somebody leads."""


def micro_time(moment: datetime) -> str:
    """A time as Leases have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Sight:
    """When a Lease was last seen to change."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.since = 0.0

    def saw(self, version: int, now: float) -> float:
        """Note what is there now; for how many seconds has it been the same?"""
        if version != self.version:
            self.version, self.since = version, now
        return now - self.since


class Tenure:
    """The right to lead, renewed until it is lost or given up."""

    def __init__(self, *, sent: float, monotonic: Callable[[], float], terms: Terms) -> None:
        self._sent = sent
        self._monotonic = monotonic
        self._terms = terms
        self._over = asyncio.Event()

    def outlives(self, span: timedelta) -> bool:
        """See `Leadership`. True only as long as the right has not to be given up, either."""
        return self.patience > 0 and self._terms.lasts - self.age >= span.total_seconds()

    async def lost(self) -> None:
        """See `Leadership`."""
        await self._over.wait()

    @property
    def age(self) -> float:
        """Seconds since the last renewal that succeeded was sent."""
        return self._monotonic() - self._sent

    @property
    def patience(self) -> float:
        """Seconds until the right is given up; 0 or less: it is over."""
        return 0.0 if self._over.is_set() else self._terms.give_up - self.age

    def renewed(self, sent: float) -> None:
        """A renewal succeeded that was sent then."""
        self._sent = sent

    def end(self) -> None:
        """It is over, whatever the clock says."""
        self._over.set()


class LeaderLease:
    """The right of one process at a time to act, as a candidate sees it."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        identity: str,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        rng: random.Random,
        terms: Terms,
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._monotonic = monotonic
        self._now = now
        self._rng = rng
        self._terms = terms
        self._before: str | None = None
        """The holder's name in our last turn."""

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[Leadership]:
        """See the port."""
        # A name of this turn alone: a process that was started again under the same name, or twice
        # by mistake, must not take the Lease for its own.
        holder = f"{self._identity}_{self._rng.getrandbits(40):010x}"
        tenure, version = await self._win(holder)
        log.info("Leading as %s.", holder)
        renewing = asyncio.create_task(self._renew(holder, tenure, version), name="lease")
        try:
            yield tenure
        finally:
            tenure.end()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            self._before = holder
            await self._give_up(holder)

    async def _win(self, holder: str) -> tuple[Tenure, int]:
        sight = Sight()
        while True:
            pause = self._terms.renew * (0.75 + 0.5 * self._rng.random())
            try:
                found = await self._found()
                wait = self._free_in(found, holder, sight)
                won = await self._attempt(found, holder) if wait <= 0 else None
                # A whole pause after the end of the span would be a pause without a leader.
                pause = min(pause, wait) if wait > 0 else pause
            except RegistryError as error:
                log.warning("The Lease %s cannot be read or taken: %s", LEADER, error)
                won = None
            if won is not None:
                return won
            await asyncio.sleep(pause)

    async def _found(self) -> Object | None:
        try:
            return await self._cluster.get(LEASES, LEADER, deadline=self._terms.call)
        except Missing:
            return None

    def _free_in(self, found: Object | None, holder: str, sight: Sight) -> float:
        """Seconds until nobody holds the Lease unless it is renewed; 0 or less: nobody does."""
        if found is None:
            return 0.0
        spec = found.get("spec") or {}
        unchanged = sight.saw(version_of(found), self._monotonic())
        # Our own name is in it where the answer to our last attempt was lost; that of our last turn,
        # which is over, where the server could not be reached to give it back.
        if spec.get("holderIdentity") in (None, "", holder, self._before):
            return 0.0
        # A leader of another version may mean to hold it for longer.
        return max(self._terms.lasts, float(spec.get("leaseDurationSeconds") or 0)) - unchanged

    async def _attempt(self, found: Object | None, holder: str) -> tuple[Tenure, int] | None:
        """Take the Lease as it was found; None: somebody else was faster."""
        sent = self._monotonic()
        try:
            taken = await self._take(found, holder)
        except (Conflict, Missing):
            return None
        return Tenure(sent=sent, monotonic=self._monotonic, terms=self._terms), version_of(taken)

    async def _take(self, found: Object | None, holder: str) -> Object:
        now = micro_time(self._now())
        spec: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._terms.lasts)),
            "acquireTime": now,
            "renewTime": now,
        }
        if found is None:
            body = {"metadata": {"name": LEADER}, "spec": {**spec, "leaseTransitions": 0}}
            return await self._cluster.create(LEASES, body, deadline=self._terms.call)
        spec["leaseTransitions"] = int((found.get("spec") or {}).get("leaseTransitions") or 0) + 1
        return await self._patch(version_of(found), spec)

    async def _patch(
        self, version: int, spec: Mapping[str, Any], *, deadline: float | None = None
    ) -> Object:
        body = {"metadata": {"resourceVersion": str(version)}, "spec": spec}
        deadline = self._terms.call if deadline is None else deadline
        return await self._cluster.patch(LEASES, LEADER, body, deadline=deadline)

    async def _renew(self, holder: str, tenure: Tenure, version: int) -> None:
        """Until it is lost."""
        try:
            pause = self._terms.renew
            while tenure.patience > 0:
                await asyncio.sleep(min(pause, max(0.0, tenure.patience)))
                if tenure.patience <= 0:
                    break
                renewed = await self._renewed(holder, tenure, version)
                pause = self._terms.renew if renewed is not None else self._terms.renew / 8
                version = version if renewed is None else renewed
            log.error("The right to lead is lost.")
        except (Conflict, Missing) as error:
            log.error("The right to lead is lost to somebody else: %s", error)  # noqa: TRY400
        finally:
            tenure.end()

    async def _renewed(self, holder: str, tenure: Tenure, version: int) -> int | None:
        """The Lease's new version; None if nobody knows.

        Raises `Conflict` if somebody else holds it, `Missing` if it was deleted, so that somebody
        else may.
        """
        sent = self._monotonic()
        deadline = min(self._terms.call, tenure.patience)
        spec = {"renewTime": micro_time(self._now())}
        try:
            done = await self._patch(version, spec, deadline=deadline)
        except Conflict:
            # Perhaps by our own last attempt, whose answer was lost.
            return await self._still_ours(holder, deadline)
        except Missing:
            raise
        except RegistryError as error:
            log.warning("The right to lead could not be renewed: %s", error)
            return None
        tenure.renewed(sent)
        return version_of(done)

    async def _still_ours(self, holder: str, deadline: float) -> int | None:
        try:
            found = await self._cluster.get(LEASES, LEADER, deadline=deadline)
        except Missing:
            raise
        except RegistryError:
            return None
        if (found.get("spec") or {}).get("holderIdentity") != holder:
            raise Conflict("Another controller holds the Lease.")
        return version_of(found)

    async def _give_up(self, holder: str) -> None:
        """Let the next one lead at once, if that can be said quickly."""
        try:
            async with asyncio.timeout(self._terms.call):
                found = await self._cluster.get(LEASES, LEADER)
                if (found.get("spec") or {}).get("holderIdentity") == holder:
                    await self._patch(version_of(found), {"holderIdentity": None})
        except (RegistryError, TimeoutError) as error:
            log.info("The Lease %s could not be given back: %s", LEADER, error)


class LeaderSight:
    """Whether somebody leads, as seen from outside."""

    def __init__(self, cluster: Cluster, *, monotonic: Callable[[], float], terms: Terms) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._terms = terms
        self._sight = Sight()
        self._held = True
        self._unchanged = 0.0

    def overdue(self) -> timedelta:
        """How long a sign of life was overdue when we last could look; zero before the first look.

        Where the API cannot be reached nobody knows about the controller, and nothing is said.
        """
        grace = self._terms.lasts if self._held else 0.0
        return timedelta(seconds=max(0.0, self._unchanged - grace))

    async def look(self) -> None:
        """Raises `RegistryError`."""
        try:
            found = await self._cluster.get(LEASES, LEADER, deadline=self._terms.call)
        except Missing:
            found = {}
        self._held = bool((found.get("spec") or {}).get("holderIdentity"))
        version = version_of(found) if found else 0
        self._unchanged = self._sight.saw(version, self._monotonic())

    async def watch(self) -> None:
        """Look regularly, for ever."""
        while True:
            try:
                await self.look()
            except RegistryError as error:
                log.warning("The Lease %s cannot be read: %s", LEADER, error)
            await asyncio.sleep(self._terms.look)
