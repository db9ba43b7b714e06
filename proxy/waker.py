"""Who waits for which app, and when they may go on. Pure: it is told and it tells.

It is told of records (`observe`), of the ends of what it started (`asked`, `probed`) and of time
(`tick`, at the times that `next_due` names). It tells by callbacks: `ask` a wake for a cycle,
`probe` an app's front, a visitor's `on_ready` and `on_fail`. Callbacks must not call back into it;
times are seconds of one monotonic clock.

A wake is asked for once per app and cycle; again when the cycle moved on, or the record shows
another cycle asked for, while visitors still wait: another proxy's late write may have put an old
number over ours. Linked apps that are not awake are asked for too, and nobody waits for them.
"""

import heapq
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from paastis.app import App, Phase
from paastis.policy import Mode, Power
from paastis.reasons import Reason

_NEVER = float("-inf")
_UP = (Phase.AWAKE, Phase.DRAINING, Phase.UNMANAGED)
_EAGER = 0.1
"""Seconds between probes until twice the usual boot time."""
_PATIENT = 1.0
"""Seconds between probes after that."""
_USUAL_BOOT = 10.0
"""Seconds a boot is taken to last where nothing is known."""
_AWAKE_PATIENCE = 5.0
"""Seconds of failing probes of an awake app after which visitors go on all the same."""


class Full(Exception):
    """As many visitors wait as may."""


class Outside(Protocol):
    """What the waker makes happen."""

    def ask(self, name: str, cycle: int) -> None:
        """Write the wish to end this cycle; answer by `asked`."""

    def probe(self, name: str) -> None:
        """Try the app's front; answer by `probed`."""


@dataclass(slots=True, eq=False)
class _Visitor:
    deadline: float
    on_ready: Callable[[], None]
    on_fail: Callable[[Reason], None]
    beyond: int | None
    """Only goes on when the cycle has passed this one: the origin looked stopped in it."""

    def doubts(self, cycle: int) -> bool:
        """Whether this very cycle's "awake" is what the visitor does not believe."""
        return self.beyond is not None and self.beyond >= cycle


@dataclass(slots=True)
class _Wait:
    """One app that somebody waits for, or has just waited for."""

    visitors: dict[int, _Visitor] = field(default_factory=dict)
    asked: int | None = None
    """The cycle that we asked to end."""
    asked_version: int | None = None
    """Version of the record that the answer showed; None: still on its way."""
    ask_at: float = _NEVER
    failures: int = 0
    probing: tuple[Phase, int] | None = None
    """The phase and cycle in which the probe on its way was begun."""
    probe_at: float = _NEVER
    watched: tuple[Phase, int] | None = None
    watched_since: float = _NEVER
    ready_cycle: int | None = None
    """The cycle whose start answered a probe."""
    ready_at: float = _NEVER


