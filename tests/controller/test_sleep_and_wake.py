"""An idle app sleeps and comes back exactly as it was; one in use does neither."""

import asyncio
import time
from datetime import timedelta

from paastis.app import Phase
from paastis.policy import Power
from paastis.reasons import Reason
from paastis.simulate.app import ProcessSpec
from paastis.simulate.spec import AppSpec
from tests.controller.conftest import (
    ASLEEP,
    AWAKE,
    LONG,
    WHOLE,
    AutoscalerSpec,
    Installation,
    Setup,
    installed,
    until,
)


async def test_idle_app_is_put_to_sleep_and_comes_back_exactly(installation: Installation) -> None:
    asleep = await installation.phase(Phase.ASLEEP)

    assert asleep.phase_reason is Reason.IDLE
    assert installation.truth() == ASLEEP

    await installation.wake()

    assert installation.truth() == AWAKE
    assert installation.scale_calls == 2


async def test_snapshot_holds_sizes_and_types_at_zero(installation: Installation) -> None:
    asleep = await installation.phase(Phase.ASLEEP)

    assert asleep.snapshot is not None
    assert {one.type: (one.amount, one.size) for one in asleep.snapshot.processes} == AWAKE


async def test_autoscaler_is_enabled_again_after_the_wake() -> None:
    scaled = AppSpec(name="my-app", formation=WHOLE, autoscalers=(AutoscalerSpec(),))
    async with installed(Setup(apps=(scaled,), idle=LONG)) as installation:
        app = installation.sim.world.find("my-app")
        assert app is not None
        await installation.put_to_sleep()
        assert app.autoscalers[0].disabled

        await installation.wake()
        await until(lambda: not app.autoscalers[0].disabled)
        await until(lambda: (found := installation.app().snapshot) and not found.autoscalers)

        assert installation.truth() == AWAKE


async def test_autoscaler_that_was_disabled_before_the_sleep_stays_disabled() -> None:
    off = AutoscalerSpec(disabled=True)
    scaled = AppSpec(name="my-app", formation=WHOLE, autoscalers=(off,))
    async with installed(Setup(apps=(scaled,), idle=LONG)) as installation:
        await installation.put_to_sleep()
        await installation.wake()
        await installation.turns()

        assert installation.calls("PATCH", "") == 0


async def test_two_hundred_demands_for_one_cycle_are_one_start(awake: Installation) -> None:
    await awake.put_to_sleep()
    cycle = awake.app().cycle

    await asyncio.gather(
        *(
            awake.registry.record_access("my-app", awake.clock.now(), wake_for=cycle)
            for _ in range(200)
        )
    )
    await awake.phase(Phase.AWAKE)
    await awake.turns()

    assert awake.scale_calls == 2  # the stop and the start


async def test_demand_for_an_old_cycle_wakes_nobody(awake: Installation) -> None:
    before = awake.app().cycle
    asleep = await awake.put_to_sleep()

    await awake.registry.record_access("my-app", awake.clock.now(), wake_for=before)
    await awake.turns()

    assert asleep.cycle > before
    assert awake.app().phase is Phase.ASLEEP
    assert awake.scale_calls == 1


async def test_wake_asked_while_stopping_starts_after_the_stop() -> None:
    slow = AppSpec(name="my-app", formation=WHOLE, stop_time=timedelta(seconds=1))
    async with installed(Setup(apps=(slow,), idle=LONG)) as installation:
        await installation.known()
        await installation.override(sleep_for=installation.app().cycle)
        await installation.phase(Phase.STOPPING)
        await installation.ask_wake()

        assert installation.app().phase is Phase.STOPPING
        await installation.phase(Phase.AWAKE)

        assert installation.truth() == AWAKE
        assert installation.scale_calls == 2


