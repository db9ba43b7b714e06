"""What other tests take for granted about the cluster they talk to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster import shared, tools
from tests.cluster.access import ApiError, Cluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.server import Server

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}}


def test_server_and_clients_tell_their_versions(cluster: Cluster) -> None:
    said = json.loads(cluster.kubectl("version", "--output=json").stdout)
    assert said["serverVersion"]["gitVersion"].startswith("v1.")
    assert said["clientVersion"]["gitVersion"] == said["serverVersion"]["gitVersion"]
    assert cluster.helm("version", "--template={{.Version}}").stdout.startswith("v4.")


def test_applied_object_is_got_back(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "--filename=-", input=json.dumps(MAP))
    got = json.loads(cluster.kubectl("get", "-n", namespace, "configmap/kept", "-o=json").stdout)
    assert got["data"] == {"a": "1"}


def test_service_account_has_no_rights_unless_given(cluster: Cluster, namespace: str) -> None:
    kubeconfig = cluster.kubeconfig_for(namespace, "default")
    refused = cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig, check=False)
    assert refused.returncode != 0
    assert f"system:serviceaccount:{namespace}:default" in refused.stderr
    cluster.kubectl(
        "create", "role", "reader", "--verb=list", "--resource=configmaps", "-n", namespace
    )
    cluster.kubectl(
        *("create", "rolebinding", "reader", "-n", namespace),
        *("--role=reader", f"--serviceaccount={namespace}:default"),
    )
    cluster.kubectl("get", "configmaps", kubeconfig=kubeconfig)


def test_what_a_service_account_asked_for_is_on_record(cluster: Cluster, namespace: str) -> None:
    token = cluster.service_account_token(namespace, "default")
    with pytest.raises(ApiError, match="forbidden"):
        cluster.request("GET", f"/api/v1/namespaces/{namespace}/secrets", token=token)
    (event,) = cluster.audited(f"system:serviceaccount:{namespace}:default")
    assert (event["verb"], event["objectRef"]["resource"]) == ("list", "secrets")
    assert event["annotations"]["authorization.k8s.io/decision"] == "forbid"


def test_removed_namespace_is_gone_with_everything_in_it(cluster: Cluster) -> None:
    name = "test-removal"
    path = f"/api/v1/namespaces/{name}/configmaps"
    cluster.make_namespace(name)
    held = {"metadata": {"name": "held", "finalizers": ["example.org/held"]}}
    cluster.request("POST", path, held)
    cluster.remove_namespace(name)
    assert cluster.request("GET", path)["items"] == []
    with pytest.raises(ApiError) as gone:
        cluster.request("GET", f"/api/v1/namespaces/{name}")
    assert gone.value.status == 404


def test_resources_of_others_can_be_used(
    cluster: Cluster, namespace: str, http_routes: None, service_monitors: None
) -> None:
    kinds = "httproutes.gateway.networking.k8s.io,servicemonitors.monitoring.coreos.com"
    cluster.kubectl("get", kinds, "-n", namespace)


def test_server_that_went_away_returns_on_its_port_with_its_data(own_cluster: Server) -> None:
    cluster = own_cluster.cluster
    cluster.make_namespace("before")
    token = cluster.service_account_token("before", "default")
    own_cluster.stop_api()
    with pytest.raises(ConnectionRefusedError):
        cluster.request("GET", "/readyz")
    own_cluster.start_api()
    assert cluster.request("GET", "/api/v1/namespaces/before")["metadata"]["name"] == "before"
    with pytest.raises(ApiError) as known:  # 403: tokens from before are still known; else 401
        cluster.request("GET", "/api/v1/namespaces/before/secrets", token=token)
    assert known.value.status == 403


def test_frozen_server_answers_nothing_until_it_thaws(own_cluster: Server) -> None:
    own_cluster.freeze()
    with pytest.raises(TimeoutError):
        own_cluster.cluster.request("GET", "/readyz", timeout=0.5)
    own_cluster.thaw()
    assert own_cluster.cluster.request("GET", "/readyz") == "ok"


def test_workers_share_one_server_which_ends_with_the_run(
    cluster_programs: Path, tmp_path: Path
) -> None:
    run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        first = shared.join(tmp_path, cluster_programs, run.pid)
        assert shared.join(tmp_path, cluster_programs, run.pid) == first
        assert first.request("GET", "/readyz") == "ok"
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            first.request("GET", "/readyz", timeout=1)
        except ConnectionRefusedError:
            return
        except OSError:
            pass  # it is on its way
        time.sleep(0.05)
    pytest.fail("the server is still there")


def test_tools_folder_changes_with_their_versions() -> None:
    for version in (tools.KUBERNETES, tools.ETCD, tools.HELM):
        assert version in tools.cache().name
