"""Providers that were replaced: closed when their last calls are over, or at the end of everything."""

import asyncio
import logging
from datetime import timedelta

from paastis.metrics import Metrics
from paastis.providers.port import Provider

log = logging.getLogger(__name__)

LAST_CALLS = timedelta(minutes=3)
"""How long the calls of a provider that was replaced may still take: reads wait for their turn."""

CLOSE_TIMEOUT = timedelta(seconds=2)
"""How long closing connections may take."""


class Leaving:
    """Those that are on their way out."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._left: list[tuple[float, Provider]] = []
        """When each may be closed, in the loop's seconds."""

    def add(self, provider: Provider) -> None:
        """It is used no more, but what it was asked may still be on its way."""
        self._left.append((_loop_time() + LAST_CALLS.total_seconds(), provider))

    def next_at(self) -> float | None:
        """When there is one to close, in the loop's seconds."""
        return min((at for at, _ in self._left), default=None)

    async def close_due(self) -> None:
        """Close those whose calls are over."""
        now = _loop_time()
        due = [provider for at, provider in self._left if at <= now]
        self._left = [(at, provider) for at, provider in self._left if at > now]
        for provider in due:
            await self.close(provider)

    async def close_all(self) -> None:
        """Close all, whatever they are doing."""
        left, self._left = self._left, []
        for _, provider in left:
            await self.close(provider)

    async def close(self, provider: Provider) -> None:
        """Close one; a failure is told and harms nobody."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT.total_seconds()):
                await provider.aclose()
        except Exception:
            log.exception("a provider's connections could not be closed")
            self._metrics.errors.labels("accounts").inc()


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
