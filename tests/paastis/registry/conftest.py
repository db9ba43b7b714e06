"""A fake API server, and what is made on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.kube import KubeFake, fake_kube
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
