"""After a 101, bytes flow both ways as they are until one side ends.

Nothing is parsed, so subprotocols, extensions, fragments, pings and close codes pass unchanged and
messages may be of any size. Each direction keeps at most `_AHEAD` bytes that the other side has
not taken yet; then reading pauses.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

import aiohttp
from aiohttp import web
from aiohttp.http import StreamWriter

_AHEAD = 64 * 1024


class _Reading(Protocol):
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Inlet:
    """Takes the bytes of one connection, in the place of aiohttp's WebSocket parser."""

    def __init__(self, protocol: _Reading) -> None:
        self._protocol = protocol
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._news = asyncio.Event()
        self.last_byte = asyncio.get_running_loop().time()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called by aiohttp; the answer says: not at the end, nothing left over."""
        self.last_byte = asyncio.get_running_loop().time()
        self._chunks.append(bytes(data))
        self._size += len(data)
        if self._size > _AHEAD and not self._paused:
            self._paused = True
            self._protocol.pause_reading()
        self._news.set()
        return False, b""

    def feed_eof(self) -> None:
        """Called by aiohttp when the connection has ended."""
        self._ended = True
        self._news.set()

    def leftovers(self) -> bytes:
        """What was received and not read."""
        rest = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return rest

    async def read(self) -> bytes:
        """Everything received by now; empty at the end."""
        while not self._chunks and not self._ended:
            self._news.clear()
            await self._news.wait()
        rest = self.leftovers()
        if self._paused and not self._ended:
            self._paused = False
            self._protocol.resume_reading()
        return rest


async def relay(
    request: web.BaseRequest,
    out: web.StreamResponse,
    answer: aiohttp.ClientResponse,
    *,
    max_idle: timedelta | None,
) -> None:
    """Relay until either side has ended, or neither sent a byte for `max_idle`.

    `out` is the 101 to the visitor, already sent; `answer` the app's. The app's connection is the
    caller's to close.
    """
    connection = answer.connection
    if connection is None or connection.protocol is None or connection.transport is None:
        return
    origin = connection.protocol
    transport = connection.transport
    from_app = Inlet(origin)
    from_visitor = Inlet(request.protocol)
    origin.set_parser(from_app, None)
    request.protocol.set_parser(from_visitor)  # type: ignore[arg-type] # typed for WebSockets
    to_app = StreamWriter(origin, asyncio.get_running_loop())
    try:
        ends = {
            asyncio.ensure_future(_pump(from_app, out.write)),
            asyncio.ensure_future(_pump(from_visitor, to_app.write)),
        }
        if max_idle is not None:
            ends.add(
                asyncio.ensure_future(_silence((from_app, from_visitor), max_idle.total_seconds()))
            )
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
    finally:
        # A visitor's last words (a close frame, mostly) may have come together with his leaving.
        rest = from_visitor.leftovers()
        if rest and not transport.is_closing():
            transport.write(rest)


async def _pump(inlet: Inlet, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Move bytes until the inlet's side ends; the other side's end shows in `write`."""
    try:
        while data := await inlet.read():
            await write(data)
    except (ConnectionError, aiohttp.ClientError):
        return


async def _silence(inlets: tuple[Inlet, Inlet], longest: float) -> None:
    """Return when no byte has come from either side for so long."""
    loop = asyncio.get_running_loop()
    left = longest
    while left > 0:
        await asyncio.sleep(left)
        left = max(inlet.last_byte for inlet in inlets) + longest - loop.time()
