"""Rules change while the controller leads: they hold at once, and the records follow."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller import renewal
from controller.policies import RuleReport
from paastis.app import App, AppChange, Identity, Phase, Snapshot
from paastis.errors import RegistryUnavailable
from paastis.policy import Power, Settings
from paastis.rule import Rule
from tests.controller.conftest import LONG, until
from tests.controller.fakes import FORMATION, FakeProvider, Running, SharedRegistry, World, running

SOON = timedelta(seconds=0.3)


def rule(pattern: str, *, name: str = "", priority: int = 0, **settings: Any) -> Rule:
    name = name or pattern
    return Rule(pattern, Settings(**settings), f"PaastisRule {name}", name=name, priority=priority)


def record(name: str, phase: Phase = Phase.AWAKE, **fields: Any) -> App:
    now = datetime.now().astimezone()
    app = App(name, Identity("main", "r", name), "scalingo", name, now, phase=phase)
    return replace(app, phase_since=now, deployment="1", url=f"https://{name}.example", **fields)


async def filled(registry: SharedRegistry, *apps: App) -> None:
    for app in apps:
        await registry.create(app)


def shows(work: Running, idle: timedelta) -> bool:
    return all(app.policy.max_idle_time == idle for app in work.registry.apps().values())


async def test_rules_hold_at_once_and_records_follow() -> None:
    provider = FakeProvider(World.of("a", "b"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        work.controller.put_rules([rule("a", max_idle_time=SOON)])
        await work.phase(Phase.ASLEEP, "a")
        assert work.app("a").policy.sources["max_idle_time"] == "PaastisRule a"
        assert work.app("b").phase is Phase.AWAKE

        work.controller.put_rules([rule("a", power=Power.ALWAYS_ON)])
        await work.phase(Phase.AWAKE, "a")


async def test_rules_may_be_put_before_there_is_anything_to_lead() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}, lead=False) as work:
        work.controller.put_rules([rule("a", max_idle_time=SOON)])
        work.lead()
        await work.phase(Phase.ASLEEP, "a")


async def test_of_equal_priorities_the_later_rule_wins() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        first = rule("a", name="first", max_idle_time=LONG, priority=1)
        last = rule("a", name="last", max_idle_time=2 * LONG, priority=1)
        work.controller.put_rules([first, last, rule("a", name="low", max_idle_time=3 * LONG)])
        await until(lambda: shows(work, 2 * LONG))


async def test_link_that_a_rule_adds_is_known_before_the_next_stop() -> None:
    provider = FakeProvider(World.of("front", "back"))
    async with running(accounts={"main": provider}, idle=SOON) as work:
        work.controller.put_rules([rule("front", linked_apps=("back",), max_idle_time=LONG)])
        await work.phase(Phase.AWAKE, "front", "back")
        for _ in range(10):
            await work.registry.record_access("front", work.clock.now())
            await asyncio.sleep(0.1)
        assert work.app("back").phase is Phase.AWAKE


async def test_what_is_draining_is_decided_about_anew() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.registry.heartbeat("elsewhere", position=0)  # which never agrees
        await work.phase(Phase.AWAKE, "a")
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.DRAINING, "a")
        work.controller.put_rules([rule("a", power=Power.ALWAYS_ON)])
        await work.phase(Phase.AWAKE, "a")
        await until(lambda: work.app("a").policy.power is Power.ALWAYS_ON)


async def test_policy_of_what_is_draining_is_written_after_the_drain() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.registry.heartbeat("elsewhere", position=0)
        await work.phase(Phase.AWAKE, "a")
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.DRAINING, "a")
        version = work.app("a").version
        work.controller.put_rules([rule("a", rewrite=False)])
        await work.settled()
        assert work.app("a").version == version

        await work.registry.goodbye("elsewhere")
        await work.phase(Phase.ASLEEP, "a")
        await until(lambda: not work.app("a").policy.rewrite)


async def test_reports_count_apps_and_tell_problems() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a", "b", "c-1"))}) as work:
        await work.phase(Phase.AWAKE, "a", "b", "c-1")
        work.controller.put_rules(
            [
                rule("[ab]", name="two"),
                rule("none", name="none"),
                rule("(", name="bad", max_idle_time=SOON),
                rule("c-(x)?1", name="template", linked_apps=("$1",)),
            ]
        )
        await until(lambda: "two" in work.controller.rule_reports())
        reports = work.controller.rule_reports()

        assert reports["two"] == RuleReport(2)
        assert reports["none"] == RuleReport(0)
        assert reports["bad"].apps == 0
        assert "not a regular expression" in reports["bad"].problems[0]
        assert reports["template"].apps == 1
        assert "took no part in the match" in reports["template"].problems[0]
        assert reports.keys() == {"two", "none", "bad", "template"}


async def test_report_of_many_problems_is_short() -> None:
    names = [f"c-{number}" for number in range(20)]
    async with running(accounts={"main": FakeProvider(World.of(*names))}) as work:
        await work.phase(Phase.AWAKE, *names)
        work.controller.put_rules([rule("c-(x)?.*", name="template", linked_apps=("$1",))])
        await until(lambda: "template" in work.controller.rule_reports())

        report = work.controller.rule_reports()["template"]
        assert report.apps == 20
        assert len(report.problems) == 6
        assert report.problems[-1] == "The same holds for 15 more."


async def test_awake_apps_are_written_first() -> None:
    registry = SharedRegistry(shared=False)
    asleep = Snapshot(datetime.now().astimezone(), FORMATION)
    names = [f"asleep-{number}" for number in range(150)]
    await filled(registry, *(record(name, Phase.ASLEEP, snapshot=asleep) for name in names))
    await filled(registry, *(record(f"awake-{number}") for number in range(150)))
    async with running(registry=registry, accounts={"main": FakeProvider(World())}) as work:
        await until(lambda: len({*registry.updates}) >= 300)
        registry.latency = 0.002
        work.controller.put_rules([rule(".*", max_idle_time=2 * LONG)])
        await until(lambda: shows(work, 2 * LONG))

        written = [name for name, idle_time in registry.idle_times if idle_time == 2 * LONG]
        assert all(name.startswith("awake-") for name in written[:150])


async def test_later_rules_supersede_the_writing_of_earlier_ones() -> None:
    registry = SharedRegistry(shared=False)
    await filled(registry, *(record(f"a-{number}") for number in range(1000)))
    async with running(registry=registry, accounts={"main": FakeProvider(World())}) as work:
        work.controller.put_rules([rule(".*", max_idle_time=2 * LONG)])
        await until(lambda: shows(work, 2 * LONG))
        registry.updates.clear()
        registry.latency = 0.05
        work.controller.put_rules([rule(".*", max_idle_time=3 * LONG)])
        await until(lambda: len(registry.updates) > 100)
        registry.latency = 0.0
        work.controller.put_rules([rule(".*", max_idle_time=4 * LONG)])
        await until(lambda: shows(work, 4 * LONG))

        assert len(registry.updates) < 1500


async def test_hundred_rules_one_after_the_other_cost_few_writes() -> None:
    registry = SharedRegistry(shared=False)
    await filled(registry, *(record(f"a-{number}") for number in range(100)))
    async with running(registry=registry, accounts={"main": FakeProvider(World())}) as work:
        await until(lambda: shows(work, LONG))
        await work.settled()
        registry.updates.clear()
        rules = [rule(f"a-{number}", max_idle_time=2 * LONG) for number in range(100)]
        for count in range(1, 101):
            work.controller.put_rules(rules[:count])
        await until(lambda: shows(work, 2 * LONG))

        assert len(registry.updates) == 100


async def test_registry_that_is_away_gets_the_policies_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away(SharedRegistry):
        away = False

        async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
            if self.away:
                raise RegistryUnavailable("away")
            return await super().update(name, change, seen_version=seen_version)

    monkeypatch.setattr(renewal, "AFTER_FAULT", timedelta(seconds=0.05))
    registry = Away(shared=False)
    async with running(registry=registry, accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        registry.away = True
        work.controller.put_rules([rule("a", max_idle_time=2 * LONG)])
        await work.settled()
        registry.away = False
        await until(lambda: shows(work, 2 * LONG))


async def test_wake_is_not_held_up_by_the_renewal_of_many() -> None:
    """Measured in turns of the loop rather than in time: a start comes among the writes."""
    registry = SharedRegistry(shared=False)
    await filled(registry, *(record(f"a-{number}") for number in range(3000)))
    sleeper = Snapshot(datetime.now().astimezone(), FORMATION)
    await filled(registry, record("sleeper", Phase.ASLEEP, snapshot=sleeper))
    world = World({"sleeper": tuple(replace(process, amount=0) for process in FORMATION)})
    async with running(registry=registry, accounts={"main": FakeProvider(world)}) as work:
        await until(lambda: shows(work, LONG))
        await until(lambda: work.controller.ready()[0])
        registry.updates.clear()
        registry.latency = 0.002
        work.controller.put_rules([rule("a-.*", max_idle_time=2 * LONG)])
        await until(lambda: len(registry.updates) > 100)
        await work.ask_wake("sleeper")
        await work.phase(Phase.STARTING, "sleeper")
        assert len(registry.updates) < 2000
