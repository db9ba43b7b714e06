"""What the controller has learnt about each app and keeps in memory only.

A restart forgets it, which delays sleeps and never causes one: uses are then taken from the
record, with the future counting as now, and nothing is stopped before a fresh look.
No I/O and no clock: `now` comes from the caller.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from paastis.app import App, Overrides, Phase
from paastis.decide import ORIGIN_INSPECTION_SPACING, Situation
from paastis.policy import Power
from paastis.reasons import Reason

LONGEST_INSPECTION_SPACING = timedelta(minutes=10)

REVERSALS_TO_CONTEST = 3
REVERSALS_WITHIN = timedelta(hours=1)

FOUND_BY_INSPECTION = frozenset({Reason.NO_WEB_PROCESS, Reason.PROVIDER_SLEEPS, Reason.MAINTENANCE})
"""Reasons for being unmanaged that a listing need not tell; they hold until the next deployment."""

_PROVIDERS_REASONS = FOUND_BY_INSPECTION | {Reason.NEVER_DEPLOYED}


@dataclass(slots=True)
class Known:
    """One app, as far as its record does not say it."""

    access_value: datetime | None = None
    """`last_access_time` as last observed."""
    access_at: datetime | None = None
    """When it was observed to change, on this clock."""
    overrides: Overrides | None = None
    """What people had said about the app when it was last observed."""
    demand: tuple[Power, int | None] | None = None
    """The demand for sleep that was last observed."""
    demanded_at: datetime | None = None
    """When that was, on this clock."""
    use_since_demand: datetime | None = None
    remote_at: datetime | None = None
    looked_at: datetime | None = None
    inspect_not_before: datetime | None = None
    inspection_spacing: timedelta = ORIGIN_INSPECTION_SPACING
    deploying: bool = False
    unmanaged: Reason | None = None
    drain_version: int | None = None
    """The version that our `Draining` write returned; None: the drain is not ours."""
    own_operation: str | None = None
    """Id of the open operation, if this process sent it."""
    sending: str | None = None
    """Id of the operation that this process is sending now: its call may still have to leave."""
    paused_until: datetime | None = None
    """No look and no stop before: the last one did not work out."""
    start_not_before: datetime | None = None
    """A stop or deployment was in the way of a start."""
    restore_not_before: datetime | None = None
    """The last attempt to undo a stop that took effect in part is too recent."""
    busy_looks: int = 0
    """How often in a row."""
    operation_seen: tuple[str, datetime] | None = None
    """Id of the open operation, and when this process first saw it."""
    look_wanted: bool = False
    """A listing contradicts the record."""
    reversals: tuple[datetime, ...] = ()

    def origin_found_running(self, now: datetime) -> None:
        """A report of a stopped origin was wrong: the next one waits twice as long."""
        self.inspect_not_before = now + self.inspection_spacing
        self.inspection_spacing = min(2 * self.inspection_spacing, LONGEST_INSPECTION_SPACING)

    def origin_found_stopped(self) -> None:
        """A report was right: believe the next one at once."""
        self.inspect_not_before = None
        self.inspection_spacing = ORIGIN_INSPECTION_SPACING

    def reversed_by_somebody(self, now: datetime) -> bool:
        """Count a change that undid ours; True where it has become a contest."""
        recent = (when for when in self.reversals if now - when <= REVERSALS_WITHIN)
        self.reversals = (*recent, now)
        return len(self.reversals) >= REVERSALS_TO_CONTEST


class Knowledge:
    """All apps' `Known`, and the situations that decisions are made from."""

    def __init__(self, *, drain_time: timedelta) -> None:
        self._drain_time = drain_time
        self._known: dict[str, Known] = {}
        self._keeps_awake: Mapping[str, frozenset[str]] = {}
        self._kept_awake_by: dict[str, frozenset[str]] = {}
        self._linked = False
        """Whether links are known. Until then no look is good enough for a stop."""
        self.steady_from: datetime | None = None
        self.fresh_for: dict[str, timedelta] = {}
        """Account → how old a look may be and still justify a stop."""

    def of(self, name: str) -> Known:
        """The app's entry; made where it is new."""
        return self._known.setdefault(name, Known())

    def observe(self, app: App, now: datetime) -> None:
        """Take in a record as the feed shows it."""
        is_new = app.name not in self._known
        known = self.of(app.name)
        if is_new and app.phase is Phase.UNMANAGED and app.phase_reason in _PROVIDERS_REASONS:
            known.unmanaged = app.phase_reason
        known.overrides = app.overrides
        self._observe_operation(app, known, now)
        self._observe_demand(app, known, now)
        value = app.last_access_time
        if value is None or value == known.access_value:
            return
        known.access_value = value
        known.access_at = min(value, now) if is_new else now
        if known.demand is not None and not is_new:
            known.use_since_demand = now

    @staticmethod
    def _observe_operation(app: App, known: Known, now: datetime) -> None:
        operation = app.open_operation
        if operation is None:
            known.operation_seen = None
        elif known.operation_seen is None or known.operation_seen[0] != operation.id:
            known.operation_seen = (operation.id, now)

    @staticmethod
    def _observe_demand(app: App, known: Known, now: datetime) -> None:
        always_off = app.policy.power is Power.ALWAYS_OFF
        demand: tuple[Power, int | None] | None = None
        if always_off or app.sleep_asked:
            demand = (app.policy.power, app.overrides.sleep_for if app.sleep_asked else None)
        if demand != known.demand:
            known.demand = demand
            known.demanded_at = now if demand is not None else None
            known.use_since_demand = None

    def overrides_of(self, name: str) -> Overrides | None:
        """The overrides as last observed; None: the app is new."""
        known = self._known.get(name)
        return None if known is None else known.overrides

    def restored(self, app: App, now: datetime) -> None:
        """The record was deleted and created again: what was learnt of the app still holds."""
        self.of(app.name).drain_version = None
        self.observe(app, now)

    def forget(self, name: str) -> None:
        """The record is gone."""
        self._known.pop(name, None)

    def link(self, keeps_awake: Mapping[str, frozenset[str]]) -> None:
        """Replace the links: record name → the records it keeps awake, transitively."""
        kept_by: dict[str, set[str]] = {}
        for source, targets in keeps_awake.items():
            for target in targets:
                kept_by.setdefault(target, set()).add(source)
        self._linked = True
        self._keeps_awake = keeps_awake
        self._kept_awake_by = {name: frozenset(sources) for name, sources in kept_by.items()}

    def linked_from(self, name: str) -> Iterable[str]:
        """The records that this one keeps awake."""
        return self._keeps_awake.get(name, frozenset())

    def situation(
        self, app: App, apps: Mapping[str, App], *, account_known: bool = True
    ) -> Situation:
        """Everything that a decision about this app may look at."""
        known = self.of(app.name)
        linked_use: datetime | None = None
        linked_by = ""
        use_since_demand = known.use_since_demand
        for source in self._kept_awake_by.get(app.name, ()):
            linking = apps.get(source)
            if linking is None or linking.phase is Phase.GONE:
                continue
            use = self._use_of(linking)
            if use is not None and (linked_use is None or use > linked_use):
                linked_use, linked_by = use, linking.app_name
        demanded_at = known.demanded_at
        if demanded_at is not None and linked_use is not None and linked_use > demanded_at:
            use_since_demand = max(linked_use, use_since_demand or linked_use)
        return Situation(
            app=app,
            fresh_for=self.fresh_for.get(app.identity.account, timedelta(minutes=3)),
            drain_time=self._drain_time,
            remote_at=known.remote_at if self._linked else None,
            looked_at=known.looked_at,
            inspect_not_before=known.inspect_not_before,
            deploying=known.deploying,
            unmanaged=known.unmanaged if account_known else Reason.ACCOUNT_MISSING,
            last_use=known.access_at,
            linked_use=linked_use,
            linked_by=linked_by,
            use_since_demand=use_since_demand,
            steady_from=self.steady_from,
        )

    def _use_of(self, app: App) -> datetime | None:
        times = [self.of(app.name).access_at]
        if app.last_activity is not None:
            times.append(app.last_activity.time)
        return max((time for time in times if time is not None), default=None)
