"""The two listeners of the system API: the port, and the CLI's socket."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from paastis.errors import ConfigError
from paastis.system.api import SystemApi
from paastis.system.unixsocket import SocketPlace, SocketUnusable, bind_socket

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 2.0
"""How long an answer may still take at the end; event streams end at once."""

Door = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def why_not_bound(error: OSError) -> str:
    """The system's short words for it: asyncio's own text repeats the address.

    Names that cannot be resolved have negative numbers, and a text that is short already.
    """
    number = error.errno or 0
    return os.strerror(number).lower() if number > 0 else str(error.strerror or error)


class SystemPort:
    """Health and metrics for everybody and, where it is enabled, the API for its token.

    Port 0 takes any free port; `port` says which. `variable` is where the port is configured.
    """

    def __init__(
        self, api: SystemApi, *, host: str, port: int, variable: str = "ROUTING_SYSTEM_API_PORT"
    ) -> None:
        self._api = api
        self._variable = variable
        self._host = host
        self._wanted_port = port
        self._runner = _runner(api.serve_port)
        self.port = port

    async def start(self) -> None:
        """Listen. Raises `ConfigError` if that address or port cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._wanted_port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"{self._variable}: cannot listen on {self._host}:{self._wanted_port} "
                f"({why_not_bound(error)}); expected is a free port."
            ) from error
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        """Stop listening and end what is open."""
        self._api.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class CommandSocket:
    """The Unix socket for the command line of the same user: the whole API, without a token.

    Where it cannot be made a warning says so, and paastis runs without it; `path` is None then.
    """

    def __init__(self, api: SystemApi, place: SocketPlace) -> None:
        self._api = api
        self._place = place
        self._runner = _runner(api.serve_socket)
        self._inode = 0
        self.path: Path | None = None

    async def start(self) -> None:
        """Listen, where that is possible."""
        if self._place.warning:
            log.warning("%s", self._place.warning)
        try:
            bound = await asyncio.to_thread(bind_socket, self._place.path)
        except SocketUnusable as error:
            log.warning("The command line cannot reach this paastis: %s", error)
            return
        self.path = self._place.path
        self._inode = self.path.stat().st_ino
        await self._runner.setup()
        await _BoundSite(self._runner, bound).start()

    async def aclose(self) -> None:
        """Stop listening, end what is open, and remove the socket if it is still ours."""
        self._api.close()
        await self._runner.cleanup()
        if self.path is not None:
            await asyncio.to_thread(_remove, self.path, self._inode)
            self.path = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


class _BoundSite(web.BaseSite):
    """A Unix socket that is bound already; aiohttp's own site would bind it with a wider mode."""

    def __init__(self, runner: web.ServerRunner, bound: socket.socket) -> None:
        super().__init__(runner)
        self._bound = bound

    @property
    def name(self) -> str:
        return f"unix:{self._bound.getsockname()}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        assert server is not None  # noqa: S101 - a runner that is set up has one
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(server, sock=self._bound)


def _runner(door: Door) -> web.ServerRunner:
    """A server that sends every request through one door."""

    return web.ServerRunner(web.Server(door, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS)


def _remove(path: Path, inode: int) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()
