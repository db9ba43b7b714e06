"""No changing call leaves after the right to act has ended, however long it waited for its turn."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from paastis.errors import Rejected, Unavailable
from paastis.providers.budget import Budget
from paastis.providers.fence import Fenced, check_fence, fence
from paastis.providers.http import Call, ProviderHttp
from paastis.providers.port import Urgency

READ = Call(
    method="GET",
    url="https://api.example.com/v1/apps",
    urgency=Urgency.VISITOR,
    timeout=3,
    deadline=1e12,
)
CHANGE = replace(READ, method="POST", changing=True, body={})


class Api:
    """A provider that counts what arrives."""

    def __init__(self, *, budget: int = 100) -> None:
        self.arrived: list[str] = []
        self.budget = Budget(budget)
        self.http = ProviderHttp(
            "Acme",
            budget=self.budget,
            now=lambda: datetime.now(UTC),
            refusal=lambda _answer, words: Rejected(words),
            transport=httpx.MockTransport(self._answer),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.arrived.append(request.method)
        return httpx.Response(200, json={})


async def test_without_a_fence_every_call_may_leave() -> None:
    api = Api()
    await api.http.send(CHANGE)

    assert api.arrived == ["POST"]


async def test_changing_call_leaves_only_if_the_right_outlives_it() -> None:
    api = Api()
    asked: list[timedelta] = []

    def outlives(span: timedelta) -> bool:
        asked.append(span)
        return span <= timedelta(seconds=3)

    with fence(outlives):
        await api.http.send(CHANGE)
        with pytest.raises(Fenced):
            await api.http.send(replace(CHANGE, timeout=3.1))

    assert asked == [timedelta(seconds=3), timedelta(seconds=3.1)]
    assert api.arrived == ["POST"]


async def test_reads_are_nobody_s_concern() -> None:
    api = Api()
    with fence(lambda _span: False):
        await api.http.send(READ)

    assert api.arrived == ["GET"]


async def test_call_that_waited_for_its_slot_is_asked_about_again() -> None:
    api = Api(budget=1)
    right = True
    async with asyncio.TaskGroup() as group:
        with fence(lambda _span: right):
            async with api.budget.slot(Urgency.VISITOR, deadline=1e12):
                waiting = group.create_task(_fenced(api))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                right = False
    assert waiting.result()
    assert api.arrived == []
    assert api.budget.state(datetime.now(UTC)).left == 1  # a slot that was not used is free again


async def _fenced(api: Api) -> bool:
    try:
        await api.http.send(CHANGE)
    except Fenced:
        return True
    return False


async def test_fence_ends_with_its_block() -> None:
    with fence(lambda _span: False):
        pass
    check_fence(timedelta(hours=1))


async def test_client_that_is_closed_is_unavailable() -> None:
    api = Api()
    await api.http.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await api.http.send(CHANGE)
