"""Resources as they were last told of: late, repeated and missed events."""

from typing import Any

from controller.resources import Resources, oldest_first


def resource(name: str, version: int, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}, "spec": spec}


def test_event_is_news_once() -> None:
    known = Resources()

    assert known.take("ADDED", resource("a", 5)) == "a"
    assert known.take(None, resource("a", 5)) is None
    assert known.take("MODIFIED", resource("a", 4)) is None
    assert known.all() == {"a": resource("a", 5)}


def test_deleted_resource_does_not_come_back_with_a_late_event() -> None:
    known = Resources()
    known.take("ADDED", resource("a", 5))

    assert known.take("DELETED", resource("a", 6)) == "a"
    assert known.take("MODIFIED", resource("a", 5)) is None
    assert known.take("DELETED", resource("b", 7)) is None
    assert known.all() == {}


def test_one_that_was_made_anew_outlives_the_late_news_of_the_old_ones_end() -> None:
    known = Resources()
    known.take("ADDED", resource("a", 9))

    assert known.take("DELETED", resource("a", 8)) is None
    assert known.get("a") == resource("a", 9)


def test_list_heals_what_was_missed() -> None:
    known = Resources()
    known.take("ADDED", resource("gone", 1))
    known.take("ADDED", resource("changed", 2))

    news = known.compare([resource("changed", 5), resource("new", 4)], version=6)

    assert news == {"gone", "changed", "new"}
    assert known.all() == {"changed": resource("changed", 5), "new": resource("new", 4)}


def test_list_that_is_older_than_an_event_takes_nothing_back() -> None:
    known = Resources()
    known.take("ADDED", resource("young", 8))
    known.take("ADDED", resource("deleted", 3))
    known.take("DELETED", resource("deleted", 9))

    assert known.compare([resource("deleted", 3)], version=7) == set()
    assert set(known.all()) == {"young"}
    assert known.compare([resource("deleted", 12), resource("young", 8)], version=12) == {"deleted"}


def test_age_goes_before_name() -> None:
    old = {"metadata": {"name": "z", "creationTimestamp": "2026-01-01T00:00:00Z"}}
    twin = {"metadata": {"name": "a", "creationTimestamp": "2026-01-02T00:00:00Z"}}
    other = {"metadata": {"name": "b", "creationTimestamp": "2026-01-02T00:00:00Z"}}

    assert oldest_first([other, twin, old]) == [old, twin, other]
