"""A provider that is slow, down, angry or broken: nothing is lost and all recovers by itself."""

import asyncio
import random
import time
from datetime import timedelta

import pytest

from paastis.app import Phase
from paastis.policy import Power
from paastis.reasons import Reason
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


def most_calls_in_a_minute(times: list[float]) -> int:
    times = sorted(times)
    return max((sum(start <= other < start + 60 for other in times) for start in times), default=0)


async def test_slow_provider_delays_and_breaks_nothing() -> None:
    async with installed(Setup(idle=LONG)) as installation:
        await installation.known()
        await installation.fault("**", delay="0.4s")
        await installation.put_to_sleep()
        await installation.wake()

        assert installation.truth() == AWAKE
        assert installation.scale_calls == 2


@pytest.mark.parametrize(
    "trouble",
    [
        {"answer": {"status": 500}},
        {"answer": {"status": 503}},
        {"drop": "before"},
        {"drop": "after"},
        {"answer": {"status": 200, "html": "<h1>oops</h1>"}},
    ],
    ids=["500", "503", "dropped before", "dropped after", "no JSON"],
)
async def test_wake_fails_honestly_while_the_provider_is_broken_and_works_afterwards(
    awake: Installation, trouble: dict[str, object]
) -> None:
    await awake.put_to_sleep()
    await awake.fault("GET /v1/apps/**", **trouble)
    cycle = awake.app().cycle
    await awake.ask_wake()
    failed = await awake.phase(Phase.FAILED)
    assert failed.cycle > cycle  # whoever waits is told
    assert failed.snapshot is not None
    assert failed.condition(Reason.START_FAILED) is not None

    await awake.heal()
    await awake.pass_time(timedelta(seconds=11))
    await awake.wake()
    assert awake.truth() == AWAKE


async def test_nothing_sleeps_while_the_provider_is_down() -> None:
    async with installed(Setup(apps=apps(3))) as installation:
        await installation.known("app-2")
        await installation.fault("**", drop="before")
        await asyncio.sleep(2)
        assert {app.phase for app in installation.registry.apps().values()} <= {
            Phase.AWAKE,
            Phase.DRAINING,
        }
        await installation.heal()
        await installation.pass_time(timedelta(seconds=15))
        for number in range(3):
            await installation.phase(Phase.ASLEEP, f"app-{number}")


async def test_outage_is_told_and_its_end_too(awake: Installation) -> None:
    await awake.fault("GET /v1/apps", answer={"status": 503})
    awake.controller.look_around()
    await until(lambda: awake.told(Reason.UNREACHABLE))
    assert awake.account.reachable is False

    await awake.heal()
    await awake.look_around()
    assert awake.told(Reason.UNREACHABLE) is None
    assert awake.account.reachable is True


async def test_refused_token_is_told_as_such(awake: Installation) -> None:
    await awake.fault("GET /v1/apps", answer={"status": 401})
    await awake.fault("POST /v1/tokens/exchange", answer={"status": 401})
    awake.controller.look_around()
    await until(lambda: awake.told(Reason.CREDENTIALS_REFUSED))
    assert awake.told(Reason.UNREACHABLE) is None


async def test_too_many_calls_are_answered_by_silence_and_told(awake: Installation) -> None:
    await awake.fault("**", answer={"status": 429, "headers": {"Retry-After": "2"}}, times=1)
    awake.controller.look_around()
    await until(lambda: awake.sim.gate.calls[-1].status == 429)
    calls = len(awake.sim.gate.calls)
    await asyncio.sleep(1)
    assert len(awake.sim.gate.calls) == calls

    await awake.look_around()
    assert awake.told(Reason.RATE_LIMITED) is None


