"""The registry of one process: records in a dict, written through to a small SQLite file.

All writes pass through one queue. Whatever has gathered there while the disk was busy is staged in
order, committed in one transaction on one thread, and only then put into the mirror, the feeds and
the answers. So a write is durable when its caller hears of it, hundreds at once cost a few commits,
a failing disk changes nothing here, and a caller that is cancelled leaves no difference between
memory and disk.
"""

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from paastis.app import App, AppChange
from paastis.errors import Conflict, Forgotten, RegistryUnavailable, UnknownApp
from paastis.metrics import Metrics
from paastis.registry.codec import encode
from paastis.registry.feed import Feed
from paastis.registry.port import Change, Leadership, Presence
from paastis.registry.statefile import StateFile
from paastis.registry.steps import Step, access, alteration, creation, removal

log = logging.getLogger(__name__)

SILENT_AFTER = timedelta(seconds=10)
"""How old a heartbeat may be: five times the 2 s at which proxies send them."""

_BATCH = 1000
"""Writes in one transaction at most: some 50 ms of disk, so that nobody waits long."""


@dataclass(eq=False, slots=True)
class _Write:
    """A write on its way; `done` answers with the record as it is after it."""

    name: str
    step: Step
    done: "asyncio.Future[App | None]"


class _Forever:
    """The leadership of the only process there is."""

    def outlives(self, span: timedelta) -> bool:
        del span
        return True

    async def lost(self) -> None:
        await asyncio.get_running_loop().create_future()


