"""What a proxy's token can do, and above all what not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.access import MERGE_PATCH, ApiError
from tests.cluster.charts import Json, Release
from tests.cluster.test_chart import APP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster

LEASES = "apis/coordination.k8s.io/v1"
APPS = "apis/paastis.io/v1alpha1"


class Caller:
    """Calls with one token in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, token: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._token = token

    def __call__(self, method: str, root: str, path: str, body: object = None) -> Any:
        return self._cluster.request(
            method,
            f"/{root}/namespaces/{self._namespace}/{path}",
            body,
            content_type=MERGE_PATCH if method == "PATCH" else "application/json",
            token=self._token,
        )


@pytest.fixture
def release(cluster: Cluster, namespace: str, crds: None) -> Iterator[Release]:
    release = Release(cluster, namespace)
    release.install({})
    admin = Caller(cluster, namespace, cluster.token)
    admin("POST", APPS, "paastisapps", APP)
    admin("PATCH", APPS, "paastisapps/my-app/status", {"status": STATUS})
    for name in ("paastis-controller", "paastis-proxy-a"):
        admin("POST", LEASES, "leases", lease(name))
    yield release
    release.uninstall()


STATUS: Json = {
    "phase": "Asleep",
    "cycle": 5,
    "snapshot": {
        "takenAt": "2026-11-24T08:00:00Z",
        "processes": [{"type": "web", "amount": 2, "size": "M"}],
        "autoscalers": [],
    },
}


def lease(name: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"holderIdentity": "somebody"}}


@pytest.fixture
def proxy(release: Release) -> Caller:
    """With the rights of the chart's Role."""
    cluster, namespace = release.cluster, release.namespace
    caller = Caller(cluster, namespace, cluster.service_account_token(namespace, "paastis-proxy"))
    _wait_for_the_policy(caller)
    return caller


@pytest.fixture
def mighty_proxy(release: Release, proxy: Caller) -> Caller:
    """Somebody gave it all rights on apps and Leases by mistake."""
    release.cluster.kubectl(
        *("create", "role", "mighty", "--namespace", release.namespace, "--verb=*"),
        "--resource=paastisapps.paastis.io,paastisapps.paastis.io/status,leases",
    )
    release.cluster.kubectl(
        *("create", "rolebinding", "mighty", "--namespace", release.namespace, "--role=mighty"),
        f"--serviceaccount={release.namespace}:paastis-proxy",
    )
    return proxy


def _wait_for_the_policy(caller: Caller) -> None:
    """The API server learns of a policy by a watch of its own."""
    deadline = time.monotonic() + 20
    change = {"phase": "Awake"}
    while _may(caller, change):
        assert time.monotonic() < deadline, "the policy does nothing"
        time.sleep(0.05)


def _may(caller: Caller, change: Json) -> bool:
    try:
        caller("PATCH", APPS, "paastisapps/my-app/status?dryRun=All", {"status": change})
    except ApiError as refused:
        if "The proxy writes" not in refused.message:
            raise
        return False
    return True


def test_proxy_writes_its_two_fields(proxy: Caller) -> None:
    said = {"lastAccessTime": "2026-11-24T08:00:00.123456Z", "wakeFor": 5}
    for change in (said, {**said, "wakeFor": 6}, {"wakeFor": None}):
        written = proxy("PATCH", APPS, "paastisapps/my-app/status", {"status": change})

    assert written["status"] == {**STATUS, "lastAccessTime": "2026-11-24T08:00:00.123456Z"}


def test_proxy_writes_the_first_status_of_an_app(release: Release, proxy: Caller) -> None:
    admin = Caller(release.cluster, release.namespace, release.cluster.token)
    spec: Json = {**APP["spec"], "appId": "another", "appName": "new"}
    admin("POST", APPS, "paastisapps", {**APP, "metadata": {"name": "new"}, "spec": spec})
    change = {"status": {"lastAccessTime": "2026-11-24T08:00:00.000001Z"}}

    assert proxy("PATCH", APPS, "paastisapps/new/status", change)["status"] == change["status"]


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "Awake"},
        {"snapshot": {"processes": []}},
        {"snapshot": None},
        {"cycle": 6, "wakeFor": 6},
        {"reason": "Idle"},
        {"phase": None},
    ],
)
def test_proxy_writes_no_other_field_of_the_status(proxy: Caller, change: Json) -> None:
    with pytest.raises(ApiError, match=r"status\.lastAccessTime and status\.wakeFor") as refused:
        proxy("PATCH", APPS, "paastisapps/my-app/status", {"status": change})

    assert refused.value.status in {403, 422}
    assert proxy("GET", APPS, "paastisapps/my-app")["status"] == STATUS


