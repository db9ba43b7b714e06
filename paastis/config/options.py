"""Everything that can be configured, with its defaults; `paastis/config/loading.py` puts it together."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from paastis.config.accounts import AccountConfig
from paastis.policy import Settings
from paastis.rule import DEFAULT_RESOLUTION_FLOOR, Hooks, Rule
from paastis.secret import Secret

Network = IPv4Network | IPv6Network


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
    access_resolution: timedelta = DEFAULT_RESOLUTION_FLOOR
    """The floor of every app's access resolution."""
    probe_port: int = 3002
    """In a cluster: where the watch on the resources says that it is alive."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where in a Kubernetes cluster the registry is, and who this program is there."""

    namespace: str | None = None
    """None: the Pod's own, or that of the kubeconfig's context."""
    pod_name: str | None = None
    pod_uid: str | None = None
    """Both from the downward API; None outside a Pod."""


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured."""

    accounts: tuple[AccountConfig, ...]
    """Empty in a cluster, where they are resources."""
    rules: tuple[Rule, ...] = ()
    """In the order of their file. In a cluster only those with hooks, and nothing but these."""
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
    cluster: ClusterConfig = ClusterConfig()
    ignored_apps: tuple[str, ...] = ()
    """Names, or patterns matched whole, to leave alone in every account; `accounts` have them."""
    allow_insecure: bool = False
    """Whether an API address may be http beyond this machine."""
    logging_level: str = "INFO"
    """A level name of `logging`."""
    logging_format: Literal["text", "json"] = "text"
    """`text` or `json`."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is probably a mistake, but harmless."""
