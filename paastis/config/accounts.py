"""An account: one set of credentials on one provider, and which of its apps we look after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from paastis.pattern import compile_pattern
from paastis.policy import Mode, Settings
from paastis.secret import Secret

PROVIDERS: Mapping[str, str] = {
    "scalingo": "scalingo",
    "heroku": "heroku",
    "clever-cloud": "clever-cloud",
}
"""Every provider that may be named."""
AVAILABLE_PROVIDERS = frozenset({"scalingo"})
"""Those that this version can manage."""


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """One set of credentials on one provider."""

    name: str
    provider: str
    mode: Mode = Mode.MANAGE
    regions: tuple[str, ...] = ()
    """Empty: the provider's default region."""
    organisations: tuple[str, ...] = ()
    """Ids of the organisations whose apps are meant, at providers that have them; empty: all."""
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    """`api_token` for scalingo and heroku."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """`api` and `auth`, without a trailing slash, where they are not the provider's own."""
    operation_timeout: timedelta | None = None
    """None: the adapter's own."""
    calls_per_minute: int | None = None
    """None: the adapter's own."""
    max_idle_time: timedelta | None = None
    discovery_interval: timedelta | None = None
    """How often its apps are listed; None: START_AND_STOP_CHECKING_INTERVAL_CRON says."""
    ignored_apps: tuple[str, ...] = ()
    """Names, or patterns matched whole."""
    only_apps: tuple[str, ...] = ()
    """Names, or patterns matched whole; empty: all."""

    source: str = "PROVIDER_NAME"
    """Where it is configured, for messages."""

    def covers(self, app_name: str) -> bool:
        """Whether paastis looks after the app of that name at all."""
        if any(_names(entry, app_name) for entry in self.ignored_apps):
            return False
        return not self.only_apps or any(_names(entry, app_name) for entry in self.only_apps)

    @property
    def settings(self) -> Settings:
        """What the account says about the policy of its apps."""
        return Settings(max_idle_time=self.max_idle_time)


def _names(entry: str, app_name: str) -> bool:
    return entry == app_name or compile_pattern(entry).fullmatch(app_name) is not None
