"""The HTTP proxy between us and the API server, if there is one."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from paastis.config.values import is_loopback


def proxy_to(server: str, environ: Mapping[str, str]) -> str | None:
    """What HTTPS_PROXY and NO_PROXY say about this address, in capitals or not."""

    def named(variable: str) -> str:
        return environ.get(variable) or environ.get(variable.upper()) or ""

    host = urlsplit(server).hostname or ""
    around = [name.strip().lower().lstrip(".") for name in named("no_proxy").split(",")]
    direct = is_loopback(host) or any(
        name == "*" or f".{host}".endswith(f".{name}") for name in around if name
    )
    return None if direct else named("https_proxy") or None
