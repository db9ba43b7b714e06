"""The two programs on a real API server: what they follow live, how they wait, and how they end."""

from __future__ import annotations

import asyncio
import base64
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.cluster import tools
from tests.cluster.installation import Installation, account_manifests, installed
from tests.cluster.resources import condition
from tests.end_to_end.programs import TOKEN, Json, Served, app, free_port, throughout, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.access import Cluster
    from tests.cluster.server import Server

FEW_SECONDS = 6.0
"""In which every loop of the controller comes round."""


def ready(account: Json) -> tuple[str, str] | None:
    """Status and reason of an account's Ready."""
    for status in ("True", "False"):
        if found := condition(account, "Ready", status):
            return found["status"], found["reason"]
    return None


async def stands(paastis: Installation, name: str, status: str, reason: str) -> Json:
    """The account, once its Ready is so."""

    async def look() -> Json | None:
        found = await paastis.get(f"paastisaccounts/{name}")
        return found if ready(found) == (status, reason) else None

    found = await until(look, what=f"account {name} is Ready={status} ({reason})")
    assert found is not None
    return found


async def set_token(paastis: Installation, secret: str, token: str) -> None:
    encoded = base64.b64encode(token.encode()).decode()
    await paastis.patch(f"secrets/{secret}", {"data": {"apiToken": encoded}})


