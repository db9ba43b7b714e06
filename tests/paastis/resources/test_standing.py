"""Conditions that every app has: what they say in each phase, and when they last changed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from paastis.app import App, AppChange, Condition, Phase
from paastis.policy import Mode, Policy
from paastis.reasons import Reason
from paastis.resources.standing import (
    condition_from,
    condition_of,
    split_conditions,
    standing_of,
)
from paastis.resources.writing import status_change
from tests.paastis.factories import MINUTE, NOW, an_app, an_app_with
from tests.paastis.resources import strategies


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.AWAKE, {"Ready": True, "Asleep": False, "Managed": True}),
        (Phase.DRAINING, {"Ready": True, "Asleep": False, "Managed": True}),
        (Phase.STOPPING, {"Ready": False, "Asleep": False, "Managed": True}),
        (Phase.ASLEEP, {"Ready": False, "Asleep": True, "Managed": True}),
        (Phase.STARTING, {"Ready": False, "Asleep": False, "Managed": True}),
        (Phase.FAILED, {"Ready": False, "Asleep": False, "Managed": True}),
        (Phase.UNMANAGED, {"Managed": False}),
        (Phase.GONE, {"Ready": False, "Asleep": False, "Managed": False}),
    ],
)
def test_phase_decides_what_stands(phase: Phase, expected: dict[str, bool]) -> None:
    standing = standing_of(an_app(phase), ())
    assert {condition.type: condition.status for condition in standing} == expected
    assert all(condition.message.endswith(".") for condition in standing)


@pytest.mark.parametrize("mode", Mode)
def test_observed_app_is_not_managed(mode: Mode) -> None:
    managed = standing_of(an_app_with(mode=mode), ())[-1]
    assert managed.status is (mode is not Mode.OBSERVE)
    assert managed.reason is (Reason.OBSERVED if mode is Mode.OBSERVE else Reason.MANAGED)


def test_condition_changes_when_its_phase_began_and_keeps_that_time_while_it_holds() -> None:
    awake = an_app(phase_since=NOW - MINUTE)
    before = standing_of(awake, ())
    assert {condition.since for condition in before} == {NOW - MINUTE}
    draining = replace(awake, phase=Phase.DRAINING, phase_since=NOW, phase_reason=Reason.IDLE)
    ready, _, managed = standing_of(draining, before)
    assert (ready.since, ready.reason, managed.since) == (NOW - MINUTE, Reason.IDLE, NOW - MINUTE)
    stopping = replace(draining, phase=Phase.STOPPING, phase_since=NOW + MINUTE)
    ready, asleep, _ = standing_of(stopping, standing_of(draining, before))
    assert (ready.since, asleep.since) == (NOW + MINUTE, NOW - MINUTE)


@given(strategies.apps)
def test_standing_conditions_are_stable(app: App) -> None:
    standing = standing_of(app, ())
    assert standing_of(app, standing) == standing


def test_change_of_phase_renews_the_standing_conditions_beside_the_others() -> None:
    own = Condition("StopFailed", True, Reason.STOP_FAILED, "It went on.", NOW)
    app = an_app(conditions=(own,))
    patch = status_change(
        AppChange(phase=Phase.DRAINING, phase_since=NOW, phase_reason=Reason.IDLE),
        before=app,
        standing=standing_of(app, ()),
        generation=4,
    )
    assert [said["type"] for said in patch["conditions"]] == [
        *("StopFailed", "Ready", "Asleep", "Managed")
    ]
    assert {said["observedGeneration"] for said in patch["conditions"]} == {4}
    assert patch["observedGeneration"] == 4


def test_change_that_leaves_the_conditions_does_not_write_them() -> None:
    app = an_app()
    standing = standing_of(app, ())
    patch = status_change(AppChange(url="https://a.example"), before=app, standing=standing)
    assert patch == {"url": "https://a.example"}
    policy = Policy(mode=Mode.OBSERVE)
    patch = status_change(AppChange(policy=policy), before=app, standing=standing)
    assert patch.keys() == {"policy", "conditions"}


def test_standing_conditions_are_told_from_an_apps_own() -> None:
    own = Condition("StopFailed", False, Reason.STOP_FAILED, "", NOW)
    standing = standing_of(an_app(), ())
    raw = [condition_of(condition, None) for condition in (standing[0], own, *standing[1:])]
    assert split_conditions(raw) == ((own,), standing)


def test_message_is_cut_where_the_server_would_refuse_it() -> None:
    endless = Condition("StopFailed", True, Reason.STOP_FAILED, "x" * 40_000, NOW)
    assert len(condition_of(endless, None)["message"]) == 32_768


def test_condition_that_is_neither_true_nor_false_is_refused() -> None:
    raw = condition_of(Condition("A", True, Reason.IDLE, "", datetime(2026, 1, 1, tzinfo=UTC)), 1)
    with pytest.raises(ValueError, match="'Unknown' is neither True nor False"):
        condition_from(raw | {"status": "Unknown"})
