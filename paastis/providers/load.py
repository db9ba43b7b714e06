"""Finds a provider's adapter by name, among those of every installed distribution.

An adapter is a class named by an entry point of the group `paastis.providers`. Besides the port it has
two ways in: `from_config(account, now=…, before=…)`, and `stopped_verdict(status, headers)`, which proxies call
without credentials.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from paastis.config import AccountConfig
from paastis.errors import ConfigError
from paastis.providers.port import CallMeter, Provider, Verdict

GROUP = "paastis.providers"
StoppedVerdict = Callable[[int, Mapping[str, str]], Verdict]


class ProviderClass(Protocol):
    """What an entry point leads to."""

    def from_config(
        self,
        account: AccountConfig,
        *,
        now: Callable[[], datetime],
        on_call: CallMeter | None = None,
        before: Provider | None = None,
    ) -> Provider:
        """The adapter for an account, not connected yet. Raises ConfigError.

        `before` is the one that it takes the place of, whose calls count as its own.
        """
        ...

    def stopped_verdict(self, status: int, headers: Mapping[str, str]) -> Verdict:
        """What an answer from an app's address says about the app being stopped."""
        ...


@cache
def provider_class(name: str) -> ProviderClass:
    """The adapter of that name. Raises ConfigError that names the known ones."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none is installed"
        raise ConfigError(f"provider {name!r} is not known; expected one of: {known}")
    adapter: ProviderClass = found[name].load()
    return adapter


def open_provider(
    account: AccountConfig,
    *,
    now: Callable[[], datetime],
    on_call: CallMeter | None = None,
    before: Provider | None = None,
) -> Provider:
    """The adapter for a configured account. It connects when it is first asked something.

    `on_call` is told of every call, for metrics. `before` is the one that it takes the place of: the
    provider counts both one's calls together, and so do we.

    Raises ConfigError for an unknown provider, missing credentials or a refused address.
    """
    try:
        adapter = provider_class(account.provider)
        return adapter.from_config(account, now=now, on_call=on_call, before=before)
    except ValueError as refused:
        raise ConfigError(f"account {account.name!r}: {refused}") from None


def stopped_verdict_of(name: str) -> StoppedVerdict:
    """The provider's judgement of answers from apps. Raises ConfigError as `provider_class`."""
    return provider_class(name).stopped_verdict
