"""What is Scalingo's own, on the simulator; what every provider promises is in `contract.py`."""

import asyncio
import base64
import logging
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from paastis.app import Identity, Observation, Process, Snapshot
from paastis.config import AccountConfig
from paastis.errors import (
    AnswerLost,
    Busy,
    ConfigError,
    NotFound,
    RateLimited,
    Rejected,
    Unauthorized,
    Unavailable,
)
from paastis.providers.port import Inspection, OpenOperation, Progress, Remote, Urgency, Verdict
from paastis.providers.scalingo import Scalingo
from paastis.reasons import Reason
from paastis.secret import Secret
from paastis.simulate.app import Event, ProcessSpec
from paastis.simulate.faults import Answer
from paastis.simulate.server import SimulatorSettings
from paastis.simulate.spec import AutoscalerSpec
from tests.paastis.providers.conftest import SETTINGS, ScalingoPlatform
from tests.paastis.providers.contract import WHOLE, ended, look, now


def snapshot(*processes: Process) -> Snapshot:
    return Snapshot(now(), processes or WHOLE)


async def deployed(provider: Scalingo, app: Remote) -> Inspection:
    """Wait for the end of a deployment."""
    async with asyncio.timeout(5):
        while (seen := await look(provider, app)).deploying:  # noqa: ASYNC110 - told over HTTP
            await asyncio.sleep(0.01)
    return seen


# --- who we are --------------------------------------------------------------------------------


async def test_check_tells_who_the_token_belongs_to(platform: ScalingoPlatform) -> None:
    assert await platform.provider().check() == "demo (demo@example.com)"


async def test_many_calls_at_once_buy_one_bearer(platform: ScalingoPlatform) -> None:
    app = platform.add("wanted")
    provider = platform.provider(regions=("osc-fr1",))
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(look(provider, app))
    assert platform.counted("POST", "/exchange") == 1


async def test_bearer_is_renewed_five_minutes_before_its_end(platform: ScalingoPlatform) -> None:
    clock = [now()]
    provider = platform.provider(now=lambda: clock[0])
    await provider.check()
    clock[0] += timedelta(minutes=54, seconds=59)
    await provider.check()
    assert platform.counted("POST", "/exchange") == 1
    clock[0] += timedelta(seconds=1)
    await provider.check()
    assert platform.counted("POST", "/exchange") == 2


async def test_clock_that_is_an_hour_ahead_does_not_buy_a_bearer_for_each_call(
    platform: ScalingoPlatform,
) -> None:
    provider = platform.provider(now=lambda: now() + timedelta(hours=2))
    for _ in range(3):
        await provider.check()
    assert platform.counted("POST", "/exchange") == 1


async def test_refused_bearer_is_replaced_once_for_all(platform: ScalingoPlatform) -> None:
    app = platform.add("wanted")
    provider = platform.provider()
    await provider.check()
    platform.simulator.tokens.expire_all()
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(look(provider, app))
    assert platform.counted("POST", "/exchange") == 2


