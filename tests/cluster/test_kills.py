"""Whoever dies, freezes or goes away at a bad moment: no visitor is lost, and apps end up exact."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.cluster.installation import Installation, installed
from tests.cluster.relay import Relay
from tests.cluster.visitors import Crowd, all_serve, coming
from tests.end_to_end.programs import Json, throughout, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.cluster.access import Cluster
    from tests.cluster.pods import Pod
    from tests.cluster.server import Server

TAKEN_OVER = 15.0
"""Seconds after which somebody else leads, and has finished what was to be finished."""

RECOVERED = 60.0
"""Seconds until everything is as it should be: a new leader, the 20 s in which a call whose answer
was lost may still take effect, and a start."""

FIRST_STOP = 100.0
"""Seconds until an idle app drains: a new leader stops nothing for 60 s."""

WHOLE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}

VALUES: Json = {
    "settings": {"drainTime": "2s"},
    "rules": {"used": {"pattern": "busy|waker", "maxIdleTime": "1h"}},
}


def whole(name: str, **more: object) -> Json:
    """An app with several process types and an autoscaler."""
    return {
        "name": name,
        "formation": {kind: {"amount": n, "size": size} for kind, (n, size) in WHOLE.items()},
        "autoscalers": [{"type": "web", "min": 2, "max": 4}],
        **more,
    }


APPS = [
    whole("busy"),
    whole("waker", status="stopped", autoscalers=[], boot_time="6s"),
    whole("sleeper", stop_time="6s"),
    whole("late"),
]
"""One that is used all the time, one that is woken, two that fall asleep; see `in_the_middle`."""


async def scaled(paastis: Installation, name: str) -> bool:
    return bool(await paastis.sim.scales(name))


async def is_whole(paastis: Installation, name: str) -> bool:
    truth = await paastis.sim.app(name)
    return (
        truth["status"] == "running"
        and await paastis.sim.formation(name) == WHOLE
        and not any(scaler["disabled"] for scaler in truth["autoscalers"])
    )


async def has_ref(paastis: Installation, name: str) -> bool:
    operation = (await paastis.app(name))["status"].get("operation", {})
    return "ref" in operation and "endedAt" not in operation


async def is_about_to_stop_late(paastis: Installation) -> None:
    """The next stop of `late` takes effect 16 s after it was sent, when others may lead already."""
    identity = (await paastis.sim.app("late"))["id"]
    await paastis.sim.fault(f"POST /v1/apps/{identity}/scale", times=1, delay="16s")


@asynccontextmanager
async def in_the_middle(paastis: Installation, *proxies: Pod) -> AsyncIterator[Crowd]:
    """Begins in the middle of a wake and of two sleeps, with visitors of everything from then on.

    `waker` boots, `sleeper` is being stopped, both with an operation that can be followed; the stop
    of `late` was sent, and has neither taken effect nor been answered. After the block everything
    becomes as it should be, with a call for each wake and each sleep, and no more.
    """
    await is_about_to_stop_late(paastis)
    await asyncio.gather(
        *(paastis.reaches(name, "Draining", within=FIRST_STOP) for name in ("sleeper", "late"))
    )
    async with coming(proxies, "busy", "waker") as crowd:
        for name in ("waker", "sleeper"):
            await until(partial(has_ref, paastis, name), what=f"{name} is followed")
        await until(partial(scaled, paastis, "late"), what="the late stop is sent")
        assert await paastis.sim.formation("late") == WHOLE
        assert (await paastis.sim.app("waker"))["status"] == "scaling"

        async with coming(proxies, "sleeper", "late") as others:
            yield crowd

            for name in ("waker", "sleeper", "late", "busy"):
                whole_again = partial(is_whole, paastis, name)
                await until(whole_again, what=f"{name} is whole", within=RECOVERED)
                await paastis.reaches(name, "Awake", within=RECOVERED)
            calls = {app["name"]: len(await paastis.sim.scales(app["name"])) for app in APPS}
            assert calls == {"busy": 0, "waker": 1, "sleeper": 2, "late": 2}
    assert crowd.put_off["busy"] == 0
    served = crowd.served + others.served
    assert served.keys() == {app["name"] for app in APPS}


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
    """Its API is gone for 10 s; what it was asked to do it does."""
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


async def the_api_server(server: Server, namespace: str, directory: Path) -> None:
    """It is gone for 10 s, and nobody may act meanwhile."""
    async with (
        installed(server.cluster, namespace, directory, apps=APPS, values=VALUES) as paastis,
        in_the_middle(paastis, paastis.proxy),
    ):
        await asyncio.to_thread(server.stop_api, at_once=True)
        await asyncio.sleep(10)
        await asyncio.to_thread(server.start_api)
        assert all([await pod.alive() for pod in paastis.pods])


# --- frozen


async def frozen_leader(cluster: Cluster, namespace: str, directory: Path) -> None:
    """A leader freezes for 30 s in the middle of two stops, right before a call of it.

    For `hooked` that call would be the last look before the stop is announced. For `sleeper` it is
    the stop itself: announced, sent, and refused for a bearer that is not good any more; the new
    one is on its way.
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
        except AssertionError as error:
            error.add_note(f"The scene was: {scene.__name__.replace('_', ' ')}.")
            raise

    places = [new_namespace() for _ in scenes]
    async with asyncio.TaskGroup() as group:
        for scene, place in zip(scenes, places, strict=True):
            group.create_task(played(scene, place))


@pytest.mark.timeout(240)
async def test_api_server_that_is_killed_in_the_middle_costs_nobody_an_answer(
    own_cluster: Server, tmp_path: Path
) -> None:
    own_cluster.cluster.make_namespace("shop")
    await the_api_server(own_cluster, "shop", tmp_path)