class MemoryRegistry:
    """The `in-memory` kind of `paastis.registry.port.Registry`.

    Without a state file it works at once and forgets everything at the end. With one it has to be
    opened, by `await MemoryRegistry.open(…)` or as an `async with` block; writes before that raise
    `RegistryUnavailable`. `monotonic` (seconds) times the heartbeats, `metrics` counts the writes.
    """

    def __init__(
        self,
        state_file: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        silent_after: timedelta = SILENT_AFTER,
        metrics: Metrics | None = None,
    ) -> None:
        self._state_file = state_file
        self._monotonic = monotonic
        self._metrics = metrics
        self._silent_after = silent_after.total_seconds()
        self._records: dict[str, App] = {}
        self._mirror = MappingProxyType(self._records)
        self._position = 0
        self._fresh = True
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        self._heartbeats: dict[str, tuple[int, float]] = {}
        self._leading = asyncio.Lock()
        self._closed = False

        self._state: StateFile | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._writer: asyncio.Task[None] | None = None
        self._queue: list[_Write] = []
        self._queued = asyncio.Event()
        # Names whose row may differ from memory, since a commit failed and the disk did not tell
        # how far it came. The next commit writes them again.
        self._doubtful: set[str] = set()

    @classmethod
    async def open(
        cls,
        state_file: Path | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        silent_after: timedelta = SILENT_AFTER,
        metrics: Metrics | None = None,
    ) -> Self:
        """A registry with what the state file holds.

        Raises `ConfigError` if the file cannot be used or another paastis uses it.
        """
        registry = cls(state_file, monotonic=monotonic, silent_after=silent_after, metrics=metrics)
        await registry._open()
        return registry

    async def _open(self) -> None:
        if self._state_file is None or self._writer is not None:
            return
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="paastis-state")
        opening = asyncio.get_running_loop().run_in_executor(
            thread, StateFile.open, self._state_file
        )
        try:
            # Shielded: cancelled half-way, the file would stay locked for the next attempt.
            self._state = state = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            thread.shutdown(wait=False)
            raise
        except BaseException:
            thread.shutdown(wait=False)
            raise
        self._thread = thread
        self._records.update(state.records)
        self._position = state.position
        self._fresh = state.fresh
        self._writer = asyncio.create_task(self._write_on(), name="registry writer")

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- reading

    @property
    def shared(self) -> bool:
        """False: one process holds everything."""
        return False

    @property
    def fresh(self) -> bool:
        """Whether nothing was remembered: no state file, or a new one."""
        return self._fresh

    def apps(self) -> Mapping[str, App]:
        """See the port."""
        return self._mirror

    def position(self) -> int:
        """See the port."""
        return self._position

    def changes(self) -> AsyncIterator[Change]:
        """See the port."""
        feed = Feed()
        if self._closed:
            feed.end()
        self._feeds.add(feed)
        return feed

    # --- writing

    async def create(self, app: App) -> App:
        """See the port."""
        return _present(await self._write("create", app.name, creation(app)))

    async def remove(self, name: str, *, seen_version: int) -> None:
        """See the port."""
        await self._write("remove", name, removal(seen_version))

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        """See the port."""
        return _present(await self._write("update", name, alteration(name, change, seen_version)))

    async def record_access(self, name: str, when: datetime, *, wake_for: int | None = None) -> App:
        """See the port."""
        return _present(await self._write("access", name, access(name, when, wake_for)))

    async def _write(self, kind: str, name: str, step: Step) -> App | None:
        outcome = "failed"
        try:
            answer = await self._written(name, step)
            outcome = "written"
        except Conflict:
            outcome = "conflict"
            raise
        except UnknownApp:
            outcome = "unknown"
            raise
        finally:
            if self._metrics is not None:
                self._metrics.registry_writes.labels(kind, outcome).inc()
        return answer

    async def _written(self, name: str, step: Step) -> App | None:
        if self._closed:
            raise RegistryUnavailable("The registry is closed.")
        write = _Write(name, step, asyncio.get_running_loop().create_future())
        if self._state_file is None:
            self._publish(self._stage([write]))
        elif self._writer is None:
            raise RegistryUnavailable("The registry is not open yet.")
        else:
            # The queue holds one write per waiting caller: it is as bounded as they are.
            self._queue.append(write)
            self._queued.set()
        return await write.done

    async def _write_on(self) -> None:
        """Commit what gathers in the queue, until the registry is closed and the queue empty."""
        batch: list[_Write] = []
        try:
            while True:
                await self._queued.wait()
                # A caller that was cancelled before its turn does not want its write any more.
                batch = [write for write in self._queue[:_BATCH] if not write.done.done()]
                del self._queue[:_BATCH]
                if batch:
                    await self._commit(batch)
                elif not self._queue:
                    if self._closed:
                        return
                    self._queued.clear()
        finally:
            _refuse([*batch, *self._queue], RegistryUnavailable("The registry was stopped."))

    async def _commit(self, batch: Sequence[_Write]) -> None:
        staged = self._stage(batch)
        if staged.changes:
            rows = {name: _encoded(self._records.get(name)) for name in self._doubtful}
            rows |= {name: staged.rows[name] for name in staged.changes}
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._thread, self._save, rows, staged.position)
            except Exception as error:  # noqa: BLE001 - callers hear of it and the writer goes on
                self._doubtful |= rows.keys()
                if not isinstance(error, RegistryUnavailable):
                    error = RegistryUnavailable(f"The registry could not write: {error!r}.")
                log.error("%s", error)  # noqa: TRY400 - the sentence is all there is to say
                _refuse(batch, error)
                return
            self._doubtful.clear()
        self._publish(staged)

    def _save(self, rows: Mapping[str, str | None], position: int) -> None:
        assert self._state is not None  # noqa: S101 - the writer runs only while the file is open
        self._state.commit(rows, position=position)

    def _stage(self, batch: Sequence[_Write]) -> "_Staged":
        """What the writes lead to, one after the other, without doing it."""
        staged = _Staged(self._position)
        for write in batch:
            earlier = staged.changes.pop(write.name, None)
            found = self._records.get(write.name) if earlier is None else earlier.app
            try:
                wanted = write.step(found)
                if wanted is not None:
                    wanted = replace(wanted, version=staged.position + 1)
                row = None if self._state is None else _encoded(wanted)
            except Exception as refusal:  # noqa: BLE001 - it belongs to the caller, whatever it is
                staged.answers.append((write, refusal))
                if earlier is not None:
                    staged.changes[write.name] = earlier
                continue
            if wanted is not None or found is not None:
                staged.position += 1
                staged.rows[write.name] = row
                last = found if wanted is None else None
                staged.changes[write.name] = Change(write.name, wanted, staged.position, last)
            elif earlier is not None:
                staged.changes[write.name] = earlier
            staged.answers.append((write, wanted))
        return staged

    def _publish(self, staged: "_Staged") -> None:
        """Show what is written: to the mirror, the feeds and those who wait. Awaits nothing."""
        for change in sorted(staged.changes.values(), key=lambda change: change.position):
            if change.app is None:
                self._records.pop(change.name, None)
            else:
                self._records[change.name] = change.app
            for feed in self._feeds:
                feed.push(change)
        self._position = staged.position
        for write, answer in staged.answers:
            if write.done.done():
                continue  # its caller was cancelled; the write stands
            if isinstance(answer, Exception):
                write.done.set_exception(answer)
            else:
                write.done.set_result(answer)

    # --- presence and leadership

    async def heartbeat(self, proxy: str, *, position: int) -> None:
        """See the port."""
        if position > 0 and proxy not in self._heartbeats:
            raise Forgotten(f"The registry does not know the proxy {proxy}.")
        self._heartbeats[proxy] = (position, self._monotonic())

    async def goodbye(self, proxy: str) -> None:
        """See the port."""
        self._heartbeats.pop(proxy, None)

    async def proxies(self) -> tuple[Presence, ...]:
        """See the port."""
        oldest = self._monotonic() - self._silent_after
        return tuple(
            Presence(proxy, position, silent=at < oldest)
            for proxy, (position, at) in sorted(self._heartbeats.items())
        )

    @asynccontextmanager
    async def lead(self) -> AsyncIterator[Leadership]:
        """See the port. Immediate, unless another task of this process leads already."""
        async with self._leading:
            yield _Forever()

    def controller_overdue(self) -> timedelta:
        """Zero: the controller is in this process."""
        return timedelta(0)

    async def aclose(self) -> None:
        """See the port."""
        if not self._closed:
            self._closed = True
            self._queued.set()
            for feed in self._feeds:
                feed.end()
        if self._writer is not None:
            # Not cancelled with us: it ends by itself once the queue is written.
            await asyncio.shield(self._writer)
        if self._thread is not None and self._state is not None:
            state, self._state = self._state, None
            await asyncio.get_running_loop().run_in_executor(self._thread, state.close)
            self._thread.shutdown(wait=False)


class _Staged:
    """Changes that are decided and not yet made."""

    def __init__(self, position: int) -> None:
        self.changes: dict[str, Change] = {}
        """The last change of each name."""
        self.rows: dict[str, str | None] = {}
        """The same for the state file."""
        self.answers: list[tuple[_Write, App | Exception | None]] = []
        self.position = position


def _present(app: App | None) -> App:
    assert app is not None  # noqa: S101 - the step answers with a record or raises
    return app


def _encoded(app: App | None) -> str | None:
    return None if app is None else encode(app)


def _refuse(writes: Sequence[_Write], error: RegistryUnavailable) -> None:
    for write in writes:
        if not write.done.done():
            write.done.set_exception(error)


def _close_opened(opening: "asyncio.Future[StateFile]") -> None:
    """Release a file that was opened for a caller who has gone."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
