"""How many operations an account may have on their way at a time, and who waits for a place.

Stops hold all places but one at most, so that a start never waits behind a row of stops.
"""

from paastis.app import OperationKind


class Slots:
    """The places of one account. A place is held from before the call until its operation ended."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._held: dict[str, OperationKind] = {}
        self._waiting: dict[str, None] = {}

    def claim(self, name: str, kind: OperationKind) -> bool:
        """Take a place, or be told by `release` when one is free. Starts go first."""
        if name in self._held:
            return True
        stops = sum(held is OperationKind.STOP for held in self._held.values())
        most_stops = max(1, self._places - 1)
        full = len(self._held) >= self._places
        if full or (kind is OperationKind.STOP and stops >= most_stops):
            self._waiting[name] = None
            return False
        self._waiting.pop(name, None)
        self._held[name] = kind
        return True

    def adopt(self, name: str, kind: OperationKind) -> None:
        """Count an operation that is on its way already, even beyond the number of places."""
        self._held[name] = kind

    def release(self, name: str) -> tuple[str, ...]:
        """Give the place back; returns those who wait, longest first."""
        if self._held.pop(name, None) is None:
            return ()
        waiting = tuple(self._waiting)
        self._waiting.clear()
        return waiting

    def awaits(self, name: str) -> bool:
        """Whether that app waits for a place."""
        return name in self._waiting

    def holds(self, name: str) -> bool:
        """Whether that app has a place."""
        return name in self._held
