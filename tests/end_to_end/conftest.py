"""What end-to-end tests start from: a client, and a way to make worlds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import aiohttp
import pytest

from tests.end_to_end.programs import Json, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence


class NewWorld(Protocol):
    """Makes a world in a directory of its own; to be entered by `async with`."""

    def __call__(
        self, *, apps: Sequence[Json] | None = None, options: Sequence[str] | None = None
    ) -> World: ...


@pytest.fixture
def directory() -> Iterator[Path]:
    """A working directory with a short path: the command line's socket lies in it (unix(7))."""
    made = Path(tempfile.mkdtemp(prefix="paastis-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens as many connections as it is asked to."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=55),
    ) as session:
        yield session


@pytest.fixture
def new_world(directory: Path, http: aiohttp.ClientSession) -> NewWorld:
    """Several may be made in one test."""
    made: list[World] = []

    def new(*, apps: Sequence[Json] | None = None, options: Sequence[str] | None = None) -> World:
        world = World(directory / str(len(made)), http, apps=apps)
        if options is not None:
            world.options = (*world.options, *options)
        made.append(world)
        return world

    return new
