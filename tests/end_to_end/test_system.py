"""The system API's three doors, and the commands that use the one on this machine."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from tests.end_to_end.programs import QUICK, app, command, until

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

    from tests.end_to_end.conftest import NewWorld

SECRET = "xxx-yyy-zzz"
ENABLED = {"ROUTING_SYSTEM_API_ENABLED": "true", "ROUTING_SYSTEM_API_TOKEN": SECRET}


async def test_system_port_serves_the_api_for_its_token(
    new_world: NewWorld, http: aiohttp.ClientSession
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**ENABLED)

        async def status(method: str, path: str, token: str | None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            url = paastis.system_url + path
            async with http.request(method, url, headers=headers) as answer:
                return answer.status

        assert await status("GET", "/healthz", None) == 200
        assert await status("GET", "/readyz", None) == 200
        assert await status("GET", "/metrics", None) == 200
        assert await status("GET", "/apps", None) == 401
        assert await status("GET", "/apps", SECRET + "x") == 401
        assert await status("GET", "/apps", SECRET) == 200
        assert await status("GET", "/apps/shop", SECRET) == 200
        assert await status("GET", "/apps/nobody", SECRET) == 404
        assert await status("GET", "/nothing", SECRET) == 404
        assert await status("PUT", "/apps", SECRET) == 405
        assert await status("POST", "/apps/shop/sleep", None) == 401
        assert await status("GET", "/openapi.json", SECRET) == 200
        assert (await paastis.record("shop"))["phase"] == "Awake"

        assert await status("POST", "/apps/shop/sleep", SECRET) == 202
        await paastis.reaches("shop", "Asleep", within=30)
        assert await status("POST", "/apps/shop/wake", SECRET) == 202
        await paastis.reaches("shop", "Awake", within=30)
        assert await status("DELETE", "/apps", SECRET) == 200


async def test_visitors_port_serves_the_api_for_two_headers_that_no_app_sees(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**ENABLED)
        system = {"PaastisProxyTarget": "system"}
        allowed = {**system, "PaastisProxySystemApiToken": SECRET}

        assert (await paastis.visit("any", "/apps", headers=system)).status == 401
        refused = {**allowed, "PaastisProxySystemApiToken": "guessed"}
        assert (await paastis.visit("any", "/apps", headers=refused)).status == 401
        answer = await paastis.visit("any", "/apps", headers=allowed)
        assert answer.status == 200
        assert [one["app_name"] for one in json.loads(answer.body)] == ["shop"]
        assert (await paastis.visit("any", "/no", headers=allowed)).status == 404
        assert (await paastis.visit("any", "/apps", method="PUT", headers=allowed)).status == 405

        stray = {"PaastisProxyTarget": "other", "PaastisProxySystemApiToken": SECRET}
        echoed = await paastis.visit("shop", "/echo", headers=stray)
        assert echoed.status == 200
        assert SECRET not in echoed.body
        assert "paastisproxy" not in echoed.body.lower()


async def test_system_api_that_is_not_enabled_serves_health_alone(
    new_world: NewWorld, http: aiohttp.ClientSession
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run()

        async with http.get(f"{paastis.system_url}/apps") as answer:
            assert answer.status == 404
        async with http.get(f"{paastis.system_url}/healthz") as answer:
            assert answer.status == 200
        system = {"PaastisProxyTarget": "system", "PaastisProxySystemApiToken": ""}
        assert (await paastis.visit("shop", "/apps", headers=system)).status == 404


async def test_commands_ask_the_running_instance_over_a_socket_of_this_user_alone(
    new_world: NewWorld,
) -> None:
    rules = "rules:\n  - pattern: 'shop'\n    app_max_idle_time: 7\n"
    async with new_world(apps=[app("shop"), app("other")]) as world:
        paastis = await world.run(rules=rules, PROVIDER_SCALINGO_CALLS_PER_MINUTE="6000")
        mode = (world.directory / "paastis.db.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600

        apps = await paastis.cli("apps")
        assert apps.returncode == 0
        row = next(line for line in apps.stdout.splitlines() if line.startswith("shop "))
        assert "Awake" in row
        assert f"http://shop.localhost:{paastis.port}/" in row
        as_json = json.loads((await paastis.cli("apps", "--json")).stdout)
        assert [one["app_name"] for one in as_json] == ["other", "shop"]

        explained = (await paastis.cli("explain", "shop")).stdout
        idle = next(line for line in explained.splitlines() if line.startswith("sleeps after"))
        assert "7m" in idle
        assert "paastis.yml" in idle or "rule" in idle

        slept = await paastis.cli("sleep", "shop")
        assert (slept.returncode, slept.stderr) == (0, "")
        await paastis.reaches("shop", "Asleep")
        woken = await paastis.cli("wake", "shop")
        assert (woken.returncode, woken.stderr) == (0, "")
        await paastis.reaches("shop", "Awake")

        unknown = await paastis.cli("explain", "nobody")
        assert unknown.returncode == 1
        assert unknown.stderr == "paastis: No app is called 'nobody'.\n"


async def test_commands_say_when_nothing_runs(directory: Path) -> None:
    settings = {"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": "tk-us-x"}
    for words in (["apps"], ["explain", "shop"], ["wake", "shop"], ["sleep", "shop"]):
        ended = await command(*words, directory=directory, settings=settings)
        assert ended.returncode == 1
        assert len(ended.stderr.splitlines()) == 1
        assert "No paastis is running here" in ended.stderr


async def test_app_that_is_kept_awake_by_order_outlives_its_idle_time_once(
    new_world: NewWorld,
) -> None:
    async with new_world(apps=[app("shop")]) as world:
        paastis = await world.run(**QUICK)
        await paastis.order("shop", "wake")
        assert (await paastis.record("shop"))["decision"]["reason"] == "AwakeUntil"

        async def stopped() -> bool:
            return bool(await world.sim.scales("shop"))

        await until(stopped, what="it sleeps again when the time is over")
