"""Checks of single values, the same for environment variables and for paastis.yml.

Each takes the text that was given and returns the value, or raises ValueError with a sentence that
names what was given and what is expected; the caller adds where it was given.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import TypeVar
from urllib.parse import urlsplit

from paastis.durations import format_duration, parse_duration
from paastis.pattern import compile_pattern
from paastis.secret import Secret

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Check = Callable[[str], T]

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)

_LONGEST_SHOWN = 80
_LONGEST_TEXT = 4096
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_SIZES = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_LABEL_ALONE = re.compile(_LABEL)
_LISTEN_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METHOD = re.compile(r"[A-Z][A-Z0-9-]{0,31}")


def shown(given: str) -> str:
    """What was given, quoted, cut where it is long."""
    return repr(given if len(given) <= _LONGEST_SHOWN else given[:_LONGEST_SHOWN] + "…")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A half sentence with the nearest known name, or nothing."""
    nearest = difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def one_of(choices: Iterable[str], given: str) -> str:
    """The refusal of a word that is none of the choices."""
    names = list(choices)
    hint = did_you_mean(given, names)
    return f"{shown(given)} is not known; expected one of {', '.join(names)}{hint}"


def text(given: str) -> str:
    """Any text on one line."""
    if len(given) > _LONGEST_TEXT:
        raise ValueError(f"{shown(given)} is too long; expected at most {_LONGEST_TEXT} characters")
    if any(character < " " or character == "\x7f" for character in given):
        raise ValueError(f"{shown(given)} holds control characters; expected a single line of text")
    return given


def command(given: str) -> str:
    """A shell command, maybe of several lines."""
    if "\x00" in given or len(given) > 64 * 1024:
        raise ValueError("the command is too long or holds a NUL character")
    return given


def secret(given: str) -> Secret:
    """A token: visible ASCII without spaces. The refusal never shows it."""
    if not given.isascii() or not given.isprintable() or " " in given or len(given) > _LONGEST_TEXT:
        raise ValueError(
            "the value (not shown, it is a secret) holds a space, a line break or a character that "
            "is not ASCII; expected the token alone"
        )
    return Secret(given)


def choice(choices: Mapping[str, T]) -> Check[T]:
    """One of these words; case, `-` and `_` do not matter."""
    folded = {_folded(name): value for name, value in choices.items()}

    def check(given: str) -> T:
        if _folded(given) not in folded:
            raise ValueError(one_of(choices, given))
        return folded[_folded(given)]

    return check


def member(kind: type[E]) -> Check[E]:
    """A member of an enumeration, by value: `AlwaysOn`, `always-on` and `ALWAYS_ON` are the same."""
    return choice({_kebab(item.value): item for item in kind})


def flag(given: str) -> bool:
    """True or false, in the usual spellings."""
    word = given.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{shown(given)} is neither true nor false")
    return word in _TRUE


def integer(low: int, high: int) -> Check[int]:
    """A whole number in that range."""

    def check(given: str) -> int:
        if re.fullmatch(r"[0-9]{1,12}", given) and low <= int(given) <= high:
            return int(given)
        raise ValueError(f"{shown(given)} is not a whole number from {low} to {high}")

    return check


def size(low: int, high: int) -> Check[int]:
    """A number of bytes: `65536`, `64KiB` or `1MiB`."""

    def check(given: str) -> int:
        match = re.fullmatch(r"([0-9]{1,12})\s*([a-z]*)", given.lower())
        if match and match[2] in _SIZES and low <= int(match[1]) * _SIZES[match[2]] <= high:
            return int(match[1]) * _SIZES[match[2]]
        raise ValueError(
            f"{shown(given)} is not a number of bytes from {low} to {high}, as in 65536 or 64KiB"
        )

    return check


def duration(*, unit: timedelta, low: timedelta, high: timedelta) -> Check[timedelta]:
    """A duration in that range; `unit` is what a bare number counts."""

    def check(given: str) -> timedelta:
        value = parse_duration(given, unit=unit)
        if not low <= value <= high:
            raise ValueError(
                f"{shown(given)} is {format_duration(value)}; expected "
                f"{format_duration(low)} to {format_duration(high)}"
            )
        return value

    return check


def idle_time(given: str) -> timedelta:
    """An idle time; a bare number counts minutes, 0 is allowed."""
    return duration(unit=MINUTE, low=timedelta(0), high=timedelta(days=365))(given)


