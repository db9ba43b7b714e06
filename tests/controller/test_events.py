"""Kubernetes Events on apps: posted beside the work, and never in its way."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.events import LONGEST_MESSAGE, QUEUE, Events
from controller.happening import Happening
from paastis.logs import protect
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.resources.names import APPS
from paastis.secret import Secret
from tests.controller.kube import Kube, small_cluster
from tests.paastis.factories import an_app

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
SOON = timedelta(seconds=5)


@dataclass
class Posting:
    """Events of a small cluster."""

    kube: Kube
    events: Events

    def announce(self, name: str, message: str = "It was put to sleep (Idle).") -> None:
        app = an_app(name=name)
        self.events.announce(Happening(app, False, Reason.ASLEEP, message))

    @property
    def posted(self) -> list[dict[str, Any]]:
        return list(self.kube.fake.objects("events").values())


@asynccontextmanager
async def posting(directory: Path, *, running: bool = True) -> AsyncIterator[Posting]:
    async with small_cluster(directory) as kube:
        events = Events(
            kube.cluster,
            identity="paastis-controller-x",
            now=lambda: NOW,
            rng=random.Random(1),
            metrics=Metrics(),
        )
        task = asyncio.create_task(events.run()) if running else None
        try:
            yield Posting(kube, events)
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_event_is_about_the_very_object(tmp_path: Path) -> None:
    async with posting(tmp_path) as world:
        made = await world.kube.add(APPS, {"metadata": {"name": "shop"}})
        world.events.take("ADDED", made)

        world.announce("shop")
        await world.events.flush(SOON)

        (event,) = world.posted
        assert event["involvedObject"] == {
            "apiVersion": "paastis.io/v1alpha1",
            "kind": "PaastisApp",
            "namespace": "default",
            "name": "shop",
            "uid": made["metadata"]["uid"],
        }
        assert (event["type"], event["reason"], event["count"]) == ("Normal", "Asleep", 1)
        assert event["reportingComponent"] == "paastis-controller"
        assert event["firstTimestamp"] == "2026-11-24T08:00:00Z"
        assert world.kube.fake.asked("GET", "paastisapps") == 0


async def test_object_that_no_event_told_of_is_asked_for(tmp_path: Path) -> None:
    async with posting(tmp_path) as world:
        made = await world.kube.add(APPS, {"metadata": {"name": "shop"}})

        world.announce("shop")
        world.announce("gone")
        await world.events.flush(SOON)

        (event,) = world.posted
        assert event["involvedObject"]["uid"] == made["metadata"]["uid"]


async def test_events_of_one_second_are_listed_in_their_order(tmp_path: Path) -> None:
    async with posting(tmp_path, running=False) as world:
        app = an_app(name="shop")
        names = [
            world.events._body(Happening(app, False, Reason.ASLEEP, ""), "u", at)["metadata"][
                "name"
            ]
            for at in (NOW, NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1))
        ]

    assert names == sorted(names)
    assert len({len(name) for name in names}) == 1


async def test_message_is_short_and_holds_no_secret(tmp_path: Path) -> None:
    protect(Secret("tk-us-in-an-event"))
    async with posting(tmp_path) as world:
        world.events.take("ADDED", {"metadata": {"name": "shop", "uid": "u"}})

        world.announce("shop", "refused: tk-us-in-an-event " + "é" * 2000)
        await world.events.flush(SOON)

        message = world.posted[0]["message"]
        assert message.startswith("refused: *** é")
        assert len(message.encode()) <= LONGEST_MESSAGE


async def test_failures_are_dropped_and_the_next_event_is_posted(tmp_path: Path) -> None:
    async with posting(tmp_path) as world:
        world.events.take("ADDED", {"metadata": {"name": "shop", "uid": "u"}})
        world.kube.fake.fail(method="POST", path="events", status=403)
        world.announce("shop")
        await world.events.flush(SOON)
        assert world.posted == []

        world.announce("shop")
        await world.events.flush(SOON)

        assert len(world.posted) == 1


async def test_queue_drops_rather_than_grows(tmp_path: Path) -> None:
    async with posting(tmp_path, running=False) as world:
        for _ in range(QUEUE + 10):
            world.announce("shop")

        await world.events.flush(timedelta(milliseconds=10))
