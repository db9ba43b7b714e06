"""Visitors of apps that sleep, drain, fail or are stopped, over real sockets."""

import asyncio
import json
import random
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from paastis.app import App, Phase, Retry
from paastis.config.options import ProxyConfig
from paastis.errors import RegistryUnavailable
from paastis.policy import IgnoreAccess, Mode, Policy, Power, Wake, WakeBy, WakeMode
from paastis.reasons import Reason
from proxy.settings import ProxySettings
from tests.proxy.world import (
    CountingRegistry,
    World,
    an_app,
    origin,
    until,
    utc_now,
    world,
)

BROWSER = {
    "User-Agent": "Mozilla/5.0",
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
}


async def hello(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"hello {(await request.read()).decode()}")


def asleep(url: str, *, policy: Policy | None = None) -> App:
    return an_app(url=url, phase=Phase.ASLEEP, cycle=5, policy=policy or Policy())


async def start(w: World, name: str = "my-app") -> None:
    """The controller's part of a wake, once it was asked for."""
    await until(lambda: w.registry.apps()[name].wake_asked)
    await w.act(name, phase=Phase.STARTING, phase_since=utc_now())


async def finish(w: World, name: str = "my-app") -> None:
    await w.act(name, phase=Phase.AWAKE, cycle=w.registry.apps()[name].cycle + 1)


async def test_visitor_of_a_sleeping_app_is_held_and_answered_by_the_app() -> None:
    async with origin(hello) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(_post(w, "there"))
        await start(w)
        answer, text = await visit

        assert (answer.status, text) == (200, "hello there")
        assert answer.headers["X-Paastis-State"] == "woken"
        assert answer.headers["Server-Timing"].startswith("paastis-wake;dur=")
        assert w.registry.wakes == [("my-app", 5)]


async def _post(w: World, body: str, **more: object) -> tuple[aiohttp.ClientResponse, str]:
    async with w.client.post(w.url(), data=body, **more) as answer:  # type: ignore[arg-type]
        return answer, await answer.text()


async def test_two_hundred_visitors_ask_once_and_are_all_answered() -> None:
    async with origin(hello) as url, world(asleep(url)) as w:
        visits = [asyncio.create_task(_post(w, str(number))) for number in range(200)]
        await until(lambda: w.proxy.watch.waker.waiting == 200, within=20)
        await start(w)
        answers = await asyncio.gather(*visits)

        assert {answer.status for answer, _ in answers} == {200}
        assert w.registry.wakes == [("my-app", 5)]
        await until(lambda: w.proxy.watch.access.open_requests == 0)
        assert w.proxy.watch.waker.waiting == 0


async def test_app_that_still_boots_is_not_shown_to_visitors() -> None:
    answers = iter([503, 502, 504])

    async def booting(request: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers, 200), text="app")

    async with origin(booting) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await start(w)
        answer, text = await visit
        assert (answer.status, text) == (200, "app")


async def test_resets_just_after_ready_are_tried_again() -> None:
    tries: list[str] = []

    async def shaky(request: web.Request) -> web.StreamResponse:
        if request.headers.get("User-Agent") == "paastis":
            return web.Response()
        tries.append(request.method)
        if len(tries) <= 2:
            if len(tries) == 1:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=503)
        return web.Response(text="at last")

    async with origin(shaky) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(w.client.get(w.url()))
        await start(w)
        answer = await visit
        assert answer.status == 200
        assert await answer.text() == "at last"
        assert len(tries) == 3


async def test_visitor_who_leaves_frees_his_place() -> None:
    async with origin(hello) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.proxy.watch.waker.waiting == 1)
        visit.cancel()
        await until(lambda: w.proxy.watch.waker.waiting == 0)
        await until(lambda: w.proxy.watch.access.open_requests == 0)


async def down(request: web.Request) -> web.StreamResponse:
    return web.Response(status=503)


async def test_failed_start_answers_everybody_with_our_reason() -> None:
    async with origin(down) as url, world(asleep(url)) as w:
        visits = [asyncio.create_task(_post(w, "x")) for _ in range(5)]
        await start(w)
        await w.act(phase=Phase.FAILED, cycle=6, phase_reason=Reason.START_FAILED)
        answers = await asyncio.gather(*visits)

        for answer, text in answers:
            assert answer.status == 503
            assert json.loads(text)["reason"] == "StartFailed"
            assert answer.headers["Cache-Control"] == "no-store"
            assert int(answer.headers["Retry-After"]) > 0


