"""A provider in memory and a registry with proxies elsewhere, for what needs no HTTP."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controller.happening import Happening
from controller.program import Controller
from paastis.app import App, AppChange, Formation, Observation, Phase, Process, Snapshot
from paastis.config import AccountConfig, Config, ControllerConfig
from paastis.metrics import Metrics
from paastis.policy import Settings
from paastis.providers.fence import check_fence
from paastis.providers.port import (
    BudgetState,
    Followed,
    Inspection,
    Limits,
    Listing,
    OpenOperation,
    Receipt,
    Remote,
    RemoteApp,
    Urgency,
)
from paastis.registry.memory import MemoryRegistry
from paastis.registry.port import Leadership
from tests.controller.conftest import LONG, Clock, until

FORMATION = (Process("web", 2, "M"), Process("worker", 1, "S"), Process("clock", 0, "S"))

_LIMITS = Limits(
    operations=3,
    visibility=timedelta(seconds=20),
    operation_timeout=timedelta(minutes=5),
    call_timeout=timedelta(seconds=4),
    follow_every=timedelta(seconds=0.02),
    reports_traffic=False,
    listing_tells_state=True,
)


@dataclass
class World:
    """The apps of one account, by id, and what was asked of it."""

    apps: dict[str, Formation] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    last: dict[str, Formation] = field(default_factory=dict)

    @classmethod
    def of(cls, *names: str) -> "World":
        return cls(dict.fromkeys(names, FORMATION))


class FakeProvider:
    """See the port. `gate` holds up calls that change something while it is not set."""

    def __init__(self, world: World, *, operations: int = 3) -> None:
        self.world = world
        self.closed = False
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.listing_fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._limits = replace(_LIMITS, operations=operations)

    @property
    def limits(self) -> Limits:
        return self._limits

    def budget(self) -> BudgetState:
        return BudgetState(per_minute=50, left=50)

    async def check(self) -> str:
        return "somebody"

    async def list_apps(self) -> Listing:
        self.world.calls["list"] += 1
        sent_at = self.now()
        await asyncio.sleep(0)
        if self.listing_fails is not None:
            raise self.listing_fails
        apps = tuple(
            RemoteApp("r", name, name, _state(formation), f"https://{name}.example", (), "1")
            for name, formation in self.world.apps.items()
        )
        return Listing(apps, sent_at, complete=True)

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        self.world.calls["inspect"] += 1
        sent_at = self.now()
        await asyncio.sleep(0)
        found = self.world.apps.get(app.identity.app_id)
        if found is None:
            return Inspection(Observation.MISSING, (), sent_at)
        return Inspection(_state(found), found, sent_at, deployment="1")

    async def stop(self, app: Remote, formation: Formation) -> Receipt:
        await self._change("stop")
        self.world.apps[app.identity.app_id] = tuple(
            replace(process, amount=0) for process in formation
        )
        return Receipt(None)

    async def start(self, app: Remote, snapshot: Snapshot, *, urgency: Urgency) -> Receipt:
        await self._change("start")
        self.world.apps[app.identity.app_id] = snapshot.processes
        return Receipt(None)

    async def _change(self, verb: str) -> None:
        self.world.calls[f"{verb} wanted"] += 1
        await self.gate.wait()
        check_fence(timedelta(seconds=3))
        self.world.calls[verb] += 1

    async def enable_autoscalers(
        self, app: Remote, ids: Sequence[str], *, urgency: Urgency
    ) -> None:
        await self._change("enable")

    async def follow(self, operations: Sequence[OpenOperation]) -> Mapping[str, Followed]:
        return {}

    async def direct_traffic(self, app: Remote, since: datetime) -> datetime | None:
        return None

    async def last_formation(self, app: Remote) -> Formation | None:
        return self.world.last.get(app.identity.app_id)

    async def aclose(self) -> None:
        self.closed = True


def _state(formation: Formation) -> Observation:
    up = any(process.type == "web" and process.amount for process in formation)
    return Observation.RUNNING if up else Observation.STOPPED


class Lease:
    """The right to lead, which a test may take away."""

    def __init__(self) -> None:
        self.short = False
        """It does not outlive a call any more."""
        self.gone = asyncio.Event()

    def outlives(self, span: timedelta) -> bool:
        return not (self.short or self.gone.is_set())

    async def lost(self) -> None:
        await self.gone.wait()


class SharedRegistry(MemoryRegistry):
    """As if proxies were elsewhere; counts the controller's writes, which may take a while."""

    def __init__(self, *, shared: bool = True, latency: float = 0.0) -> None:
        super().__init__()
        self._is_shared = shared
        self.latency = latency
        self.lease = Lease()
        self.updates: list[str] = []
        """Whose record was written, in the order in which the writes began."""
        self.idle_times: list[tuple[str, timedelta]] = []
        """The same for policies alone, with the idle time that was written."""

    @property
    def shared(self) -> bool:
        return self._is_shared

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        self.updates.append(name)
        if "policy" in change:
            self.idle_times.append((name, change["policy"].max_idle_time))
        if self.latency:
            await asyncio.sleep(self.latency)
        return await super().update(name, change, seen_version=seen_version)

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[Leadership]:
        async with super().lead():
            self.lease = Lease()
            yield self.lease


