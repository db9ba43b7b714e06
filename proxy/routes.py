"""Which app a Host leads to. Pure; one dictionary look-up or two per request.

An app claims its extra hosts exactly, and two labels: its name and its display name, each below
any base domain. Where two apps claim the same, the older one has it; an app that is gone gives
way to any other.
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
class _Claim:
    """Smaller wins."""

    gone: bool
    created_at: datetime
    name: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A host or label that an app would like to have and another one has."""

    key: str
    winner: str


class Routes:
    """Host → record name, kept up to date app by app."""

    def __init__(self, base_domains: Iterable[str] = ()) -> None:
        self._bases = frozenset(base for base in map(normal_host, base_domains) if base is not None)
        self._hosts: dict[str, tuple[_Claim, ...]] = {}
        self._labels: dict[str, tuple[_Claim, ...]] = {}
        self._known: dict[str, tuple[_Claim, frozenset[str], frozenset[str]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, app: App) -> None:
        """Learn or refresh one app."""
        claim = _Claim(app.phase is Phase.GONE, app.created_at, app.name)
        hosts = frozenset(host for host in map(normal_host, app.policy.hosts) if host is not None)
        names = (app.app_name, app.policy.display_name)
        labels = frozenset(
            name.lower()
            for name in names
            if name and len(name) <= _LONGEST_LABEL and _LABEL.fullmatch(name.lower())
        )
        wanted = (claim, hosts, labels)
        if self._known.get(app.name) == wanted:
            return
        self.remove(app.name)
        self._known[app.name] = wanted
        for table, keys in ((self._hosts, hosts), (self._labels, labels)):
            for key in keys:
                table[key] = tuple(sorted((*table.get(key, ()), claim)))

    def remove(self, name: str) -> None:
        """Forget one app; unknown names are no error."""
        known = self._known.pop(name, None)
        if known is None:
            return
        _, hosts, labels = known
        for table, keys in ((self._hosts, hosts), (self._labels, labels)):
            for key in keys:
                left = tuple(claim for claim in table[key] if claim.name != name)
                if left:
                    table[key] = left
                else:
                    del table[key]

    def find(self, host: str) -> str | None:
        """The record name of the app behind a parsed host; None: nobody's."""
        claims = self._hosts.get(host)
        if claims is None:
            label, dot, base = host.partition(".")
            if not dot or is_address(host) or (self._bases and base not in self._bases):
                return None
            claims = self._labels.get(label)
        return claims[0].name if claims else None

    def claims(self) -> Mapping[str, tuple[Lost, ...]]:
        """Who lost what to whom, by record name. Walks all routes: not for the way of a request."""
        lost: dict[str, list[Lost]] = {}
        for table in (self._hosts, self._labels):
            for key, claims in table.items():
                for claim in claims[1:]:
                    if not claim.gone:
                        lost.setdefault(claim.name, []).append(Lost(key, claims[0].name))
        return {name: tuple(sorted(keys, key=lambda one: one.key)) for name, keys in lost.items()}
