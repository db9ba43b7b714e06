"""The `kubernetes` kind of registry: the PaastisApp resources of one namespace themselves.

Versions are resource versions, and a position is how far lists and watches have told the mirror,
never what a write was answered. Each write carries the version it was decided on; the API server
refuses it where anybody was faster.
"""

import asyncio
import logging
import random
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from paastis.app import App, AppChange
from paastis.errors import (
    Conflict,
    Forgotten,
    Missing,
    RegistryError,
    RegistryUnavailable,
    UnknownApp,
)
from paastis.metrics import Metrics
from paastis.registry.answers import Event, Object, version_of
from paastis.registry.cluster import Cluster
from paastis.registry.heartbeats import Heartbeats
from paastis.registry.lease import LeaderLease, LeaderSight, Terms
from paastis.registry.mirror import Known, Mirror, known_from
from paastis.registry.port import Change, Leadership, Presence
from paastis.registry.reflector import Pace, Reflector
from paastis.resources.names import APPS
from paastis.resources.standing import standing_of
from paastis.resources.values import BadResource
from paastis.resources.writing import access_change, spec_change, spec_of, status_change, status_of

log = logging.getLogger(__name__)

_TICK = timedelta(microseconds=1)
"""What an access adds at least, so that each one changes the record."""

_TRIES = 10
"""How often a write of ours that may go over anything is tried against others' writes."""

_WRITES = 40
_ACCESSES = 100
"""On their way at a time. A thousand at once must not keep a Lease from being renewed."""

