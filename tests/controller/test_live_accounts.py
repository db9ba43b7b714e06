"""Accounts come, change and go while the controller leads."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from controller import term
from paastis.app import Observation, Phase
from paastis.errors import Unavailable
from paastis.policy import Mode
from paastis.providers.port import Listing
from paastis.reasons import Reason
from tests.controller.conftest import until
from tests.controller.fakes import FORMATION, FakeProvider, SharedRegistry, World, account, running

SOON = timedelta(seconds=0.3)


async def test_account_that_is_put_while_leading_is_discovered() -> None:
    async with running() as work:
        assert work.controller.put_account(account("late"), FakeProvider(World.of("a"))) is None
        await work.phase(Phase.AWAKE, "a")

        assert work.controller.accounts["late"].apps == 1
        assert work.controller.accounts["late"].reachable
        assert work.controller.ready() == (True, "every account was listed or tried")


async def test_account_may_be_put_before_there_is_anything_to_lead() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a"))}, lead=False) as work:
        assert not work.controller.leading
        work.lead()
        await work.phase(Phase.AWAKE, "a")
        assert work.controller.leading


async def test_apps_of_a_dropped_account_are_left_alone_and_adopted_when_it_is_back() -> None:
    world = World.of("awake", "asleep")
    provider = FakeProvider(world)
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "awake", "asleep")
        await work.put_to_sleep("asleep")
        before = work.app("asleep")

        assert work.controller.drop_account("main") is provider
        await work.phase(Phase.UNMANAGED, "awake", "asleep")
        left = work.app("asleep")
        assert left.phase_reason is Reason.ACCOUNT_MISSING
        assert (left.snapshot, left.formation) == (before.snapshot, before.formation)
        calls = sum(world.calls.values())
        await work.ask_wake("asleep")
        await work.settled()
        assert sum(world.calls.values()) == calls

        work.controller.put_account(account(), FakeProvider(world))
        await work.phase(Phase.AWAKE, "awake")
        await work.phase(Phase.ASLEEP, "asleep")
        await work.ask_wake("asleep")
        await work.phase(Phase.AWAKE, "asleep")
        assert world.apps["asleep"] == FORMATION


async def test_many_apps_are_adopted_by_one_listing() -> None:
    names = [f"app-{number}" for number in range(50)]
    world = World.of(*names)
    provider = FakeProvider(world)
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, *names)
        await work.put_to_sleep("app-0")
        snapshot = work.app("app-0").snapshot
        work.controller.drop_account("main")
        await work.phase(Phase.UNMANAGED, *names)
        inspections = world.calls["inspect"]

        work.controller.put_account(account(), FakeProvider(world))
        await work.phase(Phase.AWAKE, *names[1:])
        await work.phase(Phase.ASLEEP, "app-0")
        await work.settled()
        assert world.calls["inspect"] == inspections
        assert work.app("app-0").snapshot == snapshot
        assert work.app("app-0").phase_reason is Reason.ASLEEP  # by us: `WakeAll` would wake it
        await work.put_to_sleep("app-1")


async def test_app_that_is_managed_again_is_looked_at_where_the_listing_tells_nothing() -> None:
    class Vague(FakeProvider):
        async def list_apps(self) -> Listing:
            listing = await super().list_apps()
            apps = tuple(replace(app, state=Observation.UNKNOWN) for app in listing.apps)
            return replace(listing, apps=apps)

    world = World.of("a")
    async with running(accounts={"main": FakeProvider(world)}) as work:
        await work.phase(Phase.AWAKE, "a")
        work.controller.drop_account("main")
        await work.phase(Phase.UNMANAGED, "a")
        inspections = world.calls["inspect"]
        work.controller.put_account(account(), Vague(world))
        await work.phase(Phase.AWAKE, "a")
        assert world.calls["inspect"] == inspections + 1


async def test_account_that_nobody_knows_cannot_be_dropped() -> None:
    async with running() as work:
        assert work.controller.drop_account("nobody") is None


async def test_replaced_provider_is_handed_back_and_what_was_learnt_stays() -> None:
    old, new = FakeProvider(World.of("a")), FakeProvider(World.of("a", "b"))
    async with running(accounts={"main": old}) as work:
        await work.phase(Phase.AWAKE, "a")
        known = work.controller.accounts["main"]
        assert work.controller.put_account(account(), new) is old
        await work.phase(Phase.AWAKE, "b")
        assert work.controller.accounts["main"] is known
        assert work.controller.put_account(account(), new) is None

        await work.put_to_sleep("a")
        assert new.world.calls["stop"] == 1
        assert old.world.calls["stop"] == 0


async def test_failure_of_a_provider_that_was_replaced_meanwhile_is_not_told() -> None:
    class Slow(FakeProvider):
        async def list_apps(self):  # type: ignore[no-untyped-def] # as its base
            self.world.calls["list"] += 1
            await self.gate.wait()
            raise Unavailable("the connections of this account are closed")

    old = Slow(World.of("a"))
    old.gate.clear()
    async with running(accounts={"main": old}) as work:
        await until(lambda: old.world.calls["list"])
        work.controller.put_account(account(), FakeProvider(World.of("a")))
        old.gate.set()
        await work.phase(Phase.AWAKE, "a")

        assert work.controller.accounts["main"].reachable
        assert not any(one.status for one in work.controller.accounts["main"].conditions)


async def test_paused_account_calls_off_what_is_draining_at_once() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.registry.heartbeat("elsewhere", position=0)  # which never agrees
        await work.phase(Phase.AWAKE, "a")
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.DRAINING, "a")

        work.controller.put_account(account(mode=Mode.PAUSE), provider)
        await work.phase(Phase.AWAKE, "a")
        assert work.app("a").phase_reason is Reason.PAUSED
        await until(lambda: work.app("a").policy.mode is Mode.PAUSE)
        assert provider.world.calls["stop wanted"] == 0


async def test_stop_that_is_about_to_be_sent_heeds_a_pause() -> None:
    class Watching(FakeProvider):
        async def inspect(self, app, *, urgency, autoscaled=False):  # type: ignore[no-untyped-def]
            if autoscaled:  # the last look before a stop
                work.controller.put_account(account(mode=Mode.PAUSE), self)
            return await super().inspect(app, urgency=urgency, autoscaled=autoscaled)

    provider = Watching(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.edit("a", sleep_for=work.app("a").cycle)
        await until(lambda: work.app("a").policy.mode is Mode.PAUSE)
        await work.phase(Phase.AWAKE, "a")
        await work.settled()

        assert provider.world.calls["stop wanted"] == 0


async def test_account_that_begins_to_be_managed_puts_to_sleep_at_once() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(idle=SOON) as work:
        work.controller.put_account(account(mode=Mode.OBSERVE), provider)
        await until(lambda: work.told("a") == ["WouldSleep"])
        assert provider.world.calls["stop"] == 0

        work.controller.put_account(account(), provider)
        await work.phase(Phase.ASLEEP, "a")
        assert work.told("a") == ["WouldSleep", "Asleep"]


async def test_wake_all_wakes_at_once_what_was_put_to_sleep() -> None:
    names = [f"app-{number}" for number in range(8)]
    provider = FakeProvider(World.of(*names))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, *names)
        await work.put_to_sleep(*names)
        work.controller.put_account(account(mode=Mode.WAKE_ALL), provider)
        await work.phase(Phase.AWAKE, *names)

        assert set(provider.world.apps.values()) == {FORMATION}


async def test_ignored_app_is_let_go_and_found_again() -> None:
    provider = FakeProvider(World.of("a", "b"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        work.controller.put_account(account(ignored_apps=("a",)), provider)
        await until(lambda: "a" not in work.registry.apps())
        work.controller.put_account(account(), provider)
        await work.phase(Phase.AWAKE, "a")


async def test_idle_time_of_the_account_holds_at_once() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        work.controller.put_account(account(max_idle_time=SOON), provider)
        await work.phase(Phase.ASLEEP, "a")
        assert work.app("a").policy.max_idle_time == SOON
        assert provider.world.calls["list"] == 1  # nothing else would be found


async def test_own_interval_of_an_account_replaces_the_cron_expression() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        fast = account(discovery_interval=timedelta(seconds=0.1))
        work.controller.put_account(fast, provider)
        await until(lambda: provider.world.calls["list"] > 5)

        situation, _, _ = work.controller.decision(work.app("a"))
        assert situation.fresh_for == timedelta(seconds=0.3)


async def test_account_whose_loops_fail_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(term, "AFTER_FAULT", timedelta(seconds=0.05))
    odd, good = FakeProvider(World.of("a")), FakeProvider(World.of("b"))
    async with running(accounts={"odd": odd, "good": good}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        loops = work.controller._term._loops  # type: ignore[union-attr] # nobody else can see it
        broken = work.controller._term.discoveries["odd"]  # type: ignore[union-attr]

        async def fail() -> None:
            raise RuntimeError("odd")

        monkeypatch.setattr(broken, "_wait", lambda _began: fail())
        broken.ask()
        await work.settled()
        monkeypatch.undo()
        good.world.apps["c"] = FORMATION
        work.controller.look_around()
        await work.phase(Phase.AWAKE, "c")
        odd.world.apps["d"] = FORMATION
        work.controller.look_around()
        await work.phase(Phase.AWAKE, "d")
        assert not any(loop.done() for loop in loops.values())


async def test_news_of_an_account_are_told() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await until(lambda: "main" in work.news)
        provider.listing_fails = Unavailable("no answer")
        work.news.clear()
        work.controller.look_around()
        await until(lambda: work.controller.accounts["main"].reachable is False)
        await work.settled()
        assert work.news == ["main", "main"]  # the condition, then the listing

        work.news.clear()
        work.controller.look_around()
        await until(lambda: work.news)
        await work.settled()
        assert work.news == ["main"]  # the condition says nothing new


async def test_many_accounts_come_and_go_without_leaving_a_loop_behind() -> None:
    async with running() as work:
        for number in range(20):
            work.controller.put_account(account(f"n{number}"), FakeProvider(World()))
        await until(lambda: work.controller.ready()[0])
        before = len(asyncio.all_tasks())
        for number in range(20):
            work.controller.drop_account(f"n{number}")
        await work.settled()

        assert len(asyncio.all_tasks()) <= before - 60  # the outer one, discovery and following


async def test_operation_under_way_keeps_its_place_when_the_account_is_back() -> None:
    provider = FakeProvider(World.of("a"), operations=1)
    async with running(accounts={"main": provider}, registry=SharedRegistry()) as work:
        await work.phase(Phase.AWAKE, "a")
        provider.gate.clear()
        await work.pass_time(timedelta(seconds=61))
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.STOPPING, "a")
        work.controller.drop_account("main")
        await work.settled()
        assert work.app("a").phase is Phase.STOPPING  # its call may still take effect
        work.controller.put_account(account(), FakeProvider(provider.world, operations=1))
        assert work.controller.accounts["main"].slots.holds("a")
        provider.gate.set()
