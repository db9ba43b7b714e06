"""Runs what a Deployment or a Job describes as processes: a kubelet's work, without containers.

A process gets what its Pod says: arguments, environment with every `valueFrom` looked up, volumes
as folders, and a token of its own service account, in a kubeconfig. Differences from a real node:
the ports of `PORTS` are free ones of this machine, a variable that points into a volume points
into its folder, and nobody restarts what ends.

The Pod is an object in the API: it has passed admission, and can own a Lease.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp

from tests.cluster.access import ApiError
from tests.cluster.pod_spec import Json, PodSpec
from tests.end_to_end.programs import Served, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cluster.access import Cluster

PORTS = {"PORT": 3000, "ROUTING_SYSTEM_API_PORT": 3001, "CONTROLLER_PROBE_PORT": 3002}
"""The variables that say where our programs listen, with their defaults."""


class Pod(Served):
    """One process. Killed and started again, it is the same Pod, on the same ports."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Json,
        *,
        directory: Path,
        http: aiohttp.ClientSession,
        settings: Mapping[str, str],
    ) -> None:
        """`resource` is the Pod as the API has it; `settings` go before what it says."""
        spec = PodSpec(cluster, resource)
        container = spec.container
        assert container.get("command", ["paastis"]) == ["paastis"]  # the image's entry point
        name = resource["metadata"]["name"]
        namespace = resource["metadata"]["namespace"]
        home = directory / name
        home.mkdir()
        described = {port: int(spec.environment.get(key, port)) for key, port in PORTS.items()}
        ports = {key: free_port() for key in PORTS}
        given = {
            **spec.placed(home / "volumes"),
            **{key: str(port) for key, port in ports.items()},
            **settings,
        }
        if spec.service_account is not None:
            token = cluster.service_account_token(namespace, spec.service_account)
            cluster.write_kubeconfig(home / "kubeconfig", token, namespace)
            given["KUBECONFIG"] = str(home / "kubeconfig")
        super().__init__(
            name,
            http,
            arguments=container.get("args", ()),
            directory=home,
            settings=given,
            ports=(ports["PORT"], ports["ROUTING_SYSTEM_API_PORT"]),
        )
        self.resource = resource
        self._cluster = cluster
        self._container = container
        self._ports = {described[PORTS[key]]: port for key, port in ports.items()}

    @classmethod
    async def create(
        cls,
        cluster: Cluster,
        workload: Json,
        *,
        directory: Path,
        http: aiohttp.ClientSession,
        settings: Mapping[str, str] | None = None,
    ) -> Pod:
        """A new Pod of a Deployment or Job as the API has it. Its process is not launched yet."""

        def create() -> Pod:
            template = workload["spec"]["template"]
            about = workload["metadata"]
            metadata = {**template["metadata"], "generateName": f"{about['name']}-"}
            resource = cluster.request(
                "POST",
                f"/api/v1/namespaces/{about['namespace']}/pods",
                {"metadata": metadata, "spec": template["spec"]},
            )
            return cls(cluster, resource, directory=directory, http=http, settings=settings or {})

        return await asyncio.to_thread(create)

    @property
    def component(self) -> str:
        """`controller`, `proxy` or `uninstall`."""
        return str(self.resource["metadata"]["labels"]["app.kubernetes.io/component"])

    @property
    def user(self) -> str:
        """Who it is to the API server, for `cluster.audited`."""
        namespace = self.resource["metadata"]["namespace"]
        return f"system:serviceaccount:{namespace}:{self.resource['spec']['serviceAccountName']}"

    async def ready(self) -> bool:
        """What the readiness probe says; fails if the program has ended."""
        return await self._probed("readinessProbe")

    async def alive(self) -> bool:
        """What the liveness probe says; fails if the program has ended."""
        return await self._probed("livenessProbe")

    async def _probed(self, probe: str) -> bool:
        assert self.exit_code is None, self.output
        get = self._container[probe]["httpGet"]
        named = {port["name"]: port["containerPort"] for port in self._container["ports"]}
        port = self._ports[named.get(get["port"], get["port"])]
        timeout = aiohttp.ClientTimeout(total=self._container[probe]["timeoutSeconds"])
        with suppress(aiohttp.ClientConnectionError, TimeoutError):
            url = f"http://127.0.0.1:{port}{get['path']}"
            async with self._http.get(url, timeout=timeout) as answer:
                return 200 <= answer.status < 400
        return False

    def freeze(self) -> None:
        """From here on it does nothing, and does not know it."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends a freeze."""
        self.send(signal.SIGCONT)

    async def end(self, *, within: float = 15.0) -> int:
        """SIGTERM, as in a rollout; its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended(within=within)

    async def remove(self) -> None:
        """Its node died, and somebody deleted it: what it owned is gone, too."""
        await self.kill()
        await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        namespace, uid = self.resource["metadata"]["namespace"], self.resource["metadata"]["uid"]
        self._cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{self.name}")
        # The garbage collector's work. Nothing but Leases is owned by a Pod of ours.
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        for lease in self._cluster.request("GET", leases)["items"]:
            owners = lease["metadata"].get("ownerReferences", ())
            if uid in [owner["uid"] for owner in owners]:
                with suppress(ApiError):  # it may have said goodbye
                    self._cluster.request("DELETE", f"{leases}/{lease['metadata']['name']}")
