"""What is told of accounts and rules in their resources' status.

Written by the leader alone, and only where the resource does not say it already. What changes all the
time (calls left, the last listing) is told together, once a minute at most.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from controller.account import Account
from controller.cluster_accounts import ClusterAccounts
from controller.cluster_rules import ClusterRules
from controller.policies import RuleReport
from controller.resources import Resource, Resources
from paastis.errors import Conflict, Forbidden, Missing, Refused, RegistryError
from paastis.metrics import Metrics
from paastis.registry.cluster import Cluster
from paastis.resources.account import account_status
from paastis.resources.names import ACCOUNTS, RULES
from paastis.resources.names import Resource as Kind
from paastis.resources.rule import rule_status

log = logging.getLogger(__name__)

PAUSE = timedelta(milliseconds=500)
"""Between two rounds, so that what happens together is told together."""

ROUND = timedelta(seconds=10)
"""Between rounds that nothing asked for: how many apps a rule matches is told by nobody."""

FLOWING = ("budgetLeft", "lastCompleteListing")
"""What changes all the time."""

FLOWING_EVERY = timedelta(minutes=1)


class Telling:
    """Both kinds' statuses."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        accounts: ClusterAccounts,
        rules: ClusterRules,
        live: Callable[[], Mapping[str, Account]],
        reports: Callable[[], Mapping[str, RuleReport]],
        leading: Callable[[], bool],
        now: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """`live` and `reports` are what the controller has, by name."""
        self._cluster = cluster
        self._accounts = accounts
        self._rules = rules
        self._live = live
        self._reports = reports
        self._leading = leading
        self._now = now
        self._metrics = metrics
        self._news = asyncio.Event()
        self._flowed: dict[str, datetime] = {}
        self._failing = False
        self._refused: dict[tuple[str, str], str] = {}
        """Kind and name → what was said of the last write."""

    def news(self) -> None:
        """There is something new to tell."""
        self._news.set()

    async def run(self) -> None:
        """Tell what is new, for ever."""
        while True:
            self._news.clear()
            if self._leading():
                await self.round()
            try:
                async with asyncio.timeout(ROUND.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE.total_seconds())

    async def round(self) -> None:
        """Tell everything that is not told yet; what cannot be written is tried again."""
        self._metrics.turn("telling")
        try:
            for name, resource in list(self._accounts.resources.all().items()):
                await self._write(
                    ACCOUNTS, self._accounts.resources, name, self.account_change(name, resource)
                )
            reports = self._reports()
            for name, resource in list(self._rules.resources.all().items()):
                await self._write(
                    RULES, self._rules.resources, name, self._rule_change(name, resource, reports)
                )
        except RegistryError as error:
            if not self._failing:
                log.warning("statuses cannot be written now", extra={"error": str(error)})
            self._failing = True
        except Exception:
            log.exception("unexpected fault")
            self._metrics.errors.labels("telling").inc()
        else:
            self._failing = False

    def account_change(self, name: str, resource: Resource) -> Mapping[str, Any]:
        """What to write to an account's status now; empty: nothing."""
        now = self._now()
        status = resource.get("status") or {}
        account = self._live().get(name)
        problem = self._accounts.problem_of(name)
        if problem is None and account is None:
            return {}  # its Secret is being read, or its owner is asked for
        tried = account is None or account.reachable is not None
        if problem is None and not tried and "lastCompleteListing" in status:
            return {}  # what the leader before has told is more than we know yet
        said = account_status(
            resource,
            reachable=account.reachable if account is not None else None,
            apps=account.apps if account is not None else None,
            budget_left=account.provider.budget().left if account is not None else None,
            last_complete_listing=account.last_complete_listing if account is not None else None,
            conditions=account.conditions if account is not None else (),
            now=now,
            problem=problem,
        )
        changed = {key for key, value in said.items() if status.get(key) != value}
        told = self._flowed.get(name)
        if changed <= set(FLOWING) and told is not None and now - told < FLOWING_EVERY:
            return {}
        if changed:
            self._flowed[name] = now
        return said

    def _rule_change(
        self, name: str, resource: Resource, reports: Mapping[str, RuleReport]
    ) -> Mapping[str, Any]:
        report = reports.get(name)
        problems = self._rules.problems_of(name)
        if report is None and not problems:
            return {}  # not worked with yet
        return rule_status(
            resource,
            apps=report.apps if report is not None else 0,
            problems=problems,
            dropped=report.problems if report is not None else (),
            now=self._now(),
        )

    async def _write(
        self, kind: Kind, resources: Resources, name: str, said: Mapping[str, Any]
    ) -> None:
        if not said or not self._leading():
            return
        try:
            answer = await self._cluster.patch(kind, name, {"status": said}, subresource="status")
        except Missing:
            return  # deleted meanwhile; the watch will tell
        except (Conflict, Forbidden, Refused) as error:
            # For this one only; it is tried again with the next round.
            if self._refused.get((kind.kind, name)) != str(error):
                self._refused[kind.kind, name] = str(error)
                log.warning("a status is refused: %s", error, extra={"resource": name})
            return
        # Known at once, so that the next round does not write it again.
        resources.take("MODIFIED", answer)