async def test_wake_is_sent_within_milliseconds(awake: Installation) -> None:
    await awake.put_to_sleep()
    before = awake.scale_calls

    began = time.monotonic()
    await awake.ask_wake()
    await until(lambda: awake.scale_calls > before)

    assert time.monotonic() - began < 0.3  # a look and the call, over HTTP, on a busy machine


async def test_app_stopped_before_paastis_came_sleeps_until_somebody_visits_it() -> None:
    stopped = AppSpec(name="my-app", formation=WHOLE, status="stopped")
    async with installed(Setup(apps=(stopped,))) as installation:
        found = await installation.known()
        await installation.turns()

        assert found.phase is Phase.ASLEEP
        assert found.phase_reason is Reason.FOUND_STOPPED
        assert installation.changing_calls() == 0

        await installation.wake()

        assert installation.truth() == AWAKE  # from the provider's own history


async def test_formation_is_guessed_where_nothing_tells_it() -> None:
    never_up = AppSpec(name="my-app", formation={"web": ProcessSpec(0, "S")}, status="stopped")
    async with installed(Setup(apps=(never_up,), idle=LONG)) as installation:
        await installation.known()
        await installation.wake()

        guessed = installation.app().condition(Reason.FORMATION_GUESSED)
        assert guessed is not None
        assert guessed.status
        assert installation.truth()["web"] == (1, "S")


async def test_renewed_access_keeps_the_app_awake(installation: Installation) -> None:
    await installation.known()
    for _ in range(12):  # twice the idle time
        await installation.access()
        await asyncio.sleep(0.1)

    assert installation.app().phase is Phase.AWAKE
    assert installation.scale_calls == 0


async def test_app_sleeps_one_idle_time_after_its_last_use(installation: Installation) -> None:
    await installation.known()
    await asyncio.sleep(0.3)
    last = time.monotonic()
    await installation.access()

    await installation.phase(Phase.STOPPING)
    passed = time.monotonic() - last

    assert 0.6 <= passed < 2.5  # idle time, drain, and a handful of calls


async def test_access_during_the_drain_calls_the_stop_off() -> None:
    async with installed(Setup(drain=timedelta(seconds=1))) as installation:
        draining = await installation.phase(Phase.DRAINING)
        await installation.access()
        awake = await installation.phase(Phase.AWAKE)

        assert awake.cycle == draining.cycle
        assert installation.scale_calls == 0


async def test_access_during_the_last_look_calls_the_stop_off() -> None:
    async with installed(Setup()) as installation:
        await installation.known()
        await installation.fault("GET /v1/apps/*/autoscalers", delay="0.5s", times=1)
        await until(lambda: installation.calls("GET", "/autoscalers"))
        assert installation.app().phase is Phase.DRAINING

        await installation.access()
        await installation.phase(Phase.AWAKE)

        assert installation.scale_calls == 0


async def test_wake_during_the_drain_calls_the_stop_off() -> None:
    async with installed(Setup(drain=timedelta(seconds=1))) as installation:
        await installation.phase(Phase.DRAINING)
        await installation.ask_wake()
        await installation.phase(Phase.AWAKE)

        assert installation.scale_calls == 0


async def test_override_during_the_drain_holds_at_once() -> None:
    async with installed(Setup(drain=timedelta(seconds=1))) as installation:
        await installation.phase(Phase.DRAINING)
        await installation.override(power=Power.ALWAYS_ON)
        await installation.phase(Phase.AWAKE)
        await until(lambda: installation.app().policy.power is Power.ALWAYS_ON)
        await asyncio.sleep(1.5)  # idle for longer than idle time and drain

        assert installation.app().phase is Phase.AWAKE
        assert installation.scale_calls == 0


async def test_proxy_that_is_behind_keeps_the_app_awake(awake: Installation) -> None:
    await awake.registry.heartbeat("proxy-1", position=0)
    await awake.override(sleep_for=awake.app().cycle)
    draining = await awake.phase(Phase.DRAINING)
    await asyncio.sleep(0.6)  # longer than the drain

    assert awake.app().phase is Phase.DRAINING
    assert awake.scale_calls == 0

    await awake.registry.heartbeat("proxy-1", position=draining.version)
    await awake.phase(Phase.ASLEEP)


