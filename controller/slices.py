"""Cuts long work into slices, so that visitors' wakes and everybody else have their turn between."""

import asyncio

SLICE = 0.01
"""Seconds of work at a stretch."""


class Slices:
    """Call `turn` often: it lets others go first whenever a slice is over.

    Several tasks that share one also share its slices.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._pause: asyncio.Future[None] | None = None

    async def turn(self) -> None:
        """Go on, or let others have their turn first."""
        if self._loop.time() - self._began < SLICE:
            return
        if self._pause is None:
            self._pause = self._loop.create_future()
            self._loop.call_soon(self._resume, self._pause)
        # Shielded: one who is cancelled must not take the others' turn along.
        await asyncio.shield(self._pause)

    def _resume(self, pause: asyncio.Future[None]) -> None:
        self._pause = None
        self._began = self._loop.time()
        pause.set_result(None)
