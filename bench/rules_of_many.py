"""A PaastisRule among ten thousand apps: when the policies show it, and who wakes meanwhile."""

import asyncio
import time
from collections.abc import Iterator

from bench import table
from bench.following import Following, watched
from bench.many import ASLEEP, AWAKE, MANY, Many
from tests.cluster.access import MERGE_PATCH
from tests.cluster.resources import OURS
from tests.end_to_end.programs import Json

FEW = 100
FEW_PATTERN = r"app-000[0-9]{2}"

VISITS = 3
BETWEEN = 5.0  # seconds


async def measure(apps: Many) -> None:
    """Applied, changed, deleted: for a hundred of the apps, then for all of them."""
    sleepers = iter(ASLEEP[len(ASLEEP) // 2 :: 101])
    for number, pattern, limit in ((FEW, FEW_PATTERN, 2.0), (MANY, ".*", 120.0)):
        for word, spec in (
            ("applied", {"pattern": pattern, "maxIdleTime": "13h"}),
            ("changed", {"maxIdleTime": "14h"}),
            ("deleted", {}),
        ):
            await asyncio.sleep(BETWEEN)
            await _measure(apps, number, word, spec, limit=limit, sleepers=sleepers)


async def _measure(
    apps: Many, number: int, word: str, spec: Json, *, limit: float, sleepers: Iterator[str]
) -> None:
    expected = spec.get("maxIdleTime", "12h")

    def shown(app: Json) -> bool:
        return bool(app.get("status", {}).get("policy", {}).get("maxIdleTime") == expected)

    waits: list[float] = []
    async with watched(apps.paastis, apps.http, shown) as seen, asyncio.TaskGroup() as group:
        began = time.monotonic()
        await _say(apps, word, spec)
        if number == MANY:
            group.create_task(_wakes(apps, seen, sleepers, waits))
        await seen.count(number)
    last = max(seen.seen.values()) - began
    table.against(f"rule {word}: {number} of {MANY} apps show it after", last, "s", limit=limit)
    if number == MANY:
        awake = max(seen.seen[name] for name in AWAKE) - began
        table.against(f"rule {word}: the {len(AWAKE)} awake ones after", awake, "s")
        table.spread(f"rule {word}: wakes meanwhile, their start calls after", waits, "ms")


async def _say(apps: Many, word: str, spec: Json) -> None:
    """What `kubectl apply`, `patch` and `delete` do."""
    rules = f"{OURS}/namespaces/{apps.paastis.namespace}/paastisrules"
    if word == "applied":
        about = {"apiVersion": "paastis.io/v1alpha1", "kind": "PaastisRule"}
        rule = {**about, "metadata": {"name": "bench"}, "spec": spec}
        await apps.paastis.request("POST", rules, rule)
    elif word == "changed":
        await apps.paastis.request("PATCH", f"{rules}/bench", {"spec": spec}, content=MERGE_PATCH)
    else:
        await apps.paastis.request("DELETE", f"{rules}/bench")


async def _wakes(apps: Many, seen: Following, sleepers: Iterator[str], waits: list[float]) -> None:
    """Visitors of sleeping apps while records are written; milliseconds until their start calls."""
    for number in range(1, VISITS + 1):
        await seen.count(number * MANY // (VISITS + 1))
        name = next(sleepers)
        began = time.time()
        answer = await apps.paastis.proxy.visit(name)
        if answer.status != 200:
            raise RuntimeError(f"{name} answered {answer.status}")
        (call,) = await apps.paastis.sim.scales(name)
        waits.append(1000 * (call["time"] - began))
