"""Ten thousand apps in one namespace: how the programs find them, start beside them, and rest."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from bench import table, usage
from bench.following import told, watched
from bench.wakes import stopped
from tests.cluster.access import Cluster
from tests.cluster.installation import Installation, installed, merged
from tests.cluster.pods import Pod
from tests.end_to_end.programs import Json, until

MANY = 10_000
AWAKE = [f"app-{number:05}" for number in range(9, MANY, 10)]
"""One in ten."""
ASLEEP = [f"app-{number:05}" for number in range(MANY) if number % 10 != 9]

AT_A_TIME = 40
"""Writes of ours on their way."""

REST = 60.0  # seconds
PATCHES = 200
PATCHES_EVERY = 0.05  # seconds

TOKEN = "bench"  # noqa: S105 - of a system API that lives as long as the measuring

VALUES: Json = {
    "settings": {"maxIdleTime": "12h"},  # nothing falls asleep meanwhile
    "systemApi": {"enabled": True, "token": TOKEN},
}


@dataclass(slots=True)
class Many:
    """The installation. The methods are the parts, in their order."""

    paastis: Installation
    http: aiohttp.ClientSession

    @classmethod
    @asynccontextmanager
    async def installed(
        cls, cluster: Cluster, namespace: str, directory: Path, values: Json
    ) -> AsyncIterator["Many"]:
        """Nothing runs yet but the provider, which has all apps."""
        apps: list[Json] = [*({"name": name} for name in AWAKE), *map(stopped, ASLEEP)]
        async with (
            aiohttp.ClientSession() as http,
            installed(
                cluster,
                namespace,
                directory,
                apps=apps,
                options=["--boot-time=1s"],
                values=merged(values, VALUES),
                running=False,
            ) as paastis,
        ):
            yield cls(paastis, http)

    async def discovered(self) -> None:
        """From nothing: a controller starts, lists the account and writes all records."""
        async with watched(self.paastis, self.http, lambda app: bool(app.get("status"))) as seen:
            began = time.monotonic()
            (controller,) = await self.paastis.scale("controller", by=1)
            await seen.count(MANY)
        took = max(seen.seen.values()) - began
        table.against(f"discovery of {MANY} apps, from an empty namespace", took, "s")
        table.against(
            "memory of the controller then, at its most", usage.most_memory(controller.pid), "MB"
        )
        await controller.end()
        await self.paastis.remove(controller)
        await self._live_a_little()

    async def _live_a_little(self) -> None:
        """What was found asleep is from now on what paastis has put to sleep, after use."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        formation = [{"type": "web", "amount": 1, "size": "S"}]
        used: Json = {"cycle": 3, "formation": formation, "lastAccessTime": now, "wakeFor": 2}
        used |= {"lastStartTime": now, "usualBootSeconds": 1.5}
        operation = {"id": "0123456789abcdef", "ref": "0123456789abcdef01234567"}
        operation |= {"kind": "stop", "sentAt": now, "endedAt": now}
        slept = used | {"reason": "Idle", "cycle": 4, "lastStopTime": now, "operation": operation}
        slept |= {"snapshot": {"takenAt": now, "processes": formation}}
        changes = iter([*((name, used) for name in AWAKE), *((name, slept) for name in ASLEEP)])

        async def write() -> None:
            for name, status in changes:
                await self.paastis.write_status(f"paastisapps/{name}", status)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(write())

    async def started(self) -> None:
        """Each program starts beside the records."""
        for component in ("controller", "proxy"):
            began = time.monotonic()
            (pod,) = await self.paastis.scale(component, by=1)
            took = time.monotonic() - began
            limits = (15.0, 150.0) if component == "controller" else (None, None)
            what = f"{component} beside {MANY} apps"
            table.against(f"{what}: ready after", took, "s", limit=limits[0])
            if component == "controller":
                await self._settled(pod)
                table.against(f"{what}: all decided about after", time.monotonic() - began, "s")
            table.against(f"{what}: memory", usage.memory(pod.pid), "MB", limit=limits[1])
            table.against(f"{what}: memory at its most", usage.most_memory(pod.pid), "MB")

    async def _settled(self, controller: Pod) -> None:
        """It leads, has listed the account, and has decided about all apps."""

        async def settled() -> bool:
            text = await controller.metrics()
            return (
                usage.metric(text, "paastis_reconciler_queue_apps") == 0
                and usage.metric(text, "paastis_discovery_last_complete_timestamp_seconds") > 0
            )

        await until(settled, what="the controller has settled", within=60)

    async def idle(self) -> None:
        """Nothing happens for a minute, in which the account is listed once."""
        programs = {"controller": self.paastis.controller, "proxy": self.paastis.proxy}
        await asyncio.sleep(10)
        before = {name: usage.processor_time(pod.pid) for name, pod in programs.items()}
        await asyncio.sleep(REST)
        for name, pod in programs.items():
            share = 100 * (usage.processor_time(pod.pid) - before[name]) / REST
            limit = 2.0 if name == "controller" else None
            what = f"{name} beside {MANY} apps, nothing happening"
            table.against(f"{what}: of a core", share, "%", limit=limit)
            limit = 150.0 if name == "controller" else None
            table.against(f"{what}: memory", usage.memory(pod.pid), "MB", limit=limit)

    async def lag(self) -> None:
        """A status changes: when does each program know?"""
        names, sent, answered = AWAKE[:PATCHES], {}, {}
        when = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

        def is_new(app: Json) -> bool:
            return bool(app.get("last_access_time") == when)

        controller, proxy = self.paastis.controller, self.paastis.proxy
        async with (
            told(controller, self.http, TOKEN, is_new) as by_controller,
            told(proxy, self.http, TOKEN, is_new) as by_proxy,
        ):
            for name in names:
                sent[name] = time.monotonic()
                await self.paastis.write_status(f"paastisapps/{name}", {"lastAccessTime": when})
                answered[name] = time.monotonic()
                await asyncio.sleep(PATCHES_EVERY)
            for seen in (by_controller, by_proxy):
                await seen.count(len(names))
        for what, times in (
            ("a status patch: answered by the API server", answered),
            ("a status patch: seen by the controller", by_controller.seen),
            ("a status patch: seen by the proxy", by_proxy.seen),
        ):
            table.spread(what, [1000 * (times[name] - sent[name]) for name in names], "ms")
