"""When use is written down, and what heartbeats may tell. Times are plain seconds."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import App, Phase
from paastis.policy import Policy
from proxy.access import Access, Ticket
from tests.proxy.world import BORN, an_app

POLICY = Policy(access_resolution=timedelta(seconds=10))


def wall(now: float) -> datetime:
    return BORN + timedelta(seconds=now)


class Book:
    """An access book with the registry's part played by hand."""

    def __init__(
        self,
        *apps: App,
        links: dict[str, tuple[str, ...]] | None = None,
        lots: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.access = Access(
            links=lambda name: (links or {}).get(name, ()), backoff=lambda n: 1.0, lots=lots
        )
        self.records = {}
        for number, app in enumerate(apps, start=1):
            self.records[app.name] = replace(app, version=number)
            self.see(app.name, now=0)

    @property
    def version(self) -> int:
        return max(record.version for record in self.records.values())

    def see(self, name: str, *, now: float) -> None:
        self.access.observe(self.records[name], now=now, wall=wall(now))

    def change(self, name: str, *, now: float, **changes: object) -> App:
        changed = replace(self.records[name], version=self.version + 1, **changes)  # type: ignore[arg-type]
        self.records[name] = changed
        self.see(name, now=now)
        return changed

    def drain(self, name: str, *, now: float) -> App:
        return self.change(name, now=now, phase=Phase.DRAINING, phase_since=wall(now))

    def write(self, name: str, *, now: float) -> None:
        """A write that was begun comes back."""
        record = replace(self.records[name], version=self.version + 1, last_access_time=wall(now))
        self.records[name] = record
        self.access.end_write(name, record, now)


def one() -> Book:
    return Book(an_app("a", policy=POLICY))


def test_first_use_is_due_at_once_and_the_next_one_a_resolution_later() -> None:
    book = one()
    book.access.end(book.access.begin("a", 100), 100)
    assert book.access.due(100) == ["a"]
    book.write("a", now=100)
    assert book.access.due(100) == []

    book.access.end(book.access.begin("a", 101), 101)
    assert book.access.next_due() == 110
    assert book.access.due(109.9) == []
    assert book.access.due(110) == ["a"]


def test_replicas_that_saw_the_same_write_are_not_due_together() -> None:
    lots = iter((0.0, 0.5, 1.0))
    book = Book(an_app("a", policy=POLICY), lots=lambda: next(lots))
    ticket = book.access.begin("a", 100)
    assert book.access.due(100) == ["a"]
    book.write("a", now=100)
    assert book.access.next_due() == 110
    book.change("a", now=109, last_access_time=wall(109))  # by another replica
    assert book.access.due(119.9) == []
    assert book.access.due(120) == ["a"]
    book.write("a", now=120)
    assert book.access.next_due() == 132
    book.access.end(ticket, 121)


def test_nothing_is_due_without_new_use() -> None:
    book = one()
    book.access.end(book.access.begin("a", 100), 100)
    book.access.due(100)
    book.write("a", now=100)
    assert book.access.next_due() is None
    assert book.access.due(1000) == []


def test_open_request_is_renewed_at_every_resolution() -> None:
    book = one()
    ticket = book.access.begin("a", 0)
    for turn in range(5):
        assert book.access.due(turn * 10) == ["a"]
        book.write("a", now=turn * 10)
        assert book.access.due(turn * 10 + 9.9) == []
    book.access.end(ticket, 45)
    assert book.access.due(50) == ["a"]
    book.write("a", now=50)
    assert book.access.next_due() is None


def test_write_of_another_proxy_saves_ours() -> None:
    book = one()
    book.change("a", now=5, last_access_time=wall(5))
    book.access.end(book.access.begin("a", 6), 6)
    assert book.access.due(14.9) == []
    assert book.access.due(15) == ["a"]


def test_time_from_the_future_does_not_silence_us() -> None:
    book = one()
    book.change("a", now=5, last_access_time=wall(9999))
    book.access.begin("a", 6)
    assert book.access.due(15) == ["a"]


def test_failed_write_is_tried_again_after_a_pause() -> None:
    book = one()
    book.access.begin("a", 0)
    assert book.access.due(0) == ["a"]
    book.access.end_write("a", None, 2)
    assert book.access.due(2.9) == []
    assert book.access.due(3) == ["a"]


def test_only_one_write_is_on_its_way() -> None:
    book = one()
    book.access.begin("a", 0)
    assert book.access.due(0) == ["a"]
    book.access.begin("a", 0)
    assert book.access.due(60) == []


def test_drain_of_an_app_in_use_is_objected_to_at_once() -> None:
    book = one()
    book.access.begin("a", 0)
    book.access.due(0)
    book.write("a", now=0)
    draining = book.drain("a", now=3)

    assert book.access.safe_position(draining.version) == draining.version - 1
    assert not book.access.may_pass_drain("a")
    assert book.access.due(3) == ["a"]
    book.write("a", now=3)
    assert book.access.safe_position(book.version) == book.version
    assert book.access.may_pass_drain("a")


def test_drain_of_an_unused_app_is_agreed_to() -> None:
    book = one()
    draining = book.drain("a", now=3)
    assert book.access.safe_position(draining.version) == draining.version
    assert book.access.due(1000) == []


def test_use_that_the_record_does_not_show_objects() -> None:
    book = one()
    book.change("a", now=0, last_access_time=wall(0))
    book.access.end(book.access.begin("a", 1), 1)
    book.drain("a", now=2)
    assert book.access.due(2) == ["a"]


def test_new_use_during_a_drain_objects() -> None:
    book = one()
    draining = book.drain("a", now=3)
    book.access.begin("a", 4)
    assert book.access.safe_position(draining.version) < draining.version
    assert book.access.due(4) == ["a"]


def test_failed_objection_holds_the_heartbeat_back() -> None:
    book = one()
    book.access.begin("a", 0)
    draining = book.drain("a", now=3)
    assert book.access.due(3) == ["a"]
    book.access.end_write("a", None, 3)
    assert book.access.safe_position(draining.version) < draining.version
    assert book.access.due(4) == ["a"]


def test_write_begun_before_the_drain_and_done_before_it_has_met_nothing() -> None:
    book = one()
    book.access.begin("a", 0)
    assert book.access.due(0) == ["a"]
    early = replace(book.records["a"], version=2, last_access_time=wall(0))
    book.records["a"] = replace(early, version=3, phase=Phase.DRAINING, phase_since=wall(1))
    book.see("a", now=1)
    book.access.end_write("a", early, 2)

    assert not book.access.may_pass_drain("a")
    assert book.access.safe_position(3) == 2
    assert book.access.due(2) == ["a"]


def test_objection_of_another_proxy_does_not_make_us_object_again() -> None:
    book = one()
    book.access.begin("a", 0)
    book.drain("a", now=3)
    assert book.access.due(3) == ["a"]
    book.write("a", now=3)
    theirs = book.change("a", now=4, last_access_time=wall(4))
    assert book.access.safe_position(theirs.version) == theirs.version
    assert book.access.due(4) == []


def test_next_drain_needs_a_new_objection() -> None:
    book = one()
    book.access.begin("a", 0)
    book.drain("a", now=3)
    book.access.due(3)
    book.write("a", now=3)
    book.change("a", now=4, phase=Phase.AWAKE)
    book.drain("a", now=9)
    assert not book.access.may_pass_drain("a")
    assert book.access.due(9) == ["a"]


def linked() -> Book:
    return Book(an_app("a", policy=POLICY), an_app("b", policy=POLICY), links={"a": ("b",)})


def test_use_through_a_link_is_open_but_not_written_while_awake() -> None:
    book = linked()
    ticket = book.access.begin("a", 0)
    assert book.access.open_for("b") == 1
    assert book.access.due(0) == ["a"]
    book.access.end(ticket, 1)
    assert book.access.open_for("b") == 0


def test_use_through_a_link_objects_to_a_drain() -> None:
    book = linked()
    book.access.begin("a", 0)
    book.access.due(0)
    book.write("a", now=0)
    book.drain("b", now=3)
    assert book.access.due(3) == ["b"]


def test_use_through_a_link_long_ago_agrees_to_a_drain() -> None:
    book = linked()
    book.access.end(book.access.begin("a", 0), 0)
    book.access.due(0)
    book.write("a", now=0)
    draining = book.drain("b", now=11)
    assert book.access.safe_position(draining.version) == draining.version


def test_ticket_closes_once_and_what_it_opened() -> None:
    links: dict[str, tuple[str, ...]] = {"a": ("b",)}
    book = Book(an_app("a", policy=POLICY), an_app("b", policy=POLICY), links=links)
    ticket = book.access.begin("a", 0)
    links["a"] = ()
    book.access.end(ticket, 1)
    book.access.end(ticket, 1)
    assert [book.access.open_for(name) for name in "ab"] == [0, 0]
    assert book.access.open_requests == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "end", "wait"]), st.sampled_from("ab"), st.floats(0, 7)
        ),
        max_size=60,
    )
)
def test_record_is_never_older_than_a_resolution_while_in_use(
    steps: list[tuple[str, str, float]],
) -> None:
    book = linked()
    now = 0.0
    tickets: list[Ticket] = []
    opened = {"a": 0, "b": 0}
    writes: dict[str, list[float]] = {"a": [], "b": []}

    def settle() -> None:
        for name in book.access.due(now):
            writes[name].append(now)
            book.write(name, now=now)
        due = book.access.next_due()
        assert due is None or due > now

    for step, name, pause in steps:
        if step == "begin":
            tickets.append(book.access.begin(name, now))
            opened[name] += 1
        elif step == "end" and tickets:
            ticket = tickets.pop()
            opened[ticket.apps[0]] -= 1
            book.access.end(ticket, now)
        end = now + pause
        while (due := book.access.next_due()) is not None and due <= end:
            now = max(now, due)
            settle()
        now = end
        settle()
        for name_, count in opened.items():
            if count:
                assert now - writes[name_][-1] <= 10 + 1e-6
    for times in writes.values():
        assert all(later - earlier >= 10 - 1e-6 for earlier, later in pairwise(times))
    assert book.access.open_for("a") == opened["a"]
    assert book.access.open_for("b") == opened["b"] + opened["a"]


@pytest.mark.parametrize("count", [1, 1000])
def test_writes_do_not_grow_with_traffic(count: int) -> None:
    book = one()
    writes = 0
    for number in range(count * 10):
        now = number / count * 10
        book.access.end(book.access.begin("a", now), now)
        for name in book.access.due(now):
            writes += 1
            book.write(name, now=now)
    assert writes == 10
