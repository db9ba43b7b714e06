"""The right to lead is lost and won again: no term acts on what another one learnt."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from paastis.app import AppChange, Operation, OperationKind, Phase, Process, Snapshot
from paastis.providers.port import Inspection, Remote, Urgency
from paastis.reasons import Reason
from tests.controller.conftest import until
from tests.controller.fakes import (
    FORMATION,
    FakeProvider,
    Running,
    SharedRegistry,
    World,
    running,
)

PAST_STEADY = timedelta(seconds=61)
PAST_VISIBILITY = timedelta(seconds=21)
SOON = timedelta(seconds=0.3)
STOPPED = tuple(replace(process, amount=0) for process in FORMATION)


async def write(work: Running, name: str, change: AppChange) -> None:
    """What another controller wrote."""
    await work.registry.update(name, change, seen_version=work.app(name).version)


async def test_controller_may_lead_again_after_the_right_was_lost() -> None:
    async with running(
        registry=SharedRegistry(), accounts={"main": FakeProvider(World.of("a"))}
    ) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.lose()
        assert not work.controller.leading
        assert work.controller.alive() == (True, "waiting to lead")
        before = len(asyncio.all_tasks())

        work.lead()
        await work.listed()
        await work.pass_time(PAST_STEADY)
        await work.put_to_sleep("a")
        await work.lose()
        assert len(asyncio.all_tasks()) <= before


async def test_new_leader_stops_nothing_for_a_minute() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}, idle=SOON) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.pass_time(PAST_STEADY)
        await work.phase(Phase.ASLEEP, "a")
        await work.ask_wake("a")
        await work.phase(Phase.AWAKE, "a")
        await work.lose()
        stops = provider.world.calls["stop"]

        work.lead()
        await work.listed()
        await asyncio.sleep(2 * SOON.total_seconds())
        assert work.app("a").phase is Phase.AWAKE
        assert work.controller.decision(work.app("a"))[1].reason is Reason.JUST_TOOK_OVER
        await work.pass_time(PAST_STEADY)
        await work.phase(Phase.ASLEEP, "a")
        assert provider.world.calls["stop"] == stops + 1


async def test_drain_of_an_earlier_term_is_cancelled_even_if_it_was_ours() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.pass_time(PAST_STEADY)
        await work.registry.heartbeat("elsewhere", position=0)  # which never agrees
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.DRAINING, "a")
        cycle = work.app("a").cycle
        await work.lose()
        assert work.app("a").phase is Phase.DRAINING

        await work.registry.goodbye("elsewhere")
        work.lead()
        await work.phase(Phase.AWAKE, "a")
        assert work.app("a").cycle == cycle
        assert provider.world.calls["stop wanted"] == 0


async def test_stop_by_a_person_during_a_frozen_drain_is_not_taken_for_ours() -> None:
    """Race 3."""
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.lose()
        await write(work, "a", AppChange(phase=Phase.DRAINING, phase_since=work.clock.now()))
        provider.world.apps["a"] = STOPPED

        work.lead()
        await work.phase(Phase.ASLEEP, "a")
        assert work.app("a").phase_reason is Reason.STOPPED_BY_HAND
        await work.pass_time(PAST_STEADY)
        assert work.app("a").phase is Phase.ASLEEP
        assert provider.world.calls["start wanted"] == 0


async def test_stop_that_another_leader_sent_is_closed_and_never_sent_again() -> None:
    """Race 2: it landed, and a person started the app."""
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.lose()
        change = AppChange(
            phase=Phase.STOPPING,
            cycle=work.app("a").cycle + 1,
            operation=Operation(OperationKind.STOP, "theirs", work.clock.now()),
            snapshot=Snapshot(work.clock.now(), FORMATION),
        )
        await write(work, "a", change)

        work.lead()
        await work.listed()
        await work.pass_time(PAST_VISIBILITY)
        await work.phase(Phase.AWAKE, "a")
        await work.pass_time(PAST_STEADY)
        assert provider.world.calls["stop wanted"] == 0
        assert provider.world.calls["start wanted"] == 0


async def test_start_that_another_leader_announced_is_never_sent_again() -> None:
    provider = FakeProvider(World({"a": STOPPED}))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.ASLEEP, "a")
        await work.lose()
        cycle = work.app("a").cycle
        change = AppChange(
            phase=Phase.STARTING,
            operation=Operation(OperationKind.START, "theirs", work.clock.now()),
            snapshot=Snapshot(work.clock.now(), FORMATION),
        )
        await write(work, "a", change)
        await work.ask_wake("a")

        work.lead()
        await work.listed()
        await work.pass_time(PAST_VISIBILITY)
        await work.phase(Phase.ASLEEP, "a")
        assert work.app("a").cycle == cycle + 1  # who still waits asks for the new one
        await work.settled()
        assert provider.world.calls["start wanted"] == 0


async def test_start_that_another_leader_sent_tells_nothing_about_the_usual_boot() -> None:
    """How long it took nobody saw: an outage of an hour would be told to visitors as a boot."""
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.lose()
        sent = work.clock.now() - timedelta(hours=1)
        start = Operation(OperationKind.START, "theirs", sent)
        await write(work, "a", AppChange(phase=Phase.STARTING, operation=start))

        work.lead()
        await work.listed()
        await work.pass_time(PAST_VISIBILITY)
        await work.phase(Phase.AWAKE, "a")
        assert work.app("a").usual_boot is None


async def test_open_operation_is_waited_out_by_our_own_clock() -> None:
    """The clock of whoever sent it may be an hour behind, or ahead."""
    provider = FakeProvider(World.of("slow", "fast"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "slow", "fast")
        await work.lose()
        hour = timedelta(hours=1)
        for name, error in (("slow", -hour), ("fast", hour)):
            sent = Operation(OperationKind.STOP, f"of-{name}", work.clock.now() + error)
            snapshot = Snapshot(work.clock.now(), FORMATION)
            change = AppChange(phase=Phase.STOPPING, operation=sent, snapshot=snapshot)
            await write(work, name, change)

        work.lead()
        await work.listed()
        await asyncio.sleep(0.3)
        assert work.app("slow").open_operation
        await work.pass_time(PAST_VISIBILITY)
        await work.phase(Phase.AWAKE, "slow", "fast")


async def test_places_are_taken_from_the_records_of_each_term() -> None:
    provider = FakeProvider(World.of("a", "b"), operations=1)
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        await work.lose()
        sent = Operation(OperationKind.STOP, "theirs", work.clock.now())
        change = AppChange(
            phase=Phase.STOPPING, operation=sent, snapshot=Snapshot(work.clock.now(), FORMATION)
        )
        await write(work, "a", change)

        work.lead()
        await work.listed()
        assert work.controller.accounts["main"].slots.holds("a")
        assert not work.controller.accounts["main"].slots.holds("b")


async def test_absences_of_an_earlier_term_remove_nothing() -> None:
    provider = FakeProvider(World.of("a", "b"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        del provider.world.apps["a"]
        await work.listed()
        await work.lose()
        work.lead()
        await work.listed()
        assert "a" in work.registry.apps()
        await work.listed()
        await until(lambda: "a" not in work.registry.apps())


async def test_stop_is_not_sent_when_the_right_ends_while_it_is_prepared() -> None:
    class Losing(FakeProvider):
        async def inspect(
            self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
        ) -> Inspection:
            if autoscaled:  # the last look before a stop
                registry.lease.short = True
            return await super().inspect(app, urgency=urgency, autoscaled=autoscaled)

    registry, provider = SharedRegistry(), Losing(World.of("a"))
    async with running(registry=registry, accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.pass_time(PAST_STEADY)
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.STOPPING, "a")
        await work.settled()
        assert provider.world.calls["stop wanted"] == 0
        await work.lose()
        assert work.app("a").open_operation

        work.lead()
        await work.listed()
        await work.pass_time(PAST_VISIBILITY)
        await work.phase(Phase.AWAKE, "a")  # it still runs
        assert provider.world.calls["stop wanted"] == 0


async def test_call_that_waits_for_its_turn_is_not_sent_after_the_right_was_lost() -> None:
    provider = FakeProvider(World({"a": STOPPED}))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.ASLEEP, "a")
        provider.gate.clear()
        await work.ask_wake("a")
        await until(lambda: provider.world.calls["start wanted"])
        work.registry.lease.gone.set()
        provider.gate.set()
        await work.lose()

        assert provider.world.calls["start"] == 0
        assert work.app("a").phase is Phase.STARTING  # the next leader closes it
        assert work.app("a").open_operation


async def test_hung_call_does_not_outlive_a_lost_right_by_more_than_its_last_steps() -> None:
    provider = FakeProvider(World({"a": STOPPED}))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.ASLEEP, "a")
        provider.gate.clear()
        await work.ask_wake("a")
        await until(lambda: provider.world.calls["start wanted"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        await work.lose()
        assert loop.time() - began < 4  # then somebody else may lead
        provider.gate.set()
        await work.settled()
        assert provider.world.calls["start"] == 0


async def test_autoscalers_are_not_enabled_without_the_right_to_lead() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(registry=SharedRegistry(), accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        work.registry.lease.short = True
        owed = Snapshot(work.clock.now(), (Process("web", 1),), autoscalers=("one",))
        await write(work, "a", AppChange(snapshot=owed))
        await work.settled()
        assert provider.world.calls["enable wanted"] == 0
        work.registry.lease.short = False
        await work.pass_time(timedelta(seconds=11))
        await until(lambda: provider.world.calls["enable"] == 1)
