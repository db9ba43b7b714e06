"""What a proxy's token can do, and above all what not."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.access import MERGE_PATCH, ApiError
from tests.cluster.chart.release import APP, Json, Release

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.access import Cluster

CORE = "api/v1"
LEASES = "apis/coordination.k8s.io/v1"
APPS = "apis/paastis.io/v1alpha1"
STATUS: Json = {
    "phase": "Asleep",
    "cycle": 5,
    "snapshot": {
        "takenAt": "2026-11-24T08:00:00Z",
        "processes": [{"type": "web", "amount": 2, "size": "M"}],
        "autoscalers": [],
    },
}


class Caller:
    """Calls with one token in one namespace. `{app}` in a path is the name of the test's app."""

    def __init__(self, release: Release, token: str, app: str) -> None:
        self._release = release
        self._token = token
        self._app = app

    def __call__(self, method: str, root: str, path: str, body: object = None) -> Any:
        return self._release.cluster.request(
            method,
            f"/{root}/namespaces/{self._release.namespace}/{path.format(app=self._app)}",
            body,
            content_type=MERGE_PATCH if method == "PATCH" else "application/json",
            token=self._token,
        )


def lease(name: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"holderIdentity": "somebody"}}


@contextmanager
def installed(cluster: Cluster, prefix: str) -> Iterator[Release]:
    """For all tests of this module, which use apps of their own."""
    release = Release(cluster, f"{prefix}-{secrets.token_hex(4)}")
    cluster.make_namespace(release.namespace)
    try:
        release.install({})
        admin = Caller(release, cluster.token, "")
        admin("POST", LEASES, "leases", lease("paastis-controller"))
        yield release
        release.uninstall()
    finally:
        cluster.remove_namespace(release.namespace)


@pytest.fixture(scope="module")
def release(cluster: Cluster, crds: None) -> Iterator[Release]:
    with installed(cluster, "policy") as release:
        _wait_for_the_policy(release)
        yield release


@pytest.fixture(scope="module")
def careless_release(cluster: Cluster, crds: None) -> Iterator[Release]:
    """Somebody gave its proxies all rights on apps and Leases."""
    with installed(cluster, "careless") as release:
        cluster.kubectl(
            *("create", "role", "mighty", "--namespace", release.namespace, "--verb=*"),
            "--resource=paastisapps.paastis.io,paastisapps.paastis.io/status,leases",
        )
        cluster.kubectl(
            *("create", "rolebinding", "mighty", "--namespace", release.namespace),
            *("--role=mighty", f"--serviceaccount={release.namespace}:paastis-proxy"),
        )
        _wait_for_the_policy(release)
        yield release


def _wait_for_the_policy(release: Release) -> None:
    """The API server learns of a policy, and of rights, by watches of its own."""
    caller = _caller(release)
    change = {"status": {"phase": "Awake"}}
    deadline = time.monotonic() + 20
    while True:
        try:
            caller("PATCH", APPS, "paastisapps/{app}/status?dryRun=All", change)
        except ApiError as refused:
            if "The proxy writes" in refused.message:
                return
        assert time.monotonic() < deadline, "the policy does nothing"
        time.sleep(0.05)


def _caller(release: Release, service_account: str = "paastis-proxy") -> Caller:
    """With the token of a service account, and an app that sleeps."""
    cluster, name = release.cluster, f"app-{secrets.token_hex(4)}"
    admin = Caller(release, cluster.token, name)
    admin("POST", APPS, "paastisapps", app(name))
    admin("PATCH", APPS, "paastisapps/{app}/status", {"status": STATUS})
    token = cluster.service_account_token(release.namespace, service_account)
    return Caller(release, token, name)


def app(name: str) -> Json:
    return {
        **APP,
        "metadata": {"name": name},
        "spec": {**APP["spec"], "appId": name, "appName": name},
    }


@pytest.fixture
def proxy(release: Release) -> Caller:
    """With the rights that the chart gives it."""
    return _caller(release)


@pytest.fixture
def mighty_proxy(careless_release: Release) -> Caller:
    return _caller(careless_release)


@pytest.fixture
def controller(release: Release) -> Caller:
    return _caller(release, "paastis-controller")


def test_proxy_writes_its_two_fields(proxy: Caller) -> None:
    said = {"lastAccessTime": "2026-11-24T08:00:00.123456Z", "wakeFor": 5}
    for change in (said, {**said, "wakeFor": 6}, {"wakeFor": None}):
        written = proxy("PATCH", APPS, "paastisapps/{app}/status", {"status": change})

    assert written["status"] == {**STATUS, "lastAccessTime": "2026-11-24T08:00:00.123456Z"}


def test_proxy_writes_the_first_status_of_an_app(proxy: Caller, controller: Caller) -> None:
    controller("POST", APPS, "paastisapps", app("new"))
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
        proxy("PATCH", APPS, "paastisapps/{app}/status", {"status": change})

    assert refused.value.status == 422
    assert proxy("GET", APPS, "paastisapps/{app}")["status"] == STATUS


def test_proxy_changes_nothing_else_by_way_of_the_status(proxy: Caller) -> None:
    change = {
        "metadata": {"finalizers": ["example.org/a"], "labels": {"a": "b"}},
        "spec": {"power": "AlwaysOn"},
        "status": {"wakeFor": 5},
    }

    written = proxy("PATCH", APPS, "paastisapps/{app}/status", change)

    assert written["spec"].get("power") != "AlwaysOn"
    assert not {"finalizers", "labels"} & written["metadata"].keys()


@pytest.mark.parametrize(
    ("method", "root", "path", "body"),
    [
        ("PATCH", APPS, "paastisapps/{app}", {"spec": {"power": "AlwaysOn"}}),
        ("DELETE", APPS, "paastisapps/{app}", None),
        ("DELETE", APPS, "paastisapps", None),
        ("POST", APPS, "paastisapps", app("another")),
        ("GET", APPS, "paastisaccounts", None),
        ("GET", CORE, "secrets", None),
        ("GET", CORE, "secrets/scalingo", None),
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

    # By its role, or by the policy.
    assert refused.value.status in {403, 422}, refused.value


@pytest.mark.parametrize(
    ("method", "root", "path", "body"),
    [
        ("PATCH", APPS, "paastisapps/{app}", {"spec": {"power": "AlwaysOn"}}),
        ("PATCH", APPS, "paastisapps/{app}/status", {"status": {"phase": "Awake"}}),
        ("DELETE", APPS, "paastisapps/{app}", None),
        ("POST", APPS, "paastisapps", app("another")),
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

    assert refused.value.status == 422


def test_proxy_keeps_its_heartbeat_and_sees_the_leader(proxy: Caller) -> None:
    proxy("POST", LEASES, "leases", lease("paastis-proxy-b"))
    proxy("PATCH", LEASES, "leases/paastis-proxy-b", {"spec": {"holderIdentity": "b"}})
    proxy("DELETE", LEASES, "leases/paastis-proxy-b")

    found = proxy("GET", LEASES, "leases/paastis-controller")
    assert found["metadata"]["name"] == "paastis-controller"


def test_policy_is_nobody_elses_business(controller: Caller) -> None:
    controller("PATCH", APPS, "paastisapps/{app}/status", {"status": {"phase": "Awake"}})
    controller("PATCH", LEASES, "leases/paastis-controller", {"spec": {"holderIdentity": "me"}})
    controller("DELETE", APPS, "paastisapps/{app}")