def test_proxy_changes_nothing_else_by_way_of_the_status(proxy: Caller) -> None:
    change = {
        "metadata": {"finalizers": ["example.org/a"], "labels": {"a": "b"}},
        "spec": {"power": "AlwaysOn"},
        "status": {"wakeFor": 5},
    }

    written = proxy("PATCH", APPS, "paastisapps/my-app/status", change)

    assert written["spec"].get("power") != "AlwaysOn"
    assert not {"finalizers", "labels"} & written["metadata"].keys()


@pytest.mark.parametrize(
    ("method", "root", "path", "body"),
    [
        ("PATCH", APPS, "paastisapps/my-app", {"spec": {"power": "AlwaysOn"}}),
        ("DELETE", APPS, "paastisapps/my-app", None),
        ("DELETE", APPS, "paastisapps", None),
        ("POST", APPS, "paastisapps", {**APP, "metadata": {"name": "another"}}),
        ("GET", APPS, "paastisaccounts", None),
        ("GET", "api/v1", "secrets", None),
        ("GET", "api/v1", "secrets/scalingo", None),
        ("GET", LEASES, "leases", None),
        ("PATCH", LEASES, "leases/paastis-controller", {"spec": {"holderIdentity": "me"}}),
        ("DELETE", LEASES, "leases/paastis-controller", None),
        ("POST", LEASES, "leases", lease("other")),
    ],
)
def test_proxy_is_refused(
    proxy: Caller, method: str, root: str, path: str, body: Json | None
) -> None:
    with pytest.raises(ApiError) as refused:
        proxy(method, root, path, body)

    assert refused.value.status in {403, 422}, refused.value


@pytest.mark.parametrize(
    ("method", "root", "path", "body"),
    [
        ("PATCH", APPS, "paastisapps/my-app", {"spec": {"power": "AlwaysOn"}}),
        ("PATCH", APPS, "paastisapps/my-app/status", {"status": {"phase": "Awake"}}),
        ("DELETE", APPS, "paastisapps/my-app", None),
        ("POST", APPS, "paastisapps", {**APP, "metadata": {"name": "another"}}),
        ("PATCH", LEASES, "leases/paastis-controller", {"spec": {"holderIdentity": "me"}}),
        ("DELETE", LEASES, "leases/paastis-controller", None),
        ("POST", LEASES, "leases", lease("paastis-controller-2")),
    ],
)
def test_policy_holds_even_a_proxy_with_all_rights(
    mighty_proxy: Caller, method: str, root: str, path: str, body: Json | None
) -> None:
    with pytest.raises(ApiError, match="The proxy writes") as refused:
        mighty_proxy(method, root, path, body)

    assert refused.value.status in {403, 422}


def test_proxy_keeps_its_heartbeat_and_sees_the_leader(proxy: Caller) -> None:
    proxy("POST", LEASES, "leases", lease("paastis-proxy-b"))
    proxy("PATCH", LEASES, "leases/paastis-proxy-b", {"spec": {"holderIdentity": "b"}})
    proxy("DELETE", LEASES, "leases/paastis-proxy-b")

    assert proxy("GET", LEASES, "leases/paastis-controller")["spec"]["holderIdentity"] == "somebody"


def test_policy_is_nobody_elses_business(release: Release, proxy: Caller) -> None:
    token = release.cluster.service_account_token(release.namespace, "paastis-controller")
    controller = Caller(release.cluster, release.namespace, token)

    controller("PATCH", APPS, "paastisapps/my-app/status", {"status": {"phase": "Awake"}})
    controller("PATCH", LEASES, "leases/paastis-controller", {"spec": {"holderIdentity": "me"}})
    controller("DELETE", APPS, "paastisapps/my-app")
