"""A cluster asked by the command line: the same answers as from a running instance, and refusals."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from paastis.app import Overrides, Phase
from paastis.cli import apps as commands
from paastis.cli import main
from paastis.cli.cluster import ClusterClient
from paastis.cli.place import Place, place_of
from paastis.errors import (
    Conflict,
    Forbidden,
    Missing,
    RegistryError,
    RegistryUnavailable,
    UnknownApp,
)
from paastis.policy import Policy, Power
from paastis.reasons import Reason
from paastis.resources.names import ACCOUNTS, APPS
from paastis.resources.values import time_text
from paastis.system.orders import Pointless
from tests.paastis.cli.fake_cluster import FakeCluster, account_resource, app_resource, failing
from tests.paastis.factories import HOUR, MINUTE, NOW, SECOND, an_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from paastis.app import App

USED = NOW - 5 * MINUTE


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(ACCOUNTS, account_resource())
    return cluster


def client_of(cluster: FakeCluster, *domains: str, now: Any = NOW) -> ClusterClient:
    warnings: list[str] = []
    place = Place(base_domains=domains)
    return ClusterClient(cluster, place=place, now=lambda: now, warn=warnings.append)


def shop(phase: Phase = Phase.AWAKE, /, **fields: Any) -> App:
    return replace(an_app(phase, **fields), name="shop", app_name="shop")


async def view_of(cluster: FakeCluster, *apps: App, now: Any = NOW) -> dict[str, Any]:
    """What is told of the first app."""
    for app in apps:
        cluster.put(APPS, app_resource(app))
    return await client_of(cluster, now=now).app(apps[0].name)


def decided(view: Mapping[str, Any]) -> tuple[str, str, str | None]:
    return view["decision"]["action"], view["decision"]["reason"], view["sleeps_at"]


# --- what will become of apps


async def test_app_in_use_sleeps_when_its_idle_time_and_the_drain_are_over(
    cluster: FakeCluster,
) -> None:
    view = await view_of(cluster, shop(last_access_time=USED))
    assert decided(view) == ("Nothing", "InUse", "2026-03-04T12:10:05Z")
    assert view["decision"]["message"] == "A visitor used it 5m ago."


async def test_idle_app_is_about_to_drain(cluster: FakeCluster) -> None:
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR))
    assert decided(view)[:2] == ("BeginDrain", "Idle")


async def test_app_in_use_through_a_link_stays(cluster: FakeCluster) -> None:
    front = replace(
        an_app(last_access_time=USED, policy=Policy(linked_apps=("shop",))),
        name="front",
        app_name="front",
    )
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR), front)
    assert decided(view)[:2] == ("Nothing", "LinkedInUse")


@pytest.mark.parametrize("listed", ["2026-03-04T11:50:00Z", None])
async def test_nothing_sleeps_while_the_provider_cannot_be_reached(
    cluster: FakeCluster, listed: str | None
) -> None:
    account = account_resource(reachable=False, lastCompleteListing=listed)
    cluster.put(ACCOUNTS, account)
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR))
    assert decided(view)[:2] == ("Nothing", "RemoteUnknown")


async def test_nothing_sleeps_before_the_first_listing(cluster: FakeCluster) -> None:
    cluster.put(ACCOUNTS, account_resource(lastCompleteListing=None, reachable=None))
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR))
    assert decided(view)[:2] == ("Nothing", "RemoteUnknown")


@pytest.mark.parametrize(
    ("interval", "listed", "action"),
    [
        (None, 15 * MINUTE, "BeginDrain"),
        (None, 15 * MINUTE + SECOND, "Nothing"),
        ("10m", 30 * MINUTE, "BeginDrain"),
        ("10m", 30 * MINUTE + SECOND, "Nothing"),
    ],
)
async def test_nothing_sleeps_while_the_controller_is_away(
    cluster: FakeCluster, interval: str | None, listed: timedelta, action: str
) -> None:
    account = account_resource(lastCompleteListing=time_text(NOW - listed))
    account["spec"]["discoveryInterval"] = interval
    cluster.put(ACCOUNTS, account)
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR))
    assert view["decision"]["action"] == action


async def test_app_without_its_account_is_left_alone(cluster: FakeCluster) -> None:
    del cluster.objects[ACCOUNTS]["main"]
    view = await view_of(cluster, shop(last_access_time=NOW - HOUR))
    assert decided(view) == ("Nothing", "AccountMissing", None)


async def test_account_that_the_controller_cannot_use_counts_as_missing(
    cluster: FakeCluster,
) -> None:
    app = shop(Phase.UNMANAGED, phase_reason=Reason.ACCOUNT_MISSING)
    assert decided(await view_of(cluster, app)) == ("Nothing", "AccountMissing", None)


async def test_sleep_that_was_asked_for_waits_for_the_last_use(cluster: FakeCluster) -> None:
    asked = shop(last_access_time=NOW - 10 * SECOND, overrides=Overrides(sleep_for=6))
    view = await view_of(cluster, asked)
    assert decided(view)[:2] == ("Nothing", "InUse")
    cluster.put(ACCOUNTS, account_resource(lastCompleteListing="2026-03-04T13:00:00Z"))
    later = await view_of(cluster, asked, now=NOW + HOUR)
    assert decided(later)[:2] == ("BeginDrain", "SleepAsked")


async def test_apps_are_told_by_name_with_their_addresses(cluster: FakeCluster) -> None:
    cluster.put(APPS, app_resource(shop(policy=Policy(hosts=("shop.example.com",)))))
    cluster.put(APPS, app_resource(an_app()))
    told = await client_of(cluster, "apps.example.com").apps()
    assert [view["name"] for view in told] == ["my-app", "shop"]
    assert told[1]["addresses"] == ["http://shop.example.com/", "http://shop.apps.example.com/"]


async def test_accounts_are_told_with_what_is_wrong(cluster: FakeCluster) -> None:
    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-03-04T11:00:00Z",
        }

    conditions = [
        condition("ProviderReachable", "False", "ProviderUnreachable", "It is away."),
        condition("BudgetShort", "True", "BudgetShort", "Few calls are left."),
        condition("MassVanishing", "False", "MassVanishing", "Nothing vanished."),
    ]
    cluster.put(ACCOUNTS, account_resource(reachable=False, budgetLeft=7, conditions=conditions))
    cluster.put(APPS, app_resource(shop()))
    (told,) = await client_of(cluster).accounts()
    assert told["message"] == "It is away. Few calls are left."
    assert (told["apps"], told["budget_left"], told["reachable"]) == (1, 7, False)
    assert (told["mode"], told["provider"]) == ("Manage", "scalingo")


async def test_record_that_cannot_be_read_is_told_and_left_out(cluster: FakeCluster) -> None:
    broken = app_resource(shop())
    del broken["spec"]["region"]
    cluster.put(APPS, broken)
    warnings: list[str] = []
    client = ClusterClient(cluster, place=Place(), now=lambda: NOW, warn=warnings.append)
    assert await client.apps() == []
    assert len(warnings) == 1
    assert "'shop'" in warnings[0]


# --- orders


def spec_of(cluster: FakeCluster, name: str = "shop") -> dict[str, Any]:
    spec: dict[str, Any] = cluster.objects[APPS][name]["spec"]
    return spec


async def test_wake_keeps_awake_for_one_idle_time_and_takes_a_sleep_back(
    cluster: FakeCluster,
) -> None:
    cluster.put(APPS, app_resource(shop(Phase.ASLEEP, overrides=Overrides(sleep_for=6))))
    view = await client_of(cluster).wake("shop")
    assert spec_of(cluster)["awakeUntil"] == "2026-03-04T12:15:00Z"
    assert "sleepFor" not in spec_of(cluster)
    assert view["overrides"]["awake_until"] == "2026-03-04T12:15:00Z"


async def test_sleep_asks_for_this_cycle_and_takes_a_wake_back(cluster: FakeCluster) -> None:
    awake = Overrides(awake_until=NOW + HOUR)
    cluster.put(APPS, app_resource(shop(cycle=6, overrides=awake)))
    await client_of(cluster).sleep("shop")
    assert spec_of(cluster)["sleepFor"] == 6
    assert "awakeUntil" not in spec_of(cluster)


async def test_order_leaves_the_rest_of_the_resource_alone(cluster: FakeCluster) -> None:
    resource = app_resource(shop())
    resource["spec"]["displayName"] = "The shop"
    resource["metadata"]["labels"] = {"team": "web"}
    cluster.put(APPS, resource)
    await client_of(cluster).sleep("shop")
    assert spec_of(cluster) == {**resource["spec"], "sleepFor": 6}
    assert cluster.objects[APPS]["shop"]["metadata"]["labels"] == {"team": "web"}


async def test_order_is_given_again_for_the_record_as_it_is_then(cluster: FakeCluster) -> None:
    cluster.put(APPS, app_resource(shop(cycle=6)))
    faster = [7, 8]

    def before(verb: str) -> None:
        if verb == "patch" and faster:
            cluster.put(APPS, app_resource(shop(cycle=faster.pop(0))))

    cluster.before = before
    await client_of(cluster).sleep("shop")
    assert spec_of(cluster)["sleepFor"] == 8


async def test_order_gives_up_where_others_write_all_the_time(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paastis.system.orders.PAUSE", timedelta(0))
    cluster.put(APPS, app_resource(shop()))

    def before(verb: str) -> None:
        if verb == "patch":
            cluster.put(APPS, app_resource(shop()))

    cluster.before = before
    with pytest.raises(Conflict):
        await client_of(cluster).sleep("shop")


async def test_app_that_is_deleted_at_this_moment_is_unknown(cluster: FakeCluster) -> None:
    cluster.put(APPS, app_resource(shop()))

    def before(verb: str) -> None:
        if verb == "patch":
            cluster.objects[APPS].clear()

    cluster.before = before
    with pytest.raises(UnknownApp, match="deleted at this moment"):
        await client_of(cluster).wake("shop")


@pytest.mark.parametrize(
    ("order", "power"), [("wake", Power.ALWAYS_OFF), ("sleep", Power.ALWAYS_ON)]
)
async def test_order_that_the_policy_outranks_is_refused(
    cluster: FakeCluster, order: str, power: Power
) -> None:
    cluster.put(APPS, app_resource(shop(policy=Policy(power=power))))
    with pytest.raises(Pointless):
        await getattr(client_of(cluster), order)("shop")
    assert "patch" not in {verb for verb, *_ in cluster.calls}


# --- which cluster is meant


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("REGISTRY_TYPE", "REGISTRY_KUBERNETES_NAMESPACE", "PAASTIS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def meant(*settings: str, **options: Any) -> Place | None:
    given = {"kubernetes": False, "namespace": None, "context": None, **options}
    return place_of(None, settings, **given)


def test_this_machine_is_meant_unless_something_says_otherwise(directory: Path) -> None:
    assert meant() is None
    assert meant("REGISTRY_KUBERNETES_NAMESPACE=paastis") is None


def test_option_or_registry_type_means_the_cluster_and_needs_no_token(directory: Path) -> None:
    assert meant(kubernetes=True) == Place()
    assert meant(namespace="shops") == Place(namespace="shops")
    assert meant(context="prod") == Place(context="prod")
    assert meant("REGISTRY_TYPE=Kubernetes") == Place()


def test_environment_file_may_say_which_cluster(directory: Path) -> None:
    (directory / ".env").write_text(
        "REGISTRY_TYPE=kubernetes\nREGISTRY_KUBERNETES_NAMESPACE=shops\n"
        "ROUTING_BASE_DOMAINS=apps.example.com\n"
    )
    assert meant() == Place(namespace="shops", base_domains=("apps.example.com",))
    assert meant(namespace="other") == Place("other", base_domains=("apps.example.com",))


# --- the commands


@pytest.fixture
def told(
    cluster: FakeCluster, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs a command against the made-up cluster."""

    @asynccontextmanager
    async def opened(place: Place, environ: Mapping[str, str]) -> AsyncIterator[FakeCluster]:
        cluster.namespace = place.namespace or "default"
        yield cluster

    monkeypatch.setattr(commands, "opened_cluster", opened)
    monkeypatch.setattr(commands, "utc_now", lambda: NOW)
    return lambda *words: CliRunner().invoke(main, words)


