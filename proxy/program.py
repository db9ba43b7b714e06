"""The proxy as a program: one object, run until it is asked to stop."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from paastis.app import App
from paastis.reasons import Reason
from paastis.registry.port import Registry
from proxy.meter import Meter, Silent
from proxy.server import Front, System
from proxy.settings import ProxySettings
from proxy.upstream import Upstream, VerdictOf, notice_dead_peers
from proxy.watch import Watch

log = logging.getLogger(__name__)

_SWEEP = 5.0
"""Seconds between looks for connections that bring no request."""
_FLUSH = 5.0
"""Seconds that the last writes may take."""
_LAST_WORDS = 1.0
"""Seconds before the end at which held visitors are answered."""


class Proxy:
    """Serves visitors. `run` once.

    `verdict` is what a provider's adapter makes of an answer: (provider, status, headers).
    `system` answers requests with the header `PaastisProxyTarget: system`, if it is served here.
    """

    def __init__(
        self,
        registry: Registry,
        settings: ProxySettings,
        *,
        verdict: VerdictOf,
        now: Callable[[], datetime],
        rng: random.Random,
        proxy_id: str,
        meter: Meter | None = None,
        system: System | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._rng = rng
        self._meter = meter or Silent()
        self._system = system
        self._upstream = Upstream(
            connect_timeout=settings.config.connect_timeout.total_seconds(),
            answer_timeout=settings.config.answer_timeout.total_seconds(),
            verdict=verdict,
            via_name=settings.via_name,
            ssl_context=ssl_context,
        )
        self.watch = Watch(
            registry,
            settings,
            now=now,
            rng=rng,
            proxy_id=proxy_id,
            meter=self._meter,
            probe=self._probe,
        )
        self._busy: set[RequestHandler] = set()
        self._served: set[RequestHandler] = set()
        """Connections that brought a request already."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._serving = False
        self.port = 0
        """Where it listens, once ready."""

    @property
    def serving(self) -> bool:
        """Whether it takes new visitors: what a readiness probe wants to know."""
        return self._serving and self.watch.registered

    @property
    def open_requests(self) -> int:
        """Requests on their way, ours included."""
        return len(self._busy)

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Serve until `stop` is set; `ready` is set when visitors are served.

        Raises OSError if the address cannot be listened on.
        """
        async with self._upstream:
            opening = asyncio.ensure_future(self.watch.open())
            stopping = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not opening.done():
                    return
                await opening
                await self._serve(stop, ready)
            finally:
                opening.cancel()
                stopping.cancel()
                await asyncio.gather(opening, stopping, return_exceptions=True)

    async def _serve(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        started = asyncio.Event()
        watching = asyncio.create_task(self.watch.run(started), name="proxy watch")
        starting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait((watching, starting), return_when=asyncio.FIRST_COMPLETED)
            if started.is_set():
                await self._listen(stop, ready, watching)
        finally:
            starting.cancel()
            watching.cancel()
            await asyncio.gather(starting, watching, return_exceptions=True)
            # Saying goodbye with a request still open would let its app be stopped.
            await self.watch.close(within=_FLUSH, goodbye=not self._busy)
        if not watching.cancelled() and (error := watching.exception()) is not None:
            raise error

    async def _listen(
        self, stop: asyncio.Event, ready: asyncio.Event, watching: asyncio.Task[None]
    ) -> None:
        front = Front(
            self._settings,
            watch=self.watch,
            upstream=self._upstream,
            now=self._now,
            rng=self._rng,
            meter=self._meter,
            system=self._system,
        )
        settings = self._settings
        server = web.Server(
            self._counted(front),
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.config.keep_alive.total_seconds(),
            max_line_size=settings.config.max_request_line,
            max_field_size=settings.config.max_header_size,
            max_headers=settings.config.max_headers,
            read_bufsize=settings.config.body_kept // 2,  # aiohttp reads twice this ahead
            lingering_time=1.0,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_LAST_WORDS)
        await runner.setup()
        sweeping = None
        stopping = asyncio.create_task(stop.wait())
        try:
            site = web.TCPSite(runner, settings.config.host, settings.config.port, backlog=1024)
            await site.start()
            self.port = runner.addresses[0][1]
            sweeping = asyncio.create_task(self._sweep(server))
            self._serving = True
            ready.set()
            await asyncio.wait((stopping, watching), return_when=asyncio.FIRST_COMPLETED)
            self._serving = False
            await self._leave(front, server, site)
        finally:
            self._serving = False
            stopping.cancel()
            if sweeping is not None:
                sweeping.cancel()
            await runner.cleanup()
            await asyncio.gather(
                stopping, *([sweeping] if sweeping is not None else []), return_exceptions=True
            )

    async def _leave(self, front: Front, server: web.Server, site: web.TCPSite) -> None:
        """Let requests finish; near the end answer those that still wait."""
        front.leave()
        await site.stop()
        for connection in server.connections:
            if connection not in self._busy:
                connection.force_close()
        for patience, reason in (
            (max(0.0, self._settings.config.drain_timeout.total_seconds() - _LAST_WORDS), None),
            (
                min(self._settings.config.drain_timeout.total_seconds(), _LAST_WORDS),
                Reason.SHUTTING_DOWN,
            ),
        ):
            if reason is not None:
                self.watch.waker.fail_all(reason)
            try:
                async with asyncio.timeout(patience):
                    await self._idle.wait()
            except TimeoutError:
                continue

    def _counted(self, front: Front) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if request.protocol not in self._served and request.transport is not None:
                notice_dead_peers(request.transport.get_extra_info("socket"))
            self._busy.add(request.protocol)
            self._idle.clear()
            try:
                return await front.handle(request)
            finally:
                self._busy.discard(request.protocol)
                self._served.add(request.protocol)
                if not self._busy:
                    self._idle.set()

        return handle

    async def _sweep(self, server: web.Server) -> None:
        """Close connections that bring no whole head for too long; aiohttp only sees idle ones."""
        loop = asyncio.get_running_loop()
        quiet: dict[object, float] = {}
        while True:
            now = loop.time()
            connections = server.connections
            still = {one for one in connections if one not in self._busy}
            quiet = {one: quiet.get(one, now) for one in still}
            for one in connections:
                if one not in still:
                    continue
                patience = (
                    self._settings.config.keep_alive.total_seconds()
                    if one in self._served
                    else self._settings.config.head_timeout.total_seconds()
                )
                if now - quiet[one] > patience:
                    one.force_close()
            self._served &= set(connections)
            await asyncio.sleep(min(_SWEEP, self._settings.config.head_timeout.total_seconds()))

    async def _probe(self, app: App) -> bool:
        return await self._upstream.probe(app)


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.Request:
    """A request that the system API's handlers can use as well."""
    return web.Request(message, payload, protocol, writer, task, asyncio.get_running_loop())
