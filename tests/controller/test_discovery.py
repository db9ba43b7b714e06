"""What discovery makes of listings: apps come, go, change their names, and nothing is guessed."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from paastis.app import Phase
from paastis.errors import ProviderError
from paastis.policy import Mode, Power
from paastis.reasons import Reason
from paastis.simulate.app import ProcessSpec
from paastis.simulate.spec import AppSpec
from tests.controller.conftest import (
    AWAKE,
    LONG,
    WHOLE,
    Clock,
    Installation,
    Setup,
    apps,
    controlling,
    installed,
    simulated,
    until,
)


async def test_new_app_appears_by_itself(awake: Installation) -> None:
    awake.sim.world.add(AppSpec(name="another", formation=WHOLE))
    await awake.look_around()

    found = await awake.known("another")
    assert found.phase is Phase.AWAKE
    assert found.url == awake.sim.url_of(awake.sim.world.apps()[1])


async def test_new_record_shows_its_policy_from_the_first_moment() -> None:
    async with installed(Setup(idle=LONG, mode=Mode.OBSERVE)) as installation:
        found = await installation.known()

        assert found.policy.mode is Mode.OBSERVE
        assert found.policy.max_idle_time == LONG


async def test_deleted_app_goes_after_two_complete_listings(awake: Installation) -> None:
    awake.sim.world.delete(awake.sim.world.apps()[0])
    await awake.look_around()
    gone = await awake.phase(Phase.GONE)
    assert gone.phase_reason is Reason.DELETED

    await awake.look_around()
    await until(lambda: "my-app" not in awake.registry.apps())


async def test_app_that_vanished_asleep_is_kept_for_a_day(awake: Installation) -> None:
    await awake.put_to_sleep()
    awake.sim.world.delete(awake.sim.world.apps()[0])
    await awake.look_around()
    gone = await awake.phase(Phase.GONE)
    assert gone.phase_reason is Reason.DELETED_ASLEEP

    await awake.look_around()
    await awake.pass_time(timedelta(hours=23))
    assert awake.app().snapshot is not None

    await awake.pass_time(timedelta(hours=1, minutes=1))
    await until(lambda: "my-app" not in awake.registry.apps())


async def test_incomplete_listing_removes_nothing(awake: Installation) -> None:
    await awake.fault("GET /v1/apps", answer={"status": 200, "body": {"apps": [{"id": "odd"}]}})
    for _ in range(3):
        calls = awake.calls("GET", "/v1/apps")
        awake.controller.look_around()
        await until(lambda calls=calls: awake.calls("GET", "/v1/apps") > calls)  # type: ignore[misc]
        await until(lambda: awake.told(Reason.INCOMPLETE_LISTING))
        await awake.turns()

    assert awake.app().phase is Phase.AWAKE

    await awake.heal()
    await awake.look_around()
    assert awake.told(Reason.INCOMPLETE_LISTING) is None


async def test_failed_listing_removes_nothing(awake: Installation) -> None:
    await awake.fault("GET /v1/apps", answer={"status": 404})
    for _ in range(3):
        calls = awake.calls("GET", "/v1/apps")
        awake.controller.look_around()
        await until(lambda calls=calls: awake.calls("GET", "/v1/apps") > calls)  # type: ignore[misc]
        await until(lambda: awake.told(Reason.UNREACHABLE))

    assert awake.app().phase is Phase.AWAKE


async def test_app_missing_from_one_listing_only_is_not_gone(awake: Installation) -> None:
    await awake.fault("GET /v1/apps", answer={"status": 200, "body": {"apps": []}}, times=1)
    await awake.look_around()
    await awake.look_around()

    assert awake.app().phase is Phase.AWAKE


async def test_many_that_vanish_at_once_are_removed_after_an_hour_only() -> None:
    async with installed(Setup(apps=apps(8), idle=timedelta(days=2))) as installation:
        await installation.known("app-7")
        for app in installation.sim.world.apps()[:6]:
            installation.sim.world.delete(app)
        await installation.look_around()
        await installation.look_around()
        assert installation.told(Reason.MASS_VANISHING)
        assert len(installation.registry.apps()) == 8
        assert installation.app("app-0").phase is Phase.AWAKE

        await installation.pass_time(timedelta(minutes=58))
        assert len(installation.registry.apps()) == 8

        await installation.pass_time(timedelta(minutes=3))
        await until(lambda: len(installation.registry.apps()) == 2)
        await installation.look_around()
        assert installation.told(Reason.MASS_VANISHING) is None


async def test_apps_kept_for_their_snapshots_are_no_mass_vanishing() -> None:
    async with installed(Setup(apps=apps(8), idle=LONG)) as installation:
        await installation.known("app-7")
        for number in range(6):
            await installation.put_to_sleep(f"app-{number}")
        for half in (slice(0, 3), slice(0, 3)):
            for app in installation.sim.world.apps()[half]:
                installation.sim.world.delete(app)
            await installation.look_around()
            await installation.look_around()

        assert all(installation.app(f"app-{n}").phase is Phase.GONE for n in range(6))
        assert installation.told(Reason.MASS_VANISHING) is None


async def test_app_that_was_gone_asleep_comes_back_with_its_snapshot(awake: Installation) -> None:
    asleep = await awake.put_to_sleep()
    await awake.fault("GET /v1/apps", answer={"status": 200, "body": {"apps": []}})
    missing = {"status": 404, "body": {"resource": "app", "error": "not found"}}
    await awake.fault("GET /v1/apps/**", answer=missing)
    await awake.look_around()
    await awake.phase(Phase.GONE)

    await awake.heal()
    await awake.look_around()
    back = await awake.phase(Phase.ASLEEP)

    assert back.phase_reason is Reason.ASLEEP
    assert back.snapshot == asleep.snapshot
    await awake.wake()
    assert awake.truth() == AWAKE


async def test_app_recreated_under_its_name_takes_over_the_record_name(
    awake: Installation,
) -> None:
    old = awake.app().identity
    awake.sim.world.delete(awake.sim.world.apps()[0])
    awake.sim.world.add(AppSpec(name="my-app", formation=WHOLE))
    await awake.look_around()

    await until(lambda: awake.app().identity != old)
    assert len(awake.registry.apps()) == 1


async def test_ignored_app_is_not_known() -> None:
    ignored = ("app-1", "app-[23]")
    async with installed(Setup(apps=apps(4), ignored=ignored, idle=LONG)) as installation:
        await installation.known("app-0")

        assert set(installation.registry.apps()) == {"app-0"}


async def test_app_that_is_newly_ignored_is_let_go(tmp_path: Path) -> None:
    setup, clock = Setup(idle=LONG, state_file=tmp_path / "state.db"), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as first:
            await first.known()
        ignoring = replace(setup, ignored=("my-app",))
        async with controlling(ignoring, sim, clock) as second:
            await until(lambda: not second.registry.apps())


async def test_app_that_is_newly_ignored_while_asleep_keeps_its_snapshot(tmp_path: Path) -> None:
    setup, clock = Setup(idle=LONG, state_file=tmp_path / "state.db"), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as first:
            asleep = await first.put_to_sleep()
        async with controlling(replace(setup, ignored=("my-app",)), sim, clock) as second:
            await second.look_around()
            await second.look_around()
            await second.phase(Phase.UNMANAGED)
            assert second.app().snapshot == asleep.snapshot
        async with controlling(setup, sim, clock) as third:
            await third.phase(Phase.ASLEEP)
            await third.wake()
            assert third.truth() == AWAKE


async def test_account_that_is_not_configured_any_more_leaves_its_apps_alone(
    tmp_path: Path,
) -> None:
    setup, clock = Setup(idle=LONG, state_file=tmp_path / "state.db"), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as first:
            await first.put_to_sleep()
        async with controlling(replace(setup, account="other"), sim, clock) as second:
            left = await second.phase(Phase.UNMANAGED)
            assert left.phase_reason is Reason.ACCOUNT_MISSING
            assert left.snapshot is not None
        async with controlling(setup, sim, clock) as third:
            adopted = await third.phase(Phase.ASLEEP)
            assert adopted.phase_reason is Reason.ASLEEP
            await third.wake()
            assert third.truth() == AWAKE


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (AppSpec(name="my-app", status="new"), Reason.NEVER_DEPLOYED),
        (AppSpec(name="my-app", formation={"worker": ProcessSpec(1, "S")}), Reason.NO_WEB_PROCESS),
    ],
)
async def test_app_that_cannot_be_managed_is_left_alone(spec: AppSpec, reason: Reason) -> None:
    async with installed(Setup(apps=(spec,))) as installation:
        left = await installation.phase(Phase.UNMANAGED)
        calls = len(installation.sim.gate.calls)
        await asyncio.sleep(0.5)

        assert left.phase_reason is reason
        assert installation.changing_calls() == 0
        assert len(installation.sim.gate.calls) - calls <= 1  # no look after look


async def test_app_is_managed_from_its_first_deployment_on() -> None:
    async with installed(
        Setup(apps=(AppSpec(name="my-app", status="new"),), idle=LONG)
    ) as installation:
        await installation.phase(Phase.UNMANAGED)
        await installation.control("POST", "apps/my-app/deploy")
        await installation.settled()
        await installation.look_around()
        await installation.phase(Phase.AWAKE)


async def test_forgetting_keeps_what_cannot_be_found_again() -> None:
    async with installed(Setup(apps=apps(2), idle=LONG)) as installation:
        asleep = await installation.put_to_sleep("app-0")
        old = installation.app("app-1").last_activity
        assert old is not None

        assert await installation.controller.forget() == 1

        anew = installation.app("app-1").last_activity
        assert anew is not None
        assert anew.time > old.time
        assert installation.app("app-0").snapshot == asleep.snapshot


async def test_forgetting_removes_nothing_while_the_provider_is_down(awake: Installation) -> None:
    before = awake.app()
    await awake.fault("GET /v1/apps", answer={"status": 503})

    with pytest.raises(ProviderError):
        await awake.controller.forget()

    assert awake.app() == before


async def test_nothing_sleeps_on_knowledge_that_is_older_than_three_listings(
    awake: Installation,
) -> None:
    await awake.fault("GET /v1/apps", drop="before")
    awake.clock.ahead += timedelta(minutes=4)
    await awake.override(sleep_for=awake.app().cycle)
    await asyncio.sleep(0.5)
    assert awake.app().phase is Phase.AWAKE

    await awake.heal()
    await awake.look_around()
    await awake.phase(Phase.ASLEEP)


async def test_override_of_power_unmanaged_holds_at_once(awake: Installation) -> None:
    await awake.override(power=Power.UNMANAGED)
    left = await awake.phase(Phase.UNMANAGED)
    assert left.phase_reason is Reason.POWER_UNMANAGED

    await awake.override(power=Power.AUTO)
    await awake.phase(Phase.AWAKE)
