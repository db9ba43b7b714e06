"""Following records while the API server expires, falls deaf, fails and forgets."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from paastis.metrics import Metrics
from paastis.registry.cluster import Event, Object
from paastis.registry.mirror import Mirror
from paastis.registry.reflector import Pace, Reflector
from paastis.resources.names import APPS
from tests.fakes.kube import KubeFake
from tests.paastis.registry.contract import NOON, an_app, read_until, soon, until
from tests.paastis.registry.stage import Stage

PLURAL = "paastisapps"


class Sleeps:
    """Waits between tries, noted instead of slept."""

    def __init__(self, ends: int) -> None:
        self.spans: list[float] = []
        self.over = asyncio.Event()
        self._ends = ends

    async def __call__(self, seconds: float) -> None:
        self.spans.append(seconds)
        if len(self.spans) >= self._ends:
            self.over.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


class Silent:
    """A follower that does not care."""

    def begin(self) -> None:
        pass

    def page(self, items: Sequence[Object]) -> None:
        pass

    def listed(self, version: int) -> None:
        pass

    def happened(self, event: Event) -> None:
        pass


async def followed(stage: Stage, sleeps: Sleeps) -> None:
    """Follow until so many waits have been noted."""
    reflector = Reflector(
        await stage.cluster(),
        APPS,
        Silent(),
        monotonic=stage.clock,
        rng=random.Random(1),
        pace=Pace(first_pause=0.1, longest_pause=10.0, quiet=1.0),
        sleep=sleeps,
    )
    following = asyncio.create_task(reflector.follow())
    try:
        await soon(sleeps.over.wait())
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_storm_of_expiries_backs_off_although_every_list_succeeds(
    kube: KubeFake, stage: Stage
) -> None:
    kube.expired = True
    sleeps = Sleeps(10)
    await followed(stage, sleeps)
    assert kube.asked("GET", PLURAL) == 10
    for number, span in enumerate(sleeps.spans):
        longest = min(10.0, 0.1 * 2 ** (number + 1))
        assert longest / 2 <= span <= longest


async def test_failing_server_is_asked_ever_less_often(kube: KubeFake, stage: Stage) -> None:
    kube.fail(status=503, times=100)
    sleeps = Sleeps(8)
    await followed(stage, sleeps)
    assert len(kube.requests) == 8
    assert sleeps.spans[-1] >= 5.0


async def test_what_a_watch_brings_ends_the_back_off(kube: KubeFake, stage: Stage) -> None:
    kube.fail(status=503, times=5)
    kube.bookmark_every = 0.01
    sleeps = Sleeps(7)
    following = asyncio.create_task(followed(stage, sleeps))
    for ended in (6, 7):
        before = kube.bookmarks
        await until(lambda before=before: kube.bookmarks > before + 1)  # type: ignore[misc]
        kube.end_watches()
        await until(lambda ended=ended: len(sleeps.spans) == ended)  # type: ignore[misc]
    await soon(following)
    assert sleeps.spans[4] > 1.0
    assert max(sleeps.spans[5:]) <= 0.1


async def test_watch_that_expired_is_listed_again_and_nothing_is_missed(
    kube: KubeFake, stage: Stage
) -> None:
    registry, writer = await stage.registry(), await stage.registry()
    gone = await writer.create(an_app("gone"))
    kept = await writer.create(an_app("kept"))
    await until(lambda: registry.position() >= kept.version)
    await until(lambda: kube.watches == 2)
    feed = registry.changes()
    kube.deafen()
    await writer.remove("gone", seen_version=gone.version)
    new = await writer.create(an_app("new"))
    used = await writer.record_access("kept", NOON)
    assert set(registry.apps()) == {"gone", "kept"}
    kube.forget_history()
    seen = await read_until(feed, used.version)
    assert [(change.name, change.app) for change in seen] == [
        ("gone", None),
        ("new", new),
        ("kept", used),
    ]
    assert seen[0].last == gone
    assert dict(registry.apps()) == {"new": new, "kept": used}


async def test_deaf_watch_goes_on_from_where_it_was_without_a_list(
    kube: KubeFake, stage: Stage
) -> None:
    pace = Pace(quiet=0.3, first_pause=0.01)
    registry, writer = await stage.registry(pace=pace), await stage.registry()
    await writer.create(an_app("a"))
    await until(lambda: "a" in registry.apps() and kube.watches == 2)
    kube.deafen()
    lists = kube.asked("GET", PLURAL)
    written = await writer.record_access("a", NOON)
    await until(lambda: registry.apps()["a"] == written)
    assert kube.asked("GET", PLURAL) == lists


async def test_deletion_that_no_watch_told_is_found_by_the_comparison(
    kube: KubeFake, stage: Stage
) -> None:
    registry = await stage.registry(pace=Pace(compare=0.05))
    ghost, kept = await registry.create(an_app("ghost")), await registry.create(an_app("kept"))
    await until(lambda: registry.position() >= kept.version)
    feed = registry.changes()
    kube.remove_quietly(PLURAL, "ghost")
    change = await soon(anext(feed))
    assert (change.name, change.app, change.last) == ("ghost", None, ghost)
    assert dict(registry.apps()) == {"kept": kept}


async def test_stale_records_are_served_while_the_server_is_away_and_their_age_is_told(
    kube: KubeFake, stage: Stage
) -> None:
    metrics = Metrics()
    registry = await stage.registry(metrics=metrics)
    created = await registry.create(an_app())
    await until(lambda: registry.apps().get("shop") == created and kube.watches == 1)
    away = kube.fail(status=503, times=10**6)
    kube.end_watches()
    await until(lambda: len(kube.requests) > 10)
    stage.clock.ahead += 100
    assert dict(registry.apps()) == {"shop": created}
    assert registry.staleness().total_seconds() >= 100
    assert metrics.registry.get_sample_value("paastis_registry_staleness_seconds") >= 100  # type: ignore[operator]
    away.times = 0
    written = await registry.record_access("shop", NOON)
    await until(lambda: registry.apps()["shop"] == written)
    assert registry.staleness().total_seconds() < 10


@pytest.mark.parametrize(("streams", "page"), [(True, 1), (False, 2)])
async def test_events_that_come_while_a_slow_list_is_read_are_not_undone(
    kube: KubeFake, stage: Stage, *, streams: bool, page: int
) -> None:
    kube.streams_lists = streams
    registry = await stage.registry(pace=Pace(first_pause=0.01, page=3))
    writer = await stage.registry()
    made = {name: await writer.create(an_app(name)) for name in "abcdefgh"}
    await until(lambda: len(registry.apps()) == 8)
    kube.fail(method="GET", path=PLURAL, watch=False, delay=0.1, times=10**6)
    before = kube.asked("GET", PLURAL)
    joining = asyncio.create_task(registry.heartbeat("p", position=0))
    await until(lambda: kube.asked("GET", PLURAL) == before + page)
    used = await writer.record_access("h", NOON)
    await writer.remove("b", seen_version=made["b"].version)
    late = await writer.create(an_app("bb"))
    await soon(joining)
    await until(lambda: registry.position() >= late.version)
    assert registry.apps()["h"] == used
    assert registry.apps()["bb"] == late
    assert "b" not in registry.apps()


async def test_page_that_expired_begins_the_list_again(kube: KubeFake, stage: Stage) -> None:
    cluster = await stage.cluster()
    writer = await stage.registry()
    for name in "abcd":
        await writer.create(an_app(name))
    pages = cluster.pages(APPS, size=2)
    assert len((await anext(pages)).items) == 2
    await pages.aclose()
    kube.fail(status=410, method="GET", path=PLURAL, watch=False)
    assert len((await cluster.list(APPS)).items) == 4


async def test_events_handed_over_and_regular_lists_are_enough_without_a_watch(
    kube: KubeFake, stage: Stage
) -> None:
    writer = await stage.registry()
    fed = await stage.registry(watches=False, pace=Pace(compare=0.05))
    created = await writer.create(an_app())
    resource = kube.objects(PLURAL)["shop"]
    fed.take("ADDED", resource)
    assert dict(fed.apps()) == {"shop": created}
    fed.take(None, resource)
    assert fed.position() == created.version
    kube.remove_quietly(PLURAL, "shop")
    await until(lambda: not fed.apps())
    fed.take("MODIFIED", resource)
    assert not fed.apps()


async def test_opening_tells_that_the_server_cannot_be_reached_and_can_be_tried_again(
    kube: KubeFake, stage: Stage
) -> None:
    registry = await stage.registry(opened=False)
    kube.fail(status=503)
    with pytest.raises(Exception, match="503"):
        await registry.open()
    await registry.open()
    created = await registry.create(an_app())
    await until(lambda: registry.apps().get("shop") == created)


@pytest.mark.parametrize(("streams", "pages"), [(True, 1), (False, 8)])
async def test_what_is_too_much_for_a_page_is_streamed_and_in_pages_by_old_servers(
    kube: KubeFake, stage: Stage, *, streams: bool, pages: int
) -> None:
    kube.streams_lists = streams
    writer = await stage.registry()
    await soon(asyncio.gather(*(writer.create(an_app(f"app-{n}")) for n in range(50))))
    mirror = Mirror()
    reflector = Reflector(
        await stage.cluster(),
        APPS,
        mirror,
        monotonic=stage.clock,
        rng=random.Random(1),
        pace=Pace(page=7),
    )
    before = kube.asked("GET", PLURAL)
    await reflector.compare()
    assert kube.asked("GET", PLURAL) == before + pages
    assert dict(mirror.apps) == dict(writer.apps())
    assert mirror.position >= max(app.version for app in mirror.apps.values())
