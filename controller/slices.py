"""Cuts long work into slices, so that visitors' wakes and everybody else have their turn between."""

import asyncio

SLICE = 0.01
"""Seconds of work at a stretch."""


class Slices:
    """Call `turn` often: it lets others go first whenever a slice is over."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    async def turn(self) -> None:
        """Go on, or let others have their turn first."""
        if self._clock() - self._began >= SLICE:
            await asyncio.sleep(0)
            self._began = self._clock()
