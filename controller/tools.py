"""What every action of the controller needs, and the words it logs."""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.hooks import Hooks
from controller.knowledge import Knowledge
from controller.records import Records
from paastis.app import App, AppChange, Phase
from paastis.metrics import Metrics
from paastis.policy import Mode, Power
from paastis.providers.port import Remote
from paastis.reasons import Reason
from paastis.registry.port import Leadership, Registry
from paastis.rule import Hooks as HookCommands

log = logging.getLogger(__name__)

Step = Callable[[], Coroutine[Any, Any, None]]
"""Something to do to one app, not begun yet."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every action needs."""

    registry: Registry
    records: Records
    knowledge: Knowledge
    hooks: Hooks
    hooks_of: Callable[[App], HookCommands]
    lease: Leadership
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    metrics: Metrics
    afterwards: Callable[[str, App], None]
    """Told of every start or stop of ours that came to a good end: the moment and the app."""
    policy_change: Callable[[App], AppChange | None]
    """What to write so that a record shows its policy."""
    in_force: Callable[[App], App]
    """The record with the policy that holds now; the very same object where that is written."""


def remote_of(app: App) -> Remote:
    """The address of an app for provider calls."""
    return Remote(app.identity, app.app_name)


def may_stop(tools: Tools, app: App) -> bool:
    """Whether rules and account still let us stop it: they may have changed during an action."""
    policy = tools.in_force(app).policy
    return policy.mode is Mode.MANAGE and policy.power in {Power.AUTO, Power.ALWAYS_OFF}


def may_start(tools: Tools, app: App) -> bool:
    """The same for a start."""
    policy = tools.in_force(app).policy
    return policy.mode is not Mode.OBSERVE and policy.power in {Power.AUTO, Power.ALWAYS_ON}


def moved(tools: Tools, before: App, after: App, words: str = "") -> None:
    """Log and count a change of phase. `words` are the provider's own."""
    if before.phase is after.phase:
        return
    extra = {"app": after.name, "reason": after.phase_reason, "cycle": after.cycle}
    if words:
        extra["provider"] = words
    level = logging.WARNING if after.phase is Phase.FAILED else logging.INFO
    log.log(level, "%s → %s", before.phase, after.phase, extra=extra)
    account = after.identity.account
    steps = (before.phase, after.phase)
    if after.phase is Phase.STARTING and after.open_operation is not None:
        tools.metrics.wakes.labels(account, "started").inc()
    elif steps == (Phase.STARTING, Phase.AWAKE):
        tools.metrics.wakes.labels(account, "succeeded").inc()
        if after.phase_reason is Reason.STARTED:
            tools.afterwards("after-start", after)
    elif after.phase is Phase.FAILED:
        tools.metrics.wakes.labels(account, "failed").inc()
    elif after.phase is Phase.STOPPING:
        tools.metrics.sleeps.labels(account, "started").inc()
    elif steps == (Phase.STOPPING, Phase.ASLEEP):
        tools.metrics.sleeps.labels(account, "succeeded").inc()
        tools.afterwards("after-stop", after)
    elif steps == (Phase.STOPPING, Phase.AWAKE):
        tools.metrics.sleeps.labels(account, "failed").inc()
    tools.metrics.asleep_seconds.labels(account).inc(after.asleep_seconds - before.asleep_seconds)
