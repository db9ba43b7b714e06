"""The hands of the person who directs the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.paastis.simulate.conftest import Caller


async def test_truth_tells_formation_containers_and_autoscalers(caller: Caller) -> None:
    _, apps = await caller.direct("GET", "/apps")
    assert len(apps) == 10
    assert apps[0]["name"] == "my-app"
    assert apps[0]["formation"] == {
        "web": {"amount": 2, "size": "M"},
        "worker": {"amount": 1, "size": "S"},
        "clock": {"amount": 0, "size": "S"},
    }
    assert [c["label"] for c in apps[0]["containers"]] == ["web-1", "web-2", "worker-1"]
    assert apps[0]["autoscalers"][0]["disabled"] is False


async def test_default_apps_show_every_situation(caller: Caller) -> None:
    _, apps = await caller.direct("GET", "/apps")
    statuses = {app["name"]: app["status"] for app in apps}
    assert statuses["old-prototype"] == "stopped"
    assert statuses["never-deployed"] == "new"
    assert {"app-review-pr42-front", "app-review-pr42-back"} <= statuses.keys()


async def test_added_app_runs_at_once_and_is_listed(caller: Caller) -> None:
    status, app = await caller.direct(
        "POST", "/apps", {"name": "fresh", "boot_time": "80ms", "formation": {"web": 1}}
    )
    assert (status, app["status"]) == (201, "running")
    assert (await caller.api("GET", "/v1/apps/fresh"))[0] == 200
    async with caller.visit("fresh") as response:
        assert response.status == 200


async def test_second_app_of_a_name_is_a_conflict(caller: Caller) -> None:
    status, data = await caller.direct("POST", "/apps", {"name": "my-app"})
    assert (status, data["error"]) == (409, "my-app exists in osc-fr1")


@pytest.mark.parametrize("body", [{}, {"name": "UPPER"}, {"name": "x", "colour": 1}])
async def test_app_that_makes_no_sense_is_refused(caller: Caller, body: object) -> None:
    status, data = await caller.direct("POST", "/apps", body)
    assert status == 400
    assert data["error"].startswith("app: ")


async def test_deleted_app_is_gone_and_its_name_free(caller: Caller) -> None:
    _, old = await caller.direct("GET", "/apps/storybook")
    assert (await caller.direct("DELETE", "/apps/storybook"))[0] == 204
    assert (await caller.api("GET", "/v1/apps/storybook"))[0] == 404
    async with caller.visit("storybook") as response:
        assert response.status == 404
    _, new = await caller.direct("POST", "/apps", {"name": "storybook"})
    assert new["id"] != old["id"]


async def test_hand_scales_with_an_amount_or_with_amount_and_size(caller: Caller) -> None:
    assert (await caller.direct("POST", "/apps/storybook/scale", {"web": 0}))[0] == 202
    await caller.settled("storybook", "stopped")
    _, app = await caller.direct(
        "POST", "/apps/storybook/scale", {"web": {"amount": 2, "size": "L"}}
    )
    assert app["formation"] == {"web": {"amount": 2, "size": "L"}}
    assert app["status"] == "scaling"
    _, events = await caller.api("GET", "/v1/apps/storybook/events?per_page=1")
    assert events["events"][0]["user"]["username"] != "demo"


async def test_hand_is_refused_as_the_api_is(caller: Caller) -> None:
    assert (await caller.direct("POST", "/apps/storybook/scale", {"api": 1}))[0] == 404
    assert (await caller.direct("POST", "/apps/storybook/scale", {"web": 1}))[0] == 409
    assert (await caller.direct("POST", "/apps/storybook/scale", {"web": "many"}))[0] == 400
    assert (await caller.direct("POST", "/apps/nobody/scale", {"web": 1}))[0] == 404


async def test_deployment_may_change_the_procfile(caller: Caller) -> None:
    body = {"formation": {"web": None, "api": None}}
    assert (await caller.direct("POST", "/apps/my-app/deploy", body))[0] == 202
    await caller.settled("my-app", "running")
    _, app = await caller.direct("GET", "/apps/my-app")
    assert {name: p["amount"] for name, p in app["formation"].items()} == {"web": 2, "api": 0}


async def test_crash_for_good_ends_in_crashed(caller: Caller) -> None:
    app = caller.simulator.world.find("storybook")
    assert app is not None
    app.boot_time /= 100
    await caller.direct("POST", "/apps/storybook/crash", {"boot_failures": "always"})
    await caller.settled("storybook", "crashed")


async def test_one_container_crashes_alone(caller: Caller) -> None:
    _, app = await caller.direct("POST", "/apps/my-app/crash", {"container": "worker-1"})
    states = {c["label"]: c["state"] for c in app["containers"]}
    assert states == {"web-1": "running", "web-2": "running", "worker-1": "booting"}


async def test_log_of_calls_is_forgotten_on_demand(caller: Caller) -> None:
    await caller.api("GET", "/v1/apps")
    await caller.direct("DELETE", "/requests")
    assert await caller.direct("GET", "/requests") == (200, [])
