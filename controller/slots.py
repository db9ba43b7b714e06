"""How many stops and starts an account may have on their way at a time, and who waits for a place.

Stops hold all places but one at most, so that a start never waits behind a row of stops. Announced
stops have places of their own: an app that drains costs its visitors a detour, so only as many are
announced as can soon be carried out.

A place follows the record: it is held while an operation is open, whoever sent it. Those who wait
are told when they may try again, as many as there is room for, so that ten thousand who wait cost
no more than ten; whoever does not want the place any more passes it on (`pass_on`).
"""

from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING

from paastis.app import OperationKind

if TYPE_CHECKING:
    from collections.abc import Callable

DRAINS = 10
"""Stops announced at a time."""

_WOKEN_AT_ONCE = 2 * DRAINS
"""How many of those that wait to drain are told of a free place; most want it."""


class _Rank(IntEnum):
    """Who goes first."""

    VISITOR = 0
    START = 1
    STOP = 2


class Slots:
    """The places of one account. `on_free` is told who may try again; set it before use."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: dict[str, OperationKind] = {}
        self._waiting: dict[_Rank, dict[str, None]] = {rank: {} for rank in _Rank}
        self._draining: set[str] = set()
        self._waiting_to_drain: dict[str, None] = {}
        self.on_free: Callable[[str], None] = lambda _name: None

    def resize(self, places: int) -> None:
        """The account bears another number of operations now."""
        self._places = places
        self.pass_on()

    def claim(self, name: str, kind: OperationKind, *, visitor: bool = False) -> bool:
        """Take a place, or be told when one is free: before all others where a visitor waits."""
        if name in self._held:
            self._held[name] = kind
            return True
        if not self._room(kind):
            rank = _Rank.VISITOR if visitor else _Rank.START
            self._wait(name, rank if kind is OperationKind.START else _Rank.STOP)
            return False
        self._leave_waiting(name)
        self._held[name] = kind
        return True

    def may_stop(self, name: str) -> bool:
        """Whether a stop could take a place now; otherwise it is told when it can."""
        if name in self._held or self._room(OperationKind.STOP):
            return True
        self._wait(name, _Rank.STOP)
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
            self.pass_on()
        if draining:
            self._draining.add(name)
        elif name in self._draining:
            self._draining.discard(name)
            self._tell_waiting_to_drain()

    def pass_on(self) -> None:
        """Tell those who are next of the places that are free, if any are."""
        left = self._places - len(self._held)
        for rank, waiting in self._waiting.items():
            kind = OperationKind.STOP if rank is _Rank.STOP else OperationKind.START
            if left <= 0 or not waiting or not self._room(kind):
                continue
            told = list(islice(waiting, left))
            left -= len(told)
            for name in told:
                del waiting[name]
                self.on_free(name)

    def leave_queue(self, name: str) -> None:
        """It is decided anew about that app: it waits only if it still wants a place."""
        self._leave_waiting(name)
        self._waiting_to_drain.pop(name, None)

    def waiting(self) -> tuple[str, ...]:
        """All who wait for any place, who goes first being first."""
        return (*(name for rank in _Rank for name in self._waiting[rank]), *self._waiting_to_drain)

    def awaits(self, name: str) -> bool:
        """Whether that app waits for a place."""
        return name in self._waiting_to_drain or any(name in it for it in self._waiting.values())

    def holds(self, name: str) -> bool:
        """Whether that app has a place for an operation."""
        return name in self._held

    def _wait(self, name: str, rank: _Rank) -> None:
        for other, waiting in self._waiting.items():
            if other is not rank:
                waiting.pop(name, None)
        self._waiting[rank][name] = None

    def _leave_waiting(self, name: str) -> None:
        for waiting in self._waiting.values():
            waiting.pop(name, None)

    def _room(self, kind: OperationKind) -> bool:
        if len(self._held) >= self._places:
            return False
        stops = sum(held is OperationKind.STOP for held in self._held.values())
        return kind is OperationKind.START or stops < max(1, self._places - 1)

    def _tell_waiting_to_drain(self) -> None:
        for name in list(self._waiting_to_drain)[:_WOKEN_AT_ONCE]:
            del self._waiting_to_drain[name]
            self.on_free(name)
