"""What this proxy knows of the apps, and everything it tells the registry.

Theory: records come in from the feed and as answers of our own writes; the newest version of each
counts. The position that heartbeats tell is another matter: it is only ever that of the feed, and
only as far as every drain that our use contradicts has been told so. One loop reads the feed, one
does what is due at a time, one sends heartbeats; each write is a short task.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime

from paastis.app import App, Phase
from paastis.errors import Forgotten, RegistryUnavailable, UnknownApp
from paastis.registry.port import Change, Registry
from proxy.access import Access, Ticket
from proxy.doubts import Doubts
from proxy.links import Links
from proxy.meter import Meter
from proxy.routes import Routes
from proxy.settings import ProxySettings
from proxy.waker import Waker

log = logging.getLogger(__name__)

_WRITE_TIMEOUT = 10.0
_LONGEST_BACKOFF = 5.0
_ACCESS_WRITES = 64
"""Access writes on their way at a time; wakes do not wait for them."""


class Watch:
    """Records, routes, uses and waits; the only part of the proxy that uses the registry."""

    def __init__(
        self,
        registry: Registry,
        settings: ProxySettings,
        *,
        now: Callable[[], datetime],
        rng: random.Random,
        proxy_id: str,
        meter: Meter,
        probe: Callable[[App], Awaitable[bool]],
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._now = now
        self._rng = rng
        self._proxy_id = proxy_id
        self._meter = meter
        self._probe_app = probe
        self.apps: dict[str, App] = {}
        self.links = Links(self.apps)
        self.routes = Routes(settings.config.base_domains)
        self.access = Access(
            links=self.links.of,
            backoff=self._backoff,
            lots=rng.random if registry.shared else lambda: 0.0,
        )
        self.waker = Waker(
            self,
            links=self.links.of,
            backoff=self._backoff,
            per_app=settings.config.max_held_per_app,
            total=settings.config.max_held,
        )
        self.doubts = Doubts(patience=settings.inspection_patience)
        self._position = 0
        self._planned: float | None = None
        self._kick = asyncio.Event()
        self._beat = asyncio.Event()
        self._news: dict[str, list[asyncio.Future[None]]] = {}
        self._slots = asyncio.Semaphore(_ACCESS_WRITES)
        self._group: asyncio.TaskGroup | None = None
        self._changes: AsyncIterator[Change] | None = None
        self._registered = asyncio.Event()
        self._in_trouble = False

    # --- life

    async def open(self) -> None:
        """Register, then list: whoever decides about stops counts on this order."""
        failures = 0
        while True:
            try:
                await self._send_heartbeat(0)
                break
            except (RegistryUnavailable, TimeoutError) as error:
                failures += 1
                log.warning("The registry cannot be reached yet (%r).", error)
                await asyncio.sleep(self._backoff(failures))
        if self._changes is None:
            self._changes = self._registry.changes()
        records = self._registry.apps()
        for name in [name for name in self.apps if name not in records]:
            self._forget(name)
        for app in list(records.values()):
            self.learn(app)
        self._position = max(self._position, self._registry.position())
        self._registered.set()

    @property
    def registered(self) -> bool:
        """Whether stops wait for this proxy; otherwise nothing may be forwarded."""
        return self._registered.is_set()

    async def until_registered(self, *, deadline: float) -> None:
        """Return when what is known may be relied on. Raises TimeoutError.

        While the registry has forgotten this proxy, apps are stopped without asking it.
        """
        async with asyncio.timeout_at(deadline):
            await self._registered.wait()

    async def run(self, started: asyncio.Event) -> None:
        """Follow the registry until cancelled. `open` comes first."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._follow(), name="proxy feed")
                group.create_task(self._do_due(), name="proxy timers")
                group.create_task(self._send_heartbeats(), name="proxy heartbeats")
                started.set()
        finally:
            self._group = None

    async def close(self, *, within: float, goodbye: bool) -> None:
        """Write every use that is not written, then say goodbye; after `run` has ended."""
        try:
            async with asyncio.timeout(within):
                for name in self.access.unwritten():
                    self.access.begin_write(name, self._clock())
                    await self._write(name, covers=True)
                if goodbye:
                    await self._registry.goodbye(self._proxy_id)
        except (RegistryUnavailable, TimeoutError) as error:
            log.warning("The registry did not take the last accesses (%r).", error)

    # --- requests

    def begin(self, name: str) -> Ticket:
        """Count a request for the app until `end`."""
        ticket = self.access.begin(name, self._clock())
        self._plan()
        return ticket

    def end(self, ticket: Ticket) -> None:
        """The request is over."""
        self.access.end(ticket, self._clock())
        self._plan()

    async def met_drain(self, name: str, *, deadline: float) -> None:
        """Return when the app does not drain any more, or an own write has met its drain.

        Raises TimeoutError.
        """
        async with asyncio.timeout_at(deadline):
            while True:
                app = self.apps.get(name)
                if app is None or app.phase is not Phase.DRAINING:
                    return
                if self.access.may_pass_drain(name):
                    return
                await self._next_news(name)

    async def changed(self, name: str, *, since: App, deadline: float) -> None:
        """Return when the app's cycle or phase is another than `since`. Raises TimeoutError."""
        async with asyncio.timeout_at(deadline):
            while (app := self.apps.get(name)) is not None and (
                (app.cycle, app.phase) == (since.cycle, since.phase)
            ):
                await self._next_news(name)

    async def news(self, name: str, *, within: float) -> bool:
        """Whether anything was learnt about the app in that many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._next_news(name)
        except TimeoutError:
            return False
        return True

    async def _next_news(self, name: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.setdefault(name, []).append(waiter)
        try:
            await waiter
        finally:
            waiters = self._news.get(name)
            if waiters is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._news[name]

    def controller_away(self) -> bool:
        """Whether the controller's sign of life is so overdue that visitors are told."""
        overdue = self._registry.controller_overdue().total_seconds()
        return overdue > self._settings.controller_patience

    def poke(self) -> None:
        """Something may be due earlier than planned."""
        self._plan()

    # --- records

    def learn(self, app: App) -> None:
        """Take in a record, unless a newer one is known."""
        known = self.apps.get(app.name)
        if known is not None and known.version > app.version:
            return
        self.apps[app.name] = app
        self.routes.put(app)
        self.links.note(known, app)
        clock = self._clock()
        self.access.observe(app, now=clock, wall=self._now())
        self.doubts.observe(app, clock)
        self.waker.observe(app, now=clock)
        self._tell(app.name)
        if app.phase is Phase.DRAINING:
            self._beat.set()
        self._plan()

    def _forget(self, name: str) -> None:
        known = self.apps.pop(name, None)
        if known is None:
            return
        self.links.note(known, None)
        self.routes.remove(name)
        self.access.forget(name)
        self.doubts.forget(name)
        self.waker.forget(name)
        self._tell(name)

    def _tell(self, name: str) -> None:
        for waiter in self._news.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    # --- loops

    async def _follow(self) -> None:
        assert self._changes is not None  # noqa: S101 - `open` came first
        async for change in self._changes:
            if change.app is None:
                self._forget(change.name)
            else:
                self.learn(change.app)
            self._position = max(self._position, change.position)

    async def _do_due(self) -> None:
        """Write what is due, tell the waker the time, sleep until the next thing is due."""
        while True:
            self._kick.clear()
            clock = self._clock()
            for name in self.access.due(clock):
                self._spawn(self._write_in_turn(name))
            self.waker.tick(clock)
            self._planned = self._next_due()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._planned):
                    await self._kick.wait()

    async def _send_heartbeats(self) -> None:
        """At a steady pace, and at once when a drain waits for our position."""
        while True:
            self._beat.clear()
            try:
                await self._send_heartbeat(self.access.safe_position(self._position))
            except Forgotten as error:
                self._registered.clear()
                log.warning("%s New requests wait until this proxy is registered again.", error)
                await self.open()
            except (RegistryUnavailable, TimeoutError) as error:
                self._trouble("a heartbeat", error)
                await asyncio.sleep(self._backoff(1))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.heartbeat_interval):
                    await self._beat.wait()

    async def _send_heartbeat(self, position: int) -> None:
        async with asyncio.timeout(_WRITE_TIMEOUT):
            await self._registry.heartbeat(self._proxy_id, position=position)
        if self._in_trouble:
            self._in_trouble = False
            log.info("The registry takes what is written again.")

    def _trouble(self, what: str, error: Exception) -> None:
        """Told once until a heartbeat goes through: meanwhile much is tried, and fails as well."""
        level = logging.DEBUG if self._in_trouble else logging.WARNING
        self._in_trouble = True
        log.log(level, "The registry did not take %s (%r).", what, error)

    def _next_due(self) -> float | None:
        times = (self.access.next_due(), self.waker.next_due())
        return min((at for at in times if at is not None), default=None)

    def _plan(self) -> None:
        if self._kick.is_set():
            return
        due = self._next_due()
        if due is not None and (self._planned is None or due < self._planned):
            self._kick.set()

    # --- writes

    async def _write_in_turn(self, name: str) -> None:
        async with self._slots:
            await self._write(name, covers=True)

    async def _write(self, name: str, *, covers: bool, wake_for: int | None = None) -> None:
        """Record a use, with `wake_for` a wish; who waits for the result hears of it.

        `covers`: it was begun as the write of the app's access.
        """
        record = None
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT):
                record = await self._registry.record_access(name, self._now(), wake_for=wake_for)
        except UnknownApp:
            log.debug("The registry holds no %s any more.", name)
        except (RegistryUnavailable, TimeoutError) as error:
            self._trouble(f"the use of {name}", error)
        finally:
            if covers:
                self.access.end_write(name, record, self._clock())
        self._meter.access_written(ok=record is not None)
        if record is not None:
            self.learn(record)
        if wake_for is not None:
            self.waker.asked(name, wake_for, record, now=self._clock())
        self._beat.set()
        self._plan()

    # --- what the waker makes happen

    def ask(self, name: str, cycle: int) -> None:
        """See `proxy.waker.Outside`."""
        self._meter.wake_asked()
        # A wish is a use, too: it saves the access write that may be due.
        covers = not self.access.is_writing(name)
        if covers:
            self.access.begin_write(name, self._clock())
        self._spawn(self._write(name, covers=covers, wake_for=cycle))

    def probe(self, name: str) -> None:
        """See `proxy.waker.Outside`."""
        self._spawn(self._probe(name))

    async def _probe(self, name: str) -> None:
        app = self.apps.get(name)
        ok = False
        try:
            ok = app is not None and await self._probe_app(app)
        finally:
            self.waker.probed(name, ok=ok, now=self._clock())
            self._plan()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._group is None:
            work.close()  # we are leaving: nobody waits for it any more
            return
        self._group.create_task(self._guarded(work))

    @staticmethod
    async def _guarded(work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:  # one write or probe must not end the proxy
            log.exception("A task of the proxy failed.")

    def _backoff(self, failures: int) -> float:
        longest = min(_LONGEST_BACKOFF, 0.25 * 2.0 ** min(failures, 10))
        return longest * (0.5 + 0.5 * self._rng.random())

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()
