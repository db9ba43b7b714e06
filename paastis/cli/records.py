"""What will become of apps, told from their records alone.

The controller that decides about them is elsewhere, and what it keeps in memory is not to be had:
whether somebody deploys, when it last looked. Where that matters we say what its account's status
says, and otherwise what is true most of the time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from controller.knowledge import Knowledge
from paastis.app import App, Condition, Phase
from paastis.cli.instance import outlook_of
from paastis.config import ControllerConfig
from paastis.decide import decide, idle_from
from paastis.policy import Mode
from paastis.reasons import Reason
from paastis.resources.account import PROVIDER_REACHABLE
from paastis.resources.rule import conditions_from
from paastis.resources.standing import READY
from paastis.resources.values import duration_from, time_from
from paastis.rule import LinkNode, linked
from paastis.system.port import AccountStatus, Outlook

SILENT_AFTER = timedelta(minutes=15)
"""How old the last listing on record may be before the controller is taken to be away. It is told
once a minute, and how often apps are listed is the controller's own setting: every minute mostly."""

INTERVALS_FRESH = 3
"""As in the decision: no stop after three discovery intervals without a look."""

_GOOD = frozenset({PROVIDER_REACHABLE, READY})
"""Conditions of accounts that are a problem while they do not hold; all others are one if they do."""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """One PaastisAccount, as far as people are told of it."""

    name: str
    provider: str
    mode: str
    reachable: bool | None = None
    """None: the controller has not tried yet."""
    discovery_interval: timedelta | None = None
    """None: as the controller's own settings say, which are not known here."""
    budget_left: int | None = None
    last_complete_listing: datetime | None = None
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> Self:
        """As the resource tells. Raises ValueError with a sentence if it cannot be read."""
        spec, status = resource.get("spec") or {}, resource.get("status") or {}
        listed, interval = status.get("lastCompleteListing"), spec.get("discoveryInterval")
        return cls(
            name=resource["metadata"]["name"],
            provider=spec.get("provider", ""),
            mode=spec.get("mode", Mode.OBSERVE),
            reachable=status.get("reachable"),
            discovery_interval=None if interval is None else duration_from(interval),
            budget_left=status.get("budgetLeft"),
            last_complete_listing=None if listed is None else time_from(listed),
            conditions=conditions_from(status),
        )

    def status(self, apps: int) -> AccountStatus:
        """In the words of the system API; `apps` is how many belong to it."""
        problems = [one.message for one in self.conditions if one.status != (one.type in _GOOD)]
        return AccountStatus(
            name=self.name,
            provider=self.provider,
            mode=self.mode,
            reachable=self.reachable is not False,
            message=" ".join(dict.fromkeys(problems)),  # one failure is told by several
            apps=apps,
            budget_left=self.budget_left,
            last_complete_listing=self.last_complete_listing,
            conditions=self.conditions,
        )


def foreseen(
    apps: Mapping[str, App], accounts: Mapping[str, AccountRecord], now: datetime
) -> Callable[[App], Outlook]:
    """For any of these apps: what is decided about it now, and when it would sleep."""
    drain = ControllerConfig().drain_time
    knowledge = Knowledge(drain_time=drain)
    for account in accounts.values():
        if account.discovery_interval is not None:
            knowledge.fresh_for[account.name] = INTERVALS_FRESH * account.discovery_interval
    for app in apps.values():
        knowledge.observe(app, now)
        known = knowledge.of(app.name)
        known.remote_at = _seen_at(accounts.get(app.identity.account), now)
        if known.demand is not None:
            # When the demand was made is not on record: a use before it counts as one after it,
            # which tells a sleep that comes a little late and never one that does not come.
            known.use_since_demand = known.access_at
    knowledge.link(
        linked(
            {
                name: LinkNode(
                    account=app.identity.account,
                    app_name=app.app_name,
                    display_name=app.policy.display_name,
                    links=app.policy.linked_apps,
                )
                for name, app in apps.items()
            }
        )
    )

    def outlook(app: App) -> Outlook:
        situation = knowledge.situation(app, apps, account_known=_account_known(app, accounts))
        idle_at = idle_from(situation, now)
        return outlook_of(app, situation, decide(situation, now), idle_at, drain=drain)

    return outlook


def _account_known(app: App, accounts: Mapping[str, AccountRecord]) -> bool:
    """Whether the controller has the app's account: not one that was deleted or is not usable."""
    missed = app.phase is Phase.UNMANAGED and app.phase_reason is Reason.ACCOUNT_MISSING
    return app.identity.account in accounts and not missed


def _seen_at(account: AccountRecord | None, now: datetime) -> datetime | None:
    """When the controller last saw the apps of that account at the provider.

    While all is well that is a moment ago, which its account's status tells with some delay.
    """
    if account is None or account.last_complete_listing is None:
        return None
    patience = max(SILENT_AFTER, INTERVALS_FRESH * (account.discovery_interval or timedelta(0)))
    well = account.reachable is not False and now - account.last_complete_listing <= patience
    return now if well else account.last_complete_listing
