"""What keeps an app awake: whatever is open, for as long as it is open."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import QUICK, Paastis, World, app, throughout, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import aiohttp

    from tests.end_to_end.conftest import NewWorld

IDLE, RESOLUTION, DRAIN = 3.0, 1.0, 1.0
"""As in QUICK, in seconds."""

OPEN_FOR = 2 * IDLE + DRAIN
"""Long enough for an app that nobody uses to be stopped twice."""

SLACK = 1.5
"""Seconds for the calls before a stop, on a machine that does other things too."""


@asynccontextmanager
async def websocket(paastis: Paastis, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    async with http.ws_connect(f"{paastis.url}/ws", headers=paastis.host("shop")) as ws:
        await ws.send_str("hello")
        await ws.receive_str(timeout=5)
        yield


@asynccontextmanager
async def event_stream(paastis: Paastis, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    async with http.get(f"{paastis.url}/sse?n=600", headers=paastis.host("shop")) as answer:
        assert answer.status == 200
        await answer.content.readany()
        yield


@asynccontextmanager
async def slow_upload(paastis: Paastis, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    end = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        while not end.is_set():
            yield bytes(1000)
            with suppress(TimeoutError):
                await asyncio.wait_for(end.wait(), 0.2)

    async with asyncio.TaskGroup() as group:
        upload = group.create_task(paastis.visit("shop", "/upload", method="POST", data=body()))
        yield
        end.set()
    assert upload.result().status == 200


@asynccontextmanager
async def slow_answer(paastis: Paastis, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    """The answer comes by itself a little after the block was entered for long enough."""
    async with asyncio.TaskGroup() as group:
        visit = group.create_task(paastis.visit("shop", f"/slow?s={OPEN_FOR + 0.5}"))
        yield
    assert visit.result().status == 200


@asynccontextmanager
async def client_that_vanishes(
    paastis: Paastis, http: aiohttp.ClientSession
) -> AsyncIterator[None]:
    """Its connection is reset in the middle of an answer that would go on for ever."""
    _, writer = await asyncio.open_connection("127.0.0.1", paastis.port)
    head = f"GET /hang HTTP/1.1\r\nHost: {paastis.host('shop')['Host']}\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    yield
    # Lingering for no time makes closing a reset (socket(7)).
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def stop_sent(world: World) -> float | None:
    """When the shop's stop was sent, in seconds since 1970."""
    sent = await world.sim.scales("shop")
    return sent[0]["time"] if sent else None


USES = (websocket, event_stream, slow_upload, slow_answer, client_that_vanishes)


@pytest.mark.timeout(90)
async def test_app_sleeps_one_idle_time_after_its_last_use_ended_and_not_before(
    new_world: NewWorld, http: aiohttp.ClientSession
) -> None:
    """Each use in a world of its own, side by side."""

    async def used_for_long(
        use: Callable[[Paastis, aiohttp.ClientSession], AbstractAsyncContextManager[None]],
    ) -> None:
        try:
            async with new_world(apps=[app("shop")]) as world:
                paastis = await world.run(**QUICK)

                async def kept_awake() -> bool:
                    return await stop_sent(world) is None

                async with use(paastis, http):
                    await throughout(kept_awake, what="the app is kept awake", seconds=OPEN_FOR)
                ended = time.time()
                sent = await until(lambda: stop_sent(world), what="the app is stopped")

                assert sent is not None
                assert sent - ended >= IDLE - 0.1
                assert sent - ended <= IDLE + RESOLUTION + DRAIN + SLACK
        except AssertionError as error:
            error.add_note(f"the use was a {use.__name__.replace('_', ' ')}")
            raise

    async with asyncio.TaskGroup() as group:
        for use in USES:
            group.create_task(used_for_long(use))


async def test_app_that_is_visited_now_and_then_is_never_stopped(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop"), app("idle")]) as world:
        paastis = await world.run(**QUICK)

        async def visited() -> bool:
            assert (await paastis.visit("shop")).status == 200
            await asyncio.sleep(IDLE - 1)  # the pause between two visitors, not a wait
            return await stop_sent(world) is None

        await throughout(visited, what="the app is kept awake", seconds=3 * IDLE)
        await paastis.reaches("idle", "Asleep")


async def test_visitor_who_comes_during_the_drain_is_served_and_ends_it(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**{**QUICK, "START_AND_STOP_DRAIN_TIME": "3s"})
        await paastis.reaches("shop", "Draining")

        answer = await paastis.visit("shop")

        assert answer.status == 200
        assert answer.seconds < 1
        assert (await paastis.record("shop"))["phase"] == "Awake"
        assert await stop_sent(world) is None
