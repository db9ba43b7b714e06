"""Who looks on from outside: the API server's own watch, and what our programs say they have seen."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from tests.cluster.pods import Pod
from tests.cluster.resources import OURS, Resources
from tests.end_to_end.programs import Json

_FOR_EVER = aiohttp.ClientTimeout(total=None)


class Following:
    """Notes when each app was first seen to be as wanted (`time.monotonic`)."""

    def __init__(self, wanted: Callable[[Json], bool]) -> None:
        """`wanted` is given each resource, or each program's view of an app, as it is told."""
        self._wanted = wanted
        self._news = asyncio.Event()
        self.seen: dict[str, float] = {}

    def take(self, name: str, app: Json) -> None:
        """What was told."""
        if name not in self.seen and self._wanted(app):
            self.seen[name] = time.monotonic()
            self._news.set()

    async def count(self, number: int) -> None:
        """Return when so many were seen."""
        while len(self.seen) < number:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def watched(
    paastis: Resources, http: aiohttp.ClientSession, wanted: Callable[[Json], bool]
) -> AsyncIterator[Following]:
    """The PaastisApps of the namespace as the API server tells of them, from now on."""
    path = f"{OURS}/namespaces/{paastis.namespace}/paastisapps"
    now = await paastis.request("GET", f"{path}?limit=1")
    version = now["metadata"]["resourceVersion"]
    following = Following(wanted)

    async def watch() -> None:
        nonlocal version
        while True:  # the API server ends the watch of who is slow on a busy machine
            async with http.get(
                f"{paastis.cluster.url}{path}?watch=true&resourceVersion={version}",
                headers={"Authorization": f"Bearer {paastis.cluster.token}"},
                ssl=paastis.tls,
                timeout=_FOR_EVER,
            ) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(event["object"]["message"])
                    version = event["object"]["metadata"]["resourceVersion"]
                    following.take(event["object"]["metadata"]["name"], event["object"])

    async with _beside(watch()):
        yield following


@asynccontextmanager
async def told(
    program: Pod, http: aiohttp.ClientSession, token: str, wanted: Callable[[Json], bool]
) -> AsyncIterator[Following]:
    """What a program's mirror shows, as its system API tells of each change, from now on."""
    following = Following(wanted)
    begun = asyncio.Event()

    async def read() -> None:
        async with http.get(
            f"{program.system_url}/events",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_FOR_EVER,
        ) as answer:
            answer.raise_for_status()
            begun.set()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    following.take(event["name"], event["app"] or {})
        raise RuntimeError(f"{program.name} has ended its events.")

    async with _beside(read()):
        await begun.wait()
        yield following


@asynccontextmanager
async def _beside(work: "asyncio._CoroutineLike[None]") -> AsyncIterator[None]:
    """Within the block, and no longer; what befalls it befalls the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()
