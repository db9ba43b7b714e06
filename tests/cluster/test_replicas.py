"""Several proxies on one cluster: they wake together, and none of them loses an app under a request."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, installed
from tests.cluster.relay import Relay
from tests.cluster.resources import condition
from tests.cluster.visitors import all_serve
from tests.end_to_end.programs import Json, app, throughout, until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.cluster.access import Cluster

REPLICAS = 3
VISITORS = 200

LONG_ENOUGH = 6.0
"""Seconds: an app that nobody uses would be stopped in them, idle time, drain and all."""


async def status_patches(paastis: Installation, name: str) -> Counter[int]:
    """How often proxies have tried to write to an app's record, by the API server's answer."""
    user = paastis.proxy.user
    told = await asyncio.to_thread(paastis.cluster.audited, user)
    return Counter(
        event["responseStatus"]["code"]
        for event in told
        if event["verb"] == "patch"
        and event["objectRef"]["resource"] == "paastisapps"
        and event["objectRef"]["name"] == name
    )


@pytest.mark.timeout(120)
async def test_200_visitors_at_three_replicas_cost_one_start_and_few_status_patches(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    resolution, looked_at = 3.0, 12.0
    values: Json = {
        "settings": {"maxIdleTime": f"{10 * resolution:g}s"},
        "proxy": {"replicas": REPLICAS},
    }
    apps = [app("shop", status="stopped", boot_time="2s")]
    async with installed(cluster, namespace, tmp_path, apps=apps, values=values) as paastis:
        await paastis.reaches("shop", "Asleep")
        begun = time.monotonic()

        answers = await asyncio.gather(
            *(paastis.proxies[turn % REPLICAS].visit("shop") for turn in range(VISITORS))
        )

        assert Counter(answer.status for answer in answers) == {200: VISITORS}
        assert {answer.headers["X-Paastis-State"] for answer in answers} == {"woken"}
        await paastis.reaches("shop", "Awake")
        assert len(await paastis.sim.scales("shop")) == 1
        # A wish is written once per replica, app and cycle, and is an access, too. After it there is
        # one access in each access resolution while requests are open.
        woken = await status_patches(paastis, "shop")
        accesses = (time.monotonic() - begun) // resolution
        assert 1 <= woken[200] <= REPLICAS + accesses, woken
        # Replicas that wish at the same moment meet at the API server, and look again.
        assert woken.total() - woken[200] <= 2 * REPLICAS, woken

        async with AsyncExitStack() as sockets:
            for proxy in paastis.proxies:
                await sockets.enter_async_context(paastis.websocket("shop", proxy=proxy))
            await asyncio.sleep(looked_at)
            used = await status_patches(paastis, "shop")
        # The number of replicas does not matter; now and then two of them are due together.
        assert looked_at / resolution - 1 <= used[200] - woken[200] <= looked_at / resolution + 3


@pytest.mark.timeout(200)
async def test_app_with_a_websocket_on_any_replica_is_not_stopped_whatever_befalls_the_replica(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """One replica is well, one is frozen, and two are cut off from the API server.

    Each holds a WebSocket to an app of its own. The stop of another app proves that nothing but
    them was in the way.
    """
    names = ("well", "frozen", "cut", "lost")
    apps = [*(app(name) for name in names), app("idle")]
    async with (
        Relay() as cut_wire,
        Relay() as lost_wire,
        installed(cluster, namespace, tmp_path, apps=apps) as paastis,
    ):
        await paastis.scale("proxy", by=1)
        await paastis.scale("proxy", by=1, relay=cut_wire)
        await paastis.scale("proxy", by=1, relay=lost_wire)
        well, frozen, cut, lost = paastis.proxies
        await all_serve(paastis.proxies, *names)
        async with (
            paastis.websocket("well", proxy=well) as on_well,
            paastis.websocket("frozen", proxy=frozen) as on_frozen,
            paastis.websocket("cut", proxy=cut) as on_cut,
            paastis.websocket("lost", proxy=lost) as on_lost,
        ):
            frozen.freeze()
            cut_wire.silence()
            lost_wire.silence()

            # They have agreed to nothing for as long as the controller waits before it tells.
            await waits_for(paastis, frozen.name, cut.name, lost.name, within=100)
            await throughout(
                lambda: no_stop(paastis, *names, "idle"),
                what="silence stops nothing",
                seconds=LONG_ENOUGH,
            )
            await echoes(on_well)
            await echoes(on_cut)  # its way to the app is as good as ever
            assert (await cut.visit("cut")).status == 200

            frozen.thaw()
            cut_wire.heal()
            await waits_for(paastis, lost.name)
            await echoes(on_frozen)
            await lost.kill()
            await throughout(
                lambda: no_stop(paastis, *names, "idle"),
                what="a dead proxy that nobody has removed stops nothing",
                seconds=LONG_ENOUGH,
            )
            lost_wire.heal()
            await paastis.remove(lost)

            await paastis.reaches("lost", "Asleep")
            await paastis.reaches("idle", "Asleep")
            await waits_for(paastis)
            await throughout(
                lambda: no_stop(paastis, "well", "frozen", "cut"),
                what="those with a WebSocket are kept awake",
                seconds=LONG_ENOUGH,
            )
            for socket in (on_well, on_frozen, on_cut):
                await echoes(socket)
            assert on_lost.closed or (await on_lost.receive()).data is None

        for name in ("well", "frozen", "cut"):
            await paastis.reaches(name, "Asleep")


async def waits_for(paastis: Installation, *proxies: str, within: float = 20.0) -> None:
    """The account says that stops wait for these proxies and no others, if for any."""

    async def named() -> bool:
        told = condition(await paastis.get("paastisaccounts/main"), "WaitingForProxy")
        words = "" if told is None else told["message"]
        return set(re.findall(r"(paastis-proxy-\S+) has", words)) == set(proxies)

    named_ones = ", ".join(proxies) or "nobody"
    await until(named, what=f"the account says that stops wait for {named_ones}", within=within)


async def no_stop(paastis: Installation, *names: str) -> bool:
    return not any([await paastis.sim.scales(name) for name in names])


async def echoes(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_str("still here")
    assert await ws.receive_str(timeout=5) == "still here"
