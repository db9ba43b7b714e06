"""Each program has the rights that it uses, and no others.

An installation lives through what can befall one in a few minutes. Then the calls that each service
account made, which the API server has written down, are compared with what its Role grants.
"""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.cluster.access import MERGE_PATCH, ApiError
from tests.cluster.installation import Installation, account_manifests, installed
from tests.cluster.resources import OURS, condition
from tests.cluster.rights import Asked, Right, asked, differences, granted
from tests.end_to_end.programs import TOKEN, Json, app, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.cluster.access import Cluster
    from tests.cluster.pods import Pod

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
IDLE = [f"idle-{number}" for number in range(8)]
LASTING = [f"lasting-{number}" for number in range(8)]

VALUES: Json = {
    "controller": {"replicas": 2},
    "proxy": {"replicas": 2},
    "rules": {"lasting": {"pattern": "lasting-.*", "maxIdleTime": "1h"}},
    "credentialSecrets": ["guest-token"],
    "wakeOnUninstall": {"enabled": True, "timeout": "30s"},
}


@pytest.mark.timeout(200)
async def test_each_program_uses_every_right_of_its_role_and_asks_for_no_other(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    apps = [app(name) for name in (*IDLE, *LASTING, "doomed")]
    async with installed(
        cluster, namespace, tmp_path, apps=apps, values=VALUES, running=False
    ) as paastis:
        guest = await paastis.provider("guest", apps=[app("guest-1")])
        await paastis.apply(*account_manifests("guest", guest))
        with denials_told(paastis):
            async with labelled_at_once(paastis):
                await paastis.run()
                await paastis.reaches("lasting-0", "Awake")
                await record_is_touched_before_it_is_complete(paastis)
            async with asyncio.TaskGroup() as group:
                group.create_task(apps_come_and_go_and_get_another_name(paastis))
                group.create_task(an_account_is_changed_and_leaves(paastis))
            await statuses_and_events_tell_of_it(paastis)
            await two_proxies_wake_the_same_apps(paastis)
            await a_stand_by_takes_over(paastis)
            await a_proxy_says_goodbye(paastis)

        for account in ("paastis-controller", "paastis-proxy"):
            grants = await asyncio.to_thread(granted, cluster, namespace, account)
            uses_exactly(grants, await asked_by(paastis, account))

        # The hook's rights are gone when it has done its work.
        async with asyncio.TaskGroup() as group:
            seen = group.create_task(grants_of_the_hook(paastis))
            group.create_task(paastis.uninstall())
        uses_exactly(seen.result(), await asked_by(paastis, "paastis-uninstall"))


def uses_exactly(grants: list[Right], calls: Asked) -> None:
    assert calls.denied == frozenset()
    wrong = differences(grants, calls.calls)
    assert not wrong, "\n".join(wrong)
    # Which kinds of resources there are: kopf looks.
    assert {path.split("/")[1] for path in calls.paths} <= {"api", "apis"}, calls.paths


@contextmanager
def denials_told(paastis: Installation) -> Iterator[None]:
    """What fails for want of a right says which."""
    try:
        yield
    except BaseException as error:
        for account in ("paastis-controller", "paastis-proxy"):
            for call in asked(paastis.cluster, paastis.namespace, account).denied:
                error.add_note(f"denied to {account}: {call}")
        raise


async def asked_by(paastis: Installation, account: str) -> Asked:
    return await asyncio.to_thread(asked, paastis.cluster, paastis.namespace, account)


async def grants_of_the_hook(paastis: Installation) -> list[Right]:
    async def look() -> list[Right]:
        with suppress(ApiError):  # its binding comes after its Role, and may go before it
            return await asyncio.to_thread(
                granted, paastis.cluster, paastis.namespace, "paastis-uninstall"
            )
        return []

    return await until(look, what="the hook has its Role", within=30)


# --- what befalls the installation


@asynccontextmanager
async def labelled_at_once(paastis: Installation) -> AsyncIterator[None]:
    """Something labels each record the moment it appears, as policy engines do."""
    path = f"{OURS}/namespaces/{paastis.namespace}/paastisapps"

    async def label(name: str) -> None:
        with suppress(ApiError):  # it is gone already
            change = {"metadata": {"labels": {"team": "platform"}}}
            await paastis.request("PATCH", f"{path}/{name}", change, content=MERGE_PATCH)

    async def labels(watch: aiohttp.ClientResponse) -> None:
        async with asyncio.TaskGroup() as group:
            async for line in watch.content:
                event = json.loads(line)
                if event["type"] == "ADDED":
                    group.create_task(label(event["object"]["metadata"]["name"]))

    async with aiohttp.ClientSession() as http:

        async def begin() -> aiohttp.ClientResponse | None:
            watch = await http.get(
                f"{paastis.cluster.url}{path}?watch=true",
                headers={"Authorization": f"Bearer {paastis.cluster.token}"},
                ssl=paastis.tls,
                timeout=aiohttp.ClientTimeout(total=None),
            )
            return watch if watch.status == 200 else None

        # For a moment the API server may not know yet what was installed.
        watch = await until(begin, what="records can be watched")
        assert watch is not None
        labelling = asyncio.create_task(labels(watch))
        try:
            yield
        finally:
            labelling.cancel()
            with suppress(asyncio.CancelledError):
                await labelling


async def record_is_touched_before_it_is_complete(paastis: Installation) -> None:
    """It is created in two steps. Somebody who comes between makes the controller read it again."""
    read = Right("paastis.io", "paastisapps", "get", "")
    for _ in range(10):
        calls = (await asked_by(paastis, "paastis-controller")).calls
        if any(read.covers(call) for call in calls):
            return
        before = await paastis.apps()
        await paastis.kubectl("delete", *(f"paastisapps/{name}" for name in LASTING))
        for name in LASTING:
            await created_again(paastis, name, before[name]["metadata"]["uid"])
    pytest.fail("nobody was fast enough")


async def created_again(paastis: Installation, name: str, uid: str) -> None:
    async def look() -> bool:
        found = await paastis.app(name)
        is_complete = found.get("status", {}).get("phase") == "Awake"
        return bool(is_complete and found["metadata"]["uid"] != uid)

    await until(look, what=f"{name} is created again")


async def apps_come_and_go_and_get_another_name(paastis: Installation) -> None:
    await paastis.sim.change("DELETE", "/apps/doomed")
    await paastis.sim.change("POST", "/apps", app("lasting-new"))
    uid = (await paastis.app("lasting-1"))["metadata"]["uid"]
    await paastis.kubectl("delete", "paastisapps/lasting-1")
    await paastis.patch("paastisapps/lasting-2", {"spec": {"appName": "as-it-was-called-before"}})

    async def all_done() -> bool:
        apps = await paastis.apps()
        return (
            "doomed" not in apps
            and "lasting-new" in apps
            and apps["lasting-2"]["spec"]["appName"] == "lasting-2"
        )

    await until(all_done, what="the records are as the provider says", within=40)
    await created_again(paastis, "lasting-1", uid)


async def an_account_is_changed_and_leaves(paastis: Installation) -> None:
    await paastis.reaches("guest-1", "Awake")
    for token, ready in (("tk-us-another", "False"), (TOKEN, "True")):
        encoded = base64.b64encode(token.encode()).decode()
        await paastis.patch("secrets/guest-token", {"data": {"apiToken": encoded}})
        await paastis.has_condition("paastisaccounts/guest", "Ready", status=ready)
    await paastis.kubectl("delete", "paastisaccounts/guest")
    await paastis.reaches("guest-1", "Unmanaged")


async def statuses_and_events_tell_of_it(paastis: Installation) -> None:
    assert (await paastis.proxy.visit("lasting-3")).status == 200
    asleep = [await paastis.reaches(name, "Asleep", within=100) for name in IDLE]
    assert asleep[0]["status"]["reason"] == "Idle"
    assert "Asleep" in [reason for reason, _ in await paastis.events("idle-0")]
    rule = await paastis.get("paastisrules/lasting")
    assert rule["status"]["apps"] == len([*LASTING, "lasting-new"])
    assert condition(await paastis.get("paastisaccounts/main"), "Ready") is not None


async def two_proxies_wake_the_same_apps(paastis: Installation) -> None:
    """Where both write to a record at once, one of them has to read it again."""
    read = Right("paastis.io", "paastisapps", "get", "")
    for _ in range(5):
        await asyncio.gather(
            *(proxy.visit(name) for name in IDLE for proxy in paastis.proxies),
        )
        calls = (await asked_by(paastis, "paastis-proxy")).calls
        if any(read.covers(call) for call in calls):
            return
        for name in IDLE:
            await paastis.reaches(name, "Asleep", within=40)
    pytest.fail("they have never met")


async def leader(paastis: Installation) -> Pod:
    """Who leads, once somebody does who runs."""

    async def look() -> Pod | None:
        path = f"{LEASES.format(paastis.namespace)}/paastis-controller"
        holder = (await paastis.request("GET", path))["spec"].get("holderIdentity") or ""
        running = (pod for pod in paastis.controllers if pod.exit_code is None)
        return next((pod for pod in running if holder.startswith(f"{pod.name}_")), None)

    found = await until(look, what="one of the controllers leads")
    assert found is not None
    return found


async def a_stand_by_takes_over(paastis: Installation) -> None:
    first = await leader(paastis)
    assert await first.end() == 0, first.output
    second = await leader(paastis)
    assert second is not first
    await paastis.sim.change("POST", "/apps", app("lasting-late"))
    await until(lambda: paastis.app("lasting-late"), what="the new leader finds an app")


async def a_proxy_says_goodbye(paastis: Installation) -> None:
    gone = paastis.proxies[1]

    async def heartbeats() -> list[str]:
        leases = await paastis.request("GET", LEASES.format(paastis.namespace))
        return [lease["spec"].get("holderIdentity") for lease in leases["items"]]

    assert gone.name in await heartbeats()
    assert await gone.end() == 0, gone.output
    assert gone.name not in await heartbeats()


# --- the comparison itself

GRANTS = [
    Right("", "secrets", "get", "token"),
    Right("paastis.io", "paastisapps", "list"),
    Right("paastis.io", "paastisapps/status", "patch"),
]
CALLS = {
    Right("", "secrets", "get", "token"),
    Right("paastis.io", "paastisapps", "list"),
    Right("paastis.io", "paastisapps/status", "patch", "shop"),
}


def test_comparison_tells_of_too_much_and_of_too_little() -> None:
    assert differences(GRANTS, CALLS) == []
    assert differences([*GRANTS, Right("paastis.io", "paastisapps", "delete")], CALLS) == [
        "granted, and not used: delete paastisapps.paastis.io"
    ]
    assert differences([*GRANTS, Right("", "secrets", "get", "another")], CALLS) == [
        "granted, and not used: get secrets another"
    ]
    assert differences([*GRANTS, Right("", "secrets", "*")], CALLS) == [
        "granted, and not used: * secrets"
    ]
    assert differences(GRANTS, {*CALLS, Right("", "secrets", "get", "another")}) == [
        "used, and not granted: get secrets another"
    ]
    assert differences(GRANTS, {*CALLS, Right("", "secrets", "list")}) == [
        "used, and not granted: list secrets"
    ]
    assert differences([*GRANTS, Right("", "secrets", "get")], CALLS) == [
        "granted more than once: get secrets token"
    ]
