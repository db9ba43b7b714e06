"""Records as resources: everything comes back, patches are exact, other versions load."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given

from paastis.app import App, AppChange, Overrides, Phase
from paastis.policy import Mode, Policy, Power, Settings
from paastis.reasons import Reason
from paastis.resources.app import app_from, standing_from
from paastis.resources.standing import standing_of
from paastis.resources.values import BadResource
from paastis.resources.writing import (
    access_change,
    spec_change,
    spec_of,
    status_change,
    status_of,
)
from tests.paastis.factories import NOW, an_app
from tests.paastis.resources import strategies
from tests.paastis.resources.merge import merged


def as_resource(app: App) -> dict[str, Any]:
    """As the API server would show it."""
    resource = {
        "metadata": {
            "name": app.name,
            "resourceVersion": str(app.version),
            "creationTimestamp": "2026-03-04T12:00:00Z",
        },
        "spec": spec_of(app),
        "status": status_of(app, standing_of(app, ()), 3),
    }
    return json.loads(json.dumps(resource))  # type: ignore[no-any-return] # plain JSON, nothing else


@given(strategies.apps)
def test_every_record_comes_back_as_it_was(app: App) -> None:
    resource = as_resource(app)
    assert app_from(resource) == app
    assert standing_from(resource) == standing_of(app, ())


@given(strategies.apps, strategies.changes, strategies.changes)
def test_patches_leave_exactly_what_a_fresh_resource_would_say(
    app: App, first: AppChange, second: AppChange
) -> None:
    spec, standing = spec_of(app), standing_of(app, ())
    status = status_of(app, standing, 1)
    for change in (first, second):
        patch = status_change(change, before=app, standing=standing, generation=2)
        app = strategies.after(app, change)
        spec = merged(spec, spec_change(change))
        standing = standing_of(app, standing)
        status = merged(status, patch)
    assert spec == spec_of(app)
    expected = status_of(app, standing, 2)
    for known in (status, expected):  # which of the two an unwritten part took into account
        known.pop("observedGeneration")
        for condition in known["conditions"]:
            condition.pop("observedGeneration")
    assert status == expected


@given(strategies.apps)
def test_change_of_nothing_writes_nothing(app: App) -> None:
    assert status_change({}, before=app, standing=standing_of(app, ()), generation=7) == {}
    assert spec_change({}) == {}


# --- single claims ----------------------------------------------------------------------------


def a_resource(**parts: Any) -> dict[str, Any]:
    """The least that the server lets through."""
    return {
        "metadata": {
            "name": "shop",
            "resourceVersion": "17",
            "creationTimestamp": "2026-03-04T12:00:00Z",
        },
        "spec": {"accountRef": {"name": "main"}, "appId": "5f1", "region": "osc-fr1"},
        **parts,
    }


def with_spec(**fields: Any) -> dict[str, Any]:
    """The least resource with more in its spec."""
    resource = a_resource()
    resource["spec"] |= fields
    return resource


def test_resource_without_status_is_unmanaged_until_discovery_looks() -> None:
    app = app_from(a_resource())
    assert (app.phase, app.phase_reason, app.cycle) == (Phase.UNMANAGED, Reason.DISCOVERED, 1)
    assert app.created_at == NOW
    assert app.app_name == "shop"
    assert app.version == 17
    assert app.policy == Policy()
    assert app.overrides == Overrides()


def test_discovery_time_of_the_status_beats_that_of_the_resource() -> None:
    app = app_from(a_resource(status={"discoveredAt": "2026-01-01T00:00:00.000001Z"}))
    assert app.created_at == datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


def test_keys_and_reasons_of_another_version_are_borne() -> None:
    status = {
        "phase": "Asleep",
        "reason": "MoonFull",
        "mood": "fine",
        "policy": {"colour": "red", "wake": {"mode": "teleport"}, "maxIdleTime": "2h"},
        "conditions": [
            {
                "type": "MoonFull",
                "status": "True",
                "reason": "MoonFull",
                "message": "It is.",
                "lastTransitionTime": "2026-03-04T12:00:00Z",
            }
        ],
    }
    app = app_from(a_resource(status=status))
    assert (app.phase, app.phase_reason) == (Phase.ASLEEP, Reason.UNKNOWN)
    assert app.policy == Policy(max_idle_time=timedelta(hours=2))
    condition = app.condition("MoonFull")
    assert condition is not None
    assert condition.reason is Reason.UNKNOWN


def test_phase_of_another_version_leaves_the_app_alone() -> None:
    app = app_from(a_resource(status={"phase": "Hibernating", "reason": "Idle"}))
    assert (app.phase, app.phase_reason) == (Phase.UNMANAGED, Reason.UNKNOWN)


def test_power_and_mode_of_another_version_allow_nothing() -> None:
    policy = app_from(a_resource(status={"policy": {"power": "Maybe", "mode": "Guess"}})).policy
    assert (policy.power, policy.mode) == (Power.UNMANAGED, Mode.OBSERVE)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({}, "spec is missing"),
        (a_resource(spec={"accountRef": {"name": "main"}, "region": "x"}), "appId is missing"),
        (a_resource(spec=[]), "another type"),
        (a_resource(status={"phaseSince": "yesterday"}), "'yesterday' is not a time"),
        (a_resource(status={"phaseSince": "2026-03-04T12:00:00"}), "is not a time"),
        (a_resource(status={"operation": {"id": "1", "sentAt": "x"}}), "kind is missing"),
        (a_resource(status={"policy": {"maxIdleTime": "soon"}}), "'soon' is not a duration"),
        (a_resource(status={"policy": {"wake": 3}}), "another type"),
        (a_resource(status={"snapshot": {}}), "takenAt is missing"),
    ],
)
def test_what_is_no_record_is_refused_with_a_sentence(resource: dict[str, Any], said: str) -> None:
    with pytest.raises(BadResource, match=said) as caught:
        app_from(resource)
    assert str(caught.value).startswith("PaastisApp ")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("power", "AlwaysOm", "did you mean 'AlwaysOn'"),
        ("maxIdleTime", "soon", "'soon' is not a duration"),
        ("hosts", ["a b", "shop.example"], "spec.hosts[0]: 'a b' is not a domain"),
        ("schedule", {"timeZone": "Europe/Pariis"}, "spec.schedule.timeZone: 'Europe/Pariis'"),
        ("schedule", {"awake": [{"start": "0 8 * * *"}]}, "awake[0]: a window without its end"),
        ("schedule", {"awake": [{"start": "0 8 31 2 *", "end": "0 9 * * *"}]}, "is not a cron"),
        ("ignoreAccess", {"paths": ["(a"]}, "spec.ignoreAccess.paths[0]"),
        ("ignoreAccess", {"builtIn": "yes"}, "neither true nor false"),
        ("ignoreAccess", {"methods": "GET"}, "spec.ignoreAccess.methods: 'GET' is not a list"),
        ("wake", "hold", "spec.wake: 'hold' is not an object"),
        ("wake", {"timeout": True}, "True is not a plain value"),
        ("awakeUntil", "tomorrow", "'tomorrow' is not a time"),
        ("sleepFor", "now", "spec.sleepFor"),
    ],
)
def test_override_that_cannot_be_used_is_told_and_takes_no_other_with_it(
    field: str, value: Any, said: str
) -> None:
    app = app_from(with_spec(displayName="Shop", **{field: value}))
    (problem,) = app.overrides.problems
    assert said in problem
    assert app.overrides.settings.display_name == "Shop"


def test_schedule_in_a_zone_that_does_not_exist_is_none() -> None:
    window = {"start": "0 8 * * *", "end": "0 9 * * *"}
    schedule = {"timeZone": "Europe/Pariis", "awake": [window]}
    assert app_from(with_spec(schedule=schedule)).overrides.settings.schedule is None


def test_null_is_as_good_as_not_said() -> None:
    assert app_from(with_spec(power=None, hosts=None, wake=None)).overrides == Overrides()


def test_empty_list_of_an_override_is_not_the_same_as_nothing() -> None:
    app = app_from(with_spec(linkedApps=[]))
    assert app.overrides.settings == Settings(linked_apps=())


def test_apps_of_one_policy_share_it() -> None:
    status = as_resource(an_app(policy=Policy(power=Power.ALWAYS_ON)))["status"]
    again = json.loads(json.dumps(status))
    assert app_from(a_resource(status=status)).policy is app_from(a_resource(status=again)).policy


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 3, 4, 14, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert access_change(at, 5) == {"lastAccessTime": "2026-03-04T12:00:00.000001Z", "wakeFor": 5}
    assert access_change(NOW, None) == {"lastAccessTime": "2026-03-04T12:00:00.000000Z"}
    app = an_app(phase_since=at)
    assert status_of(app, ())["phaseSince"] == "2026-03-04T12:00:00.000001Z"
    assert status_of(an_app(phase_since=NOW), ())["phaseSince"] == "2026-03-04T12:00:00Z"


def test_policy_names_its_rules_once_and_its_fields_as_the_resource_does() -> None:
    sources = {
        "power": "PaastisRule reviews",
        "max_idle_time": "PaastisRule weekend",
        "wake.page_status": "PaastisRule reviews",
        "hosts": "default",
    }
    policy = status_of(an_app(policy=Policy(sources=sources)), ())["policy"]
    assert policy["rule"] == "reviews, weekend"
    assert policy["sources"] == {
        "power": "PaastisRule reviews",
        "maxIdleTime": "PaastisRule weekend",
        "wake.pageStatus": "PaastisRule reviews",
        "hosts": "default",
    }


def test_status_of_a_new_app_says_no_more_than_is_known() -> None:
    app = replace(app_from(a_resource()), provider="scalingo")
    assert status_of(app, standing_of(app, ())).keys() == {
        *("provider", "discoveredAt", "phase", "reason", "cycle", "asleepSeconds"),
        *("policy", "conditions"),
    }


def test_overrides_are_written_to_the_spec_alone() -> None:
    change = AppChange(overrides=Overrides(Settings(power=Power.ALWAYS_ON), sleep_for=3))
    app = an_app()
    assert status_change(change, before=app, standing=standing_of(app, ())) == {}
    patch = spec_change(change)
    assert patch["power"] == "AlwaysOn"
    assert patch["sleepFor"] == 3
    assert patch["awakeUntil"] is patch["maxIdleTime"] is None


def test_long_durations_are_written_without_days() -> None:
    app = an_app(overrides=Overrides(Settings(max_idle_time=timedelta(days=2, seconds=5))))
    assert spec_of(app)["maxIdleTime"] == "48h5s"