def operation_timeout(given: str) -> timedelta:
    """How long a start or stop may take; a bare number counts seconds."""
    return duration(unit=SECOND, low=SECOND, high=timedelta(hours=1))(given)


def calls_per_minute(given: str) -> int:
    """A budget of API calls; above a provider's own limit only simulators will bear it."""
    return integer(1, 6000)(given)


def url(*, insecure: bool) -> Check[str]:
    """The address of an API, without its trailing slash; http only where nobody can listen in.

    Loopback is `localhost`, names under it (RFC 6761) and loopback addresses.
    """

    def check(given: str) -> str:
        refusal = f"{shown(_without_password(given))} is not an address; expected https://<host>"
        try:
            parts = urlsplit(given)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(refusal) from None
        if parts.scheme not in {"http", "https"} or not host or any(map(str.isspace, given)):
            raise ValueError(refusal)
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address holds a user name or password (not shown); leave it out")
        if "?" in given or "#" in given:
            raise ValueError(f"{shown(given)} holds a query or fragment; leave it out")
        if parts.scheme == "http" and not insecure and not is_loopback(host):
            raise ValueError(
                f"{shown(given)} would send the token unencrypted; expected https://, or set "
                "PROVIDER_ALLOW_INSECURE=true"
            )
        return given.rstrip("/")

    return check


def redis_url(given: str) -> Secret:
    """The address of a Redis server, which may hold a password and is never shown."""
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"redis", "rediss"} or not host:
        raise ValueError("the value (not shown) is not an address as in redis://<host>:6379")
    return Secret(given)


def is_loopback(host: str) -> bool:
    """Whether that host is this machine, by its name alone."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def listen_host(given: str) -> str:
    """An address or name to listen on."""
    if not _LISTEN_HOST.fullmatch(given):
        raise ValueError(f"{shown(given)} is not a host; expected an address or name as in 0.0.0.0")
    return given


def domain(given: str) -> str:
    """A domain in lower case; a leading `*.` or dot is meant well and dropped."""
    name = given.lower().removeprefix("*").removeprefix(".").rstrip(".")
    if not _DOMAIN.fullmatch(name):
        raise ValueError(f"{shown(given)} is not a domain; expected one as in apps.example.com")
    return name


def host_template(given: str) -> str:
    """A host name, which may refer to what a pattern caught."""
    if "$" not in given:
        return domain(given)
    return text(given)


def network(given: str) -> str:
    """An address or network, in its normal form."""
    try:
        return str(ip_network(given, strict=False))
    except ValueError:
        raise ValueError(
            f"{shown(given)} is not a network; expected one as in 10.0.0.0/8 or 192.0.2.7"
        ) from None


def pattern(given: str) -> str:
    """A regular expression on names of apps; see `paastis/pattern.py`."""
    compile_pattern(given)
    return given


def account_name(given: str) -> str:
    """A DNS label, since records and resources are named after it."""
    if not _LABEL_ALONE.fullmatch(given):
        raise ValueError(
            f"{shown(given)} is not an account name; expected lower-case letters, digits and dashes"
        )
    return given


def region(given: str) -> str:
    """A provider's region."""
    if not _REGION.fullmatch(given.lower()):
        raise ValueError(f"{shown(given)} is not a region; expected a name as in osc-fr1")
    return given.lower()


def variable(given: str) -> str:
    """The name of an environment variable."""
    if not _VARIABLE.fullmatch(given):
        raise ValueError(f"{shown(given)} is not a variable name; expected one as in SLACK_URL")
    return given


def method(given: str) -> str:
    """An HTTP method, in upper case."""
    if not _METHOD.fullmatch(given.upper()):
        raise ValueError(f"{shown(given)} is not an HTTP method; expected one as in OPTIONS")
    return given.upper()


def path(given: str) -> str:
    """The path of a request."""
    if not re.fullmatch(r"/[!-~]{0,1023}", given):
        raise ValueError(f"{shown(given)} is not a path; expected one as in /health")
    return given


def listing(given: str, check: Check[T]) -> tuple[T, ...]:
    """A list separated by commas; empty entries are dropped, repeated ones taken once."""
    entries = dict.fromkeys(entry.strip() for entry in given.split(","))
    return tuple(check(entry) for entry in entries if entry)


def _folded(word: str) -> str:
    return word.strip().lower().replace("-", "").replace("_", "").replace(" ", "")


def _kebab(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", word).lower()


def _without_password(given: str) -> str:
    return re.sub(r"//[^/]*@", "//***@", given)
