"""The chart as tests use it: rendered, installed, and its pods told from the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tests.charts.made import CHART

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping

    from tests.cluster.access import Cluster

Json = dict[str, Any]

APP: Json = {
    "apiVersion": "paastis.io/v1alpha1",
    "kind": "PaastisApp",
    "metadata": {"name": "my-app"},
    "spec": {
        "accountRef": {"name": "main"},
        "appId": "5343eccd646173000a140000",
        "region": "osc-fr1",
        "appName": "my-app",
    },
}
"""One that discovery could have found."""


@dataclass(frozen=True)
class Release:
    """A release that is in a namespace, or could be."""

    cluster: Cluster
    namespace: str
    name: str = "paastis"

    def helm(
        self,
        *arguments: str,
        values: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """helm in that namespace; `values` come by standard input, which is YAML enough."""
        given = ["--values=-"] if values is not None else []
        return self.cluster.helm(
            *arguments,
            *("--namespace", self.namespace, *given),
            input=json.dumps(values) if values is not None else None,
            check=check,
        )

    def install(self, values: Mapping[str, Any] | None = None) -> str:
        """What helm says, above all the notes."""
        return self.helm("install", self.name, str(CHART), values=values).stdout

    def upgrade(self, values: Mapping[str, Any] | None = None) -> str:
        """To exactly these values; what helm says."""
        return self.helm("upgrade", self.name, str(CHART), values=values).stdout

    def uninstall(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Everything but what helm never removes: definitions, and what was not in the release."""
        return self.helm("uninstall", self.name, *options, check=check)

    def render(self, values: Mapping[str, Any] | None = None, *options: str) -> str:
        """The manifests, of hooks too."""
        return self.helm("template", self.name, str(CHART), *options, values=values).stdout

    def rendered(self, values: Mapping[str, Any] | None = None, *options: str) -> list[Json]:
        """The same as objects."""
        return [found for found in yaml.safe_load_all(self.render(values, *options)) if found]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """What helm says to wrong values."""
        refused = self.helm("template", self.name, str(CHART), values=values, check=False)
        assert refused.returncode != 0, refused.stdout
        return refused.stderr

    def objects(self) -> list[str]:
        """What is there of the release, as kind/name."""
        found = []
        for kinds in (
            "deployments,services,serviceaccounts,roles,rolebindings,secrets,configmaps",
            "ingresses,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,jobs",
            "paastisaccounts,paastisrules,paastisapps",
            "validatingadmissionpolicies,validatingadmissionpolicybindings",
        ):
            said = self.cluster.kubectl(
                *("get", kinds, "--namespace", self.namespace, "--output=json"),
                f"--selector=app.kubernetes.io/instance={self.name}",
            ).stdout
            found += json.loads(said)["items"]
        return sorted(
            f"{item['kind']}/{item['metadata']['name']}"
            for item in found
            # Those of the whole cluster carry the namespace in their name.
            if item["metadata"].get("namespace") == self.namespace
            or item["metadata"]["name"].endswith(f".{self.namespace}")
        )


def pods(manifests: list[Json]) -> dict[str, Json]:
    """The pod template of each workload, by component."""
    return {
        found["metadata"]["labels"]["app.kubernetes.io/component"]: found["spec"]["template"]
        for found in manifests
        if found["kind"] in {"Deployment", "Job"}
    }


def environment(template: Json) -> dict[str, str]:
    """The literal variables of its container."""
    (container,) = template["spec"]["containers"]
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}
