"""The example rules that people know from the first paastis, pasted as they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.end_to_end.programs import QUICK, app, throughout, until

if TYPE_CHECKING:
    from tests.end_to_end.conftest import NewWorld

EXAMPLE = r"""
rules:
  - pattern: 'app-review-pr(\d+)-(back|front)'
    linked_apps:
      - 'app-review-pr$1-front'

  - pattern: 'hello-fastify'
    linked_apps:
      - 'hellofastifydeux'

  - pattern: 'hello-fastify-2'
    app_name: 'hellofastifydeux'

  - pattern: '.*fastify.*'
    app_max_idle_time: 0
"""

LINKED = ["app-review-pr42-back", "app-review-pr42-front"]
NAMED = ["hello-fastify", "hello-fastify-2"]


async def test_example_rules_do_what_they_did(new_world: NewWorld) -> None:
    stopped = [app(name, status="stopped") for name in (*LINKED, *NAMED, "app-review-pr7-front")]
    async with new_world(apps=[*stopped, app("other")]) as world:
        paastis = await world.run(
            rules=EXAMPLE,
            START_AND_STOP_ACCESS_RESOLUTION="1s",
            START_AND_STOP_DRAIN_TIME="1s",
            PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000",
        )
        records = await paastis.records()
        idle = {name: record["max_idle_time"] for name, record in records.items()}
        assert idle["other"] == idle["app-review-pr42-back"] == "15m"
        assert idle["hello-fastify"] == idle["hello-fastify-2"] == "0s"
        assert records["hello-fastify-2"]["policy"]["display_name"] == "hellofastifydeux"

        # One visit wakes what is linked, and nothing else.
        assert (await paastis.visit("app-review-pr42-back")).status == 200
        await asyncio.gather(*(paastis.reaches(name, "Awake") for name in LINKED))
        assert (await paastis.record("app-review-pr7-front"))["phase"] == "Asleep"

        # The display name is a name for visitors and for links.
        answer = await paastis.visit("hellofastifydeux")
        assert answer.status == 200
        assert '"hello-fastify-2"' in answer.body
        assert await world.sim.scales("hello-fastify") == []
        await paastis.reaches("hello-fastify-2", "Asleep", within=30)
        assert (await paastis.visit("hello-fastify")).status == 200
        await paastis.reaches("hello-fastify-2", "Awake")

        # An idle time of nothing: asleep soon after the last use, while the others stay.
        for name in NAMED:
            await paastis.reaches(name, "Asleep", within=30)
        assert (await paastis.record("other"))["phase"] == "Awake"


async def test_visits_of_an_app_keep_what_it_links_to_awake(new_world: NewWorld) -> None:
    async with new_world(apps=[*(app(name) for name in LINKED), app("alone")]) as world:
        paastis = await world.run(rules=EXAMPLE, **QUICK)

        async def visited() -> bool:
            assert (await paastis.visit("app-review-pr42-back")).status == 200
            await asyncio.sleep(0.5)  # the pause between two visitors, not a wait
            return await world.sim.scales("app-review-pr42-front") == []

        await throughout(visited, what="front is kept awake", seconds=10)
        assert (await paastis.record("alone"))["phase"] == "Asleep"

        async def both_stopped() -> bool:
            return all([await world.sim.scales(name) for name in LINKED])

        await until(both_stopped, what="both are stopped when nobody comes any more")
