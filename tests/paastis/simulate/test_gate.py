"""The log of API calls, and calls that go wrong on demand."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.paastis.simulate.conftest import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.paastis.simulate.conftest import Caller

    Start = Callable[..., Awaitable[Caller]]


async def fault(caller: Caller, **given: Any) -> None:
    status, data = await caller.direct("POST", "/faults", given)
    assert status == 201, data


async def test_every_api_call_is_logged_and_no_other(caller: Caller) -> None:
    await caller.api("GET", "/v1/apps?x=1")
    await caller.api("GET", "/v1/apps/nobody")
    _, calls = await caller.direct("GET", "/requests")
    assert [(c["method"], c["path"], c["status"]) for c in calls] == [
        ("POST", "/v1/tokens/exchange", 200),
        ("GET", "/v1/apps", 200),
        ("GET", "/v1/apps/nobody", 404),
    ]
    assert all(abs(c["time"] - time.time()) < 60 for c in calls)


async def test_answer_is_given_as_often_as_asked_and_has_no_effect(caller: Caller) -> None:
    await fault(caller, match="POST /v1/apps/*/scale", times=2, answer={"status": 503})
    statuses = [(await caller.scale("storybook", web=0))[0] for _ in range(3)]
    assert statuses == [503, 503, 202]


async def test_fault_befalls_matching_calls_alone(caller: Caller) -> None:
    await fault(caller, match="POST /v1/apps/storybook/scale", answer={"status": 500})
    assert (await caller.scale("my-app", web=0))[0] == 202
    assert (await caller.api("GET", "/v1/apps/storybook"))[0] == 200
    assert await caller.scale("storybook", web=0) == (
        500,
        {"error": "Internal error occured, we're on it!"},
    )


async def test_fault_in_a_region_matches_without_its_name(caller: Caller) -> None:
    await fault(caller, match="GET /v1/apps", answer={"status": 500})
    assert (await caller.api("GET", "/osc-fr1/v1/apps"))[0] == 500


async def test_burst_of_429_is_plain_text_with_the_headers_asked_for(caller: Caller) -> None:
    await caller.exchange()
    await fault(caller, match="*", answer={"status": 429, "headers": {"Retry-After": "7"}})
    status, text, headers = await caller.full("GET", "/v1/apps")
    assert (status, text) == (429, "Retry later\n")
    assert headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": 502, "html": "<h1>no</h1>"}, ("text/html", "<h1>no</h1>")),
        ({"status": 429, "body": {"error": "slow"}}, ("application/json", {"error": "slow"})),
        ({"status": 200, "body": "not JSON"}, ("text/plain", "not JSON")),
    ],
)
async def test_body_may_be_anything(
    caller: Caller, answer: dict[str, object], expected: tuple[str, object]
) -> None:
    await caller.exchange()
    await fault(caller, match="GET /v1/apps", answer=answer)
    _, data, headers = await caller.full("GET", "/v1/apps")
    assert (headers["Content-Type"].partition(";")[0], data) == expected


@pytest.mark.parametrize(("drop", "status"), [("before", "running"), ("after", "stopped")])
async def test_connection_breaks_before_or_after_the_effect(
    caller: Caller, drop: str, status: str
) -> None:
    await caller.exchange()
    await fault(caller, match="POST /v1/apps/*/scale", times=1, drop=drop)
    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.scale("storybook", web=0)
    await caller.settled("storybook", status)
    _, calls = await caller.direct("GET", "/requests")
    assert [c["status"] for c in calls if c["method"] == "POST"] == [200, None]


async def test_operation_ends_in_the_error_asked_for(caller: Caller) -> None:
    await fault(caller, match="POST **/scale", times=1, operation="error", message="quota")
    body = {"containers": [{"name": "web", "amount": 0}]}
    status, _, headers = await caller.full("POST", "/v1/apps/storybook/scale", body)
    assert status == 202
    await caller.settled("storybook", "running")
    _, data = await caller.api("GET", headers["Location"])
    assert (data["operation"]["status"], data["operation"]["error"]) == ("error", "quota")


@pytest.mark.parametrize("key", ["delay", "delay_answer"])
async def test_delay_holds_the_answer(caller: Caller, key: str) -> None:
    await caller.exchange()
    await fault(caller, match="GET /v1/apps", **{key: "60ms"})
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert (await caller.api("GET", "/v1/apps"))[0] == 200
    assert loop.time() - begun >= 0.06


async def test_delayed_call_takes_effect_though_its_client_has_left(caller: Caller) -> None:
    await caller.exchange()
    await fault(caller, match="POST /v1/apps/*/scale", times=1, delay="100ms")
    leaving = asyncio.create_task(caller.scale("storybook", web=0))

    async def calls() -> list[str]:
        _, logged = await caller.direct("GET", "/requests")
        return [call["path"] for call in logged]

    async with asyncio.timeout(DEADLINE):
        while "/v1/apps/storybook/scale" not in await calls():  # noqa: ASYNC110 - told over HTTP
            await asyncio.sleep(0.005)
    leaving.cancel()
    await asyncio.wait({leaving})
    await caller.settled("storybook", "stopped")


async def test_tokens_sold_so_far_are_refused_and_new_ones_accepted(caller: Caller) -> None:
    await caller.exchange()
    await fault(caller, expire_token=True)
    assert (await caller.api("GET", "/v1/apps"))[0] == 401
    await caller.exchange()
    assert (await caller.api("GET", "/v1/apps"))[0] == 200


async def test_token_expires_at_the_call_that_is_named(caller: Caller) -> None:
    await fault(caller, match="POST /v1/apps/*/scale", times=1, expire_token=True)
    assert (await caller.api("GET", "/v1/apps"))[0] == 200
    assert (await caller.scale("storybook", web=0))[0] == 401
    assert (await caller.api("GET", "/v1/apps"))[0] == 401


async def test_fault_ends_with_its_time(caller: Caller) -> None:
    await fault(caller, match="GET /v1/apps", answer={"status": 500}, **{"for": 0})
    assert (await caller.api("GET", "/v1/apps"))[0] == 200


async def test_cleared_faults_are_over(caller: Caller) -> None:
    await fault(caller, match="GET /v1/apps", answer={"status": 500})
    _, listed = await caller.direct("GET", "/faults")
    assert [f["match"] for f in listed] == ["GET /v1/apps"]
    await caller.direct("DELETE", "/faults")
    assert (await caller.api("GET", "/v1/apps"))[0] == 200


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "a fault needs one of"),
        ({"match": "GET /v1/apps"}, "a fault needs one of"),
        ({"mach": "x", "delay": 1}, "'mach'"),
        ({"delay": "2 weeks"}, "'2 weeks'"),
        ({"drop": "now"}, "'now'"),
        ({"times": 0, "delay": 1}, "times is 0"),
        ({"answer": {"status": 42}}, "answer.status is 42"),
        ({"answer": 503}, "answer is 503"),
        ({"operation": "done"}, "'done'"),
    ],
)
async def test_fault_that_makes_no_sense_is_refused_in_one_sentence(
    caller: Caller, given: object, named: str
) -> None:
    status, data = await caller.direct("POST", "/faults", given)
    assert status == 400
    assert named in data["error"]
