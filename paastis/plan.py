"""What a listing means for the records: found and known give what to create, refresh, retire.

Pure. A listing alone never moves an app from one phase to another: where it differs from what is
known, the app is named in `Plan.inspect`. Only a complete listing can prove absence, and two in a
row are needed to remove a record.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from paastis.app import Activity, App, AppChange, Identity, Observation, Phase
from paastis.phases import settle
from paastis.reasons import Reason

LISTINGS_TO_REMOVE = 2
"""Complete listings in a row that must miss an app before its record goes."""

KEPT_ASLEEP = timedelta(hours=24)
"""How long the record of an app that vanished while asleep is kept, with its snapshot."""

MASS_VANISHING_SHARE = 0.2
MASS_VANISHING_LEAST = 5
MASS_VANISHING_WAIT = timedelta(hours=1)
"""More vanished apps than this share of the account (and than `_LEAST`) at once look like the
provider's mistake: complete listings must agree on it for this long."""


@dataclass(frozen=True, slots=True)
class Found:
    """One app of a listing, as far as it matters here."""

    identity: Identity
    app_name: str
    state: Observation
    url: str | None
    hosts: tuple[str, ...]
    deployment: str | None
    unmanaged: Reason | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """For how long complete listings have missed an app."""

    listings: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do about a listing. `replace` names records to remove before creating."""

    create: tuple[App, ...] = ()
    refresh: tuple[tuple[str, AppChange], ...] = ()
    agree: frozenset[str] = frozenset()
    """Records that the listing confirms."""
    inspect: frozenset[str] = frozenset()
    """Records that the listing contradicts."""
    remove: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Records whose remote name another app has now."""
    absences: Mapping[str, Absence] = field(default_factory=dict)
    """To hand to the next call."""
    mass_vanishing: bool = False


def plan(
    found: Collection[Found],
    known: Iterable[App],
    *,
    taken_names: Collection[str],
    absences: Mapping[str, Absence],
    complete: bool,
    provider: str,
    now: datetime,
) -> Plan:
    """Compare a listing of one account with that account's records.

    `taken_names` are all record names of the installation, other accounts' included.
    """
    by_identity = {app.identity: app for app in known}
    found_identities = {item.identity for item in found}
    current = {(item.identity.region, item.app_name) for item in found}
    taken = set(taken_names)
    create: list[App] = []
    refresh: list[tuple[str, AppChange]] = []
    agree: set[str] = set()
    inspect: set[str] = set()
    replaced: list[str] = []

    missing = [app for app in by_identity.values() if app.identity not in found_identities]
    for app in missing:
        # A name belongs to one app per region, so its old owner is gone for certain.
        if (app.identity.region, app.app_name) in current and app.open_operation is None:
            replaced.append(app.name)
            taken.discard(app.name)
    for item in found:
        record = by_identity.get(item.identity)
        if record is None:
            record = _discovered(item, taken=taken, provider=provider, now=now)
            taken.add(record.name)
            create.append(record)
            continue
        change = _refreshed(record, item)
        if change:
            refresh.append((record.name, change))
        if _agrees(record, item):
            agree.add(record.name)
        elif _contradicts(record, item):
            inspect.add(record.name)

    missing = [app for app in missing if app.name not in replaced]
    seen_missing = _count_absences(missing, absences, complete=complete, now=now)
    limit = max(MASS_VANISHING_LEAST, MASS_VANISHING_SHARE * len(by_identity))
    # Those that a close look has confirmed to be gone are no mistake of a listing.
    mass = sum(app.phase is not Phase.GONE for app in missing) > limit
    remove = [
        app.name
        for app in missing
        if complete and _may_go(app, seen_missing[app.name], mass=mass, now=now)
    ]
    if complete and not mass:
        inspect.update(app.name for app in missing if app.phase is not Phase.GONE)
    return Plan(
        create=tuple(create),
        refresh=tuple(refresh),
        agree=frozenset(agree),
        inspect=frozenset(inspect),
        remove=tuple(remove),
        replaced=tuple(replaced),
        absences={name: seen for name, seen in seen_missing.items() if name not in remove},
        mass_vanishing=mass and complete,
    )


