"""Apps that come and go, and a person's hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import QUICK, app, throughout, until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld


@pytest.mark.timeout(100)
async def test_new_app_appears_with_the_next_listing_and_a_deleted_one_stays_for_one_more(
    new_world: NewWorld,
) -> None:
    """Listings come every full minute; a second one without the app would remove it."""
    async with new_world(apps=[app("old"), app("doomed")]) as world:
        paastis = await world.run()
        await world.sim.change("POST", "/apps", app("new"))
        await world.sim.change("DELETE", "/apps/doomed")

        async def found() -> bool:
            return "new" in await paastis.records()

        await until(found, what="the new app is found", within=75)
        assert (await paastis.visit("new")).status == 200
        assert set(await paastis.records()) == {"old", "new", "doomed"}
        assert (await paastis.visit("doomed")).status in {404, 502, 503}


async def test_app_that_somebody_scaled_down_is_woken_by_a_visitor(new_world: NewWorld) -> None:
    """No listing is needed: the platform's own page for stopped apps tells."""
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        await world.sim.change("POST", "/apps/shop/scale", {"web": 0})

        async def stopped() -> bool:
            return bool((await world.sim.app("shop"))["status"] == "stopped")

        await until(stopped, what="it is stopped by hand")
        answer = await paastis.visit("shop")

        assert answer.status == 200
        assert await world.sim.formation("shop") == {"web": (1, "M")}
        assert len(await world.sim.scales("shop")) == 1


async def test_size_that_somebody_changed_is_what_comes_back(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**QUICK)
        await world.sim.change("POST", "/apps/shop/scale", {"web": {"amount": 3, "size": "L"}})
        await paastis.reaches("shop", "Asleep")

        assert (await paastis.visit("shop")).status == 200
        assert await world.sim.formation("shop") == {"web": (3, "L")}


async def test_app_that_is_being_deployed_is_not_stopped(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop", boot_time="8s")]) as world:
        paastis = await world.run(**QUICK)
        await world.sim.change("POST", "/apps/shop/deploy")

        async def untouched() -> bool:
            return await world.sim.scales("shop") == []

        await throughout(untouched, what="it is not stopped", seconds=7)
        assert (await paastis.record("shop"))["decision"]["reason"] == "Deploying"