_WRITE = 10.0
"""Seconds for all tries of a write."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubernetesRegistry:
    """See `paastis.registry.port.Registry`. It works from `open` on.

    With `watches` it follows the records by itself, as proxies and the command line need it.
    Without, somebody else watches them and hands each event to `take`; it still lists them at the
    beginning and every ten minutes, since a deletion may have been missed.

    `owner` is the owner reference of this proxy's heartbeat, `identity` this process's name as a
    candidate for the lead. `monotonic` (seconds) measures every span; `now` writes times for people.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        watches: bool,
        identity: str,
        rng: random.Random,
        owner: Mapping[str, Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        metrics: Metrics | None = None,
        pace: Pace | None = None,
        terms: Terms | None = None,
    ) -> None:
        terms = Terms() if terms is None else terms
        self._cluster = cluster
        self._watches = watches
        self._rng = rng
        self._metrics = metrics
        self._mirror = Mirror()
        self._reflector = Reflector(
            cluster, APPS, self._mirror, monotonic=monotonic, rng=rng, pace=pace, metrics=metrics
        )
        self._heartbeats = Heartbeats(cluster, owner=owner, monotonic=monotonic, now=now)
        self._lease = LeaderLease(
            cluster, identity=identity, monotonic=monotonic, now=now, rng=rng, terms=terms
        )
        self._leader = LeaderSight(cluster, monotonic=monotonic, terms=terms)
        # Writes to a name wait for each other here, instead of meeting at the server in vain.
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._writes = asyncio.Semaphore(_WRITES)
        self._accesses = asyncio.Semaphore(_ACCESSES)
        self._tasks: list[asyncio.Task[None]] = []
        self._joined: str | None = None
        """As which proxy we were registered before the list that opened the mirror."""
        self._closed = False
        if metrics is not None:
            metrics.watch_registry(self._reflector.age)

    # --- life

    async def open(self, *, proxy: str | None = None) -> None:
        """List everything, and go on from there.

        With `proxy`, this process is registered under that name before, which is what a first
        heartbeat does: one of 10,000 records is a second of work. Raises `RegistryError`; then it
        may be called again.
        """
        if proxy is not None:
            await self._heartbeats.register(proxy)
        await self._reflector.compare()
        self._joined = proxy
        if self._tasks or self._closed:
            return
        loops = {"comparison": self._reflector.compare_regularly}
        if self._watches:
            loops |= {"watch": self._reflector.follow, "leader": self._leader.watch}
        self._tasks = [
            asyncio.create_task(self._for_ever(name, loop), name=f"registry {name}")
            for name, loop in loops.items()
        ]

    async def _for_ever(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await loop()
            except Exception:  # a mistake of ours in one loop must not leave the mirror blind
                log.exception("The registry's %s failed.", name)
                if self._metrics is not None:
                    self._metrics.errors.labels(f"registry {name}").inc()
            await asyncio.sleep(1.0)

    async def aclose(self) -> None:
        """See the port. The connection to the cluster is the caller's, and stays open."""
        self._closed = True
        self._mirror.end()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def take(self, kind: str | None, resource: Mapping[str, Any]) -> None:
        """One event of somebody else's watch: ADDED, MODIFIED, DELETED, or None for "it is there"."""
        self._reflector.heard()
        self._mirror.happened(Event(kind or "MODIFIED", dict(resource), version_of(dict(resource))))

    # --- reading

    @property
    def shared(self) -> bool:
        """True: proxies are elsewhere."""
        return True

    def apps(self) -> Mapping[str, App]:
        """See the port. A resource that cannot be read is not there, or as it was before."""
        return self._mirror.apps

    def position(self) -> int:
        """See the port."""
        return self._mirror.position

    def changes(self) -> AsyncIterator[Change]:
        """See the port."""
        return self._mirror.feed()

    def staleness(self) -> timedelta:
        """How long nothing was heard of the records.

        Where nothing happens up to 60 s with a watch (its bookmarks), and 10 minutes without.
        """
        return timedelta(seconds=self._reflector.age())

    # --- writing

    async def create(self, app: App) -> App:
        """See the port.

        It takes two calls, for a status cannot be created with its resource. Between them, and
        after a crash between them, the record is there and has no status yet.
        """
        async with self._writing("create", app.name):
            body = {"metadata": {"name": app.name}, "spec": spec_of(app)}
            created = await self._cluster.create(APPS, body)
            generation = created["metadata"].get("generation")
            status = status_of(app, standing_of(app, ()), generation)
            uid = created["metadata"]["uid"]
            for attempt in range(_TRIES):
                try:
                    done = await self._patch(app.name, created, status)
                    return self._mirror.answered(done).app
                except Conflict:
                    # Nobody but us has a whole status for it; its spec may have been touched.
                    await self._pause(attempt)
                    created = await self._cluster.get(APPS, app.name)
                    if created["metadata"]["uid"] != uid:
                        raise
            raise RegistryUnavailable(f"The record {app.name!r} changes all the time.")

    async def remove(self, name: str, *, seen_version: int) -> None:
        """See the port."""
        async with self._writing("remove", name):
            try:
                await self._cluster.delete(APPS, name, version=seen_version)
            except Missing:
                log.debug("The record %s is gone already.", name)
            self._mirror.removed(name)

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        """See the port.

        A change of what the spec holds takes a call more, which comes first. If the second one
        meets a conflict, the first has happened.
        """
        async with self._writing("update", name):
            known = await self._seen(name, seen_version)
            spec = spec_change(change)
            if spec:
                known = self._mirror.answered(await self._patch(name, known, spec, part="spec"))
            status = status_change(
                change, before=known.app, standing=known.standing, generation=known.generation
            )
            if status:
                known = self._mirror.answered(await self._patch(name, known, status))
            return known.app

    async def record_access(self, name: str, when: datetime, *, wake_for: int | None = None) -> App:
        """See the port.

        The write carries the version that its value was computed from. Otherwise two proxies with
        clocks apart could write values that cross, the later one being the same as the one that
        the controller saw when it decided to stop, and the use would go unseen.
        """
        async with self._writing("access", name):
            known = self._mirror.newest(name)
            for attempt in range(_TRIES):
                if known is None:
                    known = known_from(await self._cluster.get(APPS, name))
                last = known.app.last_access_time
                use = when if last is None else max(when, last + _TICK)
                try:
                    done = await self._patch(name, known, access_change(use, wake_for))
                except Conflict:
                    await self._pause(attempt)
                    known = None
                else:
                    return self._mirror.answered(done).app
            raise RegistryUnavailable(f"The record {name!r} changes all the time.")

    async def _seen(self, name: str, version: int) -> Known:
        """The record at the version that a decision was made on."""
        known = self._mirror.newest(name)
        if known is None or known.app.version < version:
            known = self._mirror.answered(await self._cluster.get(APPS, name))
        if known.app.version != version:
            raise Conflict(
                f"The record {name!r} is at version {known.app.version}, not {version} any more."
            )
        return known

    async def _patch(
        self, name: str, at: Known | Object, said: Mapping[str, Any], *, part: str = "status"
    ) -> Object:
        version = at.app.version if isinstance(at, Known) else version_of(at)
        body = {"metadata": {"resourceVersion": str(version)}, part: said}
        subresource = "status" if part == "status" else ""
        return await self._cluster.patch(APPS, name, body, subresource=subresource)

    def _turn(self, name: str) -> asyncio.Lock:
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = asyncio.Lock()
        return turn

    async def _pause(self, attempt: int) -> None:
        """Some milliseconds, so that those who met each other do not meet again."""
        await asyncio.sleep(0.005 * min(attempt + 1, 5) * (0.5 + self._rng.random()))

    # --- presence and leadership

    async def heartbeat(self, proxy: str, *, position: int) -> None:
        """See the port.

        Position 0 registers and then lists, in this order: a controller that did not know the proxy
        yet has written all it did alone before the list, and one that did waits for it. The first
        time `open` may have done it.
        """
        with self._translated():
            joined, self._joined = self._joined, None
            if position > 0:
                await self._heartbeats.beat(proxy, position)
            elif proxy != joined:
                await self._heartbeats.register(proxy)
                await self._reflector.compare()

    async def goodbye(self, proxy: str) -> None:
        """See the port."""
        with self._translated():
            await self._heartbeats.leave(proxy)

    async def proxies(self) -> tuple[Presence, ...]:
        """See the port. A proxy is silent whose Lease we have seen unchanged for ten seconds."""
        with self._translated():
            return await self._heartbeats.all()

    def lead(self) -> AbstractAsyncContextManager[Leadership]:
        """See the port."""
        return self._lease.lead()

    def controller_overdue(self) -> timedelta:
        """See the port. Known where this registry watches; elsewhere zero."""
        return self._leader.overdue()

    # --- errors

    @asynccontextmanager
    async def _writing(self, kind: str, name: str) -> AsyncIterator[None]:
        """A write's turn, with its name and among all; counted, and bounded once it has begun."""
        slots = self._accesses if kind == "access" else self._writes
        outcome = "failed"
        try:
            with self._translated():
                async with self._turn(name), slots, asyncio.timeout(_WRITE):
                    try:
                        yield
                    except Missing:
                        if kind == "create":
                            raise
                        self._mirror.removed(name)
                        raise UnknownApp(f"The registry has no record {name!r}.") from None
            outcome = "written"
        except Conflict:
            outcome = "conflict"
            raise
        except UnknownApp:
            outcome = "unknown"
            raise
        finally:
            if self._metrics is not None:
                self._metrics.registry_writes.labels(kind, outcome).inc()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Only what the port names comes out of here."""
        if self._closed:
            raise RegistryUnavailable("The registry is closed.")
        try:
            yield
        except (Conflict, Forgotten, RegistryUnavailable, UnknownApp):
            raise
        except TimeoutError:
            raise RegistryUnavailable("The Kubernetes API took too long.") from None
        except (RegistryError, BadResource) as error:
            raise RegistryUnavailable(str(error)) from error
