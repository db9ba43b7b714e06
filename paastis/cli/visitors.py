"""The proxy as a program has it: its counts as metrics, its port, what it asks of providers."""

import asyncio
from collections.abc import Mapping

from paastis.config import Config
from paastis.errors import ConfigError
from paastis.metrics import Metrics
from paastis.providers.load import stopped_verdict_of
from paastis.providers.port import Verdict
from paastis.system.server import why_not_bound
from proxy.program import Proxy


class VisitorMetrics:
    """Hands what the proxy counts on to Prometheus; see `proxy.meter.Meter`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answered(self, *, outcome: str, state: str) -> None:
        """A request ended."""
        self._metrics.requests.labels(outcome, state).inc()

    def opened(self, step: int) -> None:
        """So many more requests are open to apps."""
        self._metrics.open_requests.inc(step)

    def held(self, step: int) -> None:
        """So many more requests wait for an app."""
        self._metrics.held_requests.inc(step)

    def woke(self, seconds: float) -> None:
        """A held request was released after so long."""
        self._metrics.wake_wait.observe(seconds)

    def wake_asked(self) -> None:
        """A wake was asked for: the registry counts its writes itself."""

    def access_written(self, *, ok: bool) -> None:
        """An access was written, or could not be: likewise."""


async def serve_visitors(
    proxy: Proxy, config: Config, stop: asyncio.Event, serving: asyncio.Event
) -> None:
    """Run the proxy; a port that cannot be had is a matter of configuration (`ConfigError`)."""
    try:
        await proxy.run(stop, serving)
    except OSError as error:
        where = f"{config.proxy.host}:{config.proxy.port}"
        raise ConfigError(
            f"PORT: cannot listen on {where} ({why_not_bound(error)}); expected is a free port."
        ) from error
    finally:
        serving.set()  # nobody waits for what did not come up


def verdict_of(provider: str, status: int, headers: Mapping[str, str]) -> Verdict:
    """What the provider's adapter makes of an answer."""
    return stopped_verdict_of(provider)(status, headers)
