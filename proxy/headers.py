"""What is taken away from, added to and rewritten in the headers on their way. Pure.

Headers are sequences of (name, value) in their order, with their case and repetitions.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Pairs = list[tuple[str, str]]

HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Meant for one connection only (RFC 9110, section 7.6.1)."""

SYSTEM_TARGET = "PaastisProxyTarget"
SYSTEM_TOKEN = "PaastisProxySystemApiToken"  # noqa: S105 - the name of a header
STATE = "X-Paastis-State"

_OURS = frozenset(
    (
        SYSTEM_TARGET.lower(),
        SYSTEM_TOKEN.lower(),
        "host",
        "expect",
        "via",
        "forwarded",
        "x-real-ip",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-server",
    )
)
"""What a visitor says about these is replaced or dropped."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,200}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def named_by_connection(headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The header names, lower case, that `Connection` declares to be for this hop."""
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in value.split(",")
        if token.strip()
    )


def end_to_end(headers: Sequence[tuple[str, str]]) -> Pairs:
    """The headers without those meant for one connection."""
    dropped = HOP_BY_HOP | named_by_connection(headers)
    return [pair for pair in headers if pair[0].lower() not in dropped]


def all_values(headers: Iterable[tuple[str, str]], name: str) -> str:
    """Every value of a list header (lower-case name), joined by commas as RFC 9110 allows."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def came_round(headers: Iterable[tuple[str, str]], token: str) -> bool:
    """Whether `Via` already names us: the request goes round in a circle."""
    hops = (hop.split() for hop in all_values(headers, "via").split(","))
    return any(len(hop) >= 2 and hop[1] == token for hop in hops)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a request came in."""

    peer: str
    """Address of the other end of the connection."""
    scheme: str
    host: str
    """The Host header as it came."""
    trusted: bool
    """The peer is one of the trusted proxies: what it says about the visitor is believed."""
    version: str = "1.1"


def request_headers(
    incoming: Sequence[tuple[str, str]],
    *,
    arrival: Arrival,
    app_host: str,
    request_id: str,
    via_name: str,
    origin: Callable[[str], str | None] | None,
) -> Pairs:
    """The headers of the request to the app.

    `origin` maps an Origin to the one that the app is to see, None to leave it; no function
    where the app's policy forbids rewriting. `request_id` is used where none is believed.
    """
    kept: Pairs = [("Host", app_host)]
    for name, value in end_to_end(incoming):
        lower = name.lower()
        if lower in _OURS:
            continue
        if lower == "origin" and origin is not None:
            value = origin(value) or value
        kept.append((name, value))
    said = _said(incoming) if arrival.trusted else {}
    for_chain = [said[key] for key in ("x-forwarded-for",) if said.get(key)]
    kept += [
        ("X-Forwarded-For", ", ".join([*for_chain, arrival.peer])),
        ("X-Forwarded-Proto", said.get("x-forwarded-proto") or arrival.scheme),
        ("X-Forwarded-Host", said.get("x-forwarded-host") or arrival.host),
        ("X-Request-Id", believed_id(said.get("x-request-id")) or request_id),
    ]
    earlier = all_values(incoming, "via")
    via = f"{arrival.version} {via_name}"
    kept.append(("Via", f"{earlier}, {via}" if earlier else via))
    return kept


def _said(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    names = {name.lower() for name, _ in headers}
    return {name: all_values(headers, name) for name in names & _OURS}


def believed_id(value: str | None) -> str | None:
    """A request id from outside, if it is harmless in logs."""
    return value if value is not None and _REQUEST_ID.fullmatch(value) else None


def visitor_address(peer: str, forwarded_for: str, *, is_trusted: Callable[[str], bool]) -> str:
    """The visitor's address: the last one in the chain that no trusted proxy vouches for."""
    address = peer
    for hop in reversed([hop.strip() for hop in forwarded_for.split(",") if hop.strip()]):
        if not is_trusted(address):
            break
        address = hop
    return address


# --- rewriting of answers


def origin_of(url: str) -> str | None:
    """Scheme, host and port of an http(s) URL in their normal form; None if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None or port == _DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{port}"


def path_only(location: str, app_origin: str) -> str:
    """A Location on the app's exact origin without that origin; any other as it is."""
    if origin_of(location) != app_origin or "@" in urlsplit(location).netloc:
        return location
    _, _, after = location.partition("://")
    cut = next((at for at, char in enumerate(after) if char in "/?#"), len(after))
    rest = after[cut:]
    if not rest.startswith("/"):
        return f"/{rest}"
    # "//x" would be read as another host; "/.//x" is the same path (RFC 3986, section 5.2.4).
    return f"/.{rest}" if rest.startswith(("//", "/\\")) else rest


def cookie_without_domain(cookie: str, app_host: str) -> str:
    """A Set-Cookie value without a Domain that names the app's own host."""
    head, *attributes = cookie.split(";")
    kept = [attribute for attribute in attributes if not _names_domain(attribute, app_host)]
    return ";".join([head, *kept])


def _names_domain(attribute: str, app_host: str) -> bool:
    name, _, value = attribute.partition("=")
    return name.strip().lower() == "domain" and value.strip().lower().removeprefix(".") == app_host


def answer_headers(
    answer: Sequence[tuple[str, str]],
    *,
    app_origin: str,
    rewrite: bool,
    origin_seen: str | None,
    origin_sent: str | None,
) -> Pairs:
    """The headers of the answer to the visitor.

    `origin_seen` is the Origin that the visitor sent, `origin_sent` the one that the app got for
    it, where the two differ.
    """
    app_host = (urlsplit(app_origin).hostname or "").lower()
    kept: Pairs = []
    for name, value in end_to_end(answer):
        lower = name.lower()
        if lower == STATE.lower():
            continue
        if rewrite:
            if lower == "location":
                value = path_only(value, app_origin)
            elif lower == "set-cookie":
                value = cookie_without_domain(value, app_host)
            elif (
                lower == "access-control-allow-origin"
                and origin_seen is not None
                and value.strip() == origin_sent
            ):
                value = origin_seen
        kept.append((name, value))
    return kept
