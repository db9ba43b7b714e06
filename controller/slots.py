"""How many stops and starts an account may have on their way at a time, and who waits for a place.

Stops hold all places but one at most, so that a start never waits behind a row of stops. Announced
stops have places of their own: an app that drains costs its visitors a detour, so only as many are
announced as can soon be carried out.

A place follows the record: it is held while an operation is open, whoever sent it.
"""

from typing import TYPE_CHECKING

from paastis.app import OperationKind

if TYPE_CHECKING:
    from collections.abc import Callable

DRAINS = 10
"""Stops announced at a time."""

_WOKEN_AT_ONCE = 2 * DRAINS
"""How many of those that wait to drain are told of a free place; most want it."""


class Slots:
    """The places of one account. `on_free` is told who may try again; set it before use."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: dict[str, OperationKind] = {}
        self._waiting: dict[str, OperationKind] = {}
        self._draining: set[str] = set()
        self._waiting_to_drain: dict[str, None] = {}
        self.on_free: Callable[[str], None] = lambda _name: None

    def claim(self, name: str, kind: OperationKind) -> bool:
        """Take a place, or be told when one is free."""
        if name in self._held:
            self._held[name] = kind
            return True
        if not self._room(kind):
            self._waiting[name] = kind
            return False
        self._waiting.pop(name, None)
        self._held[name] = kind
        return True

    def may_stop(self, name: str) -> bool:
        """Whether a stop could take a place now; otherwise it is told when it can."""
        if name in self._held or self._room(OperationKind.STOP):
            return True
        self._waiting[name] = OperationKind.STOP
        return False

    def claim_drain(self, name: str) -> bool:
        """Take a place among the announced stops, or be told when one is free."""
        if name not in self._draining and len(self._draining) >= DRAINS:
            self._waiting_to_drain[name] = None
            return False
        self._waiting_to_drain.pop(name, None)
        self._draining.add(name)
        return True

    def follow(self, name: str, operation: OperationKind | None, *, draining: bool) -> None:
        """Bring the places in line with the record: `operation` is the open one.

        One that is on its way counts even beyond the number of places.
        """
        if operation is not None:
            self._held[name] = operation
        elif self._held.pop(name, None) is not None:
            self._tell_waiting()
        if draining:
            self._draining.add(name)
        elif name in self._draining:
            self._draining.discard(name)
            self._tell_waiting_to_drain()

    def leave_queue(self, name: str) -> None:
        """It is decided anew about that app: it waits only if it still wants a place."""
        self._waiting.pop(name, None)
        self._waiting_to_drain.pop(name, None)

    def waiting(self) -> tuple[str, ...]:
        """All who wait for any place."""
        return (*self._waiting, *self._waiting_to_drain)

    def awaits(self, name: str) -> bool:
        """Whether that app waits for a place."""
        return name in self._waiting or name in self._waiting_to_drain

    def holds(self, name: str) -> bool:
        """Whether that app has a place for an operation."""
        return name in self._held

    def _room(self, kind: OperationKind) -> bool:
        if len(self._held) >= self._places:
            return False
        stops = sum(held is OperationKind.STOP for held in self._held.values())
        return kind is OperationKind.START or stops < max(1, self._places - 1)

    def _tell_waiting(self) -> None:
        """Everybody who waits, starts first: who still wants the place claims it again."""
        waiting, self._waiting = self._waiting, {}
        for name in sorted(waiting, key=lambda name: waiting[name] is OperationKind.STOP):
            self.on_free(name)

    def _tell_waiting_to_drain(self) -> None:
        for name in list(self._waiting_to_drain)[:_WOKEN_AT_ONCE]:
            del self._waiting_to_drain[name]
            self.on_free(name)
