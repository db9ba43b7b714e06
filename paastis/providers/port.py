"""What the controller asks of a provider, whatever its kind.

Adapters keep no state about apps. Verbs are idempotent: stopping what is stopped and starting what
runs is success. Nothing but `paastis.errors.ProviderError` escapes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Protocol

from paastis.app import Formation, Identity, Observation, Snapshot
from paastis.reasons import Reason


class Urgency(IntEnum):
    """Who goes first when calls are short; smaller is sooner."""

    VISITOR = 0
    """A visitor waits."""
    SCHEDULED = 1
    """A start that no visitor waits for."""
    STOP = 2
    DISCOVERY = 3


class Verdict(StrEnum):
    """What an answer from the app's address says about the app being stopped."""

    STOPPED = "stopped"
    MAYBE = "maybe"
    NO = "no"


class Progress(StrEnum):
    """How a followed operation stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The provider does not know it (any more): it can no longer take effect."""


@dataclass(frozen=True, slots=True)
class Remote:
    """The address of an app for a provider call."""

    identity: Identity
    app_name: str


@dataclass(frozen=True, slots=True)
class RemoteApp:
    """What a listing tells about one app."""

    region: str
    app_id: str
    app_name: str
    state: Observation
    """UNKNOWN where the listing does not tell."""
    url: str | None
    """Where the app answers, no trailing slash: the platform-made address first."""
    hosts: tuple[str, ...]
    """Host names of the app that the listing tells, lower case."""
    deployment: str | None
    """Changes with each deployment."""
    unmanaged: Reason | None = None
    """Why it cannot be managed, as far as the listing tells."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All apps of an account."""

    apps: tuple[RemoteApp, ...]
    sent_at: datetime
    """When the first request was sent."""
    complete: bool
    """False: something could not be read, so absence proves nothing."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """One app, looked at closely."""

    state: Observation
    formation: Formation
    """All process types, also those at 0."""
    sent_at: datetime
    """When the first request was sent."""
    autoscalers: tuple[str, ...] = ()
    """Ids of the enabled ones; only told where `autoscaled` was asked for."""
    autoscaled_types: tuple[str, ...] = ()
    """Process types whose amount an autoscaler moves."""
    deploying: bool = False
    deployment: str | None = None
    unmanaged: Reason | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The provider's answer to a start or stop."""

    ref: str | None
    """What to follow; None: it is done already."""


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation to follow."""

    app: Remote
    ref: str


@dataclass(frozen=True, slots=True)
class Followed:
    """How an operation stands, with the provider's own words where it failed."""

    progress: Progress
    message: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the provider bears, and how its calls behave in time."""

    operations: int
    """Starts and stops at a time, for the account."""
    visibility: timedelta
    """How long after it was sent a call without an answer may still take effect."""
    operation_timeout: timedelta
    call_timeout: timedelta
    """The longest that a changing call may take."""
    follow_every: timedelta
    """How often open operations are looked at."""
    reports_traffic: bool
    """Whether `direct_traffic` knows anything."""
    listing_tells_state: bool


CallMeter = Callable[[str, str, float], None]
"""Told of every call: its HTTP method, the status or a word where none came, and its seconds."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """Calls of the account."""

    per_minute: int
    left: int
    """Calls that could be sent right now."""
    blocked_until: datetime | None = None
    """The provider said "too many" and wants silence until then."""


class Provider(Protocol):
    """One account on one provider."""

    @property
    def limits(self) -> Limits: ...

    def budget(self) -> BudgetState: ...

    async def check(self) -> str:
        """Who the credentials belong to, as people know it. Changes nothing."""
        ...

    async def list_apps(self) -> Listing:
        """Everything the account can see in its configured regions."""
        ...

    async def inspect(
        self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
    ) -> Inspection:
        """Look closely. An app that does not exist is `Observation.MISSING`, no error."""
        ...

    async def stop(self, app: Remote, formation: Formation) -> Receipt:
        """Scale every type of `formation` to 0."""
        ...

    async def start(self, app: Remote, snapshot: Snapshot, *, urgency: Urgency) -> Receipt:
        """Restore the snapshot's types with amount > 0 in one call; leave the others alone.

        If they are all as wanted but no web process lives, restart.
        """
        ...

    async def enable_autoscalers(
        self, app: Remote, ids: Sequence[str], *, urgency: Urgency
    ) -> None:
        """Enable them again; those that are gone or enabled are no error."""
        ...

    async def follow(self, operations: Sequence[OpenOperation]) -> Mapping[str, Followed]:
        """How each stands, by `ref`. One that could not be read is left out."""
        ...

    async def direct_traffic(self, app: Remote, since: datetime) -> datetime | None:
        """The start of the latest time bucket after `since` in which requests were counted."""
        ...

    async def last_formation(self, app: Remote) -> Formation | None:
        """The formation before the last scale to zero, from the provider's history."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...
