"""When the use of an app is written down, and what a drain must be told. Pure.

Times are seconds of one monotonic clock of this process. A record's own time is only trusted where
it lies in the past: other machines' clocks may be wrong, and a wrong clock may delay a sleep but
never cause one.

* An app's use is newer than its record if a request is open, or began or ended since the record's
  time. Such use is due one access resolution after the record's time, so the record is hardly older
  than that while the app is in use, and there is one write per resolution whatever the traffic.
* Replicas see each other's writes, so whoever is due first writes for all. Each is late by a lot
  that it draws anew for every write: otherwise they would all be due at the same moment.
* While an app drains, use objects: it is due at once. A drain that an own write has met can not
  end in a stop any more, since the controller's next write carries the version from before.
* A request to A is also a use of everything A links to. The controller reads that from A's own
  record, so it is only written to a linked app that drains.
* A heartbeat may only tell a position for which every objection due up to it has been written.
"""

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from paastis.app import App, Phase

_NEVER = float("-inf")

LATEST = 0.2
"""Of an access resolution, how late a write may be for the sake of other replicas."""

_Drain = tuple[int, datetime | None]
"""What tells one drain from the next: other proxies' objections raise its version, too, and must
not make us object again."""


def _drain(app: App) -> _Drain | None:
    return (app.cycle, app.phase_since) if app.phase is Phase.DRAINING else None


class Ticket:
    """One open request. Closing it twice counts once."""

    __slots__ = ("apps", "open")

    def __init__(self, apps: tuple[str, ...]) -> None:
        self.apps = apps
        """The app itself, then those it links to, as they were when the request began."""
        self.open = True


@dataclass(slots=True)
class _Use:
    """One app's use, as this process sees it."""

    own: int = 0
    """Open requests for the app itself."""
    through: int = 0
    """Open requests for apps that link to it."""
    last: float = _NEVER
    """When it was last used for itself."""
    through_until: float = _NEVER
    """Until when a use through a link may be missing in the linking app's record."""
    record: App | None = None
    recorded: float = _NEVER
    """The time of the record's last access on our clock."""
    lot: float = 0.0
    """From 0 to 1, which of the replicas writes next."""
    writing: float | None = None
    """When the write on its way was begun."""
    retry_at: float = _NEVER
    failures: int = 0
    objected: "_Drain | None" = None
    """The drain that an own write has met."""

    def newer(self) -> bool:
        """Whether the app's own record is behind its use."""
        return self.own > 0 or self.last > self.recorded


