"""What a record says about itself."""

from dataclasses import FrozenInstanceError, fields
from typing import get_type_hints

import pytest

from paastis.app import App, AppChange, Overrides, Process, web_amount
from paastis.reasons import Reason
from tests.paastis.factories import NOW, a_start, an_app, contested


@pytest.mark.parametrize(
    ("formation", "amount"),
    [
        ((), 0),
        ((Process("worker", 3, "S"),), 0),
        ((Process("web", 0, "M"),), 0),
        ((Process("web", 2, "M"), Process("worker", 1)), 2),
    ],
)
def test_web_amount_counts_web_processes_alone(formation: tuple[Process, ...], amount: int) -> None:
    assert web_amount(formation) == amount


def test_operation_without_an_end_is_open() -> None:
    assert an_app().open_operation is None
    assert an_app(operation=a_start()).open_operation == a_start()


def test_operation_that_ended_is_not_open() -> None:
    assert an_app(operation=a_start(ended_at=NOW)).open_operation is None


@pytest.mark.parametrize(("demand", "asked"), [(None, False), (5, False), (6, True), (7, False)])
def test_demand_counts_for_its_own_cycle_alone(demand: int | None, asked: bool) -> None:
    assert an_app(cycle=6, wake_for=demand).wake_asked is asked
    assert an_app(cycle=6, overrides=Overrides(sleep_for=demand)).sleep_asked is asked


def test_condition_is_found_by_its_type() -> None:
    app = an_app(conditions=(contested(),))

    assert app.condition(Reason.CONTESTED) == contested()
    assert app.condition(Reason.START_FAILED) is None


def test_app_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        an_app().cycle = 7  # type: ignore[misc]


def test_change_names_fields_of_the_record_with_their_types() -> None:
    record, change = get_type_hints(App), get_type_hints(AppChange)

    assert change.items() <= record.items()


def test_change_leaves_identity_and_the_proxies_fields_alone() -> None:
    everything = {field.name for field in fields(App)}

    assert everything - set(get_type_hints(AppChange)) == {
        "name",
        "identity",
        "provider",
        "created_at",
        "last_access_time",
        "wake_for",
        "version",
    }
