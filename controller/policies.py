"""The effective policies of all records: rules, account and overrides, and what links add."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.account import Account
from controller.knowledge import Knowledge
from controller.settling import told
from paastis.app import App, AppChange, Phase
from paastis.config import Config
from paastis.hosts import Lost, lost_claims
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


@dataclass(frozen=True, slots=True)
class _Cached:
    """An effective policy, and what it was computed from."""

    key: tuple[object, ...]
    effective: Effective


class Policies:
    """Computes policies; remembers them by what they depend on."""

    def __init__(
        self, config: Config, accounts: Mapping[str, Account], knowledge: Knowledge
    ) -> None:
        self._config = config
        self._rules: Sequence[Rule] = config.rules
        self._accounts = accounts
        self._knowledge = knowledge
        self._cache: dict[str, _Cached] = {}
        self._lost_claims: Mapping[str, tuple[Lost, ...]] = {}
        self._renewed_for: Mapping[str, tuple[object, ...]] = {}
        self._resolutions: dict[str, timedelta] = {}
        """Of every record when links were last renewed."""

    def hooks_of(self, app: App) -> Hooks:
        """The shell commands around this app's starts and stops."""
        return hooks_for(self._effective(app).matched, self._config.hooks.commands)

    def changes(self, apps: Mapping[str, App], now: datetime) -> list[tuple[App, AppChange]]:
        """What to write so that every record shows its policy. Renews the links as well.

        A draining record is left for later: the next write to it must be its stop. Empty where
        nothing has changed since the last call: who failed to write a change asks `change_of`.
        """
        depends_on = {
            name: (
                app.app_name,
                app.overrides.settings,
                app.identity.account in self._accounts,
                app.created_at,
                app.phase is Phase.GONE,
            )
            for name, app in apps.items()
        }
        if depends_on == self._renewed_for:
            return []
        self._renewed_for = depends_on
        effectives = {name: self._effective(app) for name, app in apps.items()}
        links = linked(
            {
                name: LinkNode(
                    account=apps[name].identity.account,
                    app_name=apps[name].app_name,
                    display_name=found.policy.display_name,
                    links=found.policy.linked_apps,
                )
                for name, found in effectives.items()
            }
        )
        self._knowledge.link(links)
        for name in self._cache.keys() - apps.keys():
            del self._cache[name]
        self._lost_claims = lost_claims(
            replace(app, policy=effectives[name].policy) for name, app in apps.items()
        )
        floor = self._config.controller.access_resolution
        self._resolutions = {}
        found_changes: list[tuple[App, AppChange]] = []
        for name, app in apps.items():
            idle_times = [effectives[name].policy.max_idle_time]
            idle_times += [effectives[target].policy.max_idle_time for target in links[name]]
            self._resolutions[name] = access_resolution(idle_times, floor)
            change = self.change_of(app, now)
            if change is not None:
                found_changes.append((app, change))
        return found_changes

    def change_of(self, app: App, now: datetime) -> AppChange | None:
        """What to write so that this record shows its policy; None: nothing, or not now."""
        resolution = self._resolutions.get(app.name)
        if resolution is None or app.phase in {Phase.DRAINING, Phase.GONE}:
            return None
        found = self._effective(app)
        problem = " ".join(found.problems) or None
        conditions = told(app.conditions, Reason.TEMPLATE_DROPPED, problem, now)
        conditions = told(conditions, Reason.HOST_CLAIMED, self._claimed_told(app.name), now)
        policy = found.policy
        if policy.access_resolution != resolution:
            policy = replace(policy, access_resolution=resolution)
        if policy == app.policy and conditions is app.conditions:
            return None
        return AppChange(policy=policy, conditions=conditions)

    def _claimed_told(self, name: str) -> str | None:
        lost = self._lost_claims.get(name, ())
        told_each = [f"{one.key} belongs to {one.winner}, which is older." for one in lost]
        return " ".join(told_each) or None

    def of_new(self, app: App) -> App:
        """A record that is about to be created, with its policy."""
        found = self._compute(app, self._accounts.get(app.identity.account))
        return replace(app, policy=found.policy)

    def _effective(self, app: App) -> Effective:
        account = self._accounts.get(app.identity.account)
        key = (app.app_name, app.overrides.settings, account is not None)
        cached = self._cache.get(app.name)
        if cached is not None and cached.key == key:
            return cached.effective
        found = self._compute(app, account)
        self._cache[app.name] = _Cached(key, found)
        return found

    def _compute(self, app: App, account: Account | None) -> Effective:
        if account is None:
            return Effective(replace(app.policy, mode=Mode.OBSERVE), ())
        if not account.config.covers(app.app_name):
            # It was looked after before and is asleep: it stays on record, and is left alone.
            return Effective(replace(_LEFT_ALONE, mode=account.config.mode), ())
        return effective(
            app.app_name,
            account.name,
            self._rules,
            defaults=self._config.defaults,
            account_settings=account.config.settings,
            overrides=app.overrides.settings,
            mode=account.config.mode,
            resolution_floor=self._config.controller.access_resolution,
        )
