"""Registries of the Kubernetes kind for tests, on any server that a kubeconfig names."""

import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from paastis.registry.cluster import Cluster
from paastis.registry.kubernetes import KubernetesRegistry
from paastis.registry.lease import Terms
from paastis.registry.reflector import Pace

QUICK = Terms(renew=0.05, call=0.5, look=0.05)
"""Leases last as long as ever, and are looked at more often."""

HASTY = Pace(first_pause=0.01, longest_pause=0.08)


class Clock:
    """Time that goes on by itself, and further when told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Stage:
    """Makes registries and clusters, and closes them at the end."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.clock = Clock()
        self._made = 0
        self._open = AsyncExitStack()

    async def cluster(self) -> Cluster:
        cluster = await Cluster.connect(environ={"KUBECONFIG": str(self.kubeconfig)})
        self._open.push_async_callback(cluster.aclose)
        return cluster

    async def registry(self, *, opened: bool = True, **options: Any) -> KubernetesRegistry:
        """A client of its own, as another process would have it."""
        self._made += 1
        settings: dict[str, Any] = {
            "watches": True,
            "identity": f"candidate-{self._made}",
            "rng": random.Random(self._made),
            "monotonic": self.clock,
            "pace": HASTY,
            "terms": QUICK,
        }
        registry = KubernetesRegistry(await self.cluster(), **(settings | options))
        self._open.push_async_callback(registry.aclose)
        if opened:
            await registry.open()
        return registry

    async def close(self) -> None:
        await self._open.aclose()