async def test_visit_during_the_back_off_is_refused_and_after_it_asks_again() -> None:
    soon = utc_now() + timedelta(seconds=60)
    app = an_app(phase=Phase.FAILED, cycle=6, retry=Retry(1, soon))
    async with origin(hello) as url, world(replace(app, url=url)) as w:
        answer, text = await _post(w, "x")
        assert (answer.status, json.loads(text)["reason"]) == (503, "BackingOff")
        assert not w.registry.wakes
        await w.act(retry=Retry(1, utc_now()))
        visit = asyncio.create_task(_post(w, "x"))
        await start(w)
        answer, _ = await visit
        assert answer.status == 200


async def test_time_out_is_the_policys_and_says_so() -> None:
    policy = Policy(wake=Wake(timeout=timedelta(seconds=0.1)))
    async with origin(hello) as url, world(asleep(url, policy=policy)) as w:
        answer, text = await _post(w, "x")
        assert (answer.status, json.loads(text)["reason"]) == (503, "WakeTimedOut")


@pytest.mark.parametrize(
    ("change", "headers", "status", "reason", "asks"),
    [
        ({"policy": Policy(power=Power.ALWAYS_OFF)}, {}, 503, "AlwaysOff", False),
        ({"policy": Policy(mode=Mode.OBSERVE)}, {}, 503, "ObservedAsleep", False),
        ({"phase": Phase.GONE}, {}, 404, "Deleted", False),
        ({}, {"User-Agent": "UptimeRobot/2.0"}, 503, "NotWoken", False),
        ({}, {"Sec-Purpose": "prefetch;prerender"}, 503, "NotWoken", False),
        (
            {"policy": Policy(wake=Wake(by=WakeBy.VISIT))},
            {"User-Agent": "Mozilla/5.0", "Accept": "text/event-stream", "Sec-Fetch-Mode": "cors"},
            503,
            "NotWoken",
            False,
        ),
        ({"policy": Policy(wake=Wake(mode=WakeMode.REJECT))}, {}, 503, "Waking", True),
        ({"policy": Policy(wake=Wake(mode=WakeMode.PAGE))}, {}, 503, "Waking", True),
    ],
)
async def test_who_cannot_wait_is_told_why(
    change: dict[str, object], headers: dict[str, str], status: int, reason: str, asks: bool
) -> None:
    async with origin(hello) as url, world(replace(asleep(url), **change)) as w:  # type: ignore[arg-type]
        async with w.client.get(w.url(), headers=headers) as answer:
            problem = json.loads(await answer.read())
        assert (answer.status, problem["reason"]) == (status, reason)
        if asks:
            await until(lambda: w.registry.wakes == [("my-app", 5)])
        else:
            assert not w.registry.wakes


async def test_controller_that_is_away_is_said_to_be() -> None:
    async with origin(hello) as url, world(asleep(url)) as w:
        w.registry.overdue = timedelta(seconds=11)
        answer, text = await _post(w, "x")
        assert (answer.status, json.loads(text)["reason"]) == (503, "ControllerAway")


async def test_too_many_waiting_visitors_are_refused() -> None:
    settings = ProxySettings(ProxyConfig(max_held_per_app=2))
    async with origin(hello) as url, world(asleep(url), settings=settings) as w:
        visits = [asyncio.create_task(_post(w, "x")) for _ in range(2)]
        await until(lambda: w.proxy.watch.waker.waiting == 2)
        answer, text = await _post(w, "x")
        assert (answer.status, json.loads(text)["reason"]) == (503, "TooManyWaiting")
        await start(w)
        assert {answer.status for answer, _ in await asyncio.gather(*visits)} == {200}


async def test_health_check_of_an_awake_app_is_forwarded_and_is_no_use() -> None:
    async with origin(hello) as url, world(an_app(url=url)) as w:
        async with w.client.get(w.url(), headers={"User-Agent": "ELB-HealthChecker/2.0"}) as answer:
            assert answer.status == 200
        policy = Policy(ignore_access=IgnoreAccess(paths=("/ping",)))
        await w.act(policy=policy)
        async with w.client.get(w.url("/ping")) as answer:
            assert answer.status == 200
        assert not w.registry.writes


