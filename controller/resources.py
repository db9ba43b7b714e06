"""The few resources of one kind, as they were last told of: accounts, or rules.

Events may come late, twice, or never: a resource never gives way to an older version of itself, and
a full list now and then (`compare`) heals what was missed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Resource = Mapping[str, Any]


class Resources:
    """Resources by name."""

    def __init__(self) -> None:
        self._known: dict[str, Resource] = {}
        self._gone: dict[str, int] = {}
        """Names that were deleted since the last list, with the version of that."""

    def all(self) -> Mapping[str, Resource]:
        """By name; changes as events come."""
        return self._known

    def get(self, name: str) -> Resource | None:
        """The resource of that name."""
        return self._known.get(name)

    def take(self, kind: str | None, resource: Resource) -> str | None:
        """Take in an event of the watch; the name if that was news."""
        name, version = _name(resource), _version(resource)
        if version <= self._known_version(name):
            return None
        if kind == "DELETED":
            self._gone[name] = version
            return name if self._known.pop(name, None) is not None else None
        self._gone.pop(name, None)
        self._known[name] = resource
        return name

    def compare(self, listed: Sequence[Resource], version: int) -> set[str]:
        """Take in a full list as it was at that version; the names that it had news of."""
        news = {name for resource in listed if (name := self.take(None, resource)) is not None}
        present = {_name(resource) for resource in listed}
        for name in self._known.keys() - present:
            if _version(self._known[name]) <= version:
                del self._known[name]
                news.add(name)
        self._gone = {name: at for name, at in self._gone.items() if at > version}
        return news

    def _known_version(self, name: str) -> int:
        known = self._known.get(name)
        return self._gone.get(name, -1) if known is None else _version(known)


def oldest_first(resources: Iterable[Resource]) -> list[Resource]:
    """By age, then by name: everybody who sorts them comes to the same order."""
    return sorted(
        resources,
        key=lambda one: (str(one["metadata"].get("creationTimestamp", "")), _name(one)),
    )


def _name(resource: Resource) -> str:
    return str(resource["metadata"]["name"])


def _version(resource: Resource) -> int:
    return int(resource["metadata"]["resourceVersion"])
