"""The way of a request to an awake app and back, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from paastis.app import Phase
from paastis.config.options import ProxyConfig
from paastis.policy import Policy
from paastis.reasons import Reason
from proxy.settings import ProxySettings
from tests.proxy.world import World, an_app, origin, until, utc_now, world


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


async def raw(port: int, text: bytes) -> bytes:
    """Send bytes, read everything until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def get(target: str, *lines: str, host: str = "my-app.localhost") -> bytes:
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def seen_by_app(answer: bytes) -> dict[str, object]:
    body = answer.partition(b"\r\n\r\n")[2]
    found: dict[str, object] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
    return found


async def test_request_to_an_awake_app_is_answered_by_the_app() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        async with w.client.get(w.url("/hello?x=1")) as answer:
            seen = await answer.json()

        assert answer.status == 200
        assert seen["target"] == "/hello?x=1"
        assert answer.headers["X-Paastis-State"] == "awake"


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a?b=c&d",
        "/a//b/../c/./d",
        "//double",
        "/%7Euser/%2e%2e/%zz",
        "/a b".replace(" ", "%20") + "?q=a+b%20c",
        "/q?x=%E9&y=%C3%A9&z='\"<>|^`{}[]",
        "/colon:8080/@user?u=http://other.example/",
        "/.well-known/other",
        "/;params;a=1?;",
        "/a?b?c?",
    ],
)
async def test_request_target_reaches_the_app_byte_for_byte(target: str) -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, get(target))

        assert seen_by_app(answer)["target"] == target


async def test_nothing_is_added_to_the_request_but_what_proxies_must() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        answer = await raw(
            w.proxy.port,
            get("/", "X-One: 1", "x-two: 2", "X-One: 3", "Keep-Alive: 5", "Cookie: a=1; b=2"),
        )

        pairs = [tuple(pair) for pair in seen_by_app(answer)["headers"]]  # type: ignore[attr-defined]
        names = sorted(name.lower() for name, _ in pairs)
        assert names == sorted(
            ["host", "x-one", "x-two", "x-one", "cookie", "x-forwarded-for", "x-forwarded-proto",
             "x-forwarded-host", "x-request-id", "via"]
        )  # fmt: skip
        found = dict(pairs)
        assert found["Host"] == url.removeprefix("http://")
        assert found["X-Forwarded-For"] == "127.0.0.1"
        assert found["X-Forwarded-Host"] == "my-app.localhost"
        assert found["Via"] == "1.1 paastis"


async def test_system_headers_never_reach_an_app() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        answer = await raw(
            w.proxy.port, get("/", "PaastisProxyTarget: system", "PaastisProxySystemApiToken: t")
        )

        assert "aastis-proxy" not in str(seen_by_app(answer)).lower().replace("paastisproxy", "!")
        assert "PaastisProxy" not in str(seen_by_app(answer))


