"""What the pretend platform knows of an app: its formation, its containers, and what happened to it.

Only data and what can be read off it. `world.py` alone changes it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from paastis.simulate.clock import Handle

ContainerState = Literal["booting", "running", "stopping", "crashed"]
OperationKind = Literal["scale", "restart", "deployment"]
OperationStatus = Literal["pending", "running", "done", "error"]
AppStatus = Literal["new", "booting", "running", "stopped", "scaling", "restarting", "crashed"]

FOREVER = -1
"""As a number of boots that fail: every one."""

_STATUS_WHILE: Mapping[OperationKind, AppStatus] = {
    "deployment": "booting",
    "scale": "scaling",
    "restart": "restarting",
}


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How many containers of a type, and how big; `None` leaves that as it is."""

    amount: int | None = None
    size: str | None = None


@dataclass(slots=True)
class ProcessType:
    """One line of an app's formation."""

    name: str
    amount: int
    size: str

    @property
    def command(self) -> str:
        """What the Procfile would say."""
        return f"simulated {self.name}"


@dataclass(slots=True, eq=False)
class Container:
    """One container. `cuts` holds what severs each connection that it is serving."""

    id: str
    type: str
    index: int
    size: str
    created_at: datetime
    boot: int
    """How many times this place in the formation has booted, this one included."""
    state: ContainerState = "booting"
    running_since: datetime | None = None
    timer: Handle | None = None
    cuts: set[Callable[[], None]] = field(default_factory=set)

    @property
    def label(self) -> str:
        """Its name on the platform, such as `web-1`."""
        return f"{self.type}-{self.index}"


@dataclass(slots=True, eq=False)
class Operation:
    """A change under way. `awaiting` are the containers that it is not finished without."""

    id: str
    kind: OperationKind
    created_at: datetime
    status: OperationStatus = "pending"
    finished_at: datetime | None = None
    error: str | None = None
    awaiting: set[Container] = field(default_factory=set)
    outgoing: list[Container] = field(default_factory=list)
    """Containers that serve until their successors run."""
    timer: Handle | None = None


@dataclass(slots=True, eq=False)
class Autoscaler:
    """A rule of the platform's own that would change the amount of one type."""

    id: str
    type: str
    minimum: int
    maximum: int
    metric: str
    target: float
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an app; `data` depends on `kind`."""

    id: str
    at: datetime
    kind: str
    by: str
    data: Mapping[str, object]


@dataclass(slots=True, eq=False)
class Deployment:
    """One version of the app's code being put in place."""

    id: str
    created_at: datetime
    by: str
    status: Literal["starting", "success", "crashed-error"] = "starting"
    finished_at: datetime | None = None


@dataclass(slots=True, eq=False)
class App:
    """One app of the pretend platform."""

    id: str
    name: str
    region: str
    created_at: datetime
    updated_at: datetime
    boot_time: timedelta
    stop_time: timedelta
    formation: dict[str, ProcessType]
    parent: str = ""
    domains: tuple[str, ...] = ()
    deployed: bool = False
    crashed: bool = False
    boot_failures: int = 0
    """How many of the next boots fail; FOREVER for all."""
    crashes_in_a_row: int = 0
    current: Operation | None = None
    containers: list[Container] = field(default_factory=list)
    autoscalers: list[Autoscaler] = field(default_factory=list)
    operations: dict[str, Operation] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    settings: dict[str, bool] = field(default_factory=dict)
    traffic: dict[int, Counter[int]] = field(default_factory=dict)
    """Requests that the router answered: minute since 1970 → status → how many."""
    boots: Counter[tuple[str, int]] = field(default_factory=Counter)
    turn: int = 0
    """Which web container the router takes next."""

    @property
    def status(self) -> AppStatus:
        """The platform's one word for it, over containers of every type."""
        if self.current is not None:
            return _STATUS_WHILE[self.current.kind]
        if not self.deployed:
            return "new"
        if self.crashed:
            return "crashed"
        states = {container.state for container in self.containers}
        if "running" in states:
            return "running"
        return "booting" if "booting" in states else "stopped"

    @property
    def last_deployment(self) -> Deployment | None:
        """The newest one that succeeded."""
        return next((d for d in reversed(self.deployments) if d.status == "success"), None)

    def web_containers(self) -> list[Container]:
        """The containers that the router sends requests to."""
        return [c for c in self.containers if c.type == "web" and c.state == "running"]
