"""Secrets are read when they are named, and followed while they are."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controller import credentials
from controller.credentials import Credentials, SecretsFollowed
from paastis.logs import redact
from paastis.metrics import Metrics
from paastis.reasons import Reason
from paastis.resources.names import SECRETS
from paastis.secret import Secret
from tests.controller.conftest import until
from tests.controller.kube import Kube, small_cluster
from tests.controller.resources import secret

NAME = "prod-token"


@dataclass
class Followed:
    """The Secrets of a small cluster, followed."""

    kube: Kube
    secrets: SecretsFollowed
    told: list[str] = field(default_factory=list)
    ahead: float = 0.0
    """Seconds that have gone by beside those that really have."""

    def known(self) -> Credentials:
        found = self.secrets.of(NAME)
        return Credentials() if found is None else found

    async def becomes(self, *, token: str = "", problem: Reason | None = None) -> None:
        wanted = {"api_token": Secret(token)} if token else {}
        await until(lambda: (self.known().values, self.known().problem) == (wanted, problem))


@asynccontextmanager
async def following(directory: Path) -> AsyncIterator[Followed]:
    async with small_cluster(directory) as kube:
        told: list[str] = []
        world: Followed
        secrets = SecretsFollowed(
            kube.cluster,
            on_change=told.append,
            rng=random.Random(1),
            metrics=Metrics(),
            monotonic=lambda: time.monotonic() + world.ahead,
        )
        world = Followed(kube, secrets, told)
        task = asyncio.create_task(secrets.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_secret_is_read_followed_and_kept_out_of_the_logs(tmp_path: Path) -> None:
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-one"}))
        world.secrets.follow([NAME])
        await world.becomes(token="tk-us-one")

        await world.kube.change(
            SECRETS, NAME, {"data": secret("", {"apiToken": "tk-us-2"})["data"]}
        )
        await world.becomes(token="tk-us-2")

        await world.kube.cluster.delete(SECRETS, NAME)
        await world.becomes(problem=Reason.SECRET_MISSING)
        assert world.told == [NAME, NAME, NAME]
        assert redact("tk-us-one tk-us-2") == "*** ***"


async def test_secret_that_comes_later_is_noticed(tmp_path: Path) -> None:
    async with following(tmp_path) as world:
        world.secrets.follow([NAME])
        await world.becomes(problem=Reason.SECRET_MISSING)

        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-late"}))

        await world.becomes(token="tk-us-late")


async def test_only_those_wanted_are_asked_for_and_never_the_list_of_all(tmp_path: Path) -> None:
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret("others", {"apiToken": "tk-us-others"}))
        world.secrets.follow([NAME])
        await world.becomes(problem=Reason.SECRET_MISSING)
        await until(lambda: world.kube.fake.watches == 1)

        asked = [
            (path, query.get("fieldSelector"))
            for method, path, query in world.kube.fake.requests
            if method == "GET"
        ]
        assert {path.rpartition("/")[2] for path, _ in asked} == {NAME, "secrets"}
        assert {selector for path, selector in asked if path.endswith("secrets")} == {
            f"metadata.name={NAME}"
        }

        world.secrets.follow([])
        await until(lambda: world.kube.fake.watches == 0)
        assert world.secrets.of(NAME) is None


async def test_refusal_is_told_and_ends_when_the_right_is_given(tmp_path: Path) -> None:
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-one"}))
        refusal = world.kube.fake.fail(path=NAME, status=403, times=10_000)
        world.secrets.follow([NAME])
        await world.becomes(problem=Reason.SECRET_FORBIDDEN)
        assert "get and watch" in world.known().message

        refusal.times = 0

        await world.becomes(token="tk-us-one")


async def test_refusal_of_a_secret_that_was_read_before_is_believed_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that has just started refuses everybody until it knows its roles."""
    for pause in ("_FIRST_PAUSE", "_LONGEST_PAUSE", "_LONGEST_REFUSED_PAUSE"):
        monkeypatch.setattr(credentials, pause, 0.02)
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-one"}))
        world.secrets.follow([NAME])
        await world.becomes(token="tk-us-one")

        refusal = world.kube.fake.fail(path=NAME, status=403, times=10_000)
        world.kube.fake.end_watches()
        await until(lambda: refusal.times < 10_000)
        world.ahead += 58
        before = refusal.times
        await until(lambda: refusal.times < before)
        assert world.known().problem is None

        world.ahead += 3
        await world.becomes(problem=Reason.SECRET_FORBIDDEN)
        refusal.times = 0
        await world.becomes(token="tk-us-one")
        assert world.told == [NAME] * 3


async def test_secret_that_may_be_read_and_not_watched_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_LONGEST_PAUSE", 0.02)
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-one"}))
        world.kube.fake.fail(path="secrets", watch=True, status=403, times=10_000)
        world.secrets.follow([NAME])
        await world.becomes(token="tk-us-one")

        await world.kube.change(
            SECRETS, NAME, {"data": secret("", {"apiToken": "tk-us-2"})["data"]}
        )

        await world.becomes(token="tk-us-2")


async def test_what_is_known_stays_while_the_api_is_away(tmp_path: Path) -> None:
    async with following(tmp_path) as world:
        await world.kube.add(SECRETS, secret(NAME, {"apiToken": "tk-us-one"}))
        world.secrets.follow([NAME])
        await world.becomes(token="tk-us-one")

        fault = world.kube.fake.fail(path="secrets", status=500, times=10_000)
        world.kube.fake.end_watches()
        before = fault.times
        await until(lambda: fault.times < before)

        assert world.known().problem is None
        fault.times = 0
        await world.kube.change(
            SECRETS, NAME, {"data": secret("", {"apiToken": "tk-us-2"})["data"]}
        )
        await world.becomes(token="tk-us-2")
