"""What a person may set about the proxy. Times are in seconds, sizes in bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Everything that is the same for all apps; the rest is in each app's policy."""

    host: str = "0.0.0.0"  # noqa: S104 - a proxy is there to be reached
    port: int = 3000
    """0: any free port; `Proxy.port` tells which."""
    base_domains: tuple[str, ...] = ()
    """Only `<label>.<one of these>` leads to an app; empty: any domain does."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-* and X-Request-Id are believed."""
    via_name: str = "paastis"
    """Our name in `Via`; a request that already carries it has come round in a circle."""

    held_per_app: int = 5_000
    """Visitors that may wait for one app."""
    held_total: int = 20_000
    released_at_once: int = 128
    """Held requests of one app that may be on their way to it before its first answers."""
    kept_bytes: int = 64 * 1024
    """How much of a request's body is kept so that it can be sent again."""

    drain_timeout: float = 30.0
    """How long requests may go on after we were asked to stop."""
    connect_timeout: float = 10.0
    answer_timeout: float = 300.0
    """Longest wait for the head of an answer, counted from the end of the request's body."""
    body_timeout: float = 300.0
    """Longest silence within a visitor's body."""
    head_timeout: float = 20.0
    """Longest wait for the first request of a new connection."""
    keepalive_timeout: float = 75.0
    """Longest pause between two requests of one connection."""
    max_line: int = 16 * 1024
    """Longest request line, and longest single header."""
    max_headers: int = 128

    heartbeat_interval: float = 2.0
    controller_patience: float = 10.0
    """How overdue the controller's sign of life may be before visitors are told."""
    inspection_patience: float = 3.0
    """How long a doubtful answer is kept back for the controller's inspection."""
    ready_grace: float = 10.0
    """For how long after a wake an app's 502, 503, 504 and resets are tried again."""
    page_heartbeat: float = 15.0
    """Comment lines that keep a waiting page's event stream open."""
