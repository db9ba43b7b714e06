"""What visitors cost: one start per wake, nothing at all when the app is awake or unknown."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import Json, World, app, most_in_a_minute, until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld

UNNOTICED = {"GET /v1/apps", "POST /v1/tokens/exchange"}
"""Calls of the scheduled discovery."""


def kinds(calls: list[Json]) -> set[str]:
    return {f"{call['method']} {call['path']}" for call in calls}


async def test_200_visitors_of_one_sleeping_app_cost_one_start_and_all_get_200(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop", status="stopped")]) as world:
        paastis = await world.run()

        answers = await asyncio.gather(*(paastis.visit("shop") for _ in range(200)))

        assert Counter(answer.status for answer in answers) == {200: 200}
        assert len(await world.sim.scales("shop")) == 1
        await paastis.reaches("shop", "Awake")
        assert len(await world.sim.scales("shop")) == 1


async def test_1000_requests_to_an_awake_app_cost_no_call(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run()
        before = len(await world.sim.calls())

        for _ in range(10):
            answers = await asyncio.gather(*(paastis.visit("shop") for _ in range(100)))
            assert Counter(answer.status for answer in answers) == {200: 100}

        assert kinds((await world.sim.calls())[before:]) <= UNNOTICED


async def test_300_requests_for_unknown_names_get_404_and_cost_no_call(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run()
        before = len(await world.sim.calls())
        names = [f"nobody-{number}" for number in range(300)]

        answers = await asyncio.gather(*(paastis.visit(name) for name in names))

        assert Counter(answer.status for answer in answers) == {404: 300}
        assert kinds((await world.sim.calls())[before:]) <= UNNOTICED


@pytest.mark.timeout(240)
async def test_wake_among_500_apps_waits_for_no_listing_and_no_minute_exceeds_the_budget(
    new_world: NewWorld,
) -> None:
    """60 calls a minute allowed, 50 used, and short idle times that want hundreds of stops."""
    apps = [app(f"app-{number:03}") for number in range(499)]
    apps.append(app("wanted", status="stopped"))
    options = ["--rate-limit", "60", "--latency", "50ms"]
    async with new_world(apps=apps, options=options) as world:
        paastis = await world.run(
            START_AND_STOP_MAX_IDLE_TIME="3s",
            START_AND_STOP_ACCESS_RESOLUTION="1s",
            START_AND_STOP_DRAIN_TIME="1s",
        )
        assert len(await paastis.records()) == 500

        async def budget_spent() -> bool:
            return bool((await paastis.accounts())[0]["budget_left"] <= 20)

        await until(budget_spent, what="stops have used up their share", within=60)
        listed = await listings(world)
        await world.sim.fault("GET /v1/apps", delay="8s")

        async def listing() -> bool:
            return await listings(world) > listed

        await until(listing, what="discovery asks again, and waits for its answer", within=75)
        visiting = asyncio.create_task(paastis.visit("wanted"))

        async def started() -> bool:
            return bool(await world.sim.scales("wanted"))

        await until(started, what="the start is sent", within=10)
        assert await listing_pending(world), "the start did not wait for the listing"
        await world.sim.clear_faults()
        assert (await visiting).status == 200

        async def more_than_a_minute() -> bool:
            calls = await world.sim.calls()
            return bool(calls[-1]["time"] - calls[0]["time"] > 62)

        await until(more_than_a_minute, what="the budget's window moves on", within=70)
        calls = await world.sim.calls()
        assert most_in_a_minute(calls) <= 50
        assert all(call["status"] != 429 for call in calls)


async def listing_pending(world: World) -> bool:
    """Whether the provider has not answered the last listing yet."""
    asked = [call for call in await world.sim.calls() if call["path"] == "/v1/apps"]
    return asked[-1]["status"] is None


async def listings(world: World) -> int:
    """How often the account's apps were asked for."""
    return sum(call["path"] == "/v1/apps" for call in await world.sim.calls())
