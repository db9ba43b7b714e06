"""Everything of one kind, as it is now: in pages while there is little of it, else from a stream.

The API server reads every page but the first from its database and decodes it anew: 10,000 of our
resources in pages of 500 cost it 13 s of a core. The same told from its memory, as the beginning of a
watch, costs it one second. Servers before Kubernetes 1.32 refuse that; then there are pages.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from paastis.errors import Expired, Refused, RegistryUnavailable
from paastis.registry.answers import Listing, Object
from paastis.registry.cluster import DEADLINE, PAGE, Cluster
from paastis.resources.names import Resource

_TOLD = "k8s.io/initial-events-end"
"""Annotates the bookmark after the last of what there was."""

_PART = 100
"""Objects of a stream that are handed on at once: some 10 ms of decoding."""


async def everything(
    cluster: Cluster, resource: Resource, *, field_selector: str = "", size: int = PAGE
) -> AsyncGenerator[Listing, None]:
    """All objects in parts; the version of all is that of the last part.

    An object may be in two parts: the later one has it as it is. Raises `Expired` where what was
    told already is out of date; then it has to begin again.
    """
    pages = cluster.pages(resource, field_selector=field_selector, size=size)
    async with aclosing(pages):
        first = await anext(pages)
        begun = False
        if len(first.items) >= size:
            try:
                async with aclosing(_streamed(cluster, resource, field_selector)) as parts:
                    async for part in parts:
                        begun = True
                        yield part
            except Refused:
                if begun:
                    raise
            else:
                return
        yield first
        async for page in pages:
            yield page


async def _streamed(
    cluster: Cluster, resource: Resource, field_selector: str
) -> AsyncGenerator[Listing, None]:
    items: list[Object] = []
    events = cluster.watch(resource, version=None, field_selector=field_selector, quiet=DEADLINE)
    async with aclosing(events):
        async for event in events:
            if event.type == "DELETED":
                raise Expired(f"Some {resource.plural} went while they were listed.")
            if event.type != "BOOKMARK":
                items.append(event.object)
                if len(items) < _PART:
                    continue
            elif not _is_end(event.object):
                continue
            cluster.streams = True
            yield Listing(items, event.version)
            if event.type == "BOOKMARK":
                return
            items = []
    raise RegistryUnavailable(f"The list of {resource.plural} ended before its end.")


def _is_end(bookmark: Mapping[str, Any]) -> bool:
    return (bookmark["metadata"].get("annotations") or {}).get(_TOLD) == "true"
