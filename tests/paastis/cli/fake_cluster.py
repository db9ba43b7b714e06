"""The API server in a dict, as far as the command line asks: list, get and merge patches."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from paastis.errors import Conflict, Missing, RegistryError
from paastis.registry.answers import Listing
from paastis.resources.names import ACCOUNTS, APPS, Resource
from paastis.resources.writing import spec_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paastis.app import App


def app_resource(app: App) -> dict[str, Any]:
    """A PaastisApp that says what the record says."""
    return {
        "metadata": {"name": app.name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec_of(app),
        "status": status_of(app, ()),
    }


def account_resource(name: str = "main", **status: Any) -> dict[str, Any]:
    """A PaastisAccount that is managed and well."""
    return {
        "metadata": {"name": name},
        "spec": {"provider": "scalingo", "mode": "Manage"},
        "status": {"reachable": True, "lastCompleteListing": "2026-03-04T11:59:00Z", **status},
    }


class FakeCluster:
    """Versions grow with each write; `before` is called with each call's verb first."""

    def __init__(self, namespace: str = "paastis") -> None:
        self.namespace = namespace
        self.version = 100
        self.before: Callable[[str], None] = lambda verb: None
        self.calls: list[tuple[str, str, str]] = []
        self.objects: dict[Resource, dict[str, dict[str, Any]]] = {APPS: {}, ACCOUNTS: {}}

    def put(self, resource: Resource, body: Mapping[str, Any]) -> None:
        """What others write."""
        self.version += 1
        kept = deepcopy(dict(body))
        kept["metadata"]["resourceVersion"] = str(self.version)
        self.objects[resource][kept["metadata"]["name"]] = kept

    async def list(self, resource: Resource) -> Listing:
        self._call("list", resource)
        items = [deepcopy(item) for _, item in sorted(self.objects[resource].items())]
        return Listing(items, self.version)

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        self._call("get", resource, name)
        return deepcopy(self._known(resource, name))

    async def patch(self, resource: Resource, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._call("patch", resource, name)
        known = self._known(resource, name)
        seen = body.get("metadata", {}).get("resourceVersion")
        if seen is not None and seen != known["metadata"]["resourceVersion"]:
            raise Conflict("The Kubernetes API says 409: it changed.")
        self.put(resource, _merged(known, body))
        return deepcopy(self._known(resource, name))

    def _known(self, resource: Resource, name: str) -> dict[str, Any]:
        try:
            return self.objects[resource][name]
        except KeyError:
            raise Missing(f"The Kubernetes API says 404: there is no {name}.") from None

    def _call(self, verb: str, resource: Resource, name: str = "") -> None:
        self.before(verb)
        self.calls.append((verb, resource.plural, name))


def failing(verb: str, error: RegistryError) -> Callable[[str], None]:
    """A `before` that refuses one verb."""

    def before(asked: str) -> None:
        if asked == verb:
            raise error

    return before


def _merged(known: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7386."""
    merged = dict(known)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged
