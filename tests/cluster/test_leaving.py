"""A release changes while its programs run, and leaves with everything awake and nothing behind."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.chart.release import Release
from tests.cluster.installation import Installation, account, installed
from tests.cluster.resources import condition
from tests.end_to_end.programs import Json, app, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.access import Cluster

WHOLE = {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}
STOPPED = {kind: (0, size) for kind, (_, size) in WHOLE.items()}

SHOP: Json = {
    "name": "shop",
    "formation": {kind: {"amount": n, "size": size} for kind, (n, size) in WHOLE.items()},
    "autoscalers": [{"type": "web", "min": 2, "max": 4}],
}
SLEEPERS = ("shop", "docs", "guest")
ACCOUNTS = ("main", "more")

OBSERVING: Json = {
    "accounts": {"main": {"mode": "Observe"}},
    "rules": {"slow": {"pattern": "shop", "maxIdleTime": "1h"}},
}


def waking(*, within: str) -> Json:
    return {"wakeOnUninstall": {"enabled": True, "timeout": within}}


@pytest.mark.timeout(180)
async def test_release_is_upgraded_under_its_programs_and_leaves_with_everything_awake(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """One installation, since each stops nothing in its first minute."""
    apps = [SHOP, app("docs"), app("found-stopped", status="stopped")]
    async with installed(cluster, namespace, tmp_path, apps=apps, values=OBSERVING) as paastis:
        await is_upgraded_from_looking_to_acting(paastis)
        for name in SLEEPERS:
            await paastis.reaches(name, "Asleep", within=90)
        await stays_where_something_cannot_be_woken(paastis)
        await leaves_with_everything_awake(paastis)
        await leaves_nothing_that_holds_on(paastis)


async def is_upgraded_from_looking_to_acting(paastis: Installation) -> None:
    shop = await paastis.reaches("shop", "Awake")
    managed = condition(shop, "Managed", "False")
    assert managed is not None
    assert managed["reason"] == "Observed"
    assert shop["status"]["policy"]["rule"] == "slow"
    more = await paastis.provider("more", apps=[app("guest")])
    before = {name: await template(paastis, name) for name in ("controller", "proxy")}
    running = [(pod.name, pod.pid) for pod in paastis.pods]

    values = copy.deepcopy(paastis.values) | waking(within="2s")
    values["proxy"]["replicas"] = 3
    values["accounts"]["main"]["mode"] = "Manage"
    values["accounts"]["more"] = account(more)
    del values["rules"]["slow"]
    await paastis.upgrade(values)

    # So nothing that runs is replaced.
    assert {name: await template(paastis, name) for name in before} == before
    replicas = (await paastis.deployment("proxy"))["spec"]["replicas"]
    await paastis.scale("proxy", by=replicas - len(paastis.proxies))
    assert len(paastis.proxies) == 3

    async def taken_in() -> bool:
        now = await paastis.app("shop")
        return (
            "rule" not in now["status"]["policy"]
            and condition(now, "Managed") is not None
            and bool(await paastis.app("guest"))
        )

    await until(taken_in, what="mode, account and rule are taken in")
    for proxy in paastis.proxies:
        assert (await proxy.visit("guest")).status == 200
    assert [(pod.name, pod.pid) for pod in paastis.pods][: len(running)] == running
    assert await paastis.sim.changing_calls() == []


async def template(paastis: Installation, component: str) -> Json:
    """What a new ReplicaSet is made of; the old one goes on where it stays the same."""
    found: Json = (await paastis.deployment(component))["spec"]["template"]
    return found


async def stays_where_something_cannot_be_woken(paastis: Installation) -> None:
    """Nobody is there who could wake it; the hook waits in vain, and helm stops there."""
    asleep = {name: (await paastis.app(name))["status"] for name in SLEEPERS}
    before = await release(paastis)
    assert await paastis.controller.end() == 0

    with pytest.raises(
        AssertionError, match=r"Job/\S+/paastis-uninstall not ready\. status: Failed"
    ):
        await paastis.uninstall()

    assert set(before) <= set(await release(paastis))
    job = await paastis.kubectl("get", "job/paastis-uninstall", "--output=yaml")
    assert "3 still asleep: docs, guest, shop." in job
    assert await modes(paastis) == {"WakeAll"}

    # The way back, as the chart's README says.
    await paastis.helm("rollback", "paastis", "2", "--force-conflicts")
    assert await modes(paastis) == {"Manage"}
    await paastis.controller.start()
    assert {name: (await paastis.app(name))["status"] for name in SLEEPERS} == asleep


async def modes(paastis: Installation) -> set[str]:
    return {(await paastis.get(f"paastisaccounts/{name}"))["spec"]["mode"] for name in ACCOUNTS}


async def leaves_with_everything_awake(paastis: Installation) -> None:
    await paastis.upgrade(paastis.values | waking(within="40s"))
    assert await paastis.sim.formation("shop") == STOPPED

    await paastis.uninstall()

    assert await release(paastis) == []
    for name in ("shop", "docs"):
        assert (await paastis.sim.app(name))["status"] == "running"
    assert await paastis.sim.formation("shop") == WHOLE
    scalers = (await paastis.sim.app("shop"))["autoscalers"]
    assert [scaler["disabled"] for scaler in scalers] == [False]
    # Whatever paastis did not stop it does not start.
    assert (await paastis.sim.app("found-stopped"))["status"] == "stopped"
    assert await paastis.sim.scales("found-stopped") == []


@pytest.mark.timeout(90)
async def test_uninstall_under_running_programs_leaves_nothing_that_cannot_be_deleted(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with installed(cluster, namespace, tmp_path, apps=[app("shop")]) as paastis:
        shop = await paastis.reaches("shop", "Awake")
        assert (await paastis.proxy.visit("shop")).status == 200
        assert not {"annotations", "finalizers", "ownerReferences"} & shop["metadata"].keys()

        await paastis.uninstall()

        assert await release(paastis) == []
        assert await paastis.app("shop")
        await leaves_nothing_that_holds_on(paastis)


async def leaves_nothing_that_holds_on(paastis: Installation) -> None:
    """The programs have lost their rights by now, and end in good order nevertheless."""
    for pod in tuple(paastis.pods):
        assert await pod.end() == 0, pod.output
        assert "Traceback" not in pod.output
        await paastis.remove(pod)
    kinds = await kinds_of_a_namespace(paastis)
    left = await everything(paastis, kinds)
    assert "PaastisApp/shop" in left
    assert [name for name, resource in left.items() if resource.get("finalizers")] == []

    await paastis.kubectl("delete", kinds, "--all", "--timeout=20s")

    assert await everything(paastis, kinds) == {}
    await paastis.kubectl("get", "crd/paastisapps.paastis.io")  # helm never removes those


async def kinds_of_a_namespace(paastis: Installation) -> str:
    """All that a namespace controller would empty a namespace of."""
    said = await asyncio.to_thread(
        paastis.cluster.kubectl,
        *("api-resources", "--namespaced", "--verbs=list,delete", "--output=name"),
    )
    return ",".join(said.stdout.split())


async def everything(paastis: Installation, kinds: str) -> dict[str, Json]:
    """The metadata of whatever is in the namespace, by kind and name."""
    said = await asyncio.to_thread(
        paastis.cluster.kubectl, "get", kinds, "--output=json", "-n", paastis.namespace
    )
    found = json.loads(said.stdout)["items"]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"] for one in found}


async def release(paastis: Installation) -> list[str]:
    """What there is of the release, as kind and name."""
    return await asyncio.to_thread(Release(paastis.cluster, paastis.namespace).objects)
