"""What each kind of write does to a record: pure, for the kinds that apply writes themselves.

A step goes from the record as it is (None: there is none) to the record wanted (None: removed), or
raises to refuse. Versions are not its business, except those that were seen.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from paastis.app import App, AppChange
from paastis.errors import Conflict, UnknownApp

Step = Callable[[App | None], App | None]

_TICK = timedelta(microseconds=1)
"""What an access adds at least, so that each one changes the record."""


def creation(app: App) -> Step:
    """Add `app`; `Conflict` where its name is taken."""

    def step(found: App | None) -> App:
        if found is not None:
            raise Conflict(f"A record {app.name!r} exists already.")
        return app

    return step


def removal(seen_version: int) -> Step:
    """Remove the record if there is one; `Conflict` if it changed since it was seen."""

    def step(found: App | None) -> None:
        if found is not None:
            _check(found, seen_version)

    return step


def alteration(name: str, change: AppChange, seen_version: int) -> Step:
    """Replace fields; `UnknownApp` or `Conflict` as in the port's `update`."""

    def step(found: App | None) -> App:
        known = _known(name, found)
        _check(known, seen_version)
        return replace(known, **change)

    return step


def access(name: str, when: datetime, wake_for: int | None) -> Step:
    """Note a use, later than any noted before; `UnknownApp` where there is no record."""

    def step(found: App | None) -> App:
        known = _known(name, found)
        last = known.last_access_time
        return replace(
            known,
            last_access_time=when if last is None else max(when, last + _TICK),
            wake_for=known.wake_for if wake_for is None else wake_for,
        )

    return step


def _known(name: str, found: App | None) -> App:
    if found is None:
        raise UnknownApp(f"The registry has no record {name!r}.")
    return found


def _check(known: App, seen_version: int) -> None:
    if known.version != seen_version:
        raise Conflict(
            f"The record {known.name!r} is at version {known.version}, not {seen_version} any more."
        )
