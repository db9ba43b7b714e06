"""An app as we know it: identity, names, phase, activity, formation.

An `App` is one record of the registry. Each field has one kind of writer, said below: people,
proxies or the controller. `AppChange` is what a write replaces.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypedDict

from paastis.policy import Policy, Settings
from paastis.reasons import Reason


class Phase(StrEnum):
    """Where an app is between awake and asleep (see `paastis/phases.py`)."""

    AWAKE = "Awake"
    DRAINING = "Draining"
    STOPPING = "Stopping"
    ASLEEP = "Asleep"
    STARTING = "Starting"
    FAILED = "Failed"
    UNMANAGED = "Unmanaged"
    GONE = "Gone"


class Observation(StrEnum):
    """What a look at the provider says about an app's web processes, computed from reality."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two records the same app, whatever their names."""

    account: str
    region: str
    app_id: str
    """The provider's stable id."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process type of a formation."""

    type: str
    amount: int
    size: str | None = None


Formation = tuple[Process, ...]


def web_amount(formation: Formation) -> int:
    """How many web processes the formation asks for; 0 where it has no such type."""
    return sum(process.amount for process in formation if process.type == "web")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What to restore on a wake."""

    taken_at: datetime
    processes: Formation
    autoscalers: tuple[str, ...] = ()
    """Ids of the autoscalers that were enabled."""


class OperationKind(StrEnum):
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Operation:
    """A provider call of ours that changes an app; recorded before it is sent.

    It is open until its own call can no longer take effect (`ended_at`).
    """

    kind: OperationKind
    id: str
    """Ours, unique."""
    sent_at: datetime
    ref: str | None = None
    """The provider's handle for following it; None until its answer is known."""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Back-off after failed starts or stops."""

    failures: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """The latest use that is not a visitor's access, and what it was."""

    time: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Condition:
    """Something worth telling about an app or account, as Kubernetes has them."""

    type: str
    status: bool
    reason: Reason
    message: str
    since: datetime
    """When `status` last changed."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What people say about this one app; it beats every rule."""

    settings: Settings = Settings()
    awake_until: datetime | None = None
    sleep_for: int | None = None
    """The cycle that a person wants ended now."""
    problems: tuple[str, ...] = ()
    """Sentences about what they said that cannot be used, and counts as not said."""


@dataclass(frozen=True, slots=True)
class App:
    """One record of the registry."""

    name: str
    """The record's own name: DNS-safe, unique in the installation."""
    identity: Identity
    provider: str
    app_name: str
    """The remote name; may change."""
    created_at: datetime
    """When it was discovered."""

    overrides: Overrides = Overrides()  # people

    last_access_time: datetime | None = None  # proxies
    wake_for: int | None = None  # proxies: the cycle whose sleep a visitor wants ended

    # the controller
    phase: Phase = Phase.UNMANAGED
    phase_since: datetime | None = None
    phase_reason: Reason = Reason.DISCOVERED
    cycle: int = 1
    url: str | None = None
    """The app's own address, without a trailing slash; None: it has none."""
    hosts: tuple[str, ...] = ()
    """Host names under which the provider itself serves the app, lower case."""
    policy: Policy = Policy()
    formation: Formation = ()
    """As last seen awake."""
    snapshot: Snapshot | None = None
    operation: Operation | None = None
    retry: Retry = Retry()
    last_activity: Activity | None = None
    last_start_time: datetime | None = None
    last_stop_time: datetime | None = None
    usual_boot: timedelta | None = None
    """How long a start usually takes, from the call to the first running web process."""
    asleep_seconds: float = 0.0
    """Time slept because of us, added up on each wake."""
    deployment: str | None = None
    """The provider's mark of the last deployment seen."""
    conditions: tuple[Condition, ...] = ()

    version: int = 0
    """Set by the registry. One growing sequence over all records, so that a reader's position in
    the feed can be compared with any record's version."""

    @property
    def open_operation(self) -> Operation | None:
        """Our provider call that may still take effect."""
        if self.operation is not None and self.operation.ended_at is None:
            return self.operation
        return None

    @property
    def wake_asked(self) -> bool:
        """A visitor wants this very cycle ended."""
        return self.wake_for == self.cycle

    @property
    def put_to_sleep_by_us(self) -> bool:
        """Whether we stopped it and it has not been started since, as far as is known."""
        stopped, started = self.last_stop_time, self.last_start_time
        return stopped is not None and (started is None or started < stopped)

    @property
    def sleep_asked(self) -> bool:
        """A person wants this very cycle ended."""
        return self.overrides.sleep_for == self.cycle

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, if it was ever set."""
        return next((found for found in self.conditions if found.type == kind), None)


class AppChange(TypedDict, total=False):
    """The fields that a write replaces; see `App` for their meaning."""

    app_name: str
    overrides: Overrides
    phase: Phase
    phase_since: datetime | None
    phase_reason: Reason
    cycle: int
    url: str | None
    hosts: tuple[str, ...]
    policy: Policy
    formation: Formation
    snapshot: Snapshot | None
    operation: Operation | None
    retry: Retry
    last_activity: Activity | None
    last_start_time: datetime | None
    last_stop_time: datetime | None
    usual_boot: timedelta | None
    asleep_seconds: float
    deployment: str | None
    conditions: tuple[Condition, ...]
