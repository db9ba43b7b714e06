"""The proxy's counts as metrics."""

from paastis.metrics import Metrics


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