class Access:
    """Counts open requests exactly and says what to write when."""

    def __init__(
        self,
        *,
        links: Callable[[str], Collection[str]],
        backoff: Callable[[int], float],
        lots: Callable[[], float],
    ) -> None:
        """`links` gives all apps that a record name links to; `backoff` seconds after n failures.

        `lots` draws a number from 0 to 1: 0 where there are no replicas.
        """
        self._links = links
        self._backoff = backoff
        self._lots = lots
        self._uses: dict[str, _Use] = {}
        self._timers: list[tuple[float, str]] = []
        self._scheduled: dict[str, float] = {}
        self._objections: dict[str, int] = {}
        self.open_requests = 0

    # --- use

    def begin(self, name: str, now: float) -> Ticket:
        """Count a request until `end`."""
        ticket = Ticket((name, *self._links(name)))
        self.open_requests += 1
        use = self._use(name)
        use.own += 1
        use.last = now
        self._object(name, use, now)
        self._plan(name, use, now)
        if len(ticket.apps) > 1:
            self._reach(ticket, +1, now)
        return ticket

    def end(self, ticket: Ticket, now: float) -> None:
        """The request is over, however it ended."""
        if not ticket.open:
            return
        ticket.open = False
        self.open_requests -= 1
        name = ticket.apps[0]
        use = self._use(name)
        use.own -= 1
        use.last = now
        self._plan(name, use, now)
        if len(ticket.apps) > 1:
            self._reach(ticket, -1, now)

    def _reach(self, ticket: Ticket, step: int, now: float) -> None:
        record = self._use(ticket.apps[0]).record
        resolution = 60.0 if record is None else record.policy.access_resolution.total_seconds()
        for linked in ticket.apps[1:]:
            use = self._use(linked)
            use.through += step
            use.through_until = now + resolution
            self._object(linked, use, now)

    def open_for(self, name: str) -> int:
        """Open requests for the app itself and through links."""
        use = self._uses.get(name)
        return 0 if use is None else use.own + use.through

    # --- what the registry shows

    def observe(self, app: App, *, now: float, wall: datetime) -> None:
        """Learn a record, from the feed or a write's answer. Older versions are ignored."""
        value = app.last_access_time
        age = 0.0 if value is None else max(0.0, (wall - value).total_seconds())
        self._learn(app, now=now, recorded=now - age)

    def _learn(self, app: App, *, now: float, recorded: float) -> None:
        use = self._use(app.name)
        known = use.record
        if known is not None and known.version > app.version:
            return
        use.record = app
        value = app.last_access_time
        if value is not None and (known is None or known.last_access_time != value):
            use.recorded = max(use.recorded, recorded)
            use.lot = self._lots()
        if app.phase is Phase.DRAINING:
            self._object(app.name, use, now)
        else:
            self._objections.pop(app.name, None)
        self._plan(app.name, use, now)

    def forget(self, name: str) -> None:
        """The record was removed. Open requests keep being counted."""
        self._objections.pop(name, None)
        self._scheduled.pop(name, None)
        use = self._uses.get(name)
        if use is None:
            return
        use.record = None
        if not use.own and not use.through:
            del self._uses[name]

    def _object(self, name: str, use: _Use, now: float) -> None:
        """A drain that our use contradicts must hear of it before a heartbeat passes it."""
        record = use.record
        if record is None or record.phase is not Phase.DRAINING or use.objected == _drain(record):
            return
        used = use.newer() or use.through > 0 or use.through_until >= now
        if used:
            self._objections[name] = record.version
            self._plan(name, use, now)

    def may_pass_drain(self, name: str) -> bool:
        """Whether an own write has met the drain that the app's record shows."""
        use = self._uses.get(name)
        return (
            use is not None
            and use.record is not None
            and use.objected is not None
            and use.objected == _drain(use.record)
        )

    def safe_position(self, position: int) -> int:
        """How far a heartbeat may say we have read, having read up to `position`."""
        return min([position, *(version - 1 for version in self._objections.values())])

    @property
    def objections(self) -> int:
        """Drains that have not heard yet that we use the app."""
        return len(self._objections)

    # --- writes

    def next_due(self) -> float | None:
        """When `due` may next have something; None: not before something happens."""
        while self._timers:
            at, name = self._timers[0]
            if self._scheduled.get(name) == at:
                return at
            heapq.heappop(self._timers)
        return None

    def due(self, now: float) -> list[str]:
        """The apps whose access is to be written now. Their writes count as begun."""
        found = []
        while (at := self.next_due()) is not None and at <= now:
            _, name = heapq.heappop(self._timers)
            del self._scheduled[name]
            use = self._uses.get(name)
            if use is None or use.writing is not None:
                continue
            # The timer may be from before a write that has come back since.
            if (due := self._due_at(name, use)) is not None and due <= now:
                use.writing = now
                found.append(name)
            else:
                self._plan(name, use, now)
        return found

    def unwritten(self) -> list[str]:
        """Every app whose record is behind its use, for a flush when no write is on its way."""
        return [name for name, use in self._uses.items() if self._wanted(name, use)]

    def is_writing(self, name: str) -> bool:
        """Whether a write of this app's access is on its way."""
        use = self._uses.get(name)
        return use is not None and use.writing is not None

    def begin_write(self, name: str, now: float) -> None:
        """A write of this app's access starts; it covers all use up to now."""
        self._use(name).writing = now

    def end_write(self, name: str, record: App | None, now: float) -> None:
        """The write is back, with the record as it is after it; None: it failed."""
        use = self._use(name)
        begun, use.writing = use.writing, None
        if record is None:
            use.failures += 1
            use.retry_at = now + self._backoff(use.failures)
        else:
            use.failures = 0
            use.retry_at = _NEVER
            # One that was begun before the drain may have gone before it: then it met nothing.
            if record.version > self._objections.get(name, 0):
                self._objections.pop(name, None)
                use.objected = _drain(record) or use.objected
            self._learn(record, now=now, recorded=now if begun is None else begun)
        self._plan(name, use, now)

    def _wanted(self, name: str, use: _Use) -> bool:
        return use.record is not None and (name in self._objections or use.newer())

    def _due_at(self, name: str, use: _Use) -> float | None:
        """When the app's next write is due; None: there is nothing to write."""
        if use.record is None or not self._wanted(name, use):
            return None
        if name in self._objections:
            return use.retry_at
        resolution = use.record.policy.access_resolution.total_seconds()
        return max(use.recorded + resolution * (1 + LATEST * use.lot), use.retry_at)

    def _plan(self, name: str, use: _Use, now: float) -> None:
        """Set the app's timer to when its next write is due, if it is not set earlier."""
        due = None if use.writing is not None else self._due_at(name, use)
        if due is None:
            return
        at = max(now, due)
        planned = self._scheduled.get(name)
        if planned is None or at < planned:
            self._scheduled[name] = at
            heapq.heappush(self._timers, (at, name))

    def _use(self, name: str) -> _Use:
        use = self._uses.get(name)
        if use is None:
            use = self._uses[name] = _Use()
        return use
