"""Which programs a real cluster is made of, in which versions, and where they are.

Needs nothing but Python: `make cluster-tools` runs before anything is installed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

HERE = Path(__file__).parent
GO_MOD = HERE / "go.mod"


def _required(module: str) -> str:
    """The version of a module that go.mod asks for, without its v."""
    found = re.search(rf"^\s*{re.escape(module)} v(\S+)", GO_MOD.read_text(), re.MULTILINE)
    assert found is not None, f"{GO_MOD} does not require {module}"
    return found[1]


KUBERNETES = _required("k8s.io/kubernetes")
ETCD = _required("go.etcd.io/etcd/server/v3")
# The rest stays out of go.mod: it would move the versions that Kubernetes was released with.
HELM = "4.3.1"
GATEWAY_API = "1.6.3"
PROMETHEUS_OPERATOR = "0.85.0"

PROGRAMS = ("kube-apiserver", "etcd", "kubectl", "helm")
# Resources of others that the chart may create, or that users have beside it.
HTTP_ROUTES = f"crds/httproutes-{GATEWAY_API}.yaml"
SERVICE_MONITORS = f"crds/servicemonitors-{PROMETHEUS_OPERATOR}.yaml"
CRDS = (HTTP_ROUTES, SERVICE_MONITORS)
OUR_CRDS = HERE.parents[2] / "crds"


def cache() -> Path:
    """The folder for these versions; whether anything is in it is another question."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    versions = f"kubernetes-{KUBERNETES}_etcd-{ETCD}_helm-{HELM}"
    return Path(base) / "paastis" / "cluster-tools" / versions


def folder() -> Path:
    """Where tests look: KUBEBUILDER_ASSETS, which others use for the same purpose, or the cache."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(named) if named else cache()


def missing(where: Path, names: tuple[str, ...] = PROGRAMS) -> list[str]:
    """Those of the names that are not there."""
    return [name for name in names if not (where / name).is_file()]
