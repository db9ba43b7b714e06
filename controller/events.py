"""Kubernetes Events on apps: what a person would want to see in `kubectl describe`.

Posted beside the work, by a few at a time, from a queue that drops rather than grows: an Event is a
courtesy, the truth is in the status.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.happening import Happening
from controller.resources import Resource
from paastis.errors import Missing, RegistryError
from paastis.logs import redact
from paastis.metrics import Metrics
from paastis.registry.cluster import Cluster
from paastis.resources.names import APPS, EVENTS

log = logging.getLogger(__name__)

COMPONENT = "paastis-controller"
QUEUE = 1_000
POSTERS = 4
LONGEST_MESSAGE = 1_024
"""Bytes, as the API server demands."""


class Events:
    """Queues and posts them."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        identity: str,
        now: Callable[[], datetime],
        rng: random.Random,
        metrics: Metrics,
    ) -> None:
        """`identity` is this controller's own, among its replicas."""
        self._cluster = cluster
        self._identity = identity
        self._now = now
        self._rng = rng
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[Happening, datetime]] = asyncio.Queue(QUEUE)
        self._uids: dict[str, str] = {}
        self._failing = False

    def take(self, kind: str | None, resource: Resource) -> None:
        """An event of the watch on apps: who they are, for Events are about objects, not names."""
        metadata = resource["metadata"]
        name, uid = metadata["name"], metadata.get("uid", "")
        if kind != "DELETED":
            self._uids[name] = uid
        elif self._uids.get(name) == uid:
            del self._uids[name]

    def announce(self, happening: Happening) -> None:
        """Queue an Event; dropped where too many wait."""
        try:
            self._queue.put_nowait((happening, self._now()))
        except asyncio.QueueFull:
            log.debug("an event was dropped", extra={"app": happening.app.name})

    async def run(self) -> None:
        """Post what is queued, for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(POSTERS):
                group.create_task(self._post_each(), name=f"events {number}")

    async def flush(self, within: timedelta) -> None:
        """Return when everything queued is posted, at the latest after that time."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._queue.join()
        except TimeoutError:
            log.warning("events were left unposted", extra={"events": self._queue.qsize()})

    async def _post_each(self) -> None:
        while True:
            happening, at = await self._queue.get()
            try:
                await self._post(happening, at)
            except Missing:
                log.debug("nothing to post an event on", extra={"app": happening.app.name})
            except RegistryError as error:
                if not self._failing:
                    log.warning("events cannot be posted now", extra={"error": str(error)})
                self._failing = True
            except Exception:
                log.exception("unexpected fault", extra={"app": happening.app.name})
                self._metrics.errors.labels("events").inc()
            else:
                self._failing = False
            finally:
                self._queue.task_done()

    async def _post(self, happening: Happening, at: datetime) -> None:
        name = happening.app.name
        uid = self._uids.get(name)
        if uid is None:
            uid = str((await self._cluster.get(APPS, name))["metadata"]["uid"])
        await self._cluster.create(EVENTS, self._body(happening, uid, at))

    def _body(self, happening: Happening, uid: str, at: datetime) -> Mapping[str, Any]:
        name = happening.app.name
        time = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # Times of Events are whole seconds; lists are by name, so the name tells which was first.
        moment = f"{round(at.timestamp() * 1e6):014x}{self._rng.getrandbits(16):04x}"
        return {
            "metadata": {"name": f"{name[:230]}.{moment}"},
            "involvedObject": {
                "apiVersion": APPS.api_version,
                "kind": APPS.kind,
                "namespace": self._cluster.namespace,
                "name": name,
                "uid": uid,
            },
            "reason": happening.reason.value,
            "message": _short(redact(happening.message)),
            "type": "Warning" if happening.warning else "Normal",
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._identity,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }


def _short(message: str) -> str:
    if len(message.encode()) <= LONGEST_MESSAGE:
        return message
    return message.encode()[: LONGEST_MESSAGE - 3].decode(errors="ignore") + "…"