async def test_wish_is_asked_again_when_another_proxy_put_an_old_number_over_it() -> None:
    async with origin(hello) as url, world(asleep(url)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.registry.apps()["my-app"].wake_asked)
        await w.registry.record_access("my-app", utc_now(), wake_for=4)
        await start(w)
        answer, _ = await visit
        assert answer.status == 200
        assert w.registry.wakes == [("my-app", 5), ("my-app", 4), ("my-app", 5)]


async def test_wish_is_asked_anew_when_the_cycle_moved_on() -> None:
    async with origin(hello) as url:
        stopping = an_app(url=url, phase=Phase.STOPPING, cycle=7)
        async with world(stopping) as w:
            visit = asyncio.create_task(_post(w, "x"))
            await until(lambda: w.registry.wakes == [("my-app", 7)])
            await w.act(phase=Phase.ASLEEP, cycle=8)  # stopped by somebody else meanwhile
            await start(w)
            answer, _ = await visit
            assert answer.status == 200
            assert w.registry.wakes == [("my-app", 7), ("my-app", 8)]


async def test_dying_app_is_not_taken_for_ready() -> None:
    async with origin(hello) as url, world(an_app(url=url, phase=Phase.STOPPING, cycle=7)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.registry.wakes == [("my-app", 7)])
        await asyncio.sleep(0.3)  # long enough for a probe that must not be
        assert not visit.done()
        await w.act(phase=Phase.ASLEEP)
        await start(w)
        assert (await visit)[0].status == 200


# --- draining


async def test_request_during_a_drain_waits_for_its_own_write() -> None:
    reached = []

    async def note(request: web.Request) -> web.StreamResponse:
        reached.append(1)
        return web.Response()

    async with origin(note) as url:
        draining = an_app(url=url, phase=Phase.DRAINING, phase_since=utc_now())
        async with world(draining) as w:
            w.registry.gate = asyncio.Event()
            visit = asyncio.create_task(_post(w, "x"))
            await until(lambda: w.registry.writes == [("my-app", None)])
            assert not reached
            w.registry.gate.set()
            assert (await visit)[0].status == 200


async def test_request_whose_write_comes_back_stopping_is_held() -> None:
    async with origin(hello) as url:
        draining = an_app(url=url, phase=Phase.DRAINING, phase_since=utc_now())
        async with world(draining) as w:
            w.registry.gate = asyncio.Event()
            visit = asyncio.create_task(_post(w, "x"))
            await until(lambda: w.registry.writes == [("my-app", None)])
            record = w.registry.apps()["my-app"]
            await w.registry.update(
                "my-app", {"phase": Phase.STOPPING, "cycle": 2}, seen_version=record.version
            )
            w.registry.gate.set()
            await until(lambda: w.registry.wakes == [("my-app", 2)])
            assert not visit.done()
            await w.act(phase=Phase.ASLEEP)
            await start(w)
            assert (await visit)[0].status == 200


async def test_open_request_objects_to_a_drain_before_the_heartbeat_passes_it() -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response()

    async with origin(slow) as url, world(an_app(url=url)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: len(w.registry.writes) == 1)
        w.registry.gate = asyncio.Event()
        draining = await w.act(phase=Phase.DRAINING, phase_since=utc_now())
        await until(lambda: len(w.registry.writes) == 2)
        await w.proxy.watch._send_heartbeat(
            w.proxy.watch.access.safe_position(w.registry.position())
        )
        assert max(w.registry.positions) < draining.version
        w.registry.gate.set()
        await until(lambda: max(w.registry.positions) >= draining.version)
        go.set()
        assert (await visit)[0].status == 200


async def test_unused_app_lets_the_heartbeat_pass_at_once() -> None:
    async with origin(hello) as url, world(an_app(url=url)) as w:
        draining = await w.act(phase=Phase.DRAINING, phase_since=utc_now())
        await until(lambda: max(w.registry.positions) >= draining.version, within=1)
        assert not w.registry.writes


