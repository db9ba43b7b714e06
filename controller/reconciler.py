"""Decides for each app when it is due, and acts.

A heap of due times: the loop sleeps until the earliest, or until an event. Nothing is polled. One
app has one action at a time; actions of different apps run side by side, within bounds.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from controller.account import Account
from controller.choosing import Choosing
from controller.slices import SLICE
from controller.tools import Step, Tools
from paastis.app import App, Phase
from paastis.decide import Action, Situation, decide, unmanaged_reason
from paastis.errors import Conflict, RegistryError, UnknownApp

log = logging.getLogger(__name__)

ACTIONS_AT_A_TIME = 50
"""Beyond that many only starts begin: they have places of their own, and visitors wait."""

DECISIONS_AT_A_TIME = 200
"""Then everybody else in this process has a turn; or sooner, after 10 ms of decisions."""

AFTER_NOTHING = timedelta(seconds=1)
"""After an action that changed nothing, unless something happens before."""

AFTER_CONFLICT = timedelta(milliseconds=50)
AFTER_REGISTRY_FAULT = timedelta(seconds=1)
AFTER_SURPRISE = timedelta(seconds=30)
"""How long an app is left alone after a fault of our own."""

LONGEST_SLEEP = timedelta(hours=1)
"""A look at the heap at least that often, in case the wall clock was set."""

ACTION_TIMEOUT = timedelta(minutes=10)
"""Longest hooks included; a hung action must not block its app for ever."""

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class Reconciler:
    """The due-time heap."""

    def __init__(
        self,
        tools: Tools,
        choosing: Choosing,
        accounts: Mapping[str, Account],
        *,
        on_operation: Callable[[str], None],
        on_outdated: Callable[[str], None],
        on_fault: Callable[[str], None],
    ) -> None:
        self._tools = tools
        self._choosing = choosing
        self._accounts = accounts
        self._on_operation = on_operation
        self._on_outdated = on_outdated
        self._on_fault = on_fault
        self._heap: list[tuple[datetime, int, str]] = []
        self._due: dict[str, datetime] = {}
        self._count = itertools.count()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._held_back: dict[str, None] = {}
        self._woken = asyncio.Event()
        self.turned_at: datetime | None = None
        """When the loop last turned; a sign of life."""

    def touch(self, name: str, at: datetime | None = None) -> None:
        """Decide about an app at that time, or now; an earlier date stands."""
        due = at if at is not None else self._tools.now()
        before = self._due.get(name)
        if before is not None and before <= due:
            if at is None:
                self._woken.set()  # due already; the loop sleeps on if the clock was set forward
            return
        self._due[name] = due
        heapq.heappush(self._heap, (due, next(self._count), name))
        self._woken.set()

    def look_at_clock(self) -> None:
        """Take what is due: timers don't notice when the clock is set, or the machine slept."""
        self._woken.set()
        for account in self._accounts.values():
            for name in account.slots.waiting():
                self.touch(name)

    def hurry(self, name: str) -> None:
        """Decide about an app before all others: somebody waits."""
        self.touch(name, _BEFORE_ALL)

    @property
    def backlog(self) -> int:
        """Apps whose time has come or that are being acted on."""
        now = self._tools.now()
        return len(self._busy) + sum(due <= now for due in self._due.values())

    def situation(self, app: App) -> Situation:
        """What a decision about this app looks at now."""
        return self._tools.knowledge.situation(
            app, self._tools.records.all(), account_known=app.identity.account in self._accounts
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Turn until told to stop; actions under way may finish their step."""
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(_set_when(stop, self._woken))
            while not stop.is_set():
                self._woken.clear()
                self.turned_at = self._tools.now()
                self._tools.metrics.turn("reconciler")
                self._decide(self.turned_at, group)
                await self._sleep()
            stopping.cancel()

    def _decide(self, now: datetime, group: asyncio.TaskGroup) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + SLICE
        for name in self._take_due(now):
            self._turn(name, group)
            if clock() >= until:
                return  # the others stay on the heap

    async def _sleep(self) -> None:
        wait = LONGEST_SLEEP
        if self._heap:
            wait = min(wait, self._heap[0][0] - self._tools.now())
        if wait > timedelta(0):
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._woken.wait()
            except TimeoutError:
                return
        else:
            await asyncio.sleep(0)  # a turn for everybody else before the next one of ours

    def _take_due(self, now: datetime) -> Iterator[str]:
        """Those that are due, one by one: whoever is not asked for stays on the heap."""
        taken = 0
        while self._heap and self._heap[0][0] <= now and taken < DECISIONS_AT_A_TIME:
            due, _, name = heapq.heappop(self._heap)
            if self._due.get(name) != due:
                continue  # it was rescheduled
            del self._due[name]
            if due is not _BEFORE_ALL:
                self._tools.metrics.reconciler_lag.set((now - due).total_seconds())
            if name in self._busy:
                self._again.add(name)
            else:
                taken += 1
                yield name

    def _turn(self, name: str, group: asyncio.TaskGroup) -> None:
        if self._tools.records.unfinished(name):
            return  # whoever creates it says when it is there
        record = self._tools.records.get(name)
        if record is None:
            self._forget(name)
            return
        # Decided is by the policy that holds now: what the record shows may be older.
        app = self._tools.in_force(record)
        if app is not record:
            self._on_outdated(name)
        now = self._tools.now()
        account = self._accounts.get(app.identity.account)
        self._settle_places(app, account, now)
        if account is not None:
            account.slots.leave_queue(name)
        situation = self.situation(app)
        decision = decide(situation, now)
        if decision.look_again_at is not None:
            self.touch(name, max(decision.look_again_at, now))
        chosen = self._choosing.choose(app, record, account, decision, unmanaged_reason(situation))
        if chosen.again_at is not None:
            self.touch(name, chosen.again_at)
        step = chosen.step
        if account is not None:
            account.slots.pass_on()
        if step is None:
            self._resume()
            return
        urgent = decision.action is Action.START or app.wake_asked
        if not urgent and len(self._busy) >= ACTIONS_AT_A_TIME:
            # Nobody waits for it, and it must not be in the way of those for whom somebody does.
            self._held_back[name] = None
            return
        self._busy.add(name)
        group.create_task(self._carry_out(name, app.version, step))

    def _forget(self, name: str) -> None:
        for account in self._accounts.values():
            account.slots.follow(name, None, draining=False)
            account.agreed(name, self._tools.now())

    def _settle_places(self, app: App, account: Account | None, now: datetime) -> None:
        """Places, and who waits for what, follow the record, whoever wrote it."""
        if account is None:
            return
        operation = app.open_operation
        draining = app.phase is Phase.DRAINING
        account.slots.follow(app.name, operation.kind if operation else None, draining=draining)
        if not draining:
            account.agreed(app.name, now)
        if operation is not None:
            self._on_operation(account.name)

    async def _carry_out(self, name: str, version: int, step: Step) -> None:
        again: timedelta | None = None
        try:
            async with asyncio.timeout(ACTION_TIMEOUT.total_seconds()):
                await step()
        except Conflict:
            again = AFTER_CONFLICT
        except UnknownApp:
            pass
        except RegistryError as error:
            log.warning("registry", extra={"app": name, "error": str(error)})
            again = AFTER_REGISTRY_FAULT
        except Exception:
            log.exception("unexpected fault", extra={"app": name})
            self._on_fault("reconciler")
            again = AFTER_SURPRISE
        finally:
            self._busy.discard(name)
            self._woken.set()
        self._after(name, version, again)
        self._resume()

    def _resume(self) -> None:
        """There may be room for one of those held back; one that wants nothing calls the next."""
        if self._held_back and len(self._busy) < ACTIONS_AT_A_TIME:
            name = next(iter(self._held_back))
            del self._held_back[name]
            self.touch(name)

    def _after(self, name: str, version: int, again: timedelta | None) -> None:
        """When to decide about the app again."""
        app = self._tools.records.get(name)
        if app is None:
            self._forget(name)
            return
        now = self._tools.now()
        account = self._accounts.get(app.identity.account)
        self._settle_places(app, account, now)
        if name in self._again:
            # Something happened meanwhile. That is no reason to repeat at once what has failed.
            self._again.discard(name)
            again = again or timedelta(0)
        elif again is None and app.version == version:
            if account is not None and account.slots.awaits(name):
                return  # a freed place brings it back
            again = self._pause_after_nothing(name, now)
        self.touch(name, now + again if again is not None else None)

    def _pause_after_nothing(self, name: str, now: datetime) -> timedelta:
        known = self._tools.knowledge.of(name)
        pauses = [known.paused_until, known.start_not_before]
        ends = [pause for pause in pauses if pause is not None and pause > now]
        return min(ends) - now if ends else AFTER_NOTHING


async def _set_when(event: asyncio.Event, other: asyncio.Event) -> None:
    await event.wait()
    other.set()
