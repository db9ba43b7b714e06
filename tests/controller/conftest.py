"""The controller on real parts: a simulated Scalingo over HTTP and the in-memory registry.

Time may be moved forward by hand: clocks agree, timers on the event loop don't notice, so whoever
moves it asks for a look around afterwards (`Installation.pass_time` does both).
"""

import asyncio
import json
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from controller.account import Account
from controller.program import Controller
from paastis.app import App, AppChange, Phase
from paastis.config import AccountConfig, Config, ControllerConfig
from paastis.errors import Conflict
from paastis.metrics import Metrics
from paastis.policy import Mode, Settings
from paastis.providers.load import open_provider
from paastis.reasons import Reason
from paastis.registry.memory import MemoryRegistry
from paastis.secret import Secret
from paastis.simulate.app import ProcessSpec
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings
from paastis.simulate.spec import AppSpec, AutoscalerSpec
from paastis.simulate.world import WorldSettings

WAIT = 20.0
"""Seconds after which an awaited state is given up."""

LONG = timedelta(hours=2)
"""An idle time that no test waits for."""

WHOLE = {
    "web": ProcessSpec(2, "M"),
    "worker": ProcessSpec(1, "S"),
    "clock": ProcessSpec(0, "S"),
}
AWAKE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}
ASLEEP = {"web": (0, "M"), "worker": (0, "S"), "clock": (0, "S")}


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, and so is made at once: the simulator speaks plain HTTP."""


async def until(state: Callable[[], object], *, within: float = WAIT) -> None:
    """Wait until the state holds."""
    async with asyncio.timeout(within):
        while not state():  # noqa: ASYNC110 (what is watched has no event to wait for)
            await asyncio.sleep(0.01)


class Clock:
    """The real time, and what was added to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()


@dataclass(frozen=True)
class Setup:
    """What a test may choose."""

    apps: tuple[AppSpec, ...] = (AppSpec(name="my-app", formation=WHOLE),)
    idle: timedelta = timedelta(seconds=0.6)
    resolution: timedelta = timedelta(milliseconds=150)
    drain: timedelta = timedelta(milliseconds=150)
    mode: Mode = Mode.MANAGE
    budget: int = 6000
    rate_limit: int = 0
    state_file: Path | None = None
    boot: timedelta = timedelta(milliseconds=150)
    latency: timedelta = timedelta()
    account: str = "scalingo"
    ignored: tuple[str, ...] = ()
    config: Config | None = None


@dataclass
class Installation:
    """A controller at work, and everything around it."""

    sim: ScalingoSimulator
    registry: MemoryRegistry
    controller: Controller
    clock: Clock
    running: asyncio.Task[None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self, name: str = "my-app") -> App:
        """The record of that name."""
        return self.registry.apps()[name]

    async def phase(self, phase: Phase, name: str = "my-app") -> App:
        """Wait for the phase; returns the record then."""
        await until(lambda: name in self.registry.apps() and self.app(name).phase is phase)
        return self.app(name)

    async def known(self, name: str = "my-app") -> App:
        """Wait for the record."""
        await until(lambda: name in self.registry.apps())
        return self.app(name)

    async def access(self, name: str = "my-app") -> App:
        """A visitor's access now."""
        return await self.registry.record_access(name, self.clock.now())

    async def ask_wake(self, name: str = "my-app") -> App:
        """A visitor of a sleeping app."""
        cycle = self.app(name).cycle
        return await self.registry.record_access(name, self.clock.now(), wake_for=cycle)

    async def override(self, name: str = "my-app", **fields: Any) -> App:
        """A person's word: fields of `Settings` and of `Overrides`."""
        while True:
            app = self.app(name)
            own = {key: fields[key] for key in ("awake_until", "sleep_for") if key in fields}
            said = {key: value for key, value in fields.items() if key not in own}
            overrides = replace(app.overrides, settings=replace(app.overrides.settings, **said))
            change = AppChange(overrides=replace(overrides, **own))
            try:
                return await self.registry.update(name, change, seen_version=app.version)
            except Conflict:
                await asyncio.sleep(0)

    async def put_to_sleep(self, name: str = "my-app") -> App:
        """A person's order; returns the sleeping record."""
        await self.phase(Phase.AWAKE, name)
        await self.override(name, sleep_for=self.app(name).cycle)
        return await self.phase(Phase.ASLEEP, name)

    async def wake(self, name: str = "my-app") -> App:
        """A visitor who gets what he wants."""
        await self.ask_wake(name)
        return await self.phase(Phase.AWAKE, name)

    @property
    def account(self) -> Account:
        """The first account."""
        return next(iter(self.controller.accounts.values()))

    def told(self, kind: Reason) -> str | None:
        """What the account's condition says, None where it does not hold."""
        found = [one for one in self.account.conditions if one.type == kind and one.status]
        return found[0].message if found else None

    async def look_around(self) -> None:
        """A whole listing, asked for from now on, was taken in."""
        before = self.account.last_complete_listing
        asked_at = self.clock.now()
        self.controller.look_around()

        def listed() -> bool:
            last = self.account.last_complete_listing
            return last is not None and last != before and last >= asked_at

        await until(listed)
        await self.turns()

    async def turns(self) -> None:
        """What is due now was decided."""
        for _ in range(20):
            await asyncio.sleep(0.005)

    async def pass_time(self, span: timedelta) -> None:
        """Time passes, and everybody notices."""
        self.clock.ahead += span
        await self.look_around()

    async def kill(self) -> None:
        """The end without any goodbye."""
        self.running.cancel()
        await asyncio.wait({self.running}, timeout=5)

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """A request to the simulator's control interface."""
        async with httpx.AsyncClient(base_url=self.sim.api_url, verify=NO_TLS) as client:
            content = None if body is None else json.dumps(body)
            answer = await client.request(method, f"/_sim/{path}", content=content)
            assert answer.status_code < 300, answer.text
            return answer.json() if answer.content else None

    async def fault(self, match: str, **fields: object) -> None:
        """Something goes wrong at the provider from now on."""
        await self.control("POST", "faults", {"match": match, **fields})

    async def heal(self) -> None:
        """Nothing goes wrong any more."""
        await self.control("DELETE", "faults")

    async def by_hand(self, name: str = "my-app", **amounts: int) -> None:
        """A person scales the app, and the platform has done it."""
        await self.control("POST", f"apps/{name}/scale", amounts)
        await self.settled(name)

    async def settled(self, name: str = "my-app") -> None:
        """The platform does nothing with the app at present."""
        app = self.sim.world.find(name)
        assert app is not None
        await until(lambda: app.current is None)

    def truth(self, name: str = "my-app") -> dict[str, tuple[int, str]]:
        """The formation that the platform really has."""
        app = self.sim.world.find(name)
        assert app is not None
        return {kind: (row.amount, row.size) for kind, row in app.formation.items()}

    def calls(self, method: str, ending: str) -> int:
        """How many API calls of that kind arrived."""
        calls = self.sim.gate.calls
        return sum(call.method == method and call.path.endswith(ending) for call in calls)

    def changing_calls(self) -> int:
        """How many API calls arrived that change something."""
        calls = self.sim.gate.calls
        return sum(
            call.method != "GET" and not call.path.endswith("/tokens/exchange") for call in calls
        )

    @property
    def scale_calls(self) -> int:
        """How many starts and stops were sent."""
        return self.calls("POST", "/scale")


