"""The demo's whole story, played and checked step by step."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
from rich.console import Console

from paastis.app import App, Phase
from paastis.cli.installation import Parts
from paastis.errors import PaastisError
from paastis.simulate.server import ScalingoSimulator

APP = "my-app"
VISIT_WITHIN = aiohttp.ClientTimeout(total=30)
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}


class StoryFailed(PaastisError):
    """A step did not go as it should."""


async def play(parts: Parts, sim: ScalingoSimulator, console: Console) -> None:
    """Discover, fall asleep, wake for a browser and a curl visitor, formation restored.

    Raises StoryFailed at the first step that goes wrong.
    """

    def step(words: str) -> None:
        console.print(f"[green]✓[/green] {words}")

    await _until(lambda: _app(parts) is not None, f"{APP} was not discovered")
    step(f"{len(parts.registry.apps())} apps were discovered, {APP} among them.")
    before = _formation(sim)
    await _phase(parts, Phase.ASLEEP)
    if any(amount for amount, _ in _formation(sim).values()):
        raise StoryFailed(f"{APP} should sleep, but the platform runs {_formation(sim)}.")
    step(f"{APP} fell asleep: the platform runs nothing of it any more.")
    address = f"http://127.0.0.1:{parts.proxy.port}/"
    host = {"Host": f"{APP}.localhost:{parts.proxy.port}"}
    async with aiohttp.ClientSession(headers=host, timeout=VISIT_WITHIN) as visitor:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            browser = group.create_task(_visit_as_browser(visitor, address))
            curl = group.create_task(_visit(visitor, address))
        _check(browser.result())
        step("A browser got the waiting page.")
        _check(curl.result())
        step(
            f"A curl visitor was held and got the app's answer in {time.monotonic() - began:.1f} s."
        )
        await _until_answered(visitor, address)
        step("The browser got the app.")
    await _phase(parts, Phase.AWAKE)
    if _formation(sim) != before:
        raise StoryFailed(f"{APP} had {before} and came back as {_formation(sim)}.")
    told = ", ".join(f"{kind} {amount}x{size}" for kind, (amount, size) in before.items())
    step(f"{APP} came back exactly as it was: {told}.")
    scales = _scale_calls(sim)
    if scales != 2:
        raise StoryFailed(f"One stop and one start were expected, but {scales} were sent.")
    step("One call stopped it, one call started it.")


def _app(parts: Parts) -> App | None:
    return parts.registry.apps().get(APP)


def _scale_calls(sim: ScalingoSimulator) -> int:
    """Calls that changed the app's formation; the API takes names and ids."""
    app = next(app for app in sim.world.apps() if app.name == APP)
    paths = {f"/v1/apps/{key}/scale" for key in (app.name, app.id)}
    return sum(call.method == "POST" and call.path in paths for call in sim.gate.calls)


def _formation(sim: ScalingoSimulator) -> dict[str, tuple[int, str]]:
    app = next(app for app in sim.world.apps() if app.name == APP)
    return {kind: (spec.amount, spec.size) for kind, spec in app.formation.items()}


async def _phase(parts: Parts, phase: Phase) -> None:
    def reached() -> bool:
        app = _app(parts)
        return app is not None and app.phase is phase

    await _until(reached, f"{APP} did not become {phase}")


async def _until(state: Callable[[], bool], failure: str, *, within: float = 45.0) -> None:
    try:
        async with asyncio.timeout(within):
            while not state():  # noqa: ASYNC110 (the story looks from outside, as a visitor would)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StoryFailed(f"{failure} within {within:.0f} s.") from None


async def _visit_as_browser(visitor: aiohttp.ClientSession, address: str) -> str | None:
    async with visitor.get(address, headers=BROWSER) as answer:
        text = await answer.text()
        if answer.status != 503 or "html" not in answer.content_type:
            return f"A browser should get the waiting page, but got {answer.status}."
        return None if "paastis" in text.lower() else "The waiting page is not ours."


async def _visit(visitor: aiohttp.ClientSession, address: str) -> str | None:
    async with visitor.get(address) as answer:
        text = await answer.text()
        if answer.status != 200 or APP not in text:
            return f"The app should answer 200, but the visitor got {answer.status}."
        return None


async def _until_answered(visitor: aiohttp.ClientSession, address: str) -> None:
    """What the waiting page does: ask again until the app answers."""
    for _ in range(50):
        async with visitor.get(address, headers=BROWSER) as answer:
            if answer.status == 200 and APP in await answer.text():
                return
        await asyncio.sleep(0.2)
    raise StoryFailed("The browser never got the app.")


def _check(problem: str | None) -> None:
    if problem is not None:
        raise StoryFailed(problem)
