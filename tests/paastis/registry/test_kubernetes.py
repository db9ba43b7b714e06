"""The Kubernetes kind: the contract, and what happens when the API server misbehaves.

On a stand-in of our own, which fails when told to. `tests/cluster/test_registry.py` holds the same
contract against a real API server.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paastis.registry.kubernetes import KubernetesRegistry
from tests.fakes.kube import KubeFake, fake_kube
from tests.paastis.registry.contract import PassTime, RegistryContract
from tests.paastis.registry.stage import Stage


@pytest.fixture
async def kube() -> AsyncIterator[KubeFake]:
    async with fake_kube() as kube:
        yield kube


@pytest.fixture
async def stage(kube: KubeFake, tmp_path: Path) -> AsyncIterator[Stage]:
    path = tmp_path / "kubeconfig"
    kube.write_kubeconfig(path)
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


class TestOnTheFake(RegistryContract):
    """The fixtures above."""
