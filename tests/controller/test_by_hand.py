"""What people do to an app beside paastis is respected at once."""

import asyncio
from datetime import timedelta

from paastis.app import Phase
from paastis.policy import Power
from paastis.reasons import Reason
from tests.controller.conftest import AWAKE, Installation, Setup, installed, until


async def test_app_scaled_to_zero_by_hand_stays_asleep_until_a_visit(awake: Installation) -> None:
    await awake.by_hand(web=0, worker=0)
    await awake.look_around()
    stopped = await awake.phase(Phase.ASLEEP)
    await awake.turns()

    assert stopped.phase_reason is Reason.STOPPED_BY_HAND
    assert awake.changing_calls() == 0

    await awake.wake()
    assert awake.truth() == AWAKE


async def test_app_stopped_by_hand_is_not_started_by_a_rule_but_by_a_person(
    awake: Installation,
) -> None:
    await awake.by_hand(web=0, worker=0)
    await awake.look_around()
    await awake.phase(Phase.ASLEEP)
    await awake.override(power=Power.ALWAYS_ON)
    await awake.phase(Phase.AWAKE)


async def test_app_started_by_hand_is_awake_and_counts_as_used(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.by_hand(web=1)
    await awake.look_around()
    started = await awake.phase(Phase.AWAKE)

    assert started.phase_reason is Reason.STARTED_BY_HAND
    assert started.last_activity is not None
    assert started.last_activity.reason is Reason.STARTED_BY_HAND
    assert awake.scale_calls == 1


async def test_formation_of_a_person_is_what_comes_back(awake: Installation) -> None:
    await awake.put_to_sleep()
    await awake.wake()
    await awake.by_hand(web=3)
    await awake.override(sleep_for=awake.app().cycle)
    scaled = Reason.SCALED_BY_HAND
    await until(lambda: (last := awake.app().last_activity) and last.reason is scaled)

    await awake.phase(Phase.ASLEEP)  # the person's order still stands
    await awake.wake()
    assert awake.truth()["web"] == (3, "M")


async def test_deployment_counts_as_use(installation: Installation) -> None:
    await installation.known()
    await installation.control("POST", "apps/my-app/deploy")
    await installation.settled()
    await installation.look_around()
    await until(
        lambda: (last := installation.app().last_activity) and last.reason is Reason.DEPLOYED
    )


async def test_deployment_in_progress_is_never_stopped() -> None:
    async with installed(Setup(boot=timedelta(seconds=2))) as installation:
        await installation.known()
        await installation.control("POST", "apps/my-app/deploy")
        app = installation.sim.world.find("my-app")
        assert app is not None
        while app.current is not None:
            assert installation.app().phase in {Phase.AWAKE, Phase.DRAINING}
            assert installation.scale_calls == 0
            await asyncio.sleep(0.05)


async def test_app_sleeps_again_after_a_deployment_that_failed() -> None:
    async with installed(Setup()) as installation:
        await installation.known()
        await installation.control("POST", "apps/my-app/deploy")
        app = installation.sim.world.find("my-app")
        assert app is not None
        app.boot_failures, app.boot_time = 13, timedelta(milliseconds=40)
        await installation.settled()
        app.boot_failures = 0
        await installation.pass_time(timedelta(seconds=61))
        await installation.pass_time(timedelta(seconds=61))
        await installation.phase(Phase.ASLEEP)


async def test_three_reversals_within_an_hour_end_all_sleeping(awake: Installation) -> None:
    for _ in range(3):
        await awake.put_to_sleep()
        await awake.by_hand(web=2, worker=1)
        await awake.look_around()
        await awake.phase(Phase.AWAKE)
    contested = awake.app().condition(Reason.CONTESTED)
    assert contested is not None
    assert contested.status

    await awake.pass_time(timedelta(hours=3))  # idle for longer than its idle time
    assert awake.app().phase is Phase.AWAKE

    # A person says what is to be.
    await awake.put_to_sleep()
    settled = awake.app().condition(Reason.CONTESTED)
    assert settled is not None
    assert not settled.status


async def test_three_reversals_in_more_than_an_hour_are_no_contest(awake: Installation) -> None:
    for _ in range(3):
        await awake.put_to_sleep()
        await awake.by_hand(web=2, worker=1)
        await awake.pass_time(timedelta(minutes=40))
        await awake.phase(Phase.AWAKE)

    contested = awake.app().condition(Reason.CONTESTED)
    assert contested is None or not contested.status


async def test_report_of_a_stopped_origin_that_is_right_wakes_the_app(awake: Installation) -> None:
    await awake.by_hand(web=0, worker=0)
    before = awake.app().cycle
    await awake.ask_wake()  # the proxy saw the platform's stopped page
    stopped = await awake.phase(Phase.ASLEEP)
    assert stopped.cycle > before

    await awake.wake()
    assert awake.truth() == AWAKE


async def test_report_of_a_stopped_origin_that_is_wrong_is_answered_once_in_ten_seconds(
    awake: Installation,
) -> None:
    before = awake.app().cycle
    await awake.ask_wake()
    await until(lambda: awake.app().cycle > before)
    looks = awake.calls("GET", "/containers")
    await awake.ask_wake()
    await asyncio.sleep(0.3)
    assert awake.calls("GET", "/containers") == looks

    await awake.pass_time(timedelta(seconds=11))
    await until(lambda: awake.calls("GET", "/containers") > looks)
    assert awake.app().phase is Phase.AWAKE
