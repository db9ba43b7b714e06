"""kopf: the watch on the three kinds of resources, the login behind it, and its probe. Nothing else.

kopf tells of every event as it comes (`on.event`), and that is all we take from it: no timers, no
indexes, no change handlers, so it writes nothing to any object. Whoever is told must bear repetition
(a new listing tells of everything again, with None for the type of event) and gaps (what vanished
while the watch was away is not told): they compare with a full list now and then.

kopf believes that the event loop is its own. It takes SIGINT and SIGTERM, and when it ends it waits
5 s for every task that was begun after it and cancels the rest. So the signals are taken back once it
runs, and our own parts end first: `ending` says when it ends by itself, as it does if the API server
refuses a watch for minutes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from paastis.errors import PaastisError
from paastis.logs import protect
from paastis.metrics import Metrics
from paastis.registry.cluster import Access, Cluster
from paastis.resources.names import Resource
from paastis.secret import Secret

log = logging.getLogger(__name__)

Take = Callable[[str | None, Mapping[str, Any]], None]
"""Told of an event: its type, None where it comes from a listing, and the whole resource."""

Health = tuple[bool, str]
"""Whether all is well, and a sentence about it."""

_PATIENCE = timedelta(minutes=5)
"""How long requests are repeated before the watch, and with it the program, ends."""
_LONGEST_PAUSE = 5.0
"""Seconds between two such requests: when the API server is back, visitors wait for the watch."""
_LONGEST_LOGIN_PAUSE = 30.0
"""Seconds between two logins."""
_RETRIES_TOLD = 60.0
"""Seconds between two lines about requests that are repeated."""
_QUICK_LOGINS = timedelta(minutes=1)
"""Two logins within it: the first one's credentials were refused."""
_LOGIN_LASTS = timedelta(days=1)
"""When credentials are read anew though nobody refused them."""


class OperatorEnded(PaastisError):
    """The watch on the resources ended by itself: the program must begin again."""


@dataclass(slots=True)
class _Logins:
    """When we logged in last, and how often in quick succession."""

    last: datetime | None = None
    quick: int = 0

    def pause(self, now: datetime) -> float:
        """Seconds to wait before the next one."""
        again = self.last is not None and now - self.last < _QUICK_LOGINS
        self.quick = self.quick + 1 if again else 0
        return min(2.0**self.quick, _LONGEST_LOGIN_PAUSE) if self.quick else 0.0


class _NothingCompared(kopf.DiffBaseStorage):
    """Keeps kopf from copying every object that it tells of, to compare it with what it told last."""

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None
    ) -> kopf.BodyEssence:
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        del body, patch, essence


