"""What the chart renders, judged by helm and by a real API server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.charts.made import CHART
from tests.charts.values import EVERYTHING, Values, switched, switches, with_switches
from tests.cluster.access import ApiError
from tests.cluster.chart.release import Json, Release, pods

if TYPE_CHECKING:
    from tests.cluster.access import Cluster


@pytest.fixture
def restricted(cluster: Cluster, namespace: str) -> str:
    """A namespace that takes no pod but those of the standard `restricted`."""
    label = "pod-security.kubernetes.io/enforce"
    cluster.kubectl("label", "namespace", namespace, f"{label}=restricted")
    return namespace


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_lint_finds_nothing(release: Release, values: Values) -> None:
    said = release.helm("lint", "--strict", str(CHART), values=values).stdout

    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


def _valid(release: Release, values: Values) -> None:
    """The server takes it as it is, without a field that it does not know."""
    release.cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict"),
        *("--namespace", release.namespace, "--filename=-"),
        input=release.render(values),
    )


@pytest.mark.usefixtures("crds", "http_routes", "service_monitors")
@pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, with_switches(EVERYTHING, on=False)],
    ids=["defaults", "all on", "all off"],
)
def test_manifests_are_valid(release: Release, values: Values) -> None:
    _valid(release, values)


@pytest.mark.usefixtures("crds", "http_routes", "service_monitors")
@pytest.mark.parametrize("path", [*switches()])
def test_each_switch_can_be_off_among_others_and_on_alone(release: Release, path: str) -> None:
    everything = with_switches(EVERYTHING, on=True)
    _valid(release, switched(everything, path, on=False))
    _valid(release, switched(with_switches(EVERYTHING, on=False), path, on=True))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_pods_are_restricted(release: Release, restricted: str, values: Values) -> None:
    values = {**values, "wakeOnUninstall": {"enabled": True}}
    templates = pods(release.rendered(values))

    assert sorted(templates) == ["controller", "proxy", "uninstall"]
    for template in templates.values():
        _try_pod(release.cluster, restricted, template)


def test_server_refuses_pods_that_are_not_restricted(release: Release, restricted: str) -> None:
    values = {"proxy": {"podSecurityContext": {"runAsNonRoot": False}}}
    template = pods(release.rendered(values))["proxy"]

    with pytest.raises(ApiError, match="violates PodSecurity"):
        _try_pod(release.cluster, restricted, template)


def _try_pod(cluster: Cluster, namespace: str, template: Json) -> None:
    # Here is no scheduler that would know the class.
    spec = {key: value for key, value in template["spec"].items() if key != "priorityClassName"}
    pod = {"metadata": {**template["metadata"], "name": "tried"}, "spec": spec}
    cluster.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)


def test_only_pods_that_call_the_api_get_a_token(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)
    accounts = [found for found in manifests if found["kind"] == "ServiceAccount"]

    assert [found["automountServiceAccountToken"] for found in accounts] == [False, False, False]
    for template in pods(manifests).values():
        assert template["spec"]["automountServiceAccountToken"] is True


def test_nothing_but_the_admission_policy_belongs_to_the_whole_cluster(release: Release) -> None:
    kinds = {
        found["kind"]
        for found in release.rendered(EVERYTHING)
        if "namespace" not in found["metadata"]
    }

    assert kinds == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def test_labels_for_everything_cannot_move_a_pod_to_another_service(release: Release) -> None:
    manifests = release.rendered(EVERYTHING)

    for found in manifests:
        assert found["metadata"]["labels"]["team"] == "platform", found["kind"]
        assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "paastis"
    for found in manifests:
        if found["kind"] == "Deployment":
            selected = found["spec"]["selector"]["matchLabels"]
            labels = found["spec"]["template"]["metadata"]["labels"]
            assert selected.items() <= labels.items()


def test_proxy_gets_longer_to_end_than_its_requests(release: Release) -> None:
    template = pods(release.rendered({"proxy": {"drainTimeout": "1h1m1s"}}))["proxy"]

    assert template["spec"]["terminationGracePeriodSeconds"] == 3661 + 5 + 15


def test_release_of_another_name_has_other_names(release: Release) -> None:
    other = Release(release.cluster, release.namespace, "second.one")

    names = {found["metadata"]["name"] for found in other.rendered(EVERYTHING)}

    assert not names & {found["metadata"]["name"] for found in release.rendered({})}
    assert "second-one-paastis-proxy" in names


def _examples() -> list[Json]:
    """Of the README, and of the comments in values.yaml."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    for indent, commented in re.findall(r"^( *)# Example:\n((?: *#  .*\n)+)", values, re.MULTILINE):
        lines = [line.removeprefix(f"{indent}#   ") for line in commented.splitlines()]
        parent = "hooks:\n" if indent else ""
        blocks.append(parent + "\n".join(indent + line for line in lines))
    return [yaml.safe_load(block) for block in blocks]


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("example", _examples())
def test_examples_are_valid(release: Release, example: Json) -> None:
    if "kind" not in example:
        _valid(release, example)
    else:
        release.cluster.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--namespace", release.namespace),
            "--filename=-",
            input=json.dumps(example),
        )
