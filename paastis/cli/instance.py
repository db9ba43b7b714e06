"""What the system API is told of the programs in this process."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from controller.account import Account
from controller.program import Controller
from paastis.app import App, Phase
from paastis.config import Config
from paastis.decide import Action, Decision, Situation, wanted_awake
from paastis.metrics import Metrics
from paastis.policy import Mode, Power
from paastis.registry.port import Registry
from paastis.system.port import AccountStatus, Health, Instance, Outlook
from proxy.program import Proxy

_MAY_SLEEP = frozenset({Phase.AWAKE, Phase.DRAINING})


def addresses(config: Config, app: App, port: int) -> tuple[str, ...]:
    """Where visitors reach the app, the best address first.

    Without base domains, that is this machine's own name for itself (RFC 6761, section 6.3).
    """
    suffix = "" if port == 80 else f":{port}"
    label = (app.policy.display_name or app.app_name).lower()
    bases = config.proxy.base_domains or ("localhost",)
    hosts = [*app.policy.hosts, *(f"{label}.{base}" for base in bases)]
    return tuple(f"http://{host}{suffix}/" for host in hosts)


def outlook_of(
    app: App, situation: Situation, decision: Decision, idle_at: datetime, *, drain: timedelta
) -> Outlook:
    """A decision in the words of the system API, with the time at which the app would sleep."""
    now_idle = decision.action in {Action.BEGIN_DRAIN, Action.STOP}
    sleeps_at: datetime | None = None
    managed = app.policy.power not in {Power.ALWAYS_ON, Power.UNMANAGED}
    may = app.policy.mode in {Mode.MANAGE, Mode.OBSERVE} and managed
    if app.phase in _MAY_SLEEP and may and situation.unmanaged is None:
        wanted = wanted_awake(situation, idle_at)
        until = wanted[1] if wanted is not None else idle_at
        if wanted is None or until is not None:
            sleeps_at = max(idle_at, until or idle_at) + (timedelta(0) if now_idle else drain)
    return Outlook(
        action=decision.action,
        reason=decision.reason,
        message=decision.message,
        sleeps_at=sleeps_at,
        look_again_at=decision.look_again_at,
    )


def account_status(account: Account, apps: int) -> AccountStatus:
    """How an account stands."""
    problems = [condition.message for condition in account.conditions if condition.status]
    return AccountStatus(
        name=account.name,
        provider=account.config.provider,
        mode=account.config.mode,
        reachable=account.reachable is not False,
        message=" ".join(problems),
        apps=apps,
        budget_left=account.provider.budget().left,
        last_complete_listing=account.last_complete_listing,
        conditions=account.conditions,
    )


def account_statuses(controller: Controller, registry: Registry) -> Sequence[AccountStatus]:
    """How all accounts stand."""
    owners = Counter(app.identity.account for app in registry.apps().values())
    return [
        account_status(account, owners[account.name]) for account in controller.accounts.values()
    ]


def decided(app: App, controller: Controller, config: Config) -> Outlook:
    """What the controller would do with the app now."""
    situation, decision, idle_at = controller.decision(app)
    return outlook_of(app, situation, decision, idle_at, drain=config.controller.drain_time)


def instance_of(
    config: Config,
    registry: Registry,
    controller: Controller,
    proxy: Proxy,
    metrics: Metrics,
    now: Callable[[], datetime],
) -> Instance:
    """The system API's view of a controller and a proxy in one process."""

    def ready() -> Health:
        if not proxy.serving:
            return False, "visitors are not served"
        return controller.ready()

    return Instance(
        registry=registry,
        metrics=metrics,
        now=now,
        outlook=lambda app: decided(app, controller, config),
        accounts=lambda: account_statuses(controller, registry),
        addresses=lambda app: addresses(config, app, proxy.port),
        forget=controller.forget,
        ready=ready,
        alive=controller.alive,
    )