async def test_change_that_met_a_refused_bearer_is_sent_again_with_a_new_one(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("wanted")
    provider = platform.provider()
    await look(provider, app)
    platform.simulator.tokens.expire_all()
    await provider.stop(app, WHOLE)
    statuses = [call.status for call in platform.calls if call.path.endswith("/scale")]
    assert statuses == [401, 202]


async def test_bearer_refused_twice_is_the_accounts_fault(platform: ScalingoPlatform) -> None:
    platform.fault("GET /v1/users/self", answer=Answer(401, body={"error": "nope"}))
    with pytest.raises(Unauthorized):
        await platform.provider().check()
    assert platform.counted("GET", "/users/self") == 2
    assert platform.counted("POST", "/exchange") == 2


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_refused_exchange_says_nothing_about_an_app(
    platform: ScalingoPlatform, status: int
) -> None:
    app = platform.add("innocent")
    words = {"resource": "app", "error": "not found"}
    platform.fault("POST /v1/tokens/exchange", answer=Answer(status, body=words))
    with pytest.raises(Unauthorized):
        await look(platform.provider(), app)


async def test_failed_exchange_is_shared_by_all_who_waited(platform: ScalingoPlatform) -> None:
    app = platform.add("wanted")
    fault = platform.fault(
        "POST /v1/tokens/exchange", answer=Answer(500), delay=timedelta(milliseconds=50)
    )
    provider = platform.provider(regions=("osc-fr1",))
    looks = [provider.stop(app, WHOLE) for _ in range(20)]
    results = await asyncio.gather(*looks, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert fault.hits == 1
    assert platform.changing_calls() == 0


async def test_neither_token_nor_bearer_is_seen_even_if_the_provider_repeats_them(
    platform: ScalingoPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = platform.provider()
    await provider.check()
    basic = base64.b64encode(f":{platform.secret}".encode()).decode()
    bearers = list(platform.simulator.tokens._expiry)
    platform.fault(
        "GET /v1/apps",
        answer=Answer(403, body={"error": f"Basic {basic} {platform.secret} {bearers[0]} bad"}),
    )
    with pytest.raises(Rejected) as refused:
        await provider.list_apps()
    logged = [repr(vars(record)) for record in caplog.records]
    for secret in (platform.secret, bearers[0]):
        assert not any(secret in text for text in (str(refused.value), *logged))
    assert not any(basic in text for text in logged)
    assert "bad" in str(refused.value)


# --- regions -----------------------------------------------------------------------------------

BOTH = ("osc-fr1", "osc-secnum-fr1")


async def test_every_configured_region_is_listed(platform: ScalingoPlatform) -> None:
    here = platform.add("here")
    there = platform.add("there", region="osc-secnum-fr1")
    provider = platform.provider(regions=BOTH)
    listing = await provider.list_apps()
    assert {app.region: app.app_name for app in listing.apps} == {
        "osc-fr1": "here",
        "osc-secnum-fr1": "there",
    }
    for app in (here, there):
        receipt = await provider.stop(app, WHOLE)
        assert (await ended(provider, app, receipt.ref))[0] is Progress.DONE


async def test_only_the_default_region_is_listed_unless_told(platform: ScalingoPlatform) -> None:
    platform.add("there", region="osc-secnum-fr1")
    platform.add("here")
    listing = await platform.provider().list_apps()
    assert [app.app_name for app in listing.apps] == ["here"]


async def test_region_that_fails_makes_the_listing_incomplete(platform: ScalingoPlatform) -> None:
    platform.add("here")
    platform.add("there", region="osc-secnum-fr1")
    provider = platform.provider(regions=BOTH, api_url="http://127.0.0.1:9")
    listing = await provider.list_apps()
    assert not listing.complete
    assert [app.app_name for app in listing.apps] == ["there"]
    assert "osc-fr1" in listing.problems[0]


async def test_app_that_cannot_be_read_makes_the_listing_incomplete(
    platform: ScalingoPlatform,
) -> None:
    good = {"id": "1" * 24, "name": "good", "status": "running", "url": "https://good.example"}
    platform.fault("GET /v1/apps", answer=Answer(200, body={"apps": [{"id": 7}, good]}))
    listing = await platform.provider().list_apps()
    assert [app.app_name for app in listing.apps] == ["good"]
    assert not listing.complete
    assert len(listing.problems) == 1


async def test_unknown_region_is_named_with_those_the_account_sees(
    platform: ScalingoPlatform,
) -> None:
    with pytest.raises(Rejected, match=r"'osc-mars1' is not known.*osc-fr1"):
        await platform.provider(regions=("osc-fr1", "osc-mars1")).check()


async def test_regions_are_asked_with_the_bearer_and_kept_for_ten_minutes(
    platform: ScalingoPlatform,
) -> None:
    platform.add("there", region="osc-secnum-fr1")  # hidden without a bearer
    clock = [now()]
    provider = platform.provider(regions=BOTH, now=lambda: clock[0])
    for _ in range(3):
        assert (await provider.list_apps()).complete
    assert platform.counted("GET", "/v1/regions") == 1
    clock[0] += timedelta(minutes=10, seconds=1)
    await provider.list_apps()
    assert platform.counted("GET", "/v1/regions") == 2


async def test_known_regions_serve_while_their_list_cannot_be_read(
    platform: ScalingoPlatform,
) -> None:
    clock = [now()]
    provider = platform.provider(now=lambda: clock[0])
    await provider.list_apps()
    clock[0] += timedelta(minutes=11)
    platform.fault("GET /v1/regions", answer=Answer(503))
    assert (await provider.list_apps()).complete


# --- looking -----------------------------------------------------------------------------------


async def test_never_deployed_app_is_not_managed(platform: ScalingoPlatform) -> None:
    app = platform.add("new-app", status="new")
    provider = platform.provider()
    assert (await provider.list_apps()).apps[0].unmanaged is Reason.NEVER_DEPLOYED
    assert (await look(provider, app)).unmanaged is Reason.NEVER_DEPLOYED


async def test_app_without_web_process_is_not_managed(platform: ScalingoPlatform) -> None:
    app = platform.add("worker-only", (Process("worker", 1, "S"),))
    assert (await look(platform.provider(), app)).unmanaged is Reason.NO_WEB_PROCESS


async def test_running_worker_does_not_make_the_web_run(platform: ScalingoPlatform) -> None:
    app = platform.add("half", (Process("web", 0, "M"), Process("worker", 1, "S")))
    provider = platform.provider()
    assert (await provider.list_apps()).apps[0].state is Observation.RUNNING
    assert (await look(provider, app)).state is Observation.STOPPED


async def test_crashed_app_is_failed(platform: ScalingoPlatform) -> None:
    app = platform.add("crashed", status="crashed")
    assert (await look(platform.provider(), app)).state is Observation.FAILED


async def test_stopped_app_costs_two_calls_to_look_at(platform: ScalingoPlatform) -> None:
    app = platform.add("asleep", status="stopped")
    provider = platform.provider()
    await look(provider, app)
    before = len(platform.calls)
    assert (await look(provider, app)).state is Observation.STOPPED
    assert len(platform.calls) - before == 2


async def test_deployment_shows_from_its_start_to_its_end(platform: ScalingoPlatform) -> None:
    app = platform.add("deployed")
    provider = platform.provider()
    first = await look(provider, app)
    platform.simulator.world.deploy(platform.app(app))
    for autoscaled in (False, True):
        during = await look(provider, app, autoscaled=autoscaled)
        assert during.deploying
        assert during.state is Observation.RUNNING
    after = await deployed(provider, app)
    assert after.deployment != first.deployment


async def test_build_that_the_status_does_not_show_is_seen_before_a_stop(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("built")
    building = {"deployments": [{"id": "d", "status": "building"}]}
    platform.fault("GET /v1/apps/*/deployments", answer=Answer(200, body=building))
    assert (await look(platform.provider(), app, autoscaled=True)).deploying


@pytest.mark.parametrize("path", ["", "/containers", "/ps", "/autoscalers"])
async def test_app_that_vanishes_under_a_look_is_missing(
    platform: ScalingoPlatform, path: str
) -> None:
    app = platform.add("vanishing")
    gone = Answer(404, body={"resource": "app", "error": "not found"})
    platform.fault(f"GET /v1/apps/*{path}", answer=gone)
    seen = await look(platform.provider(), app, autoscaled=True)
    assert seen.state is Observation.MISSING


async def test_requests_that_paastis_did_not_see_are_told(platform: ScalingoPlatform) -> None:
    app = platform.add("visited")
    provider = platform.provider()
    minute_ago = now() - timedelta(minutes=1)
    assert await provider.direct_traffic(app, minute_ago) is None
    platform.simulator.world.count_request(platform.app(app), 200)
    this_minute = now().replace(second=0, microsecond=0)
    assert await provider.direct_traffic(app, minute_ago) in (
        this_minute,
        this_minute - timedelta(minutes=1),
    )
    assert await provider.direct_traffic(app, now()) is None, "the bucket began before"


async def test_app_without_statistics_had_no_traffic(platform: ScalingoPlatform) -> None:
    app = platform.add("quiet", status="new")
    provider = platform.provider()
    assert await provider.direct_traffic(app, now()) is None
    platform.delete(app)
    with pytest.raises(NotFound):
        await provider.direct_traffic(app, now())


async def test_formation_before_the_last_scale_to_zero_is_found_in_the_history(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("forgotten")
    provider = platform.provider()
    assert await provider.last_formation(app) is None
    await ended(provider, app, (await provider.stop(app, WHOLE)).ref)
    later = Event("e", now(), "restart", "somebody", {"scope": ["web"]})
    platform.app(app).events.extend([later] * 60)  # so that it is on the second page
    assert await provider.last_formation(app) == WHOLE


# --- changing ----------------------------------------------------------------------------------


async def test_whole_formation_is_one_call_each_way(platform: ScalingoPlatform) -> None:
    app = platform.add("counted")
    provider = platform.provider()
    await ended(provider, app, (await provider.stop(app, WHOLE)).ref)
    await ended(provider, app, (await provider.start(app, snapshot(), urgency=Urgency.VISITOR)).ref)
    assert platform.counted("POST", "/scale") == 2
    assert platform.formation(app) == WHOLE


async def test_autoscaler_comes_back(platform: ScalingoPlatform) -> None:
    app = platform.add("scaled", autoscalers=(AutoscalerSpec(), AutoscalerSpec(disabled=True)))
    provider = platform.provider()
    seen = await look(provider, app, autoscaled=True)
    enabled, _ = platform.app(app).autoscalers
    assert seen.autoscalers == (enabled.id,)
    assert seen.autoscaled_types == ("web",)
    await ended(provider, app, (await provider.stop(app, seen.formation)).ref)
    assert enabled.disabled
    start = await provider.start(app, snapshot(*seen.formation), urgency=Urgency.VISITOR)
    await ended(provider, app, start.ref)
    ids = ("au-that-is-gone", *seen.autoscalers)
    await provider.enable_autoscalers(app, ids, urgency=Urgency.VISITOR)
    assert [scaler.disabled for scaler in platform.app(app).autoscalers] == [False, True]


async def test_types_that_a_new_version_lacks_are_not_started(platform: ScalingoPlatform) -> None:
    app = platform.add("changed")
    provider = platform.provider()
    await ended(provider, app, (await provider.stop(app, WHOLE)).ref)
    world = platform.simulator.world
    world.deploy(platform.app(app), {"web": ProcessSpec(0, "M"), "cron": ProcessSpec(0, "S")})
    await deployed(provider, app)
    receipt = await provider.start(app, snapshot(), urgency=Urgency.VISITOR)
    assert (await ended(provider, app, receipt.ref))[0] is Progress.DONE
    assert platform.formation(app) == (Process("web", 2, "M"), Process("cron", 0, "S"))


async def test_nothing_left_to_start_is_refused_and_nothing_left_to_stop_is_success(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("emptied")
    provider = platform.provider()
    old = (Process("old-web", 1, "M"),)
    with pytest.raises(Rejected, match="none of the processes"):
        await provider.start(app, snapshot(*old), urgency=Urgency.VISITOR)
    assert (await provider.stop(app, old)).ref is None
    assert platform.formation(app) == WHOLE


async def test_app_whose_processes_died_is_restarted(platform: ScalingoPlatform) -> None:
    app = platform.add("dead")
    provider = platform.provider()
    for container in list(platform.app(app).containers):
        platform.app(app).containers.remove(container)
    assert (await look(provider, app)).state is Observation.STOPPED
    receipt = await provider.start(app, snapshot(), urgency=Urgency.VISITOR)
    assert platform.counted("POST", "/restart") == 1
    assert (await ended(provider, app, receipt.ref))[0] is Progress.DONE
    assert (await look(provider, app)).state is Observation.RUNNING


async def test_deploying_app_is_busy(platform: ScalingoPlatform) -> None:
    app = platform.add("booting")
    provider = platform.provider()
    platform.simulator.world.deploy(platform.app(app))
    with pytest.raises(Busy, match="is booting"):
        await provider.stop(app, WHOLE)


async def test_refusal_tells_the_providers_words(platform: ScalingoPlatform) -> None:
    app = platform.add("greedy")
    with pytest.raises(Rejected, match="container-web-amount: can't scale over 10 containers"):
        await platform.provider().start(
            app, snapshot(Process("web", 11, "M")), urgency=Urgency.VISITOR
        )


async def test_accepted_call_without_operation_is_a_lost_answer(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("mute")
    platform.fault("POST /v1/apps/*/scale", answer=Answer(202, body={"containers": []}))
    with pytest.raises(AnswerLost):
        await platform.provider().stop(app, WHOLE)


async def test_page_of_markup_in_place_of_a_success_is_a_lost_answer(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("hijacked")
    provider = platform.provider(regions=("osc-fr1",))
    platform.fault("POST /v1/apps/*/scale", answer=Answer(200, html="<h1>Welcome</h1>"))
    platform.fault("GET /v1/apps", answer=Answer(200, html="<h1>Welcome</h1>"))
    with pytest.raises(AnswerLost):
        await provider.stop(app, WHOLE)
    with pytest.raises(Unavailable):
        await provider.list_apps()


async def test_404_that_is_not_about_the_app_does_not_make_it_missing(
    platform: ScalingoPlatform,
) -> None:
    app = platform.add("there")
    provider = platform.provider()
    for body in ({"message": "no Route matched"}, "404 page not found"):
        platform.simulator.faults.clear()
        platform.fault("GET /v1/apps/*", answer=Answer(404, body=body))
        with pytest.raises(Rejected):
            await look(provider, app)


async def test_operations_of_a_region_cost_one_call_while_they_run(
    platform: ScalingoPlatform,
) -> None:
    apps = [platform.add(f"app-{number}") for number in range(3)]
    provider = platform.provider()
    operations = []
    for app in apps:
        receipt = await provider.stop(app, WHOLE)
        operations.append(OpenOperation(app, receipt.ref or ""))
    before = len(platform.calls)
    followed = await provider.follow(operations)
    assert {one.progress for one in followed.values()} == {Progress.RUNNING}
    assert len(platform.calls) - before == 1
    await ended(provider, apps[2], operations[2].ref)


# --- trouble -----------------------------------------------------------------------------------


async def test_read_is_repeated_while_the_provider_stumbles(platform: ScalingoPlatform) -> None:
    app = platform.add("patient")
    provider = platform.provider()
    await look(provider, app)
    platform.fault("GET /v1/apps/*/ps", times=1, answer=Answer(500))
    platform.fault("GET /v1/apps/*/containers", times=2, drop="before")
    assert (await look(provider, app)).state is Observation.RUNNING


async def test_read_is_repeated_twice_at_most(platform: ScalingoPlatform) -> None:
    platform.fault("GET /v1/apps", answer=Answer(502))
    with pytest.raises(Unavailable):
        await platform.provider().list_apps()
    assert platform.counted("GET", "/v1/apps") == 3


async def test_change_that_met_a_500_is_not_repeated(platform: ScalingoPlatform) -> None:
    app = platform.add("once")
    platform.fault("POST /v1/apps/*/scale", answer=Answer(500))
    with pytest.raises(AnswerLost):
        await platform.provider().stop(app, WHOLE)
    assert platform.changing_calls() == 1


class TestSlowPlatform:
    @pytest.fixture
    def settings(self) -> SimulatorSettings:
        return replace(SETTINGS, latency=timedelta(seconds=2))

    async def test_two_seconds_a_call_are_borne(self, platform: ScalingoPlatform) -> None:
        app = platform.add("slow")
        provider = platform.provider(regions=("osc-fr1",))
        assert (await look(provider, app)).state is Observation.RUNNING
        assert (await provider.stop(app, WHOLE)).ref is not None


class TestStrictPlatform:
    @pytest.fixture
    def settings(self) -> SimulatorSettings:
        return replace(SETTINGS, rate_limit=20)

    async def test_budget_holds_whatever_is_asked(self, platform: ScalingoPlatform) -> None:
        apps = [platform.add(f"app-{number}") for number in range(20)]
        provider = platform.provider(calls_per_minute=20)

        async def bother(app: Remote) -> None:
            try:
                async with asyncio.timeout(1):
                    await look(provider, app)
            except (TimeoutError, RateLimited):
                pass

        async with asyncio.TaskGroup() as group:
            for app in apps:
                group.create_task(bother(app))
        asked = len(platform.calls)
        assert asked == 12, "eight of twenty are kept for visitors and what they started"
        await provider.start(apps[0], snapshot(), urgency=Urgency.VISITOR)
        with pytest.raises(RateLimited):
            await provider.stop(apps[1], WHOLE)
        assert 429 not in Counter(call.status for call in platform.calls)


# --- small things ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        (503, {"Content-Type": "text/html; charset=utf-8"}, Verdict.MAYBE),
        (503, {"content-type": "TEXT/HTML"}, Verdict.MAYBE),
        (503, {}, Verdict.MAYBE),
        (503, {"Content-Type": "application/json"}, Verdict.NO),
        (502, {"Content-Type": "text/html"}, Verdict.NO),
        (404, {"Content-Type": "text/html"}, Verdict.NO),
        (200, {"Content-Type": "text/html"}, Verdict.NO),
    ],
)
def test_answer_of_the_platforms_front_is_judged_honestly(
    status: int, headers: dict[str, str], verdict: Verdict
) -> None:
    assert Scalingo.stopped_verdict(status, MappingProxyType(headers)) is verdict


@pytest.mark.parametrize("name", ["api_url", "auth_url"])
async def test_token_is_not_sent_in_clear_text_to_another_machine(name: str) -> None:
    given = {name: "http://api.example.com"}
    with pytest.raises(ValueError, match="unencrypted"):
        Scalingo(account="a", token=Secret("t"), now=now, **given)  # type: ignore[arg-type]


async def test_region_in_clear_text_on_another_machine_is_left_out(
    platform: ScalingoPlatform,
) -> None:
    told = {
        "regions": [
            {"name": "osc-fr1", "api": "https://api.example.com", "default": True},
            {"name": "osc-evil1", "api": "http://api.example.com", "default": False},
        ]
    }
    platform.fault("GET /v1/regions", answer=Answer(200, body=told))
    provider = platform.provider(regions=("osc-fr1", "osc-evil1"))
    app = Remote(Identity("main", "osc-evil1", "1" * 24), "app")
    with pytest.raises(Rejected, match="osc-evil1"):
        await provider.stop(app, WHOLE)


async def test_account_is_opened_from_its_configuration(platform: ScalingoPlatform) -> None:
    url = platform.simulator.api_url
    account = AccountConfig(
        name="main",
        provider="scalingo",
        credentials={"api_token": Secret(platform.secret)},
        urls={"api": url, "auth": url},
        operation_timeout=timedelta(seconds=77),
        calls_per_minute=30,
    )
    provider = Scalingo.from_config(account, now=lambda: datetime.now(UTC))
    platform.opened.append(provider)
    assert await provider.check() == "demo (demo@example.com)"
    assert provider.limits.operation_timeout == timedelta(seconds=77)
    assert provider.budget().per_minute == 30


def test_account_without_token_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"'main'.*API token"):
        Scalingo.from_config(AccountConfig(name="main", provider="scalingo"), now=now)


async def test_successor_goes_on_with_the_calls_of_the_one_before() -> None:
    first = AccountConfig("main", "scalingo", credentials={"api_token": Secret("tk-us-a")})
    second = replace(first, credentials={"api_token": Secret("tk-us-b")})
    other_limit = replace(second, calls_per_minute=30)

    before = Scalingo.from_config(first, now=now)

    assert Scalingo.from_config(second, now=now, before=before)._budget is before._budget
    assert Scalingo.from_config(second, now=now)._budget is not before._budget
    assert Scalingo.from_config(other_limit, now=now, before=before).budget().per_minute == 30
