"""One account at run time: its provider, its places for operations, and how it is doing.

Configuration and provider may be replaced at any time, also in the middle of an action: read them
when they are used, and keep neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.settling import told
from controller.slots import Slots
from paastis.app import Condition
from paastis.config import AccountConfig
from paastis.plan import Absence
from paastis.providers.port import Provider
from paastis.reasons import Reason


def _nobody(_account: str) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Account:
    """What the controller knows and holds of one account."""

    config: AccountConfig
    provider: Provider
    slots: Slots
    absences: Mapping[str, Absence] = field(default_factory=dict)
    last_complete_listing: datetime | None = None
    listed_once: bool = False
    """Whether any listing arrived since the start."""
    adopting: bool = True
    """Its first listing of this term is still to come: it says whom we look after again."""
    apps: int = 0
    """Its records at the end of the last listing."""
    reachable: bool | None = None
    """None: not tried yet."""
    conditions: tuple[Condition, ...] = ()
    waits_for_proxies: frozenset[str] = frozenset()
    """Apps whose stop waits for a proxy."""
    on_news: Callable[[str], None] = _nobody
    """Told the account's name whenever any of this has changed in a way that people see."""

    @classmethod
    def open(cls, config: AccountConfig, provider: Provider) -> "Account":
        """An account that has done nothing yet."""
        return cls(config=config, provider=provider, slots=Slots(provider.limits.operations))

    def begin_term(self) -> None:
        """Forget what must not justify an action of a new leader; how the account stands stays."""
        self.slots = Slots(self.provider.limits.operations)
        self.absences = {}
        self.adopting = True
        self.waits_for_proxies = frozenset()

    def waits(self, app: str, message: str, now: datetime) -> None:
        """A proxy is in the way of that app's stop."""
        self.waits_for_proxies |= {app}
        self.tell(Reason.WAITING_FOR_PROXY, message, now)

    def agreed(self, app: str, now: datetime) -> None:
        """No proxy is in the way of that app's stop any more, or it is no longer to be stopped."""
        if app not in self.waits_for_proxies:
            return
        self.waits_for_proxies -= {app}
        if not self.waits_for_proxies:
            self.tell(Reason.WAITING_FOR_PROXY, None, now)

    @property
    def name(self) -> str:
        return self.config.name

    def tell(self, reason: Reason, message: str | None, now: datetime) -> bool:
        """Set a condition, or clear it with None; True where that says something new."""
        before = self.conditions
        self.conditions = told(before, reason, message, now)
        if self.conditions is before:
            return False
        self.on_news(self.name)
        return True

    def listing_age(self, now: datetime) -> timedelta | None:
        """How long ago the last complete listing was asked for."""
        if self.last_complete_listing is None:
            return None
        return now - self.last_complete_listing
