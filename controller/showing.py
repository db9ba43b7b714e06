"""What would be done with an app whose account is only observed, as conditions on its record."""

from functools import partial

from controller.settling import entered, told
from controller.tools import Step, Tools
from paastis.app import App, AppChange, Phase
from paastis.decide import Action, Decision
from paastis.reasons import Reason

_NOT_KNOWN = frozenset({Reason.REMOTE_UNKNOWN, Reason.JUST_TOOK_OVER})
"""What was shown stays while we just don't know, as after a restart: it would be back in a moment."""


class Showing:
    """Writes `WouldSleep` and `WouldWake`, and takes them back."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def show(self, app: App, decision: Decision) -> Step | None:
        """An account that is only observed: tell what would be done."""
        if decision.reason in _NOT_KNOWN and app.phase is not Phase.DRAINING:
            return None
        now = self._tools.now()
        # The sentence stays the same from look to look: a condition is written when it changes.
        sleep = f"It would be put to sleep: {decision.reason}."
        wake = f"It would be woken: {decision.reason}."
        conditions = told(
            app.conditions,
            Reason.WOULD_SLEEP,
            sleep if decision.action is Action.BEGIN_DRAIN else None,
            now,
        )
        conditions = told(
            conditions, Reason.WOULD_WAKE, wake if decision.action is Action.START else None, now
        )
        change = AppChange(conditions=conditions)
        if app.phase is Phase.DRAINING:
            change.update(entered(app, Phase.AWAKE, Reason.PAUSED, now))
        elif conditions is app.conditions:
            return None
        return partial(self._write, app, change)

    def clear(self, app: App) -> Step | None:
        """Take back what was shown, where it does not hold any more."""
        now = self._tools.now()
        conditions = told(app.conditions, Reason.WOULD_SLEEP, None, now)
        conditions = told(conditions, Reason.WOULD_WAKE, None, now)
        if conditions is app.conditions:
            return None
        return partial(self._write, app, AppChange(conditions=conditions))

    async def _write(self, app: App, change: AppChange) -> None:
        await self._tools.records.write(app, change)
