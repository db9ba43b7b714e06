"""What the Kubernetes API's answers mean, for `paastis.registry.cluster`. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paastis.errors import (
    Conflict,
    Expired,
    Forbidden,
    Missing,
    Refused,
    RegistryError,
    RegistryUnavailable,
)
from paastis.secret import Secret

Object = dict[str, Any]
"""A resource as JSON."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects as they were at one version; a page of them, or all."""

    items: Sequence[Object]
    version: int


@dataclass(frozen=True, slots=True)
class Event:
    """A line of a watch: ADDED, MODIFIED or DELETED, or BOOKMARK with no object to speak of."""

    type: str
    object: Object
    version: int


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and who we are there, for the one other client: kopf's."""

    server: str
    authorization: Secret | None
    """The header's whole value; None where a client certificate says who we are."""
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    insecure: bool
    proxy: str | None
    """The HTTP proxy on the way there."""


def event(line: bytes) -> Event:
    """A line of a watch; raises what an ERROR says."""
    said = parsed(line)
    try:
        kind, told = said["type"], said["object"]
        if kind == "ERROR":
            raise _error(told["code"], told.get("message", ""))
        return Event(kind, told, version_of(told))
    except (LookupError, TypeError) as error:
        raise RegistryUnavailable(f"A watch brought a line without {error}.") from None


def version_of(told: Object) -> int:
    """The resource version of an object or list: a number of one growing sequence of its kind.

    Since Kubernetes 1.35 clients may compare them. Raises `RegistryUnavailable` without one.
    """
    try:
        return int(told["metadata"]["resourceVersion"])
    except (LookupError, TypeError, ValueError):
        raise RegistryUnavailable(
            "The Kubernetes API told an object without a resource version that is a number."
        ) from None


def parsed(text: bytes) -> Object:
    """An answer's object. Raises `RegistryUnavailable` for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RegistryUnavailable("The Kubernetes API sent something that is no JSON object.")
    return found


def refusal(status: int, said: bytes) -> RegistryError:
    """The error that an answer from 400 on is."""
    try:
        message = str(json.loads(said)["message"])
    except (ValueError, LookupError, TypeError):
        message = said[:200].decode(errors="replace")
    return _error(status, message)


def _error(status: int, message: str) -> RegistryError:
    sentence = f"The Kubernetes API says {status}: {message}"
    match status:
        case 401 | 403:
            return Forbidden(sentence)
        case 404:
            return Missing(sentence)
        case 409:
            return Conflict(sentence)
        case 410:
            return Expired(sentence)
        case 429:
            return RegistryUnavailable(sentence)
        case _ if 400 <= status < 500:
            return Refused(sentence)
    return RegistryUnavailable(sentence)
