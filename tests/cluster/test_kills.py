"""Whoever dies, freezes or goes away at a bad moment: no visitor is lost, and apps end up exact."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, installed
from tests.cluster.middle import APPS, FIRST_STOP, VALUES, in_the_middle, is_whole, scaled, whole
from tests.cluster.relay import Relay
from tests.cluster.visitors import all_serve, coming
from tests.end_to_end.programs import throughout, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.cluster.access import Cluster
    from tests.cluster.pods import Pod

TAKEN_OVER = 15.0
"""Seconds after which somebody else leads, and has finished what was to be finished."""


async def leading(paastis: Installation) -> Pod | None:
    """The controller that holds the Lease."""
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{paastis.namespace}/leases"
    for lease in (await paastis.request("GET", leases))["items"]:
        if lease["metadata"]["name"] == "paastis-controller":
            holder = lease["spec"].get("holderIdentity") or ""
            return next(pod for pod in paastis.controllers if holder.startswith(f"{pod.name}_"))
    return None


async def leader_and_standby(paastis: Installation) -> tuple[Pod, Pod]:
    leader = await until(lambda: leading(paastis), what="somebody leads")
    (standby,) = (pod for pod in paastis.controllers if pod is not leader)
    assert leader is not None
    return leader, standby


async def leads(paastis: Installation, pod: Pod, *, within: float) -> None:
    async def now() -> bool:
        return await leading(paastis) is pod

    await until(now, what=f"{pod.name} leads", within=within)


# --- killed


async def the_leader(cluster: Cluster, namespace: str, directory: Path) -> None:
    """The stand-by goes on from what is in the records."""
    values = {**VALUES, "controller": {"replicas": 2}}
    async with installed(cluster, namespace, directory, apps=APPS, values=values) as paastis:
        leader, standby = await leader_and_standby(paastis)
        async with in_the_middle(paastis, paastis.proxy):
            await leader.kill()
            killed = time.monotonic()
            await leads(paastis, standby, within=TAKEN_OVER)
            left = TAKEN_OVER - (time.monotonic() - killed)
            await paastis.reaches("waker", "Awake", within=left)
            await leader.start()
        assert await leader.ready()
        assert await leading(paastis) is standby


async def a_proxy(cluster: Cluster, namespace: str, directory: Path) -> None:
    """First in the middle of a drain, which it has not agreed to, then while visitors wait."""
    values = {**VALUES, "proxy": {"replicas": 2}}
    async with installed(cluster, namespace, directory, apps=APPS, values=values) as paastis:
        proxy, other = paastis.proxies
        proxy.freeze()
        await paastis.reaches("sleeper", "Draining", within=FIRST_STOP)
        await proxy.kill()
        await throughout(
            lambda: not_scaled(paastis), what="nothing is stopped without it", seconds=4
        )
        await proxy.start()
        async with in_the_middle(paastis, proxy, other):
            await proxy.kill()
            await proxy.start()
        assert await proxy.ready()


async def not_scaled(paastis: Installation) -> bool:
    return not await scaled(paastis, "sleeper") and not await scaled(paastis, "late")


async def the_provider(cluster: Cluster, namespace: str, directory: Path) -> None:
    """Its API is gone for 10 s; what it was asked to do before, it does."""
    async with (
        Relay() as relay,
        installed(
            cluster,
            namespace,
            directory,
            apps=APPS,
            values={**VALUES, "accounts": {"main": {"apiUrl": relay.url, "authUrl": relay.url}}},
            running=False,
        ) as paastis,
    ):
        relay.to = paastis.sim.port
        await paastis.run()
        async with in_the_middle(paastis, paastis.proxy):
            await relay.refuse()
            await asyncio.sleep(10)
            await relay.accept()


# --- frozen


async def frozen_leader(cluster: Cluster, namespace: str, directory: Path) -> None:
    """A leader freezes for 30 s in the middle of two stops.

    For `sleeper` it is right before the call: the stop was announced, sent, and refused for a
    bearer that is not good any more, and the answer with another one is on its way. For `hooked` it
    is before the announcement: everybody has agreed, and the hook runs that comes first.
    """
    waiting = {name: directory / f"hook-of-{name}" for name in ("hooked", "sleeper")}
    hook = f'file={directory}/hook-of-$PAASTIS_APP_NAME; touch "$file"; while [ -e "$file" ]; do sleep 0.1; done'
    values = {
        **VALUES,
        "controller": {"replicas": 2},
        "hooks": {"beforeStop": hook},
    }
    apps = [whole("busy"), whole("hooked"), whole("sleeper")]
    async with installed(cluster, namespace, directory, apps=apps, values=values) as paastis:
        leader, standby = await leader_and_standby(paastis)
        await all_serve(paastis.proxies, "busy")
        async with coming([paastis.proxy], "busy") as crowd:

            async def both_hooks_run() -> bool:
                return all(file.exists() for file in waiting.values())

            await until(both_hooks_run, what="both hooks run", within=FIRST_STOP)
            identity = (await paastis.sim.app("sleeper"))["id"]
            await paastis.sim.fault(f"POST /v1/apps/{identity}/scale", times=1, expire_token=True)
            await paastis.sim.fault("POST /v1/tokens/exchange", times=1, delay_answer="2s")
            waiting["sleeper"].unlink()

            async def refused() -> bool:
                exchange = [
                    call
                    for call in await paastis.sim.calls()
                    if call["path"] == "/v1/tokens/exchange"
                ]
                return await scaled(paastis, "sleeper") and exchange[-1]["status"] is None

            await until(refused, what="the stop is refused, and a new bearer is on its way")
            leader.freeze()
            frozen = time.monotonic()
            assert (await paastis.app("sleeper"))["status"]["phase"] == "Stopping"

            async def untouched() -> bool:
                return (
                    await is_whole(paastis, "hooked")
                    and await is_whole(paastis, "sleeper")
                    and len(await paastis.sim.scales("sleeper")) == 1
                )

            async with coming([paastis.proxy], "hooked", "sleeper") as others:
                await leads(paastis, standby, within=TAKEN_OVER)
                await paastis.reaches("hooked", "Awake")
                left = 30 - (time.monotonic() - frozen)
                await throughout(untouched, what="both apps are untouched", seconds=left)
                waiting["hooked"].unlink()
                leader.thaw()
                await throughout(untouched, what="the old leader does nothing", seconds=8)
                await paastis.reaches("sleeper", "Awake")
        assert crowd.put_off["busy"] == others.put_off["hooked"] == 0
        assert others.served.keys() == {"hooked", "sleeper"}
        assert await leader.ready()
        assert await leading(paastis) is standby
        assert not await paastis.sim.scales("hooked")


@pytest.mark.timeout(240)
async def test_whoever_is_killed_or_frozen_in_the_middle_nobody_is_lost_and_apps_end_up_exact(
    cluster: Cluster, new_namespace: Callable[[], str], tmp_path: Path
) -> None:
    """Each in an installation of its own, side by side: each begins with a minute of waiting."""
    scenes = (the_leader, a_proxy, the_provider, frozen_leader)

    async def played(scene: Callable[[Cluster, str, Path], Awaitable[None]], place: str) -> None:
        name = scene.__name__.replace("_", "-")
        try:
            await scene(cluster, place, tmp_path / name)
        except Exception as error:
            error.add_note(f"The scene was: {scene.__name__.replace('_', ' ')}.")
            raise

    places = [new_namespace() for _ in scenes]
    async with asyncio.TaskGroup() as group:
        for scene, place in zip(scenes, places, strict=True):
            group.create_task(played(scene, place))
