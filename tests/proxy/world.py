"""A small world for the proxy: a real registry, a real proxy, real apps on loopback sockets.

`World.act` plays the controller's part by writing records; the apps are aiohttp servers.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from paastis.app import App, AppChange, Identity, Phase
from paastis.policy import Policy
from paastis.providers.port import Verdict
from paastis.registry.memory import MemoryRegistry
from proxy.program import Proxy, _make_request
from proxy.settings import ProxySettings
from proxy.upstream import LocalhostResolver

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)


def an_app(name: str = "my-app", **changes: object) -> App:
    app = App(
        name=name,
        identity=Identity("main", "osc-fr1", f"id-{name}"),
        provider="scalingo",
        app_name=name,
        created_at=BORN,
        phase=Phase.AWAKE,
        policy=Policy(access_resolution=timedelta(seconds=10)),
    )
    return replace(app, **changes)  # type: ignore[arg-type]


def verdict(provider: str, status: int, headers: Mapping[str, str]) -> Verdict:
    """Stand-in for the adapter: the answer itself says what the platform's front would."""
    return Verdict(headers.get("X-Verdict", "no"))


class CountingRegistry(MemoryRegistry):
    """Remembers what proxies wrote, and can be made unavailable or slow."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[str, int | None]] = []
        self.positions: list[int] = []
        self.failing: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.overdue = timedelta(0)
        self.goodbyes: list[str] = []

    @property
    def wakes(self) -> list[tuple[str, int]]:
        return [(name, cycle) for name, cycle in self.writes if cycle is not None]

    async def record_access(self, name: str, when: datetime, *, wake_for: int | None = None) -> App:
        self.writes.append((name, wake_for))
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            raise self.failing
        return await super().record_access(name, when, wake_for=wake_for)

    async def heartbeat(self, proxy: str, *, position: int) -> None:
        if self.failing is not None:
            raise self.failing
        self.positions.append(position)
        await super().heartbeat(proxy, position=position)

    async def goodbye(self, proxy: str) -> None:
        self.goodbyes.append(proxy)
        await super().goodbye(proxy)

    def controller_overdue(self) -> timedelta:
        return self.overdue


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def origin(handler: Handler) -> AsyncIterator[str]:
    """A real app; the result is its address."""
    server = web.Server(
        handler,  # type: ignore[arg-type]
        request_factory=_make_request,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://origin.localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class World:
    """A running proxy with its registry, and a client that speaks to it."""

    def __init__(self, registry: CountingRegistry, proxy: Proxy) -> None:
        self.registry = registry
        self.proxy = proxy
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.client: aiohttp.ClientSession

    def url(self, path: str = "/", *, host: str = "my-app.localhost") -> str:
        return f"http://{host}:{self.proxy.port}{path}"

    async def act(self, name: str = "my-app", **change: object) -> App:
        """Write as the controller would, and wait until the proxy knows."""
        record = self.registry.apps()[name]
        wanted: AppChange = change  # type: ignore[assignment]
        written = await self.registry.update(name, wanted, seen_version=record.version)
        await until(lambda: self.proxy.watch.apps[name].version >= written.version)
        return written

    def known(self, name: str = "my-app") -> App:
        return self.proxy.watch.apps[name]


@asynccontextmanager
async def world(
    *apps: App, settings: ProxySettings | None = None, registry: CountingRegistry | None = None
) -> AsyncIterator[World]:
    registry = registry or CountingRegistry()
    for app in apps:
        await registry.create(app)
    settings = settings or ProxySettings()
    proxy = Proxy(
        registry,
        replace(settings, config=replace(settings.config, host="127.0.0.1", port=0)),
        verdict=verdict,
        now=utc_now,
        rng=random.Random(1),
        proxy_id="proxy-1",
    )
    made = World(registry, proxy)
    running = asyncio.create_task(proxy.run(made.stop, made.ready))
    waiting = asyncio.create_task(made.ready.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    made.client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=LocalhostResolver(), limit=0),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=20),
    )
    try:
        yield made
    finally:
        await made.client.close()
        made.stop.set()
        await asyncio.wait_for(running, 20)
        await registry.aclose()


async def until(true: Callable[[], bool], *, within: float = 5.0) -> None:
    """Wait for an observable state."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - any state may be waited for
            await asyncio.sleep(0.005)
