"""What becomes of a stream of everything that does not come to its end as it should."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, cast

import pytest

from paastis.errors import Expired, RegistryUnavailable
from paastis.registry.answers import Event, Listing, Object
from paastis.registry.listing import everything
from paastis.resources.names import APPS

if TYPE_CHECKING:
    from paastis.registry.cluster import Cluster


def an_object(name: str, version: int, **annotations: str) -> Object:
    return {"metadata": {"name": name, "resourceVersion": str(version), "annotations": annotations}}


def an_event(kind: str, name: str, version: int, **annotations: str) -> Event:
    return Event(kind, an_object(name, version, **annotations), version)


END = an_event("BOOKMARK", "", 9, **{"k8s.io/initial-events-end": "true"})


class ApiServer:
    """One full page, and then a stream."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.streams = False

    async def pages(self, resource: object, **_: object) -> AsyncGenerator[Listing, None]:
        yield Listing([an_object("of-the-page", 1)], 1)

    async def watch(self, resource: object, **_: object) -> AsyncGenerator[Event, None]:
        for event in self.events:
            yield event


async def told(server: ApiServer) -> list[tuple[str, int]]:
    found: dict[str, Any] = {}
    async for part in everything(cast("Cluster", server), APPS, size=1):
        for item in part.items:
            found[item["metadata"]["name"]] = int(item["metadata"]["resourceVersion"])
    return sorted(found.items())


async def test_stream_takes_the_place_of_the_page_and_tells_changes_meanwhile() -> None:
    server = ApiServer(
        an_event("ADDED", "a", 3),
        an_event("BOOKMARK", "", 4),
        an_event("MODIFIED", "a", 5),
        an_event("ADDED", "b", 6),
        END,
        an_event("ADDED", "late", 10),
    )
    assert await told(server) == [("a", 5), ("b", 6)]
    assert server.streams


async def test_what_goes_while_it_is_told_begins_all_again() -> None:
    server = ApiServer(an_event("ADDED", "a", 3), an_event("DELETED", "a", 4), END)
    with pytest.raises(Expired):
        await told(server)


async def test_stream_that_ends_too_soon_is_no_list() -> None:
    with pytest.raises(RegistryUnavailable):
        await told(ApiServer(an_event("ADDED", "a", 3)))
