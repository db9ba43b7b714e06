"""The provider is slow, down, full or breaks off: awake apps are served, and all recovers by itself."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.programs import (
    QUICK,
    Paastis,
    World,
    app,
    most_in_a_minute,
    throughout,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.end_to_end.conftest import NewWorld

EVERYTHING = "**"
SCALE = "POST /v1/apps/*/scale"

FAULTS: Mapping[str, dict[str, Any]] = {
    "down": {"match": EVERYTHING, "answer": {"status": 503}},
    "answering 500": {"match": EVERYTHING, "answer": {"status": 500}},
    "refusing for its limit": {"match": EVERYTHING, "answer": {"status": 429}},
    "breaking off before the effect": {"match": EVERYTHING, "drop": "before"},
    "failing its operations": {"match": SCALE, "operation": "error", "message": "no room left"},
}

BUDGET = 50
"""Calls in any 60 s, the default."""

QUICK_WITH_BUDGET = {**QUICK, "PROVIDER_SCALINGO_CALLS_PER_MINUTE": str(BUDGET)}


def apps() -> list[dict[str, Any]]:
    return [app("busy"), app("sleepy", status="stopped")]


async def visited(paastis: Paastis) -> bool:
    answer = await paastis.visit("busy")
    assert answer.seconds < 1
    await asyncio.sleep(0.3)  # the pause between two visitors, not a wait
    return answer.status == 200


@pytest.mark.timeout(150)
async def test_whatever_fails_awake_apps_are_served_and_failed_wakes_are_told_and_tried_again(
    new_world: NewWorld,
) -> None:
    """Each fault in a world of its own, side by side, since most of the time is back-off."""

    async def suffered(what: str) -> None:
        try:
            async with new_world(apps=apps(), options=["--rate-limit", "60"]) as world:
                await fails_and_recovers(world, FAULTS[what])
        except AssertionError as error:
            error.add_note(f"the provider was {what}")
            raise

    async with asyncio.TaskGroup() as group:
        for what in FAULTS:
            group.create_task(suffered(what))


async def fails_and_recovers(world: World, fault: Mapping[str, Any]) -> None:
    paastis = await world.run(**QUICK_WITH_BUDGET)
    await world.sim.fault(**fault)

    async def refused() -> None:
        answer = await paastis.visit("sleepy")
        assert answer.status == 503, answer
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        told = json.loads(answer.body)
        assert told["status"] == 503
        assert told["detail"]
        assert "no room left" not in answer.body  # the provider's own words are not for visitors

    async with asyncio.TaskGroup() as group:
        group.create_task(throughout(lambda: visited(paastis), what="busy is served", seconds=15))
        group.create_task(refused())
    assert (await paastis.record("busy"))["phase"] == "Awake"
    await world.sim.clear_faults()

    async def woken() -> bool:
        answer = await paastis.visit("sleepy")
        return answer.status == 200

    await until(woken, what="a later visit wakes it", within=45)
    assert await world.sim.formation("sleepy") == {"web": (1, "M")}
    calls = await world.sim.calls()
    assert most_in_a_minute(calls) <= BUDGET


async def test_provider_that_takes_two_seconds_a_call_only_slows_the_wake(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=apps(), options=["--latency", "2s"]) as world:
        paastis = world.prepare(**QUICK)
        paastis.launch()
        await until(paastis.ready, what="paastis is ready", within=30)
        waking = asyncio.create_task(paastis.visit("sleepy"))
        await throughout(lambda: visited(paastis), what="busy is served", seconds=3)
        assert (await waking).status == 200
        assert len(await world.sim.scales("sleepy")) == 1


async def test_start_whose_answer_is_lost_is_not_sent_twice(new_world: NewWorld) -> None:
    async with new_world(apps=apps()) as world:
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        await world.sim.fault(SCALE, drop="after", times=1)

        answer = await paastis.visit("sleepy")

        assert answer.status == 200
        assert len(await world.sim.scales("sleepy")) == 1


async def test_nothing_sleeps_while_the_provider_cannot_be_asked_and_idle_apps_do_afterwards(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("idle")]) as world:
        paastis = await world.run(**QUICK)
        await world.sim.fault(EVERYTHING, answer={"status": 503})

        async def untouched() -> bool:
            return not await world.sim.scales("idle")

        await throughout(untouched, what="it is not stopped", seconds=8)
        assert (await paastis.record("idle"))["phase"] in {"Awake", "Draining"}
        assert (await paastis.visit("idle")).status == 200
        await world.sim.clear_faults()

        await paastis.reaches("idle", "Asleep", within=40)


async def test_app_that_crashes_whenever_it_boots_is_told_to_visitors_and_recovers(
    new_world: NewWorld,
) -> None:
    broken = app("broken", status="stopped", boot_failures=1)
    async with new_world(apps=[broken]) as world:
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")

        async def served() -> bool:
            answer = await paastis.visit("broken")
            assert answer.status in {200, 503}
            return answer.status == 200

        await until(served, what="it is started again", within=45)
