"""A wire to a program of this machine that a test can cut: the program knows nothing of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from tests.end_to_end.programs import free_port

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 65_536  # bytes read at once


class Relay:
    """Passes connections on to the port `to`, which may be set later. Use it as an `async with` block.

    `silence` is a network that lets nothing through: connections stand, new ones too, and `heal`
    delivers what was sent meanwhile. `refuse` is a program that has died: connections break, and
    new ones are refused until `accept`.
    """

    def __init__(self, to: int = 0) -> None:
        self.to = to
        self.port = free_port()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Without TLS, its address."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()

    def silence(self) -> None:
        """From now on nothing arrives, on either side."""
        self._passing.clear()

    def heal(self) -> None:
        """Everything arrives again, what was sent meanwhile first."""
        self._passing.set()

    async def accept(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._wire, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Break every connection, and take no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        wires = tuple(self._wires)
        for wire in wires:
            wire.cancel()
        await asyncio.gather(*wires, return_exceptions=True)

    async def _wire(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._wires.add(task)
        ends = [writer]
        try:
            await self._passing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to)
            ends.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer))
                group.create_task(self._pump(far_reader, writer))
        except asyncio.CancelledError:
            pass  # it was cut
        except OSError:
            pass  # nobody listens there
        finally:
            for end in ends:
                end.transport.abort()
            self._wires.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """From one end to the other until one of them has had enough."""
        try:
            while piece := await source.read(_PIECE):
                await self._passing.wait()
                sink.write(piece)
                await sink.drain()
            await self._passing.wait()
            sink.write_eof()
        except OSError:
            sink.transport.abort()
