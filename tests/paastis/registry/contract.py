"""What every kind of registry must do. Each kind's test module subclasses `RegistryContract`.

It provides the fixtures `registry`, `second_view` (another client of the same registry; the same
object where a kind has one client only) and `pass_time` (lets seconds pass for heartbeats).
Kinds that survive a restart subclass `DurableContract` and provide `program` as well.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from paastis.app import App, Formation, Identity, Phase, Process, Snapshot
from paastis.errors import Conflict, Forgotten, RegistryUnavailable, UnknownApp
from paastis.registry.port import Change, Registry

T = TypeVar("T")

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DEADLINE = 10.0
"""Seconds until a test gives up waiting."""

PassTime = Callable[[float], Awaitable[None]]


def an_app(name: str = "shop", **fields: object) -> App:
    """A record as discovery makes it."""
    app = App(
        name=name,
        identity=Identity("main", "osc-fr1", f"id-of-{name}"),
        provider="scalingo",
        app_name=name,
        created_at=NOON,
    )
    return replace(app, **fields)  # type: ignore[arg-type]


async def soon(awaitable: Awaitable[T]) -> T:
    """The result, or a failed test after the deadline."""
    return await asyncio.wait_for(awaitable, DEADLINE)


async def next_change(feed: AsyncIterator[Change]) -> Change:
    """The next step of a feed."""
    return await soon(anext(feed))


async def read_until(feed: AsyncIterator[Change], position: int) -> list[Change]:
    """What a feed shows until it has reached a position."""
    seen = [await next_change(feed)]
    while seen[-1].position < position:
        seen.append(await next_change(feed))
    return seen


async def until(holds: Callable[[], bool]) -> None:
    """Return when the condition holds; fail after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - the port offers nothing to wait on
            await asyncio.sleep(0.001)


