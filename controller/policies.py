"""The effective policies of all records: rules, account and overrides, and what links add.

The policy in force for one app is computed whenever it is asked for, from the rules and accounts as
they are then: so a change holds at once, for every decision. What all records together lead to
(links, claimed hosts, access resolutions, how many apps a rule matches) is renewed in slices by
`renew`; `controller/renewal.py` writes it to the records.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.account import Account
from controller.settling import told
from controller.slices import Slices
from paastis.app import App, AppChange, Phase
from paastis.config import Config
from paastis.hosts import Lost, lost_claims
from paastis.pattern import compile_pattern
from paastis.policy import Mode, Policy, Power
from paastis.reasons import Reason
from paastis.rule import (
    Effective,
    Hooks,
    LinkNode,
    Rule,
    access_resolution,
    effective,
    hooks_for,
    linked,
)

log = logging.getLogger(__name__)

_LEFT_ALONE = replace(Policy(), power=Power.UNMANAGED)

PROBLEMS_TOLD = 5
"""Problems of one rule that are told in full; the others are counted."""


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What became of one rule."""

    apps: int
    """How many apps it matches; those that are gone don't count."""
    problems: tuple[str, ...] = ()
    """One sentence each."""


@dataclass(frozen=True, slots=True)
class _Cached:
    """An effective policy, and what it was computed from."""

    key: tuple[object, ...]
    effective: Effective


