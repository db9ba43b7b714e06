"""Operations end when their call can no longer take effect, whoever sent it and however it went."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from paastis.app import App, AppChange, Operation, OperationKind, Phase, Process, Snapshot
from paastis.policy import Power
from paastis.reasons import Reason
from paastis.registry.memory import MemoryRegistry
from paastis.simulate.server import ScalingoSimulator
from paastis.simulate.spec import AppSpec
from tests.controller.conftest import (
    ASLEEP,
    AWAKE,
    LONG,
    WHOLE,
    AutoscalerSpec,
    Clock,
    Installation,
    Setup,
    controlling,
    installed,
    simulated,
    until,
)

PAST_VISIBILITY = timedelta(seconds=21)
SNAPSHOT = tuple(Process(kind, amount, size) for kind, (amount, size) in AWAKE.items())


@asynccontextmanager
async def restarting(
    tmp_path: Path, **fields: Any
) -> AsyncIterator[tuple[Setup, ScalingoSimulator, Clock]]:
    """What outlives a controller: the provider, the state file, the time."""
    scaled = AppSpec(name="my-app", formation=WHOLE, autoscalers=(AutoscalerSpec(),))
    given = {"idle": LONG, "apps": (scaled,), "state_file": tmp_path / "state.db", **fields}
    setup, clock = Setup(**given), Clock()
    async with simulated(setup, clock) as sim:
        yield setup, sim, clock


async def edit(setup: Setup, change: AppChange) -> App:
    """Write to the record while no controller runs, as one that is gone did."""
    async with await MemoryRegistry.open(setup.state_file) as registry:
        app = registry.apps()["my-app"]
        return await registry.update("my-app", change, seen_version=app.version)


async def comes_back_exactly(installation: Installation) -> None:
    app = installation.sim.world.find("my-app")
    assert app is not None
    await installation.phase(Phase.ASLEEP)
    assert installation.truth() == ASLEEP
    await installation.wake()
    await until(lambda: not app.autoscalers[0].disabled)
    assert installation.truth() == AWAKE


async def test_killed_after_saving_before_the_stop_call(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.known()
            await first.kill()
            cycle = first.app().cycle
        await edit(
            setup,
            AppChange(
                phase=Phase.STOPPING,
                phase_reason=Reason.IDLE,
                phase_since=clock.now(),
                cycle=cycle + 1,
                operation=Operation(OperationKind.STOP, "of-the-dead", clock.now()),
                snapshot=Snapshot(clock.now(), SNAPSHOT),
            ),
        )
        async with controlling(setup, sim, clock) as second:
            await asyncio.sleep(0.5)
            assert second.app().phase is Phase.STOPPING  # it may still take effect
            await second.pass_time(PAST_VISIBILITY)
            await second.phase(Phase.AWAKE)

            assert second.scale_calls == 0  # nobody sent it again
            assert second.truth() == AWAKE

            await second.pass_time(timedelta(minutes=1))  # its back-off
            await second.put_to_sleep()
            await comes_back_exactly(second)


async def test_killed_while_the_stop_call_is_under_way(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.known()
            await first.fault("POST /v1/apps/*/scale", delay_answer="2s", times=1)
            await first.override(sleep_for=first.app().cycle)
            await until(lambda: first.scale_calls)
            await first.kill()
            operation = first.app().open_operation
            assert operation is not None
            assert operation.ref is None
        async with controlling(setup, sim, clock) as second:
            await second.pass_time(PAST_VISIBILITY)

            await comes_back_exactly(second)
            assert second.scale_calls == 2


async def test_killed_after_the_stop_call_was_answered(tmp_path: Path) -> None:
    slow = AppSpec(
        name="my-app",
        formation=WHOLE,
        autoscalers=(AutoscalerSpec(),),
        stop_time=timedelta(seconds=1),
    )
    async with restarting(tmp_path, apps=(slow,)) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.known()
            await first.override(sleep_for=first.app().cycle)
            await until(lambda: (found := first.app().open_operation) and found.ref)
            await first.kill()
        async with controlling(setup, sim, clock) as second:
            await comes_back_exactly(second)
            assert second.scale_calls == 2


async def test_killed_while_asleep(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.put_to_sleep()
            await first.kill()
        async with controlling(setup, sim, clock) as second:
            await second.look_around()  # what is seen while asleep does not touch the snapshot
            await second.look_around()
            await comes_back_exactly(second)


async def test_killed_in_the_middle_of_the_start(tmp_path: Path) -> None:
    async with restarting(tmp_path, boot=timedelta(seconds=1)) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.put_to_sleep()
            await first.ask_wake()
            await until(lambda: (found := first.app().open_operation) and found.ref)
            await first.kill()
        async with controlling(setup, sim, clock) as second:
            await second.phase(Phase.AWAKE)
            app = sim.world.find("my-app")
            assert app is not None
            await until(lambda: not app.autoscalers[0].disabled)

            assert second.truth() == AWAKE
            assert second.scale_calls == 2


async def test_killed_before_the_start_call_left(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.put_to_sleep()
            await first.kill()
            cycle = first.app().cycle
        announced = AppChange(
            phase=Phase.STARTING,
            phase_since=clock.now(),
            operation=Operation(OperationKind.START, "of-the-dead", clock.now()),
        )
        await edit(setup, announced)
        async with controlling(setup, sim, clock) as second:
            await second.pass_time(PAST_VISIBILITY)
            asleep = await second.phase(Phase.ASLEEP)

            assert asleep.cycle > cycle  # whoever waits asks for the new one
            assert second.scale_calls == 1
            await comes_back_exactly(second)


@pytest.mark.parametrize("seed", range(3))
async def test_killed_at_any_moment_and_still_whole(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with restarting(tmp_path) as (setup, sim, clock):
        for _ in range(8):
            async with controlling(setup, sim, clock) as doomed:
                app = await doomed.known()
                if app.phase in {Phase.ASLEEP, Phase.FAILED}:
                    await doomed.ask_wake()
                elif app.phase is Phase.AWAKE:
                    await doomed.override(sleep_for=app.cycle)
                await asyncio.sleep(rng.uniform(0, 0.5))
                await doomed.kill()
            clock.ahead += timedelta(seconds=rng.choice([0, 0, 15, 25]))
        async with controlling(setup, sim, clock) as last:
            await last.known()
            await last.override(power=Power.ALWAYS_ON, sleep_for=None)
            for _ in range(10):
                await last.pass_time(timedelta(seconds=25))
                if last.app().phase is Phase.AWAKE and last.app().open_operation is None:
                    break
                await asyncio.sleep(0.2)
            await last.phase(Phase.AWAKE)
            found = sim.world.find("my-app")
            assert found is not None
            await until(lambda: not found.autoscalers[0].disabled)
            assert last.truth() == AWAKE


async def test_drain_of_a_controller_that_is_gone_is_called_off(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.known()
            await first.kill()
        await edit(setup, AppChange(phase=Phase.DRAINING, phase_since=clock.now()))
        async with controlling(setup, sim, clock) as second:
            await second.phase(Phase.AWAKE)

            assert second.scale_calls == 0


async def test_stop_whose_answer_is_lost_is_closed_by_what_is_seen(awake: Installation) -> None:
    await awake.fault("POST /v1/apps/*/scale", drop="after", times=1)
    await awake.override(sleep_for=awake.app().cycle)
    await awake.phase(Phase.STOPPING)
    await awake.settled()
    await asyncio.sleep(0.5)
    assert awake.app().phase is Phase.STOPPING  # nothing else is sent while it may take effect

    await awake.pass_time(PAST_VISIBILITY)
    await awake.phase(Phase.ASLEEP)

    assert awake.scale_calls == 1
    await awake.wake()
    assert awake.truth() == AWAKE


async def test_stop_that_never_arrived_leaves_the_app_awake(awake: Installation) -> None:
    await awake.fault("POST /v1/apps/*/scale", drop="before", times=1)
    await awake.override(sleep_for=awake.app().cycle)
    stopping = await awake.phase(Phase.STOPPING)
    await awake.pass_time(PAST_VISIBILITY)
    failed = await awake.phase(Phase.AWAKE)

    assert failed.phase_reason is Reason.STOP_FAILED
    assert failed.cycle > stopping.cycle
    assert failed.retry.not_before is not None


async def test_start_whose_answer_is_lost_succeeds_all_the_same(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", drop="after", times=1)
    await awake.ask_wake()
    await awake.phase(Phase.STARTING)
    await awake.settled()
    await awake.pass_time(PAST_VISIBILITY)
    await awake.phase(Phase.AWAKE)

    assert awake.scale_calls == 2
    assert awake.truth() == AWAKE


async def test_start_that_never_arrived_fails_and_is_tried_at_the_next_visit(
    awake: Installation,
) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", drop="before", times=1)
    await awake.ask_wake()
    await awake.phase(Phase.STARTING)
    await awake.pass_time(PAST_VISIBILITY)
    failed = await awake.phase(Phase.FAILED)

    assert failed.snapshot is not None
    await awake.pass_time(timedelta(seconds=11))
    assert awake.app().phase is Phase.FAILED  # nobody asked again

    await awake.wake()
    assert awake.truth() == AWAKE


async def test_refused_stop_leaves_the_app_awake_with_a_back_off(awake: Installation) -> None:
    await awake.fault("POST /v1/apps/*/scale", answer={"status": 422}, times=1)
    cycle = awake.app().cycle
    await awake.override(sleep_for=cycle)
    await until(lambda: awake.app().condition(Reason.STOP_FAILED))
    failed = awake.app()

    assert failed.phase is Phase.AWAKE
    assert failed.open_operation is None
    assert failed.cycle == cycle + 2  # on entering Stopping, and on coming back
    assert failed.retry.failures == 1


async def test_operation_that_ends_in_an_error_tells_the_providers_words(
    awake: Installation,
) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", operation="error", message="no room", times=1)
    await awake.ask_wake()
    failed = await awake.phase(Phase.FAILED)

    condition = failed.condition(Reason.START_FAILED)
    assert condition is not None
    assert "no room" in condition.message
    assert failed.retry.failures == 1
    assert failed.snapshot is not None


async def test_back_off_doubles_from_ten_seconds_to_five_minutes(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", answer={"status": 422})
    pauses = []
    for _ in range(7):
        before = awake.app().cycle
        await awake.ask_wake()
        await until(lambda before=before: awake.app().cycle > before)  # type: ignore[misc]
        failed = awake.app()
        assert failed.phase is Phase.FAILED
        assert failed.retry.not_before is not None
        assert failed.phase_since is not None
        pause = failed.retry.not_before - failed.phase_since
        pauses.append(pause.total_seconds())
        awake.clock.ahead += pause + timedelta(seconds=1)

    assert pauses == [10, 20, 40, 80, 160, 300, 300]


async def test_demand_during_the_back_off_is_served_when_it_is_over(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", answer={"status": 422}, times=1)
    await awake.ask_wake()
    await awake.phase(Phase.FAILED)
    await awake.ask_wake()
    await asyncio.sleep(0.3)
    assert awake.scale_calls == 2

    await awake.pass_time(timedelta(seconds=11))
    await awake.phase(Phase.AWAKE)


async def test_operation_that_takes_too_long_is_told_and_still_followed(
    awake: Installation,
) -> None:
    await awake.put_to_sleep()
    app = awake.sim.world.find("my-app")
    assert app is not None
    app.boot_time = timedelta(seconds=3)
    await awake.ask_wake()
    await until(lambda: (found := awake.app().open_operation) and found.ref)
    awake.clock.ahead += timedelta(minutes=6)
    await until(lambda: awake.app().condition(Reason.OPERATION_OVERDUE))
    assert awake.app().phase is Phase.STARTING

    woken = await awake.phase(Phase.AWAKE)
    overdue = woken.condition(Reason.OPERATION_OVERDUE)
    assert overdue is not None
    assert not overdue.status


async def test_app_that_crashes_on_boot_is_failed(awake: Installation) -> None:
    await awake.put_to_sleep()
    app = awake.sim.world.find("my-app")
    assert app is not None
    app.boot_failures = -1  # for ever
    app.boot_time = timedelta(milliseconds=5)
    await awake.ask_wake()
    failed = await awake.phase(Phase.FAILED)

    assert failed.retry.not_before is not None


async def test_start_waits_for_a_busy_app() -> None:
    async with installed(Setup(idle=LONG)) as installation:
        await installation.put_to_sleep()
        await installation.fault(
            "POST /v1/apps/*/scale",
            answer={"status": 422, "body": {"errors": {"app": ["is booting"]}}},
            times=1,
        )
        await installation.ask_wake()
        await installation.phase(Phase.AWAKE)

        assert installation.truth() == AWAKE


async def test_stop_that_took_effect_in_part_is_undone_first(awake: Installation) -> None:
    app = awake.sim.world.find("my-app")
    assert app is not None
    await awake.fault("POST /v1/apps/*/scale", drop="after", times=1)
    await awake.override(sleep_for=awake.app().cycle)
    await until(lambda: awake.scale_calls)
    await awake.settled()
    awake.sim.world.scale(app, {"web": replace_web(2)})
    await awake.settled()
    await awake.pass_time(PAST_VISIBILITY)

    await until(lambda: awake.truth() == AWAKE)
    await awake.phase(Phase.AWAKE)
    snapshot = awake.app().snapshot
    assert snapshot is not None
    assert {one.type: one.amount for one in snapshot.processes}["worker"] == 1


def replace_web(amount: int) -> Any:
    return replace(WHOLE["web"], amount=amount)


async def test_restore_of_a_partial_stop_survives_a_restart(tmp_path: Path) -> None:
    async with restarting(tmp_path) as (setup, sim, clock):
        async with controlling(setup, sim, clock) as first:
            await first.known()
            await first.fault("POST /v1/apps/*/scale", drop="after", times=1)
            await first.override(sleep_for=first.app().cycle)
            await until(lambda: first.scale_calls)
            await first.settled()
            await first.kill()
        app = sim.world.find("my-app")
        assert app is not None
        sim.world.scale(app, {"web": replace_web(2)})
        async with controlling(setup, sim, clock) as second:
            await second.settled()
            await second.pass_time(PAST_VISIBILITY)
            await until(lambda: second.truth() == AWAKE)


async def test_look_sent_before_the_end_of_our_operation_is_ignored(awake: Installation) -> None:
    listings = awake.calls("GET", "/v1/apps")
    await awake.fault("GET /v1/apps", delay_answer="1s", times=1)  # it tells of before the stop
    awake.controller.look_around()
    await until(lambda: awake.calls("GET", "/v1/apps") > listings)
    asleep = await awake.put_to_sleep()
    inspections = awake.calls("GET", "/containers")
    before = awake.account.last_complete_listing
    await until(lambda: awake.account.last_complete_listing != before)
    await awake.turns()

    assert awake.app().phase is Phase.ASLEEP
    assert awake.app().cycle == asleep.cycle
    assert awake.calls("GET", "/containers") == inspections  # it was not even doubted
