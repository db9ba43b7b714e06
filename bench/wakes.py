"""What paastis adds to a wake, how a herd of visitors waits, and a wake beside a busy discovery.

`python -m bench.wakes`. Each figure comes from one run on one machine: read the differences.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence

from bench import table
from bench.processes import Pair, pair

BOOT = 1.0  # seconds that a simulated app needs
WAKES = 20
HERD = 4_000
MANY = 500
FAST = {"START_AND_STOP_MAX_IDLE_TIME": "60", "PROVIDER_SCALINGO_CALLS_PER_MINUTE": "6000"}


def stopped(name: str) -> dict[str, object]:
    """An app that sleeps before paastis comes."""
    return {"name": name, "status": "stopped", "formation": {"web": {"amount": 1, "size": "S"}}}


def row(name: str, values: Sequence[float], unit: str) -> None:
    """One line of the table."""
    shown = (statistics.median(values), table.percentile(values, 0.95), max(values))
    table.row(name, *(f"{value:.0f} {unit}" for value in shown))


async def _timed_direct(both: Pair, name: str) -> float:
    """A start by hand, asked of the front every 10 ms until it answers: the provider alone."""
    began = time.monotonic()
    await both.control("POST", f"apps/{name}/scale", {"web": 1})
    while await both.direct(name) != 200:  # noqa: ASYNC110 (a process of its own has no event)
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def _timed_wake(both: Pair, name: str) -> float:
    began = time.monotonic()
    status = await both.visit(name)
    if status != 200:
        raise RuntimeError(f"{name} answered {status}")
    return time.monotonic() - began


async def by_turns(both: Pair, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Milliseconds that the provider needs alone for one app, and a visitor's wake for the next."""
    alone, through = [], []
    for one, other in zip(names[::2], names[1::2], strict=True):
        alone.append(1000 * await _timed_direct(both, one))
        through.append(1000 * await _timed_wake(both, other))
    return alone, through


async def wake_overhead() -> None:
    """By turns: the provider alone, and a visitor through paastis."""
    names = [f"wake-{number:02}" for number in range(2 * WAKES)]
    async with pair(
        [stopped(name) for name in names],
        simulator=[f"--boot-time={BOOT}s", "--rate-limit=0"],
        settings=FAST,
    ) as both:
        alone, through = await by_turns(both, names)
    row("the provider's start alone", alone, "ms")
    row("a visitor through paastis", through, "ms")
    row("added, pair by pair", [b - a for a, b in zip(alone, through, strict=True)], "ms")


async def herd() -> None:
    """Many visitors of one sleeping app at once."""
    async with pair(
        [stopped("herd")],
        simulator=["--boot-time=8s", "--rate-limit=0"],
        settings={**FAST, "ROUTING_MAX_HELD_PER_APP": "10000"},
    ) as both:
        before = both.memory()
        done: list[float] = []

        async def visitor() -> int:
            status = await both.visit("herd")
            done.append(time.monotonic())
            return status

        tasks = [asyncio.create_task(visitor()) for _ in range(HERD)]
        most = before
        while not all(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=0.1, return_when=asyncio.ALL_COMPLETED)
            if not done:
                most = max(most, both.memory())
        statuses = [task.result() for task in tasks]
        starts = len(await both.scales())
    table.row(
        f"{HERD} held for one app",
        f"{starts} start call, {statuses.count(200)} times 200",
        f"{most - before:.0f} MB more while held",
        f"all within {max(done) - min(done):.1f} s of the first answer",
    )


async def beside_discovery() -> None:
    """Visitors' wakes, one after the other, while 500 apps are listed and put to sleep under 60 calls
    a minute. Ten calls of a minute are kept for them: four for each of these wakes."""
    awake = [{"name": f"busy-{number:03}"} for number in range(MANY - WAKES)]
    asleep = [stopped(f"sleeper-{number:02}") for number in range(WAKES)]
    async with pair(
        [*awake, *asleep],
        simulator=["--boot-time=1s", "--rate-limit=60", "--latency=80ms"],
        settings={"START_AND_STOP_MAX_IDLE_TIME": "30s"},
    ) as both:
        await asyncio.sleep(45)  # long enough for stops to use the budget up
        waits = []
        for number in (1, 2, 3):
            name = f"sleeper-{number:02}"
            before = len(await both.scales())
            began = time.time()
            task = asyncio.create_task(both.visit(name))
            apps = await both.control("GET", "apps")
            ident = next(app["id"] for app in apps if app["name"] == name)
            while True:
                sent = [
                    call["time"]
                    for call in (await both.scales())[before:]
                    if ident in call["path"] or name in call["path"]
                ]
                if sent:
                    break
                await asyncio.sleep(0.01)
            waits.append(1000 * (sent[0] - began))
            await task
        calls = [call["time"] for call in await both.control("GET", "requests")]
    for number, wait in enumerate(waits, 1):
        row(f"wake {number} sent beside {MANY} apps, 60 calls/min", [wait], "ms")
    most = max(sum(start <= other < start + 60 for other in calls) for start in calls)
    table.row("most calls in any 60 s", str(most), "of a budget of 50", "")


async def main() -> None:
    """All of them, one after the other."""
    table.heading("what", "median", "p95", "most")
    await wake_overhead()
    await herd()
    await beside_discovery()


if __name__ == "__main__":
    asyncio.run(main())