class Policies:
    """Computes policies; remembers them by what they depend on."""

    def __init__(self, config: Config, accounts: Mapping[str, Account]) -> None:
        self._config = config
        self._accounts = accounts
        self._rules: tuple[Rule, ...] = ()
        self._bad: dict[str, str] = {}
        self._edition = 0
        """Of the rules: rises with each replacement."""
        self._reported_edition = 0
        self._cache: dict[str, _Cached] = {}
        self._shared: dict[tuple[object, ...], _Cached] = {}
        """What apps have in common that the same rules match: thousands share one policy."""
        self._lost_claims: Mapping[str, tuple[Lost, ...]] = {}
        self._renewed_for: Mapping[str, tuple[object, ...]] = {}
        self._resolutions: Mapping[str, timedelta] = {}
        self.links: Mapping[str, frozenset[str]] = {}
        """Record name → the records it keeps awake, when they were last renewed."""
        self.reports: Mapping[str, RuleReport] = {}
        """What became of each rule, by its name, likewise."""
        self.put_rules(config.rules)

    def put_rules(self, rules: Sequence[Rule]) -> None:
        """Replace all rules; among those of equal priority the later one wins.

        A rule whose pattern is not valid is left out and reported; it breaks nothing else.
        """
        good: list[Rule] = []
        self._bad = {}
        for rule in rules:
            try:
                compile_pattern(rule.pattern)
            except ValueError as error:
                self._bad[_name(rule)] = f"{rule.source}: {error}"
            else:
                good.append(rule)
        # In their order of application already, so that sorting them for each app costs nothing.
        self._rules = tuple(sorted(good, key=lambda rule: rule.priority))
        self._edition += 1

    def hooks_of(self, app: App) -> Hooks:
        """The shell commands around this app's starts and stops."""
        return hooks_for(self._effective(app).matched, self._config.hooks.commands)

    def in_force(self, app: App) -> App:
        """The record with the policy that holds now, whether that is written already or not.

        The very same object where it is.
        """
        policy = self._shown(app)
        return app if policy == app.policy else replace(app, policy=policy)

    def change_of(self, app: App, now: datetime) -> AppChange | None:
        """What to write so that this record shows its policy; None: nothing, or not now.

        A draining record is left for later: the next write to it must be its stop.
        """
        if app.phase in {Phase.DRAINING, Phase.GONE}:
            return None
        problem = " ".join(self._effective(app).problems) or None
        conditions = told(app.conditions, Reason.TEMPLATE_DROPPED, problem, now)
        unusable = " ".join(app.overrides.problems) or None
        conditions = told(conditions, Reason.OVERRIDE_DROPPED, unusable, now)
        if app.name in self._renewed_for:
            conditions = told(conditions, Reason.HOST_CLAIMED, self._claimed_told(app.name), now)
        policy = self._shown(app)
        if policy == app.policy and conditions is app.conditions:
            return None
        return AppChange(policy=policy, conditions=conditions)

    def of_new(self, app: App) -> App:
        """A record that is about to be created, with its policy."""
        found = self._compute(app, self._accounts.get(app.identity.account))
        return replace(app, policy=found.policy)

    def is_stale(self, app: App) -> bool:
        """Whether `renew` has not seen this record as it is now."""
        return self._renewed_for.get(app.name) != self._depends_on(app)

    def counts(self, name: str) -> bool:
        """Whether a record of that name is part of what was last renewed."""
        return name in self._renewed_for

    async def renew(self, apps: Mapping[str, App]) -> None:
        """Renew what all records together lead to: at most some 10 ms at a stretch.

        Nothing is done where nothing that matters has changed since the last time.
        """
        slices = Slices()
        self._shared.clear()
        edition = self._edition
        depends_on: dict[str, tuple[object, ...]] = {}
        effectives: dict[str, Effective] = {}
        for name, app in apps.items():
            await slices.turn()
            depends_on[name] = self._depends_on(app)
            effectives[name] = self._effective(app)
        if depends_on == self._renewed_for and edition == self._reported_edition:
            return
        nodes = {
            name: LinkNode(
                account=apps[name].identity.account,
                app_name=apps[name].app_name,
                display_name=found.policy.display_name,
                links=found.policy.linked_apps,
            )
            for name, found in effectives.items()
        }
        # Pure, on values that never change, and up to a second of work: a thread of its own shares
        # the time with the loop.
        links = await asyncio.to_thread(linked, nodes)
        lost = await asyncio.to_thread(_lost, apps, effectives)
        resolutions = await self._resolved(effectives, links)
        self.reports = await self._reported(apps, effectives)
        self.links, self._lost_claims, self._resolutions = links, lost, resolutions
        self._renewed_for, self._reported_edition = depends_on, edition
        for name in self._cache.keys() - apps.keys():
            del self._cache[name]

    async def _resolved(
        self, effectives: Mapping[str, Effective], links: Mapping[str, frozenset[str]]
    ) -> Mapping[str, timedelta]:
        """The access resolution of each record: the apps that it keeps awake count as well."""
        slices = Slices()
        floor = self._config.controller.access_resolution
        shortest: dict[frozenset[str], timedelta] = {}  # apps that link to the same share one set
        resolutions: dict[str, timedelta] = {}
        for name, found in effectives.items():
            await slices.turn()
            idle_times = [found.policy.max_idle_time]
            targets = links[name]
            if targets:
                if targets not in shortest:
                    shortest[targets] = min(effectives[it].policy.max_idle_time for it in targets)
                idle_times.append(shortest[targets])
            resolutions[name] = access_resolution(idle_times, floor)
        return resolutions

    async def _reported(
        self, apps: Mapping[str, App], effectives: Mapping[str, Effective]
    ) -> Mapping[str, RuleReport]:
        slices = Slices()
        matches: Counter[str] = Counter()
        problems: dict[str, list[str]] = {}
        for name, found in effectives.items():
            await slices.turn()
            if apps[name].phase is Phase.GONE:
                continue
            matches.update(_name(rule) for rule in found.matched)
            for problem in found.problems:
                rule = next(it for it in found.matched if problem.startswith(f"{it.source}: "))
                problems.setdefault(_name(rule), []).append(problem)
        reports = {name: RuleReport(0, (problem,)) for name, problem in self._bad.items()}
        for rule in self._rules:
            told_each = problems.get(_name(rule), [])
            kept = tuple(told_each[:PROBLEMS_TOLD])
            if len(told_each) > len(kept):
                kept += (f"The same holds for {len(told_each) - len(kept)} more.",)
            reports[_name(rule)] = RuleReport(matches[_name(rule)], kept)
        return reports

    def _claimed_told(self, name: str) -> str | None:
        lost = self._lost_claims.get(name, ())
        told_each = [f"{one.key} belongs to {one.winner}, which is older." for one in lost]
        return " ".join(told_each) or None

    def _shown(self, app: App) -> Policy:
        """What the record is to show. Before links are known, its resolution stays as it was."""
        policy = self._effective(app).policy
        resolution = self._resolutions.get(app.name, app.policy.access_resolution)
        if policy.access_resolution == resolution:
            return policy
        return replace(policy, access_resolution=resolution)

    def _depends_on(self, app: App) -> tuple[object, ...]:
        gone = app.phase is Phase.GONE
        return (*self._key(app), app.overrides.problems, app.created_at, gone)

    def _key(self, app: App) -> tuple[object, ...]:
        account = self._accounts.get(app.identity.account)
        config = account.config if account is not None else None
        return (app.app_name, app.overrides.settings, config, self._edition)

    def _effective(self, app: App) -> Effective:
        key = self._key(app)
        cached = self._cache.get(app.name)
        if cached is not None and cached.key == key:
            return cached.effective
        found = self._compute(app, self._accounts.get(app.identity.account))
        self._cache[app.name] = _Cached(key, found)
        return found

    def _compute(self, app: App, account: Account | None) -> Effective:
        if account is None:
            return Effective(replace(app.policy, mode=Mode.OBSERVE), ())
        if not account.config.covers(app.app_name):
            # It was looked after before and is asleep: it stays on record, and is left alone.
            return Effective(replace(_LEFT_ALONE, mode=account.config.mode), ())
        matched = tuple(rule for rule in self._rules if rule.match(app.app_name, account.name))
        if any(rule.has_templates for rule in matched):
            return self._computed(app, account, matched)
        among = (account.name, app.overrides.settings, *map(id, matched))
        key = (account.config, self._edition)
        shared = self._shared.get(among)
        if shared is None or shared.key != key:
            shared = self._shared[among] = _Cached(key, self._computed(app, account, matched))
        return shared.effective

    def _computed(self, app: App, account: Account, rules: Sequence[Rule]) -> Effective:
        return effective(
            app.app_name,
            account.name,
            rules,
            defaults=self._config.defaults,
            account_settings=account.config.settings,
            overrides=app.overrides.settings,
            mode=account.config.mode,
            resolution_floor=self._config.controller.access_resolution,
        )


def _name(rule: Rule) -> str:
    """What a rule is reported under; those of a file need not have a name."""
    return rule.name or rule.source


def _lost(
    apps: Mapping[str, App], effectives: Mapping[str, Effective]
) -> Mapping[str, tuple[Lost, ...]]:
    return lost_claims(replace(app, policy=effectives[name].policy) for name, app in apps.items())
