"""The system port: who gets what, and what it looks like."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from paastis.app import Activity, Phase, Process, Snapshot
from paastis.errors import ConfigError, RegistryUnavailable
from paastis.policy import Policy, Power
from paastis.reasons import Reason
from paastis.secret import Secret
from paastis.system import api as api_module
from paastis.system.api import TARGET_HEADER, TOKEN_HEADER, SystemApi
from paastis.system.server import SystemPort
from tests.paastis.registry.contract import NOON, an_app, soon, until
from tests.paastis.system.conftest import BEARER, TOKEN, World, given

DISABLED = [
    ("GET", "/apps"),
    ("DELETE", "/apps"),
    ("GET", "/apps/shop"),
    ("POST", "/apps/shop/wake"),
    ("GET", "/events"),
    ("GET", "/accounts"),
    ("GET", "/openapi.json"),
]


async def problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The problem document of an answer."""
    assert response.content_type == "application/problem+json"
    answer: dict[str, Any] = json.loads(await response.read())
    assert answer["status"] == response.status
    assert answer["title"]
    assert answer["detail"]
    return answer


# --- health and metrics


async def test_health_tells_what_the_program_says(
    world: World, stranger: aiohttp.ClientSession
) -> None:
    async with stranger.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok", "message": "All loops turn."}
    world.alive = (False, "The reconciler stands still.")
    async with stranger.get("/healthz") as response:
        assert response.status == 503
        assert (await response.json())["message"] == "The reconciler stands still."


async def test_readiness_is_not_health(world: World, stranger: aiohttp.ClientSession) -> None:
    world.ready = (False, "The first listing is on its way.")
    async with stranger.get("/readyz") as response:
        assert response.status == 503
    async with stranger.get("/healthz") as response:
        assert response.status == 200


async def test_metrics_are_scraped_without_a_token(
    world: World, stranger: aiohttp.ClientSession
) -> None:
    world.metrics.errors.labels("test").inc()
    async with stranger.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert 'paastis_errors_total{place="test"} 1.0' in await response.text()


async def test_head_is_answered_like_get_without_a_body(stranger: aiohttp.ClientSession) -> None:
    async with stranger.head("/healthz") as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_wrong_method_on_a_public_path_is_405(stranger: aiohttp.ClientSession) -> None:
    async with stranger.post("/healthz") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"
        await problem(response)


# --- who may


@pytest.mark.parametrize(("method", "path"), DISABLED)
async def test_disabled_api_is_not_there_even_with_a_token(
    world: World, method: str, path: str
) -> None:
    closed = SystemApi(world.instance(), enabled=False, token=Secret(TOKEN))
    async with (
        SystemPort(closed, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port.port}", headers=BEARER) as session,
    ):
        async with session.request(method, path) as response:
            assert response.status == 404
        async with session.get("/healthz") as response:
            assert response.status == 200


async def test_api_that_only_reads_says_how_to_change_things(world: World) -> None:
    await given(world, an_app())
    api = SystemApi(
        world.instance(), enabled=True, token=Secret(TOKEN), read_only="Use kubectl for that."
    )
    async with (
        SystemPort(api, host="127.0.0.1", port=0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port.port}", headers=BEARER) as session,
    ):
        for method, path in [("POST", "/apps/shop/wake"), ("DELETE", "/apps")]:
            async with session.request(method, path) as response:
                assert response.status == 409
                assert (await problem(response))["detail"] == "Use kubectl for that."
        async with session.get("/apps") as response:
            assert response.status == 200
        async with session.head("/apps") as response:
            assert response.status == 200
    assert world.forgotten == 0


