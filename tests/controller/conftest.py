"""The controller on real parts: a simulated Scalingo over HTTP and the in-memory registry."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from controller.account import Account
from controller.program import Controller
from paastis.app import App, Phase
from paastis.config import AccountConfig, Config, ControllerConfig
from paastis.metrics import Metrics
from paastis.policy import Mode, Settings
from paastis.providers.load import open_provider
from paastis.registry.memory import MemoryRegistry
from paastis.secret import Secret
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings
from paastis.simulate.spec import AppSpec, AutoscalerSpec, ProcessSpec
from paastis.simulate.world import WorldSettings

WAIT = 30.0
"""Seconds after which an awaited state is given up."""

WHOLE = {
    "web": ProcessSpec(2, "M"),
    "worker": ProcessSpec(1, "S"),
    "clock": ProcessSpec(0, "S"),
}


async def until(state: Callable[[], object], *, within: float = WAIT) -> None:
    """Wait until the state holds."""
    async with asyncio.timeout(within):
        while not state():  # noqa: ASYNC110 (what is watched has no event to wait for)
            await asyncio.sleep(0.02)


@dataclass
class Installation:
    """A controller at work, and everything around it."""

    sim: ScalingoSimulator
    registry: MemoryRegistry
    controller: Controller
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self, name: str) -> App:
        """The record of that name."""
        return self.registry.apps()[name]

    async def phase(self, name: str, phase: Phase) -> App:
        """Wait for the phase; returns the record then."""
        await until(lambda: self.registry.apps().get(name) and self.app(name).phase is phase)
        return self.app(name)

    async def access(self, name: str) -> App:
        """A visitor's access now."""
        return await self.registry.record_access(name, datetime.now(UTC))

    async def ask_wake(self, name: str) -> App:
        """A visitor of a sleeping app."""
        app = self.app(name)
        return await self.registry.record_access(name, datetime.now(UTC), wake_for=app.cycle)

    async def control(self, method: str, path: str, body: object = None) -> object:
        """A request to the simulator's control interface."""
        async with httpx.AsyncClient(base_url=self.sim.api_url) as client:
            content = None if body is None else json.dumps(body)
            answer = await client.request(method, f"/_sim/{path}", content=content)
            assert answer.status_code < 300, answer.text
            return answer.json() if answer.content else None

    async def truth(self, name: str) -> dict[str, tuple[int, str]]:
        """The formation that the platform really has."""
        apps = await self.control("GET", "apps")
        assert isinstance(apps, list)
        found = next(app for app in apps if app["name"] == name)
        return {kind: (row["amount"], row["size"]) for kind, row in found["formation"].items()}

    async def calls(self, method: str, ending: str) -> int:
        """How many API calls of that kind arrived."""
        requests = await self.control("GET", "requests")
        assert isinstance(requests, list)
        return sum(call["method"] == method and call["path"].endswith(ending) for call in requests)


@dataclass(frozen=True)
class Setup:
    """What a test may choose."""

    apps: tuple[AppSpec, ...] = (AppSpec(name="my-app", formation=WHOLE),)
    idle: timedelta = timedelta(seconds=1)
    resolution: timedelta = timedelta(milliseconds=200)
    drain: timedelta = timedelta(milliseconds=200)
    mode: Mode = Mode.MANAGE
    budget: int = 6000
    state_file: Path | None = None
    boot: timedelta = timedelta(milliseconds=200)
    cron: str = "* * * * *"
    config: Config | None = None


def configured(setup: Setup, sim: ScalingoSimulator) -> Config:
    """The configuration that leads to the simulator."""
    account = AccountConfig(
        name="scalingo",
        provider="scalingo",
        mode=setup.mode,
        credentials={"api_token": Secret("tk-us-simulated")},
        urls={"api": sim.api_url, "auth": sim.api_url},
        calls_per_minute=setup.budget,
    )
    base = setup.config or Config(accounts=())
    return replace(
        base,
        accounts=(account,),
        defaults=Settings(max_idle_time=setup.idle),
        controller=ControllerConfig(
            discovery_cron=setup.cron, drain_time=setup.drain, access_resolution=setup.resolution
        ),
    )


@asynccontextmanager
async def simulated(setup: Setup) -> AsyncIterator[ScalingoSimulator]:
    """The provider alone."""
    settings = SimulatorSettings(
        listen=("127.0.0.1", 0),
        front_listen=("127.0.0.1", 0),
        rate_limit=0,
        apps=setup.apps,
        world=WorldSettings(boot_time=setup.boot, stop_time=timedelta(milliseconds=50)),
    )
    async with ScalingoSimulator(settings) as sim:
        yield sim


@asynccontextmanager
async def controlling(setup: Setup, sim: ScalingoSimulator) -> AsyncIterator[Installation]:
    """A controller at work on a simulated provider."""
    config = configured(setup, sim)

    def now() -> datetime:
        return datetime.now(UTC)

    providers = [open_provider(account, now=now) for account in config.accounts]
    accounts = [
        Account.open(account, provider)
        for account, provider in zip(config.accounts, providers, strict=True)
    ]
    registry = await MemoryRegistry.open(setup.state_file)
    controller = Controller(
        registry=registry,
        accounts=accounts,
        config=config,
        environ=os.environ,
        now=now,
        rng=random.Random(7),
        metrics=Metrics(),
    )
    installation = Installation(sim, registry, controller)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(controller.run(installation.stop))
            try:
                yield installation
            finally:
                installation.stop.set()
                await asyncio.wait({running}, timeout=10)
                running.cancel()
    finally:
        for provider in providers:
            await provider.aclose()
        await registry.aclose()


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    """One app, short times."""
    setup = Setup()
    async with simulated(setup) as sim, controlling(setup, sim) as running:
        yield running


__all__ = ["AutoscalerSpec", "Installation", "Setup", "controlling", "simulated", "until"]