class RegistryContract:
    """The claims."""

    # --- writes

    async def test_created_record_is_answered_with_its_version(self, registry: Registry) -> None:
        created = await registry.create(an_app())
        assert created == replace(an_app(), version=created.version)
        assert created.version > 0

    async def test_creating_a_taken_name_is_a_conflict(self, registry: Registry) -> None:
        first = await registry.create(an_app())
        with pytest.raises(Conflict):
            await registry.create(an_app(app_name="other"))
        await until(lambda: registry.apps().get("shop") == first)

    async def test_versions_grow_over_all_records(self, registry: Registry) -> None:
        a = await registry.create(an_app("a"))
        b = await registry.create(an_app("b"))
        a_again = await registry.update("a", {"cycle": 2}, seen_version=a.version)
        b_again = await registry.record_access("b", NOON)
        assert a.version < b.version < a_again.version < b_again.version

    async def test_update_replaces_the_named_fields_only(self, registry: Registry) -> None:
        created = await registry.create(an_app(cycle=4, hosts=("shop.example",)))
        await registry.record_access("shop", NOON, wake_for=4)
        known = await registry.record_access("shop", NOON + TICK)
        updated = await registry.update("shop", {"phase": Phase.AWAKE}, seen_version=known.version)
        assert updated == replace(
            created,
            phase=Phase.AWAKE,
            last_access_time=NOON + TICK,
            wake_for=4,
            version=updated.version,
        )

    async def test_update_from_an_old_version_is_a_conflict_and_changes_nothing(
        self, registry: Registry
    ) -> None:
        created = await registry.create(an_app())
        accessed = await registry.record_access("shop", NOON)
        with pytest.raises(Conflict):
            await registry.update("shop", {"cycle": 9}, seen_version=created.version)
        now = await registry.update("shop", {"phase": Phase.AWAKE}, seen_version=accessed.version)
        assert now.cycle == 1

    async def test_of_many_updates_from_one_version_exactly_one_wins(
        self, registry: Registry, second_view: Registry
    ) -> None:
        created = await registry.create(an_app())

        async def attempt(number: int) -> bool:
            view = registry if number % 2 else second_view
            try:
                await view.update("shop", {"cycle": number}, seen_version=created.version)
            except Conflict:
                return False
            return True

        won = await soon(asyncio.gather(*(attempt(number) for number in range(2, 22))))
        assert won.count(True) == 1
        final = await registry.record_access("shop", NOON)
        assert final.cycle == won.index(True) + 2

    async def test_unknown_names_are_refused(self, registry: Registry) -> None:
        with pytest.raises(UnknownApp):
            await registry.update("nobody", {"cycle": 2}, seen_version=1)
        with pytest.raises(UnknownApp):
            await registry.record_access("nobody", NOON)

    async def test_removed_record_is_gone_for_everybody(
        self, registry: Registry, second_view: Registry
    ) -> None:
        created = await registry.create(an_app())
        await until(lambda: "shop" in second_view.apps())
        await registry.remove("shop", seen_version=created.version)
        await until(lambda: "shop" not in registry.apps() and "shop" not in second_view.apps())
        with pytest.raises(UnknownApp):
            await second_view.record_access("shop", NOON)

    async def test_removing_what_is_gone_is_no_error(self, registry: Registry) -> None:
        await registry.remove("nobody", seen_version=3)

    async def test_removing_a_changed_record_is_a_conflict(self, registry: Registry) -> None:
        created = await registry.create(an_app())
        changed = await registry.record_access("shop", NOON)
        with pytest.raises(Conflict):
            await registry.remove("shop", seen_version=created.version)
        await registry.remove("shop", seen_version=changed.version)

    async def test_recreated_record_has_a_higher_version(self, registry: Registry) -> None:
        first = await registry.create(an_app())
        await registry.remove("shop", seen_version=first.version)
        second = await registry.create(an_app())
        assert second.version > first.version

    async def test_hundreds_of_writes_at_once_all_arrive(self, registry: Registry) -> None:
        created = await soon(
            asyncio.gather(*(registry.create(an_app(f"app-{number}")) for number in range(300)))
        )
        assert len({app.version for app in created}) == 300
        await until(lambda: len(registry.apps()) == 300)

    # --- accesses

    async def test_access_never_goes_back(self, registry: Registry) -> None:
        await registry.create(an_app())
        await registry.record_access("shop", NOON)
        earlier = await registry.record_access("shop", NOON - timedelta(hours=1))
        same = await registry.record_access("shop", NOON)
        later = await registry.record_access("shop", NOON + timedelta(seconds=1))
        assert earlier.last_access_time == NOON + TICK
        assert same.last_access_time == NOON + 2 * TICK
        assert later.last_access_time == NOON + timedelta(seconds=1)

    async def test_every_access_write_changes_the_value(
        self, registry: Registry, second_view: Registry
    ) -> None:
        await registry.create(an_app())
        await until(lambda: "shop" in second_view.apps())
        views = (registry, second_view) * 10
        written = await soon(asyncio.gather(*(v.record_access("shop", NOON) for v in views)))
        assert len({app.last_access_time for app in written}) == len(views)

    async def test_wake_is_asked_for_and_a_later_ask_overwrites_it(
        self, registry: Registry, second_view: Registry
    ) -> None:
        await registry.create(an_app(phase=Phase.ASLEEP, cycle=5))
        await until(lambda: "shop" in second_view.apps())
        assert (await registry.record_access("shop", NOON, wake_for=5)).wake_for == 5
        assert (await second_view.record_access("shop", NOON, wake_for=4)).wake_for == 4
        assert (await registry.record_access("shop", NOON, wake_for=5)).wake_for == 5

    async def test_plain_access_leaves_the_wake_alone(self, registry: Registry) -> None:
        await registry.create(an_app(cycle=5))
        await registry.record_access("shop", NOON, wake_for=5)
        assert (await registry.record_access("shop", NOON)).wake_for == 5

    # --- mirror and feed

    async def test_mirror_follows_and_its_position_covers_what_it_shows(
        self, registry: Registry, second_view: Registry
    ) -> None:
        created = await registry.create(an_app())
        for view in (registry, second_view):
            await until(lambda view=view: view.position() >= created.version)  # type: ignore[misc]
            assert view.apps()["shop"] == created

    async def test_mirror_is_read_only(self, registry: Registry) -> None:
        with pytest.raises(TypeError):
            registry.apps()["shop"] = an_app()  # type: ignore[index]

    async def test_mirror_never_goes_back(self, registry: Registry, second_view: Registry) -> None:
        await registry.create(an_app())
        await until(lambda: "shop" in second_view.apps())
        seen: list[int] = []
        stop = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                seen.append(second_view.apps()["shop"].version)
                seen.append(second_view.position())
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        for number in range(50):
            last = await registry.record_access("shop", NOON + timedelta(seconds=number))
        await until(lambda: second_view.position() >= last.version)
        stop.set()
        await soon(watching)
        assert seen[0::2] == sorted(seen[0::2])
        assert seen[1::2] == sorted(seen[1::2])

    async def test_feed_counts_from_the_call(self, registry: Registry) -> None:
        before = await registry.create(an_app("before"))
        await until(lambda: registry.position() >= before.version)
        feed = registry.changes()
        after = await registry.create(an_app("after"))
        seen = await read_until(feed, after.version)
        assert seen[-1] == Change("after", after, after.version)
        assert {change.name for change in seen} == {"after"}

    async def test_feed_shows_changes_in_order_with_growing_positions(
        self, registry: Registry, second_view: Registry
    ) -> None:
        feed = second_view.changes()
        a = await registry.create(an_app("a"))
        b = await registry.create(an_app("b"))
        a_again = await registry.update("a", {"cycle": 2}, seen_version=a.version)
        seen = await read_until(feed, a_again.version)
        positions = [change.position for change in seen]
        assert positions == sorted(set(positions))
        assert seen[-1] == Change("a", a_again, a_again.version)
        assert Change("b", b, b.version) in seen

    async def test_feed_shows_a_removal(self, registry: Registry) -> None:
        created = await registry.create(an_app())
        await until(lambda: registry.position() >= created.version)
        feed = registry.changes()
        await registry.remove("shop", seen_version=created.version)
        change = await next_change(feed)
        assert (change.name, change.app) == ("shop", None)
        assert change.position > created.version
        await until(lambda: registry.position() >= change.position)

    async def test_removal_tells_how_the_record_was_last(
        self, registry: Registry, second_view: Registry
    ) -> None:
        created = await registry.create(an_app())
        feed = second_view.changes()
        last = await registry.update(
            "shop", {"phase": Phase.ASLEEP, "snapshot": SAVED}, seen_version=created.version
        )
        await registry.remove("shop", seen_version=last.version)
        seen = await read_until(feed, last.version + 1)
        told = seen[-1].last
        assert told is not None
        assert replace(told, version=last.version) == last
        assert all(change.last is None for change in seen[:-1])

    async def test_reader_at_a_position_has_seen_every_write_up_to_it(
        self, registry: Registry, second_view: Registry
    ) -> None:
        """Also a slow one, for which changes were put together meanwhile."""
        feed = second_view.changes()
        written = {name: await registry.create(an_app(name)) for name in "abcde"}
        for round_ in range(20):
            name = "abcde"[round_ % 5 if round_ % 3 else 0]
            written[name] = await registry.record_access(name, NOON + timedelta(seconds=round_))
        last = max(app.version for app in written.values())
        await until(lambda: second_view.position() >= last)
        latest: dict[str, App | None] = {}
        position = 0
        while position < last:
            change = await next_change(feed)
            assert change.position > position
            position = change.position
            latest[change.name] = change.app
            for name, app in written.items():
                if app.version <= position:
                    assert latest[name] == app

    async def test_slow_reader_gets_the_latest_state_and_not_each_step(
        self, registry: Registry
    ) -> None:
        await registry.create(an_app())
        await until(lambda: "shop" in registry.apps())
        feed = registry.changes()
        for number in range(100):
            last = await registry.record_access("shop", NOON + timedelta(seconds=number))
        await until(lambda: registry.position() >= last.version)
        seen = await read_until(feed, last.version)
        assert seen[-1].app == last
        assert len(seen) < 10

    async def test_readers_do_not_disturb_each_other(self, registry: Registry) -> None:
        first, second = registry.changes(), registry.changes()
        created = await registry.create(an_app())
        for feed in (first, second):
            assert (await read_until(feed, created.version))[-1].app == created

    async def test_closing_ends_the_feeds(self, registry: Registry) -> None:
        feed, waiting = registry.changes(), registry.changes()
        created = await registry.create(an_app())
        assert (await read_until(waiting, created.version))[-1].app == created
        blocked = asyncio.ensure_future(anext(waiting))
        await asyncio.sleep(0)
        await soon(registry.aclose())
        with pytest.raises(StopAsyncIteration):
            await soon(blocked)
        await soon(_drained(feed))
        await soon(_drained(registry.changes()))

    async def test_closed_registry_refuses_writes_and_closes_twice(
        self, registry: Registry
    ) -> None:
        await registry.aclose()
        await registry.aclose()
        with pytest.raises(RegistryUnavailable):
            await registry.create(an_app())

    # --- presence and leadership

    async def test_heartbeat_shows_a_proxy_and_its_position(
        self, registry: Registry, second_view: Registry
    ) -> None:
        await registry.heartbeat("p1", position=0)
        await second_view.heartbeat("p2", position=0)
        await second_view.heartbeat("p2", position=7)
        await registry.heartbeat("p1", position=9)
        found = {p.proxy: (p.position, p.silent) for p in await registry.proxies()}
        assert found == {"p1": (9, False), "p2": (7, False)}

    async def test_proxy_that_begins_again_has_read_nothing(self, registry: Registry) -> None:
        await registry.heartbeat("p1", position=0)
        await registry.heartbeat("p1", position=9)
        await registry.heartbeat("p1", position=0)
        assert [p.position for p in await registry.proxies()] == [0]

    async def test_mirror_shows_all_that_was_written_before_a_proxy_registered(
        self, registry: Registry, second_view: Registry
    ) -> None:
        """Otherwise one that joins during a drain would forward on what it read before."""
        created = await registry.create(an_app())
        gone = await registry.create(an_app("gone"))
        await registry.remove("gone", seen_version=gone.version)
        drained = await registry.update(
            "shop", {"phase": Phase.DRAINING}, seen_version=created.version
        )
        await second_view.heartbeat("p1", position=0)
        assert dict(second_view.apps()) == {"shop": drained}
        assert second_view.position() >= drained.version

    async def test_heartbeat_of_a_proxy_that_nobody_knows_is_refused(
        self, registry: Registry
    ) -> None:
        with pytest.raises(Forgotten):
            await registry.heartbeat("p1", position=3)
        assert await registry.proxies() == ()
        await registry.heartbeat("p1", position=0)
        await registry.goodbye("p1")
        with pytest.raises(Forgotten):
            await registry.heartbeat("p1", position=3)

    async def test_proxy_without_heartbeats_is_silent_and_not_forgotten(
        self, registry: Registry, pass_time: PassTime
    ) -> None:
        await registry.heartbeat("p1", position=0)
        assert [p.silent for p in await registry.proxies()] == [False]
        await pass_time(9)
        await registry.heartbeat("p2", position=0)
        await pass_time(2)
        found = {p.proxy: p.silent for p in await registry.proxies()}
        assert found == {"p1": True, "p2": False}
        await registry.heartbeat("p1", position=5)
        assert [p.silent for p in await registry.proxies()] == [False, False]

    async def test_goodbye_removes_a_proxy(self, registry: Registry) -> None:
        await registry.heartbeat("p1", position=0)
        await registry.goodbye("p1")
        await registry.goodbye("never-seen")
        assert await registry.proxies() == ()

    async def test_one_leads_and_the_next_waits_until_it_has_given_up(
        self, registry: Registry, second_view: Registry
    ) -> None:
        leading = asyncio.Event()

        async def wait_for_the_lead() -> None:
            async with second_view.lead():
                leading.set()

        async with registry.lead() as leadership:
            assert leadership.outlives(timedelta(seconds=4))
            await until(lambda: registry.controller_overdue() == timedelta(0))
            waiting = asyncio.create_task(wait_for_the_lead())
            lost = asyncio.create_task(leadership.lost())
            await asyncio.sleep(0.01)
            assert not leading.is_set()
            assert not lost.done()
            lost.cancel()
        await soon(waiting)


