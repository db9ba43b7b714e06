"""What a Pod promises its one container, looked up: environment, volumes, service account."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from tests.cluster.access import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.access import Cluster

Json = dict[str, Any]


class PodSpec:
    """Whatever it does not know, it refuses: a promise that nobody keeps would go unnoticed."""

    def __init__(self, cluster: Cluster, pod: Json) -> None:
        self._cluster = cluster
        self._pod = pod
        self._namespace = pod["metadata"]["namespace"]
        assert not pod["spec"].get("initContainers"), "nothing runs those here"
        (self.container,) = pod["spec"]["containers"]
        self.environment = dict(self._environment())

    @property
    def service_account(self) -> str | None:
        """Whose token the container gets; None: nobody's."""
        spec = self._pod["spec"]
        name = str(spec.get("serviceAccountName", "default"))
        asked = spec.get("automountServiceAccountToken")
        if asked is None:
            account = self._get("serviceaccounts", name)
            assert account is not None, f"there is no service account {name}"
            asked = account.get("automountServiceAccountToken", True)
        return name if asked else None

    def placed(self, folder: Path) -> dict[str, str]:
        """The environment with every volume in a folder of its own, and paths that lead there."""
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes", ())}
        moved = {}
        for mount in self.container.get("volumeMounts", ()):
            place = folder / mount["name"]
            place.mkdir(parents=True, exist_ok=True)
            for name, content in self._files(volumes[mount["name"]]).items():
                (place / name).write_bytes(content)
            moved[mount["mountPath"]] = place / mount.get("subPath", "")
        return {name: _moved(value, moved) for name, value in self.environment.items()}

    def _environment(self) -> Iterator[tuple[str, str]]:
        known: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            for plural, key in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
                if key in source:
                    found = self._content(plural, source[key])
                    prefix = source.get("prefix", "")
                    known |= {prefix + name: text.decode() for name, text in found.items()}
        yield from known.items()
        for variable in self.container.get("env", ()):
            given = variable.get("valueFrom")
            if given is None:
                value: str | None = _expanded(variable.get("value", ""), known)
            else:
                value = self._value(given)
            if value is not None:
                known[variable["name"]] = value
                yield variable["name"], value

    def _value(self, given: Json) -> str | None:
        """None: it is optional, and not there."""
        ((kind, source),) = given.items()
        if kind == "fieldRef":
            if source["fieldPath"] == "status.podIP":
                return "127.0.0.1"
            found: Any = self._pod
            for step in re.findall(r"\['([^']+)'\]|([^.\[]+)", source["fieldPath"]):
                found = found[step[0] or step[1]]
            return str(found)
        plural = {"configMapKeyRef": "configmaps", "secretKeyRef": "secrets"}[kind]
        content = self._content(plural, source)
        if source.get("optional") and source["key"] not in content:
            return None
        return content[source["key"]].decode()

    def _files(self, volume: Json) -> dict[str, bytes]:
        """A volume's files, by name."""
        ((kind, source),) = ((key, value) for key, value in volume.items() if key != "name")
        if kind == "emptyDir":
            return {}
        plural, key = {"configMap": ("configmaps", "name"), "secret": ("secrets", "secretName")}[
            kind
        ]
        content = self._content(plural, {**source, "name": source[key]})
        if "items" not in source:
            return content
        return {item["path"]: content[item["key"]] for item in source["items"]}

    def _content(self, plural: str, reference: Json) -> dict[str, bytes]:
        """The keys of a ConfigMap or Secret; none where that is optional and not there."""
        found = self._get(plural, reference["name"])
        if found is None:
            assert reference.get("optional"), f"{plural}/{reference['name']} is not there"
            return {}
        data = found.get("data", {})
        if plural == "secrets":
            return {name: b64decode(text) for name, text in data.items()}
        return {name: text.encode() for name, text in data.items()}

    def _get(self, plural: str, name: str) -> Json | None:
        path = f"/api/v1/namespaces/{self._namespace}/{plural}/{name}"
        try:
            found: Json = self._cluster.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return found


def _expanded(text: str, known: dict[str, str]) -> str:
    """`$(NAME)` is replaced by what was set before; `$$` is a dollar."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return known.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]+)\)", replaced, text)


def _moved(value: str, places: dict[str, Path]) -> str:
    """A path below a mount, in the folder that stands for it."""
    for mounted, place in places.items():
        if value == mounted or value.startswith(f"{mounted}/"):
            return str(place) + value.removeprefix(mounted)
    return value
