"""One reader's view of the changes, as `Registry.changes()` hands it out."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from paastis.registry.port import Change


class Feed(AsyncIterator[Change]):
    """A queue of changes that holds at most one per record, so a slow reader costs little.

    A change replaces the older one of its name and goes to the end: so positions only grow, and a
    reader at position p has seen every write up to p. For one reading task.
    """

    def __init__(self) -> None:
        self._pending: OrderedDict[str, Change] = OrderedDict()
        self._news = asyncio.Event()
        self._ended = False

    def push(self, change: Change) -> None:
        """Add a change; positions must never fall."""
        self._pending[change.name] = change
        self._pending.move_to_end(change.name)
        self._news.set()

    def end(self) -> None:
        """No more will come; what is pending is still read."""
        self._ended = True
        self._news.set()

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pending.popitem(last=False)[1]
