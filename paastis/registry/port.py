"""What controller and proxies ask of the registry, whatever its kind.

All kinds obey the same rules, held by one contract suite:

* Versions are integers of one growing sequence. A record's version rises with each write to it,
  and a reader that has seen position p has seen every write with a version up to p.
* `apps()` is the mirror: the records as the feed has shown them so far, never older than before.
* A write answers with the record as it is after it. The mirror may lag behind that answer.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from paastis.app import App, AppChange


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the feed. `app` is None where the record was removed."""

    name: str
    app: App | None
    position: int
    last: App | None = None
    """Of a record that was removed: how it was last known, where that is known."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A proxy as its heartbeats show it; one that said goodbye is not listed."""

    proxy: str
    position: int
    """How far it has read the feed, with every objection due up to there written."""
    silent: bool
    """Its heartbeat ran out without a goodbye: nobody knows what it is doing."""


class Leadership(Protocol):
    """The right to act, while it lasts."""

    def outlives(self, span: timedelta) -> bool:
        """Whether the right lasts at least `span` from now, on a monotonic clock."""
        ...

    async def lost(self) -> None:
        """Return when the right is lost; never, where it cannot be."""
        ...


class Registry(Protocol):
    """The port."""

    @property
    def shared(self) -> bool:
        """Whether proxies outside this process may use it."""
        ...

    def apps(self) -> Mapping[str, App]:
        """The mirror, by record name. Read-only; it changes as the feed goes on."""
        ...

    def position(self) -> int:
        """How far the mirror has followed the feed."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Every change after this call, each name's in order; ends when the registry closes.

        A slow reader gets the latest state of a record, not each step in between.
        """
        ...

    async def create(self, app: App) -> App:
        """Add a record.

        Raises `Conflict` if the name is taken, `RegistryUnavailable`.
        """
        ...

    async def remove(self, name: str, *, seen_version: int) -> None:
        """Forget a record; one that is gone already is no error.

        Raises `Conflict` if it changed since `seen_version`, `RegistryUnavailable`.
        """
        ...

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        """Replace the fields in `change`. The record is durable when this returns.

        Raises `Conflict` if it changed since `seen_version`, `UnknownApp`,
        `RegistryUnavailable` (then the write may or may not have happened).
        """
        ...

    async def record_access(self, name: str, when: datetime, *, wake_for: int | None = None) -> App:
        """Note a use; with `wake_for`, ask for that cycle's sleep to end.

        Writes max(when, stored value + 1 µs). Raises `UnknownApp`, `RegistryUnavailable`.
        """
        ...

    async def heartbeat(self, proxy: str, *, position: int) -> None:
        """Say that this proxy lives and how far it has read; position 0 before it lists.

        After position 0 was told, the mirror shows every write that came before that heartbeat.
        Raises `Forgotten` where a later position comes from a proxy that the registry does not
        know (any more): it has to begin again with 0. Raises `RegistryUnavailable`.
        """
        ...

    async def goodbye(self, proxy: str) -> None:
        """The proxy ended with no request open: it need not agree to anything any more."""
        ...

    async def proxies(self) -> tuple[Presence, ...]:
        """All proxies, read afresh and not from a cache. Raises `RegistryUnavailable`."""
        ...

    def lead(self) -> AbstractAsyncContextManager[Leadership]:
        """Wait until this process may act. Leaving the context gives the right up."""
        ...

    def controller_overdue(self) -> timedelta:
        """How long the leading controller's sign of life is overdue; zero if it is not."""
        ...

    async def aclose(self) -> None:
        """Write what is left and release everything. Ends all `changes()`."""
        ...
