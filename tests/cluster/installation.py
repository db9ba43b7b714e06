"""Installs the chart for real, and runs its programs as processes on a simulated provider.

    async with installed(cluster, namespace, tmp_path, apps=[app("shop")]) as paastis:
        await paastis.reaches("shop", "Asleep", within=90)
        assert (await paastis.proxy.visit("shop")).status == 200
        assert await paastis.sim.formation("shop") == {"web": (1, "M")}

`helm install` runs with the values of `QUICK`, one account in mode Manage that points at the
simulator, and the test's own values over both. Then every Deployment is read back from the API and
as many of its Pods run as it has replicas (tests/cluster/pods.py), each under the rights of its own
service account. Remember that a new leader stops nothing for its first 60 seconds.

- The resources: `paastis.app(name)`, `paastis.apps()`, `paastis.get("paastisrules/NAME")`,
  `paastis.events(name)`;
  `paastis.reaches(name, *phases)`, `.has_condition(…)` and `.are_told(name, *reasons)` wait.
- A person's hand: `paastis.kubectl(…)`, `paastis.apply(manifest)`, `paastis.patch(what, change)`;
  at the provider `paastis.sim` (tests/end_to_end/programs.py), which also has calls and faults.
- More accounts: `paastis.provider(name, apps=…)`, `account_manifests(…)`.
- The programs: `paastis.proxy`, `paastis.proxies`, `paastis.controller`, `paastis.controllers`;
  `await pod.kill()`, `.start()`, `.end()`, `.ready()`, `.alive()`; `pod.freeze()`, `pod.thaw()`,
  `pod.output`; `await paastis.scale("proxy", by=1)` adds one, `.remove(pod)` takes its Pod away.
- Visitors: `proxy.visit(app, path, headers=BROWSER)`, `paastis.websocket(app, proxy=…)`.
- `paastis.watching("paastisapps")` is `kubectl get --watch`, with the phases of each app.
- `paastis.helm(…)` runs helm, and meanwhile the Jobs of its hooks; `upgrade`, `rollout`, `uninstall`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tests.cluster.access import MERGE_PATCH
from tests.cluster.jobs import run_jobs
from tests.cluster.pods import Pod
from tests.cluster.resources import Resources
from tests.end_to_end.programs import TOKEN, Json, Simulator, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.cluster.access import Cluster
    from tests.cluster.relay import Relay

CHART = Path(__file__).parents[2] / "charts" / "paastis"

QUICK: Json = {
    "settings": {"maxIdleTime": "3s", "accessResolution": "1s", "drainTime": "1s"},
    "controller": {"replicas": 1},
    "proxy": {"replicas": 1},
    "logging": {"level": "debug", "format": "text"},
}
"""Short times, and as few programs as can be."""


def account(sim: Simulator, **more: object) -> Json:
    """An account among the chart's values, with a budget that is nobody's matter."""
    return {
        "provider": "scalingo",
        "mode": "Manage",
        "apiUrl": sim.url,
        "authUrl": sim.url,
        "callsPerMinute": 6000,
        "discoveryInterval": "10s",
        "credentials": {"apiToken": TOKEN},
        **more,
    }


def account_manifests(
    name: str, sim: Simulator, *, token: str = TOKEN, **more: object
) -> list[Json]:
    """A PaastisAccount and its Secret `NAME-token`, to be applied.

    The controller may read that Secret if the values' `credentialSecrets` name it.
    """
    spec = account(sim, **more)
    del spec["credentials"]
    secret = f"{name}-token"
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret},
            "stringData": {"apiToken": token},
        },
        {
            "apiVersion": "paastis.io/v1alpha1",
            "kind": "PaastisAccount",
            "metadata": {"name": name},
            "spec": {**spec, "credentialsSecretRef": {"name": secret}},
        },
    ]


class Installation(Resources):
    """A release of the chart with its processes."""

    def __init__(
        self, cluster: Cluster, namespace: str, world: World, http: aiohttp.ClientSession
    ) -> None:
        super().__init__(cluster, namespace, world.directory, http)
        self.values: Json = {}
        self._world = world

    # --- the programs

    @property
    def sim(self) -> Simulator:
        """The provider."""
        return self._world.sim

    @property
    def pods(self) -> list[Pod]:
        """All that were created and not removed, dead ones included."""
        return [program for program in self._world.programs if isinstance(program, Pod)]

    @property
    def proxies(self) -> list[Pod]:
        """Oldest first."""
        return [pod for pod in self.pods if pod.component == "proxy"]

    @property
    def controllers(self) -> list[Pod]:
        """Oldest first."""
        return [pod for pod in self.pods if pod.component == "controller"]

    @property
    def proxy(self) -> Pod:
        """The first."""
        return self.proxies[0]

    @property
    def controller(self) -> Pod:
        """The first."""
        return self.controllers[0]

    async def provider(self, name: str, *, apps: Sequence[Json]) -> Simulator:
        """One more simulated provider, with apps of its own; see `account_manifests`."""
        directory = self.directory / name
        directory.mkdir()
        sim = Simulator(directory, self._http, apps=apps, options=self._world.options)
        self._world.programs.append(sim)
        await sim.start()
        return sim

    async def deployment(self, component: str) -> Json:
        """As the API has it."""
        found: Json = await self.request(
            "GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments/paastis-{component}"
        )
        return found

    async def scale(
        self, component: str, *, by: int, relay: Relay | None = None, **settings: str
    ) -> list[Pod]:
        """More Pods of a Deployment, ready; `settings` go before its environment.

        With a `relay` they reach the API server through that, which then leads there.
        """
        workload = await self.deployment(component)
        cluster = self.cluster
        if relay is not None:
            relay.to = int(cluster.url.rpartition(":")[2])
            cluster = replace(cluster, url=f"https://127.0.0.1:{relay.port}")
        pods = [
            await Pod.create(
                cluster,
                workload,
                directory=self.directory,
                http=self._http,
                settings=settings,
            )
            for _ in range(by)
        ]
        self._world.programs += pods
        await asyncio.gather(*(pod.start() for pod in pods))
        return pods

    async def run(self) -> None:
        """As many Pods as the Deployments ask for."""
        async with asyncio.TaskGroup() as group:
            for component in ("controller", "proxy"):
                replicas = (await self.deployment(component))["spec"]["replicas"]
                group.create_task(self.scale(component, by=replicas))

    async def rollout(self) -> None:
        """New Pods of the Deployments as they are now; when they are ready, the old ones end."""
        old = self.pods
        await self.run()
        for pod in old:
            assert await pod.end() == 0, pod.output
            await self.remove(pod)

    async def remove(self, pod: Pod) -> None:
        """The Pod is gone, however its process is doing."""
        await pod.remove()
        self._world.programs.remove(pod)

    # --- helm

    async def helm(self, *arguments: str | Path, check: bool = True) -> str:
        """Run helm in the namespace, with its hooks' Jobs run as Pods; what it said."""
        jobs = asyncio.create_task(
            run_jobs(self.cluster, self.namespace, directory=self.directory, http=self._http)
        )
        command = (*arguments, f"--namespace={self.namespace}")
        try:
            done = await asyncio.to_thread(self.cluster.helm, *command, check=check)
        finally:
            jobs.cancel()
            with suppress(asyncio.CancelledError):
                await jobs
        return done.stdout + done.stderr

    async def install(self, values: Json) -> None:
        """`helm install` with exactly these values. Nothing runs yet."""
        await self.helm("install", "paastis", CHART, "--values", self._written(values))

    async def upgrade(self, values: Json) -> None:
        """`helm upgrade` with exactly these values; what runs goes on, see `rollout`."""
        await self.helm("upgrade", "paastis", CHART, "--values", self._written(values))

    async def uninstall(self) -> None:
        """`helm uninstall`; what runs goes on."""
        await self.helm("uninstall", "paastis")

    def _written(self, values: Json) -> Path:
        self.values = values
        path = self.directory / "values.yaml"
        path.write_text(json.dumps(values), encoding="utf-8")
        return path

    # --- visitors

    @asynccontextmanager
    async def websocket(
        self, name: str, *, proxy: Pod | None = None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to an app that echoes, open after its first echo."""
        through = proxy or self.proxy
        async with self._http.ws_connect(f"{through.url}/ws", headers=through.host(name)) as ws:
            await ws.send_str("hello")
            await ws.receive_str(timeout=5)
            yield ws


def merged(first: Json, second: Json) -> Json:
    """Both, the second over the first, as helm merges values."""
    both = dict(first)
    for key, value in second.items():
        before = both.get(key)
        both[key] = (
            merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return both


@asynccontextmanager
async def installed(
    cluster: Cluster,
    namespace: str,
    directory: Path,
    *,
    apps: Sequence[Json] | None = None,
    options: Sequence[str] = (),
    values: Json | None = None,
    running: bool = True,
) -> AsyncIterator[Installation]:
    """The chart installed in a namespace that exists, its programs ready unless told otherwise.

    `apps` and `options` are the simulator's; `values` go over `QUICK` and the account `main`.
    """
    timeout = aiohttp.ClientTimeout(total=55)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http,
        World(directory / "world", http, apps=apps, options=(*World.options, *options)) as world,
    ):
        paastis = Installation(cluster, namespace, world, http)
        label = {"pod-security.kubernetes.io/enforce": "restricted"}
        await paastis.request(
            "PATCH",
            f"/api/v1/namespaces/{namespace}",
            {"metadata": {"labels": label}},
            content=MERGE_PATCH,
        )
        given = {**QUICK, "accounts": {"main": account(world.sim)}}
        await paastis.install(merged(given, values or {}))
        try:
            if running:
                await paastis.run()
            yield paastis
        finally:
            for pod in paastis.pods:
                await pod.kill()
            # Some of it belongs to the whole cluster, which others share.
            await paastis.helm("uninstall", "paastis", "--no-hooks", check=False)
