"""A registry, and a program around it that knows a little."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import aiohttp
import pytest

from paastis.app import App
from paastis.errors import Unavailable
from paastis.metrics import Metrics
from paastis.registry.memory import MemoryRegistry
from paastis.secret import Secret
from paastis.system.api import SystemApi
from paastis.system.port import AccountStatus, Health, Instance, Outlook
from paastis.system.server import SystemPort
from tests.paastis.registry.contract import NOON

TOKEN = "tk-abcd-1234"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class World:
    """What the program around the API would know; tests change it."""

    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    metrics: Metrics = field(default_factory=Metrics)
    ready: Health = (True, "Serving.")
    alive: Health = (True, "All loops turn.")
    forgotten: int = 0
    broken: bool = False
    provider_down: bool = False

    def instance(self) -> Instance:
        return Instance(
            registry=self.registry,
            metrics=self.metrics,
            now=lambda: NOON,
            outlook=self.outlook,
            accounts=lambda: [AccountStatus("main", "scalingo", "Manage", reachable=True, apps=1)],
            addresses=lambda app: [f"http://{app.app_name}.localhost:3000/"],
            forget=self.forget,
            ready=lambda: self.ready,
            alive=lambda: self.alive,
        )

    def outlook(self, app: App) -> Outlook:
        if self.broken:
            raise RuntimeError("a mistake with tk-secret in it")
        return Outlook("Nothing", "InUse", f"{app.app_name} is in use.", NOON + timedelta(hours=1))

    async def forget(self) -> int:
        if self.provider_down:
            raise Unavailable("Acme cannot be reached")
        self.forgotten += 1
        return len(self.registry.apps())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def api(world: World) -> SystemApi:
    return SystemApi(world.instance(), enabled=True, token=Secret(TOKEN))


@pytest.fixture
async def port(api: SystemApi) -> AsyncIterator[SystemPort]:
    async with SystemPort(api, host="127.0.0.1", port=0) as port:
        yield port


@pytest.fixture
async def stranger(port: SystemPort) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without the token."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port.port}") as session:
        yield session


@pytest.fixture
async def client(port: SystemPort) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the token."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port.port}", headers=BEARER) as session:
        yield session


async def given(world: World, app: App) -> App:
    """A record in the registry."""
    return await world.registry.create(replace(app))
