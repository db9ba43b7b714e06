"""The waiting page over real HTTP, and in a real browser where there is one."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from paastis.app import App, Phase
from paastis.config.options import ProxyConfig
from paastis.policy import Policy, Power
from paastis.reasons import Reason
from proxy.settings import ProxySettings
from tests.proxy.test_waking import BROWSER, start
from tests.proxy.world import World, an_app, origin, until, world


async def app_page(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"<title>The app</title>{request.raw_path}", content_type="text/html")


def asleep(url: str) -> App:
    return an_app(url=url, phase=Phase.ASLEEP, cycle=5)


async def test_navigation_to_a_sleeping_app_gets_the_page_at_once() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        async with w.client.get(w.url("/x"), headers=BROWSER) as answer:
            html = await answer.text()
        assert answer.status == 503
        assert answer.headers["X-Paastis-State"] == "waking"
        assert "my-app is waking up" in html
        await until(lambda: w.registry.wakes == [("my-app", 5)])
        await until(lambda: w.proxy.watch.access.open_requests == 0)


async def test_form_of_a_browser_is_held_not_lost() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(w.client.post(w.url("/form"), data={"a": "b"}, headers=BROWSER))
        await start(w)
        answer = await visit
        assert answer.status == 200


async def events(w: World) -> list[tuple[str, dict[str, str]]]:
    async with w.client.get(w.url("/.well-known/paastis/events")) as answer:
        assert answer.status == 200
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.content_type == "text/event-stream"
        text = await answer.text()
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_events_tell_the_steps_until_ready_and_are_no_access() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        following = asyncio.create_task(events(w))
        await start(w)
        told = await following
        kinds = [kind for kind, _ in told]

        assert kinds[-1] == "ready"
        assert {data["step"] for kind, data in told if kind == "state"} <= {"asked", "starting"}
        assert w.registry.writes == [("my-app", 5)]
        assert w.proxy.watch.access.open_for("my-app") == 0


async def test_events_of_a_page_keep_the_wish_alive_when_the_cycle_moves_on() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        following = asyncio.create_task(events(w))
        await until(lambda: w.registry.wakes == [("my-app", 5)])
        await w.act(cycle=6)
        await until(lambda: w.registry.wakes == [("my-app", 5), ("my-app", 6)])
        await start(w)
        assert (await following)[-1][0] == "ready"


async def test_events_stop_with_a_reason_on_failure() -> None:
    async def down(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with origin(down) as url, world(asleep(url)) as w:
        following = asyncio.create_task(events(w))
        await start(w)
        await w.act(phase=Phase.FAILED, cycle=6, phase_reason=Reason.START_FAILED)
        kind, data = (await following)[-1]
        assert (kind, data["reason"]) == ("failed", "StartFailed")


async def test_silent_event_stream_is_kept_open_by_comments() -> None:
    settings = ProxySettings(page_heartbeat=0.05)
    async with origin(app_page) as url, world(asleep(url), settings=settings) as w:
        answer = await w.client.get(w.url("/.well-known/paastis/events"))
        got = b""
        async with asyncio.timeout(5):
            while got.count(b": still waiting") < 2:
                got += await answer.content.readany()
        answer.close()


async def test_leaving_ends_event_streams_at_once() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        following = asyncio.create_task(events(w))
        await until(lambda: w.proxy.watch.waker.waiting == 1)
        w.stop.set()
        async with asyncio.timeout(5):
            assert all(kind == "state" for kind, _ in await following)


async def test_page_without_scripts_moves_on_when_the_app_is_up() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        wait = asyncio.create_task(
            w.client.get(
                w.url("/.well-known/paastis/wait?to=/a%3Fb%3Dc"),
                headers=BROWSER,
                allow_redirects=False,
            )
        )
        await start(w)
        answer = await wait
        assert answer.status == 303
        assert answer.headers["Location"] == "/a?b=c"


@pytest.mark.parametrize(
    "to", ["//evil.example", "/%5Cevil.example", "http://evil.example", "/%0a"]
)
async def test_page_without_scripts_never_leads_elsewhere(to: str) -> None:
    async with (
        origin(app_page) as url,
        world(an_app(url=url)) as w,
        w.client.get(
            w.url(f"/.well-known/paastis/wait?to={to}"), headers=BROWSER, allow_redirects=False
        ) as answer,
    ):
        assert answer.status == 400
        assert "Location" not in answer.headers


async def test_our_paths_are_never_forwarded() -> None:
    reached = []

    async def note(request: web.Request) -> web.StreamResponse:
        reached.append(request.raw_path)
        return web.Response()

    async with origin(note) as url, world(an_app(url=url)) as w:
        for path in ("other", "", "wait", "events"):
            async with w.client.get(
                w.url(f"/.well-known/paastis/{path}"), allow_redirects=False
            ) as answer:
                await answer.read()
        assert not reached
        assert not w.registry.writes


async def test_refusals_for_browsers_are_short_pages() -> None:
    policy = Policy(power=Power.ALWAYS_OFF)
    async with origin(app_page) as url, world(an_app(url=url, policy=policy)) as w:
        async with w.client.get(w.url(), headers=BROWSER) as answer:
            html = await answer.text()
        assert answer.status == 503
        assert "switched off" in html
        assert "AlwaysOff" in html


async def test_localhost_lists_the_apps_for_this_machine() -> None:
    async with origin(app_page) as url, world(asleep(url)) as w:
        async with w.client.get(w.url(host="localhost"), headers=BROWSER) as answer:
            html = await answer.text()
        assert answer.status == 200
        assert f"http://my-app.localhost:{w.proxy.port}/" in html
        assert not w.registry.writes
        forwarded = {"X-Forwarded-For": "192.0.2.1"}
        trusting = ProxySettings(ProxyConfig(trusted_proxies=(ip_network("127.0.0.0/8"),)))
    async with world(asleep(url), settings=trusting) as w:
        answer = await w.client.get(w.url(host="localhost"), headers=forwarded)
        assert answer.status == 404


# --- a real browser

CHROMIUM = shutil.which("chromium")


@asynccontextmanager
async def browser(url: str, profile: Path, *, script: bool) -> AsyncIterator[None]:
    """Headless Chromium, looking at that address."""
    assert CHROMIUM is not None
    settings = profile / "Default"
    settings.mkdir()
    if not script:
        blocked = {"profile": {"default_content_setting_values": {"javascript": 2}}}
        (settings / "Preferences").write_text(json.dumps(blocked))
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
        "--remote-debugging-port=0", url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def needs_chromium() -> None:
    if CHROMIUM is None:
        missing = "Chromium is missing: install the Debian package chromium."
        if os.environ.get("PAASTIS_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
async def test_browser_waits_and_then_shows_the_app(script: bool, tmp_path: Path) -> None:
    needs_chromium()
    shown = []

    async def app(request: web.Request) -> web.StreamResponse:
        if request.headers["User-Agent"].startswith("Mozilla/"):
            shown.append(request.raw_path)
        return await app_page(request)

    async with (
        origin(app) as url,
        world(asleep(url)) as w,
        browser(w.url("/deep?q=1"), tmp_path, script=script),
    ):
        await until(lambda: w.registry.apps()["my-app"].wake_asked, within=20)
        assert not shown
        await w.act(phase=Phase.STARTING)
        await until(lambda: "/deep?q=1" in shown, within=20)
