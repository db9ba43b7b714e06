"""A person's word about one app: wake it, or put it to sleep.

Both are overrides on the record; the controller acts on them like on any other. They are written
with the version that was read, and read again a few times if somebody else was faster.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from paastis.app import App, AppChange, Overrides, Phase
from paastis.config.values import did_you_mean
from paastis.errors import Conflict, PaastisError, UnknownApp
from paastis.policy import Power

ATTEMPTS = 6
"""A record is written every few seconds at most; who loses six times meets something else."""

PAUSE = timedelta(milliseconds=20)
"""Before the second attempt, doubling: the mirror may lag behind the write that was faster."""

LEAST_RESOLUTIONS = 3
"""As in the decision: no idle time is shorter than three access resolutions."""


class Records(Protocol):
    """What orders need of a registry. After a `Conflict` the record must be read again in time."""

    def apps(self) -> Mapping[str, App]:
        """All records, by name."""
        ...

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        """Replace the fields in `change`; see the registry's port."""
        ...


class Ambiguous(PaastisError):
    """Several apps have that name; their records' names are in the message."""


class Pointless(PaastisError):
    """The app's policy outranks the order, so it would change nothing."""


def find(registry: Records, name: str) -> App:
    """The app with that record name, or else the only one with that remote name.

    Raises `UnknownApp`, `Ambiguous`.
    """
    apps = registry.apps()
    if name in apps:
        return apps[name]
    # One whose app is gone makes way for the app that took over the name.
    found = [app for app in apps.values() if app.app_name == name and app.phase is not Phase.GONE]
    if not found:
        found = [app for app in apps.values() if app.app_name == name]
    if not found:
        hint = did_you_mean(name, {app.app_name for app in apps.values()})
        raise UnknownApp(f"No app is called {name!r}{hint or '.'}")
    if len(found) > 1:
        names = ", ".join(sorted(app.name for app in found))
        raise Ambiguous(f"Several apps are called {name!r}; use one of these names: {names}.")
    return found[0]


async def wake(registry: Records, name: str, *, now: datetime) -> App:
    """Keep the app awake for one idle time from now; answers with the record.

    Raises `UnknownApp`, `Ambiguous`, `Pointless`, `Conflict`, `RegistryUnavailable`.
    """

    def order(app: App) -> Overrides:
        _refuse_unmanaged(app)
        if app.policy.power is Power.ALWAYS_OFF:
            raise Pointless(f"{app.app_name} is kept asleep: its power is AlwaysOff.")
        least = LEAST_RESOLUTIONS * app.policy.access_resolution
        until = now + max(app.policy.max_idle_time, least)
        return replace(app.overrides, awake_until=until, sleep_for=None)

    return await _write(registry, name, order)


async def sleep(registry: Records, name: str) -> App:
    """Put the app to sleep now, until somebody wakes it; answers with the record.

    Raises `UnknownApp`, `Ambiguous`, `Pointless`, `Conflict`, `RegistryUnavailable`.
    """

    def order(app: App) -> Overrides:
        _refuse_unmanaged(app)
        if app.policy.power is Power.ALWAYS_ON:
            raise Pointless(f"{app.app_name} is kept awake: its power is AlwaysOn.")
        return replace(app.overrides, awake_until=None, sleep_for=app.cycle)

    return await _write(registry, name, order)


def _refuse_unmanaged(app: App) -> None:
    if app.phase in (Phase.UNMANAGED, Phase.GONE) or app.policy.power is Power.UNMANAGED:
        raise Pointless(
            f"paastis does not start or stop {app.app_name}: {app.phase.value}, {app.phase_reason.value}."
        )


async def _write(registry: Records, name: str, order: Callable[[App], Overrides]) -> App:
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        app = find(registry, name)
        try:
            return await registry.update(
                app.name, {"overrides": order(app)}, seen_version=app.version
            )
        except Conflict:
            if attempt == ATTEMPTS:
                raise
        await asyncio.sleep(pause.total_seconds())
        pause *= 2
    raise AssertionError  # the last attempt returns or raises
