"""What tests on a real cluster start from; nothing is started unless a test asks for it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.cluster import shared, tools
from tests.cluster.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cluster.access import Cluster


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m 'not cluster'` leaves out whatever needs one."""
    for item in items:
        if "cluster_programs" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


def _found(*names: str) -> Path:
    folder = tools.folder()
    absent = tools.missing(folder, names)
    if absent:
        line = (
            f"{', '.join(absent)} cannot be found in {folder}: "
            "make cluster-tools builds a cluster to test with, or name its folder in "
            "KUBEBUILDER_ASSETS"
        )
        if os.environ.get("PAASTIS_REQUIRE_ALL") == "1":
            pytest.fail(line)
        pytest.skip(line)
    return folder


@pytest.fixture(scope="session")
def cluster_programs() -> Path:
    """The folder of kube-apiserver, etcd, kubectl and helm; skips without one of them."""
    return _found(*tools.PROGRAMS)


@pytest.fixture(scope="session")
def cluster(
    cluster_programs: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Cluster:
    """The run's one cluster, which every test shares: work in `namespace`, and never stop it."""
    base, run = tmp_path_factory.getbasetemp(), os.getpid()
    if hasattr(request.config, "workerinput"):  # of pytest-xdist: one of several processes
        base, run = base.parent, os.getppid()
    return shared.join(base / "cluster", cluster_programs, run)


@pytest.fixture
def new_namespace(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Makes namespaces in the shared cluster; with all that is in them, they end with the test."""
    made: list[str] = []

    def new() -> str:
        name = f"test-{secrets.token_hex(4)}"
        cluster.make_namespace(name)
        made.append(name)
        return name

    yield new
    for name in made:
        cluster.remove_namespace(name)


@pytest.fixture
def namespace(new_namespace: Callable[[], str]) -> str:
    """A new namespace in the shared cluster; with all that is in it, it is gone after the test."""
    return new_namespace()


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> None:
    """Our own resources can be used in the shared cluster."""
    cluster.apply_crds(tools.OUR_CRDS)


@pytest.fixture(scope="session")
def http_routes(cluster: Cluster) -> None:
    """HTTPRoutes of the Gateway API can be used in the shared cluster."""
    cluster.apply_crds(_found(tools.HTTP_ROUTES) / tools.HTTP_ROUTES)


@pytest.fixture(scope="session")
def service_monitors(cluster: Cluster) -> None:
    """ServiceMonitors of the Prometheus operator can be used in the shared cluster."""
    cluster.apply_crds(_found(tools.SERVICE_MONITORS) / tools.SERVICE_MONITORS)


@pytest.fixture
def own_cluster(cluster_programs: Path, tmp_path: Path) -> Iterator[Server]:
    """A server for this test alone, which it may stop, start and freeze; `.cluster` is the way to it.

    It has no resources of ours: `own_cluster.cluster.apply_crds(tools.OUR_CRDS)` adds them.
    """
    with Server(tmp_path / "cluster", cluster_programs) as server:
        yield server
