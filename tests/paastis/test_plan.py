"""What a listing means for the records, as tables and as properties."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import (
    Activity,
    App,
    Identity,
    Observation,
    Operation,
    OperationKind,
    Phase,
)
from paastis.plan import Absence, Found, Plan, plan, record_name
from paastis.reasons import Reason

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def identity(app_id: str = "id-1", region: str = "osc-fr1") -> Identity:
    return Identity("main", region, app_id)


def found(app_id: str = "id-1", **fields: Any) -> Found:
    given: dict[str, Any] = {
        "identity": identity(app_id),
        "app_name": f"app-{app_id}",
        "state": Observation.RUNNING,
        "url": f"https://app-{app_id}.example",
        "hosts": (),
        "deployment": "d1",
        **fields,
    }
    return Found(**given)


def known(app_id: str = "id-1", **fields: Any) -> App:
    given: dict[str, Any] = {
        "name": f"app-{app_id}",
        "identity": identity(app_id),
        "provider": "scalingo",
        "app_name": f"app-{app_id}",
        "created_at": NOW - timedelta(days=9),
        "phase": Phase.AWAKE,
        "phase_since": NOW - timedelta(days=9),
        "url": f"https://app-{app_id}.example",
        "deployment": "d1",
        **fields,
    }
    return App(**given)


def planned(items: list[Found], records: list[App], **fields: Any) -> Plan:
    given: dict[str, Any] = {
        "taken_names": {app.name for app in records},
        "absences": {},
        "complete": True,
        "provider": "scalingo",
        "now": NOW,
        **fields,
    }
    return plan(items, records, **given)


@pytest.mark.parametrize(
    ("state", "unmanaged", "phase", "reason"),
    [
        (Observation.RUNNING, None, Phase.AWAKE, Reason.DISCOVERED),
        (Observation.FAILED, None, Phase.AWAKE, Reason.DISCOVERED),
        (Observation.STARTING, None, Phase.STARTING, Reason.DISCOVERED),
        (Observation.UNKNOWN, None, Phase.AWAKE, Reason.DISCOVERED),
        (Observation.STOPPED, None, Phase.ASLEEP, Reason.FOUND_STOPPED),
        (Observation.STOPPED, Reason.NEVER_DEPLOYED, Phase.UNMANAGED, Reason.NEVER_DEPLOYED),
    ],
)
def test_new_app_takes_its_phase_from_the_listing(
    state: Observation, unmanaged: Reason | None, phase: Phase, reason: Reason
) -> None:
    (app,) = planned([found(state=state, unmanaged=unmanaged)], []).create

    assert (app.phase, app.phase_reason, app.phase_since) == (phase, reason, NOW)
    assert app.last_activity == Activity(NOW, Reason.DISCOVERED)
    assert app.deployment == "d1"


@pytest.mark.parametrize(
    ("phase", "state", "agrees", "looked_at"),
    [
        (Phase.AWAKE, Observation.RUNNING, True, False),
        (Phase.AWAKE, Observation.STARTING, True, False),
        (Phase.AWAKE, Observation.FAILED, True, False),
        (Phase.AWAKE, Observation.STOPPED, False, True),
        (Phase.AWAKE, Observation.UNKNOWN, False, False),
        (Phase.DRAINING, Observation.RUNNING, True, False),
        (Phase.DRAINING, Observation.STOPPED, False, True),
        (Phase.ASLEEP, Observation.STOPPED, True, False),
        (Phase.ASLEEP, Observation.RUNNING, False, True),
        (Phase.ASLEEP, Observation.UNKNOWN, False, False),
        (Phase.FAILED, Observation.STOPPED, True, False),
        (Phase.FAILED, Observation.RUNNING, False, True),
        (Phase.STOPPING, Observation.RUNNING, False, False),
        (Phase.STARTING, Observation.STOPPED, False, False),
        (Phase.GONE, Observation.STOPPED, False, True),
        (Phase.GONE, Observation.RUNNING, False, True),
        (Phase.UNMANAGED, Observation.STOPPED, False, False),
    ],
)
def test_listing_agrees_with_a_record_or_asks_for_a_look(
    phase: Phase, state: Observation, agrees: bool, looked_at: bool
) -> None:
    outcome = planned([found(state=state)], [known(phase=phase)])

    assert ("app-id-1" in outcome.agree) is agrees
    assert ("app-id-1" in outcome.inspect) is looked_at
    assert outcome.remove == ()


def test_new_deployment_asks_for_a_look() -> None:
    outcome = planned([found(deployment="d2")], [known()])

    assert outcome.inspect == {"app-id-1"}
    assert outcome.agree == frozenset()


@pytest.mark.parametrize(
    ("field", "value"),
    [("app_name", "new-name"), ("url", "https://other.example"), ("hosts", ("a.example",))],
)
def test_what_a_listing_tells_of_names_and_addresses_is_taken_over(field: str, value: Any) -> None:
    item = replace(found(), **{field: value})

    assert planned([item], [known()]).refresh == (("app-id-1", {field: value}),)
    assert planned([found()], [known()]).refresh == ()


def test_app_goes_after_two_complete_listings_in_a_row() -> None:
    app = known()
    first = planned([], [app])
    assert first.remove == ()
    assert first.inspect == {app.name}

    second = planned([], [app], absences=first.absences, now=NOW + MINUTE)
    assert second.remove == (app.name,)
    assert second.absences == {}


def test_incomplete_listing_counts_no_absence_and_removes_nothing() -> None:
    app = known()
    absences = {app.name: Absence(5, NOW - HOUR)}
    outcome = planned([], [app], absences=absences, complete=False)

    assert outcome.remove == ()
    assert outcome.inspect == frozenset()
    assert outcome.absences[app.name] == Absence(5, NOW - HOUR)


def test_app_that_is_listed_again_starts_anew() -> None:
    app = known()
    absent = planned([], [app]).absences
    back = planned([found()], [app], absences=absent)

    assert back.absences == {}
    assert planned([], [app], absences=back.absences).remove == ()


@pytest.mark.parametrize(
    ("phase", "reason", "missing_for", "goes"),
    [
        (Phase.AWAKE, Reason.DISCOVERED, MINUTE, True),
        (Phase.UNMANAGED, Reason.POWER_UNMANAGED, MINUTE, True),
        (Phase.GONE, Reason.DELETED, MINUTE, True),
        (Phase.ASLEEP, Reason.IDLE, 23 * HOUR, False),
        (Phase.ASLEEP, Reason.IDLE, 24 * HOUR, True),
        (Phase.FAILED, Reason.START_FAILED, 23 * HOUR, False),
        (Phase.STARTING, Reason.WAKE_ASKED, 23 * HOUR, False),
        (Phase.GONE, Reason.DELETED_ASLEEP, 23 * HOUR, False),
        (Phase.GONE, Reason.DELETED_ASLEEP, 24 * HOUR, True),
    ],
)
def test_record_of_an_app_that_slept_is_kept_for_a_day(
    phase: Phase, reason: Reason, missing_for: timedelta, goes: bool
) -> None:
    since = NOW - missing_for
    app = known(phase=phase, phase_reason=reason, phase_since=since)
    outcome = planned([], [app], absences={app.name: Absence(5, since)})

    assert outcome.remove == ((app.name,) if goes else ())


def test_kept_record_outlives_a_restart_by_the_time_on_it() -> None:
    app = known(phase=Phase.GONE, phase_reason=Reason.DELETED_ASLEEP, phase_since=NOW - 25 * HOUR)
    first = planned([], [app])  # nothing is remembered of earlier listings

    assert planned([], [app], absences=first.absences).remove == (app.name,)


def test_app_with_an_open_operation_stays() -> None:
    operation = Operation(OperationKind.START, "1", NOW)
    app = known(operation=operation)
    absences = {app.name: Absence(9, NOW - timedelta(days=9))}

    assert planned([], [app], absences=absences).remove == ()
    assert planned([], [replace(app, operation=replace(operation, ended_at=NOW))]).inspect


@pytest.mark.parametrize(
    ("all_apps", "vanished", "mass"),
    [(5, 5, False), (6, 6, True), (20, 5, False), (20, 6, True), (100, 20, False), (100, 21, True)],
)
def test_more_than_five_and_a_fifth_at_once_are_a_mass(
    all_apps: int, vanished: int, mass: bool
) -> None:
    records = [known(f"{number}") for number in range(all_apps)]
    listed = [found(f"{number}") for number in range(vanished, all_apps)]
    absences = {app.name: Absence(2, NOW - MINUTE) for app in records[:vanished]}
    outcome = planned(listed, records, absences=absences)

    assert outcome.mass_vanishing is mass
    assert len(outcome.remove) == (0 if mass else vanished)
    assert bool(outcome.inspect) is not mass


@pytest.mark.parametrize(("missing_for", "removed"), [(59 * MINUTE, 0), (60 * MINUTE, 8)])
def test_mass_goes_when_listings_have_said_so_for_an_hour(
    missing_for: timedelta, removed: int
) -> None:
    records = [known(f"{number}") for number in range(8)]
    absences = {app.name: Absence(9, NOW - missing_for) for app in records}

    assert len(planned([], records, absences=absences).remove) == removed


def test_records_kept_of_apps_known_to_be_gone_are_no_mass() -> None:
    gone = [known(f"{n}", phase=Phase.GONE, phase_reason=Reason.DELETED_ASLEEP) for n in range(9)]

    assert not planned([], gone).mass_vanishing


def test_app_recreated_under_its_name_takes_over_at_once() -> None:
    old = known("old", name="shop", app_name="shop", phase=Phase.ASLEEP)
    outcome = planned([found("new", app_name="shop")], [old])

    assert outcome.replaced == ("shop",)
    assert [app.name for app in outcome.create] == ["shop"]
    assert outcome.remove == ()


def test_same_name_in_another_region_replaces_nobody() -> None:
    old = known("old", name="shop", app_name="shop", identity=identity("old", "osc-secnum"))
    outcome = planned([found("new", app_name="shop")], [old])

    assert outcome.replaced == ()
    (new,) = outcome.create
    assert new.name.startswith("shop-")


def test_app_with_an_open_operation_is_not_replaced_yet() -> None:
    operation = Operation(OperationKind.STOP, "1", NOW)
    old = known("old", name="shop", app_name="shop", operation=operation)

    assert planned([found("new", app_name="shop")], [old]).replaced == ()


def test_renamed_app_is_the_same_app() -> None:
    old = known("one", app_name="shop", name="shop")
    new = found("two", app_name="shop")
    outcome = planned([found("one", app_name="shop-old"), new], [old])

    assert outcome.replaced == ()
    assert dict(outcome.refresh)["shop"]["app_name"] == "shop-old"
    assert len(outcome.create) == 1


@pytest.mark.parametrize(
    ("app_name", "expected"),
    [
        ("my-app", "my-app"),
        ("My_App", "my-app"),
        ("--x--", "x"),
        ("é", "app"),
        ("a" * 80, "a" * 50),
    ],
)
def test_record_name_is_safe_for_dns(app_name: str, expected: str) -> None:
    assert record_name(app_name, identity(), taken=()) == expected


@given(st.text(max_size=80), st.booleans())
def test_record_name_is_always_a_label_and_never_a_taken_one(name: str, again: bool) -> None:
    taken = {record_name(name, identity("other"), taken=())} if again else set()
    chosen = record_name(name, identity(), taken=taken)

    assert chosen not in taken
    assert 0 < len(chosen) <= 63
    assert chosen.strip("-") == chosen
    assert all(one.isascii() and (one.islower() or one.isdigit() or one == "-") for one in chosen)


_phases = st.sampled_from(list(Phase))
_records = st.dictionaries(st.integers(0, 12), _phases, max_size=12)
_listed = st.dictionaries(st.integers(0, 12), st.sampled_from(list(Observation)), max_size=12)


@given(_records, _listed, st.booleans())
def test_every_app_of_a_listing_is_known_afterwards_and_nothing_goes_unproven(
    phases: dict[int, Phase], states: dict[int, Observation], complete: bool
) -> None:
    records = [known(f"{number}", phase=phase) for number, phase in phases.items()]
    listed = [found(f"{number}", state=state) for number, state in states.items()]
    outcome = planned(listed, records, complete=complete)

    created = {app.identity for app in outcome.create}
    assert created == {item.identity for item in listed} - {app.identity for app in records}
    assert len({app.name for app in outcome.create} | {app.name for app in records}) == len(
        records
    ) + len(outcome.create)
    assert outcome.remove == ()  # one listing is not enough
    assert set(outcome.absences) == {f"app-{n}" for n in phases.keys() - states.keys()}
    assert not outcome.agree & outcome.inspect
