"""The controller as a program: waits for its turn to lead, and acts while it does.

Accounts and rules may be put, replaced and dropped at any time, before, during and between terms;
whatever changes holds for every decision from then on.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from controller.account import Account
from controller.happening import Happening
from controller.knowledge import Knowledge
from controller.policies import Policies, RuleReport
from controller.term import Term, World
from paastis.app import App
from paastis.config import AccountConfig, Config
from paastis.decide import Decision, Situation, decide, idle_from
from paastis.metrics import Metrics
from paastis.providers.port import Provider
from paastis.registry.port import Registry
from paastis.rule import Rule

log = logging.getLogger(__name__)

LAST_STEPS = timedelta(seconds=5)
"""How long actions under way may take after the order to end."""

LAST_STEPS_OF_A_LOST_LEASE = timedelta(seconds=3)
"""The same where the right to lead was lost: nobody else may lead before 4 s have passed."""

ALIVE_WITHIN = timedelta(minutes=2)
"""A loop that has not turned for this long, with work waiting, is not alive."""


class Controller:
    """Everything that decides and acts. One leads at a time; the others wait in `run`.

    `announce` is told of what happens to apps; `on_news` (an account's name) after each listing and
    whenever one of the account's conditions changes; `on_rules` when `rule_reports` may have changed;
    `on_lead` when a term begins.
    They are called in the event loop and must return at once.

    Put all accounts and rules that there are before the first `run`: a leader leaves the apps of an
    account that it does not know alone, and says so in their records.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        accounts: Sequence[Account],
        config: Config,
        environ: Mapping[str, str],
        now: Callable[[], datetime],
        rng: random.Random,
        metrics: Metrics,
        announce: Callable[[Happening], None] = lambda _: None,
        on_news: Callable[[str], None] = lambda _: None,
        on_rules: Callable[[], None] = lambda: None,
        on_lead: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._accounts = {account.name: account for account in accounts}
        self._now = now
        self._on_news = on_news
        self._on_lead = on_lead
        self._policies = Policies(config, self._accounts)
        self._world = World(
            registry=registry,
            config=config,
            environ=environ,
            accounts=self._accounts,
            policies=self._policies,
            metrics=metrics,
            now=now,
            new_id=lambda: f"{rng.getrandbits(64):016x}",
            announce=announce,
            on_rules=on_rules,
            on_news=on_news,
        )
        self._term: Term | None = None
        self._standing_by = Knowledge(drain_time=config.controller.drain_time)
        for account in accounts:
            account.on_news = on_news

    # --- accounts and rules

    @property
    def accounts(self) -> Mapping[str, Account]:
        """The accounts, by name."""
        return self._accounts

    def put_account(self, config: AccountConfig, provider: Provider) -> Provider | None:
        """Add an account, or replace what is known by that name; it holds at once.

        Returns the provider that was replaced, for its closing; None where there was none, or the
        same. What the account has learnt (conditions, places, absences) is kept.
        """
        account = self._accounts.get(config.name)
        if account is None:
            account = Account.open(config, provider)
            account.on_news = self._on_news
            self._accounts[config.name] = account
            if self._term is not None:
                self._term.account_put(account, is_new=True, relist=True)
            return None
        before, replaced = account.config, account.provider
        relist = replaced is not provider or _finds(before) != _finds(config)
        account.config, account.provider = config, provider
        account.slots.resize(provider.limits.operations)
        if self._term is not None and (relist or before != config):
            self._term.account_put(account, is_new=False, relist=relist)
        return replaced if replaced is not provider else None

    def drop_account(self, name: str) -> Provider | None:
        """Forget an account; returns its provider, for its closing.

        Its apps become `Unmanaged` with `AccountMissing`. Their records keep what is needed to bring
        them back, and they are adopted again when the account is put again.
        """
        account = self._accounts.pop(name, None)
        if account is None:
            return None
        if self._term is not None:
            self._term.account_dropped(account)
        return account.provider

    def put_rules(self, rules: Sequence[Rule]) -> None:
        """Replace all rules; they hold at once, and records show it awake apps first.

        Rules of higher priority win; among equals the later one does. So rules without an order of
        their own (resources) are to be handed over sorted by name, for a tie to end the same way
        always. A rule whose pattern is bad is reported and breaks nothing else.
        """
        self._policies.put_rules(rules)
        if self._term is not None:
            self._term.rules_put()

    def rule_reports(self) -> Mapping[str, RuleReport]:
        """What became of each rule, by its name, as of the last time policies were renewed."""
        return self._policies.reports

    # --- for people's eyes

    def decision(self, app: App) -> tuple[Situation, Decision, datetime]:
        """What would be done with that app now, and when it will be idle."""
        now = self._now()
        knowledge = self._term.knowledge if self._term is not None else self._standing_by
        situation = knowledge.situation(
            self._policies.in_force(app),
            self._registry.apps(),
            account_known=app.identity.account in self._accounts,
        )
        return situation, decide(situation, now), idle_from(situation, now)

    @property
    def leading(self) -> bool:
        """Whether this process decides and acts now."""
        return self._term is not None

    def alive(self) -> tuple[bool, str]:
        """Whether the loops turn."""
        if self._term is None:
            return True, "waiting to lead"
        reconciler = self._term.reconciler
        turned = reconciler.turned_at
        stuck = turned is not None and self._now() - turned > ALIVE_WITHIN and reconciler.backlog
        return (False, "the reconciler does not turn") if stuck else (True, "deciding")

    def ready(self) -> tuple[bool, str]:
        """Whether every account was listed, or at least tried."""
        waiting = [
            account.name
            for account in self._accounts.values()
            if not account.listed_once and account.reachable is not False
        ]
        if waiting:
            return False, f"not listed yet: {', '.join(waiting)}"
        return True, "every account was listed or tried"

    async def forget(self) -> int:
        """Forget what can be rediscovered without loss, and list again; returns how many."""
        discoveries = tuple(self._term.discoveries.values()) if self._term is not None else ()
        return sum([await discovery.forget() for discovery in discoveries])

    def look_around(self) -> None:
        """List the apps of every account now, not only when it is due."""
        if self._term is not None:
            for discovery in self._term.discoveries.values():
                discovery.ask()

    # --- leading

    async def run(self, stop: asyncio.Event) -> None:
        """Wait for the right to lead, and act until `stop` is set or that right is lost.

        May be called again afterwards. Each term begins with fresh knowledge.
        """
        async with self._registry.lead() as lease:
            log.info("leading")
            end, lost = asyncio.Event(), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_set_after(lease.lost(), lost, end))
                ending = group.create_task(_set_after(stop.wait(), end))
                term = self._term = Term(self._world, lease)
                self._on_lead()
                try:
                    await term.run(
                        end,
                        last_steps=lambda: (
                            LAST_STEPS_OF_A_LOST_LEASE if lost.is_set() else LAST_STEPS
                        ),
                    )
                finally:
                    self._term = None
                    watching.cancel()
                    ending.cancel()
            log.info("the right to lead was lost" if lost.is_set() else "led to the end")


def _finds(config: AccountConfig) -> tuple[object, ...]:
    """What decides which apps a listing brings, and when."""
    return (
        config.regions,
        config.ignored_apps,
        config.only_apps,
        config.urls,
        config.discovery_interval,
    )


async def _set_after(waited: Coroutine[Any, Any, object], *events: asyncio.Event) -> None:
    await waited
    for event in events:
        event.set()
