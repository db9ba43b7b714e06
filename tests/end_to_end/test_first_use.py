"""The first minutes with nothing but the credentials, and the main job with a short idle time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.end_to_end.programs import BROWSER, QUICK, app, throughout

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld


async def test_credentials_alone_discover_apps_and_hold_a_request_for_a_sleeping_one(
    new_world: NewWorld,
) -> None:
    async with new_world() as world:
        paastis = await world.run()
        records = await paastis.records()

        assert set(records) == set(await world.sim.apps())
        assert records["my-app"]["phase"] == "Awake"
        assert records["my-app"]["max_idle_time"] == "15m"
        assert records["old-prototype"]["phase"] == "Asleep"
        assert records["never-deployed"]["phase"] == "Unmanaged"

        answer = await paastis.visit("old-prototype")

        assert answer.status == 200
        assert json.loads(answer.body)["name"] == "old-prototype"
        assert answer.headers["X-Paastis-State"] == "woken"
        assert "paastis-wake;dur=" in answer.headers["Server-Timing"]
        assert len(await world.sim.scales("old-prototype")) == 1


async def test_idle_app_sleeps_and_a_request_wakes_it(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**QUICK)
        await paastis.reaches("shop", "Asleep")
        assert await world.sim.formation("shop") == {"web": (0, "M")}

        answer = await paastis.visit("shop", "/echo?a=1", method="POST", data=b"ordered")

        told = json.loads(answer.body)
        assert (answer.status, told["method"], told["query"]) == (200, "POST", "a=1")
        assert told["body"] == "ordered"
        assert await world.sim.formation("shop") == {"web": (1, "M")}
        await paastis.reaches("shop", "Awake")


async def test_browser_gets_the_waiting_page_at_once_and_then_the_app(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop", status="stopped")]) as world:
        paastis = await world.run()

        first = await paastis.visit("shop", "/?page=2", headers=BROWSER)
        assert (first.status, first.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert first.headers["Cache-Control"] == "no-store"
        assert int(first.headers["Retry-After"]) > 0
        assert "shop is waking up" in first.body
        assert first.seconds < 1

        held = await paastis.visit("shop", "/.well-known/paastis/wait?to=/%3Fpage%3D2")
        assert (held.status, held.headers["Location"]) == (303, "/?page=2")
        assert (await paastis.visit("shop", "/?page=2", headers=BROWSER)).status == 200


async def test_app_stopped_before_paastis_came_stays_stopped_until_somebody_visits_it(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("old", status="stopped"), app("other")]) as world:
        paastis = await world.run(**QUICK)

        async def untouched() -> bool:
            return not await world.sim.scales("old")

        other, _ = await asyncio.gather(
            paastis.reaches("other", "Asleep"),
            throughout(untouched, what="nobody starts or stops it", seconds=7),
        )
        assert other["phase"] == "Asleep"
        assert (await paastis.record("old"))["phase"] == "Asleep"

        assert (await paastis.visit("old")).status == 200
        assert len(await world.sim.scales("old")) == 1
