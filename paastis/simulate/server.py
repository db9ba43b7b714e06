"""A whole simulated Scalingo on two listeners: `async with ScalingoSimulator(settings) as sim: …`."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from aiohttp import web

from paastis.errors import ConfigError
from paastis.simulate.clock import LoopClock
from paastis.simulate.control import Control
from paastis.simulate.faults import Faults
from paastis.simulate.front import Booting, Front, host_of
from paastis.simulate.gate import Call, Gate
from paastis.simulate.scalingo import ScalingoApi
from paastis.simulate.spec import AppSpec, default_apps
from paastis.simulate.tokens import Tokens
from paastis.simulate.world import World, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from paastis.simulate.app import App

_GOODBYE = 0.05  # seconds that open requests get when the simulator ends
_BACKLOG = 1024  # connections that wait to be accepted; tests open hundreds at once
_ACCEPTING = 3  # turns of the event loop from accepting a socket to having its connection


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """How the simulator is to be. Port 0 takes any free one."""

    listen: tuple[str, int] = ("127.0.0.1", 8701)
    front_listen: tuple[str, int] = ("127.0.0.1", 8702)
    token: str = field(default="tk-us-simulated", repr=False)
    token_lifetime: timedelta = timedelta(hours=1)
    latency: timedelta = timedelta()
    """Added to every API call."""
    rate_limit: int = 60
    """API calls in any 60 seconds; 0 is no limit."""
    booting: Booting = "page"
    seed: int | None = None
    world: WorldSettings = field(default_factory=WorldSettings)
    apps: tuple[AppSpec, ...] | None = None
    """None is the pleasant default set."""


class ScalingoSimulator:
    """Both listeners over one world. `now` must be aware; real time moves operations whatever it says."""

    def __init__(
        self,
        settings: SimulatorSettings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_call: Callable[[Call], None] | None = None,
    ) -> None:
        self.settings = settings or SimulatorSettings()
        rng = random.Random(self.settings.seed)
        self.world = World(clock=LoopClock(now), rng=rng, settings=self.settings.world)
        self.faults = Faults(now)
        self.tokens = Tokens(
            api_token=self.settings.token,
            lifetime=self.settings.token_lifetime,
            now=now,
            rng=rng,
        )
        self.gate = Gate(
            now=now,
            faults=self.faults,
            tokens=self.tokens,
            rate_limit=self.settings.rate_limit,
            latency=self.settings.latency,
            on_call=on_call,
        )
        self.port = 0
        self.front_port = 0
        self._runners: list[web.BaseRunner] = []
        self._listeners: list[socket.socket] = []
        apps = self.settings.apps
        for spec in default_apps() if apps is None else apps:
            self.world.add(spec)

    @property
    def token(self) -> str:
        """The API token that it takes."""
        return self.settings.token

    @property
    def api_url(self) -> str:
        """Where authentication, the regional API and `/_sim` are; without `/v1`, no slash at the end."""
        host = self.settings.listen[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def url_of(self, app: App) -> str:
        """Where an app's visitors go."""
        return f"http://{host_of(app)}:{self.front_port}"

    async def __aenter__(self) -> Self:
        """Listen. Raises ConfigError when an address can't be had; nothing listens then."""
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cut every connection and forget everything."""
        await self._end()

    async def _start(self) -> None:
        api = web.Application(middlewares=[self.gate.middleware()])
        api.add_routes(
            ScalingoApi(world=self.world, tokens=self.tokens, url_of=self.url_of).routes()
        )
        api.add_routes(
            Control(
                world=self.world,
                faults=self.faults,
                tokens=self.tokens,
                gate=self.gate,
                url_of=self.url_of,
            ).routes()
        )
        front = Front(self.world, booting=self.settings.booting)
        self.port = await self._listen(
            web.AppRunner(api, access_log=None, shutdown_timeout=_GOODBYE), self.settings.listen
        )
        self.front_port = await self._listen(
            web.ServerRunner(
                # A visitor that leaves ends its request in the app, as a broken connection would.
                web.Server(
                    front.handle, handler_cancellation=True, access_log=None, auto_decompress=False
                ),
                shutdown_timeout=_GOODBYE,
            ),
            self.settings.front_listen,
        )

    async def _listen(self, runner: web.BaseRunner, address: tuple[str, int]) -> int:
        self._runners.append(runner)
        await runner.setup()
        host, port = address
        try:
            listener = socket.create_server(
                address,
                family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                backlog=_BACKLOG,
            )
        except OSError as error:
            # The number says it shortly; the error's own text repeats the address as a tuple.
            # (A name that can't be resolved has a negative number, and a text that is short already.)
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else str(error.strerror)
            raise ConfigError(f"can't listen on {host}:{port}: {why.lower()}") from error
        self._listeners.append(listener)
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        listening: int = listener.getsockname()[1]
        return listening

    async def _end(self) -> None:
        # Nobody may come in any more before connections are cut, since clients whose connection
        # breaks come back at once. And asyncio loses a socket without closing it if its server ends
        # between accepting and connecting (Python 3.11): stop accepting first, let it get through.
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        self.world.close()
        while self._runners:
            await self._runners.pop().cleanup()
        while self._listeners:
            self._listeners.pop().close()
