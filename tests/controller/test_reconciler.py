"""The heap of due times: nothing is polled, nothing spins, and whoever waits goes first."""

import asyncio
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller import reconciler
from paastis.app import App, AppChange, Phase
from paastis.decide import Decision, Situation, decide
from paastis.errors import RegistryUnavailable
from paastis.policy import Mode, Power
from paastis.reasons import Reason
from paastis.simulate.app import ProcessSpec
from paastis.simulate.spec import AppSpec
from tests.controller.conftest import (
    AWAKE,
    LONG,
    WHOLE,
    Installation,
    Setup,
    apps,
    installed,
    until,
)

ODD = {"status": 200, "body": {"containers": [{"type": "web", "state": "odd"}]}}


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often it was decided about each app."""
    counted: Counter[str] = Counter()

    def counting(situation: Situation, now: datetime) -> Decision:
        counted[situation.app.name] += 1
        return decide(situation, now)

    monkeypatch.setattr(reconciler, "decide", counting)
    return counted


async def test_idle_controller_decides_nothing(decisions: Counter[str]) -> None:
    async with installed(Setup(apps=apps(20), idle=LONG)) as installation:
        await installation.known("app-19")
        await installation.turns()
        decisions.clear()
        await asyncio.sleep(1)

        assert decisions.total() <= 40  # a listing on the minute, at most


async def test_unknown_state_is_not_asked_for_over_and_over(
    awake: Installation, decisions: Counter[str]
) -> None:
    await awake.put_to_sleep()
    await awake.by_hand(web=1)
    await awake.fault("GET /v1/apps/*/ps", answer=ODD)
    await awake.look_around()
    await until(lambda: awake.calls("GET", "/ps"))
    calls = awake.calls("GET", "/ps")
    decisions.clear()
    await asyncio.sleep(1)
    assert awake.calls("GET", "/ps") <= calls + 1
    assert decisions.total() < 10

    await awake.heal()
    await awake.pass_time(timedelta(seconds=11))
    await awake.phase(Phase.AWAKE)


async def test_wake_into_an_unknown_state_waits_and_then_works(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.by_hand(web=1)
    await awake.fault("GET /v1/apps/*/ps", answer=ODD)
    await awake.ask_wake()
    await asyncio.sleep(0.5)
    assert awake.app().phase is Phase.ASLEEP
    assert awake.calls("GET", "/ps") < 5

    await awake.heal()
    await awake.pass_time(timedelta(seconds=11))
    await awake.phase(Phase.AWAKE)


async def test_stop_of_an_app_in_an_unknown_state_is_called_off_without_spinning(
    awake: Installation,
) -> None:
    await awake.fault("GET /v1/apps/*/ps", answer=ODD)
    await awake.override(sleep_for=awake.app().cycle)
    await asyncio.sleep(1.5)
    assert awake.scale_calls == 0
    assert awake.calls("GET", "/ps") <= 3

    await awake.heal()
    await awake.pass_time(timedelta(seconds=11))
    await awake.phase(Phase.ASLEEP)


async def test_more_wakes_than_places_are_served_in_turn(decisions: Counter[str]) -> None:
    stopped = apps(8, status="stopped", boot_time=timedelta(seconds=0.4))
    async with installed(Setup(apps=stopped, idle=LONG)) as installation:
        await installation.known("app-7")
        decisions.clear()
        for number in range(8):
            await installation.ask_wake(f"app-{number}")
        most = 0
        while any(app.phase is not Phase.AWAKE for app in installation.registry.apps().values()):
            open_now = sum(
                app.open_operation is not None for app in installation.registry.apps().values()
            )
            most = max(most, open_now)
            await asyncio.sleep(0.01)

        assert most == 3
        assert decisions.total() < 8 * 40


async def test_stops_leave_a_place_for_a_wake() -> None:
    slow = apps(6, stop_time=timedelta(seconds=1))
    sleeper = AppSpec(name="sleeper", status="stopped")
    async with installed(Setup(apps=(*slow, sleeper), idle=LONG)) as installation:
        await installation.known("sleeper")
        for number in range(6):
            name = f"app-{number}"
            await installation.override(name, sleep_for=installation.app(name).cycle)
        await until(
            lambda: (
                sum(a.phase is Phase.STOPPING for a in installation.registry.apps().values()) == 2
            )
        )
        began = time.monotonic()
        await installation.ask_wake("sleeper")
        await installation.phase(Phase.STARTING, "sleeper")
        assert time.monotonic() - began < 0.5

        for number in range(6):
            await installation.phase(Phase.ASLEEP, f"app-{number}")


async def test_wake_does_not_wait_behind_many_looks() -> None:
    running = apps(reconciler.ACTIONS_AT_A_TIME + 30)
    sleeper = AppSpec(name="sleeper", status="stopped")
    async with installed(Setup(apps=(*running, sleeper), idle=LONG)) as installation:
        await installation.known("sleeper")
        world = installation.sim.world
        theirs = world.find("sleeper")
        assert theirs is not None
        await installation.fault(f"GET /v1/apps/{theirs.id}/containers", delay="0.001s")
        await installation.fault("GET /v1/apps/*/containers", delay="2s")
        for app in world.apps()[:-1]:
            world.scale(app, {"web": ProcessSpec(0)})
        await until(lambda: all(app.current is None for app in world.apps()))
        await installation.look_around()
        await until(
            lambda: installation.calls("GET", "/containers") >= reconciler.ACTIONS_AT_A_TIME
        )
        began = time.monotonic()
        await installation.ask_wake("sleeper")
        await installation.phase(Phase.STARTING, "sleeper")
        assert time.monotonic() - began < 1

        await installation.heal()
        for number in range(len(running)):
            await installation.phase(Phase.ASLEEP, f"app-{number}")


async def test_action_that_hangs_is_given_up_and_tried_again(
    awake: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await awake.put_to_sleep()
    monkeypatch.setattr(reconciler, "ACTION_TIMEOUT", timedelta(seconds=0.3))
    monkeypatch.setattr(reconciler, "AFTER_SURPRISE", timedelta(seconds=0.2))
    await awake.fault("GET /v1/apps/*/containers", delay="5s", times=1)
    await awake.ask_wake()
    await awake.phase(Phase.AWAKE)

    assert awake.truth() == AWAKE


async def test_registry_that_is_away_for_a_moment_stops_nothing_for_good(
    awake: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await awake.put_to_sleep()
    update, refusals = awake.registry.update, 3

    async def failing(name: str, change: AppChange, *, seen_version: int) -> App:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RegistryUnavailable("the disk is full")
        return await update(name, change, seen_version=seen_version)

    monkeypatch.setattr(reconciler, "AFTER_REGISTRY_FAULT", timedelta(seconds=0.1))
    monkeypatch.setattr(awake.registry, "update", failing)
    await awake.ask_wake()
    await awake.phase(Phase.AWAKE)

    assert refusals == 0


async def test_write_that_happened_although_it_was_called_off_is_followed(
    awake: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await awake.put_to_sleep()
    update, lies = awake.registry.update, 1

    async def lying(name: str, change: AppChange, *, seen_version: int) -> App:
        nonlocal lies
        written = await update(name, change, seen_version=seen_version)
        if lies and change.get("phase") is Phase.STARTING:
            lies -= 1
            raise RegistryUnavailable("the answer was lost")
        return written

    monkeypatch.setattr(awake.registry, "update", lying)
    await awake.ask_wake()
    await awake.phase(Phase.STARTING)
    await awake.pass_time(timedelta(seconds=21))
    # It was never sent: whoever waits asks for the new cycle.
    await awake.phase(Phase.ASLEEP)
    await awake.wake()


async def test_clock_that_is_set_forward_is_noticed(awake: Installation) -> None:
    await awake.pass_time(LONG + timedelta(minutes=1))
    await awake.phase(Phase.ASLEEP)


async def test_schedule_and_power_need_no_visitor() -> None:
    stopped = AppSpec(name="my-app", formation=WHOLE, status="stopped")
    async with installed(Setup(apps=(stopped,), idle=LONG)) as installation:
        await installation.known()
        until_then = installation.clock.now() + timedelta(hours=3)
        await installation.override(awake_until=until_then)
        await installation.phase(Phase.AWAKE)
        await installation.pass_time(timedelta(hours=2, minutes=30))  # more than its idle time
        assert installation.app().phase is Phase.AWAKE

        await installation.pass_time(timedelta(hours=2, minutes=1))
        await installation.phase(Phase.ASLEEP)


@pytest.mark.parametrize("mode", [Mode.MANAGE, Mode.OBSERVE, Mode.PAUSE, Mode.WAKE_ALL])
async def test_nothing_spins_whatever_the_mode_and_power(
    decisions: Counter[str], mode: Mode
) -> None:
    kinds: tuple[dict[str, Any], ...] = (
        {"formation": WHOLE},
        {"status": "stopped"},
        {"status": "crashed"},
        {"status": "new"},
        {"formation": {"worker": ProcessSpec(1, "S")}},
    )
    every = tuple(
        AppSpec(name=f"{power.lower()}-{number}", **fields)
        for power in Power
        for number, fields in enumerate(kinds)
    )
    setup = Setup(apps=every, idle=timedelta(seconds=0.3), mode=mode)
    async with installed(setup) as installation:
        await until(lambda: len(installation.registry.apps()) == len(every))
        for power in Power:
            for number in range(len(kinds)):
                name = f"{power.lower()}-{number}"
                await installation.override(name, power=power)
                await installation.ask_wake(name)
        await asyncio.sleep(1.5)
        decisions.clear()
        position, calls = installation.registry.position(), len(installation.sim.gate.calls)
        await asyncio.sleep(0.5)

        assert max(decisions.values(), default=0) < 25
        assert installation.registry.position() - position < 4 * len(every)
        assert len(installation.sim.gate.calls) - calls < 6 * len(every)


async def test_lost_freed_place_is_told(awake: Installation) -> None:
    """A start that fails before its call must free its place for others."""
    await awake.put_to_sleep()
    await awake.fault("GET /v1/apps/*", drop="before")
    await awake.ask_wake()
    await awake.phase(Phase.FAILED)
    await until(lambda: not awake.account.slots.holds("my-app"))

    assert awake.told(Reason.WAITING_FOR_PROXY) is None
