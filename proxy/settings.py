"""How a proxy behaves: what people configure, and what is the same everywhere. Times in seconds."""

from dataclasses import dataclass, field

from paastis.config.options import ProxyConfig


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Everything that is the same for all apps; the rest is in each app's policy."""

    config: ProxyConfig = field(default_factory=ProxyConfig)

    via_name: str = "paastis"
    """Our name in `Via`; a request that already carries it has come round in a circle."""
    released_at_once: int = 128
    """Held requests of one app that may be on their way to it before its first answers."""
    heartbeat_interval: float = 2.0
    controller_patience: float = 10.0
    """How overdue the controller's sign of life may be before visitors are told."""
    inspection_patience: float = 3.0
    """How long a doubtful answer is kept back for the controller's inspection."""
    ready_grace: float = 10.0
    """For how long after a wake an app's 502, 503, 504 and resets are tried again."""
    page_heartbeat: float = 15.0
    """Comment lines that keep a waiting page's event stream open."""
