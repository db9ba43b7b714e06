"""The controller as a program: leads, then runs discovery, decisions and following side by side."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from controller.account import Account
from controller.afterwards import Afterwards
from controller.discovery import Discovery
from controller.following import Following
from controller.hooks import Hooks
from controller.knowledge import Knowledge
from controller.looking import Looking
from controller.policies import Policies
from controller.reconciler import Reconciler, Verbs
from controller.records import Records
from controller.sending import Sending
from controller.settling import told
from controller.starting import Starting
from controller.stopping import Stopping
from controller.tools import Tools
from paastis.app import App, AppChange
from paastis.config import Config
from paastis.decide import Decision, Situation, decide, idle_from
from paastis.errors import RegistryError
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.registry.port import Change, Leadership, Registry

log = logging.getLogger(__name__)

STEADY_AFTER = timedelta(seconds=60)
"""How long a new leader waits for the proxies elsewhere to report before it stops anything."""

LAST_STEPS = timedelta(seconds=5)
"""How long actions under way may take after the order to end."""

ALIVE_WITHIN = timedelta(minutes=2)
"""A loop that has not turned for this long, with work waiting, is not alive."""


class Controller:
    """Everything that decides and acts. One leads at a time; the others wait in `run`."""

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
    ) -> None:
        self._registry = registry
        self._accounts = {account.name: account for account in accounts}
        self._config = config
        self._environ = environ
        self._now = now
        self._rng = rng
        self._metrics = metrics
        self._knowledge = Knowledge(drain_time=config.controller.drain_time)
        self._policies = Policies(config, self._accounts, self._knowledge)
        self._records = Records(registry)
        self._reconciler: Reconciler | None = None
        self._discoveries: list[Discovery] = []
        self._following = {name: asyncio.Event() for name in self._accounts}

    @property
    def accounts(self) -> Mapping[str, Account]:
        """The accounts, by name."""
        return self._accounts

    def decision(self, app: App) -> tuple[Situation, Decision, datetime]:
        """What would be done with that app now, and when it will be idle: for people's eyes."""
        now = self._now()
        situation = self._knowledge.situation(
            app, self._records.all(), account_known=app.identity.account in self._accounts
        )
        return situation, decide(situation, now), idle_from(situation, now)

    def alive(self) -> tuple[bool, str]:
        """Whether the loops turn."""
        reconciler = self._reconciler
        if reconciler is None:
            return True, "waiting to lead"
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
        counts = [await discovery.forget() for discovery in self._discoveries]
        return sum(counts)

    def look_around(self) -> None:
        """List the apps of every account now, not only when it is due."""
        for discovery in self._discoveries:
            discovery.ask()

    async def run(self, stop: asyncio.Event) -> None:
        """Lead and act until `stop` is set or the right to lead is lost."""
        async with self._registry.lead() as lease:
            log.info("leading")
            lost = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_set_after(lease.lost(), lost))
                ending = group.create_task(_set_after(stop.wait(), lost))
                try:
                    await self._lead(lease, lost)
                finally:
                    watching.cancel()
                    ending.cancel()

    async def _lead(self, lease: Leadership, end: asyncio.Event) -> None:
        if self._registry.shared:
            self._knowledge.steady_from = self._now() + STEADY_AFTER
        hooks = self._hooks()
        afterwards = Afterwards(hooks, self._policies.hooks_of)
        tools = self._tools(lease, hooks, afterwards)
        looking = Looking(tools)
        sending = Sending(tools)
        starting = Starting(tools, looking, sending)
        verbs = Verbs(looking, Stopping(tools, looking, sending), starting)
        reconciler = Reconciler(
            tools,
            verbs,
            self._accounts,
            on_operation=lambda account: self._following[account].set(),
            on_fault=self._fault,
        )
        self._reconciler = reconciler
        self._metrics.reconciler_queue.set_function(lambda: reconciler.backlog)
        for account in self._accounts.values():
            account.slots.on_free = reconciler.touch
        changes = self._registry.changes()
        self._take_over(reconciler)
        # Before the first listing, which may be long in coming: what is configured holds at once.
        await self._renew_policies()
        self._discoveries = [
            Discovery(
                tools,
                account,
                self._policies,
                cron=self._config.controller.discovery_cron,
                touch=reconciler.touch,
                on_listing=self._listed,
            )
            for account in self._accounts.values()
        ]
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(self._feed(changes, reconciler))]
            loops += [group.create_task(discovery.run()) for discovery in self._discoveries]
            loops += [
                group.create_task(self._follow(Following(tools, account, looking), account))
                for account in self._accounts.values()
            ]
            finishing = group.create_task(afterwards.run())
            acting = group.create_task(reconciler.run(end))
            await end.wait()
            for loop in loops:
                loop.cancel()
            _, unfinished = await asyncio.wait({acting}, timeout=LAST_STEPS.total_seconds())
            for task in unfinished:
                task.cancel()
            finishing.cancel()

    def _hooks(self) -> Hooks:
        return Hooks(
            environ=self._environ,
            pass_env=self._config.hooks.pass_env,
            timeout=self._config.hooks.timeout,
        )

    def _tools(self, lease: Leadership, hooks: Hooks, afterwards: Afterwards) -> Tools:
        return Tools(
            registry=self._registry,
            records=self._records,
            knowledge=self._knowledge,
            hooks=hooks,
            hooks_of=self._policies.hooks_of,
            lease=lease,
            now=self._now,
            new_id=lambda: f"{self._rng.getrandbits(64):016x}",
            metrics=self._metrics,
            afterwards=afterwards.note,
            policy_change=lambda app: self._policies.change_of(app, self._now()),
        )

    def _take_over(self, reconciler: Reconciler) -> None:
        """Take in all records; what is on its way already keeps its place."""
        now = self._now()
        for name, app in self._registry.apps().items():
            self._knowledge.observe(app, now)
            account = self._accounts.get(app.identity.account)
            operation = app.open_operation
            if account is not None and operation is not None:
                account.slots.follow(name, operation.kind, draining=False)
                self._following[account.name].set()
            reconciler.touch(name)

    async def _feed(self, changes: AsyncIterator[Change], reconciler: Reconciler) -> None:
        async for change in changes:
            if change.app is None:
                self._knowledge.forget(change.name)
                continue
            before = self._knowledge.overrides_of(change.name)
            self._knowledge.observe(change.app, self._now())
            if before is not None and before.settings != change.app.overrides.settings:
                # It holds at once, also for what the app is linked with.
                await self._renew_policies()
            if before is not None and before != change.app.overrides:
                await self._end_contest(change.app)
            if change.app.wake_asked:
                reconciler.hurry(change.name)
            else:
                reconciler.touch(change.name)

    async def _renew_policies(self) -> None:
        for app, change in self._policies.changes(self._records.all(), self._now()):
            try:
                await self._records.write(app, change)
            except RegistryError as error:
                # The reconciler writes it before it does anything else with the app.
                log.debug("policy not written", extra={"app": app.name, "error": str(error)})

    async def _end_contest(self, app: App) -> None:
        """A person has said what is to be: that ends the contest with whoever reversed us."""
        conditions = told(app.conditions, Reason.CONTESTED, None, self._now())
        if conditions is app.conditions:
            return
        self._knowledge.of(app.name).reversals.clear()
        try:
            await self._records.write(app, AppChange(conditions=conditions))
        except RegistryError as error:
            log.warning("contest not ended", extra={"app": app.name, "error": str(error)})

    async def _follow(self, following: Following, account: Account) -> None:
        """Follow open operations while there are any."""
        wanted = self._following[account.name]
        every = account.provider.limits.follow_every
        while True:
            await wanted.wait()
            wanted.clear()
            while following.open_apps():
                await asyncio.sleep(every.total_seconds())
                try:
                    await following.round()
                except Exception:
                    log.exception("unexpected fault", extra={"account": account.name})
                    self._fault("following")

    def _fault(self, place: str) -> None:
        self._metrics.errors.labels(place).inc()

    def _listed(self, account: str, took: timedelta, complete: bool) -> None:
        self._metrics.turn(f"discovery of {account}")
        self._metrics.discovery_seconds.labels(account).observe(took.total_seconds())
        if self._reconciler is not None:
            self._reconciler.look_at_clock()
        if complete:
            done = self._accounts[account].last_complete_listing
            if done is not None:
                self._metrics.discovery_last_complete.labels(account).set(done.timestamp())


async def _set_after(waited: Coroutine[Any, Any, object], event: asyncio.Event) -> None:
    await waited
    event.set()