async def test_answer_keeps_exactly_its_headers() -> None:
    async def plain(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n"
            b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
            b"Content-Encoding: gzip\r\n\r\nhi"
        )
        transport.close()
        return web.Response()

    async with origin(plain) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, get("/"))

        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 200 Fine"
        assert body == b"hi"
        kept = [line for line in lines[1:] if not line.startswith((b"Date:", b"Connection:"))]
        assert kept == [
            b"Content-Length: 2",
            b"X-A: 1",
            b"x-a: 2",
            b"Set-Cookie: a=1",
            b"Set-Cookie: b=2",
            b"Content-Encoding: gzip",
            b"X-Paastis-State: awake",
        ]


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, {"Content-Length": "12345", "Content-Type": "text/plain"}),
        ("GET", 304, {"ETag": '"x"'}),
        ("GET", 204, {}),
    ],
)
async def test_answers_without_a_body_are_exact(
    method: str, status: int, headers: dict[str, str]
) -> None:
    async def bodiless(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with origin(bodiless) as url, world(an_app(url=url)) as w:
        for _ in range(2):  # twice on one connection: nothing is left over between them
            async with w.client.request(method, w.url()) as answer:
                assert answer.status == status
                assert await answer.read() == b""
                assert "Transfer-Encoding" not in answer.headers
                for name, value in headers.items():
                    assert answer.headers[name] == value


async def test_redirects_are_the_visitors_to_follow() -> None:
    async def away(request: web.Request) -> web.StreamResponse:
        own = f"http://{request.headers['Host']}"
        return web.Response(
            status=302,
            headers=[
                ("Location", f"{own}/login?next=/"),
                ("Set-Cookie", "a=1; Domain=origin.localhost; Path=/; HttpOnly"),
                ("Set-Cookie", "b=2; Domain=example.com"),
            ],
        )

    async with origin(away) as url, world(an_app(url=url)) as w:
        answer = await w.client.get(w.url(), allow_redirects=False)
        assert answer.status == 302
        assert answer.headers["Location"] == "/login?next=/"
        assert answer.headers.getall("Set-Cookie") == [
            "a=1; Path=/; HttpOnly",
            "b=2; Domain=example.com",
        ]


async def test_origin_is_mapped_and_allowed_back() -> None:
    async def cors(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Access-Control-Allow-Origin": request.headers["Origin"]})

    async with origin(cors) as url, world(an_app(url=url)) as w:
        mine = w.url("")
        async with w.client.get(w.url(), headers={"Origin": mine}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == mine
        async with w.client.get(w.url(), headers={"Origin": "https://else.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://else.example"


async def test_upload_that_stalls_is_given_up_with_a_408() -> None:
    async with (
        origin(echo) as url,
        world(
            an_app(url=url),
            settings=ProxySettings(ProxyConfig(body_timeout=timedelta(seconds=0.1))),
        ) as w,
    ):
        answer = await raw(
            w.proxy.port,
            b"POST / HTTP/1.1\r\nHost: my-app.localhost\r\nContent-Length: 9\r\n\r\nhalf",
        )
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert w.proxy.watch.access.open_requests == 0


async def test_header_that_is_no_utf8_does_not_vanish() -> None:
    async def latin(request: web.Request) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Name: caf\xe9\r\n\r\n")
        request.transport.close()
        return web.Response()

    async with origin(latin) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, get("/"))
        assert "X-Name: café".encode() in answer


async def test_connection_without_a_request_is_closed() -> None:
    async with (
        origin(echo) as url,
        world(
            an_app(url=url),
            settings=ProxySettings(ProxyConfig(head_timeout=timedelta(seconds=0.1))),
        ) as w,
    ):
        assert await raw(w.proxy.port, b"GET / HT") == b""


async def test_silent_tunnel_ends_where_the_policy_says_so() -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    policy = Policy(max_tunnel_idle=timedelta(seconds=0.2))
    async with origin(talk) as url, world(an_app(url=url, policy=policy)) as w:
        async with w.client.ws_connect(w.url()) as ws:
            await ws.send_str("hi")
            assert await ws.receive_str() == "hi"
            async with asyncio.timeout(5):
                assert (await ws.receive()).type in (
                    aiohttp.WSMsgType.CLOSE,
                    aiohttp.WSMsgType.CLOSED,
                    aiohttp.WSMsgType.ERROR,
                )
        await until(lambda: w.proxy.watch.access.open_requests == 0)


async def test_slow_reader_slows_the_app_down_instead_of_filling_memory() -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        out = web.StreamResponse()
        await out.prepare(request)
        for _ in range(2000):
            await out.write(bytes(64 * 1024))
            sent += 64 * 1024
        return out

    async with origin(flood) as url, world(an_app(url=url)) as w:
        _, writer = await asyncio.open_connection("127.0.0.1", w.proxy.port, limit=1024)
        writer.write(get("/"))
        before = -1
        while sent == 0 or sent != before:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 40_000_000
        writer.transport.abort()
        await until(lambda: w.proxy.watch.access.open_requests == 0)


@pytest.mark.parametrize("length", [0, 10, 64 * 1024, 900_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_pass_both_ways(length: int, chunked: bool) -> None:
    async def back(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        if (size := request.content_length) is not None:
            out.content_length = size
        await out.prepare(request)
        async for piece in request.content.iter_any():
            await out.write(piece)
        await out.write_eof()
        return out

    sent = bytes(range(256)) * (length // 256) + b"x" * (length % 256)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(sent), 50_000):
            yield sent[at : at + 50_000]

    async with origin(back) as url, world(an_app(url=url)) as w:
        data = pieces() if chunked else sent
        async with w.client.post(w.url(), data=data) as answer:
            assert await answer.read() == sent


async def test_expected_continue_is_answered_before_the_upload() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.proxy.port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: my-app.localhost\r\nContent-Length: 2\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"ok")
        answer = await reader.read()
        writer.close()
        assert b"HTTP/1.1 200" in answer
        assert seen_by_app(answer)["body"] == "ok"


async def test_events_arrive_one_by_one() -> None:
    go = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await out.prepare(request)
        await out.write(b"data: 1\n\n")
        await go.wait()
        await out.write(b"data: 2\n\n")
        return out

    async with origin(events) as url, world(an_app(url=url)) as w:
        async with w.client.get(w.url()) as answer:
            assert await answer.content.readany() == b"data: 1\n\n"
            assert w.proxy.watch.access.open_for("my-app") == 1
            go.set()
            assert await answer.content.readany() == b"data: 2\n\n"
        await until(lambda: w.proxy.watch.access.open_for("my-app") == 0)


async def test_an_app_that_breaks_off_cuts_the_visitor_off_too() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        out.content_length = 100
        await out.prepare(request)
        await out.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return out

    async with origin(broken) as url, world(an_app(url=url)) as w:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with w.client.get(w.url()) as answer:
                await answer.read()


async def test_websocket_passes_subprotocol_messages_and_close_code() -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("chat",), max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if message.data == "bye":
                await ws.close(code=4321, message=b"so long")
            elif message.type is aiohttp.WSMsgType.TEXT:
                await ws.send_str(message.data.upper())
            else:
                await ws.send_bytes(message.data)
        return ws

    async with origin(talk) as url, world(an_app(url=url)) as w:
        async with w.client.ws_connect(
            w.url("/ws"), protocols=("other", "chat"), max_msg_size=0
        ) as ws:
            assert ws.protocol == "chat"
            await ws.send_str("hello")
            assert await ws.receive_str() == "HELLO"
            big = bytes(5_000_000)
            await ws.send_bytes(big)
            assert await ws.receive_bytes() == big
            assert w.proxy.watch.access.open_for("my-app") == 1
            await ws.send_str("bye")
            last = await ws.receive()
            assert (last.type, last.data, last.extra) == (
                aiohttp.WSMsgType.CLOSE,
                4321,
                "so long",
            )
        await until(lambda: w.proxy.watch.access.open_for("my-app") == 0)


async def test_refused_upgrade_is_answered_and_the_connection_closed() -> None:
    async def no(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="no")

    async with origin(no) as url, world(an_app(url=url)) as w:
        answer = await raw(
            w.proxy.port,
            b"GET /ws HTTP/1.1\r\nHost: my-app.localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\n\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 403")
        assert answer.endswith(b"no")


async def test_vanished_visitor_ends_the_request_at_the_app_and_in_the_count() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return web.Response()

    async with origin(slow) as url, world(an_app(url=url)) as w:
        _, writer = await asyncio.open_connection("127.0.0.1", w.proxy.port)
        writer.write(get("/slow"))
        await begun.wait()
        assert w.proxy.watch.access.open_for("my-app") == 1
        writer.transport.abort()
        await until(lambda: w.proxy.watch.access.open_for("my-app") == 0)
        async with asyncio.timeout(5):
            await ended.wait()


async def test_slow_upload_counts_as_open_until_it_ends() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        reader, writer = await asyncio.open_connection("127.0.0.1", w.proxy.port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: my-app.localhost\r\nContent-Length: 4\r\n"
            b"Connection: close\r\n\r\n12"
        )
        await until(lambda: w.proxy.watch.access.open_for("my-app") == 1)
        writer.write(b"34")
        answer = await reader.read()
        writer.close()
        assert seen_by_app(answer)["body"] == "1234"
        assert w.proxy.watch.access.open_for("my-app") == 0


MINE = "Host: my-app.localhost"
TWICE = [MINE, "Content-Length: 3", "Transfer-Encoding: chunked"]
CODED = [MINE, "Transfer-Encoding: gzip, chunked"]


def lines(*head: str, body: str = "") -> bytes:
    return ("\r\n".join([*head, "Connection: close"]) + "\r\n\r\n" + body).encode()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (lines("GET / HTTP/1.1", "Host: nobody.localhost"), 404),
        (lines("GET / HTTP/1.1", "Host: a b"), 400),
        (lines("GET / HTTP/1.1"), 400),
        (lines("GET / HTTP/1.1", MINE, MINE), 400),
        (lines("POST / HTTP/1.1", *TWICE, body="0\r\n\r\n"), 400),
        (lines("POST / HTTP/1.1", *CODED, body="0\r\n\r\n"), 400),
        (lines("CONNECT my-app.localhost:80 HTTP/1.1", MINE), 405),
        (lines("GET http://other.example/ HTTP/1.1", MINE), 400),
        (lines("GET / HTTP/1.1", MINE, "Via: 1.1 a, 1.1 paastis"), 508),
        (b"nonsense\r\n\r\n", 400),
        (lines(f"GET /{'x' * 70_000} HTTP/1.1", MINE), 400),
    ],
)
async def test_doubtful_requests_are_refused_and_never_reach_an_app(
    text: bytes, status: int
) -> None:
    asked = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        return web.Response()

    async with origin(note) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, text)

        assert answer.split(b" ")[1] == str(status).encode()
        assert not asked
        assert not w.registry.writes


async def test_absolute_form_that_names_the_host_is_fine() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, get("http://my-app.localhost/x?y"))
        assert seen_by_app(answer)["target"] == "/x?y"


async def test_old_visitors_get_an_answer_that_ends_with_the_connection() -> None:
    async def streamed(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        await out.write(b"one")
        await out.write(b"two")
        return out

    async with origin(streamed) as url, world(an_app(url=url)) as w:
        answer = await raw(w.proxy.port, b"GET / HTTP/1.0\r\nHost: my-app.localhost\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert body == b"onetwo"
        assert b"chunked" not in head


async def test_app_that_cannot_be_reached_is_a_502_with_our_reason() -> None:
    async with origin(echo) as url:
        pass  # its port is closed now
    async with world(an_app(url=url), settings=ProxySettings(inspection_patience=0.05)) as w:
        async with w.client.get(w.url()) as answer:
            problem = json.loads(await answer.read())
        assert answer.status == 502
        assert answer.content_type == "application/problem+json"
        assert problem["reason"] == "OriginUnreachable"


async def test_app_that_does_not_answer_is_a_504() -> None:
    async def mute(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with (
        origin(mute) as url,
        world(
            an_app(url=url),
            settings=ProxySettings(ProxyConfig(answer_timeout=timedelta(seconds=0.1))),
        ) as w,
        w.client.get(w.url()) as answer,
    ):
        assert answer.status == 504


async def test_idle_connection_that_the_app_closed_is_no_error() -> None:
    closing: list[asyncio.Transport] = []

    async def count(request: web.Request) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        closing.append(request.transport)
        return web.Response(text="ok")

    async with origin(count) as url, world(an_app(url=url)) as w:
        for _ in range(20):
            async with w.client.get(w.url()) as answer:
                assert answer.status == 200
            async with w.client.post(w.url(), data=b"x") as answer:
                assert answer.status == 200
            for transport in closing:
                transport.abort()
            closing.clear()


async def test_request_that_cannot_be_repeated_is_sent_once() -> None:
    tries = []

    async def die(request: web.Request) -> web.StreamResponse:
        tries.append(request.method)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with origin(die) as url, world(an_app(url=url)) as w:
        async with w.client.post(w.url(), data=b"order") as answer:
            assert answer.status == 502
        assert tries == ["POST"]


async def test_unmanaged_app_that_looks_stopped_is_our_503() -> None:
    async def stopped(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"X-Verdict": "stopped"}, text="provider's words")

    async with origin(stopped) as url, world(an_app(url=url, phase=Phase.UNMANAGED)) as w:
        async with w.client.get(w.url()) as answer:
            body = await answer.text()
        assert answer.status == 503
        assert "provider's words" not in body
        assert "OriginStopped" in body
        assert not w.registry.wakes


@pytest.mark.parametrize(("slept", "ours"), [(True, True), (False, False)])
async def test_503_of_an_unmanaged_app_is_ours_if_it_slept_when_its_account_was_removed(
    slept: bool, ours: bool
) -> None:
    async def perhaps(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"X-Verdict": "maybe"}, text="somebody's words")

    async with origin(perhaps) as url:
        app = an_app(
            url=url,
            phase=Phase.UNMANAGED,
            phase_reason=Reason.ACCOUNT_MISSING,
            last_stop_time=utc_now() if slept else None,
        )
        async with world(app) as w, w.client.get(w.url()) as answer:
            body = await answer.text()
        assert answer.status == 503
        assert ("AccountMissing" in body) is ours
        assert ("somebody's words" in body) is not ours


async def test_thousand_warm_requests_cost_one_write() -> None:
    async with origin(echo) as url, world(an_app(url=url)) as w:
        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(_ok(w))
        assert w.registry.writes == [("my-app", None)]
        assert w.proxy.watch.access.open_requests == 0


async def _ok(w: World) -> None:
    async with w.client.get(w.url()) as answer:
        assert answer.status == 200
        await answer.read()


async def test_recent_use_by_another_proxy_is_not_written_again() -> None:
    async with origin(echo) as url:
        app = an_app(url=url, last_access_time=utc_now(), policy=Policy())
        async with world(app) as w:
            await _ok(w)
            await _ok(w)
            assert not w.registry.writes
