"""Visitors who come all the time, through whichever replica answers, and what became of each."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import aiohttp

from tests.end_to_end.programs import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.cluster.pods import Pod
    from tests.end_to_end.programs import Answer

BETWEEN = 0.25
"""Seconds between two visitors of one app."""


@dataclass
class Crowd:
    """Everybody who came."""

    served: Counter[str] = field(default_factory=Counter)
    """How many visitors each app has answered."""
    put_off: Counter[str] = field(default_factory=Counter)
    """How many got our own 503 with the time to come again, for each app."""
    lost: list[str] = field(default_factory=list)
    """What the others got: the provider's page, a broken connection, a 502."""

    def note(self, app: str, answer: Answer) -> None:
        """Judge an answer."""
        if answer.status == 200 and json.loads(answer.body)["name"] == app:
            self.served[app] += 1
        elif is_honest(answer):
            self.put_off[app] += 1
        else:
            said = f"{answer.status} {dict(answer.headers)} {answer.body[:300]!r}"
            self.lost.append(f"{app}: {said} after {answer.seconds:.1f} s")


def is_honest(answer: Answer) -> bool:
    """Whether it is our own "not now", with when to come again."""
    return (
        answer.status == 503
        and answer.headers.get("Content-Type") == "application/problem+json"
        and int(answer.headers.get("Retry-After", "0")) > 0
    )


async def all_serve(proxies: Sequence[Pod], *apps: str) -> None:
    """Return when each replica knows these apps, which are awake."""
    for proxy in proxies:
        for app in apps:

            async def served(proxy: Pod = proxy, app: str = app) -> bool:
                return (await proxy.visit(app)).status == 200

            await until(served, what=f"{proxy.name} serves {app}")


async def _has_died(proxy: Pod, process: int) -> bool:
    """Whether that process is gone; its connections break a moment before."""
    for _ in range(20):
        if proxy.exit_code is not None or proxy.pid != process:
            return True
        await asyncio.sleep(0.05)
    return False


@asynccontextmanager
async def coming(proxies: Sequence[Pod], *apps: str) -> AsyncIterator[Crowd]:
    """Visitors of each app within the block; after it those who wait still get their answers.

    Fails if anybody was lost. Like browsers and balancers, a visitor whose replica dies under the
    request comes again through another.
    """
    crowd = Crowd()
    over = asyncio.Event()
    turns = count()

    async def visit(app: str) -> None:
        turn = next(turns)
        for attempt in range(len(proxies)):
            proxy = proxies[(turn + attempt) % len(proxies)]
            process = proxy.pid
            try:
                crowd.note(app, await proxy.visit(app))
            except aiohttp.ClientConnectorError:
                continue  # nobody listens there (yet), which a balancer knows
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                if await _has_died(proxy, process):
                    continue
                crowd.lost.append(f"{app}: {error!r} from {proxy.name}, which lives")
            except TimeoutError:
                crowd.lost.append(f"{app}: no answer from {proxy.name}")
            return
        crowd.lost.append(f"{app}: no replica has answered")

    async def visitors(app: str) -> None:
        async with asyncio.TaskGroup() as visits:
            while not over.is_set():
                visits.create_task(visit(app))
                try:
                    async with asyncio.timeout(BETWEEN):
                        await over.wait()
                except TimeoutError:
                    continue

    async with asyncio.TaskGroup() as group:
        for app in apps:
            group.create_task(visitors(app))
        yield crowd
        over.set()
    assert not crowd.lost, "\n".join(crowd.lost[:10])
