"""SIGTERM and Ctrl-C: what was begun is finished, what is known is kept."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.programs import Paastis, app, until

if TYPE_CHECKING:
    import aiohttp

    from tests.end_to_end.conftest import NewWorld


async def open_requests(paastis: Paastis) -> int:
    for line in (await paastis.metrics()).splitlines():
        if line.startswith("paastis_open_requests "):
            return int(float(line.split()[1]))
    raise AssertionError("no metric paastis_open_requests")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_finish_and_the_program_ends_with_exit_code_0(
    new_world: NewWorld, http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    async with new_world(apps=[app("shop"), app("old", status="stopped")]) as world:
        paastis = await world.run()
        slow = [asyncio.create_task(paastis.visit("shop", "/slow?s=2")) for _ in range(20)]
        held = asyncio.create_task(paastis.visit("old"))

        async def all_open() -> bool:
            return await open_requests(paastis) == 21

        await until(all_open, what="all requests are open")
        paastis.send(number)

        async def unready() -> bool:
            async with http.get(f"{paastis.system_url}/readyz") as answer:
                return answer.status == 503

        await until(unready, what="readiness fails at once", within=1.5)
        answers = await asyncio.gather(*slow)
        assert [answer.status for answer in answers] == [200] * 20
        assert (await held).status in {200, 503}
        assert await paastis.ended() == 0
        assert "Traceback" not in paastis.output


async def test_request_that_never_ends_is_cut_when_the_drain_time_is_over(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(ROUTING_DRAIN_TIMEOUT="2s")
        hanging = asyncio.create_task(paastis.visit("shop", "/hang"))

        async def is_open() -> bool:
            return await open_requests(paastis) == 1

        await until(is_open, what="the request is open")
        begun = time.monotonic()
        paastis.send(signal.SIGTERM)

        assert await paastis.ended(within=20) == 0
        assert time.monotonic() - begun >= 1.5
        await asyncio.wait({hanging})
        assert hanging.exception() is not None or hanging.result().status >= 500
        assert "Traceback" not in paastis.output


async def test_what_was_known_is_known_after_a_restart(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop"), app("other")]) as world:
        paastis = await world.run(PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        assert (await paastis.visit("other")).status == 200
        await paastis.order("shop", "sleep")
        before = await paastis.reaches("shop", "Asleep")
        paastis.send(signal.SIGTERM)
        assert await paastis.ended() == 0

        await paastis.start()

        after = await paastis.record("shop")
        kept = ("phase", "reason", "cycle", "snapshot", "last_stop_time", "created_at")
        assert {key: after[key] for key in kept} == {key: before[key] for key in kept}
        assert (await paastis.record("other"))["last_access_time"] is not None


async def test_second_paastis_on_the_same_state_file_is_refused(new_world: NewWorld) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run()

        second = await paastis.cli("run", "--port", "0", "--set", "ROUTING_SYSTEM_API_PORT=0")

        assert second.returncode == 2
        assert "Traceback" not in second.stderr
        assert "paastis.db" in second.stderr
        assert (await paastis.visit("shop")).status == 200
