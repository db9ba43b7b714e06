"""How the pretend platform's containers boot, stop and crash, and how an operation follows them.

An operation is `pending` for a moment, then `running` while containers boot and stop, then `done` or
`error`. Containers that are replaced serve until their successors run. A container that is told to
stop loses its connections at once, as a program without a signal handler does, and stays listed for
its stop time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from paastis.simulate.app import FOREVER, App, Container, Event, Operation

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping

    from paastis.simulate.app import OperationKind, ProcessType
    from paastis.simulate.clock import Clock

_EVENTS_KEPT = 1000
_OPERATIONS_KEPT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSettings:
    """How the platform behaves where an app does not say otherwise."""

    boot_time: timedelta = timedelta(seconds=3)
    stop_time: timedelta = timedelta(seconds=1)
    pending_time: timedelta = timedelta(milliseconds=100)
    """How long an operation is `pending`."""
    crash_limit: int = 12
    """After more crashes in a row than this, containers are given up."""
    steady_time: timedelta = timedelta(seconds=60)
    """A container that ran this long starts a new count of crashes."""
    stop_lingers: bool = False
    """An operation is `done` while containers that it stopped are still listed."""
    operation_quota: int = 0
    """Operations beyond this many at one time fail after they were accepted; 0 is no limit."""


class Fleet:
    """The containers of all apps, and the operations that change them."""

    def __init__(self, *, clock: Clock, rng: random.Random, settings: WorldSettings) -> None:
        self.clock = clock
        self.settings = settings
        self._rng = rng

    def new_id(self) -> str:
        """24 hexadecimal digits, the same in every run with the same seed."""
        return f"{self._rng.getrandbits(96):024x}"

    def note(self, app: App, kind: str, by: str, data: Mapping[str, object]) -> None:
        """Write into the app's history."""
        app.updated_at = self.clock.now()
        app.events.append(Event(self.new_id(), app.updated_at, kind, by, data))
        del app.events[:-_EVENTS_KEPT]

    # --- containers ------------------------------------------------------------------------

    def create(self, app: App, places: Iterable[tuple[ProcessType, int]]) -> list[Container]:
        """List containers for these places of the formation; they don't boot yet."""
        created = []
        for process, index in places:
            place = (process.name, index)
            app.boots[place] += 1
            container = Container(
                id=self.new_id(),
                type=process.name,
                index=index,
                size=process.size,
                created_at=self.clock.now(),
                boot=app.boots[place],
            )
            app.containers.append(container)
            created.append(container)
        return created

    def crash(self, app: App, container: Container) -> None:
        """A container's program dies: its connections break, and the platform boots it again."""
        since, now = container.running_since, self.clock.now()
        if since is not None and now - since >= self.settings.steady_time:
            app.crashes_in_a_row = 0
        app.crashes_in_a_row += 1
        self.silence(container)
        self.note(app, "crash", "platform", {"container_type": container.label})
        if app.crashes_in_a_row <= self.settings.crash_limit:
            place = (container.type, container.index)
            app.boots[place] += 1
            container.boot = app.boots[place]
            self._boot(app, container)
            return
        container.state = "crashed"
        app.crashed = True
        self.note(app, "repeated_crash", "platform", {"container_type": container.label})
        if app.current is not None and container in app.current.awaiting:
            self._give_up(app, app.current)

    def silence(self, container: Container) -> None:
        """Sever what the container serves, and forget what was due for it."""
        if container.timer is not None:
            container.timer.cancel()
            container.timer = None
        container.running_since = None
        cuts, container.cuts = container.cuts, set()
        for cut in cuts:
            cut()

    def _boot(self, app: App, container: Container) -> None:
        container.state = "booting"
        container.timer = self.clock.call_later(app.boot_time, lambda: self._booted(app, container))

    def _booted(self, app: App, container: Container) -> None:
        container.timer = None
        if app.boot_failures:
            if app.boot_failures != FOREVER:
                app.boot_failures -= 1
            self.crash(app, container)
            return
        container.state = "running"
        container.running_since = self.clock.now()
        self._arrived(app, container)

    def _stop(self, app: App, container: Container) -> None:
        self.silence(container)
        if container.state == "crashed":
            self._gone(app, container)
            return
        container.state = "stopping"
        if app.current is not None and not self.settings.stop_lingers:
            app.current.awaiting.add(container)
        container.timer = self.clock.call_later(app.stop_time, lambda: self._gone(app, container))

    def _gone(self, app: App, container: Container) -> None:
        container.timer = None
        app.containers.remove(container)
        self._arrived(app, container)

    def _arrived(self, app: App, container: Container) -> None:
        """What an operation may have waited for: this container runs now, or is gone."""
        if app.current is not None and container in app.current.awaiting:
            app.current.awaiting.remove(container)
            self._settle(app, app.current)

    # --- operations ------------------------------------------------------------------------

    def begin(self, app: App, kind: OperationKind) -> Operation:
        """Take the app for an operation; nothing happens to containers yet."""
        operation = Operation(self.new_id(), kind, self.clock.now())
        app.current = operation
        app.crashes_in_a_row = 0
        app.operations[operation.id] = operation
        if len(app.operations) > _OPERATIONS_KEPT:
            del app.operations[next(iter(app.operations))]
        return operation

    def soon(self, operation: Operation, step: Callable[[], object]) -> None:
        """Take an operation's next step after the moment that the platform needs to get to it."""
        operation.timer = self.clock.call_later(self.settings.pending_time, step)

    def rescale(self, app: App, operation: Operation, types: set[str], sizes: set[str]) -> None:
        """Make the containers of `types` as many as the formation says; of `sizes`, new ones."""
        operation.status = "running"
        surplus: list[Container] = []
        missing: list[tuple[ProcessType, int]] = []
        for name in types:
            process = app.formation[name]
            alive = [c for c in app.containers if c.type == name and c.state != "stopping"]
            surplus += [c for c in alive if c.index > process.amount]
            keep = {c.index: c for c in alive if c.index <= process.amount}
            if name in sizes or app.crashed:
                operation.outgoing += keep.values()
                keep = {}
            missing += [(process, i) for i in range(1, process.amount + 1) if i not in keep]
        app.crashed = False
        self._go(app, operation, missing)
        for container in surplus:
            self._stop(app, container)
        self._settle(app, operation)

    def replace(self, app: App, operation: Operation, types: Iterable[str]) -> None:
        """Boot a new container for each one of `types`; the old ones go when the new ones run."""
        operation.status = "running"
        chosen = [app.formation[name] for name in types]
        names = {process.name for process in chosen} | (
            {c.type for c in app.containers} - app.formation.keys()
        )
        operation.outgoing += [
            c for c in app.containers if c.type in names and c.state != "stopping"
        ]
        app.crashed = False
        self._go(app, operation, [(p, i) for p in chosen for i in range(1, p.amount + 1)])
        if operation.kind == "deployment" and not operation.awaiting:
            # Nothing is to run, yet putting a version in place takes its time.
            operation.timer = self.clock.call_later(
                app.boot_time, lambda: self._settle(app, operation)
            )
            return
        self._settle(app, operation)

    def undo(
        self, app: App, operation: Operation, before: Mapping[str, tuple[int, str]], why: str
    ) -> None:
        """End an operation in an error, with the formation as it was."""
        for name, (amount, size) in before.items():
            app.formation[name].amount = amount
            app.formation[name].size = size
        self._finish(app, operation, error=why)

    def _go(self, app: App, operation: Operation, places: list[tuple[ProcessType, int]]) -> None:
        created = self.create(app, places)
        operation.awaiting.update(created)
        for container in created:
            self._boot(app, container)

    def _settle(self, app: App, operation: Operation) -> None:
        """Let predecessors go once nothing is waited for, and end the operation after that."""
        if operation.awaiting or app.current is not operation:
            return
        outgoing, operation.outgoing = operation.outgoing, []
        for container in outgoing:
            self._stop(app, container)
        if not operation.awaiting and app.current is operation:
            self._finish(app, operation)

    def _give_up(self, app: App, operation: Operation) -> None:
        """Containers that were waited for don't boot. A deployment leaves the old version as it was."""
        if operation.kind == "deployment" and operation.outgoing:
            failed = [c for c in app.containers if c in operation.awaiting]
            operation.outgoing = []
            app.crashed = False
            self._finish(app, operation, error="the new version does not boot")
            for container in failed:
                self._stop(app, container)
            return
        for container in operation.awaiting - {c for c in app.containers if c.state == "stopping"}:
            self.silence(container)
            container.state = "crashed"
        self._finish(app, operation, error="containers do not boot")

    def _finish(self, app: App, operation: Operation, *, error: str | None = None) -> None:
        now = self.clock.now()
        operation.status = "done" if error is None else "error"
        operation.error = error
        operation.finished_at = app.updated_at = now
        app.current = None
        if operation.kind != "deployment":
            return
        deployment = app.deployments[-1]
        deployment.finished_at = now
        deployment.status = "success" if error is None else "crashed-error"
        app.deployed = app.deployed or error is None
        self.note(app, "deployment", deployment.by, {"status": deployment.status})
