"""What Scalingo's API promises, over real sockets."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from paastis.simulate.app import ProcessSpec
from paastis.simulate.spec import AppSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.paastis.simulate.conftest import Caller

    Start = Callable[..., Awaitable[Caller]]


async def test_exchange_sells_a_decodable_token_that_tells_its_expiry(caller: Caller) -> None:
    assert await caller.exchange() == 200
    claims = jwt.decode(caller.bearer, options={"verify_signature": False})
    assert claims["iss"] == "Scalingo"
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - time.time()) < 60


@pytest.mark.parametrize(
    ("token", "user"), [("tk-us-wrong", ""), ("tk-us-simulated", "me"), ("", "")]
)
async def test_exchange_refuses_anything_but_the_token_without_a_user(
    caller: Caller, token: str, user: str
) -> None:
    assert await caller.exchange(token, user) == 401


async def test_unknown_bearer_is_refused_with_json(caller: Caller) -> None:
    caller.bearer = "a.b.c"
    status, data = await caller.api("GET", "/v1/apps")
    assert (status, list(data)) == (401, ["error"])


async def test_bearer_expires_at_the_end_of_its_lifetime(start: Start) -> None:
    caller = await start(token_lifetime=timedelta())
    assert (await caller.api("GET", "/v1/apps"))[0] == 401


async def test_each_region_lists_its_own_apps_only(start: Start) -> None:
    other = "osc-secnum-fr1"
    caller = await start(apps=(AppSpec(name="here"), AppSpec(name="there", region=other)))
    _, data = await caller.api("GET", "/v1/regions")
    listed = {}
    for region in data["regions"]:
        _, found = await caller.api("GET", f"{region['api']}/v1/apps")
        listed[region["name"]] = [app["name"] for app in found["apps"]]

    assert listed == {"osc-fr1": ["here"], other: ["there"]}
    assert [r["name"] for r in data["regions"] if r["default"]] == ["osc-fr1"]


async def test_regions_without_a_token_hide_the_closed_one(start: Start) -> None:
    caller = await start(apps=(AppSpec(name="there", region="osc-secnum-fr1"),))
    async with caller.session.get(f"{caller.simulator.api_url}/v1/regions") as response:
        data = await response.json()
    assert [r["name"] for r in data["regions"]] == ["osc-fr1"]


async def test_operation_of_another_region_is_found_at_its_location(start: Start) -> None:
    caller = await start(apps=(AppSpec(name="there", region="osc-secnum-fr1"),))
    body = {"containers": [{"name": "web", "amount": 0}]}
    status, _, headers = await caller.full("POST", "/osc-secnum-fr1/v1/apps/there/scale", body)
    assert status == 202
    status, data = await caller.api("GET", headers["Location"])
    assert (status, data["operation"]["type"]) == (200, "scale")


async def test_credential_check_tells_the_account(caller: Caller) -> None:
    status, data = await caller.api("GET", "/v1/users/self")
    assert (status, data["user"]["username"]) == (200, "demo")


async def test_app_is_found_by_name_and_by_id(caller: Caller) -> None:
    _, by_name = await caller.api("GET", "/v1/apps/my-app")
    _, by_id = await caller.api("GET", f"/v1/apps/{by_name['app']['id']}")
    assert by_name == by_id
    assert by_name["app"]["url"] == f"http://my-app.osc-fr1.localhost:{caller.simulator.front_port}"


async def test_unknown_app_is_refused_with_its_resource(caller: Caller) -> None:
    answer = await caller.api("GET", "/v1/apps/nobody")
    assert answer == (404, {"resource": "app", "error": "not found"})


async def test_unknown_path_is_refused_with_json(caller: Caller) -> None:
    status, data = await caller.api("GET", "/v1/nothing")
    assert (status, data) == (404, {"error": "not found"})


async def test_scale_answers_with_the_whole_formation_and_an_absolute_location(
    caller: Caller,
) -> None:
    body = {"containers": [{"name": "web", "amount": 0}]}
    status, data, headers = await caller.full("POST", "/v1/apps/my-app/scale", body)
    assert status == 202
    assert [(c["name"], c["amount"]) for c in data["containers"]] == [
        ("web", 0),
        ("worker", 1),
        ("clock", 0),
    ]
    location = headers["Location"]
    assert location.startswith(f"{caller.simulator.api_url}/v1/apps/my-app/operations/")
    assert (await caller.api("GET", location))[1]["operation"]["status"] in {"pending", "running"}


async def test_sleep_and_wake_restore_the_formation_with_operations_done(caller: Caller) -> None:
    _, before = await caller.api("GET", "/v1/apps/my-app/containers")
    await caller.scale("my-app", web=0, worker=0)
    await caller.settled("my-app", "stopped")
    assert (await caller.api("GET", "/v1/apps/my-app/ps"))[1] == {"containers": []}

    _, _, headers = await caller.full(
        "POST",
        "/v1/apps/my-app/scale",
        {
            "containers": [
                {"name": "web", "amount": 2, "size": "M"},
                {"name": "worker", "amount": 1},
            ]
        },
    )
    await caller.settled("my-app", "running")
    _, operation = await caller.api("GET", headers["Location"])
    _, processes = await caller.api("GET", "/v1/apps/my-app/ps")
    assert (await caller.api("GET", "/v1/apps/my-app/containers"))[1] == before
    assert operation["operation"]["status"] == "done"
    assert operation["operation"]["finished_at"]
    assert [c["state"] for c in processes["containers"]] == ["running"] * 3


async def test_echoed_formation_is_no_change(caller: Caller) -> None:
    _, formation = await caller.api("GET", "/v1/apps/my-app/containers")
    answer = await caller.api("POST", "/v1/apps/my-app/scale", formation)
    assert answer == (400, {"error": "no change in containers formation"})


async def test_busy_app_refuses_with_its_state(caller: Caller) -> None:
    await caller.direct("POST", "/apps/my-app/deploy")
    assert await caller.scale("my-app", web=0) == (422, {"errors": {"app": ["is booting"]}})


async def test_unknown_process_type_is_refused_with_its_resource(caller: Caller) -> None:
    answer = await caller.scale("my-app", api=1)
    assert answer == (404, {"resource": "container_type", "error": "not found"})


@pytest.mark.parametrize(("amount", "status"), [(10, 202), (11, 422), (-1, 422)])
async def test_ten_containers_of_a_type_are_the_most(
    caller: Caller, amount: int, status: int
) -> None:
    answer = await caller.scale("my-app", web=amount)
    assert answer[0] == status
    if amount > 10:
        assert "can't scale over 10" in answer[1]["errors"]["container-web-amount"][0]


@pytest.mark.parametrize("body", [{}, {"containers": []}, {"containers": [1]}, {"containers": {}}])
async def test_scale_without_containers_is_refused(caller: Caller, body: object) -> None:
    assert (await caller.api("POST", "/v1/apps/my-app/scale", body))[0] == 400


async def test_never_deployed_app_is_scaled_without_an_operation(caller: Caller) -> None:
    body = {"containers": [{"name": "web", "amount": 2}]}
    status, data, headers = await caller.full("POST", "/v1/apps/never-deployed/scale", body)
    assert (status, data["containers"][0]["amount"]) == (200, 2)
    assert "Location" not in headers
    assert await caller.status("never-deployed") == "new"


async def test_unknown_operation_is_refused_with_its_resource(caller: Caller) -> None:
    answer = await caller.api("GET", "/v1/apps/my-app/operations/none")
    assert answer == (404, {"resource": "operation", "error": "not found"})


async def test_restart_answers_202_with_an_empty_body(caller: Caller) -> None:
    status, data, headers = await caller.full("POST", "/v1/apps/my-app/restart", {"scope": ["web"]})
    assert (status, data) == (202, "")
    assert "Location" in headers
    assert await caller.status("my-app") == "restarting"
    await caller.settled("my-app", "running")


async def test_restart_of_an_unknown_type_is_refused(caller: Caller) -> None:
    status, data = await caller.api("POST", "/v1/apps/my-app/restart", {"scope": ["api"]})
    assert (status, list(data["errors"])) == (422, ["scope"])


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"autoscaler": x}])
async def test_autoscaler_is_enabled_again_wrapped_or_not(
    caller: Caller, wrap: Callable[[object], object]
) -> None:
    await caller.scale("my-app", web=0)
    _, data = await caller.api("GET", "/v1/apps/my-app/autoscalers")
    (autoscaler,) = data["autoscalers"]
    assert autoscaler["disabled"] is True
    path = f"/v1/apps/my-app/autoscalers/{autoscaler['id']}"
    status, data = await caller.api("PATCH", path, wrap({"disabled": False}))
    assert (status, data["autoscaler"]["disabled"]) == (200, False)
    assert (await caller.api("GET", path))[1] == data


async def test_scale_event_tells_the_formation_before_as_texts(caller: Caller) -> None:
    await caller.scale("my-app", web=0, worker=0)
    _, data = await caller.api("GET", "/v1/apps/my-app/events?per_page=1")
    (event,) = data["events"]
    assert event["type"] == "scale"
    assert event["type_data"]["previous_containers"] == {
        "web": "2:M",
        "worker": "1:S",
        "clock": "0:S",
    }
    assert data["meta"]["pagination"]["next_page"] == 2


async def test_events_of_the_last_hours_come_without_pages(caller: Caller) -> None:
    _, data = await caller.api("GET", "/v1/events?from=1&per_page=1")
    assert len(data["events"]) > 1
    assert "meta" not in data


async def test_deployment_is_told_in_the_list_and_in_the_app(caller: Caller) -> None:
    _, before = await caller.api("GET", "/v1/apps/my-app")
    await caller.direct("POST", "/apps/my-app/deploy")
    assert await caller.status("my-app") == "booting"
    await caller.settled("my-app", "running")
    _, after = await caller.api("GET", "/v1/apps/my-app")
    _, data = await caller.api("GET", "/v1/apps/my-app/deployments")
    assert [d["status"] for d in data["deployments"]] == ["success", "success"]
    assert data["deployments"][0]["id"] == after["app"]["last_deployment_id"]
    for key in ("last_deployment_id", "last_deployed_at", "updated_at"):
        assert before["app"][key] != after["app"][key]


async def test_router_statistics_count_what_the_front_served(caller: Caller) -> None:
    for path in ("/", "/", "/status/404"):
        async with caller.visit("my-app", path) as response:
            await response.read()
    counts = {}
    for wanted in ("all", "4XX", "404", "5XX"):
        _, data = await caller.api(
            "GET", f"/v1/apps/my-app/stats/router?since=1&status_code={wanted}"
        )
        assert len(data) == 60
        counts[wanted] = sum(bucket["value"] or 0 for bucket in data)
    assert counts == {"all": 3, "4XX": 1, "404": 1, "5XX": 0}


async def test_statistics_of_a_never_deployed_app_are_not_found(caller: Caller) -> None:
    answer = await caller.api("GET", "/v1/apps/never-deployed/stats/router?since=1")
    assert answer == (404, {"error": "no metrics found"})


async def test_container_statistics_need_a_container(caller: Caller) -> None:
    answer = await caller.api("GET", "/v1/apps/my-app/stats/cpu")
    assert answer == (400, {"error": "'container' should be defined"})


async def test_sizes_and_domains_are_told(start: Start) -> None:
    caller = await start(apps=(AppSpec(name="shop", domains=("www.example.com", "example.com")),))
    _, sizes = await caller.api("GET", "/v1/features/container_sizes")
    _, domains = await caller.api("GET", "/v1/apps/shop/domains")
    assert [s["name"] for s in sizes["container_sizes"]] == ["S", "M", "L", "XL", "2XL", "3XL"]
    assert [(d["name"], d["canonical"]) for d in domains["domains"]] == [
        ("www.example.com", True),
        ("example.com", False),
    ]


async def test_settings_of_an_app_are_changed(caller: Caller) -> None:
    _, data = await caller.api("PATCH", "/v1/apps/my-app", {"app": {"router_logs": True}})
    assert data["app"]["router_logs"] is True


async def test_one_call_too_many_in_a_minute_is_told_to_retry_later(start: Start) -> None:
    caller = await start(rate_limit=60)
    statuses = [(await caller.api("GET", "/v1/apps"))[0] for _ in range(59)]
    status, text, headers = await caller.full("GET", "/v1/apps")
    assert set(statuses) == {200}
    assert (status, text.strip()) == (429, "Retry later")
    assert headers["Content-Type"].startswith("text/plain")
    assert (await caller.direct("GET", "/apps"))[0] == 200


async def test_latency_is_added_to_api_calls_alone(start: Start) -> None:
    caller = await start(latency=timedelta(milliseconds=50))
    await caller.exchange()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await caller.api("GET", "/v1/apps")
    assert loop.time() - begun >= 0.05


async def test_same_seed_gives_the_same_ids(start: Start) -> None:
    def ids(data: Any) -> list[str]:
        return [app["id"] for app in data["apps"]]

    answers = [await (await start(seed=7)).api("GET", "/v1/apps") for _ in range(2)]
    assert ids(answers[0][1]) == ids(answers[1][1])


async def test_hundreds_of_apps_are_listed_in_one_answer(start: Start) -> None:
    apps = tuple(AppSpec(name=f"app-{n}", formation={"web": ProcessSpec(1)}) for n in range(500))
    caller = await start(apps=apps)
    _, data = await caller.api("GET", "/v1/apps")
    assert len(data["apps"]) == 500
