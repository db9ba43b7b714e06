"""A real browser gets the waiting page and then the app, with and without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.browser import Browser
from tests.end_to_end.programs import app, until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.end_to_end.conftest import NewWorld

pytestmark = pytest.mark.browser

WAITING = "shop is waking up"
THERE = "Hello from shop"
PNG = b"\x89PNG"


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
async def test_browser_waits_and_arrives_by_itself(
    new_world: NewWorld,
    http: aiohttp.ClientSession,
    directory: Path,
    tmp_path: Path,
    javascript: bool,
) -> None:
    shop = app("shop", status="stopped", boot_time="4s")
    async with (
        new_world(apps=[shop]) as world,
        Browser(directory / "chromium", http, javascript=javascript) as browser,
    ):
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        address = f"http://shop.localhost:{paastis.port}/?from=a-friend"
        for dark in (False, True):
            await browser.dress(dark=dark)
            await browser.open(address)
            await browser.shows(WAITING)
            picture = tmp_path / f"waiting-{'dark' if dark else 'light'}.png"
            await browser.picture(picture)
            assert picture.read_bytes().startswith(PNG)

        await browser.shows(THERE, within=30)

        assert await browser.address() == address
        assert len(await world.sim.scales("shop")) == 1
        await browser.picture(tmp_path / "app.png")


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
async def test_browser_is_told_that_the_app_could_not_be_woken_and_a_click_tries_again(
    new_world: NewWorld,
    http: aiohttp.ClientSession,
    directory: Path,
    tmp_path: Path,
    javascript: bool,
) -> None:
    async with (
        new_world(apps=[app("shop", status="stopped")]) as world,
        Browser(directory / "chromium", http, javascript=javascript) as browser,
    ):
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        await world.sim.fault(
            "POST /v1/apps/*/scale", times=1, operation="error", message="no room left"
        )
        address = f"http://shop.localhost:{paastis.port}/"
        await browser.open(address)

        shown = await browser.shows("Try again")
        assert WAITING not in shown
        assert "no room left" not in shown
        await browser.picture(tmp_path / "failed.png")

        async def tried_again() -> bool:
            await browser.open(address)  # what the button does
            return "Try again" not in await browser.shows(THERE, WAITING, "Try again")

        await until(tried_again, what="it is tried again after its back-off", within=30)
        await browser.shows(THERE, within=30)


async def test_list_of_apps_is_shown_to_people_on_this_machine(
    new_world: NewWorld, http: aiohttp.ClientSession, directory: Path, tmp_path: Path
) -> None:
    async with new_world() as world, Browser(directory / "chromium", http) as browser:
        paastis = await world.run()
        await browser.open(f"http://localhost:{paastis.port}/")

        shown = await browser.shows("old-prototype")

        assert "my-app" in shown
        await browser.picture(tmp_path / "list.png")
