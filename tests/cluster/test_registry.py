"""The Kubernetes kind of registry on a real API server: the whole contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.paastis.registry.contract import (
    DurableContract,
    PassTime,
    Program,
)
from tests.paastis.registry.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from paastis.registry.kubernetes import KubernetesRegistry
    from paastis.registry.port import Registry
    from tests.cluster.access import Cluster


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
