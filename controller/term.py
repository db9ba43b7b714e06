"""One term of leadership: from fresh knowledge to the last step.

Nothing that an earlier term learnt justifies an action of this one: what a drain was announced with,
when the provider was looked at, which operations are our own. The records and one look at the
provider are enough to go on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.account import Account
from controller.afterwards import Afterwards
from controller.choosing import Choosing, Verbs
from controller.discovery import Discovery
from controller.following import Following
from controller.happening import Happening
from controller.hooks import Hooks
from controller.knowledge import Knowledge
from controller.looking import Looking
from controller.policies import Policies
from controller.reconciler import Reconciler
from controller.records import Records
from controller.renewal import Renewal
from controller.restoring import Restoring
from controller.sending import Sending
from controller.settling import told
from controller.slices import Slices
from controller.starting import Starting
from controller.stopping import Stopping
from controller.tools import Tools
from paastis.app import App, AppChange, Phase
from paastis.config import Config
from paastis.errors import RegistryError
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.registry.port import Change, Leadership, Registry

log = logging.getLogger(__name__)

STEADY_AFTER = timedelta(seconds=60)
"""How long a new leader waits for the proxies elsewhere to report before it stops anything."""

AFTER_FAULT = timedelta(seconds=30)
"""When the loops of an account begin again after a fault of our own."""

_IN_HURRY = {Phase.DRAINING: 0, Phase.ASLEEP: 1, Phase.FAILED: 1, Phase.AWAKE: 2}
"""Whose decision is renewed first when an account changes: who must not be stopped, who is to wake."""


@dataclass(frozen=True, slots=True)
class World:
    """What outlives a term."""

    registry: Registry
    config: Config
    environ: Mapping[str, str]
    accounts: Mapping[str, Account]
    policies: Policies
    metrics: Metrics
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    announce: Callable[[Happening], None]
    on_rules: Callable[[], None]
    on_news: Callable[[str], None]


class Term:
    """Everything that decides and acts while the lease lasts."""

    def __init__(self, world: World, lease: Leadership) -> None:
        self._world = world
        self._now = world.now
        self._accounts = world.accounts
        self._registry = world.registry
        self.knowledge = Knowledge(drain_time=world.config.controller.drain_time)
        if world.registry.shared:
            self.knowledge.steady_from = world.now() + STEADY_AFTER
        self.records = Records(world.registry, announce=world.announce)
        hooks = world.config.hooks
        run = Hooks(environ=world.environ, pass_env=hooks.pass_env, timeout=hooks.timeout)
        self._afterwards = Afterwards(run, world.policies.hooks_of)
        self._tools = self._made_tools(lease, run)
        self._looking = Looking(self._tools)
        sending = Sending(self._tools)
        self._renewal = Renewal(
            self.records,
            world.policies,
            self.knowledge,
            now=world.now,
            on_renewed=self._renewed,
            on_fault=self._fault,
        )
        verbs = Verbs(
            self._looking,
            Stopping(self._tools, self._looking, sending),
            Starting(self._tools, self._looking, sending),
        )
        self.reconciler = Reconciler(
            self._tools,
            Choosing(self._tools, verbs),
            world.accounts,
            on_operation=self._follow_now,
            on_outdated=self._renewal.want,
            on_fault=self._fault,
        )
        self._restoring = Restoring(
            self._tools,
            world.accounts,
            of_new=world.policies.of_new,
            touch=self.reconciler.touch,
            announce=world.announce,
        )
        self._linked = False
        self._group: asyncio.TaskGroup | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._following: dict[str, asyncio.Event] = {}
        self.discoveries: dict[str, Discovery] = {}
        """Of each account, by its name."""

    def _made_tools(self, lease: Leadership, hooks: Hooks) -> Tools:
        world = self._world
        return Tools(
            registry=world.registry,
            records=self.records,
            knowledge=self.knowledge,
            hooks=hooks,
            hooks_of=world.policies.hooks_of,
            lease=lease,
            now=world.now,
            new_id=world.new_id,
            metrics=world.metrics,
            afterwards=self._afterwards.note,
            policy_change=lambda app: world.policies.change_of(app, world.now()),
            in_force=world.policies.in_force,
        )

    async def run(self, end: asyncio.Event, *, last_steps: Callable[[], timedelta]) -> None:
        """Act until `end` is set; then actions under way have `last_steps` to come to an end."""
        self._world.metrics.reconciler_queue.set_function(lambda: self.reconciler.backlog)
        changes = self._registry.changes()
        for account in self._accounts.values():
            account.begin_term()
            account.slots.on_free = self.reconciler.touch
        await self._take_over()
        self._renewal.ask(replaced=True)
        async with asyncio.TaskGroup() as group:
            acting = group.create_task(self.reconciler.run(end))
            others = [
                group.create_task(self._feed(changes)),
                group.create_task(self._renewal.run()),
                group.create_task(self._restoring.run()),
            ]
            finishing = group.create_task(self._afterwards.run())
            self._group = group
            for account in tuple(self._accounts.values()):
                self._begin(account)
            try:
                await end.wait()
            finally:
                self._group = None
                for loop in (*others, *self._loops.values()):
                    loop.cancel()
            _, unfinished = await asyncio.wait({acting}, timeout=last_steps().total_seconds())
            for task in unfinished:
                task.cancel()
            finishing.cancel()

    # --- accounts and rules, live

    def account_put(self, account: Account, *, is_new: bool, relist: bool) -> None:
        """An account came or was changed; `relist`: what it finds may be different now."""
        if is_new:
            account.slots.on_free = self.reconciler.touch
            for app in self.records.newest().values():
                if app.identity.account == account.name:
                    self._keep_place(app)
            self._begin(account)
        elif relist and (discovery := self.discoveries.get(account.name)) is not None:
            discovery.ask()
        self._account_changed(account.name)

    def account_dropped(self, account: Account) -> None:
        """An account went: its loops end, and its apps are left alone."""
        self.discoveries.pop(account.name, None)
        self._following.pop(account.name, None)
        loop = self._loops.pop(account.name, None)
        if loop is not None:
            loop.cancel()
        self._account_changed(account.name)

    def rules_put(self) -> None:
        """The rules were replaced."""
        self._renewal.ask(replaced=True)
        for name, app in self.records.all().items():
            if app.phase is Phase.DRAINING:
                self.reconciler.touch(name)

    def _account_changed(self, name: str) -> None:
        self._renewal.ask(replaced=True)
        theirs = [app for app in self.records.all().values() if app.identity.account == name]
        theirs.sort(key=lambda app: _IN_HURRY.get(app.phase, len(_IN_HURRY)))
        for app in theirs:
            self.reconciler.touch(app.name)

    def _begin(self, account: Account) -> None:
        if self._group is None:
            return  # the term has not begun, which begins with all accounts, or is over
        wanted = self._following.setdefault(account.name, asyncio.Event())
        wanted.set()
        discovery = Discovery(
            self._tools,
            account,
            of_new=self._world.policies.of_new,
            cron=self._world.config.controller.discovery_cron,
            touch=self.reconciler.touch,
            on_listing=self._listed,
        )
        self.discoveries[account.name] = discovery
        self._loops[account.name] = self._group.create_task(
            self._look_after(account, discovery, wanted)
        )

    async def _look_after(
        self, account: Account, discovery: Discovery, wanted: asyncio.Event
    ) -> None:
        """The loops of one account. Whatever befalls them ends no other account's."""
        following = Following(self._tools, account, self._looking)
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(discovery.run())
                    group.create_task(self._follow(following, account, wanted))
            except* Exception:
                log.exception("unexpected fault", extra={"account": account.name})
                self._fault("account")
            await asyncio.sleep(AFTER_FAULT.total_seconds())

    # --- records

    async def _take_over(self) -> None:
        """Take in all records; what is on its way already keeps its place."""
        slices = Slices()
        for app in tuple(self._registry.apps().values()):
            await slices.turn()
            self.knowledge.observe(app, self._now())
            self._keep_place(app)
            self.reconciler.touch(app.name)

    def _keep_place(self, app: App) -> None:
        account = self._accounts.get(app.identity.account)
        operation = app.open_operation
        if account is not None and operation is not None:
            account.slots.follow(app.name, operation.kind, draining=False)

    async def _feed(self, changes: AsyncIterator[Change]) -> None:
        slices = Slices()
        async for change in changes:
            await slices.turn()
            ours = self.records.saw(change)
            if change.app is not None:
                await self._changed(change.app)
                continue
            self._renewal.gone(change.name)
            if ours or not self._restoring.note(change):
                self.knowledge.forget(change.name)
            self.reconciler.touch(change.name)

    async def _changed(self, app: App) -> None:
        before = self.knowledge.overrides_of(app.name)
        self.knowledge.observe(app, self._now())
        self._renewal.seen(app)
        if before is not None and before != app.overrides:
            await self._end_contest(app)
        if app.wake_asked:
            self.reconciler.hurry(app.name)
        else:
            self.reconciler.touch(app.name)

    async def _end_contest(self, app: App) -> None:
        """A person has said what is to be: that ends the contest with whoever reversed us."""
        conditions = told(app.conditions, Reason.CONTESTED, None, self._now())
        if conditions is app.conditions:
            return
        self.knowledge.of(app.name).reversals = ()
        try:
            await self.records.write(app, AppChange(conditions=conditions))
        except RegistryError as error:
            log.warning("contest not ended", extra={"app": app.name, "error": str(error)})

    def _renewed(self) -> None:
        """All policies are known, links too: before the first time nothing could be stopped."""
        if not self._linked:
            self._linked = True
            for name in self.records.all():
                self.reconciler.touch(name)
        self._world.on_rules()

    # --- loops of an account

    def _follow_now(self, account: str) -> None:
        wanted = self._following.get(account)
        if wanted is not None:
            wanted.set()

    async def _follow(self, following: Following, account: Account, wanted: asyncio.Event) -> None:
        """Follow open operations while there are any."""
        while True:
            await wanted.wait()
            wanted.clear()
            while following.open_apps():
                await asyncio.sleep(account.provider.limits.follow_every.total_seconds())
                try:
                    await following.round()
                except Exception:
                    log.exception("unexpected fault", extra={"account": account.name})
                    self._fault("following")

    def _listed(self, account: str, took: timedelta, complete: bool) -> None:
        metrics = self._world.metrics
        metrics.turn(f"discovery of {account}")
        metrics.discovery_seconds.labels(account).observe(took.total_seconds())
        self.reconciler.look_at_clock()
        found = self._accounts.get(account)
        if found is not None and found.adopting:
            found.adopting = False
            self._touch_left_alone(account)
        if complete and found is not None and found.last_complete_listing is not None:
            when = found.last_complete_listing.timestamp()
            metrics.discovery_last_complete.labels(account).set(when)
        self._world.on_news(account)

    def _touch_left_alone(self, account: str) -> None:
        """Those that the first listing has not adopted are looked at one by one."""
        for name, app in self.records.all().items():
            if app.phase is Phase.UNMANAGED and app.identity.account == account:
                self.reconciler.touch(name)

    def _fault(self, place: str) -> None:
        self._world.metrics.errors.labels(place).inc()