def test_apps_are_shown_as_on_one_machine(cluster: FakeCluster, told: Callable[..., Any]) -> None:
    cluster.put(APPS, app_resource(shop(last_access_time=USED)))
    shown = told("apps", "-n", "shops")
    assert (shown.exit_code, shown.stderr) == (0, "")
    row = next(line for line in shown.stdout.splitlines() if line.startswith("shop "))
    assert row.split()[1:7] == ["Awake", "InUse", "5m", "ago", "in", "10m5s"]


def test_empty_namespace_is_named(cluster: FakeCluster, told: Callable[..., Any]) -> None:
    assert told("apps", "-n", "shops").stdout == "No apps yet in namespace 'shops'.\n"
    cluster.objects[ACCOUNTS].clear()
    assert "It has no PaastisAccount either" in told("apps", "-n", "shops").stdout


def test_explain_and_orders_work_as_on_one_machine(
    cluster: FakeCluster, told: Callable[..., Any]
) -> None:
    cluster.put(APPS, app_resource(shop(last_access_time=USED)))
    assert "A visitor used it 5m ago.  [InUse]" in told("explain", "shop", "--kubernetes").stdout
    assert told("sleep", "shop", "--kubernetes").stdout == (
        "shop is Awake; it sleeps once nobody uses it.\n"
    )
    assert told("wake", "shop", "--context", "prod").stdout == (
        "shop is Awake; kept awake for 15m.\n"
    )


