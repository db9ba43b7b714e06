"""The Kubernetes kind of registry on a real API server: the whole contract."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from paastis.errors import RegistryUnavailable
from tests.cluster import tools
from tests.paastis.registry.contract import (
    NOON,
    DurableContract,
    PassTime,
    Program,
    an_app,
    until,
)
from tests.paastis.registry.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from paastis.registry.kubernetes import KubernetesRegistry
    from paastis.registry.port import Registry
    from tests.cluster.access import Cluster
    from tests.cluster.server import Server


@pytest.fixture
async def stage(
    cluster: Cluster, crds: None, namespace: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    path = tmp_path / "kubeconfig"
    cluster.write_kubeconfig(path, cluster.token, namespace)
    stage = Stage(path)
    yield stage
    await stage.close()


@pytest.fixture
async def registry(stage: Stage) -> KubernetesRegistry:
    return await stage.registry()


@pytest.fixture
async def second_view(stage: Stage) -> KubernetesRegistry:
    return await stage.registry()


@pytest.fixture
def pass_time(stage: Stage) -> PassTime:
    async def wait(seconds: float) -> None:
        stage.clock.ahead += seconds

    return wait


async def test_registry_goes_on_after_the_server_was_away(
    own_cluster: Server, tmp_path: Path
) -> None:
    cluster = own_cluster.cluster
    await asyncio.to_thread(cluster.apply_crds, tools.OUR_CRDS)
    cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster.token)
    stage = Stage(tmp_path / "kubeconfig")
    try:
        registry, other = await stage.registry(), await stage.registry()
        created = await registry.create(an_app())
        await registry.heartbeat("p1", position=0)
        await until(lambda: other.apps().get("shop") == created)
        await asyncio.to_thread(own_cluster.stop_api)
        with pytest.raises(RegistryUnavailable):
            await registry.record_access("shop", NOON)
        with pytest.raises(RegistryUnavailable):
            await registry.heartbeat("p1", position=created.version)
        assert dict(other.apps()) == {"shop": created}
        await asyncio.to_thread(own_cluster.start_api)
        used = await registry.record_access("shop", NOON)
        await until(lambda: other.apps()["shop"] == used)
        await registry.heartbeat("p1", position=used.version)
        assert [p.position for p in await other.proxies()] == [used.version]
    finally:
        await stage.close()


class TestOnACluster(DurableContract):
    """The fixtures above."""

    @pytest.fixture
    def program(self, stage: Stage) -> Program:
        opener = f"""
from pathlib import Path
from tests.paastis.registry.stage import Stage

async def opened():
    return await Stage(Path({str(stage.kubeconfig)!r})).registry()
"""

        async def reopen() -> Registry:
            return await stage.registry()

        return Program(opener, reopen)