async def test_registry_outage_holds_requests_only_where_it_must() -> None:
    async with origin(hello) as url:
        drained = an_app("other", url=url, phase=Phase.DRAINING, phase_since=utc_now())
        async with world(an_app(url=url), drained) as w:
            w.registry.failing = RegistryUnavailable("away")
            assert (await _post(w, "x"))[0].status == 200
            visit = asyncio.create_task(w.client.get(w.url(host="other.localhost")))
            await until(lambda: ("other", None) in w.registry.writes)
            await asyncio.sleep(0.05)
            assert not visit.done()
            w.registry.failing = None
            answer = await visit
            assert answer.status == 200


async def test_outage_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxy.watch")
    async with origin(hello) as url, world(an_app(url=url)) as w:
        w.registry.failing = RegistryUnavailable("away")
        assert (await _post(w, "x"))[0].status == 200
        await until(lambda: len(w.registry.writes) >= 3)
        w.registry.failing = None
        await until(lambda: "takes what is written again" in caplog.text)
        assert caplog.text.count("did not take") == 1


# --- links


async def test_visit_wakes_linked_apps_and_waits_for_its_own_alone() -> None:
    async with origin(hello) as url:
        front = an_app("front", url=url, policy=Policy(linked_apps=("back",)))
        back = an_app("back", url=url, phase=Phase.ASLEEP, cycle=3)
        async with world(front, back) as w:
            async with w.client.get(w.url(host="front.localhost")) as answer:
                assert answer.status == 200
            await until(lambda: w.registry.wakes == [("back", 3)])


async def test_open_request_objects_to_the_drain_of_a_linked_app() -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response()

    async with origin(slow) as url:
        front = an_app("front", url=url, policy=Policy(linked_apps=("back",)))
        back = an_app("back", url=url)
        async with world(front, back) as w:
            visit = asyncio.create_task(w.client.get(w.url(host="front.localhost")))
            await until(lambda: w.registry.writes == [("front", None)])
            assert w.proxy.watch.access.open_for("back") == 1
            await w.act("back", phase=Phase.DRAINING, phase_since=utc_now())
            await until(lambda: ("back", None) in w.registry.writes)
            go.set()
            assert (await visit).status == 200
            await until(lambda: w.proxy.watch.access.open_for("back") == 0)


# --- an origin that looks stopped


async def test_stopped_origin_of_an_awake_app_is_reported_woken_and_answers() -> None:
    state = {"stopped": True}

    async def front(request: web.Request) -> web.StreamResponse:
        if state["stopped"]:
            return web.Response(status=503, headers={"X-Verdict": "stopped"}, text="theirs")
        return web.Response(text="app")

    async with origin(front) as url, world(an_app(url=url, cycle=6)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.registry.wakes == [("my-app", 6)])
        await w.act(phase=Phase.ASLEEP, cycle=7)
        await until(lambda: w.registry.wakes[-1] == ("my-app", 7))
        state["stopped"] = False
        await start(w)
        answer, text = await visit
        assert (answer.status, text) == (200, "app")


async def test_doubtful_answer_is_relayed_unchanged_when_the_app_runs() -> None:
    async def unwell(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"X-Verdict": "maybe"}, text="my own 503")

    async with origin(unwell) as url, world(an_app(url=url, cycle=6)) as w:
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: w.registry.wakes == [("my-app", 6)])
        assert not visit.done()
        await w.act(cycle=7)  # inspected: it runs
        answer = await visit
        assert (answer.status, await answer.text()) == (503, "my own 503")
        async with w.client.get(w.url()) as again:  # and the next is not reported so soon
            assert again.status == 503
        assert w.registry.wakes == [("my-app", 6)]


async def test_doubtful_answer_of_a_sleeping_app_is_never_shown() -> None:
    state = {"stopped": True}

    async def front(request: web.Request) -> web.StreamResponse:
        if state["stopped"]:
            return web.Response(status=503, headers={"X-Verdict": "maybe"}, text="theirs")
        return web.Response(text="app")

    async with origin(front) as url, world(an_app(url=url, cycle=6)) as w:
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: w.registry.wakes == [("my-app", 6)])
        state["stopped"] = False
        await w.act(phase=Phase.ASLEEP, cycle=7)
        await start(w)
        answer = await visit
        assert (answer.status, await answer.text()) == (200, "app")


