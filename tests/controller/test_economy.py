"""No change, no write; and ten thousand records cost no more than they must."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controller import reconciler
from paastis.app import App, Phase, Snapshot
from paastis.decide import Decision, Situation, decide
from paastis.errors import Unavailable
from paastis.policy import Mode, Settings
from paastis.rule import Rule
from tests.controller.conftest import LONG, until
from tests.controller.fakes import (
    FORMATION,
    FakeProvider,
    SharedRegistry,
    World,
    account,
    running,
)
from tests.controller.test_live_rules import filled, record

STOPPED = tuple(replace(process, amount=0) for process in FORMATION)


@pytest.mark.parametrize("mode", [Mode.MANAGE, Mode.OBSERVE, Mode.PAUSE])
async def test_listings_with_nothing_new_write_nothing(mode: Mode) -> None:
    names = [f"app-{number}" for number in range(20)]
    world = World.of(*names)
    world.apps |= dict.fromkeys(names[:5], STOPPED)
    provider = FakeProvider(world)
    async with running(idle=timedelta(seconds=0.1) if mode is Mode.OBSERVE else LONG) as work:
        work.controller.put_rules([Rule("app-1.*", Settings(linked_apps=("app-2",)), "rule")])
        work.controller.put_account(account(mode=mode), provider)
        await until(lambda: len(work.registry.apps()) == len(names))
        await asyncio.sleep(0.5)
        await work.listed()
        work.registry.updates.clear()
        position = work.registry.position()
        for _ in range(5):
            await work.listed()

        assert work.registry.updates == []
        assert work.registry.position() == position


async def test_failing_listings_write_nothing() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        provider.listing_fails = Unavailable("no answer")
        position = work.registry.position()
        for _ in range(3):
            calls = provider.world.calls["list"]
            work.controller.look_around()
            await until(lambda calls=calls: provider.world.calls["list"] > calls)  # type: ignore[misc]
            await work.settled()
        assert work.registry.position() == position


async def test_put_of_what_is_there_already_writes_and_lists_nothing() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        rules = [Rule("a", Settings(rewrite=False), "rule a", name="a")]
        work.controller.put_rules(rules)
        await until(lambda: not work.app("a").policy.rewrite)
        await work.settled()
        position, calls = work.registry.position(), sum(provider.world.calls.values())
        work.controller.put_rules(rules)
        work.controller.put_account(account(), provider)
        await work.settled()

        assert work.registry.position() == position
        assert sum(provider.world.calls.values()) == calls


async def test_taking_over_writes_nothing_where_all_is_as_it_was() -> None:
    provider = FakeProvider(World.of("a", "b"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        await work.lose()
        position = work.registry.position()
        work.lead()
        await work.listed()
        assert work.registry.position() == position


async def test_waking_many_costs_few_decisions_each(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()

    def counting(situation: Situation, now: datetime) -> Decision:
        counted[situation.app.name] += 1
        return decide(situation, now)

    monkeypatch.setattr(reconciler, "decide", counting)
    names = [f"app-{number}" for number in range(300)]
    registry = SharedRegistry(shared=False)
    slept = datetime.now().astimezone()
    await filled(registry, *(_asleep(name, slept) for name in names))
    provider = FakeProvider(World(dict.fromkeys(names, STOPPED)))
    async with running(registry=registry, accounts={"main": provider}) as work:
        await until(lambda: work.controller.ready()[0])
        await work.settled()
        counted.clear()
        work.controller.put_account(account(mode=Mode.WAKE_ALL), provider)
        await work.phase(Phase.AWAKE, *names)

        assert provider.world.calls["start"] == len(names)
        assert counted.total() < 20 * len(names)


def _asleep(name: str, slept: datetime) -> App:
    app = record(name, Phase.ASLEEP, snapshot=Snapshot(slept, FORMATION), last_stop_time=slept)
    return replace(app, formation=FORMATION)
