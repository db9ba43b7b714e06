"""Installed, changed, removed."""

from __future__ import annotations

import json
import threading
import time
from copy import deepcopy

import pytest

from tests.charts.values import EVERYTHING, SCALINGO, Values, switched, with_switches
from tests.cluster.access import MERGE_PATCH, ApiError
from tests.cluster.chart.release import APP, Json, Release


@pytest.mark.usefixtures("crds")
def test_release_is_installed_changed_and_removed(release: Release) -> None:
    notes = release.install({"accounts": {"main": SCALINGO}})
    assert f"kubectl get paastisapps -n {release.namespace} -o wide" in notes
    assert "--reset-then-reuse-values --set accounts.main.mode=Manage" in notes
    assert "kubectl apply --server-side -f charts/paastis/crds/" in notes
    first = release.objects()
    assert "PaastisAccount/main" in first
    release.cluster.kubectl(
        "apply", "--namespace", release.namespace, "--filename=-", input=json.dumps(APP)
    )

    everything = with_switches(deepcopy(EVERYTHING), on=True)
    # Installed for real, it would take the port from the tests beside, which only ask for it.
    del everything["proxy"]["service"]["nodePort"]
    for needs_others in ("httpRoute", "serviceMonitor"):
        everything = switched(everything, f"{needs_others}.enabled", on=False)
    release.upgrade(everything)
    changed = release.objects()
    assert {"Ingress/paastis-proxy", "PaastisAccount/made", "PaastisRule/staging"} <= set(changed)
    assert "PaastisAccount/main" not in changed

    release.upgrade({"accounts": {"main": SCALINGO}})
    assert release.objects() == first

    release.uninstall()
    assert release.objects() == []
    release.cluster.kubectl("delete", "papp/my-app", "-n", release.namespace, "--timeout=10s")


@pytest.mark.usefixtures("crds")
def test_two_releases_live_in_two_namespaces(release: Release) -> None:
    cluster, name = release.cluster, f"{release.namespace}-2"
    cluster.make_namespace(name)
    other = Release(cluster, name)
    try:
        release.install({"accounts": {"main": SCALINGO}})
        other.install({"accounts": {"main": SCALINGO}})
        release.uninstall()
        assert other.objects()
        other.uninstall()
        assert other.objects() == []
    finally:
        cluster.remove_namespace(name)


WAKING: Values = {"accounts": {"main": SCALINGO}, "wakeOnUninstall": {"enabled": True}}


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("works", [True, False], ids=["all awake", "something sleeps on"])
def test_uninstall_waits_until_everything_is_awake(release: Release, works: bool) -> None:
    release.install(WAKING)
    before = release.objects()
    done: list[int] = []

    def uninstall() -> None:
        done.append(release.uninstall("--timeout=45s", check=False).returncode)

    helm = threading.Thread(target=uninstall)
    helm.start()
    try:
        job = _wait_for_job(release)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["wake-all", "--wait", "10m"]
        assert release.objects() == sorted(
            [
                *before,
                "Job/paastis-uninstall",
                "Role/paastis-uninstall",
                "RoleBinding/paastis-uninstall",
                "ServiceAccount/paastis-uninstall",
            ]
        )
        assert not done, "it waits"
        _end_job(release, job, works=works)
    finally:
        helm.join(timeout=50)

    if works:
        assert done == [0]
        assert release.objects() == []
    else:
        assert done != [0]
        assert set(before) <= set(release.objects()), "the installation is as it was"
        assert "Job/paastis-uninstall" in release.objects(), "its log tells what sleeps"


def _wait_for_job(release: Release) -> Json:
    path = f"/apis/batch/v1/namespaces/{release.namespace}/jobs/paastis-uninstall"
    deadline = time.monotonic() + 20
    while True:
        try:
            found: Json = release.cluster.request("GET", path)
        except ApiError:
            assert time.monotonic() < deadline, "there is no Job"
            time.sleep(0.05)
        else:
            return found


def _end_job(release: Release, job: Json, *, works: bool) -> None:
    """What the Job controller says once the pod has ended."""
    about = {"status": "True", "lastTransitionTime": "2026-11-24T08:00:00Z"}
    last = "Complete" if works else "Failed"
    before = "SuccessCriteriaMet" if works else "FailureTarget"
    status: Json = {
        "startTime": "2026-11-24T07:59:00Z",
        "conditions": [{"type": kind, **about} for kind in (before, last)],
        ("succeeded" if works else "failed"): 1,
    }
    if works:
        status["completionTime"] = "2026-11-24T08:00:00Z"
    path = f"/apis/batch/v1/namespaces/{release.namespace}/jobs/{job['metadata']['name']}/status"
    release.cluster.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
