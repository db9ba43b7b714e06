"""What the system API asks of the program that it is part of.

The controller and the proxy live above this package, so they hand in what they know as callables.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from paastis.app import App, Condition
from paastis.metrics import Metrics
from paastis.registry.port import Registry


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is decided about an app at this moment, and when that may change."""

    action: str
    reason: str
    message: str
    """A sentence for people."""
    sleeps_at: datetime | None = None
    """When it would fall asleep if nobody used it; None: it would not."""
    look_again_at: datetime | None = None
    """When the answer may change by itself; None: only by an event."""


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """How an account stands."""

    name: str
    provider: str
    mode: str
    reachable: bool | None
    """None: not known here."""
    message: str = ""
    """A sentence for people where something is wrong."""
    apps: int = 0
    budget_left: int | None = None
    """Calls left in the current window; None: the provider sets no limit."""
    last_complete_listing: datetime | None = None
    conditions: tuple[Condition, ...] = ()


Health = tuple[bool, str]
"""Whether all is well, and a sentence about it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The running program, as the system API sees it."""

    registry: Registry
    metrics: Metrics
    now: Callable[[], datetime]
    """Aware, UTC."""
    outlook: Callable[[App], Outlook]
    accounts: Callable[[], Sequence[AccountStatus]]
    addresses: Callable[[App], Sequence[str]]
    """Where visitors reach the app through the proxy, the best one first."""
    forget: Callable[[], Awaitable[int]]
    """Forget all records (snapshots are kept) and discover again; answers how many there were."""
    ready: Callable[[], Health]
    """Whether requests should come here."""
    alive: Callable[[], Health]
    """Whether the process should be left running."""
