"""The pretend platform: its apps, and what may be asked of it.

No HTTP in here, and nothing of one provider's wording: the API modules translate. Everything happens
in plain calls and in callbacks of the clock, so the world is consistent between any two of them.
An app takes one operation at a time, and a deployment counts as one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from paastis.simulate.app import App, Autoscaler, Deployment, ProcessType
from paastis.simulate.fleet import Fleet, WorldSettings
from paastis.simulate.spec import DEFAULT_SIZE, AppSpec

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

    from paastis.simulate.app import Container, Event, Operation, ProcessSpec
    from paastis.simulate.clock import Clock

__all__ = ["Busy", "NameTaken", "NoChange", "Refusal", "UnknownType", "World", "WorldSettings"]

OWNER = "demo"
"""The account that the API token belongs to."""
SOMEBODY = "somebody-else"
"""The person whose hand the control interface plays."""
_TRAFFIC_KEPT = 72 * 60  # minutes; the longest look back that a provider offers


class Refusal(Exception):
    """The world does not do what was asked, and nothing has changed."""


class Busy(Refusal):
    """An operation is in progress; the message is the app's status."""


class NoChange(Refusal):
    """Everything is as asked already."""


class UnknownType(Refusal):
    """The app has no such process type; the message is its name."""


class NameTaken(Refusal):
    """An app of that name exists in that region."""