@pytest.mark.timeout(120)
async def test_accounts_and_their_secrets_are_followed_live(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    values: Json = {"accounts": {"main": {"mode": "Observe"}}, "credentialSecrets": ["late-token"]}
    async with installed(
        cluster, namespace, tmp_path, apps=[app("shop")], values=values
    ) as paastis:
        main = await stands(paastis, "main", "True", "Reachable")
        assert main["status"]["apps"] == 1
        assert main["status"]["observedGeneration"] == main["metadata"]["generation"]
        await paastis.reaches("shop", "Awake")

        # A token that is wrong, then right: no restart.
        other = await paastis.provider("other", apps=[app("docs")])
        await paastis.apply(*account_manifests("late", other, token="tk-us-wrong"))
        await stands(paastis, "late", "False", "CredentialsRefused")
        await set_token(paastis, "late-token", TOKEN)
        await stands(paastis, "late", "True", "Reachable")
        await paastis.reaches("docs", "Awake")

        # Its Secret goes: it can do nothing, but it is there, and awake apps are served.
        await paastis.kubectl("delete", "secret/late-token")
        await stands(paastis, "late", "False", "SecretMissing")
        assert (await paastis.app("docs"))["status"]["phase"] == "Awake"
        assert (await paastis.proxy.visit("docs")).status == 200
        await paastis.apply(account_manifests("late", other)[0])
        await stands(paastis, "late", "True", "Reachable")

        # One that the chart does not let it read.
        await paastis.apply(*account_manifests("secretive", other))
        await stands(paastis, "secretive", "False", "SecretForbidden")

        # It is what the older one is already. It adds nothing, and takes over when that goes.
        await paastis.apply(
            *account_manifests("twin", other, credentialsSecretRef={"name": "late-token"})[1:]
        )
        await paastis.patch(
            "paastisaccounts/twin", {"spec": {"credentialsSecretRef": {"name": "late-token"}}}
        )
        await stands(paastis, "twin", "False", "Duplicate")
        assert set(await paastis.apps()) == {"shop", "docs"}
        await paastis.kubectl("delete", "paastisaccount/late")
        await stands(paastis, "twin", "True", "Reachable")

        for pod in paastis.pods:
            assert TOKEN not in pod.output
            assert "Traceback" not in pod.output


@pytest.mark.timeout(120)
async def test_nothing_is_written_where_nothing_changes(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    values: Json = {"accounts": {"main": {"mode": "Observe"}}, "settings": {"maxIdleTime": "1h"}}
    async with installed(
        cluster, namespace, tmp_path, apps=[app("shop"), app("docs")], values=values
    ) as paastis:
        await stands(paastis, "main", "True", "Reachable")
        await paastis.reaches("docs", "Awake")

        def writes() -> list[str]:
            return [
                f"{event['verb']} {event['objectRef']['resource']}/{event['objectRef'].get('name')}"
                for event in cluster.audited(paastis.controller.user)
                if event["verb"] not in {"get", "list", "watch"}
                and event["objectRef"]["resource"] != "leases"
            ]

        async def quiet() -> bool:
            before = writes()
            await asyncio.sleep(2)
            return writes() == before

        await until(quiet, what="everything is written")
        before = writes()
        await throughout(
            lambda: asyncio.to_thread(lambda: writes() == before),
            what=f"nothing is written after {before}",
            seconds=FEW_SECONDS,
        )


@pytest.mark.timeout(120)
async def test_programs_end_at_once_and_give_up_what_they_hold(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    values: Json = {"controller": {"replicas": 2}, "accounts": {"main": {"mode": "Observe"}}}
    async with installed(
        cluster, namespace, tmp_path, apps=[app("shop")], values=values
    ) as paastis:
        await stands(paastis, "main", "True", "Reachable")
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

        async def holder() -> str:
            lease = await paastis.request("GET", f"{leases}/paastis-controller")
            return str(lease["spec"].get("holderIdentity") or "")

        leads = await holder()
        (leader,) = [pod for pod in paastis.controllers if leads.startswith(pod.name)]
        (other,) = [pod for pod in paastis.controllers if pod is not leader]
        for pod in paastis.controllers:
            assert await pod.alive()

        # The one that leads ends: the other follows at once, not when the Lease has run out.
        begun = asyncio.get_running_loop().time()
        assert await leader.end() == 0, leader.output

        async def taken_over() -> bool:
            return (await holder()).startswith(other.name)

        await until(taken_over, what="the other leads")
        assert asyncio.get_running_loop().time() - begun < 6

        # One that stands by ends, too.
        await leader.start()
        assert await leader.end(within=5) == 0, leader.output
        assert await other.end() == 0, other.output
        assert await holder() == ""
        assert await paastis.proxy.end() == 0, paastis.proxy.output
        found = await paastis.request("GET", leases)
        assert [one["metadata"]["name"] for one in found["items"]] == ["paastis-controller"]
        for pod in paastis.pods:
            assert "Traceback" not in pod.output
            assert "ended" in pod.output.splitlines()[-1]


async def test_system_api_only_reads_in_a_cluster(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    values: Json = {
        "accounts": {"main": {"mode": "Observe"}},
        "systemApi": {"enabled": True, "token": "a-token-for-tests"},
    }
    async with (
        installed(cluster, namespace, tmp_path, apps=[app("shop")], values=values) as paastis,
        aiohttp.ClientSession(headers={"Authorization": "Bearer a-token-for-tests"}) as http,
    ):
        await paastis.reaches("shop", "Awake")
        for pod in (paastis.proxy, paastis.controller):

            async def shown(url: str = pod.system_url) -> list[Json]:
                async with http.get(f"{url}/apps") as answer:
                    found: list[Json] = await answer.json()
                    return found

            (shop,) = await until(shown, what="the app is shown")
            assert (shop["name"], shop["phase"]) == ("shop", "Awake")
            assert shop["decision"]["message"]
            async with http.get(f"{pod.system_url}/accounts") as answer:
                (main,) = await answer.json()
                assert (main["name"], main["apps"]) == ("main", 1)
            for method, path in (
                ("POST", "/apps/shop/wake"),
                ("POST", "/apps/shop/sleep"),
                ("DELETE", "/apps"),
            ):
                async with http.request(method, pod.system_url + path) as answer:
                    assert answer.status == 409
                    assert f"-n {namespace}" in (await answer.json())["detail"]


# --- trouble at the start, and the end of the watch


@asynccontextmanager
async def program(
    word: str, cluster: Cluster, directory: Path, namespace: str
) -> AsyncIterator[tuple[Served, int]]:
    """`paastis controller` or `proxy` as the administrator, launched; and the probe's port."""
    home = directory / word
    home.mkdir()
    kubeconfig = home / "kubeconfig"
    cluster.write_kubeconfig(kubeconfig, cluster.token, namespace)
    ports, probe = (free_port(), free_port()), free_port()
    settings = {
        "REGISTRY_TYPE": "kubernetes",
        "KUBECONFIG": str(kubeconfig),
        "HOST": "127.0.0.1",
        "PORT": str(ports[0]),
        "ROUTING_SYSTEM_API_PORT": str(ports[1]),
        "CONTROLLER_PROBE_PORT": str(probe),
    }
    async with aiohttp.ClientSession() as http:
        served = Served(
            word, http, arguments=[word], directory=home, settings=settings, ports=ports
        )
        served.launch()
        try:
            yield served, probe
        finally:
            await served.kill()


async def answers(url: str) -> int:
    """The status of an answer; 0 where nobody listens."""
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(url) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0


@pytest.mark.timeout(150)
async def test_programs_wait_with_a_sentence_for_what_they_need(
    own_cluster: Server, tmp_path: Path
) -> None:
    cluster = own_cluster.cluster
    cluster.make_namespace("waiting")
    own_cluster.stop_api(at_once=True)
    async with (
        program("controller", cluster, tmp_path, "waiting") as (controller, probe),
        program("proxy", cluster, tmp_path, "waiting") as (proxy, _),
    ):
        both = (controller, proxy)

        async def told(words: str) -> bool:
            assert all(one.exit_code is None for one in both), controller.output + proxy.output
            return all(words in one.output for one in both)

        await until(lambda: told("Waiting for the Kubernetes API"), what="both say so")
        for served in both:
            assert await answers(f"{served.system_url}/readyz") == 503
            assert await answers(f"{served.system_url}/healthz") == 200
        assert await answers(f"http://127.0.0.1:{probe}/healthz") == 200

        await asyncio.to_thread(own_cluster.start_api)
        await until(lambda: told("kubectl apply --server-side -f crds/"), what="both say so")
        assert await answers(f"{proxy.system_url}/readyz") == 503

        await asyncio.to_thread(cluster.apply_crds, tools.OUR_CRDS)

        async def both_ready() -> bool:
            return await controller.ready() and await proxy.ready()

        await until(both_ready, what="both are ready", within=40)

        async def probed() -> bool:
            return await answers(f"http://127.0.0.1:{probe}/healthz") == 200

        await until(probed, what="the watch's own probe answers")
        for served in both:
            assert "Traceback" not in served.output

        # A definition goes: the watch cannot go on, and the program says so and ends.
        await asyncio.to_thread(
            cluster.kubectl, "delete", "crd", "paastisrules.paastis.io", "--wait=false"
        )
        assert await controller.ended(within=40) == 1
        assert "ended by itself" in controller.output.splitlines()[-1]
        assert await proxy.ready()


@pytest.mark.parametrize("word", ["controller", "proxy"])
async def test_program_that_waits_ends_when_it_is_told_to(
    own_cluster: Server, tmp_path: Path, word: str
) -> None:
    own_cluster.stop_api(at_once=True)
    async with program(word, own_cluster.cluster, tmp_path, "waiting") as (served, _):

        async def waits() -> bool:
            return "Waiting for the Kubernetes API" in served.output

        await until(waits, what="it waits")
        served.send(signal.SIGTERM)
        assert await served.ended(within=5) == 0, served.output


@pytest.mark.timeout(150)
async def test_programs_outlive_the_api_server_and_wake_apps_soon_after(
    own_cluster: Server, tmp_path: Path
) -> None:
    cluster = own_cluster.cluster
    cluster.make_namespace("away")
    apps = [app("shop"), app("docs", status="stopped")]
    async with installed(cluster, "away", tmp_path, apps=apps) as paastis:
        await paastis.reaches("shop", "Awake")
        await paastis.reaches("docs", "Asleep")

        await asyncio.to_thread(own_cluster.stop_api, at_once=True)

        async def served() -> bool:
            assert await paastis.controller.alive()
            return (await paastis.proxy.visit("shop")).status == 200

        await throughout(served, what="the awake app is served", seconds=15)
        await asyncio.to_thread(own_cluster.start_api)

        answer = await paastis.proxy.visit("docs")

        assert answer.status == 200
        assert answer.seconds < 20
        for pod in paastis.pods:
            assert pod.exit_code is None, pod.output
            assert "Traceback" not in pod.output