async def test_wake_after_a_429_fails_at_once_and_recovers(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("**", answer={"status": 429, "headers": {"Retry-After": "60"}}, times=1)
    awake.controller.look_around()
    await until(lambda: awake.sim.gate.calls[-1].status == 429)
    began = time.monotonic()
    await awake.ask_wake()
    await awake.phase(Phase.FAILED)
    assert time.monotonic() - began < 1  # it is certain, so nobody waits for it


async def test_operation_that_fails_is_a_failed_wake(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("POST /v1/apps/*/scale", operation="error", message="disk full", times=1)
    await awake.ask_wake()
    await awake.phase(Phase.FAILED)
    await awake.pass_time(timedelta(seconds=11))
    await awake.wake()

    assert awake.truth() == AWAKE


async def test_stop_that_fails_is_tried_again_after_its_back_off(awake: Installation) -> None:
    await awake.fault("POST /v1/apps/*/scale", operation="error", message="no", times=1)
    await awake.override(sleep_for=awake.app().cycle)
    await until(lambda: (one := awake.app().condition(Reason.STOP_FAILED)) and one.status)
    failed = awake.app()
    assert failed.phase is Phase.AWAKE
    condition = failed.condition(Reason.STOP_FAILED)
    assert condition is not None
    assert condition.message == "no"
    await awake.override(sleep_for=failed.cycle)
    await asyncio.sleep(0.5)
    assert awake.scale_calls == 1

    await awake.pass_time(timedelta(seconds=11))
    await awake.phase(Phase.ASLEEP)


async def test_following_goes_on_after_an_outage(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.fault("GET /v1/apps/*/operations/*", answer={"status": 503})
    await awake.ask_wake()
    await until(lambda: (found := awake.app().open_operation) and found.ref)
    await awake.settled()
    await asyncio.sleep(0.5)
    assert awake.app().phase is Phase.STARTING

    await awake.heal()
    await awake.phase(Phase.AWAKE)


async def test_random_faults_leave_every_app_whole() -> None:
    rng = random.Random(20)
    troubles: list[dict[str, object]] = [
        {"drop": "before"},
        {"drop": "after"},
        {"answer": {"status": 500}},
        {"delay": "0.2s"},
        {"operation": "error"},
    ]
    setup = Setup(apps=apps(4, formation=WHOLE), idle=timedelta(seconds=0.5))
    async with installed(setup) as installation:
        await installation.known("app-3")
        for _ in range(12):
            trouble = rng.choice(troubles)
            await installation.fault("POST /v1/apps/*/scale", times=1, **trouble)
            await installation.ask_wake(f"app-{rng.randrange(4)}")
            await asyncio.sleep(0.15)
        await installation.heal()
        for number in range(4):
            await installation.override(f"app-{number}", power=Power.ALWAYS_ON)

        def whole() -> bool:
            settled = all(app.phase is Phase.AWAKE for app in installation.registry.apps().values())
            return settled and all(installation.truth(f"app-{n}") == AWAKE for n in range(4))

        for _ in range(20):
            await installation.pass_time(timedelta(seconds=25))
            await asyncio.sleep(0.2)
            if whole():
                return
        raise AssertionError("some app never came back whole")


async def test_five_hundred_apps_are_discovered_and_a_wake_still_goes_out_at_once() -> None:
    # The provider takes 60 calls a minute; the 50 of our budget are used by discovery and stops.
    setup = Setup(
        apps=apps(500),
        idle=timedelta(seconds=0.5),
        budget=50,
        rate_limit=60,
        latency=timedelta(milliseconds=50),
    )
    async with installed(setup) as installation:
        await until(lambda: len(installation.registry.apps()) == 500, within=15)
        await until(
            lambda: [
                name
                for name, app in installation.registry.apps().items()
                if app.phase is Phase.STOPPING
            ]
        )
        # Another one sleeps because of a person.
        installation.sim.world.add(AppSpec(name="sleeper", status="stopped"))
        await installation.look_around()
        await installation.known("sleeper")
        await until(lambda: installation.account.provider.budget().left <= 20)
        before = {call.path for call in installation.sim.gate.calls if call.method == "POST"}
        await installation.ask_wake("sleeper")
        sleeper = installation.sim.world.find("sleeper")
        assert sleeper is not None
        path = f"/v1/apps/{sleeper.id}/scale"
        assert path not in before
        # Long before the window of a minute moves on: the calls kept for visitors are used.
        await until(lambda: any(c.path == path for c in installation.sim.gate.calls), within=10)

        calls = list(installation.sim.gate.calls)
        assert most_calls_in_a_minute([call.time for call in calls]) <= 50
        assert not [call for call in calls if call.status == 429]