def record_name(app_name: str, identity: Identity, *, taken: Collection[str]) -> str:
    """A DNS-safe record name; with a short hash of the identity where the plain one is taken."""
    plain = re.sub(r"[^a-z0-9-]+", "-", app_name.lower()).strip("-")[:50].strip("-") or "app"
    if plain not in taken:
        return plain
    key = f"{identity.account}/{identity.region}/{identity.app_id}"
    return f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _discovered(item: Found, *, taken: Collection[str], provider: str, now: datetime) -> App:
    if item.unmanaged is not None:
        phase, reason = Phase.UNMANAGED, item.unmanaged
    else:
        transition = settle(Phase.UNMANAGED, item.state, wanted=False)
        phase, reason = transition.phase, transition.reason or Reason.DISCOVERED
    return App(
        name=record_name(item.app_name, item.identity, taken=taken),
        identity=item.identity,
        provider=provider,
        app_name=item.app_name,
        created_at=now,
        phase=phase,
        phase_since=now,
        phase_reason=reason,
        url=item.url,
        hosts=item.hosts,
        last_activity=Activity(now, Reason.DISCOVERED),
        deployment=item.deployment,
    )


def _refreshed(app: App, item: Found) -> AppChange:
    change = AppChange()
    if item.app_name != app.app_name:
        change["app_name"] = item.app_name
    if item.url != app.url:
        change["url"] = item.url
    if item.hosts != app.hosts:
        change["hosts"] = item.hosts
    return change


_AGREEING: dict[Phase, frozenset[Observation]] = {
    Phase.AWAKE: frozenset({Observation.RUNNING, Observation.STARTING, Observation.FAILED}),
    Phase.DRAINING: frozenset({Observation.RUNNING, Observation.FAILED}),
    Phase.ASLEEP: frozenset({Observation.STOPPED}),
    Phase.FAILED: frozenset({Observation.STOPPED, Observation.FAILED}),
}

_CONTRADICTING: dict[Phase, frozenset[Observation]] = {
    Phase.AWAKE: frozenset({Observation.STOPPED}),
    Phase.DRAINING: frozenset({Observation.STOPPED}),
    Phase.ASLEEP: frozenset({Observation.RUNNING, Observation.STARTING, Observation.FAILED}),
    Phase.FAILED: frozenset({Observation.RUNNING, Observation.STARTING}),
    Phase.GONE: frozenset(Observation),  # it is listed again
}


def _agrees(app: App, item: Found) -> bool:
    return (
        item.state in _AGREEING.get(app.phase, frozenset())
        and item.unmanaged is None
        and item.deployment == app.deployment
    )


def _contradicts(app: App, item: Found) -> bool:
    if app.phase is Phase.UNMANAGED:
        return False  # decided by the reason alone, see the controller
    return item.deployment != app.deployment or item.state in _CONTRADICTING.get(
        app.phase, frozenset()
    )


def _count_absences(
    missing: Iterable[App], absences: Mapping[str, Absence], *, complete: bool, now: datetime
) -> dict[str, Absence]:
    counted: dict[str, Absence] = {}
    for app in missing:
        before = absences.get(app.name, Absence(listings=0, since=now))
        counted[app.name] = Absence(before.listings + 1, before.since) if complete else before
    return counted


def _may_go(app: App, absence: Absence, *, mass: bool, now: datetime) -> bool:
    if absence.listings < LISTINGS_TO_REMOVE or app.open_operation is not None:
        return False
    if mass and now - absence.since < MASS_VANISHING_WAIT:
        return False
    if app.phase is Phase.GONE and app.phase_reason is Reason.DELETED_ASLEEP:
        return now - (app.phase_since or absence.since) >= KEPT_ASLEEP
    if app.phase in {Phase.ASLEEP, Phase.STOPPING, Phase.STARTING, Phase.FAILED}:
        return now - absence.since >= KEPT_ASLEEP
    return True