def test_app_that_is_nearly_named_so_is_suggested(
    cluster: FakeCluster, told: Callable[..., Any]
) -> None:
    cluster.put(APPS, app_resource(shop()))
    unknown = told("explain", "shpo", "--kubernetes")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "paastis: No app is called 'shpo'; did you mean 'shop'?\n",
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (Forbidden("The Kubernetes API says 403: you cannot list that."), "you cannot list that"),
        (Missing("The Kubernetes API says 404: page not found"), "paastis is not installed there"),
        (RegistryUnavailable("The Kubernetes API said nothing for 10 s."), "nothing for 10 s"),
    ],
    ids=["forbidden", "no definitions", "unreachable"],
)
@pytest.mark.parametrize("words", [["apps"], ["explain", "shop"], ["wake", "shop"]], ids=str)
def test_refusal_of_the_cluster_is_one_sentence_and_exit_1(
    cluster: FakeCluster,
    told: Callable[..., Any],
    error: RegistryError,
    sentence: str,
    words: list[str],
) -> None:
    cluster.before = failing("list", error)
    shown = told(*words, "--kubernetes")
    assert shown.exit_code == 1
    assert sentence in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_namespace_that_cannot_be_one_is_refused(told: Callable[..., Any]) -> None:
    shown = told("apps", "-n", "No_Such")
    assert shown.exit_code == 2
    assert "'No_Such' is not a namespace" in shown.stderr


def test_cluster_that_cannot_be_found_is_a_matter_of_configuration(
    directory: Path,
) -> None:
    environment = {
        "KUBECONFIG": str(directory / "none"),
        "KUBERNETES_SERVICE_HOST": None,
        "KUBERNETES_SERVICE_PORT": None,
    }
    shown = CliRunner(env=environment).invoke(main, ["apps", "--kubernetes"])
    assert shown.exit_code == 2
    assert "Name a kubeconfig in KUBECONFIG" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
