"""The controller as a program of a cluster: its parts, how they begin, and in which order they end.

What is ours begins before kopf and ends before it, see `controller/operator.py` for the reason. On
the order to end: actions under way take their last steps, the right to lead is given up, Events are
posted, and the watch ends last. If the watch ends first, all that happens within the 5 s it leaves.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from controller.cluster_accounts import ClusterAccounts, Open
from controller.cluster_rules import ClusterRules
from controller.credentials import SecretsFollowed
from controller.events import Events
from controller.operator import Health, Operator
from controller.program import Controller
from controller.resources import Resource
from controller.telling import Telling
from paastis.config import Config
from paastis.errors import RegistryError
from paastis.metrics import Metrics
from paastis.registry.cluster import Cluster
from paastis.registry.kubernetes import KubernetesRegistry
from paastis.resources.names import ACCOUNTS, APPS, RULES

log = logging.getLogger(__name__)

SECRETS_WITHIN = timedelta(seconds=10)
"""How long the first look at the Secrets may take before the first lead."""

COMPARE_EVERY = timedelta(minutes=10)
"""Between full lists of accounts and rules: how long a missed deletion may stay unnoticed."""

LAST_STEPS = timedelta(seconds=8)
"""How long leading may take to end: its own last steps, and giving the Lease back."""

LAST_EVENTS = timedelta(seconds=2)


class ClusterProgram:
    """Everything of one controller process. `open` until that succeeds, then `run`, once."""

    def __init__(
        self,
        cluster: Cluster,
        registry: KubernetesRegistry,
        *,
        config: Config,
        identity: str,
        open_provider: Open,
        forget_provider: Callable[[str], None],
        environ: Mapping[str, str],
        now: Callable[[], datetime],
        rng: random.Random,
        metrics: Metrics,
    ) -> None:
        """`identity` is this process's name among its replicas; `environ` is for hooks."""
        self._cluster = cluster
        self._registry = registry
        self._rng = rng
        self._metrics = metrics
        self._opened = False
        self._events = Events(cluster, identity=identity, now=now, rng=rng, metrics=metrics)
        self.controller = Controller(
            registry=registry,
            accounts=(),
            config=config,
            environ=environ,
            now=now,
            rng=rng,
            metrics=metrics,
            announce=self._events.announce,
            on_news=lambda _: self._telling.news(),
            on_rules=lambda: self._telling.news(),
            on_lead=self._lead_begins,
        )
        self._accounts = ClusterAccounts(
            self.controller,
            lambda on_change: SecretsFollowed(
                cluster, on_change=on_change, rng=rng, metrics=metrics
            ),
            open_provider=open_provider,
            leading=lambda: self.controller.leading,
            on_news=lambda _: self._telling.news(),
            on_dropped=forget_provider,
            insecure=config.allow_insecure,
            ignored_apps=config.ignored_apps,
            metrics=metrics,
        )
        self._rules = ClusterRules(
            self.controller.put_rules,
            file_rules=config.rules,
            on_news=lambda: self._telling.news(),
            metrics=metrics,
        )
        self._telling = Telling(
            cluster,
            accounts=self._accounts,
            rules=self._rules,
            live=lambda: self.controller.accounts,
            reports=self.controller.rule_reports,
            leading=lambda: self.controller.leading,
            now=now,
            metrics=metrics,
        )
        host = f"[{config.system.host}]" if ":" in config.system.host else config.system.host
        self._operator = Operator(
            cluster,
            feeds={APPS: self._take_app, ACCOUNTS: self._accounts.take, RULES: self._rules.take},
            alive=self.alive,
            probe=f"http://{host}:{config.controller.probe_port}/healthz",
            now=now,
            rng=rng,
            metrics=metrics,
        )

    # --- health

    def alive(self) -> Health:
        """Whether the loops turn."""
        return self.controller.alive()

    def ready(self) -> Health:
        """Whether all resources were read. One that stands by is ready."""
        if not self._opened:
            return False, "the resources were not read yet"
        return True, "leading" if self.controller.leading else "standing by"

    # --- life

    async def open(self) -> None:
        """Read everything that there is. Raises `RegistryError`; then it may be called again."""
        await self._registry.open()
        await self._compare()
        self._opened = True

    async def run(
        self,
        stop: asyncio.Event,
        *,
        started: Callable[[], None],
        last: Callable[[], Awaitable[None]],
    ) -> None:
        """Follow, lead when it is our turn, until `stop` is set. Raises OperatorEnded.

        `started` is called when the watch runs: it has taken the signals. `last` is awaited when all
        but the watch has ended: whatever still has tasks then costs 5 s.
        """
        end_watch = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            ours = group.create_task(self._run(stop), name="controller")
            watching = group.create_task(
                self._operator.run(end_watch, started=started, ending=stop.set), name="operator"
            )
            await asyncio.wait({ours, watching}, return_when=asyncio.FIRST_COMPLETED)
            await last()
            end_watch.set()

    async def _run(self, stop: asyncio.Event) -> None:
        self._rules.settle()
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._accounts.run(), name="accounts"),
                group.create_task(self._rules.run(), name="rules"),
                group.create_task(self._telling.run(), name="telling"),
                group.create_task(self._events.run(), name="events"),
                group.create_task(self._compare_regularly(), name="comparison"),
            ]
            leading = group.create_task(self._lead(stop), name="lead")
            await stop.wait()
            if self.controller.leading:
                await asyncio.wait({leading}, timeout=LAST_STEPS.total_seconds())
            leading.cancel()
            await asyncio.wait({leading})
            await self._events.flush(LAST_EVENTS)
            for loop in loops:
                loop.cancel()

    async def _lead(self, stop: asyncio.Event) -> None:
        await self._accounts.settled(SECRETS_WITHIN)
        while not stop.is_set():
            await self.controller.run(stop)

    def _lead_begins(self) -> None:
        self._accounts.look()
        self._telling.news()

    # --- resources

    def _take_app(self, kind: str | None, resource: Resource) -> None:
        self._events.take(kind, resource)
        self._registry.take(kind, resource)

    async def _compare(self) -> None:
        accounts = await self._cluster.list(ACCOUNTS)
        self._accounts.compare(accounts.items, accounts.version)
        rules = await self._cluster.list(RULES)
        self._rules.compare(rules.items, rules.version)

    async def _compare_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMPARE_EVERY.total_seconds() * self._rng.uniform(0.8, 1.2))
            try:
                await self._compare()
            except RegistryError as error:
                log.warning("accounts and rules cannot be listed", extra={"error": str(error)})
            except Exception:
                log.exception("unexpected fault")
                self._metrics.errors.labels("comparison").inc()
