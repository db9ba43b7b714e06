"""A simulator on free ports with short times, and somebody who calls it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from paastis.simulate.fleet import WorldSettings
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

SETTINGS = SimulatorSettings(
    listen=("127.0.0.1", 0),
    front_listen=("127.0.0.1", 0),
    rate_limit=0,
    seed=1,
    world=WorldSettings(
        boot_time=timedelta(milliseconds=120),
        stop_time=timedelta(milliseconds=60),
        pending_time=timedelta(milliseconds=20),
    ),
)
DEADLINE = 5.0  # seconds; how long a test waits for a state to be reached


class Caller:
    """Talks to one simulator as a client of its API, as a visitor, and as its director."""

    def __init__(self, simulator: ScalingoSimulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.session = session
        self.bearer = ""

    async def exchange(self, token: str | None = None, user: str = "") -> int:
        given = f"{user}:{self.simulator.token if token is None else token}"
        headers = {"Authorization": f"Basic {base64.b64encode(given.encode()).decode()}"}
        async with self.session.post(
            f"{self.simulator.api_url}/v1/tokens/exchange", headers=headers, json={}
        ) as response:
            data = await response.json()
            self.bearer = data.get("token", self.bearer)
            return response.status

    async def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        status, data, _ = await self.full(method, path, body)
        return status, data

    async def full(
        self, method: str, path: str, body: object = None
    ) -> tuple[int, Any, dict[str, str]]:
        if not self.bearer:
            await self.exchange()
        url = path if path.startswith("http") else f"{self.simulator.api_url}{path}"
        async with self.session.request(
            method,
            url,
            json=body,
            headers={"Authorization": f"Bearer {self.bearer}"},
        ) as response:
            is_json = response.content_type == "application/json"
            data = await response.json() if is_json else await response.text()
            return response.status, data, {str(k): v for k, v in response.headers.items()}

    async def direct(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The control interface: no token."""
        async with self.session.request(
            method, f"{self.simulator.api_url}/_sim{path}", json=body
        ) as response:
            is_json = response.content_type == "application/json"
            return response.status, await response.json() if is_json else await response.text()

    async def scale(self, app: str, **amounts: int) -> tuple[int, Any]:
        containers = [{"name": name, "amount": amount} for name, amount in amounts.items()]
        return await self.api("POST", f"/v1/apps/{app}/scale", {"containers": containers})

    def visit(
        self, app: str, path: str = "/", **more: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        headers = {"Host": f"{app}.osc-fr1.localhost"} | more.pop("headers", {})
        url = f"http://127.0.0.1:{self.simulator.front_port}{path}"
        return self.session.request(more.pop("method", "GET"), url, headers=headers, **more)

    async def status(self, app: str) -> str:
        _, data = await self.api("GET", f"/v1/apps/{app}")
        return str(data["app"]["status"])

    async def settled(self, app: str, status: str) -> None:
        """Wait until the platform says so."""
        async with asyncio.timeout(DEADLINE):
            while await self.status(app) != status:  # noqa: ASYNC110 - told over HTTP
                await asyncio.sleep(0.005)


async def _plain_session() -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
    # Otherwise it silently repeats a GET whose connection broke, and there is no public switch.
    session._retry_connection = False
    return session


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Start simulators with settings that differ from the usual ones."""
    started: list[Caller] = []

    async def start_one(**changes: Any) -> Caller:
        simulator = await ScalingoSimulator(replace(SETTINGS, **changes)).__aenter__()
        started.append(Caller(simulator, await _plain_session()))
        return started[-1]

    yield start_one
    for caller in started:
        await caller.session.close()
        await caller.simulator.__aexit__(None, None, None)


@pytest.fixture
async def caller(start: Callable[..., Any]) -> Caller:
    """A caller of the default set of apps."""
    found: Caller = await start()
    return found