@dataclass
class Running:
    """A controller at work on fakes."""

    registry: SharedRegistry
    controller: Controller
    clock: Clock
    stop: asyncio.Event
    happened: list[Happening]
    news: list[str]
    term: asyncio.Task[None] | None = None

    def app(self, name: str) -> App:
        return self.registry.apps()[name]

    async def phase(self, phase: Phase, *names: str) -> None:
        await until(
            lambda: all(
                name in self.registry.apps() and self.app(name).phase is phase for name in names
            )
        )

    async def listed(self) -> None:
        """A listing of each account that was asked for from now on was taken in."""
        asked_at = self.clock.now()
        self.controller.look_around()
        await until(
            lambda: all(
                one.last_complete_listing is not None and one.last_complete_listing >= asked_at
                for one in self.controller.accounts.values()
            )
        )
        await self.settled()

    async def settled(self) -> None:
        """What is due now was done."""
        for _ in range(20):
            await asyncio.sleep(0.005)

    async def pass_time(self, span: timedelta) -> None:
        self.clock.ahead += span
        await self.listed()

    async def ask_wake(self, name: str) -> None:
        await self.registry.record_access(
            name, self.clock.now(), wake_for=self.registry.apps()[name].cycle
        )

    async def put_to_sleep(self, *names: str) -> None:
        for name in names:
            await self.edit(name, sleep_for=self.app(name).cycle)
        await self.phase(Phase.ASLEEP, *names)

    async def edit(self, name: str, *, sleep_for: int | None) -> None:
        """A person's word."""
        app = self.app(name)
        change = AppChange(overrides=replace(app.overrides, sleep_for=sleep_for))
        await self.registry.update(name, change, seen_version=app.version)

    def lead(self) -> None:
        """Begin a term."""
        self.term = asyncio.create_task(self.controller.run(self.stop))

    async def lose(self) -> None:
        """The right to lead is lost, and the term ends."""
        assert self.term is not None
        self.registry.lease.gone.set()
        await asyncio.wait({self.term}, timeout=10)
        self.term.result()

    def told(self, name: str) -> list[str]:
        return [str(it.reason) for it in self.happened if it.app.name == name]


def account(name: str = "main", **fields: object) -> AccountConfig:
    return replace(AccountConfig(name=name, provider="scalingo"), **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    *,
    registry: SharedRegistry | None = None,
    idle: timedelta = LONG,
    accounts: Mapping[str, FakeProvider] | None = None,
    config: Config | None = None,
    lead: bool = True,
) -> AsyncIterator[Running]:
    """A controller; accounts are put before it leads."""
    registry = SharedRegistry(shared=False) if registry is None else registry
    clock = Clock()
    happened: list[Happening] = []
    news: list[str] = []
    config = replace(
        config or Config(accounts=()),
        defaults=Settings(max_idle_time=idle),
        controller=ControllerConfig(
            discovery_cron="* * * * *",
            drain_time=timedelta(milliseconds=50),
            access_resolution=timedelta(milliseconds=50),
        ),
    )
    controller = Controller(
        registry=registry,
        accounts=(),
        config=config,
        environ=os.environ,
        now=clock.now,
        rng=random.Random(7),
        metrics=Metrics(),
        announce=happened.append,
        on_news=news.append,
    )
    for name, provider in (accounts or {}).items():
        provider.now = clock.now
        controller.put_account(account(name), provider)
    work = Running(registry, controller, clock, asyncio.Event(), happened, news)
    if lead:
        work.lead()
    try:
        yield work
    finally:
        work.stop.set()
        if work.term is not None:
            await asyncio.wait({work.term}, timeout=10)
            work.term.cancel()
            if work.term.done() and not work.term.cancelled():
                work.term.result()  # a fault of the controller is a fault of the test
        await registry.aclose()
