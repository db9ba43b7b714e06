"""What each mode of an account lets the controller do."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from paastis.app import Phase
from paastis.policy import Mode, Power
from paastis.reasons import Reason
from tests.controller.conftest import (
    AWAKE,
    LONG,
    WHOLE,
    Clock,
    Setup,
    apps,
    controlling,
    installed,
    simulated,
    until,
)


async def test_observed_account_is_never_touched_and_shows_what_would_sleep() -> None:
    async with installed(Setup(mode=Mode.OBSERVE)) as installation:
        await installation.known()
        await until(lambda: installation.app().condition(Reason.WOULD_SLEEP))
        await asyncio.sleep(1.5)  # several idle times

        would = installation.app().condition(Reason.WOULD_SLEEP)
        assert would is not None
        assert would.status
        assert installation.app().phase is Phase.AWAKE
        assert installation.changing_calls() == 0

        await installation.access()
        await until(
            lambda: (shown := installation.app().condition(Reason.WOULD_SLEEP)) and not shown.status
        )


async def test_observed_account_says_so_once() -> None:
    async with installed(Setup(mode=Mode.OBSERVE)) as installation:
        await until(
            lambda: (
                "my-app" in installation.registry.apps()
                and installation.app().condition(Reason.WOULD_SLEEP)
            )
        )
        version = installation.app().version
        await installation.look_around()
        await asyncio.sleep(0.5)

        assert installation.app().version == version


async def test_observed_account_wakes_nobody() -> None:
    clock, setup = Clock(), Setup(idle=LONG, mode=Mode.OBSERVE)
    async with simulated(setup, clock) as sim:
        app = sim.world.apps()[0]
        sim.world.scale(app, {name: replace(spec, amount=0) for name, spec in WHOLE.items()})
        await until(lambda: app.current is None)
        async with controlling(setup, sim, clock) as installation:
            await installation.phase(Phase.ASLEEP)
            await installation.ask_wake()
            await until(lambda: installation.app().condition(Reason.WOULD_WAKE))

            assert installation.app().phase is Phase.ASLEEP
            assert installation.changing_calls() == 0


async def test_paused_account_puts_nothing_to_sleep_and_still_wakes(tmp_path: Path) -> None:
    setup, clock = Setup(apps=apps(2), idle=LONG, state_file=tmp_path / "state.db"), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as managing:
            await managing.put_to_sleep("app-0")
        pausing = replace(setup, mode=Mode.PAUSE, idle=timedelta(seconds=0.4))
        async with controlling(pausing, sim, clock) as paused:
            await paused.look_around()
            await paused.wake("app-0")
            await asyncio.sleep(1)

            assert paused.app("app-0").phase is Phase.AWAKE
            assert paused.app("app-1").phase is Phase.AWAKE
            assert paused.scale_calls == 2


async def test_wake_all_wakes_what_was_put_to_sleep_and_nothing_else(tmp_path: Path) -> None:
    setup, clock = Setup(apps=apps(3), idle=LONG, state_file=tmp_path / "state.db"), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as managing:
            await managing.put_to_sleep("app-0")
            await managing.by_hand("app-1", web=0)
            await managing.look_around()
            await managing.phase(Phase.ASLEEP, "app-1")
        async with controlling(replace(setup, mode=Mode.WAKE_ALL), sim, clock) as waking:
            await waking.phase(Phase.AWAKE, "app-0")
            await waking.look_around()

            assert waking.app("app-1").phase is Phase.ASLEEP
            assert waking.app("app-2").phase is Phase.AWAKE
            assert waking.scale_calls == 2


async def test_managing_an_observed_account_clears_what_was_shown(tmp_path: Path) -> None:
    setup, clock = Setup(state_file=tmp_path / "state.db", mode=Mode.OBSERVE), Clock()
    async with simulated(setup, clock) as sim:
        async with controlling(setup, sim, clock) as observing:
            await observing.known()
            await until(lambda: observing.app().condition(Reason.WOULD_SLEEP))
        async with controlling(replace(setup, mode=Mode.MANAGE), sim, clock) as managing:
            await managing.phase(Phase.ASLEEP)
            await until(
                lambda: (shown := managing.app().condition(Reason.WOULD_SLEEP)) and not shown.status
            )
            await managing.wake()
            assert managing.truth() == AWAKE


async def test_app_to_be_off_in_an_observed_account_stays_as_it_is() -> None:
    async with installed(Setup(mode=Mode.OBSERVE, idle=LONG)) as installation:
        await installation.known()
        await installation.override(power=Power.ALWAYS_OFF)
        await until(lambda: installation.app().condition(Reason.WOULD_SLEEP))

        assert installation.app().phase is Phase.AWAKE
        assert installation.changing_calls() == 0
