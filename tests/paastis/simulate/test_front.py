"""The platform's router and the small apps behind it, over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest

from paastis.simulate.spec import AppSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.paastis.simulate.conftest import Caller

    Start = Callable[..., Awaitable[Caller]]

pytestmark = pytest.mark.filterwarnings("error")


async def test_host_decides_which_app_answers_whatever_its_case_and_port(caller: Caller) -> None:
    for host in ("storybook.osc-fr1.localhost", "STORYBOOK.osc-fr1.LOCALHOST:1234"):
        async with caller.visit("", headers={"Host": host}) as response:
            assert await response.json() == {
                "name": "storybook",
                "region": "osc-fr1",
                "container": "web-1",
                "boot": 1,
            }


@pytest.mark.parametrize(
    "host", ["nobody.osc-fr1.localhost", "storybook.osc-fr2.localhost", "localhost", "", "[::1]:80"]
)
async def test_unknown_host_gets_the_platform_s_404(caller: Caller, host: str) -> None:
    async with caller.visit("", headers={"Host": host}) as response:
        assert (response.status, response.content_type) == (404, "text/html")


async def test_domain_of_its_own_leads_to_the_app(start: Start) -> None:
    caller = await start(apps=(AppSpec(name="shop", domains=("www.example.com",)),))
    async with caller.visit("", headers={"Host": "www.example.com"}) as response:
        assert (await response.json())["name"] == "shop"


async def test_browser_gets_a_page(caller: Caller) -> None:
    async with caller.visit("my-app", headers={"Accept": "text/html"}) as response:
        assert "Hello from my-app" in await response.text()


async def test_web_containers_take_turns(caller: Caller) -> None:
    seen = []
    for _ in range(4):
        async with caller.visit("my-app") as response:
            seen.append((await response.json())["container"])
    assert sorted(seen) == ["web-1", "web-1", "web-2", "web-2"]


async def test_stopped_app_is_a_503_that_nothing_marks(caller: Caller) -> None:
    async with (
        caller.visit("old-prototype") as stopped,
        caller.visit("my-app", "/status/503") as own,
    ):
        assert (stopped.status, stopped.content_type) == (503, "text/html")
        assert stopped.headers.keys() == own.headers.keys()
        assert stopped.headers["Server"] == own.headers["Server"]


@pytest.mark.parametrize("name", ["nightly-reports", "never-deployed"])
async def test_app_without_a_web_container_is_a_503(caller: Caller, name: str) -> None:
    async with caller.visit(name) as response:
        assert response.status == 503


async def test_booting_app_is_a_503_until_it_runs(caller: Caller) -> None:
    await caller.scale("old-prototype", web=1)
    async with caller.visit("old-prototype") as response:
        assert response.status == 503
    await caller.settled("old-prototype", "running")
    async with caller.visit("old-prototype") as response:
        assert response.status == 200


async def test_booting_app_breaks_the_connection_where_that_is_asked_for(start: Start) -> None:
    caller = await start(booting="refuse")
    await caller.direct("POST", "/apps/my-app/crash")
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.visit("my-app").__aenter__()


async def test_boot_number_grows_with_every_wake(caller: Caller) -> None:
    await caller.scale("storybook", web=0)
    await caller.settled("storybook", "stopped")
    await caller.scale("storybook", web=1)
    await caller.settled("storybook", "running")
    async with caller.visit("storybook") as response:
        assert (await response.json())["boot"] == 2


async def test_echo_gives_back_what_was_sent(caller: Caller) -> None:
    async with caller.visit(
        "my-app", "/echo?a=1", method="PUT", data=b"hello", headers={"X-Mine": "yes"}
    ) as response:
        data = await response.json()
    assert (data["method"], data["path"], data["query"]) == ("PUT", "/echo", "a=1")
    assert (data["body"], data["headers"]["X-Mine"]) == ("hello", "yes")
    assert ["X-Mine", "yes"] in data["raw_headers"]


async def test_echo_of_bytes_that_are_no_text_is_base64(caller: Caller) -> None:
    async with caller.visit("my-app", "/echo", method="POST", data=b"\xff\x00") as response:
        data = await response.json()
    assert (data["body"], data["body_base64"]) == (None, "/wA=")


async def test_upload_is_counted(caller: Caller) -> None:
    async with caller.visit(
        "my-app", "/upload", method="POST", data=io.BytesIO(bytes(3_000_000))
    ) as response:
        assert await response.json() == {"bytes": 3_000_000}


async def test_slow_answer_takes_its_time(caller: Caller) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with caller.visit("my-app", "/slow?s=0.1") as response:
        assert response.status == 200
    assert loop.time() - begun >= 0.1


async def test_big_answer_has_its_size(caller: Caller) -> None:
    async with caller.visit("my-app", "/big?mib=3") as response:
        assert response.content_length == 3 * 1024 * 1024
        assert len(await response.read()) == 3 * 1024 * 1024


async def test_stream_comes_in_pieces(caller: Caller) -> None:
    async with caller.visit("my-app", "/stream?n=3&every=0.01") as response:
        assert await response.text() == "line 1\nline 2\nline 3\n"


async def test_sse_sends_events(caller: Caller) -> None:
    async with caller.visit("my-app", "/sse?n=2&every=0.01") as response:
        assert response.content_type == "text/event-stream"
        events = (await response.text()).strip().split("\n\n")
    assert [json.loads(e.split("data: ")[1]) for e in events] == [{"event": 1}, {"event": 2}]


@pytest.mark.parametrize("status", [204, 304, 404, 503])
async def test_status_is_as_asked(caller: Caller, status: int) -> None:
    async with caller.visit("my-app", f"/status/{status}") as response:
        assert response.status == status


@pytest.mark.parametrize("given", ["", "abc", "42", "1000", "²"])
async def test_status_that_is_none_is_refused(caller: Caller, given: str) -> None:
    async with caller.visit("my-app", f"/status/{given}") as response:
        assert response.status == 400


async def test_head_has_no_body(caller: Caller) -> None:
    async with caller.visit("my-app", "/big?mib=1", method="HEAD") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_websocket_echoes(caller: Caller) -> None:
    url = f"http://127.0.0.1:{caller.simulator.front_port}/ws"
    async with caller.session.ws_connect(
        url, headers={"Host": "my-app.osc-fr1.localhost"}
    ) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\x00\x01")
        assert await socket.receive_bytes() == b"\x00\x01"


async def test_websocket_path_without_upgrade_says_what_it_wants(caller: Caller) -> None:
    async with caller.visit("my-app", "/ws") as response:
        assert response.status == 426


async def connections(caller: Caller, app: str) -> int:
    _, truth = await caller.direct("GET", f"/apps/{app}")
    return sum(c["connections"] for c in truth["containers"])


async def until_connections(caller: Caller, app: str, count: int) -> None:
    async with asyncio.timeout(5):
        while await connections(caller, app) != count:  # noqa: ASYNC110 - told over HTTP
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("path", ["/slow?s=60", "/hang"])
async def test_stop_cuts_a_request_that_waits_for_its_answer(caller: Caller, path: str) -> None:
    async def visit() -> None:
        async with caller.visit("storybook", path):
            raise AssertionError("an answer came")

    visitor = asyncio.create_task(visit())
    await until_connections(caller, "storybook", 1)
    await caller.scale("storybook", web=0)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asyncio.wait_for(visitor, 5)


@pytest.mark.parametrize("path", ["/sse?every=0.01", "/stream?n=1000&every=60", "/big?mib=1000"])
async def test_stop_cuts_an_answer_that_is_under_way(caller: Caller, path: str) -> None:
    async with caller.visit("storybook", path) as response:
        await response.content.readany()
        await caller.scale("storybook", web=0)
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(5):
                await response.read()


async def test_stop_cuts_a_websocket(caller: Caller) -> None:
    url = f"http://127.0.0.1:{caller.simulator.front_port}/ws"
    headers = {"Host": "storybook.osc-fr1.localhost"}
    async with caller.session.ws_connect(url, headers=headers) as socket:
        await caller.scale("storybook", web=0)
        message = await socket.receive(timeout=5)
    assert message.type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
    assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE


async def test_visitor_that_leaves_ends_its_request_in_the_app(caller: Caller) -> None:
    visit = asyncio.create_task(caller.visit("my-app", "/hang").__aenter__())
    await until_connections(caller, "my-app", 1)
    visit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await visit
    await until_connections(caller, "my-app", 0)


async def test_crash_breaks_the_connection_and_the_container_boots_again(caller: Caller) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.visit("storybook", "/crash").__aenter__()
    async with caller.visit("storybook") as response:
        assert response.status == 503
    await caller.settled("storybook", "running")
    async with caller.visit("storybook") as response:
        assert (await response.json())["boot"] == 2
