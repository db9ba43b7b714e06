"""The records as lists and watch events have shown them; the Kubernetes kind's memory. No I/O.

News come by several ways at once (a watch, a list, events handed over by somebody else), so any of
them may be late. Three rules keep the mirror from ever going back:

* a record gives way to a newer version only;
* a deletion is remembered by its version, so that an older event about the name is void;
* a list tells what did not exist at its version: an event up to there about a name that it did
  not show is void, too, and with that older deletions need not be remembered any more.
"""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from paastis.app import App, Condition
from paastis.registry.answers import Event, Object, version_of
from paastis.registry.feed import Feed
from paastis.registry.port import Change
from paastis.resources.app import app_from, standing_from
from paastis.resources.values import BadResource

log = logging.getLogger(__name__)

_DELETIONS = 10_000
"""Remembered at a time. Late events come within seconds; this many deletions take longer."""


@dataclass(frozen=True, slots=True)
class Known:
    """A record, with what its resource says beside it."""

    app: App
    standing: tuple[Condition, ...]
    generation: int | None


def known_from(resource: Mapping[str, Any]) -> Known:
    """Raises `BadResource`."""
    generation = resource["metadata"].get("generation")
    return Known(app_from(resource), standing_from(resource), generation)


class Mirror:
    """See `paastis.registry.reflector.Follower` for the order of calls."""

    def __init__(self) -> None:
        self._records: dict[str, App] = {}
        self._known: dict[str, Known] = {}
        self._answers: dict[str, Known] = {}
        self._deleted: OrderedDict[str, int] = OrderedDict()
        self._listed = 0
        self._found: dict[str, Known] = {}
        self._names: set[str] = set()
        self._asked_at = 0
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        self._ended = False
        self.apps: Mapping[str, App] = MappingProxyType(self._records)
        self.position = 0

    # --- reading

    def newest(self, name: str) -> Known | None:
        """The newest version known here, which may be one that the feed has not shown yet."""
        shown, answered = self._known.get(name), self._answers.get(name)
        if shown is None or (answered is not None and answered.app.version > shown.app.version):
            return answered
        return shown

    def feed(self) -> Feed:
        """Everything that changes from now on."""
        feed = Feed()
        if self._ended:
            feed.end()
        self._feeds.add(feed)
        return feed

    def end(self) -> None:
        """End all feeds."""
        self._ended = True
        for feed in self._feeds:
            feed.end()

    # --- what our own writes are answered

    def answered(self, resource: Object) -> Known:
        """Keep what a write led to until the feed shows it. Raises `BadResource`."""
        known = known_from(resource)
        name, version = known.app.name, known.app.version
        if version > self._floor(name):
            newest = self.newest(name)
            if newest is None or version > newest.app.version:
                self._answers[name] = known
        return known

    def removed(self, name: str) -> None:
        """A write of ours has removed the record, or found that it is gone."""
        self._answers.pop(name, None)

    # --- lists

    def begin(self) -> None:
        """See `Follower`."""
        self._found.clear()
        self._names.clear()
        self._asked_at = self.position

    def page(self, items: Sequence[Object]) -> None:
        """See `Follower`. What is known already is not decoded again."""
        for item in items:
            name = item["metadata"]["name"]
            self._names.add(name)
            shown = self._known.get(name)
            if shown is None or version_of(item) > shown.app.version:
                known = _readable(item)
                if known is not None:
                    self._found[name] = known

    def listed(self, version: int) -> None:
        """See `Follower`.

        Removals come first, since nobody knows when each of them happened: told at a later
        position, one could be missed by a reader who was there already.
        """
        if version < self._asked_at:
            log.error(
                "The cluster is at version %d and was at %d before: was it restored from a backup? "
                "Restart every part of paastis, which otherwise waits for the old version.",
                version,
                self._asked_at,
            )
        gone = [
            name
            for name, app in self._records.items()
            if name not in self._names and app.version <= version
        ]
        for name in gone:
            self._drop(name, self.position, None)
        for known in sorted(self._found.values(), key=lambda known: known.app.version):
            if known.app.version > self._deleted.get(known.app.name, 0):
                self._put(known)
        self.begin()
        self.position = max(self.position, version)
        self._listed = max(self._listed, version)
        while self._deleted and next(iter(self._deleted.values())) <= self._listed:
            self._deleted.popitem(last=False)
        late = [name for name, answer in self._answers.items() if answer.app.version <= version]
        for name in late:
            del self._answers[name]

    # --- events

    def happened(self, event: Event) -> None:
        """See `Follower`."""
        if event.type != "BOOKMARK":
            name = event.object["metadata"]["name"]
            if event.type == "DELETED":
                self._deletion(name, event.version, event.object)
            elif event.version > self._floor(name):
                known = _readable(event.object)
                if known is not None:
                    self._put(known)
        self.position = max(self.position, event.version)

    def _floor(self, name: str) -> int:
        """The version up to which nothing can be new about the name."""
        shown = self._known.get(name)
        if shown is not None:
            return shown.app.version
        return max(self._listed, self._deleted.get(name, 0))

    def _deletion(self, name: str, version: int, resource: Object) -> None:
        # A deletion has a version of its own, or that of the state it deleted.
        if version < self._floor(name):
            return
        self._deleted[name] = version
        self._deleted.move_to_end(name)
        if len(self._deleted) > _DELETIONS:
            self._deleted.popitem(last=False)
        self._settle(name, version)
        if name in self._records:
            # The event holds the record as it was deleted, which we need not have seen before.
            self._drop(name, max(self.position, version), _readable(resource))

    # --- both

    def _put(self, known: Known) -> None:
        name, version = known.app.name, known.app.version
        before = self._known.get(name)
        if before is not None and before.app.version >= version:
            return
        self._known[name] = known
        self._records[name] = known.app
        self._deleted.pop(name, None)
        self._settle(name, version)
        self.position = max(self.position, version)
        self._push(Change(name, known.app, self.position))

    def _drop(self, name: str, position: int, last: Known | None) -> None:
        before = self._known.pop(name)
        del self._records[name]
        self._settle(name, max(position, before.app.version))
        self.position = position
        self._push(Change(name, None, position, last=before.app if last is None else last.app))

    def _settle(self, name: str, version: int) -> None:
        """The feed is at this version: an answer up to there has been shown, or is history."""
        answer = self._answers.get(name)
        if answer is not None and answer.app.version <= version:
            del self._answers[name]

    def _push(self, change: Change) -> None:
        for feed in self._feeds:
            feed.push(change)


def _readable(resource: Object) -> Known | None:
    """The record, or None for one that cannot be read, which is then as good as unchanged."""
    try:
        return known_from(resource)
    except BadResource as error:
        log.error("%s It is ignored until it is mended.", error)  # noqa: TRY400 - a sentence says it all
        return None