class World:
    """All apps of one made-up account."""

    def __init__(self, *, clock: Clock, rng: random.Random, settings: WorldSettings) -> None:
        self.clock = clock
        self.settings = settings
        self._fleet = Fleet(clock=clock, rng=rng, settings=settings)
        self._by_place: dict[tuple[str, str], App] = {}
        self._by_id: dict[str, App] = {}
        self._by_domain: dict[str, App] = {}

    def apps(self, region: str | None = None) -> list[App]:
        """Every app, or those of one region, in order of creation."""
        return [a for a in self._by_id.values() if region is None or a.region == region]

    def find(self, key: str, region: str | None = None) -> App | None:
        """The app of that name or id; without a region, the first of that name anywhere."""
        app = self._by_id.get(key)
        if app is not None:
            return app if region in {None, app.region} else None
        if region is not None:
            return self._by_place.get((region, key))
        return next((a for a in self._by_id.values() if a.name == key), None)

    def at_domain(self, host: str) -> App | None:
        """The app that has this name as a domain of its own."""
        return self._by_domain.get(host)

    def events(self, region: str) -> list[tuple[App, Event]]:
        """What happened to a region's apps, oldest first."""
        found = [(app, event) for app in self.apps(region) for event in app.events]
        return sorted(found, key=lambda pair: pair[1].at)

    def new_id(self) -> str:
        """24 hexadecimal digits, the same in every run with the same seed."""
        return self._fleet.new_id()

    def add(self, spec: AppSpec) -> App:
        """Create an app in the state that was asked for, without waiting for a boot.

        Raises NameTaken.
        """
        place = (spec.region, spec.name)
        if place in self._by_place:
            raise NameTaken(f"{spec.name} exists in {spec.region}")
        now = self.clock.now()
        app = App(
            id=self.new_id(),
            name=spec.name,
            region=spec.region,
            created_at=now,
            updated_at=now,
            boot_time=self.settings.boot_time if spec.boot_time is None else spec.boot_time,
            stop_time=self.settings.stop_time if spec.stop_time is None else spec.stop_time,
            boot_failures=spec.boot_failures,
            formation={
                name: ProcessType(name, p.amount or 0, p.size or DEFAULT_SIZE)
                for name, p in spec.formation.items()
            },
            parent=spec.parent,
            domains=spec.domains,
            autoscalers=[
                Autoscaler(
                    id=f"au-{self.new_id()}",
                    type=a.type,
                    minimum=a.minimum,
                    maximum=a.maximum,
                    metric=a.metric,
                    target=a.target,
                    disabled=a.disabled,
                )
                for a in spec.autoscalers
            ],
        )
        self._by_place[place] = self._by_id[app.id] = app
        self._by_domain.update(dict.fromkeys(app.domains, app))
        self._fleet.note(app, "new_app", OWNER, {})
        if spec.status != "new":
            self._settle_in(app, spec)
        return app

    def _settle_in(self, app: App, spec: AppSpec) -> None:
        now = self.clock.now()
        app.deployed = True
        app.deployments.append(Deployment(self.new_id(), now, OWNER, "success", now))
        self._fleet.note(app, "deployment", OWNER, {"status": "success"})
        if spec.status == "stopped":
            before = _amounts(app)
            for process in app.formation.values():
                process.amount = 0
            if before != _amounts(app):
                self._note_scale(app, SOMEBODY, before)
            return
        app.crashed = spec.status == "crashed"
        for container in self._fleet.create(
            app, [(p, i) for p in app.formation.values() for i in range(1, p.amount + 1)]
        ):
            container.state = "crashed" if app.crashed else "running"
            container.running_since = None if app.crashed else now

    def delete(self, app: App) -> None:
        """Remove an app with everything that it is doing."""
        if app.current is not None and app.current.timer is not None:
            app.current.timer.cancel()
        app.current = None
        for container in app.containers:
            self._fleet.silence(container)
        app.containers.clear()
        del self._by_id[app.id], self._by_place[app.region, app.name]
        for domain in app.domains:
            self._by_domain.pop(domain, None)

    def close(self) -> None:
        """Remove every app, so that no timer is left."""
        for app in self.apps():
            self.delete(app)

    def scale(
        self,
        app: App,
        wanted: Mapping[str, ProcessSpec],
        *,
        by: str = OWNER,
        fails: str | None = None,
    ) -> Operation | None:
        """Change amounts and sizes; returns the operation, or None for an app never deployed.

        With `fails`, the operation is accepted, then ends in that error with nothing changed.
        Raises UnknownType, Busy or NoChange.
        """
        for name in wanted:
            if name not in app.formation:
                raise UnknownType(name)
        _refuse_if_busy(app)
        before = _amounts(app)
        for name, spec in wanted.items():
            process = app.formation[name]
            process.amount = process.amount if spec.amount is None else spec.amount
            process.size = process.size if spec.size is None else spec.size
        changed = {name for name, was in _amounts(app).items() if was != before[name]}
        if not changed:
            raise NoChange
        for autoscaler in app.autoscalers:
            # A change by hand and the platform's own rule would fight over the amount.
            if autoscaler.type in changed:
                autoscaler.disabled = True
        self._note_scale(app, by, before)
        if not app.deployed:
            return None
        fleet = self._fleet
        operation = fleet.begin(app, "scale")
        why = fails or self._over_quota()
        resized = {name for name in changed if before[name][1] != app.formation[name].size}

        def run() -> None:
            if why is None:
                fleet.rescale(app, operation, changed, resized)
                return
            operation.status = "running"
            fleet.soon(operation, lambda: fleet.undo(app, operation, before, why))

        fleet.soon(operation, run)
        return operation

    def restart(
        self, app: App, types: Iterable[str] | None = None, *, by: str = OWNER
    ) -> Operation:
        """Replace the containers of these types, or of all. Raises UnknownType or Busy."""
        chosen = list(app.formation if types is None else types)
        for name in chosen:
            if name not in app.formation:
                raise UnknownType(name)
        _refuse_if_busy(app)
        operation = self._fleet.begin(app, "restart")
        self._fleet.note(app, "restart", by, {"scope": chosen})
        self._fleet.soon(operation, lambda: self._fleet.replace(app, operation, chosen))
        return operation

    def deploy(
        self, app: App, formation: Mapping[str, ProcessSpec] | None = None, *, by: str = SOMEBODY
    ) -> Deployment:
        """Put a new version in place; begins at once. Raises Busy.

        `formation` is the new Procfile: types that it lacks disappear, types that stay keep their
        amount and size, new ones get 0 unless it says more. The first deployment starts one web.
        """
        _refuse_if_busy(app)
        if formation is not None:
            app.formation = {
                name: app.formation.get(name)
                or ProcessType(name, spec.amount or 0, spec.size or DEFAULT_SIZE)
                for name, spec in formation.items()
            }
        web = app.formation.get("web")
        if not app.deployed and web is not None and web.amount == 0:
            web.amount = 1
        deployment = Deployment(self.new_id(), self.clock.now(), by)
        app.deployments.append(deployment)
        operation = self._fleet.begin(app, "deployment")
        self._fleet.replace(app, operation, list(app.formation))
        return deployment

    def crash(self, app: App, container: Container) -> None:
        """A container's program dies: its connections break, and the platform boots it again."""
        self._fleet.crash(app, container)

    def count_request(self, app: App, status: int) -> None:
        """The router answered a request for this app."""
        minute = int(self.clock.now().timestamp()) // 60
        counts = app.traffic.get(minute)
        if counts is None:
            for old in [m for m in app.traffic if m < minute - _TRAFFIC_KEPT]:
                del app.traffic[old]
            counts = app.traffic[minute] = Counter()
        counts[status] += 1

    def _note_scale(self, app: App, by: str, before: Mapping[str, tuple[int, str]]) -> None:
        self._fleet.note(app, "scale", by, {"before": before, "after": _amounts(app)})

    def _over_quota(self) -> str | None:
        quota = self.settings.operation_quota
        if not quota:
            return None
        now = sum(a.current is not None and a.current.kind == "scale" for a in self.apps())
        return "quota of simultaneous operations exceeded" if now > quota else None


def _amounts(app: App) -> dict[str, tuple[int, str]]:
    return {p.name: (p.amount, p.size) for p in app.formation.values()}


def _refuse_if_busy(app: App) -> None:
    if app.current is not None:
        raise Busy(app.status)
