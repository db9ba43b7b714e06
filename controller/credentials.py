"""The Secrets that accounts name: read when they are named, and followed while they are.

Each has a watch of its own, on its name alone: so the right to `get` and `watch` those few Secrets is
enough, and a token that is replaced is used within moments. A watch from version 0 begins with the
object as it is; whether there is none only `get` can say.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from paastis.errors import ConfigError, Expired, Forbidden, Missing, RegistryError
from paastis.logs import protect
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.registry.cluster import Cluster
from paastis.resources.account import credentials_from
from paastis.resources.names import SECRETS
from paastis.secret import Secret

log = logging.getLogger(__name__)

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 5.0
"""Seconds between two looks where the watch cannot be had, doubling from the first to the last."""
_LONGEST_REFUSED_PAUSE = 60.0
"""The same where we are refused: a person has to change something."""
_DOUBT = 60.0
"""Seconds that a Secret must be refused which was read before, until that is believed.

An API server that has just started refuses everybody until it knows its roles.
"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a Secret holds for us, or why it holds nothing."""

    values: Mapping[str, Secret] = field(default_factory=dict)
    problem: Reason | None = None
    message: str = ""
    """A sentence for people, without anything of the Secret but its name."""


class SecretsFollowed:
    """The Secrets of one namespace that somebody wants to know of."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        on_change: Callable[[str], None],
        rng: random.Random,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_change` is told the name of a Secret that is known by now, or is known anew."""
        self._monotonic = monotonic
        self._cluster = cluster
        self._on_change = on_change
        self._rng = rng
        self._metrics = metrics
        self._known: dict[str, Credentials] = {}
        self._versions: dict[str, int] = {}
        self._wanted: frozenset[str] = frozenset()
        self._news = asyncio.Event()

    def of(self, name: str) -> Credentials | None:
        """What the Secret holds; None: not read yet."""
        return self._known.get(name)

    def follow(self, names: Iterable[str]) -> None:
        """Follow these and no others."""
        wanted = frozenset(names)
        if wanted != self._wanted:
            self._wanted = wanted
            self._news.set()

    async def run(self) -> None:
        """Follow what is to be followed, for ever."""
        tasks: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._news.clear()
                for name in tasks.keys() - self._wanted:
                    tasks.pop(name).cancel()
                    self._known.pop(name, None)
                    self._versions.pop(name, None)
                for name in self._wanted - tasks.keys():
                    tasks[name] = group.create_task(self._follow(name), name=f"secret {name}")
                await self._news.wait()

    async def _follow(self, name: str) -> None:
        pause = _FIRST_PAUSE
        refused_since: float | None = None
        while True:
            longest = _LONGEST_PAUSE
            try:
                if await self._look_and_watch(name):
                    pause = _FIRST_PAUSE
                refused_since = None
            except Forbidden as error:
                if refused_since is None:
                    refused_since = self._monotonic()
                if self._refused(name, error, for_=self._monotonic() - refused_since):
                    longest = _LONGEST_REFUSED_PAUSE
            except RegistryError as error:
                log.debug("secret not followed", extra={"secret": name, "error": str(error)})
            except Exception:
                log.exception("unexpected fault", extra={"secret": name})
                self._metrics.errors.labels("secrets").inc()
            pause = min(pause, longest)
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
            pause *= 2

    def _refused(self, name: str, error: Forbidden, *, for_: float) -> bool:
        """Note that the Secret has been refused for some seconds; False: that is doubted yet."""
        known = self._known.get(name)
        if known is not None and known.problem is not Reason.SECRET_FORBIDDEN and for_ < _DOUBT:
            log.warning("secret refused", extra={"secret": name, "error": str(error)})
            return False
        self._versions.pop(name, None)  # it may be told again as it was
        self._note(
            name,
            Credentials(
                problem=Reason.SECRET_FORBIDDEN,
                message=f"The Secret {name!r} may not be read by the controller: give its role the "
                f"verbs get and watch on that name. ({error})",
            ),
        )
        return True

    async def _look_and_watch(self, name: str) -> bool:
        """Read it, and follow it until the watch ends; True if that brought anything."""
        try:
            found = await self._cluster.get(SECRETS, name)
        except Missing:
            self._gone(name)
        else:
            self._take(name, found)
        watch = self._cluster.watch(SECRETS, version=0, field_selector=f"metadata.name={name}")
        came = False
        try:
            async with aclosing(watch) as events:
                async for event in events:
                    came = True
                    if event.type == "DELETED":
                        self._gone(name)
                    elif event.type in {"ADDED", "MODIFIED"}:
                        self._take(name, event.object)
        except Expired:
            return came
        except Forbidden as error:
            # What can be read is used; that it has changed is seen at the next look.
            log.warning("secret not watched", extra={"secret": name, "error": str(error)})
        return came

    def _take(self, name: str, secret: Mapping[str, Any]) -> None:
        version = int(secret["metadata"]["resourceVersion"])
        if version <= self._versions.get(name, -1):
            return
        self._versions[name] = version
        self._note(name, credentials_of(secret))

    def _gone(self, name: str) -> None:
        # Whoever makes it anew makes it with a higher version.
        self._note(
            name,
            Credentials(
                problem=Reason.SECRET_MISSING, message=f"There is no Secret {name!r} here."
            ),
        )

    def _note(self, name: str, found: Credentials) -> None:
        for secret in found.values.values():
            protect(secret)
        if found != self._known.get(name):
            self._known[name] = found
            self._on_change(name)


def credentials_of(secret: Mapping[str, Any]) -> Credentials:
    """What a Secret holds for us."""
    try:
        return Credentials(credentials_from(secret))
    except ConfigError as error:
        return Credentials(problem=Reason.SECRET_INVALID, message=str(error))
