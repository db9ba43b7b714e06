"""Statuses of accounts and rules: told by the leader, once, and what flows once a minute."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.account import Account
from controller.cluster_rules import ClusterRules
from controller.policies import RuleReport
from controller.telling import Telling
from controller.unusable import Unusable
from paastis.config import AccountConfig
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.resources.names import ACCOUNTS, RULES
from paastis.resources.names import Resource as Kind
from tests.controller.kube import Kube, small_cluster
from tests.controller.resources import Object, account, rule
from tests.controller.test_cluster_accounts import World

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Told:
    """Telling in a small cluster, with one account and one rule that are worked with."""

    kube: Kube
    now: datetime = NOW
    leading: bool = True
    live: dict[str, Account] = field(default_factory=dict)
    reports: dict[str, RuleReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World()
        self.accounts = self.world.accounts
        self.rules = ClusterRules(
            lambda _: None, file_rules=(), on_news=lambda: None, metrics=Metrics()
        )
        self.telling = Telling(
            self.kube.cluster,
            accounts=self.accounts,
            rules=self.rules,
            live=lambda: self.live,
            reports=lambda: self.reports,
            leading=lambda: self.leading,
            now=lambda: self.now,
            metrics=Metrics(),
        )

    async def add(self, kind: Kind, resource: Object) -> None:
        made = await self.kube.add(kind, resource)
        (self.accounts if kind is ACCOUNTS else self.rules).take("ADDED", made)

    def status(self, kind: Kind, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.fake.objects(kind.plural)[name].get("status", {})
        return found


@asynccontextmanager
async def telling(directory: Path) -> AsyncIterator[Told]:
    async with small_cluster(directory) as kube:
        told = Told(kube)
        told.world.token("prod-token", "tk")
        await told.add(ACCOUNTS, account("prod"))
        await told.add(RULES, rule("long", pattern="long-.*"))
        told.live["prod"] = Account.open(AccountConfig("prod", "scalingo"), Unusable("unused"))
        yield told


def listed(told: Told, at: datetime) -> None:
    account = told.live["prod"]
    account.reachable, account.apps, account.last_complete_listing = True, 7, at


async def test_account_and_rule_are_told_once(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        listed(told, NOW)
        told.reports["long"] = RuleReport(apps=3)
        for _ in range(3):
            await told.telling.round()

        status = told.status(ACCOUNTS, "prod")
        assert (status["reachable"], status["apps"], status["observedGeneration"]) == (True, 7, 1)
        assert told.status(RULES, "long")["apps"] == 3
        assert told.kube.writes("paastisaccounts") == 1
        assert told.kube.writes("paastisrules") == 1


async def test_one_that_stands_by_tells_nothing(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        listed(told, NOW)
        told.leading = False

        await told.telling.round()

        assert told.kube.writes("paastisaccounts") == 0


async def test_what_flows_is_told_once_a_minute_and_news_at_once(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        for second in range(0, 60, 10):
            told.now = NOW + timedelta(seconds=second)
            listed(told, told.now)
            await told.telling.round()
        assert told.kube.writes("paastisaccounts") == 1

        told.live["prod"].reachable = False
        await told.telling.round()
        assert told.kube.writes("paastisaccounts") == 2
        assert told.status(ACCOUNTS, "prod")["reachable"] is False

        told.now += MINUTE
        listed(told, told.now)
        told.live["prod"].reachable = False
        await told.telling.round()
        assert told.kube.writes("paastisaccounts") == 3


async def test_new_leader_leaves_what_was_told_until_it_knows_better(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        listed(told, NOW)
        await told.telling.round()
        told.live["prod"] = Account.open(AccountConfig("prod", "scalingo"), Unusable("unused"))

        await told.telling.round()

        assert told.status(ACCOUNTS, "prod")["reachable"] is True
        assert told.kube.writes("paastisaccounts") == 1


async def test_account_that_rests_says_why(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        told.world.token("bad-token", "tk-bad")
        await told.add(ACCOUNTS, account("bad", regions=["?"]))
        await told.add(ACCOUNTS, account("waits"))

        await told.telling.round()

        conditions = told.status(ACCOUNTS, "bad")["conditions"]
        (ready,) = [one for one in conditions if one["type"] == "Ready"]
        assert (ready["status"], ready["reason"]) == ("False", Reason.ACCOUNT_INVALID)
        assert "spec.regions" in ready["message"]
        assert told.status(ACCOUNTS, "waits") == {}


async def test_rule_that_is_wrong_says_why_though_nobody_works_with_it(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        await told.add(RULES, rule("bad", pattern="(("))
        told.rules.settle()

        await told.telling.round()

        (valid,) = told.status(RULES, "bad")["conditions"]
        assert (valid["type"], valid["status"]) == ("Valid", "False")
        assert told.status(RULES, "long") == {}  # not counted yet


async def test_refusal_of_one_status_does_not_keep_the_others(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        listed(told, NOW)
        told.reports["long"] = RuleReport(apps=3)
        told.kube.fake.fail(method="PATCH", path="paastisaccounts/prod", status=422)

        await told.telling.round()
        assert told.status(RULES, "long")["apps"] == 3
        assert told.status(ACCOUNTS, "prod") == {}

        await told.telling.round()
        assert told.status(ACCOUNTS, "prod")["apps"] == 7


async def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    async with telling(tmp_path) as told:
        listed(told, NOW)
        told.kube.fake.fail(method="PATCH", path="paastisaccounts", status=500)

        await told.telling.round()
        assert told.status(ACCOUNTS, "prod") == {}
        await told.telling.round()

        assert told.status(ACCOUNTS, "prod")["apps"] == 7