async def test_silent_proxy_blocks_the_stop_and_is_named(awake: Installation) -> None:
    await awake.registry.heartbeat("proxy-1", position=0)
    await awake.registry.heartbeat("proxy-1", position=10**6)
    await awake.pass_time(timedelta(minutes=1))
    await awake.override(sleep_for=awake.app().cycle)
    await until(lambda: awake.told(Reason.WAITING_FOR_PROXY))

    assert "proxy-1" in (awake.told(Reason.WAITING_FOR_PROXY) or "")
    assert awake.app().phase is Phase.DRAINING
    assert awake.scale_calls == 0

    await awake.registry.goodbye("proxy-1")
    await awake.phase(Phase.ASLEEP)

    assert awake.told(Reason.WAITING_FOR_PROXY) is None


async def test_proxy_is_no_longer_waited_for_when_the_drain_is_called_off(
    awake: Installation,
) -> None:
    await awake.registry.heartbeat("proxy-1", position=0)
    await awake.registry.heartbeat("proxy-1", position=10**6)
    await awake.pass_time(timedelta(minutes=1))
    await awake.override(sleep_for=awake.app().cycle)
    await until(lambda: awake.told(Reason.WAITING_FOR_PROXY))

    await awake.ask_wake()
    await awake.phase(Phase.AWAKE)
    await until(lambda: awake.told(Reason.WAITING_FOR_PROXY) is None)


async def test_app_that_is_to_be_off_sleeps_at_once_and_nobody_wakes_it(
    awake: Installation,
) -> None:
    await awake.override(power=Power.ALWAYS_OFF)
    await awake.phase(Phase.ASLEEP)
    await awake.ask_wake()
    await awake.turns()

    assert awake.app().phase is Phase.ASLEEP
    assert awake.scale_calls == 1


async def test_use_after_the_demand_for_sleep_holds_for_three_resolutions(
    awake: Installation,
) -> None:
    await awake.registry.heartbeat("proxy-1", position=0)
    await awake.override(sleep_for=awake.app().cycle)
    await awake.phase(Phase.DRAINING)
    await awake.access()  # a request was open
    await awake.phase(Phase.AWAKE)
    await awake.registry.goodbye("proxy-1")
    assert awake.app().policy.access_resolution == timedelta(minutes=1)

    await awake.pass_time(timedelta(minutes=2, seconds=55))
    assert awake.app().phase is Phase.AWAKE

    await awake.pass_time(timedelta(seconds=6))
    await awake.phase(Phase.ASLEEP)


async def test_app_that_is_to_be_on_is_started_again() -> None:
    stopped = AppSpec(name="my-app", formation=WHOLE, status="stopped")
    async with installed(Setup(apps=(stopped,))) as installation:
        await installation.known()
        await installation.override(power=Power.ALWAYS_ON)
        await installation.phase(Phase.AWAKE)

        assert installation.truth() == AWAKE


async def test_slept_time_and_usual_boot_are_noted(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.pass_time(timedelta(hours=3))
    woken = await awake.wake()

    assert woken.asleep_seconds >= 3 * 3600
    assert woken.usual_boot is not None
    assert woken.last_start_time is not None
    assert woken.last_start_time > (woken.last_stop_time or woken.created_at)


async def test_direct_traffic_counts_as_use(installation: Installation) -> None:
    app = installation.sim.world.find("my-app")
    assert app is not None
    await installation.known()
    installation.clock.ahead += timedelta(minutes=3)
    installation.sim.world.count_request(app, 200)
    installation.clock.ahead += timedelta(minutes=1)
    await installation.look_around()
    await until(
        lambda: (last := installation.app().last_activity) and last.reason is Reason.DIRECT_TRAFFIC
    )