@pytest.mark.parametrize(("method", "path"), [*DISABLED, ("GET", "/nowhere"), ("PUT", "/apps")])
async def test_without_token_everything_else_is_401(
    stranger: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with stranger.request(method, path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="paastis"'
        await problem(response)


@pytest.mark.parametrize(
    "given_header",
    [
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
    ],
)
async def test_wrong_token_is_401(stranger: aiohttp.ClientSession, given_header: str) -> None:
    headers = {"Authorization": given_header}
    async with stranger.get("/apps", headers=headers) as response:
        assert response.status == 401
        assert "WWW-Authenticate" in response.headers


async def test_token_that_is_no_text_is_401(port: SystemPort) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
    try:
        writer.write(b"GET /apps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
        assert (await soon(reader.readline())).startswith(b"HTTP/1.1 401 ")
    finally:
        writer.close()
        await writer.wait_closed()


async def test_scheme_is_case_insensitive(stranger: aiohttp.ClientSession) -> None:
    async with stranger.get("/apps", headers={"Authorization": f"bearer  {TOKEN}"}) as response:
        assert response.status == 200


@pytest.mark.parametrize("token", [None, Secret("")])
def test_enabled_api_without_a_token_is_refused(world: World, token: Secret | None) -> None:
    with pytest.raises(ValueError, match="token"):
        SystemApi(world.instance(), enabled=True, token=token)


async def test_unknown_path_is_404_and_wrong_method_405(client: aiohttp.ClientSession) -> None:
    async with client.get("/nowhere") as response:
        assert response.status == 404
        await problem(response)
    async with client.put("/apps") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "DELETE, GET, HEAD"
    async with client.get("/apps/shop/wake") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"


# --- through the visitors' port


@pytest.fixture
async def visitor(api: SystemApi) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a server that sends system requests to the API, as the proxy does."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", api.serve_by_header)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    headers = {TARGET_HEADER: "system"}
    try:
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{runner.addresses[0][1]}", headers=headers
        ) as session:
            yield session
    finally:
        await runner.cleanup()


async def test_header_opens_the_same_api(world: World, visitor: aiohttp.ClientSession) -> None:
    await given(world, an_app())
    async with visitor.get("/apps", headers={TOKEN_HEADER: TOKEN}) as response:
        assert [app["name"] for app in await response.json()] == ["shop"]
    async with visitor.put("/apps", headers={TOKEN_HEADER: TOKEN}) as response:
        assert response.status == 405


@pytest.mark.parametrize("path", ["/apps", "/healthz", "/metrics", "/nowhere"])
async def test_header_without_the_token_is_401_for_every_path(
    visitor: aiohttp.ClientSession, path: str
) -> None:
    for headers in ({}, {TOKEN_HEADER: "wrong"}, {"Authorization": f"Bearer {TOKEN}"}):
        async with visitor.get(path, headers=headers) as response:
            assert response.status == 401


# --- apps


async def test_app_is_shown_with_everything_people_ask(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(
        world,
        an_app(
            phase=Phase.ASLEEP,
            phase_since=NOON,
            phase_reason=Reason.IDLE,
            cycle=3,
            url="https://shop.osc-fr1.example",
            policy=Policy(sources={"max_idle_time": "rule 'shop' (paastis.yml, line 4)"}),
            formation=(Process("web", 2, "M"),),
            snapshot=Snapshot(NOON, (Process("web", 2, "M"),), ("a1",)),
            last_activity=Activity(NOON, Reason.DISCOVERED),
            usual_boot=timedelta(seconds=3.5),
            asleep_seconds=12.5,
        ),
    )
    async with client.get("/apps/shop") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        app = await response.json()
    expected = {
        "name": "shop",
        "account": "main",
        "phase": "Asleep",
        "phase_since": "2026-03-02T12:00:00Z",
        "reason": "Idle",
        "cycle": 3,
        "addresses": ["http://shop.localhost:3000/"],
        "last_access_time": None,
        "last_activity": {"time": "2026-03-02T12:00:00Z", "reason": "Discovered"},
        "sleeps_at": "2026-03-02T13:00:00Z",
        "max_idle_time": "15m",
        "formation": [{"type": "web", "amount": 2, "size": "M"}],
        "usual_boot_seconds": 3.5,
        "asleep_seconds": 12.5,
        "decision": {
            "action": "Nothing",
            "reason": "InUse",
            "message": "shop is in use.",
            "look_again_at": None,
        },
    }
    assert {key: app[key] for key in expected} == expected
    assert app["policy"]["sources"] == {"max_idle_time": "rule 'shop' (paastis.yml, line 4)"}
    assert app["snapshot"]["autoscalers"] == ["a1"]


async def test_app_is_found_by_its_remote_name(world: World, client: aiohttp.ClientSession) -> None:
    await given(world, an_app("shop-1a2b", app_name="Shop_1"))
    async with client.get("/apps/Shop_1") as response:
        assert (await response.json())["name"] == "shop-1a2b"


async def test_ambiguous_remote_name_is_a_conflict_that_names_the_records(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(world, an_app("x", app_name="shop"))
    await given(world, an_app("y", app_name="shop"))
    async with client.get("/apps/shop") as response:
        assert response.status == 409
        assert "x, y" in (await problem(response))["detail"]
    await given(world, an_app("shop", app_name="other"))
    async with client.get("/apps/shop") as response:
        assert (await response.json())["app_name"] == "other"


async def test_remote_name_means_the_app_that_took_it_over(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(world, an_app("old", app_name="shop", phase=Phase.GONE))
    await given(world, an_app("new", app_name="shop"))
    async with client.get("/apps/shop") as response:
        assert (await response.json())["name"] == "new"


async def test_unknown_app_is_404(client: aiohttp.ClientSession) -> None:
    for method, path in (
        ("GET", "/apps/no"),
        ("POST", "/apps/no/wake"),
        ("POST", "/apps/no/sleep"),
    ):
        async with client.request(method, path) as response:
            assert response.status == 404
            assert "'no'" in (await problem(response))["detail"]


async def test_wake_keeps_awake_for_one_idle_time_and_takes_a_sleep_back(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(world, an_app(phase=Phase.ASLEEP, cycle=4))
    async with client.post("/apps/shop/sleep") as response:
        assert response.status == 202
    async with client.post("/apps/shop/wake") as response:
        assert response.status == 202
        assert (await response.json())["overrides"]["awake_until"] == "2026-03-02T12:15:00Z"
    overrides = world.registry.apps()["shop"].overrides
    assert (overrides.awake_until, overrides.sleep_for) == (NOON + timedelta(minutes=15), None)


async def test_sleep_asks_for_this_cycle_and_takes_a_wake_back(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(world, an_app(phase=Phase.AWAKE, cycle=4))
    async with client.post("/apps/shop/wake"):
        pass
    async with client.post("/apps/shop/sleep") as response:
        assert response.status == 202
    overrides = world.registry.apps()["shop"].overrides
    assert (overrides.awake_until, overrides.sleep_for) == (None, 4)


async def test_wake_of_an_app_without_idle_time_lasts_as_long_as_a_use(
    world: World, client: aiohttp.ClientSession
) -> None:
    policy = Policy(max_idle_time=timedelta(0), access_resolution=timedelta(seconds=10))
    await given(world, an_app(phase=Phase.ASLEEP, policy=policy))
    async with client.post("/apps/shop/wake"):
        pass
    assert world.registry.apps()["shop"].overrides.awake_until == NOON + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("power", "order"), [(Power.ALWAYS_OFF, "wake"), (Power.ALWAYS_ON, "sleep")]
)
async def test_order_that_the_policy_outranks_is_refused(
    world: World, client: aiohttp.ClientSession, power: Power, order: str
) -> None:
    await given(world, an_app(phase=Phase.AWAKE, policy=Policy(power=power)))
    async with client.post(f"/apps/shop/{order}") as response:
        assert response.status == 409
        assert power.value in (await problem(response))["detail"]


async def test_unmanaged_app_takes_no_orders(world: World, client: aiohttp.ClientSession) -> None:
    await given(world, an_app(phase=Phase.UNMANAGED, phase_reason=Reason.MAINTENANCE))
    async with client.post("/apps/shop/wake") as response:
        assert response.status == 409
        assert "Maintenance" in (await problem(response))["detail"]


async def test_forget_calls_the_program(world: World, client: aiohttp.ClientSession) -> None:
    await given(world, an_app())
    async with client.delete("/apps") as response:
        assert await response.json() == {"forgotten": 1}
    assert world.forgotten == 1


async def test_forget_without_the_provider_says_so(
    world: World, client: aiohttp.ClientSession
) -> None:
    world.provider_down = True
    async with client.delete("/apps") as response:
        assert response.status == 502
        assert "Acme cannot be reached" in (await problem(response))["detail"]


async def test_accounts_are_listed(client: aiohttp.ClientSession) -> None:
    async with client.get("/accounts") as response:
        (account,) = await response.json()
    assert account["name"] == "main"
    assert account["reachable"] is True
    assert account["budget_left"] is None


# --- what goes wrong


async def test_unavailable_registry_is_503_with_retry_after(
    world: World, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await given(world, an_app(phase=Phase.AWAKE))

    async def fail(*_: object, **__: object) -> None:
        raise RegistryUnavailable("The state file could not be written: disk full.")

    monkeypatch.setattr(world.registry, "update", fail)
    async with client.post("/apps/shop/sleep") as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "disk full" in (await problem(response))["detail"]


async def test_mistake_of_ours_is_500_counted_and_says_nothing(
    world: World, client: aiohttp.ClientSession
) -> None:
    await given(world, an_app())
    world.broken = True
    async with client.get("/apps") as response:
        assert response.status == 500
        assert "tk-secret" not in await response.text()
    body, _ = world.metrics.render()
    assert b'paastis_errors_total{place="system"} 1.0' in body


async def test_port_in_use_is_one_sentence(api: SystemApi) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"ROUTING_SYSTEM_API_PORT: .*127\.0\.0\.1:{number}"):
            await SystemPort(api, host="127.0.0.1", port=number).start()
        probe = SystemPort(api, host="127.0.0.1", port=number, variable="CONTROLLER_PROBE_PORT")
        with pytest.raises(ConfigError, match=r"^CONTROLLER_PROBE_PORT: "):
            await probe.start()


# --- events


async def event(response: aiohttp.ClientResponse) -> list[str]:
    """The lines of the next event or comment."""
    lines = []
    while line := (await soon(response.content.readline())).decode().rstrip("\n"):
        lines.append(line)
    return lines


async def test_events_show_changes_and_removals(
    world: World, client: aiohttp.ClientSession
) -> None:
    async with client.get("/events") as response:
        assert response.content_type == "text/event-stream"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert await event(response) == [": connected"]
        app = await given(world, an_app())
        number, kind, data = await event(response)
        assert (number, kind) == (f"id: {app.version}", "event: app")
        shown = json.loads(data.removeprefix("data: "))
        assert (shown["name"], shown["app"]["phase"]) == ("shop", "Unmanaged")
        await world.registry.remove("shop", seen_version=app.version)
        _, _, data = await event(response)
        assert json.loads(data.removeprefix("data: "))["app"] is None


async def test_silent_events_have_a_heartbeat(
    world: World, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "EVENT_HEARTBEAT", timedelta(milliseconds=10))
    async with client.get("/events") as response:
        await event(response)
        assert await event(response) == [": still here"]
        assert await event(response) == [": still here"]
        await given(world, an_app())
        while (lines := await event(response)) == [": still here"]:
            pass
        assert lines[1] == "event: app"


async def test_events_end_when_the_port_closes(api: SystemApi) -> None:
    port = SystemPort(api, host="127.0.0.1", port=0)
    await port.start()
    async with (
        aiohttp.ClientSession(headers=BEARER) as session,
        session.get(f"http://127.0.0.1:{port.port}/events") as response,
    ):
        await event(response)
        await soon(port.aclose())
        assert await soon(response.content.read()) == b""


async def test_events_end_when_the_registry_closes(
    world: World, client: aiohttp.ClientSession
) -> None:
    async with client.get("/events") as response:
        await event(response)
        await world.registry.aclose()
        assert await soon(response.content.read()) == b""


async def test_reader_that_left_frees_its_place(
    world: World, api: SystemApi, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "EVENT_HEARTBEAT", timedelta(milliseconds=10))
    monkeypatch.setattr(api_module, "MOST_EVENT_STREAMS", 1)
    async with client.get("/events") as response:
        await event(response)
        async with client.get("/events") as second:
            assert second.status == 503
    await until(lambda: api._streams == 0)
    async with client.get("/events") as response:
        assert response.status == 200
