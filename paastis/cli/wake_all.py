"""`paastis wake-all`: leave a namespace with everything awake that paastis put to sleep.

What the chart runs before it is deleted, with a Role that lets it list and patch PaastisAccounts
and list PaastisApps. The controller does the waking; here it is asked for and waited for.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import click

from paastis.app import App, Phase
from paastis.cli.cluster import Api, apps_of, resources_of
from paastis.cli.place import namespace_options, opened_cluster, place_of
from paastis.cli.settings import Duration
from paastis.decide import stopped_by_us
from paastis.durations import format_duration
from paastis.errors import Missing, PaastisError, RegistryUnavailable
from paastis.policy import Mode, Power
from paastis.resources.names import ACCOUNTS

INTERVAL = timedelta(seconds=2)
"""Between two looks: an app takes longer to start, and a listing of 10,000 less."""

_MOST_NAMED = 10
"""Apps in a line of progress; the last word names all."""


class StillAsleep(PaastisError):
    """The time was over before everything was awake; the message names what is not."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What there is to wait for, by remote name."""

    asleep: tuple[str, ...] = ()
    """Stopped by paastis, and not awake yet."""
    not_told: tuple[str, ...] = ()
    """Awake, but the controller could still stop them: it has not taken in the new mode."""
    kept: tuple[str, ...] = ()
    """Asleep on purpose, so nobody waits for them: their power is AlwaysOff or Unmanaged."""

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for."""
        return not (self.asleep or self.not_told)

    def told(self, *, most: int | None = None) -> str:
        """A sentence; it names `most` apps of each kind at most."""
        words = []
        if self.asleep:
            words.append(f"{len(self.asleep)} still asleep: {_names(self.asleep, most)}")
        if self.not_told:
            words.append(
                f"{len(self.not_told)} awake that the controller might still put to sleep: "
                f"{_names(self.not_told, most)}"
            )
        return "; ".join(words) + "."


def outstanding(apps: Mapping[str, App]) -> Outstanding:
    """What these records leave to wait for."""
    asleep: list[str] = []
    not_told: list[str] = []
    kept: list[str] = []
    for app in apps.values():
        if stopped_by_us(app):
            on_purpose = app.policy.power in {Power.ALWAYS_OFF, Power.UNMANAGED}
            (kept if on_purpose else asleep).append(app.app_name)
        elif app.phase in {Phase.AWAKE, Phase.DRAINING} and app.policy.mode is Mode.MANAGE:
            not_told.append(app.app_name)
    return Outstanding(tuple(sorted(asleep)), tuple(sorted(not_told)), tuple(sorted(kept)))


@click.command("wake-all")
@namespace_options
@click.option(
    "--wait",
    type=Duration(),
    default="10m",
    show_default=True,
    help="How long to wait until everything is awake.",
)
def wake_all(*, namespace: str | None, context: str | None, wait: timedelta) -> None:
    """Wake everything that paastis put to sleep in a cluster, and wait for it.

    Sets each PaastisAccount of the namespace to the mode WakeAll: from then on nothing is put to
    sleep. Exit code 1 if something still sleeps when the time is over; it is named. Apps whose
    power is AlwaysOff stay as they are.
    """
    place = place_of(None, (), kubernetes=True, namespace=namespace, context=context)
    assert place is not None  # noqa: S101 (a cluster was asked for)

    async def waking() -> None:
        async with opened_cluster(place, os.environ) as cluster:
            await wake_everything(
                cluster, wait=wait, tell=click.echo, interval=INTERVAL, monotonic=time.monotonic
            )

    asyncio.run(waking())


async def wake_everything(
    cluster: Api,
    *,
    wait: timedelta,
    tell: Callable[[str], None],
    interval: timedelta,
    monotonic: Callable[[], float],
) -> None:
    """Ask for it, and return when all is awake.

    An API server that is away for a while is waited for. Raises StillAsleep when `wait` is over;
    Forbidden and the like at once.
    """
    deadline = monotonic() + wait.total_seconds()
    left: Outstanding | None = None
    told = ""
    unreadable: set[str] = set()
    while True:
        try:
            # Each time anew: a mode that comes from Git may be set back meanwhile.
            await _set_modes(cluster, tell)
            left = outstanding(await apps_of(cluster, unreadable.add))
            progress = left.told(most=_MOST_NAMED)
        except RegistryUnavailable as error:
            progress = f"{error} Trying again."
        else:
            if left.over:
                break
        if progress != told:
            tell(progress)
            told = progress
        if monotonic() >= deadline:
            what = "the API server did not say what sleeps." if left is None else left.told()
            raise StillAsleep(f"After {format_duration(wait)}: {what}")
        await asyncio.sleep(min(interval.total_seconds(), max(0.0, deadline - monotonic())))
    for sentence in sorted(unreadable):
        tell(f"Not read, so not waited for: {sentence}")
    if left.kept:
        tell(f"Left asleep, since their power says so: {', '.join(left.kept)}.")
    tell("Everything that paastis put to sleep is awake.")


async def _set_modes(cluster: Api, tell: Callable[[str], None]) -> None:
    for account in await resources_of(cluster, ACCOUNTS):
        name = account["metadata"]["name"]
        before = account.get("spec", {}).get("mode", Mode.OBSERVE)
        if before == Mode.WAKE_ALL:
            continue
        try:
            # Without the version that was read: this holds whatever somebody else writes.
            await cluster.patch(ACCOUNTS, name, {"spec": {"mode": Mode.WAKE_ALL.value}})
        except Missing:
            continue  # deleted at this moment
        tell(f"PaastisAccount {name}: mode {before} → {Mode.WAKE_ALL}.")


def _names(names: Sequence[str], most: int | None) -> str:
    if most is None or len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"
