"""When policies are renewed, seen without any: the passes alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from controller import renewal
from controller.renewal import Renewal
from tests.end_to_end.programs import until

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Nothing:
    """Policies, records and knowledge of no apps at all; a pass takes a moment."""

    links: Mapping[str, frozenset[str]] = {}

    def __init__(self) -> None:
        self.passes = 0
        self.asked_for: list[str] = []

    def newest(self) -> Mapping[str, object]:
        return {}

    def unfinished(self, name: str) -> bool:
        return False

    def get(self, name: str) -> None:
        self.asked_for.append(name)

    def link(self, links: object) -> None:
        return None

    async def renew(self, apps: object) -> None:
        await asyncio.sleep(0.01)
        self.passes += 1


@asynccontextmanager
async def renewing(nothing: Nothing) -> AsyncIterator[Renewal]:
    any_of_them = cast("Any", nothing)
    renewed = Renewal(
        any_of_them,
        any_of_them,
        any_of_them,
        now=lambda: NOW,
        on_renewed=lambda: None,
        on_fault=pytest.fail,
    )
    running = asyncio.create_task(renewed.run())
    try:
        yield renewed
    finally:
        running.cancel()


async def passes(nothing: Nothing, number: int) -> None:
    async def seen() -> bool:
        return nothing.passes == number

    await until(seen, what=f"{number} passes", within=5)


async def test_passes_that_are_asked_for_all_the_time_leave_time_between_them() -> None:
    nothing = Nothing()
    async with renewing(nothing) as renewed:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(1, 4):
            renewed.ask()
            await passes(nothing, number)
        assert loop.time() - began >= 3 * 0.01 + 2 * renewal.REST * 0.01


async def test_rules_that_are_replaced_and_single_records_wait_for_no_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewal, "REST", 10**6)
    nothing = Nothing()
    async with renewing(nothing) as renewed:
        renewed.ask()
        await passes(nothing, 1)
        renewed.ask()
        renewed.want("shop")

        async def written() -> bool:
            return nothing.asked_for == ["shop"]

        await until(written, what="the one record is looked at", within=5)
        assert nothing.passes == 1
        renewed.ask(replaced=True)
        await passes(nothing, 2)
