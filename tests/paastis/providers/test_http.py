"""The client against a made-up transport where answers are odd, and sockets where connecting matters."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from paastis.errors import (
    AnswerLost,
    Busy,
    ProviderError,
    RateLimited,
    Rejected,
    Unauthorized,
    Unavailable,
)
from paastis.providers.budget import Budget
from paastis.providers.http import Answer, Call, ProviderHttp, repeated
from paastis.providers.port import Urgency
from paastis.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TOKEN = "tk-us-very-secret"
READ = Call(
    method="GET",
    url="https://api.example.com/v1/apps",
    urgency=Urgency.VISITOR,
    timeout=5,
    deadline=1e12,
    authorization=Secret(f"Bearer {TOKEN}"),
)
CHANGE = replace(READ, method="POST", changing=True, body={"a": 1})

Handler = Callable[[httpx.Request], httpx.Response]


def refusal(answer: Answer, words: str) -> ProviderError:
    return Busy(words) if answer.status == 409 else Rejected(words)


def client(handler: Handler | Callable[[httpx.Request], Awaitable[httpx.Response]]) -> ProviderHttp:
    transport = httpx.MockTransport(handler)  # type: ignore[arg-type]
    return ProviderHttp(
        "Acme", budget=Budget(100), now=lambda: NOW, refusal=refusal, transport=transport
    )


def answering(status: int, **more: object) -> ProviderHttp:
    return client(lambda request: httpx.Response(status, **more))  # type: ignore[arg-type]


def failing(error: Exception) -> ProviderHttp:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    return client(fail)


async def test_answer_is_decoded_and_knows_when_it_was_asked_for() -> None:
    answer = await answering(200, json={"a": [1]}, headers={"X-Y": "z"}).send(READ)
    assert answer.data == {"a": [1]}
    assert answer.headers["x-y"] == "z"
    assert answer.sent_at == NOW


async def test_only_the_wanted_members_of_a_long_list_are_kept_and_all_of_a_refusal() -> None:
    call = replace(READ, keep=frozenset({"apps", "name"}))
    body = {"apps": [{"name": "a", "owner": {"name": "o"}}, {"id": 1}], "meta": {}}
    assert (await answering(200, json=body).send(call)).data == {"apps": [{"name": "a"}, {}]}
    with pytest.raises(Rejected, match="no such region"):
        await answering(404, json={"error": "no such region"}).send(call)


async def test_empty_success_is_an_answer() -> None:
    assert (await answering(202).send(CHANGE)).data is None


@pytest.mark.parametrize(
    ("outcome", "read", "change"),
    [
        ({"status": 500}, Unavailable, AnswerLost),
        ({"status": 503, "html": "<p>down</p>"}, Unavailable, AnswerLost),
        ({"status": 408}, Unavailable, AnswerLost),
        ({"status": 200, "html": "<p>hi</p>"}, Unavailable, AnswerLost),
        ({"status": 200, "text": '{"cut off'}, Unavailable, AnswerLost),
        (
            {
                "status": 200,
                "stream": httpx.ByteStream(b"no gzip"),
                "headers": {"Content-Encoding": "gzip"},
            },
            Unavailable,
            AnswerLost,
        ),
        ({"status": 200, "content": b"[" * 100_000}, Unavailable, AnswerLost),
        ({"status": 401}, Unauthorized, Unauthorized),
        ({"status": 409}, Busy, Busy),
        ({"status": 429}, RateLimited, RateLimited),
        ({"status": 404}, Rejected, Rejected),
        ({"status": 302, "headers": {"Location": "https://evil.example.com"}}, Rejected, Rejected),
        (httpx.ConnectError("refused"), Unavailable, Unavailable),
        (httpx.ConnectTimeout("slow"), Unavailable, Unavailable),
        (httpx.LocalProtocolError("bad header"), Unavailable, Unavailable),
        (httpx.ReadError("reset"), Unavailable, AnswerLost),
        (httpx.WriteError("reset"), Unavailable, AnswerLost),
        (httpx.RemoteProtocolError("no answer"), Unavailable, AnswerLost),
    ],
)
async def test_outcome_says_whether_the_call_may_have_had_an_effect(
    outcome: dict[str, object] | Exception, read: type, change: type
) -> None:
    def make() -> ProviderHttp:
        if isinstance(outcome, Exception):
            return failing(outcome)
        more = dict(outcome)
        return answering(more.pop("status"), **more)  # type: ignore[arg-type]

    for call, expected in ((READ, read), (CHANGE, change)):
        with pytest.raises(ProviderError) as raised:
            await make().send(call)
        assert type(raised.value) is expected


async def test_silent_provider_is_left_after_the_timeout() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    for call, expected in ((READ, Unavailable), (CHANGE, AnswerLost)):
        with pytest.raises(expected, match=r"no answer in 0\.05 s"):
            await client(hang).send(replace(call, timeout=0.05))


async def test_endless_answer_is_given_up() -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" " * 1_000_000

    with pytest.raises(Unavailable, match="far too large"):
        await client(lambda request: httpx.Response(200, stream=Endless())).send(READ)


async def test_redirect_is_not_followed() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"Location": "https://evil.example.com/"})

    with pytest.raises(Rejected):
        await client(answer).send(CHANGE)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("17", 17),
        (" 17 ", 17),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30),
        ("Tue, 01 Jan 2030 00:00:30", 30),
        ("0", 5),
        ("-3", 5),
        ("Mon, 31 Dec 2029 00:00:00 GMT", 5),
        ("soon", 5),
        ("", 5),
        ("999999999", 3600),
    ],
)
async def test_retry_after_is_obeyed_where_it_makes_sense(given: str, expected: int) -> None:
    http = answering(429, headers={"Retry-After": given}, text="Retry later")
    with pytest.raises(RateLimited) as refused:
        await http.send(READ)
    assert refused.value.retry_after == timedelta(seconds=expected)


async def test_providers_words_are_told_shortly_and_on_one_line() -> None:
    for body, expected in [
        ({"error": "no\nway"}, "no way"),
        ({"errors": {"app": ["is booting", "is sad"]}}, "app: is booting, is sad"),
        ({"message": "x" * 1000}, "x" * 300 + "…"),
    ]:
        with pytest.raises(Rejected) as refused:
            await answering(422, json=body).send(READ)
        assert str(refused.value).endswith(f": {expected}")


async def test_markup_is_not_told() -> None:
    with pytest.raises(Rejected) as refused:
        await answering(403, html="<script>alert(1)</script>").send(READ)
    assert "script" not in str(refused.value)


async def test_secrets_and_queries_are_in_no_error_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    call = replace(CHANGE, query={"key": "query-secret"})
    seen = []
    for http in (
        answering(403, json={"error": f"{TOKEN} is bad, query-secret"}),
        answering(500, text=TOKEN),
        failing(httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'")),
        failing(httpx.ReadError(f"oh {TOKEN}")),
        failing(httpx.ConnectError(f"oh {TOKEN}")),
    ):
        with pytest.raises(ProviderError) as raised:
            await http.send(call)
        seen += [str(raised.value), repr(raised.value)]
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
    seen += [record.getMessage() for record in caplog.records]
    assert not any(TOKEN in text for text in seen)
    assert not any("key=" in text for text in seen)
    assert TOKEN not in repr(call)


async def test_names_under_localhost_are_this_machine_and_keep_their_host() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={})

    await client(answer).send(replace(READ, url="http://api.osc-fr1.localhost:8701/v1/apps"))
    assert asked[0].url.host == "127.0.0.1"
    assert asked[0].url.port == 8701
    assert asked[0].headers["Host"] == "api.osc-fr1.localhost:8701"
    await client(answer).send(READ)
    assert asked[1].url.host == asked[1].headers["Host"] == "api.example.com"


async def test_connection_that_never_stood_had_no_effect() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # a client in a hurry resets
            await reader.read()  # TLS is never answered
        writer.close()
        ended.release()

    ended = asyncio.Semaphore(0)
    http = ProviderHttp("Acme", budget=Budget(100), now=lambda: NOW, refusal=refusal)
    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await http.send(replace(CHANGE, url=f"https://{address}/v1/apps", timeout=1.0))
        with pytest.raises(AnswerLost):
            await http.send(replace(CHANGE, url=f"http://{address}/v1/apps", timeout=1.0))
        async with asyncio.timeout(5):
            for _ in range(2):
                await ended.acquire()  # the client hung up each time
    finally:
        await http.aclose()
        server.close()
        await server.wait_closed()


async def test_cancelled_call_gives_its_connection_and_its_turn_back() -> None:
    started = asyncio.Event()

    async def hang(request: httpx.Request) -> httpx.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    budget = Budget(5)
    http = ProviderHttp(
        "Acme",
        budget=budget,
        now=lambda: NOW,
        refusal=refusal,
        transport=httpx.MockTransport(hang),
    )
    sending = asyncio.create_task(http.send(READ))
    await started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert budget.state(NOW).left == 4, "it was sent, so it counts"


async def test_each_repetition_takes_a_slot_and_an_error_ends_it() -> None:
    budget = Budget(10)
    answers = iter([500, 503, 403])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers), content=json.dumps({}))

    http = ProviderHttp(
        "Acme",
        budget=budget,
        now=lambda: NOW,
        refusal=refusal,
        transport=httpx.MockTransport(answer),
    )
    with pytest.raises(Rejected):
        await repeated(lambda: http.send(READ), seconds=10)
    assert budget.state(NOW).left == 7
