"""The in-memory kind: the contract without and with a state file, and what is its own."""

import asyncio
import gc
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from paastis.app import App, Phase
from paastis.errors import ConfigError, Conflict, RegistryUnavailable, UnknownApp
from paastis.metrics import Metrics
from paastis.registry.memory import MemoryRegistry
from paastis.registry.port import Registry
from paastis.registry.statefile import StateFile
from tests.paastis.registry.contract import (
    NOON,
    DurableContract,
    PassTime,
    Program,
    RegistryContract,
    an_app,
    soon,
    until,
)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pass_time(clock: Clock) -> PassTime:
    async def wait(seconds: float) -> None:
        clock.seconds += seconds

    return wait


@pytest.fixture
def second_view(registry: MemoryRegistry) -> Registry:
    return registry


class TestWithoutFile(RegistryContract):
    @pytest.fixture
    async def registry(self, clock: Clock) -> AsyncIterator[Registry]:
        async with MemoryRegistry(monotonic=clock) as registry:
            yield registry

    async def test_it_works_unopened_and_is_fresh_and_not_shared(self) -> None:
        registry = MemoryRegistry()
        assert registry.fresh
        assert not registry.shared
        await registry.create(an_app())


class TestWithFile(DurableContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "paastis.db"

    @pytest.fixture
    async def registry(self, path: Path, clock: Clock) -> AsyncIterator[Registry]:
        async with await MemoryRegistry.open(path, monotonic=clock) as registry:
            yield registry

    @pytest.fixture
    def program(self, path: Path) -> Program:
        opener = f"""
from pathlib import Path
from paastis.registry.memory import MemoryRegistry

async def opened():
    return await MemoryRegistry.open(Path({str(path)!r}))
"""
        return Program(opener, lambda: MemoryRegistry.open(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paastis.db"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> "Disk":
    disk = Disk()
    real = StateFile.commit

    def commit(self: StateFile, rows: Mapping[str, str | None], *, position: int) -> None:
        disk.commits.append(dict(rows))
        if disk.delay:
            time.sleep(disk.delay)
        if disk.lands:
            real(self, rows, position=position)
        if disk.broken:
            raise RegistryUnavailable("The state file could not be written: disk I/O error.")

    monkeypatch.setattr(StateFile, "commit", commit)
    return disk


class Disk:
    """What the disk does with commits."""

    def __init__(self) -> None:
        self.commits: list[dict[str, str | None]] = []
        self.broken = False
        self.lands = True
        self.delay = 0.0


async def test_state_survives_an_orderly_end(path: Path) -> None:
    async with await MemoryRegistry.open(path) as registry:
        assert registry.fresh
        created = await registry.create(an_app(phase=Phase.ASLEEP))
        gone = await registry.create(an_app("gone"))
        await registry.remove("gone", seen_version=gone.version)
        position = registry.position()
    async with await MemoryRegistry.open(path) as registry:
        assert not registry.fresh
        assert dict(registry.apps()) == {"shop": created}
        # The removal was the last step; a version is never given twice.
        assert registry.position() == position > created.version


async def test_unopened_registry_with_a_file_refuses_writes(path: Path) -> None:
    with pytest.raises(RegistryUnavailable):
        await MemoryRegistry(path).create(an_app())


async def test_failing_disk_changes_nothing_and_the_caller_hears_of_it(
    path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created = await registry.create(an_app())
        feed = registry.changes()
        disk.broken, disk.lands = True, False
        with pytest.raises(RegistryUnavailable, match="disk I/O error"):
            await registry.update("shop", {"cycle": 2}, seen_version=created.version)
        with pytest.raises(RegistryUnavailable):
            await registry.create(an_app("other"))
        assert dict(registry.apps()) == {"shop": created}
        assert registry.position() == created.version
        assert any(record.levelno == logging.ERROR for record in caplog.records)
        disk.broken, disk.lands = False, True
        healed = await registry.update("shop", {"cycle": 3}, seen_version=created.version)
        assert (await soon(anext(feed))).app == healed
    async with await MemoryRegistry.open(path) as registry:
        assert dict(registry.apps()) == {"shop": healed}


async def test_commit_that_failed_after_it_landed_is_undone_by_the_next_one(
    path: Path, disk: Disk
) -> None:
    """Otherwise a restart would show what the running process never did."""
    async with await MemoryRegistry.open(path) as registry:
        created = await registry.create(an_app())
        disk.broken = True
        with pytest.raises(RegistryUnavailable):
            await registry.update("shop", {"cycle": 99}, seen_version=created.version)
        with pytest.raises(RegistryUnavailable):
            await registry.create(an_app("ghost"))
        disk.broken = False
        other = await registry.create(an_app("other"))
    async with await MemoryRegistry.open(path) as registry:
        assert dict(registry.apps()) == {"shop": created, "other": other}


async def test_writes_gather_into_few_commits(path: Path, disk: Disk) -> None:
    disk.delay = 0.01
    async with await MemoryRegistry.open(path) as registry:
        await soon(asyncio.gather(*(registry.create(an_app(f"app-{n}")) for n in range(500))))
    assert len(disk.commits) <= 3


async def test_writes_of_one_commit_see_each_other(path: Path, disk: Disk) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created, refused, accessed, stale = await asyncio.gather(
            registry.create(an_app()),
            registry.create(an_app()),
            registry.record_access("shop", NOON),
            registry.update("shop", {"cycle": 2}, seen_version=1),
            return_exceptions=True,
        )
        assert isinstance(created, App)
        assert isinstance(refused, Conflict)
        assert isinstance(accessed, App)
        assert isinstance(stale, Conflict)
        assert accessed.version == created.version + 1
        assert registry.apps()["shop"] == accessed
    assert len(disk.commits) == 1


async def test_loop_goes_on_while_the_disk_is_slow(path: Path, disk: Disk) -> None:
    async with await MemoryRegistry.open(path) as registry:
        disk.delay = 0.3
        write = asyncio.create_task(registry.create(an_app()))
        await until(lambda: len(disk.commits) == 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not write.done()
        assert registry.apps() == {}
        await soon(write)


async def test_cancelled_caller_leaves_memory_and_disk_the_same(path: Path, disk: Disk) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created = await registry.create(an_app())
        disk.delay = 0.05
        write = asyncio.create_task(
            registry.update("shop", {"cycle": 2}, seen_version=created.version)
        )
        await until(lambda: len(disk.commits) == 2)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        after = await registry.record_access("shop", NOON)
        assert after.cycle == 2
    async with await MemoryRegistry.open(path) as registry:
        assert registry.apps()["shop"] == after


async def test_write_cancelled_before_its_turn_does_not_happen(path: Path, disk: Disk) -> None:
    async with await MemoryRegistry.open(path) as registry:
        disk.delay = 0.05
        first = asyncio.create_task(registry.create(an_app("first")))
        await until(lambda: len(disk.commits) == 1)
        second = asyncio.create_task(registry.create(an_app("second")))
        await asyncio.sleep(0)
        second.cancel()
        await soon(first)
        third = await soon(registry.create(an_app("third")))
        assert set(registry.apps()) == {"first", "third"}
        assert third.version == 2


async def test_closing_waits_for_the_writes_on_their_way(path: Path, disk: Disk) -> None:
    registry = await MemoryRegistry.open(path)
    disk.delay = 0.05
    writes = [asyncio.create_task(registry.create(an_app(f"app-{n}"))) for n in range(5)]
    await until(lambda: len(disk.commits) == 1)
    await soon(registry.aclose())
    assert all(write.done() and write.exception() is None for write in writes)
    async with await MemoryRegistry.open(path) as registry:
        assert len(registry.apps()) == 5


async def test_mistake_of_a_caller_is_its_own_and_the_writer_goes_on(path: Path) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created = await registry.create(an_app())
        with pytest.raises(TypeError):
            await registry.update("shop", {"colour": "red"}, seen_version=created.version)  # type: ignore[typeddict-unknown-key]
        await soon(registry.update("shop", {"cycle": 2}, seen_version=created.version))


async def test_value_that_could_not_be_read_again_is_not_written(path: Path) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created, refused = await asyncio.gather(
            registry.create(an_app("good")),
            registry.create(an_app("bad", cycle="three")),
            return_exceptions=True,
        )
        assert isinstance(refused, ValueError)
        assert dict(registry.apps()) == {"good": created}
    async with await MemoryRegistry.open(path) as registry:
        assert dict(registry.apps()) == {"good": created}


async def test_feed_that_nobody_reads_any_more_is_let_go(path: Path) -> None:
    registry = MemoryRegistry()
    feed = registry.changes()
    await registry.create(an_app())
    assert len(registry._feeds) == 1
    del feed
    gc.collect()
    assert len(registry._feeds) == 0


async def test_two_thousand_writes_are_done_before_the_deadline_of_one(path: Path) -> None:
    async with await MemoryRegistry.open(path) as registry:
        apps = await soon(asyncio.gather(*(registry.create(an_app(f"a{n}")) for n in range(1000))))
        await soon(asyncio.gather(*(registry.record_access(app.name, NOON) for app in apps)))


async def test_opening_that_is_cancelled_leaves_the_file_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entered = StateFile.open, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(path: Path) -> StateFile:
        state = real(path)  # it holds the lock from here, so only its end lets the next one in
        loop.call_soon_threadsafe(entered.set)
        time.sleep(0.05)
        return state

    monkeypatch.setattr(StateFile, "open", slow)
    opening: asyncio.Task[MemoryRegistry] = asyncio.create_task(MemoryRegistry.open(path))
    await soon(entered.wait())
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    monkeypatch.undo()

    async def open_again() -> MemoryRegistry:
        while True:
            try:
                return await MemoryRegistry.open(path)
            except ConfigError:
                await asyncio.sleep(0.01)

    await (await soon(open_again())).aclose()


async def test_reader_with_sqlite_tools_does_not_stop_the_writes(path: Path) -> None:
    async with await MemoryRegistry.open(path) as registry:
        created = await registry.create(an_app())
        reader = sqlite3.connect(path)
        try:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM apps").fetchone() == (1,)
            updated = await soon(
                registry.update("shop", {"cycle": 2}, seen_version=created.version)
            )
        finally:
            reader.close()
        assert updated == replace(created, cycle=2, version=updated.version)


async def test_writes_are_counted_by_kind_and_outcome() -> None:
    metrics = Metrics()
    registry = MemoryRegistry(metrics=metrics)
    created = await registry.create(an_app())
    await registry.record_access("shop", NOON)
    with pytest.raises(Conflict):
        await registry.update("shop", {"cycle": 2}, seen_version=created.version)
    with pytest.raises(UnknownApp):
        await registry.record_access("nobody", NOON)
    await registry.aclose()
    with pytest.raises(RegistryUnavailable):
        await registry.record_access("shop", NOON)
    count = {
        (sample.labels["kind"], sample.labels["outcome"]): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "paastis_registry_writes_total"
    }
    assert count == {
        ("create", "written"): 1,
        ("access", "written"): 1,
        ("update", "conflict"): 1,
        ("access", "unknown"): 1,
        ("access", "failed"): 1,
    }


async def test_silence_begins_after_ten_seconds(clock: Clock) -> None:
    registry = MemoryRegistry(monotonic=clock)
    await registry.heartbeat("p", position=0)
    clock.seconds += 10
    assert [p.silent for p in await registry.proxies()] == [False]
    clock.seconds += timedelta(milliseconds=1).total_seconds()
    assert [p.silent for p in await registry.proxies()] == [True]
