"""Places for operations: starts never wait behind stops, and nobody waits for a free place."""

import pytest

from controller.slots import DRAINS, Slots
from paastis.app import OperationKind

START, STOP = OperationKind.START, OperationKind.STOP


def told(slots: Slots) -> list[str]:
    names: list[str] = []
    slots.on_free = names.append
    return names


@pytest.mark.parametrize(
    ("held", "kind", "free"),
    [
        ([], START, True),
        ([], STOP, True),
        ([STOP], STOP, True),
        ([STOP, STOP], STOP, False),
        ([STOP, STOP], START, True),
        ([STOP, STOP, START], START, False),
        ([START, START], STOP, True),
        ([START, START, START], START, False),
        ([START, START, STOP], STOP, False),
    ],
)
def test_stops_hold_all_places_but_one_at_most(
    held: list[OperationKind], kind: OperationKind, free: bool
) -> None:
    slots = Slots(3)
    for number, other in enumerate(held):
        assert slots.claim(f"app-{number}", other)

    assert slots.claim("new", kind) is free
    assert slots.awaits("new") is not free


def test_single_place_may_be_a_stop() -> None:
    assert Slots(1).claim("app", STOP)


def test_app_that_has_a_place_does_not_take_another() -> None:
    slots = Slots(2)
    assert slots.claim("app", STOP)
    assert slots.claim("app", START)
    assert slots.claim("other", START)


def test_freed_place_is_told_to_who_is_next_visitors_first() -> None:
    slots = Slots(1)
    names = told(slots)
    slots.claim("holder", START)
    slots.claim("stop", STOP)
    slots.claim("start", START)
    slots.claim("visited", START, visitor=True)
    slots.follow("holder", None, draining=False)

    assert names == ["visited"]
    assert not slots.awaits("visited")
    assert slots.waiting() == ("start", "stop")


def test_place_that_nobody_took_is_passed_on() -> None:
    slots = Slots(1)
    names = told(slots)
    slots.claim("holder", START)
    slots.claim("start", START)
    slots.claim("stop", STOP)
    slots.follow("holder", None, draining=False)
    slots.pass_on()  # it was decided about "start", which wants nothing any more

    assert names == ["start", "stop"]


def test_visitor_goes_before_ten_thousand_who_wait() -> None:
    slots = Slots(3)
    names = told(slots)
    for number in range(3):
        slots.claim(f"holder-{number}", START)
    for number in range(10_000):
        slots.claim(f"app-{number}", START)
    slots.claim("app-9999", START, visitor=True)
    slots.follow("holder-0", None, draining=False)

    assert names == ["app-9999"]


def test_more_places_are_given_to_those_who_wait() -> None:
    slots = Slots(1)
    names = told(slots)
    for number in range(4):
        slots.claim(f"app-{number}", START)
    slots.resize(3)

    assert names == ["app-1", "app-2"]


def test_place_is_not_freed_while_the_record_shows_the_operation() -> None:
    slots = Slots(1)
    slots.claim("app", START)
    slots.follow("app", START, draining=False)

    assert slots.holds("app")


def test_operations_found_under_way_count_beyond_the_places() -> None:
    slots = Slots(2)
    for number in range(4):
        slots.follow(f"app-{number}", STOP, draining=False)
    assert not slots.claim("new", START)

    for number in range(3):
        slots.follow(f"app-{number}", None, draining=False)
    assert slots.claim("new", START)


def test_stop_that_finds_no_room_waits_without_taking_a_place() -> None:
    slots = Slots(3)
    slots.claim("a", STOP)
    assert slots.may_stop("c")
    assert not slots.holds("c")
    slots.claim("b", STOP)
    assert not slots.may_stop("c")
    assert slots.awaits("c")


def test_announced_stops_are_as_many_as_can_soon_be_carried_out() -> None:
    slots = Slots(3)
    names = told(slots)
    assert all(slots.claim_drain(f"app-{number}") for number in range(DRAINS))
    assert not slots.claim_drain("late")
    slots.follow("app-0", None, draining=False)

    assert names == ["late"]
    assert slots.claim_drain("late")


def test_who_does_not_want_a_place_any_more_is_forgotten() -> None:
    slots = Slots(1)
    names = told(slots)
    slots.claim("holder", START)
    slots.claim("other", START)
    slots.leave_queue("other")
    slots.follow("holder", None, draining=False)

    assert names == []
