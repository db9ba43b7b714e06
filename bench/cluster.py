"""Both programs on a real API server, as the chart installs them.

`python -m bench.cluster [PART…]`. The API server, the simulated provider and those who measure share the
machine with them, so figures are best read from a run in which nothing else happens. An installation
and its processes are made as the tests make theirs; neither tests nor measurements are part of what
is installed.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import aiohttp

from bench import rules_of_many, table, usage
from bench.many import Many
from bench.processes import Pair
from bench.wakes import BOOT, WAKES, by_turns, stopped
from tests.cluster import tools
from tests.cluster.access import Cluster
from tests.cluster.installation import Installation, installed
from tests.cluster.server import Server
from tests.end_to_end.programs import Json, until

PARTS = ("wakes", "writes", "many")
"""What can be measured; all, or those that are named on the command line."""

PART_WITHIN = 240.0
"""Seconds for each part; beyond them something is wrong, and the measuring ends."""

LOADED = 20
PROXIES = 3
LOAD = 60.0  # seconds
RESOLUTION = 10.0  # seconds

DEFAULTS: Json = {
    "settings": {"maxIdleTime": "15m", "accessResolution": f"{RESOLUTION:.0f}s", "drainTime": "5s"},
    "logging": {"level": "info", "format": "json"},
    "accounts": {"main": {"discoveryInterval": "1m"}},
}
"""The chart's own, where tests have others."""


async def wake_overhead(cluster: Cluster, directory: Path) -> None:
    """By turns: the provider alone, and a visitor through a proxy, the API server and a controller."""
    names = [f"wake-{number:02}" for number in range(2 * WAKES)]
    async with (
        aiohttp.ClientSession() as http,
        installed(
            cluster,
            _namespace(cluster, "wakes"),
            directory / "wakes",
            apps=[stopped(name) for name in names],
            options=[f"--boot-time={BOOT}s"],
            values=DEFAULTS,
        ) as paastis,
    ):
        await _known(paastis, len(names))
        alone, through = await by_turns(_as_pair(paastis, http), names)
    table.spread("the provider's start alone", alone, "ms")
    table.spread("a visitor's wake through paastis", through, "ms")
    added = [after - before for before, after in zip(alone, through, strict=True)]
    table.spread("added, pair by pair", added, "ms", limit=300)


async def registry_writes(cluster: Cluster, directory: Path) -> None:
    """Apps under load through several proxies: how often anybody writes to a record."""
    names = [f"busy-{number:02}" for number in range(LOADED)]
    values = {**DEFAULTS, "proxy": {"replicas": PROXIES}}
    values["settings"] = {**DEFAULTS["settings"], "maxIdleTime": "1m"}
    async with installed(
        cluster,
        _namespace(cluster, "writes"),
        directory / "writes",
        apps=[{"name": name} for name in names],
        values=values,
    ) as paastis:
        await _known(paastis, len(names))
        loop = asyncio.get_running_loop()
        answered = 0
        began = datetime.now().astimezone()
        ends = loop.time() + LOAD

        async def visitors(number: int) -> None:
            nonlocal answered
            while loop.time() < ends:
                for name in names:
                    answer = await paastis.proxies[number % PROXIES].visit(name)
                    answered += answer.status == 200

        await asyncio.gather(*(visitors(number) for number in range(2 * PROXIES)))
        users = {paastis.proxy.user, paastis.controller.user}
        written, refused = _status_patches(cluster, users, since=began)
    gaps = [
        (later - earlier).total_seconds()
        for times in written.values()
        for earlier, later in pairwise(times)
    ]
    spans = LOAD / RESOLUTION
    table.row(
        f"{LOADED} awake apps through {PROXIES} proxies for {LOAD:.0f} s", f"{answered} answers", ""
    )
    most = max(len(times) for times in written.values())
    table.against("writes of the busiest record in an access resolution", most / spans, "", limit=1)
    table.row(
        "least time between two writes of a record", f"{min(gaps):.1f} s", f"of {RESOLUTION:g} s"
    )
    table.row(
        "writes that met another replica's",
        f"{refused} of {refused + sum(map(len, written.values()))}",
        "",
    )


def _status_patches(
    cluster: Cluster, users: set[str], *, since: datetime
) -> tuple[dict[str, list[datetime]], int]:
    """When each record's status was written, oldest first; and how many writes were refused."""
    written: dict[str, list[datetime]] = {}
    refused = 0
    for user in users:
        for event in cluster.audited(user):
            when = datetime.fromisoformat(event["requestReceivedTimestamp"])
            about = event.get("objectRef", {})
            what = (event["verb"], about.get("resource"))
            if what != ("patch", "paastisapps") or when < since:
                continue
            if event["responseStatus"]["code"] == 200:
                written.setdefault(about["name"], []).append(when)
            else:
                refused += 1
    return {name: sorted(times) for name, times in written.items()}, refused


async def many(cluster: Cluster, directory: Path) -> None:
    """Ten thousand apps: how the programs start, rest and follow, and how a rule reaches all."""
    async with Many.installed(
        cluster, _namespace(cluster, "many"), directory / "many", DEFAULTS
    ) as apps:
        for part in (apps.discovered, apps.started, apps.idle, apps.lag):
            await _bounded(part)
        await _bounded(lambda: rules_of_many.measure(apps))


def _namespace(cluster: Cluster, name: str) -> str:
    cluster.make_namespace(name)
    return name


async def _known(paastis: Installation, number: int) -> None:
    """Every app is on record, and every proxy knows the last of them."""

    async def known() -> bool:
        apps = await paastis.apps()
        if len(apps) < number or not all(app.get("status") for app in apps.values()):
            return False
        told = [await proxy.metrics() for proxy in paastis.proxies]
        return all(usage.metric(text, "paastis_apps") == number for text in told)

    await until(known, what=f"{number} apps are known")


def _as_pair(paastis: Installation, http: aiohttp.ClientSession) -> Pair:
    proxy, sim = paastis.proxy, paastis.sim
    return Pair(sim.url, sim.front_port, proxy.port, proxy.pid, http)


async def _bounded(part: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(PART_WITHIN):
        await part()


async def measure(cluster: Cluster, directory: Path, parts: Sequence[str]) -> None:
    """The parts with these names, one after the other."""
    table.heading("on a real API server", "figure", "limit")
    if "wakes" in parts:
        await _bounded(lambda: wake_overhead(cluster, directory))
    if "writes" in parts:
        await _bounded(lambda: registry_writes(cluster, directory))
    if "many" in parts:
        await many(cluster, directory)


def main(parts: Sequence[str]) -> None:
    """Without what a cluster is made of it only says how to get that."""
    programs = tools.folder()
    if absent := tools.missing(programs):
        print(  # noqa: T201
            f"bench.cluster is left out: {', '.join(absent)} cannot be found in {programs}. "
            "`make cluster-tools` builds a cluster to measure on, or name its folder in "
            "KUBEBUILDER_ASSETS."
        )
        return
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "cluster", programs) as server:
        server.cluster.apply_crds(tools.OUR_CRDS)
        asyncio.run(measure(server.cluster, Path(name), parts))


if __name__ == "__main__":
    main(sys.argv[1:] or PARTS)
