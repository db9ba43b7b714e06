"""What tests of the chart start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.chart.release import Release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[Release]:
    """One that is not installed yet; what it leaves in the whole cluster is removed."""
    release = Release(cluster, namespace)
    yield release
    if release.helm("list", "--short").stdout.strip():
        release.uninstall("--no-hooks")
