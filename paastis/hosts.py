"""Host names: which are valid, and which app has a right to which.

An app claims its extra hosts exactly, and two labels: its name and its display name, each below
any base domain. Where two apps claim the same, the older one has it; an app that is gone gives
way to any other. Proxies route by this, and the controller tells the loser.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from paastis.app import App, Phase

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{0,5}")
_LONGEST_HOST = 253  # RFC 1035, section 2.3.4, without the trailing dot
_LONGEST_LABEL = 63


class BadHost(ValueError):
    """The Host of a request is missing or not a host name."""


def parse_host(value: str) -> str:
    """The host name of a Host header: lower case, without port and trailing dot.

    IPv6 literals keep their brackets. Raises `BadHost` (RFC 9110, section 7.2).
    """
    text = value.strip(" \t").lower()
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        try:
            address = ipaddress.IPv6Address(literal.partition("%")[0])
        except ValueError as error:
            raise BadHost("not an IPv6 address") from error
        if not bracket or (rest and not (rest[0] == ":" and _port_is_fine(rest[1:]))):
            raise BadHost("something follows the address")
        return f"[{address.compressed}]"
    host, colon, port = text.partition(":")
    if colon and not _port_is_fine(port):
        raise BadHost("not a port")
    host = host.removesuffix(".")
    if len(host) > _LONGEST_HOST or not _HOST.fullmatch(host):
        raise BadHost("not a host name")
    if any(len(label) > _LONGEST_LABEL for label in host.split(".")):
        raise BadHost("a label is longer than 63 characters")
    return host


def _port_is_fine(port: str) -> bool:
    return _PORT.fullmatch(port) is not None and (not port or int(port) < 65536)


def normal_host(value: str) -> str | None:
    """A configured host name as requests carry it (IDNA in its ASCII form); None if it is none."""
    try:
        return parse_host(value.strip().encode("idna").decode("ascii"))
    except (BadHost, UnicodeError):
        return None


def is_address(host: str) -> bool:
    """Whether a parsed host is an IP address rather than a name."""
    if host.startswith("["):
        return True
    last = host.rpartition(".")[2]
    # As browsers see it (WHATWG URL, "ends in a number"): 127.1 and 0x7f.1 are addresses too.
    return last.isdigit() or (last.startswith("0x") and len(last) > 2)


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """An app's right to a host or label; the smaller one wins."""

    gone: bool
    created_at: datetime
    name: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A host or label that an app would like to have and another one has."""

    key: str
    winner: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an app would like to be found by."""

    claim: Claim
    hosts: frozenset[str]
    labels: frozenset[str]


def wanted_by(app: App) -> Wanted:
    """The hosts and labels of an app, as requests would carry them."""
    names = (app.app_name, app.policy.display_name)
    return Wanted(
        claim=Claim(app.phase is Phase.GONE, app.created_at, app.name),
        hosts=frozenset(host for host in map(normal_host, app.policy.hosts) if host is not None),
        labels=frozenset(
            name.lower()
            for name in names
            if name and len(name) <= _LONGEST_LABEL and _LABEL.fullmatch(name.lower())
        ),
    )


def lost_claims(apps: Iterable[App]) -> Mapping[str, tuple[Lost, ...]]:
    """Who would like to have what another one has, by record name. Grows with the apps."""
    claims: dict[tuple[str, str], list[Claim]] = {}
    for app in apps:
        wanted = wanted_by(app)
        for kind, keys in (("host", wanted.hosts), ("label", wanted.labels)):
            for key in keys:
                claims.setdefault((kind, key), []).append(wanted.claim)
    lost: dict[str, list[Lost]] = {}
    for (_, key), rivals in claims.items():
        if len(rivals) > 1:
            winner = min(rivals)
            for claim in rivals:
                if claim is not winner and not claim.gone:
                    lost.setdefault(claim.name, []).append(Lost(key, winner.name))
    return {name: tuple(sorted(keys, key=lambda one: one.key)) for name, keys in lost.items()}
