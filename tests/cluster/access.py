"""A cluster as tests use it: requests, kubectl, helm, and the rights of somebody else."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The server answered, and the answer is no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Cluster:
    """One API server and its administrator; knows nothing about the processes behind it."""

    url: str
    token: str
    directory: Path
    """Where its certificate, kubeconfigs, logs and the clients' caches are."""
    programs: Path

    @property
    def certificate_authority(self) -> Path:
        """For clients: the server signed its certificate itself, and appends that authority."""
        return self.directory / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """For clients that may do everything."""
        return self.directory / "admin.kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        """For kubectl and helm: nothing of the person who runs the tests is read or written."""
        mine = {
            "KUBECONFIG": str(self.kubeconfig),
            # Answers of an earlier server on this port would be believed for hours.
            "KUBECACHEDIR": str(self.directory / "clients" / "kube"),
            "KUBECTL_KUBERC": "false",
            "HELM_CACHE_HOME": str(self.directory / "clients" / "helm-cache"),
            "HELM_CONFIG_HOME": str(self.directory / "clients" / "helm-config"),
            "HELM_DATA_HOME": str(self.directory / "clients" / "helm-data"),
        }
        return {**os.environ, **mine}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        token: str | None = None,
        timeout: float = 15,
    ) -> Any:
        """One call with the administrator's token or another: the answer's JSON, or its text.

        Raises ApiError for a refusal and OSError when nobody answers.
        """
        address = urlsplit(self.url)
        assert address.hostname is not None
        connection = http.client.HTTPSConnection(
            address.hostname,
            address.port,
            timeout=timeout,
            context=ssl.create_default_context(cafile=self.certificate_authority),
        )
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": content_type}
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), headers=headers
            )
            answer = connection.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as broken:
            raise ConnectionError(f"{path}: {broken!r}") from broken
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        said: Any = json.loads(text) if is_json else text
        if answer.status >= 400:
            raise ApiError(answer.status, said.get("message", "") if is_json else text)
        return said

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 - named as in subprocess.run
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl; a failure fails the test with what it said, unless `check` is false."""
        return self._run("kubectl", arguments, input, kubeconfig, check)

    def helm(
        self,
        *arguments: str | Path,
        input: str | None = None,  # noqa: A002 - named as in subprocess.run
        kubeconfig: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Runs helm; otherwise like `kubectl`."""
        return self._run("helm", arguments, input, kubeconfig, check)

    def _run(
        self,
        program: str,
        arguments: tuple[str | Path, ...],
        given: str | None,
        kubeconfig: Path | None,
        check: bool,
    ) -> subprocess.CompletedProcess[str]:
        environment = self.environment
        if kubeconfig is not None:
            environment["KUBECONFIG"] = str(kubeconfig)
        done = subprocess.run(
            [self.programs / program, *arguments],
            input=given if given is not None else "",
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
            env=environment,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{program} {' '.join(map(str, arguments))} failed ({done.returncode}):\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def service_account_token(self, namespace: str, name: str) -> str:
        """A token as pods get it, for an hour."""
        answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {"spec": {"expirationSeconds": 3600}},
        )
        token = answer["status"]["token"]
        assert isinstance(token, str)
        return token

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """For clients that may do what this service account may, and begin in its namespace."""
        path = self.directory / f"{namespace}.{service_account}.kubeconfig"
        token = self.service_account_token(namespace, service_account)
        self.write_kubeconfig(path, token, namespace)
        return path

    def write_kubeconfig(self, path: Path, token: str, namespace: str = "default") -> None:
        """JSON is YAML enough for every client."""
        where = {"server": self.url, "certificate-authority": str(self.certificate_authority)}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": where}],
                    "users": [{"name": "test", "user": {"token": token}}],
                    "contexts": [{"name": "test", "context": context}],
                    "current-context": "test",
                }
            )
        )

    def apply_crds(self, *paths: Path) -> None:
        """Files or folders of definitions; returns when their resources can be used.

        Several may do this at once with the same files.
        """
        files = [option for path in paths for option in ("--filename", str(path))]
        self.kubectl("apply", "--server-side", "--force-conflicts", *files)
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *files)

    def make_namespace(self, name: str, **labels: str) -> None:
        """There is no controller that adds the account `default`, so this does."""
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        self.request(
            "POST",
            f"/api/v1/namespaces/{name}/serviceaccounts",
            {"metadata": {"name": "default"}},
        )

    def remove_namespace(self, name: str) -> None:
        """What the namespace controller does elsewhere; finalizers of objects are not waited for."""
        self.request("DELETE", f"/api/v1/namespaces/{name}")
        for path in self._collections(name):
            for item in self._unless_gone("DELETE", path).get("items", []):
                if item["metadata"].get("finalizers"):
                    released = {"metadata": {"finalizers": None}}
                    self._unless_gone("PATCH", f"{path}/{item['metadata']['name']}", released)
        namespace = self.request("GET", f"/api/v1/namespaces/{name}")
        namespace["spec"]["finalizers"] = []
        self.request("PUT", f"/api/v1/namespaces/{name}/finalize", namespace)

    def _unless_gone(self, method: str, path: str, patch: object = None) -> dict[str, Any]:
        """A call about something that others may take away at this moment."""
        try:
            kind = MERGE_PATCH if patch is not None else "application/json"
            answer: dict[str, Any] = self.request(method, path, patch, content_type=kind)
        except ApiError as gone:
            if gone.status != 404:
                raise
            return {}
        return answer

    def _collections(self, namespace: str) -> list[str]:
        """The paths of everything that a namespace can hold and that can be deleted."""
        groups = self.request("GET", "/apis")["groups"]
        roots = [
            "/api/v1",
            *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups),
        ]
        return [
            f"{root}/namespaces/{namespace}/{resource['name']}"
            for root in roots
            for resource in self._unless_gone("GET", root).get("resources", [])
            if resource["namespaced"] and "deletecollection" in resource["verbs"]
        ]

    def audited(self, user: str) -> list[dict[str, Any]]:
        """What a service account's full name was seen to ask for so far, oldest first."""
        events = []
        # A line that is being written has no end yet.
        for line in (self.directory / "audit.log").read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                event = json.loads(line)
                if event["user"].get("username") == user:
                    events.append(event)
        return events
