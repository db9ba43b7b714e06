"""What the controller learns by watching records, measured on its own clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.knowledge import Knowledge, Known
from paastis.app import Activity, App, Identity, Overrides, Phase
from paastis.policy import Policy, Power
from paastis.reasons import Reason

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def record(name: str = "a", **fields: Any) -> App:
    given: dict[str, Any] = {
        "name": name,
        "identity": Identity("main", "osc-fr1", name),
        "provider": "scalingo",
        "app_name": name,
        "created_at": NOW - timedelta(days=1),
        "phase": Phase.AWAKE,
        **fields,
    }
    return App(**given)


def knowledge() -> Knowledge:
    return Knowledge(drain_time=timedelta(seconds=5))


@pytest.mark.parametrize(
    ("value", "counts_as"),
    [(NOW - MINUTE, NOW - MINUTE), (NOW, NOW), (NOW + timedelta(days=1), NOW)],
)
def test_access_found_at_the_start_counts_from_its_value_but_not_from_the_future(
    value: datetime, counts_as: datetime
) -> None:
    known = knowledge()
    known.observe(record(last_access_time=value), NOW)

    assert known.of("a").access_at == counts_as


@pytest.mark.parametrize("clock_error", [-timedelta(days=1), timedelta(0), timedelta(days=1)])
def test_access_that_changes_counts_from_when_it_was_seen(clock_error: timedelta) -> None:
    known = knowledge()
    known.observe(record(), NOW - MINUTE)
    known.observe(record(last_access_time=NOW + clock_error), NOW)

    assert known.of("a").access_at == NOW


def test_access_that_does_not_change_counts_once() -> None:
    known = knowledge()
    app = record(last_access_time=NOW)
    known.observe(app, NOW)
    known.observe(replace(app, cycle=7), NOW + MINUTE)

    assert known.of("a").access_at == NOW


@pytest.mark.parametrize(
    "demand",
    [{"overrides": Overrides(sleep_for=1)}, {"policy": Policy(power=Power.ALWAYS_OFF)}],
    ids=["sleep for", "always off"],
)
def test_only_use_after_the_demand_for_sleep_counts(demand: dict[str, Any]) -> None:
    known = knowledge()
    known.observe(record(last_access_time=NOW), NOW)
    demanding = record(last_access_time=NOW, **demand)
    known.observe(demanding, NOW + MINUTE)
    assert known.situation(demanding, {}).use_since_demand is None

    used = replace(demanding, last_access_time=NOW + 2 * MINUTE)
    known.observe(used, NOW + 2 * MINUTE)
    assert known.situation(used, {}).use_since_demand == NOW + 2 * MINUTE


def test_new_demand_starts_anew() -> None:
    known = knowledge()
    first = record(overrides=Overrides(sleep_for=1), cycle=1)
    known.observe(first, NOW)
    used = replace(first, last_access_time=NOW + MINUTE)
    known.observe(used, NOW + MINUTE)
    second = replace(used, cycle=3, overrides=Overrides(sleep_for=3))
    known.observe(second, NOW + 2 * MINUTE)

    assert known.situation(second, {}).use_since_demand is None


def test_use_of_a_linking_app_is_use_of_the_linked_one() -> None:
    known = knowledge()
    linking, linked = record("a"), record("b")
    apps = {"a": linking, "b": linked}
    known.observe(linking, NOW - MINUTE)
    known.observe(linked, NOW - MINUTE)
    known.link({"a": frozenset({"b"}), "b": frozenset()})
    known.observe(replace(linking, last_access_time=NOW), NOW)

    situation = known.situation(linked, apps)
    assert (situation.linked_use, situation.linked_by) == (NOW, "a")
    assert known.situation(linking, apps).linked_use is None


def test_deployment_of_a_linking_app_counts_but_a_gone_one_does_not() -> None:
    known = knowledge()
    linking = record("a", last_activity=Activity(NOW, Reason.DEPLOYED))
    linked = record("b")
    known.link({"a": frozenset({"b"})})

    assert known.situation(linked, {"a": linking}).linked_use == NOW
    gone = replace(linking, phase=Phase.GONE)
    assert known.situation(linked, {"a": gone}).linked_use is None


def test_wrong_reports_of_a_stopped_origin_wait_twice_as_long_each_time() -> None:
    known = Known()
    pauses = []
    for _ in range(8):
        known.origin_found_running(NOW)
        assert known.inspect_not_before is not None
        pauses.append((known.inspect_not_before - NOW).total_seconds())
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]

    known.origin_found_stopped()
    assert known.inspect_not_before is None


def test_third_reversal_within_an_hour_is_a_contest() -> None:
    known = Known()
    assert not known.reversed_by_somebody(NOW)
    assert not known.reversed_by_somebody(NOW + 30 * MINUTE)
    assert known.reversed_by_somebody(NOW + 59 * MINUTE)
    assert not known.reversed_by_somebody(NOW + 200 * MINUTE)


def test_app_of_a_missing_account_is_unmanaged() -> None:
    situation = knowledge().situation(record(), {}, account_known=False)

    assert situation.unmanaged is Reason.ACCOUNT_MISSING


def test_reason_that_only_an_inspection_tells_survives_a_restart() -> None:
    known = knowledge()
    app = record(phase=Phase.UNMANAGED, phase_reason=Reason.NO_WEB_PROCESS)
    known.observe(app, NOW)

    assert known.situation(app, {}).unmanaged is Reason.NO_WEB_PROCESS
