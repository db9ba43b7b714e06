"""Starting and ending a simulator."""

from __future__ import annotations

import asyncio
import gc
import socket
from dataclasses import replace

import aiohttp
import pytest

from paastis.errors import ConfigError
from paastis.simulate.server import ScalingoSimulator
from tests.paastis.simulate.conftest import SETTINGS


async def test_end_cuts_open_requests_and_loses_no_socket_of_clients_that_come_back() -> None:
    async def hang(session: aiohttp.ClientSession, port: int) -> None:
        headers = {"Host": "my-app.osc-fr1.localhost"}
        # This client repeats a GET whose connection broke, at once: while the listener closes.
        async with session.get(f"http://127.0.0.1:{port}/hang", headers=headers):
            raise AssertionError("an answer came")

    async with ScalingoSimulator(SETTINGS) as simulator, aiohttp.ClientSession() as session:
        visits = [asyncio.create_task(hang(session, simulator.front_port)) for _ in range(20)]
        async with asyncio.timeout(5):
            apps = simulator.world.apps()
            while sum(len(c.cuts) for c in apps[0].containers) < len(visits):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    ends = await asyncio.wait_for(asyncio.gather(*visits, return_exceptions=True), 5)
    assert all(isinstance(end, aiohttp.ClientError) for end in ends)
    await asyncio.sleep(0)
    gc.collect()  # a socket left open warns now, and a warning is an error


async def test_address_that_is_taken_leaves_nothing_listening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()[:2]
        simulator = ScalingoSimulator(replace(SETTINGS, front_listen=address))
        with pytest.raises(ConfigError, match=f":{address[1]}: address already in use"):
            await simulator.__aenter__()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", simulator.port), timeout=5)


async def test_name_that_can_t_be_resolved_is_one_sentence() -> None:
    simulator = ScalingoSimulator(replace(SETTINGS, listen=("no such host", 0)))
    with pytest.raises(ConfigError, match="can't listen on no such host:0: "):
        await simulator.__aenter__()


async def test_world_is_read_through_ipv6_too() -> None:
    try:
        async with ScalingoSimulator(replace(SETTINGS, listen=("::1", 0))) as simulator:
            assert simulator.api_url == f"http://[::1]:{simulator.port}"
    except ConfigError as error:
        pytest.skip(f"IPv6 is off on this machine: {error}")


async def test_token_is_not_in_the_settings_repr() -> None:
    assert "tk-us" not in repr(SETTINGS)
