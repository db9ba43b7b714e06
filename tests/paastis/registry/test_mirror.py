"""Late, lost and doubled news never make the mirror go back."""

import asyncio
from typing import Any

import pytest

from paastis.app import Phase
from paastis.registry.answers import Event, Object
from paastis.registry.mirror import Mirror
from paastis.registry.port import Change


def resource(name: str, version: int, **status: Any) -> Object:
    return {
        "metadata": {
            "name": name,
            "resourceVersion": str(version),
            "generation": 1,
            "creationTimestamp": "2026-03-02T12:00:00Z",
        },
        "spec": {
            "accountRef": {"name": "main"},
            "appId": f"id-of-{name}",
            "region": "osc-fr1",
            "appName": name,
        },
        "status": {"phase": "Awake", **status},
    }


def event(kind: str, name: str, version: int, **status: Any) -> Event:
    return Event(kind, resource(name, version, **status), version)


def listing(mirror: Mirror, version: int, *items: Object) -> None:
    mirror.begin()
    mirror.page(items)
    mirror.listed(version)


def versions(mirror: Mirror) -> dict[str, int]:
    return {name: app.version for name, app in mirror.apps.items()}


async def pending(feed: Any) -> list[Change]:
    """What a feed holds now."""
    feed.end()
    return [change async for change in feed]


@pytest.fixture
def mirror() -> Mirror:
    mirror = Mirror()
    listing(mirror, 10, resource("a", 3), resource("b", 7))
    return mirror


def test_list_fills_the_mirror_and_sets_the_position(mirror: Mirror) -> None:
    assert versions(mirror) == {"a": 3, "b": 7}
    assert mirror.position == 10


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED"])
def test_newer_event_replaces_a_record_and_an_older_one_does_not(mirror: Mirror, kind: str) -> None:
    mirror.happened(event(kind, "a", 12))
    mirror.happened(event(kind, "a", 11))
    mirror.happened(event(kind, "a", 12, phase="Asleep"))
    assert versions(mirror) == {"a": 12, "b": 7}
    assert mirror.apps["a"].phase is Phase.AWAKE
    assert mirror.position == 12


def test_event_from_before_a_list_about_a_name_that_was_gone_in_it_is_void(mirror: Mirror) -> None:
    mirror.happened(event("ADDED", "c", 9))
    assert "c" not in mirror.apps
    mirror.happened(event("ADDED", "c", 11))
    assert versions(mirror)["c"] == 11


def test_deleted_record_is_not_brought_back_by_a_late_event(mirror: Mirror) -> None:
    mirror.happened(event("DELETED", "a", 14))
    mirror.happened(event("MODIFIED", "a", 13))
    assert versions(mirror) == {"b": 7}
    mirror.happened(event("ADDED", "a", 15))
    assert versions(mirror) == {"a": 15, "b": 7}


def test_late_deletion_does_not_take_the_record_that_came_after_it(mirror: Mirror) -> None:
    mirror.happened(event("ADDED", "a", 15))
    mirror.happened(event("DELETED", "a", 14))
    assert versions(mirror)["a"] == 15


def test_list_that_is_older_than_events_takes_nothing_back(mirror: Mirror) -> None:
    mirror.begin()
    mirror.page([resource("a", 3), resource("b", 7), resource("c", 12)])
    # Events come while the list, which is of version 12, is still on its way.
    mirror.happened(event("MODIFIED", "a", 13))
    mirror.happened(event("DELETED", "b", 14))
    mirror.happened(event("DELETED", "c", 15))
    mirror.happened(event("ADDED", "d", 16))
    mirror.listed(12)
    assert versions(mirror) == {"a": 13, "d": 16}
    assert mirror.position == 16


async def test_list_takes_what_is_missing_and_tells_how_it_was(mirror: Mirror) -> None:
    last = mirror.apps["a"]
    feed = mirror.feed()
    listing(mirror, 20, resource("b", 7))
    assert versions(mirror) == {"b": 7}
    assert await pending(feed) == [Change("a", None, 10, last=last)]


