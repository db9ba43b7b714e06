"""The API server is away for long: awake apps are served, nothing sleeps, and all comes back quietly."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, installed
from tests.cluster.middle import APPS, VALUES, in_the_middle
from tests.cluster.visitors import all_serve, coming
from tests.end_to_end.programs import Json, app, throughout, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.server import Server

AWAY = 120.0 if os.environ.get("PAASTIS_LONG") == "1" else 12.0
"""Seconds. Leases run out after 10, and proxies are silent after 10."""

NO_STOPS = 60.0
"""Seconds after the server is back in which nothing may be stopped: proxies may have been away, too."""

LISTS = 2
"""Of each kind of resource, by each program: one because the watch has lost its place, and one more."""


async def scale_calls(paastis: Installation) -> Counter[str]:
    """How many calls for another formation each app has seen."""
    names = {
        f"/v1/apps/{app['id']}/scale": name for name, app in (await paastis.sim.apps()).items()
    }
    return Counter(
        names[call["path"]] for call in await paastis.sim.calls() if call["path"] in names
    )


async def all_live(paastis: Installation) -> bool:
    return all([await pod.alive() for pod in paastis.pods])


async def all_ready(paastis: Installation) -> bool:
    return all([await pod.ready() for pod in paastis.pods])


async def lists(paastis: Installation, *, since: float) -> Counter[tuple[str, str]]:
    """How often each program has listed each kind of resource since then (in seconds since 1970)."""
    found: Counter[tuple[str, str]] = Counter()
    begun = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    for user in {pod.user for pod in paastis.pods}:
        for event in await asyncio.to_thread(paastis.cluster.audited, user):
            if event["verb"] == "list" and event["requestReceivedTimestamp"] >= begun:
                found[user.rpartition(":")[2], event["objectRef"]["resource"]] += 1
    return found


@pytest.mark.timeout(240 + AWAY)
async def test_while_the_api_server_is_away_apps_are_served_and_none_sleeps_until_a_minute_after(
    own_cluster: Server, tmp_path: Path
) -> None:
    """It is killed in the middle of a wake and of two sleeps. Later `idle` becomes idle."""
    own_cluster.cluster.make_namespace("shop")
    values: Json = {
        **VALUES,
        "rules": {
            "used": {"pattern": "waker", "maxIdleTime": "1h"},
            "idle": {"pattern": "idle", "maxIdleTime": "70s"},
        },
        "controller": {"replicas": 2},
        "proxy": {"replicas": 2},
    }
    async with installed(
        own_cluster.cluster, "shop", tmp_path, apps=[*APPS, app("idle")], values=values
    ) as paastis:
        await all_serve(paastis.proxies, "busy")
        async with coming(paastis.proxies, "busy") as crowd, paastis.websocket("busy") as ws:
            async with in_the_middle(paastis, *paastis.proxies):
                before = await scale_calls(paastis)
                await asyncio.to_thread(own_cluster.stop_api, at_once=True)
                await throughout(
                    partial(all_live, paastis), what="all programs are alive", seconds=AWAY
                )
                assert await scale_calls(paastis) == before
                since = time.time()
                await asyncio.to_thread(own_cluster.start_api)
                back = time.monotonic()
                await until(partial(all_ready, paastis), what="all programs are ready")

            settled = await scale_calls(paastis)

            async def nothing_sleeps() -> bool:
                return await scale_calls(paastis) == settled

            left = NO_STOPS - (time.monotonic() - back)
            await throughout(nothing_sleeps, what="nothing is stopped", seconds=left)
            for listed, times in (await lists(paastis, since=since)).items():
                assert times <= 2 * LISTS, (listed, times)  # there are two of each program
            await paastis.reaches("idle", "Asleep", within=30)
            await ws.send_str("still here")
            assert await ws.receive_str(timeout=5) == "still here"
            assert (await scale_calls(paastis))["busy"] == 0
        assert crowd.put_off["busy"] == 0