async def test_order_that_a_stopped_front_refused_is_placed_after_the_wake() -> None:
    state = {"stopped": True}

    async def front(request: web.Request) -> web.StreamResponse:
        if state["stopped"]:
            return web.Response(status=503, headers={"X-Verdict": "stopped"})
        return await hello(request)

    async with origin(front) as url, world(an_app(url=url, cycle=6)) as w:
        visit = asyncio.create_task(_post(w, "order"))
        await until(lambda: w.registry.wakes == [("my-app", 6)])
        state["stopped"] = False
        await w.act(phase=Phase.ASLEEP, cycle=7)
        await start(w)
        answer, text = await visit
        assert (answer.status, text) == (200, "hello order")


async def test_app_that_looks_stopped_for_ever_ends_in_an_honest_answer() -> None:
    async def front(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503, headers={"X-Verdict": "stopped"}, text="theirs")

    async with origin(front) as url, world(an_app(url=url, cycle=6)) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.registry.wakes == [("my-app", 6)])
        await w.act(cycle=7)
        answer, text = await visit
        assert (answer.status, json.loads(text)["reason"]) == (503, "OriginStopped")


# --- counts


async def test_visitors_who_are_refused_do_not_count_as_use() -> None:
    policy = Policy(power=Power.ALWAYS_OFF)
    async with origin(hello) as url, world(an_app(url=url, policy=policy)) as w:
        for _ in range(3):
            answer, _text = await _post(w, "x")
            assert answer.status == 503
        assert not w.registry.writes


async def test_open_counts_return_to_zero_whatever_visitors_do() -> None:
    rng = random.Random(7)

    async def varied(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        for _ in range(rng.randrange(5)):
            await out.write(b"x" * 1000)
            await asyncio.sleep(0.01)
        return out

    async def visit(w: World, name: str) -> None:
        try:
            async with asyncio.timeout(rng.random() * 0.3):
                async with w.client.post(w.url(host=f"{name}.localhost"), data=b"y") as answer:
                    await answer.read()
        except (TimeoutError, aiohttp.ClientError):
            pass

    async with origin(varied) as url:
        links = Policy(linked_apps=("b", "c"))
        apps = (
            an_app("a", url=url, policy=links),
            an_app("b", url=url),
            an_app("c", url=url, phase=Phase.ASLEEP, cycle=2),
        )
        async with world(*apps) as w:
            async with asyncio.TaskGroup() as group:
                for _ in range(150):
                    group.create_task(visit(w, rng.choice("abc")))
            watch = w.proxy.watch
            await until(lambda: watch.access.open_requests == 0)
            assert [watch.access.open_for(name) for name in "abc"] == [0, 0, 0]
            assert watch.waker.waiting == 0


# --- leaving


async def test_leaving_proxy_lets_requests_finish_and_says_goodbye() -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(text="done")

    async with origin(slow) as url, world(an_app(url=url)) as w:
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: w.proxy.watch.access.open_requests == 1)
        w.stop.set()
        await until(lambda: not w.proxy.serving)
        with pytest.raises(aiohttp.ClientConnectorError):
            await w.client.get(w.url())
        assert not w.registry.goodbyes
        go.set()
        answer = await visit
        assert await answer.text() == "done"
        await until(lambda: w.registry.goodbyes == ["proxy-1"])
        assert w.registry.apps()["my-app"].last_access_time is not None


async def test_leaving_proxy_tells_held_visitors_honestly() -> None:
    settings = ProxySettings(ProxyConfig(drain_timeout=timedelta(seconds=1.2)))
    async with origin(hello) as url, world(asleep(url), settings=settings) as w:
        visit = asyncio.create_task(_post(w, "x"))
        await until(lambda: w.proxy.watch.waker.waiting == 1)
        w.stop.set()
        answer, text = await visit
        assert (answer.status, json.loads(text)["reason"]) == (503, "ShuttingDown")


async def test_proxy_registers_before_it_lists_and_serves_after() -> None:
    registry = CountingRegistry()
    async with world(an_app(url="http://127.0.0.1:9"), registry=registry) as w:
        assert registry.positions[0] == 0
        assert w.proxy.serving
        assert "my-app" in w.proxy.watch.apps
