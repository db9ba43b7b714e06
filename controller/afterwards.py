"""Hooks that run after a start or stop: nothing waits for them."""

import asyncio
import logging
from collections.abc import Callable

from controller.hooks import Hooks
from paastis.app import App
from paastis.rule import Hooks as HookCommands

log = logging.getLogger(__name__)

AT_A_TIME = 10
MOST_WAITING = 1000


class Afterwards:
    """Takes note of what ended and runs its hook, a few at a time."""

    def __init__(self, hooks: Hooks, hooks_of: Callable[[App], HookCommands]) -> None:
        self._hooks = hooks
        self._hooks_of = hooks_of
        self._ended: asyncio.Queue[tuple[str, str, App]] = asyncio.Queue(MOST_WAITING)

    def note(self, moment: str, app: App) -> None:
        """A start or stop ended well. `moment` is `after-start` or `after-stop`."""
        commands = self._hooks_of(app)
        command = commands.after_start if moment == "after-start" else commands.after_stop
        if command is None:
            return
        try:
            self._ended.put_nowait((command, moment, app))
        except asyncio.QueueFull:
            log.warning("hook left out, too many wait", extra={"app": app.name, "hook": moment})

    async def run(self) -> None:
        """Run hooks for ever; cancelled, it ends those that run."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            command, moment, app = await self._ended.get()
            await self._hooks.run(command, moment, app, app.phase_reason)