def configured(setup: Setup, sim: ScalingoSimulator) -> Config:
    """The configuration that leads to the simulator."""
    account = AccountConfig(
        name=setup.account,
        provider="scalingo",
        mode=setup.mode,
        credentials={"api_token": Secret("tk-us-simulated")},
        urls={"api": sim.api_url, "auth": sim.api_url},
        calls_per_minute=setup.budget,
        ignored_apps=setup.ignored,
    )
    base = setup.config or Config(accounts=())
    return replace(
        base,
        accounts=(account,),
        defaults=Settings(max_idle_time=setup.idle),
        controller=ControllerConfig(
            discovery_cron="* * * * *",
            drain_time=setup.drain,
            access_resolution=setup.resolution,
        ),
    )


@asynccontextmanager
async def simulated(setup: Setup, clock: Clock) -> AsyncIterator[ScalingoSimulator]:
    """The provider alone."""
    settings = SimulatorSettings(
        listen=("127.0.0.1", 0),
        front_listen=("127.0.0.1", 0),
        rate_limit=setup.rate_limit,
        latency=setup.latency,
        apps=setup.apps,
        world=WorldSettings(
            boot_time=setup.boot,
            stop_time=timedelta(milliseconds=50),
            pending_time=timedelta(milliseconds=20),
        ),
    )
    async with ScalingoSimulator(settings, now=clock.now) as sim:
        yield sim


@asynccontextmanager
async def controlling(
    setup: Setup,
    sim: ScalingoSimulator,
    clock: Clock,
    registry: MemoryRegistry | None = None,
) -> AsyncIterator[Installation]:
    """A controller at work on a simulated provider; a registry that is handed in stays open."""
    config = configured(setup, sim)
    providers = [open_provider(account, now=clock.now) for account in config.accounts]
    accounts = [
        Account.open(account, provider)
        for account, provider in zip(config.accounts, providers, strict=True)
    ]
    own = registry is None
    if registry is None:
        registry = await MemoryRegistry.open(setup.state_file, monotonic=clock.monotonic)
    controller = Controller(
        registry=registry,
        accounts=accounts,
        config=config,
        environ=os.environ,
        now=clock.now,
        rng=random.Random(7),
        metrics=Metrics(),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(controller.run(stop))
    installation = Installation(sim, registry, controller, clock, running, stop)
    try:
        yield installation
    finally:
        stop.set()
        await asyncio.wait({running}, timeout=10)
        running.cancel()
        for provider in providers:
            await provider.aclose()
        if own:
            await registry.aclose()
        if not running.cancelled() and running.done():
            running.result()  # a fault of the controller is a fault of the test


@asynccontextmanager
async def installed(setup: Setup) -> AsyncIterator[Installation]:
    """Everything, once."""
    clock = Clock()
    async with simulated(setup, clock) as sim, controlling(setup, sim, clock) as installation:
        yield installation


@pytest.fixture
async def installation() -> AsyncIterator[Installation]:
    """One app that falls asleep soon."""
    async with installed(Setup()) as running:
        yield running


@pytest.fixture
async def awake() -> AsyncIterator[Installation]:
    """One app that nobody puts to sleep unasked."""
    async with installed(Setup(idle=LONG)) as running:
        await running.known()
        yield running


def apps(count: int, **fields: Any) -> tuple[AppSpec, ...]:
    """That many apps: app-0, app-1, …"""
    return tuple(AppSpec(name=f"app-{number}", **fields) for number in range(count))


__all__ = [
    "ASLEEP",
    "AWAKE",
    "LONG",
    "WHOLE",
    "AutoscalerSpec",
    "Clock",
    "Installation",
    "Setup",
    "apps",
    "controlling",
    "installed",
    "simulated",
    "until",
]
