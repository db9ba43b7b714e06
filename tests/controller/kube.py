"""A small API server, and the way to it that the controller has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paastis.registry.cluster import Cluster
from paastis.resources.names import Resource
from tests.controller.resources import Object
from tests.fakes.kube import KubeFake, fake_kube


@dataclass
class Kube:
    """Both, with a person's hands."""

    fake: KubeFake
    cluster: Cluster

    async def add(self, kind: Resource, resource: Object) -> Object:
        """As the API has it then."""
        metadata = {"name": resource["metadata"]["name"]}
        return await self.cluster.create(kind, {**resource, "metadata": metadata})

    async def change(self, kind: Resource, name: str, change: dict[str, Any]) -> Object:
        """A merge patch."""
        return await self.cluster.patch(kind, name, change)

    def writes(self, plural: str) -> int:
        """How many patches of such resources there were."""
        return self.fake.asked("PATCH", plural)


@asynccontextmanager
async def small_cluster(directory: Path) -> AsyncIterator[Kube]:
    """Alone for one test."""
    async with fake_kube() as fake:
        kubeconfig = directory / "kubeconfig"
        fake.write_kubeconfig(kubeconfig)
        cluster = await Cluster.connect(environ={"KUBECONFIG": str(kubeconfig)})
        try:
            yield Kube(fake, cluster)
        finally:
            await cluster.aclose()
