"""Providers as a program opens them: measured, and with their tokens kept out of the logs."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from paastis.config import AccountConfig, Config
from paastis.logs import protect
from paastis.metrics import Metrics
from paastis.providers.load import open_provider
from paastis.providers.port import CallMeter, Provider


def protect_secrets(config: Config) -> None:
    """Keep every configured secret out of the logs."""
    for account in config.accounts:
        for secret in account.credentials.values():
            protect(secret)
    if config.system.token is not None:
        protect(config.system.token)


def measured_provider(
    account: AccountConfig,
    *,
    now: Callable[[], datetime],
    metrics: Metrics,
    before: Provider | None = None,
) -> Provider:
    """The account's provider, its calls counted. Raises ConfigError.

    `before` is the one that it takes the place of.
    """
    meter = _call_meter(account.name, metrics)
    provider = open_provider(account, now=now, on_call=meter, before=before)
    metrics.budget_left.labels(account.name).set_function(lambda: provider.budget().left)
    return provider


def forget_provider(account: str, metrics: Metrics) -> None:
    """Stop telling of an account that is no more."""
    with suppress(KeyError):
        metrics.budget_left.remove(account)


def _call_meter(account: str, metrics: Metrics) -> CallMeter:
    def note(method: str, status: str, seconds: float) -> None:
        metrics.provider_calls.labels(account, method, status).inc()
        metrics.provider_call_seconds.labels(account).observe(seconds)

    return note
