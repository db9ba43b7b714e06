"""A formation comes back exactly as it was, also when paastis was killed at a bad moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import QUICK, Json, Paastis, World, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tests.end_to_end.conftest import NewWorld

WHOLE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}
NOTHING = {"web": (0, "M"), "worker": (0, "S"), "clock": (0, "S")}
SCALE = "POST /v1/apps/*/scale"

SHOP: Json = {
    "name": "shop",
    "formation": {
        "web": {"amount": 2, "size": "M"},
        "worker": {"amount": 1, "size": "S"},
        "clock": {"amount": 0, "size": "S"},
    },
    "autoscalers": [{"type": "web", "min": 2, "max": 4}],
}


async def is_whole(world: World) -> bool:
    """Everything of the shop runs as before, and its autoscaler is at work."""
    truth = await world.sim.app("shop")
    return (
        truth["status"] == "running"
        and await world.sim.formation("shop") == WHOLE
        and [scaler["disabled"] for scaler in truth["autoscalers"]] == [False]
    )


async def test_formation_and_autoscaler_come_back_exactly_after_an_idle_time(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[SHOP]) as world:
        paastis = await world.run(**QUICK)
        record = await paastis.reaches("shop", "Asleep")
        assert await world.sim.formation("shop") == NOTHING
        kept = {
            row["type"]: (row["amount"], row["size"]) for row in record["snapshot"]["processes"]
        }
        assert kept == WHOLE

        assert (await paastis.visit("shop")).status == 200

        await until(lambda: is_whole(world), what="the shop is whole again")
        assert len(await world.sim.scales("shop")) == 2


# --- killed


async def scaled(world: World, times: int) -> bool:
    return len(await world.sim.scales("shop")) >= times


async def during_a_stop_that_never_arrives(world: World, paastis: Paastis) -> None:
    """The snapshot is saved, the call is on its way, and is lost."""
    await world.sim.fault(SCALE, times=1, delay="3s", drop="before")
    await paastis.order("shop", "sleep")
    await until(lambda: scaled(world, 1), what="the stop is sent")


async def during_a_stop_that_arrives_late(world: World, paastis: Paastis) -> None:
    """The provider takes the call seriously after paastis is gone."""
    await world.sim.fault(SCALE, times=1, delay="3s")
    await paastis.order("shop", "sleep")
    await until(lambda: scaled(world, 1), what="the stop is sent")


async def after_the_stop_took_effect(world: World, paastis: Paastis) -> None:
    """The answer to the call has not come yet."""
    await world.sim.fault(SCALE, times=1, delay_answer="5s")
    await paastis.order("shop", "sleep")

    async def stopped() -> bool:
        return await world.sim.formation("shop") == NOTHING

    await until(stopped, what="the stop took effect")


async def while_asleep(world: World, paastis: Paastis) -> None:
    """Everything about the stop is over."""
    del world
    await paastis.order("shop", "sleep")
    await paastis.reaches("shop", "Asleep")


async def before_the_start_arrives(world: World, paastis: Paastis) -> None:
    """A visitor came; the start is on its way, and is lost."""
    await while_asleep(world, paastis)
    await world.sim.fault(SCALE, times=1, delay="3s", drop="before")
    await paastis.order("shop", "wake")
    await until(lambda: scaled(world, 2), what="the start is sent")


async def after_the_start_took_effect(world: World, paastis: Paastis) -> None:
    """The answer to the call has not come yet, the autoscaler is still off."""
    await while_asleep(world, paastis)
    await world.sim.fault(SCALE, times=1, delay_answer="5s")
    await paastis.order("shop", "wake")

    async def started() -> bool:
        return await world.sim.formation("shop") == WHOLE

    await until(started, what="the start took effect")


async def while_the_app_boots(world: World, paastis: Paastis) -> None:
    """The start was accepted; its operation has a name to be followed by."""
    await while_asleep(world, paastis)
    await paastis.order("shop", "wake")

    async def accepted() -> bool:
        operation = (await paastis.record("shop"))["operation"]
        return operation["kind"] == "start" and operation["ref"] is not None

    await until(accepted, what="the start was accepted")


MOMENTS: Mapping[str, Callable[[World, Paastis], Awaitable[None]]] = {
    moment.__name__: moment
    for moment in (
        during_a_stop_that_never_arrives,
        during_a_stop_that_arrives_late,
        after_the_stop_took_effect,
        while_asleep,
        before_the_start_arrives,
        after_the_start_took_effect,
        while_the_app_boots,
    )
}


@pytest.mark.timeout(150)
async def test_app_comes_back_exactly_wherever_paastis_was_killed(new_world: NewWorld) -> None:
    """Every moment in a world of its own, side by side: each waits for half a minute.

    A call whose answer was lost counts as possible for 20 s (the provider's visibility window).
    """

    async def killed_and_restarted(moment: str) -> None:
        try:
            async with new_world(apps=[SHOP], options=["--boot-time", "2s"]) as world:
                paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
                await MOMENTS[moment](world, paastis)
                await paastis.kill()
                await paastis.start()

                answer = await paastis.visit("shop")

                assert answer.status == 200, answer
                await until(lambda: is_whole(world), what="the shop is whole again", within=40)
                await paastis.reaches("shop", "Awake", within=40)
                assert await is_whole(world)
        except AssertionError as error:
            error.add_note(f"paastis was killed {moment.replace('_', ' ')}")
            raise

    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(killed_and_restarted(moment))
