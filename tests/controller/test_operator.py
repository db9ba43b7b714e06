"""kopf in our event loop: how it logs in, how long it is patient, and what becomes of events."""

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from controller import operator
from controller.operator import Operator
from controller.resources import Resource
from paastis.logs import redact
from paastis.metrics import Metrics
from paastis.resources.names import APPS
from tests.controller.kube import Kube, small_cluster

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


class Watched:
    """An operator that is not run, and what its handlers are told."""

    def __init__(self, kube: Kube) -> None:
        self.now = NOW
        self.taken: list[tuple[str | None, str]] = []
        self.metrics = Metrics()
        self.operator = Operator(
            kube.cluster,
            feeds={APPS: self.take},
            alive=lambda: (True, "deciding"),
            probe=None,
            now=lambda: self.now,
            rng=random.Random(1),
            metrics=self.metrics,
        )

    def take(self, kind: str | None, resource: Resource) -> None:
        self.taken.append((kind, resource["metadata"]["name"]))

    def handlers(self) -> Any:
        return self.operator._handlers(lambda: None, lambda: None)


async def test_it_logs_in_as_our_own_client_does(tmp_path: Path) -> None:
    async with small_cluster(tmp_path) as kube:
        info = await Watched(kube).operator._login()

        assert info.server == kube.fake.url
        assert info.as_http_headers() == {"Authorization": "Bearer a-token"}
        assert info.default_namespace == "default"
        assert redact("a-token") == "***"


async def test_credentials_that_were_refused_once_may_be_good_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "_LONGEST_LOGIN_PAUSE", 0.01)
    async with small_cluster(tmp_path) as kube:
        watched = Watched(kube)

        # kopf never takes again what equals something that was refused.
        assert await watched.operator._login() != await watched.operator._login()


def test_logins_in_quick_succession_are_further_and_further_apart() -> None:
    logins = operator._Logins()
    pauses = []
    for second in range(6):
        now = NOW + timedelta(seconds=second)
        pauses.append(logins.pause(now))
        logins.last = now

    assert pauses == [0.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert logins.pause(NOW + timedelta(minutes=2)) == 0.0


def test_requests_are_repeated_for_five_minutes_and_not_in_step() -> None:
    back_offs = operator._BackOffs(random.Random(1))

    one, other = list(back_offs), list(back_offs)

    assert 300 <= sum(one) <= 330
    assert one != other
    assert all(pause <= 5 for pause in one)
    assert all(pause <= 1 for pause in islice(one, 1))


def test_repeated_requests_are_told_of_once_a_minute() -> None:
    sparse = operator._NowAndThen()

    def told(message: str, second: float) -> bool:
        record = logging.makeLogRecord({"msg": message, "created": 1000.0 + second})
        return sparse.filter(record)

    retry = "Request attempt #1 failed; will retry: GET /apis"
    assert [told(retry, second) for second in (0, 1, 59, 61, 62)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert told("Request attempt #9 failed; escalating: GET /apis", 62)


async def test_only_plain_events_are_asked_for(tmp_path: Path) -> None:
    async with small_cluster(tmp_path) as kube:
        registry = Watched(kube).handlers()

        assert len(registry._watching.get_all_handlers()) == 1
        for others in (registry._changing, registry._spawning, registry._indexing):
            assert not others.get_all_handlers()


async def test_event_that_is_not_understood_ends_nothing(tmp_path: Path) -> None:
    async with small_cluster(tmp_path) as kube:
        watched = Watched(kube)
        (handler,) = watched.handlers()._watching.get_all_handlers()

        await handler.fn(event={"type": "ADDED", "object": {}})
        await handler.fn(event={"type": None, "object": {"metadata": {"name": "shop"}}})

        assert watched.taken == [(None, "shop")]
        assert b'paastis_errors_total{place="events"} 1.0' in watched.metrics.render()[0]


async def test_its_settings_ask_for_no_right_that_we_do_not_have(tmp_path: Path) -> None:
    async with small_cluster(tmp_path) as kube:
        settings = Watched(kube).operator._settings()

        assert settings.scanning.disabled
        assert not settings.posting.enabled
        assert settings.process.ultimate_exiting_timeout is None
        assert (settings.queueing.worker_limit, settings.queueing.idle_timeout) == (200, 0.05)
        assert settings.watching.chunk_size == 500
        await asyncio.sleep(0)