class _BackOffs:
    """Seconds between a request's repetitions, drawn anew for each request: 5 minutes in all."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __iter__(self) -> Iterator[float]:
        spent, pause = 0.0, 1.0
        while spent < _PATIENCE.total_seconds():
            drawn = pause * self._rng.uniform(0.5, 1.0)
            yield drawn
            spent += drawn
            pause = min(2 * pause, _LONGEST_PAUSE)


class Operator:
    """kopf in our event loop. `run` once.

    `feeds` are told of every event of their kind. `alive` answers kopf's probe, which is served at
    `probe`, an address `http://<host>:<port>/<path>`.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        feeds: Mapping[Resource, Take],
        alive: Callable[[], Health],
        probe: str | None,
        now: Callable[[], datetime],
        rng: random.Random,
        metrics: Metrics,
    ) -> None:
        self._cluster = cluster
        self._feeds = feeds
        self._alive = alive
        self._probe = probe
        self._now = now
        self._rng = rng
        self._metrics = metrics
        self._logins = _Logins()

    async def run(
        self, stop: asyncio.Event, *, started: Callable[[], None], ending: Callable[[], None]
    ) -> None:
        """Watch until `stop` is set. Raises OperatorEnded if kopf ends earlier.

        `started` is called once kopf runs: signals can be taken back then. `ending` is called when
        it ends: 5 s later it cancels what it believes to be its own.
        """
        _quiet()
        asked: bool | None = None
        why: BaseException | None = None
        others = asyncio.all_tasks()

        def ends() -> None:
            # Whoever is told of the end may set `stop` in turn.
            nonlocal asked
            asked = stop.is_set()
            if asked:
                _cancel_left_over(others)
            ending()

        try:
            await kopf.operator(
                registry=self._handlers(started, ends),
                settings=self._settings(),
                standalone=True,
                namespaces=[self._cluster.namespace],
                stop_flag=stop,
                liveness_endpoint=self._probe,
            )
        except Exception as error:
            log.debug("kopf ended", exc_info=True)
            why = error
        if not (stop.is_set() if asked is None else asked):
            raise OperatorEnded(
                "The watch on the resources in namespace "
                f"{self._cluster.namespace!r} ended by itself: {_words(why)}"
            )

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False  # our own Events are posted by our own client
        settings.scanning.disabled = True  # else it asks for rights on CRDs and namespaces
        settings.persistence.diffbase_storage = _NothingCompared()
        settings.queueing.worker_limit = 200
        settings.queueing.idle_timeout = 0.05  # a worker keeps its place for so long
        settings.watching.chunk_size = 500
        # Where there is so much that we have tried it; kopf itself would not fall back.
        settings.watching.initial_streaming = self._cluster.streams
        settings.watching.server_timeout = 300
        settings.networking.connect_timeout = 10
        settings.networking.request_timeout = 60
        settings.networking.error_backoffs = _BackOffs(self._rng)
        # It would kill the whole process so long after it ended, unless its own flag ended it.
        settings.process.ultimate_exiting_timeout = None
        return settings

    def _handlers(
        self, started: Callable[[], None], ending: Callable[[], None]
    ) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        async def startup(**_: object) -> None:
            # kopf takes the signals in the turn of the loop after the one in which this begins.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            started()

        async def cleanup(**_: object) -> None:
            ending()

        async def login(**_: object) -> kopf.ConnectionInfo:
            return await self._login()

        async def loop(**_: object) -> str:
            well, words = self._alive()
            if not well:
                raise kopf.PermanentError(words)
            return words

        kopf.on.startup(registry=registry)(startup)
        kopf.on.cleanup(registry=registry)(cleanup)
        kopf.on.login(registry=registry, backoff=_LONGEST_PAUSE)(login)
        # With the default, a probe that fails would be tried again for a minute before it answers.
        kopf.on.probe(registry=registry, errors=kopf.ErrorsMode.PERMANENT)(loop)
        for resource, take in self._feeds.items():
            kopf.on.event(
                group=resource.group,
                version=resource.version,
                plural=resource.plural,
                id=resource.plural,
                registry=registry,
            )(self._telling(resource, take))
        return registry

    def _telling(self, resource: Resource, take: Take) -> Callable[..., Any]:
        async def tell(event: kopf.RawEvent, **_: object) -> None:
            try:
                take(event["type"], event["object"])
            except Exception:
                log.exception("an event was not understood", extra={"kind": resource.kind})
                self._metrics.errors.labels("events").inc()

        return tell

    async def _login(self) -> kopf.ConnectionInfo:
        """What the client of our own uses, read again: tokens are replaced while we run."""
        pause = self._logins.pause(self._now())
        if pause:
            log.warning(
                "the API server refuses our credentials; they are read again",
                extra={"seconds": round(pause)},
            )
            await asyncio.sleep(pause)
        access: Access = await self._cluster.access()
        self._logins.last = self._now()
        scheme, token = "", ""
        if access.authorization is not None:
            scheme, _, token = access.authorization.reveal().partition(" ")
            protect(Secret(token.strip()))
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_file,
            insecure=access.insecure,
            scheme=scheme or None,
            token=token.strip() or None,
            certificate_path=access.certificate_file,
            private_key_path=access.key_file,
            proxy_url=access.proxy,
            default_namespace=self._cluster.namespace,
            # Never equal to earlier ones: kopf gives up for good on those that were refused once,
            # and an API server that restarts refuses good ones for a moment.
            expiration=datetime.now(UTC) + _LOGIN_LASTS,
        )


def _cancel_left_over(others: set[asyncio.Task[Any]]) -> None:
    """Requests that kopf's tasks began and left behind; it would wait 5 s for them.

    Nothing of ours runs any more that was begun after kopf, when it was asked to end.
    """
    for task in asyncio.all_tasks() - others:
        if task is not asyncio.current_task():
            task.cancel()


class _NowAndThen(logging.Filter):
    """Of lines about requests that will be repeated, one a minute is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if "will retry" not in str(record.msg):
            return True
        if record.created - self._last < _RETRIES_TOLD:
            return False
        self._last = record.created
        return True


_SPARSE = _NowAndThen()


def _quiet() -> None:
    """kopf tells of each handler that succeeds, and of each request that it is about to repeat."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for name in ("kopf._cogs.clients.watching", "kopf._core.reactor.observation"):
        logging.getLogger(name).addFilter(_SPARSE)  # once, however often it is added


def _words(error: BaseException | None) -> str:
    if error is None:
        return "no reason given."
    return f"{type(error).__name__}: {error}" if str(error) else f"{type(error).__name__}."
