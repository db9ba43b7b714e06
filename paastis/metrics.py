"""What paastis counts and measures, for Prometheus.

One object per program, with a registry of its own: nothing is global, so tests and a demo may have
several. Labels take values from small sets (accounts, phases, outcomes), never names of apps.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from paastis import __version__
from paastis.app import App, Phase

WAIT_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 300)
"""Seconds; a container platform boots an app in 3 to 60."""

CALL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30)
"""Seconds; a provider's API answers in 0.1 to 2."""


class Metrics:
    """All metrics, as attributes; `monotonic` (seconds) times the loops."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry = CollectorRegistry()
        self._monotonic = monotonic
        self._turns: dict[str, float] = {}
        ProcessCollector(registry=registry)
        Info("paastis_build", "The paastis that runs.", registry=registry).info(
            {"version": __version__}
        )

        # --- visitors
        self.requests = Counter(
            "paastis_requests",
            "Visitors' requests, by what became of them (forwarded, held, page, refused, …) and "
            "the app's state then (awake, woken, waking, …).",
            ["outcome", "state"],
            registry=registry,
        )
        self.open_requests = Gauge(
            "paastis_open_requests",
            "Requests, WebSockets and streams that are open to apps.",
            registry=registry,
        )
        self.held_requests = Gauge(
            "paastis_held_requests",
            "Requests that wait for their app to wake.",
            registry=registry,
        )
        self.wake_wait = Histogram(
            "paastis_wake_wait_seconds",
            "How long held requests waited until they were released.",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )

        # --- apps
        self.wakes = Counter(
            "paastis_wakes",
            "Starts of apps: started, and how they ended (succeeded, failed).",
            ["account", "outcome"],
            registry=registry,
        )
        self.sleeps = Counter(
            "paastis_sleeps",
            "Stops of apps: started, and how they ended (succeeded, failed).",
            ["account", "outcome"],
            registry=registry,
        )
        self.asleep_seconds = Counter(
            "paastis_asleep_seconds",
            "Time that apps slept because of paastis, added up when each wakes.",
            ["account"],
            registry=registry,
        )

        # --- providers
        self.provider_calls = Counter(
            "paastis_provider_calls",
            "Calls of the provider's API, by kind of call and status (an HTTP status, or a word "
            "where no answer came).",
            ["account", "method", "status"],
            registry=registry,
        )
        self.provider_call_seconds = Histogram(
            "paastis_provider_call_seconds",
            "How long the provider's API takes to answer.",
            ["account"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self.budget_left = Gauge(
            "paastis_provider_budget_left_calls",
            "Calls that the account may still make in the current window.",
            ["account"],
            registry=registry,
        )

        # --- registry
        self.registry_writes = Counter(
            "paastis_registry_writes",
            "Writes to the registry, by kind (create, update, access, remove) and outcome "
            "(written, conflict, unknown, failed).",
            ["kind", "outcome"],
            registry=registry,
        )
        self.registry_lists = Counter(
            "paastis_registry_lists",
            "Complete lists that were read from the Kubernetes API, by kind of resource.",
            ["resource"],
            registry=registry,
        )
        self._staleness = Gauge(
            "paastis_registry_staleness_seconds",
            "How long nothing was heard from the registry: where nothing happens up to 60 in a proxy, "
            "and 600 in a controller.",
            registry=registry,
        )

        # --- controller
        self.reconciler_queue = Gauge(
            "paastis_reconciler_queue_apps",
            "Apps that are due and not looked at yet.",
            registry=registry,
        )
        self.reconciler_lag = Gauge(
            "paastis_reconciler_lag_seconds",
            "How late the app looked at last was.",
            registry=registry,
        )
        self.discovery_seconds = Histogram(
            "paastis_discovery_seconds",
            "How long a listing of an account takes.",
            ["account"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self.discovery_last_complete = Gauge(
            "paastis_discovery_last_complete_timestamp_seconds",
            "When the last complete listing of an account was sent, in Unix time.",
            ["account"],
            registry=registry,
        )

        # --- health
        self.errors = Counter(
            "paastis_errors",
            "Unexpected errors, by the loop or place that caught them.",
            ["place"],
            registry=registry,
        )
        self._loop_age = Gauge(
            "paastis_loop_age_seconds",
            "How long ago a loop last came round.",
            ["loop"],
            registry=registry,
        )

    def turn(self, loop: str) -> None:
        """Note that a loop came round; its age counts from now."""
        if loop not in self._turns:
            self._loop_age.labels(loop).set_function(lambda: self.loop_age(loop))
        self._turns[loop] = self._monotonic()

    def loop_age(self, loop: str) -> float:
        """Seconds since `turn(loop)`. Raises KeyError for a loop that never came round."""
        return self._monotonic() - self._turns[loop]

    def watch_registry(self, staleness: Callable[[], float]) -> None:
        """Show how old the registry's news are (seconds), asked for when metrics are read."""
        self._staleness.set_function(staleness)

    def watch_apps(self, apps: Callable[[], Iterable[App]]) -> None:
        """Show how many apps each account has in each phase, counted when metrics are read."""
        self.registry.register(_Phases(apps))

    def render(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and the content type of that."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _Phases(Collector):
    """Apps by account and phase; a phase without apps is told as 0."""

    def __init__(self, apps: Callable[[], Iterable[App]]) -> None:
        self._apps = apps

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield _phase_gauge()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        tally = Tally((app.identity.account, app.phase) for app in self._apps())
        gauge = _phase_gauge()
        for account in sorted({account for account, _ in tally}):
            for phase in Phase:
                gauge.add_metric([account, phase.value], tally[account, phase])
        yield gauge


def _phase_gauge() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "paastis_apps", "Apps by account and phase.", labels=["account", "phase"]
    )
