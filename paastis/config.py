"""The configuration: what it consists of, and how it is put together from its sources.

In this order, the first that says something wins: command line, environment, `.env`, `paastis.yml`,
default. `load_config` is pure and finds every problem before it raises; `read_config` is the edge
that reads the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from paastis.pattern import compile_pattern
from paastis.policy import Mode, Settings
from paastis.rule import Hooks, Rule
from paastis.secret import Secret

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """One set of credentials on one provider."""

    name: str
    provider: str
    mode: Mode = Mode.MANAGE
    regions: tuple[str, ...] = ()
    """Empty: the provider's default region."""
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    """`api_token` for scalingo and heroku."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """`api` and `auth`, without a trailing slash, where they are not the provider's own."""
    operation_timeout: timedelta | None = None
    """None: the adapter's own."""
    calls_per_minute: int | None = None
    """None: the adapter's own."""
    max_idle_time: timedelta | None = None
    ignored_apps: tuple[str, ...] = ()
    """Names, or patterns matched whole."""
    only_apps: tuple[str, ...] = ()
    """Names, or patterns matched whole; empty: all."""

    def covers(self, app_name: str) -> bool:
        """Whether paastis looks after the app of that name at all."""
        if any(_names(entry, app_name) for entry in self.ignored_apps):
            return False
        return not self.only_apps or any(_names(entry, app_name) for entry in self.only_apps)

    @property
    def settings(self) -> Settings:
        """What the account says about the policy of its apps."""
        return Settings(max_idle_time=self.max_idle_time)


@dataclass(frozen=True, slots=True)
class HookConfig:
    """Shell commands around starts and stops."""

    commands: Hooks = field(default_factory=Hooks)
    """For apps whose rules say nothing else."""
    timeout: timedelta = timedelta(seconds=60)
    pass_env: tuple[str, ...] = ()
    """Names of the variables that hooks may see besides their own."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The visitors' port."""

    host: str = "0.0.0.0"  # noqa: S104 (visitors come from elsewhere; the original's default)
    port: int = 3000
    base_domains: tuple[str, ...] = ()
    """Lower case; empty: the first label of any host names the app."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose forwarding headers are believed."""
    drain_timeout: timedelta = timedelta(seconds=30)
    """How long requests in flight may take after SIGTERM."""
    max_held_per_app: int = 5_000
    max_held: int = 20_000
    body_kept: int = 64 * 1024
    """Bytes of a request that are read ahead while it waits, and kept for a repetition."""
    max_request_line: int = 8 * 1024
    """Bytes."""
    max_header_size: int = 8 * 1024
    """Bytes of a single header."""
    max_headers: int = 100
    keep_alive: timedelta = timedelta(seconds=75)
    """How long a visitor's idle connection stays open."""
    head_timeout: timedelta = timedelta(seconds=20)
    """How long a request's head may take."""
    body_timeout: timedelta = timedelta(seconds=60)
    """How long a request's body may be silent."""
    connect_timeout: timedelta = timedelta(seconds=10)
    """How long connecting to an app may take."""
    answer_timeout: timedelta = timedelta(hours=1)
    """How long an app may take to begin its answer."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """The port for health, metrics and, where enabled, the system API."""

    host: str = "0.0.0.0"  # noqa: S104 (probes and scrapers come from elsewhere)
    port: int = 3001
    api_enabled: bool = False
    token: Secret | None = None
    """Always there where the API is enabled."""


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """When the controller looks, and how it takes leave."""

    discovery_cron: str = "* * * * *"
    drain_time: timedelta = timedelta(seconds=5)
    """The least time between the decision to stop an app and its stop."""
    access_resolution: timedelta = timedelta(seconds=10)
    """The floor of every app's access resolution."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    accounts: tuple[AccountConfig, ...]
    rules: tuple[Rule, ...] = ()
    """In the order of their file."""
    defaults: Settings = Settings()
    """What the environment says for all apps; a field that it leaves open has `Policy`'s value."""
    proxy: ProxyConfig = ProxyConfig()
    system: SystemConfig = SystemConfig()
    controller: ControllerConfig = ControllerConfig()
    hooks: HookConfig = HookConfig()
    registry_type: str = "in-memory"
    state_file: Path | None = Path("paastis.db")
    """None: nothing survives a restart."""
    redis_url: Secret | None = None
    logging_level: str = "INFO"
    """A level name of `logging`."""
    logging_format: str = "text"
    """`text` or `json`."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is probably a mistake, but harmless."""


def _names(entry: str, app_name: str) -> bool:
    return entry == app_name or compile_pattern(entry).fullmatch(app_name) is not None
