"""`make cluster-tools`: builds what a real cluster is made of, once for each set of versions.

The sources come through Go's own module proxy and its checksums; see go.mod for the versions.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.tools import (
    CRDS,
    ETCD,
    GATEWAY_API,
    GO_MOD,
    HELM,
    HERE,
    HTTP_ROUTES,
    KUBERNETES,
    PROGRAMS,
    PROMETHEUS_OPERATOR,
    SERVICE_MONITORS,
    cache,
    missing,
)

PACKAGES = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
SOURCES = {
    HTTP_ROUTES: (
        f"sigs.k8s.io/gateway-api@v{GATEWAY_API}",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    SERVICE_MONITORS: (
        f"github.com/prometheus-operator/prometheus-operator@v{PROMETHEUS_OPERATOR}",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
}
NO_GO = """\
Go is needed to build the cluster that tests talk to, and there is no `go` here.
Any version from 1.19 on will do, Debian's too (package golang-go): one that is older than
Go {go} fetches that first. One that is not on the PATH: make cluster-tools GO=/path/to/go"""


def say(text: str) -> None:
    """Progress: each of the steps takes seconds to minutes."""
    print(text, flush=True)  # noqa: T201 - a program for the terminal


def wanted_go() -> str:
    """The Go version that go.mod asks for."""
    found = re.search(r"^go (\S+)", GO_MOD.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def go_version(go: str) -> tuple[int, int]:
    """(1, 19) for Go 1.19.8."""
    said = subprocess.run([go, "version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Go:
    """A Go that is new enough, or gets itself one."""

    def __init__(self, program: str) -> None:
        # Distributions say GOTOOLCHAIN=local, which forbids the fetching of a newer one.
        self.environment = {"GOTOOLCHAIN": "auto", **os.environ, "CGO_ENABLED": "0"}
        self.program = program
        if go_version(program) < (1, 21):
            self.program = self._fetched()

    def _fetched(self) -> str:
        """Go before 1.21 cannot switch to a newer one, but can fetch it: releases are modules."""
        system, machine = self._said("env", "GOOS", "GOARCH").split()
        release = f"go{wanted_go()}.{system}-{machine}"
        there = cache().parent / release
        program = there / "bin" / "go"
        self.environment.pop("GOROOT", None)
        if not program.exists():
            say(f"Fetching Go {wanted_go()}.")
            module = self.module(f"golang.org/toolchain@v0.0.1-{release}")
            with tempfile.TemporaryDirectory(dir=cache().parent) as scratch:
                copy = Path(scratch) / "go"
                # Modules carry neither modes nor nested go.mod files.
                shutil.copytree(module, copy, copy_function=shutil.copyfile)
                for path in (*copy.glob("bin/*"), *copy.glob("pkg/tool/**/*")):
                    path.chmod(0o755)
                for path in (copy / "src" / "_go.mod", copy / "src" / "cmd" / "_go.mod"):
                    path.rename(path.with_name("go.mod"))
                for path in (copy, *copy.rglob("*/")):
                    path.chmod(path.stat().st_mode | 0o700)
                copy.rename(there)
        return str(program)

    def _said(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        return done.stdout

    def module(self, module: str) -> Path:
        """Where a module's files are, fetched and compared with the public checksums."""
        with tempfile.TemporaryDirectory() as outside:  # no go.mod has a say in it
            done = subprocess.run(
                [self.program, "mod", "download", "-json", module],
                check=False,
                stdout=subprocess.PIPE,
                text=True,
                cwd=outside,
                env=self.environment,
            )
        answer = json.loads(done.stdout or "{}")
        if "Dir" not in answer:
            raise SystemExit(f"{module} could not be fetched: {answer.get('Error', 'see above')}")
        return Path(answer["Dir"])

    def build(self, name: str, into: Path) -> None:
        """One program; the versions that it tells of itself are those of go.mod."""
        if name == "helm":
            stamp = {"helm.sh/helm/v4/internal/version.version": f"v{HELM}"}
            command = ["install"]
            package = f"helm.sh/helm/v4/cmd/helm@v{HELM}"
        else:
            # Clients refuse to parse what an unstamped server calls itself.
            major, minor, _ = KUBERNETES.split(".", 2)
            stamp = {
                f"{version}.{key}": value
                for version in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
                for key, value in (
                    ("gitVersion", f"v{KUBERNETES}"),
                    ("gitMajor", major),
                    ("gitMinor", minor),
                )
            }
            command = ["build", "-o", str(into / name)]
            package = PACKAGES[name]
        flags = " ".join(["-s", "-w", *(f"-X {key}={value}" for key, value in stamp.items())])
        subprocess.run(
            [self.program, *command, "-ldflags", flags, package],
            check=True,
            cwd=HERE,
            env={**self.environment, "GOBIN": str(into)},
        )


def main() -> None:
    """Makes what is not there yet."""
    into = cache()
    needed = missing(into, (*PROGRAMS, *CRDS))
    if not needed:
        say(f"All is there: {into}")
        return
    found = shutil.which(os.environ.get("GO") or "go")
    if found is None:
        raise SystemExit(NO_GO.format(go=wanted_go()))
    into.mkdir(parents=True, exist_ok=True)
    with (into / ".lock").open("w") as lock:
        # Two that build at once would only take each other's cores.
        fcntl.flock(lock, fcntl.LOCK_EX)
        go = Go(found)
        say(
            f"Building Kubernetes {KUBERNETES}, etcd {ETCD} and helm {HELM} into {into}.\n"
            "On two cores this takes ten minutes and 6 GB of Go's caches, and is done once."
        )
        for name in missing(into, (*PROGRAMS, *CRDS)):
            began = time.monotonic()
            say(f"  {name} …")
            # A file is there when it is complete: tests may look at any moment.
            with tempfile.TemporaryDirectory(dir=into, prefix=".building-") as scratch:
                made = Path(scratch) / Path(name).name
                if name in SOURCES:
                    module, path = SOURCES[name]
                    shutil.copyfile(go.module(module) / path, made)
                else:
                    go.build(name, Path(scratch))
                (into / name).parent.mkdir(exist_ok=True)
                made.replace(into / name)
            say(f"  {name}: {time.monotonic() - began:.0f} s")
    say(f"All is there: {into}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"This did not work, see above: {' '.join(map(str, failed.cmd))}")