class Waker:
    """All waiting visitors of this process."""

    def __init__(
        self,
        outside: Outside,
        *,
        links: Callable[[str], Collection[str]],
        backoff: Callable[[int], float],
        per_app: int,
        total: int,
    ) -> None:
        self._outside = outside
        self._links = links
        self._backoff = backoff
        self._per_app = per_app
        self._total = total
        self._apps: dict[str, App] = {}
        self._waits: dict[str, _Wait] = {}
        self._numbers = itertools.count()
        self._deadlines: list[tuple[float, str, int]] = []
        self._busy: set[str] = set()
        """Apps with something to do at a later time: probes, asking again."""
        self.waiting = 0

    # --- visitors

    def wait(
        self,
        name: str,
        deadline: float,
        on_ready: Callable[[], None],
        on_fail: Callable[[Reason], None],
        *,
        now: float,
        beyond: int | None = None,
    ) -> Callable[[], None]:
        """Wait for an app; exactly one of the callbacks comes, unless the result is called first.

        It may come before this returns. `beyond`: this cycle's app looked stopped from outside,
        wait until the cycle has passed it. Raises `Full`.
        """
        wait = self._waits.setdefault(name, _Wait())
        if self.waiting >= self._total or len(wait.visitors) >= self._per_app:
            raise Full
        number = next(self._numbers)
        wait.visitors[number] = _Visitor(deadline, on_ready, on_fail, beyond)
        self.waiting += 1
        heapq.heappush(self._deadlines, (deadline, name, number))
        self._consider(name, now)
        self._ask_links(name, now)

        def cancel() -> None:
            if wait.visitors.pop(number, None) is not None:
                self.waiting -= 1

        return cancel

    def wish(self, name: str, *, now: float) -> None:
        """Ask for the wake as a visitor would who does not wait here."""
        app = self._apps.get(name)
        if app is not None and app.phase not in _UP:
            self._ask(app, self._waits.setdefault(name, _Wait()), now)
        self._ask_links(name, now)

    def report(self, name: str, *, now: float) -> None:
        """Tell the controller that the app looks stopped although its record says awake."""
        app = self._apps.get(name)
        if app is not None and app.phase is not Phase.UNMANAGED:
            self._ask(app, self._waits.setdefault(name, _Wait()), now)

    def wish_links(self, name: str, *, now: float) -> None:
        """Ask for the wake of every linked app that is not awake."""
        self._ask_links(name, now)

    def fail_all(self, reason: Reason) -> None:
        """Answer everybody who waits."""
        for name in list(self._waits):
            self._fail(name, reason)

    def held(self, name: str) -> int:
        """How many wait for this app."""
        wait = self._waits.get(name)
        return 0 if wait is None else len(wait.visitors)

    def is_ready(self, app: App) -> bool:
        """Whether the app's front answered a probe in the start that the record shows."""
        wait = self._waits.get(app.name)
        return wait is not None and app.phase is Phase.STARTING and wait.ready_cycle == app.cycle

    def ready_since(self, name: str) -> float | None:
        """When the app's front last became ready after a wake."""
        wait = self._waits.get(name)
        return None if wait is None or wait.ready_at == _NEVER else wait.ready_at

    # --- what is learnt

    def observe(self, app: App, *, now: float) -> None:
        """Learn a record, from the feed or a write's answer. Older versions are ignored."""
        known = self._apps.get(app.name)
        if known is not None and known.version > app.version:
            return
        self._apps[app.name] = app
        wait = self._waits.get(app.name)
        if wait is None:
            return
        failed_now = app.phase is Phase.FAILED and (
            known is None or known.phase is not Phase.FAILED or known.cycle != app.cycle
        )
        if failed_now:
            self._fail(app.name, app.phase_reason)
        self._consider(app.name, now)

    def forget(self, name: str) -> None:
        """The record was removed."""
        self._apps.pop(name, None)
        if name in self._waits:
            self._fail(name, Reason.DELETED)
            del self._waits[name]
        self._busy.discard(name)

    def asked(self, name: str, cycle: int, record: App | None, *, now: float) -> None:
        """The wish was written, with the record as it is after it; None: it could not be."""
        wait = self._waits.get(name)
        if wait is not None and wait.asked == cycle:
            if record is None:
                wait.asked = None
                wait.failures += 1
                wait.ask_at = now + self._backoff(wait.failures)
            else:
                wait.failures = 0
                wait.asked_version = record.version
        if record is not None:
            self.observe(record, now=now)
        self._consider(name, now)

    def probed(self, name: str, *, ok: bool, now: float) -> None:
        """A probe ended."""
        wait = self._waits.get(name)
        if wait is None:
            return
        begun, wait.probing = wait.probing, None
        app = self._apps.get(name)
        if app is None or begun is None:
            return
        # An answer from an earlier life of the app proves nothing.
        same = begun == (app.phase, app.cycle)
        next_step = begun[0] is Phase.STARTING and app.phase is Phase.AWAKE
        if ok and (same or (next_step and app.cycle == begun[1] + 1)):
            wait.ready_cycle = app.cycle
            wait.ready_at = now
            self._release(wait, app)
            return
        eager_for = 2 * (_USUAL_BOOT if app.usual_boot is None else app.usual_boot.total_seconds())
        wait.probe_at = now + (_EAGER if now - wait.watched_since < eager_for else _PATIENT)
        self._consider(name, now)

    # --- time

    def next_due(self) -> float | None:
        """When `tick` has something to do; None: not before something happens."""
        while self._deadlines:
            _, name, number = self._deadlines[0]
            wait = self._waits.get(name)
            if wait is not None and number in wait.visitors:
                break
            heapq.heappop(self._deadlines)
        times = [self._deadlines[0][0]] if self._deadlines else []
        for name in self._busy:
            wait = self._waits[name]
            times += [at for at in (wait.ask_at, wait.probe_at) if at != _NEVER]
            if wait.watched is not None and wait.watched[0] in (Phase.AWAKE, Phase.DRAINING):
                times.append(wait.watched_since + _AWAKE_PATIENCE)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Do what is due."""
        while self._deadlines and self._deadlines[0][0] <= now:
            _, name, number = heapq.heappop(self._deadlines)
            wait = self._waits.get(name)
            visitor = None if wait is None else wait.visitors.pop(number, None)
            if visitor is not None:
                self.waiting -= 1
                visitor.on_fail(Reason.WAKE_TIMED_OUT)
        for name in list(self._busy):
            self._consider(name, now)

    # --- inside

    def _consider(self, name: str, now: float) -> None:
        """Do for the app's visitors what its record allows now, and note what comes later."""
        wait = self._waits.get(name)
        app = self._apps.get(name)
        self._busy.discard(name)
        if wait is None or app is None or not wait.visitors:
            return
        if wait.watched != (app.phase, app.cycle):
            wait.watched = (app.phase, app.cycle)
            wait.watched_since = now
            wait.probe_at = _NEVER
        match app.phase:
            case Phase.GONE:
                self._fail(name, Reason.DELETED)
            case Phase.UNMANAGED:
                self._release(wait, app)
            case _ if app.policy.power is Power.ALWAYS_OFF:
                self._fail(name, Reason.ALWAYS_OFF)
            case Phase.AWAKE | Phase.DRAINING:
                self._consider_awake(app, wait, now)
            case Phase.STARTING if wait.ready_cycle == app.cycle:
                self._release(wait, app)
            case _:
                self._ask(app, wait, now)
                if app.phase is Phase.STARTING and app.wake_asked:
                    self._probe(app, wait, now)

    def _consider_awake(self, app: App, wait: _Wait, now: float) -> None:
        if any(visitor.doubts(app.cycle) for visitor in wait.visitors.values()):
            self._ask(app, wait, now)
        # Whoever doubted the cycle before has his answer: the inspection found the app running.
        self._release(wait, app, only=lambda visitor: visitor.beyond == app.cycle - 1)
        if all(visitor.doubts(app.cycle) for visitor in wait.visitors.values()):
            return
        answered = wait.ready_cycle in (app.cycle, app.cycle - 1)
        if answered or now >= wait.watched_since + _AWAKE_PATIENCE:
            self._release(wait, app)
        else:
            self._probe(app, wait, now)

    def _ask(self, app: App, wait: _Wait, now: float) -> None:
        """Ask for the end of the app's cycle, unless that is done or the record shows it."""
        if app.policy.power is Power.ALWAYS_OFF or app.phase in (Phase.GONE, Phase.UNMANAGED):
            return
        if app.policy.mode is Mode.OBSERVE and app.phase not in (Phase.AWAKE, Phase.STARTING):
            return
        if wait.asked == app.cycle:
            if wait.asked_version is None:
                return  # on its way
            overwritten = app.version > wait.asked_version and not app.wake_asked
            if not overwritten:
                return
        elif app.wake_asked:
            return
        if now < wait.ask_at:
            if wait.visitors:
                self._busy.add(app.name)
            return
        wait.asked, wait.asked_version, wait.ask_at = app.cycle, None, _NEVER
        self._outside.ask(app.name, app.cycle)

    def _ask_links(self, name: str, now: float) -> None:
        for linked in self._links(name):
            app = self._apps.get(linked)
            if app is not None and app.phase in (Phase.ASLEEP, Phase.STOPPING, Phase.FAILED):
                self._ask(app, self._waits.setdefault(linked, _Wait()), now)

    def _probe(self, app: App, wait: _Wait, now: float) -> None:
        self._busy.add(app.name)
        if wait.probing is not None or now < wait.probe_at:
            return
        wait.probing = (app.phase, app.cycle)
        wait.probe_at = _NEVER
        self._outside.probe(app.name)

    def _release(
        self, wait: _Wait, app: App, *, only: Callable[[_Visitor], bool] | None = None
    ) -> None:
        if only is None:
            self._busy.discard(app.name)
        for number, visitor in list(wait.visitors.items()):
            if app.phase in (Phase.AWAKE, Phase.DRAINING) and visitor.doubts(app.cycle):
                continue
            if (only is None or only(visitor)) and wait.visitors.pop(number, None) is not None:
                self.waiting -= 1
                visitor.on_ready()

    def _fail(self, name: str, reason: Reason) -> None:
        self._busy.discard(name)
        wait = self._waits[name]
        while wait.visitors:
            _, visitor = wait.visitors.popitem()
            self.waiting -= 1
            visitor.on_fail(reason)
