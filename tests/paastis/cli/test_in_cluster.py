"""The two programs of a cluster: who they are, what they wait for, what they know without asking."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from paastis.app import Phase
from paastis.cli import in_cluster, main
from paastis.cli.in_cluster import addresses_in_cluster, own_name, reach
from paastis.cli.proxy import accounts_from_records, outlook_from_record, owner_of
from paastis.config import ClusterConfig, Config, ProxyConfig
from paastis.errors import Forbidden, Missing, RegistryError, RegistryUnavailable
from paastis.policy import Policy
from tests.paastis.factories import an_app

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
POD = Config(accounts=(), cluster=ClusterConfig("paastis", "paastis-proxy-x", "a-uid"))


@pytest.mark.parametrize(
    ("word", "kind", "expected"),
    [
        ("run", "kubernetes", "`paastis controller` and `paastis proxy`"),
        ("controller", "in-memory", "expected kubernetes"),
        ("proxy", "in-memory", "expected kubernetes"),
    ],
)
def test_program_refuses_a_registry_that_it_cannot_share(
    word: str, kind: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.chdir(str(tmp_path))
    token = {"PROVIDER_NAME": "scalingo", "PROVIDER_SCALINGO_API_TOKEN": "tk"}

    told = CliRunner().invoke(main, [word], env={**token, "REGISTRY_TYPE": kind})

    assert told.exit_code == 2
    (line,) = told.output.splitlines()
    assert line.startswith("paastis: REGISTRY_TYPE: ")
    assert expected in line


def test_program_is_called_as_its_pod() -> None:
    assert own_name(POD) == "paastis-proxy-x"
    assert own_name(Config(accounts=()))


def test_heartbeat_belongs_to_the_pod_where_it_is_known() -> None:
    assert owner_of(POD) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "paastis-proxy-x",
        "uid": "a-uid",
    }
    assert owner_of(Config(accounts=(), cluster=ClusterConfig(pod_name="x"))) is None


def failing(*errors: RegistryError) -> Callable[[], Awaitable[None]]:
    left = list(errors)

    async def look() -> None:
        if left:
            raise left.pop(0)

    return look


async def test_what_is_in_the_way_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(in_cluster, "_FIRST_PAUSE", 0.001)
    troubles: list[str] = []

    reached = await reach(
        failing(
            RegistryUnavailable("No route."),
            RegistryUnavailable("No route."),
            Missing("404"),
            Forbidden("403"),
        ),
        namespace="apps",
        stop=asyncio.Event(),
        rng=random.Random(1),
        on_trouble=troubles.append,
    )

    assert reached
    assert [trouble.split(" ")[0] for trouble in troubles] == ["Waiting", "Waiting", "The", "What"]
    assert "kubectl apply --server-side -f crds/" in troubles[2]
    assert "Role" in troubles[3]
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [troubles[0], troubles[2], troubles[3]]  # the same is not told twice in a row


async def test_waiting_ends_when_it_is_told_to() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(
        reach(
            failing(*[RegistryUnavailable("No route.")] * 100),
            namespace="apps",
            stop=stop,
            rng=random.Random(1),
            on_trouble=lambda _: stop.set(),
        )
    )

    assert await asyncio.wait_for(waiting, 5) is False


def test_addresses_are_those_of_base_domains_and_extra_hosts() -> None:
    config = Config(accounts=(), proxy=ProxyConfig(base_domains=("apps.example.com",)))
    app = an_app(policy=Policy(hosts=("shop.example.com",)))

    assert addresses_in_cluster(config, app) == (
        "http://shop.example.com/",
        f"http://{app.app_name}.apps.example.com/",
    )
    assert addresses_in_cluster(Config(accounts=()), an_app(policy=Policy())) == ()


def test_outlook_is_told_from_the_record_alone() -> None:
    app = an_app(Phase.AWAKE, last_access_time=NOW)

    outlook = outlook_from_record(app, NOW + timedelta(seconds=1))

    assert outlook.message
    assert outlook.sleeps_at is not None
    assert outlook.sleeps_at > NOW


def test_accounts_are_told_from_the_records_without_saying_how_they_stand() -> None:
    app = an_app()

    (account,) = accounts_from_records({app.name: app})

    assert (account.name, account.apps) == (app.identity.account, 1)
    assert account.reachable is None
    assert "kubectl get paastisaccounts" in account.message