async def _drained(feed: AsyncIterator[Change]) -> None:
    async for _ in feed:
        pass


@dataclass(frozen=True)
class Program:
    """How another process and a later one get at the same registry."""

    opener: str
    """Python source: defines `async def opened() -> Registry`."""
    reopen: Callable[[], Awaitable[Registry]]


_CHILD = """
import asyncio
from tests.paastis.registry.contract import SAVED, an_app

async def main():
    registry = await opened()
    created = await registry.create(an_app())
    doomed = await registry.create(an_app("doomed"))
    await registry.remove("doomed", seen_version=doomed.version)
    await registry.update("shop", {"snapshot": SAVED, "cycle": 2}, seen_version=created.version)
    print("saved", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

_FORMATION: Formation = (Process("web", 2, "M"), Process("clock", 0, "S"))
SAVED = Snapshot(NOON, _FORMATION, ("autoscaler-1",))


class DurableContract(RegistryContract):
    """The claims of kinds that outlive the process."""

    async def test_what_was_written_is_there_after_a_kill(self, program: Program) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program.opener + _CHILD, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        try:
            assert await soon(child.stdout.readline()) == b"saved\n"
        finally:
            os.kill(child.pid, signal.SIGKILL)
            await soon(child.wait())
        registry = await program.reopen()
        try:
            await until(lambda: "shop" in registry.apps())
            app = registry.apps()["shop"]
            assert (app.snapshot, app.cycle) == (SAVED, 2)
            assert "doomed" not in registry.apps()
            assert registry.position() >= app.version
            later = await registry.record_access("shop", NOON)
            assert later.version > app.version
        finally:
            await registry.aclose()
