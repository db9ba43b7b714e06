"""A real API server with RBAC on a real etcd, as processes of this machine.

There is no kubelet, scheduler or controller-manager: objects are kept, and nothing is run.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import socket
import subprocess
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from tests.cluster.access import ApiError, Cluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

# Least privilege is judged by what service accounts asked for. Nobody else is written down.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}

# The kernel ends a program with the thread that started it (prctl(2), PR_SET_PDEATHSIG): this
# thread lives as long as its process, whichever thread asks for a start.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cluster-starter")


class Server:
    """Use it as a `with` block. After it its processes are gone; its logs stay in `directory`."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.directory = directory
        self._programs = programs
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        self._etcd_port = 0
        self._token = secrets.token_hex(16)
        self._cluster: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        """The way to it, which stays the same while the server is away."""
        assert self._cluster is not None, "start() comes first"
        return self._cluster

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(at_once=True)

    def start(self) -> None:
        """Starts both on free ports; on others when somebody took one of them meanwhile."""
        self.directory.mkdir(parents=True, exist_ok=True)
        _write_signing_key(self.directory / "service-accounts.key")
        (self.directory / "tokens.csv").write_text(f"{self._token},admin,1,system:masters\n")
        (self.directory / "audit-policy.yaml").write_text(json.dumps(AUDIT_POLICY))
        (self.directory / "audit.log").touch()
        for chance in (3, 2, 1):
            try:
                self._start_etcd()
                port = _free_port()
                self._cluster = Cluster(
                    f"https://127.0.0.1:{port}", self._token, self.directory, self._programs
                )
                self.start_api()
            except BaseException as failed:
                self.stop(at_once=True)
                if chance == 1 or not isinstance(failed, Ended):
                    raise
            else:
                break
        self.cluster.write_kubeconfig(self.cluster.kubeconfig, self._token)

    def stop(self, *, at_once: bool = False) -> None:
        """The API server first: without etcd it would hang in its shutdown for minutes."""
        self.stop_api(at_once=at_once)
        _end(self._etcd, at_once=at_once)
        self._etcd = None
        # Tens of megabytes, which pytest would keep for three runs.
        shutil.rmtree(self.directory / "etcd", ignore_errors=True)

    def stop_api(self, *, at_once: bool = False) -> None:
        """Ends the API server alone: properly, which takes seconds, or as a crash does."""
        self.thaw()
        _end(self._api, at_once=at_once)
        self._api = None

    def start_api(self) -> None:
        """Starts the API server, with the port and the data of the one before, and waits for it."""
        assert self._api is None, "it runs already"
        port = self.cluster.url.rpartition(":")[2]
        key = self.directory / "service-accounts.key"
        self._api = self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.directory / 'certificates'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self.directory / 'audit-policy.yaml'}",
            f"--audit-log-path={self.directory / 'audit.log'}",
        )
        self._wait(self._api, self._ready)

    def freeze(self) -> None:
        """The API server accepts connections and answers nothing, as on a machine in trouble."""
        assert self._api is not None, "it does not run"
        self._api.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Ends a freeze."""
        if self._api is not None:
            self._api.send_signal(signal.SIGCONT)

    def _start_etcd(self) -> None:
        self._etcd_port = _free_port()
        peers = f"http://127.0.0.1:{_free_port()}"
        clients = f"http://127.0.0.1:{self._etcd_port}"
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._wait(self._etcd, self._etcd_answers)

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.directory / f"{name}.log"
        return _STARTER.submit(_start_program, [self._programs / name, *arguments], log).result()

    def _wait(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 45
        while not ready():
            name = "kube-apiserver" if process is self._api else "etcd"
            log = self.directory / f"{name}.log"
            if process.poll() is not None:
                raise Ended(f"{name} ended with {process.returncode}:\n{_last_lines(log)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is not ready:\n{_last_lines(log)}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        try:
            return bool(self.cluster.request("GET", "/readyz", timeout=5) == "ok")
        except (OSError, ApiError):
            return False

    def _etcd_answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._etcd_port), 5):
            return True
        return False


class Ended(Exception):
    """A program gave up while it was waited for."""


def _start_program(command: list[str | Path], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
        )


def _end(process: subprocess.Popen[bytes] | None, *, at_once: bool) -> None:
    if process is None:
        return
    if not at_once:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return
    process.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_signing_key(path: Path) -> None:
    """A key for service accounts' tokens: any number is one on the curve P-256 (RFC 5915)."""
    der = bytes.fromhex("30310201010420") + secrets.token_bytes(32)
    der += bytes.fromhex("a00a06082a8648ce3d030107")
    path.touch(mode=0o600)
    path.write_text(
        f"-----BEGIN EC PRIVATE KEY-----\n{b64encode(der).decode()}\n-----END EC PRIVATE KEY-----\n"
    )


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