async def test_list_tells_removals_first_and_changes_in_the_order_of_their_versions(
    mirror: Mirror,
) -> None:
    """A reader at a position has seen all up to it, though nobody knows when the removals were."""
    feed = mirror.feed()
    listing(mirror, 20, resource("z", 15), resource("b", 18), resource("c", 12))
    changes = await pending(feed)
    assert [(one.name, one.position) for one in changes] == [
        ("a", 10),
        ("c", 12),
        ("z", 15),
        ("b", 18),
    ]
    assert mirror.position == 20


async def test_removal_tells_the_record_of_its_event_though_it_was_never_seen_so(
    mirror: Mirror,
) -> None:
    feed = mirror.feed()
    mirror.happened(event("DELETED", "a", 14, phase="Asleep"))
    (change,) = await pending(feed)
    assert (change.name, change.app, change.position) == ("a", None, 14)
    assert change.last is not None
    assert change.last.phase is Phase.ASLEEP


def test_bookmark_moves_the_position_alone(mirror: Mirror) -> None:
    mirror.happened(Event("BOOKMARK", {"metadata": {"resourceVersion": "30"}}, 30))
    assert mirror.position == 30
    mirror.happened(Event("BOOKMARK", {"metadata": {"resourceVersion": "29"}}, 29))
    assert mirror.position == 30


def test_list_that_did_not_end_is_void(mirror: Mirror) -> None:
    mirror.begin()
    mirror.page([resource("a", 3), resource("ghost", 11)])
    listing(mirror, 20, resource("a", 3), resource("b", 7))
    assert versions(mirror) == {"a": 3, "b": 7}


def test_cluster_whose_history_went_back_is_told_of(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    listing(mirror, 10, resource("a", 3), resource("b", 7))
    assert not caplog.records
    listing(mirror, 4, resource("a", 3))
    assert "restored from a backup" in caplog.text
    assert versions(mirror) == {"a": 3, "b": 7}


def test_unreadable_record_stays_as_it_was_and_is_told(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.happened(event("MODIFIED", "a", 12, phaseSince="yesterday"))
    assert versions(mirror) == {"a": 3, "b": 7}
    assert "PaastisApp 'a' cannot be read" in caplog.text
    mirror.happened(event("MODIFIED", "a", 13))
    assert versions(mirror)["a"] == 13


def test_answer_of_a_write_is_known_and_not_shown_until_the_feed_brings_it(mirror: Mirror) -> None:
    mirror.answered(resource("a", 12, cycle=5))
    assert versions(mirror)["a"] == 3
    newest = mirror.newest("a")
    assert newest is not None
    assert newest.app.cycle == 5
    mirror.happened(event("MODIFIED", "a", 11, cycle=4))
    newest = mirror.newest("a")
    assert newest is not None
    assert newest.app.cycle == 5
    mirror.happened(event("MODIFIED", "a", 13, cycle=6))
    newest = mirror.newest("a")
    assert newest is not None
    assert newest.app.cycle == 6


def test_answers_are_not_kept_for_ever(mirror: Mirror) -> None:
    for number in range(20, 30):
        mirror.answered(resource(f"new-{number}", number))
        mirror.happened(event("DELETED", f"new-{number}", 100 + number))
    mirror.answered(resource("a", 200))
    listing(mirror, 300, resource("b", 7))
    assert mirror.newest("a") is None
    assert not mirror._answers


def test_deletions_are_remembered_up_to_the_next_list_only(mirror: Mirror) -> None:
    for number in range(20, 30):
        mirror.happened(event("ADDED", f"new-{number}", number))
        mirror.happened(event("DELETED", f"new-{number}", 100 + number))
    assert len(mirror._deleted) == 10
    listing(mirror, 125)
    assert len(mirror._deleted) == 4
    mirror.happened(event("MODIFIED", "new-20", 110))
    mirror.happened(event("MODIFIED", "new-29", 128))
    assert not mirror.apps


async def test_reader_waits_for_what_a_list_brings(mirror: Mirror) -> None:
    feed = mirror.feed()
    reading = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0)
    listing(mirror, 20, resource("a", 3), resource("b", 11))
    assert (await reading).position == 11
