"""A proxy that the registry has forgotten, and one that cannot reach it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta

from aiohttp import web

from paastis.app import App, Phase
from paastis.errors import RegistryUnavailable
from paastis.policy import Policy, Wake
from paastis.registry.feed import Feed
from paastis.registry.port import Change
from proxy.settings import ProxySettings
from tests.proxy.world import CountingRegistry, World, an_app, origin, until, world

EAGER = ProxySettings(heartbeat_interval=0.02)


class Forgetful(CountingRegistry):
    """Shows nothing new but to those who register, and lets that take as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Mapping[str, App] = {}
        self.may_register = asyncio.Event()
        self.may_register.set()
        self.registering = 0

    def forget_all(self) -> None:
        self._heartbeats.clear()

    def apps(self) -> Mapping[str, App]:
        return self.shown

    def changes(self) -> AsyncIterator[Change]:
        return Feed()

    async def heartbeat(self, proxy: str, *, position: int) -> None:
        if position == 0:
            self.registering += 1
            await self.may_register.wait()
            await super().heartbeat(proxy, position=position)
            self.shown = dict(super().apps())
        else:
            await super().heartbeat(proxy, position=position)


async def hello(request: web.Request) -> web.StreamResponse:
    return web.Response(text="hello")


async def forgotten(w: World, registry: Forgetful) -> None:
    """Return when the proxy knows it, and may not register yet."""
    registry.may_register.clear()
    before = registry.registering
    registry.forget_all()
    await until(lambda: registry.registering > before)


async def written(registry: Forgetful, **change: object) -> None:
    """As the controller writes, unseen by the proxy."""
    record = CountingRegistry.apps(registry)["my-app"]
    await registry.update("my-app", change, seen_version=record.version)  # type: ignore[arg-type]


async def test_forgotten_proxy_forwards_nothing_until_it_has_registered_and_listed_again() -> None:
    registry = Forgetful()
    async with origin(hello) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        await forgotten(w, registry)
        # Nobody asked this proxy before the app was stopped.
        await written(registry, phase=Phase.ASLEEP, cycle=2)
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: w.proxy.open_requests == 1)
        assert not w.proxy.serving
        registry.may_register.set()
        await until(lambda: registry.wakes == [("my-app", 2)] and w.proxy.serving)
        assert not visit.done()
        visit.cancel()


async def test_visitors_who_waited_meanwhile_are_served() -> None:
    registry = Forgetful()
    async with origin(hello) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        await forgotten(w, registry)
        visits = [asyncio.create_task(w.client.get(w.url())) for _ in range(5)]
        await until(lambda: w.proxy.open_requests == 5)
        registry.may_register.set()
        assert [(await visit).status for visit in visits] == [200] * 5
        position = registry.position()
        await until(lambda: registry.positions[-1] == position)


async def test_app_that_was_removed_meanwhile_is_unknown_afterwards() -> None:
    registry = Forgetful()
    async with origin(hello) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        await forgotten(w, registry)
        record = CountingRegistry.apps(registry)["my-app"]
        await registry.remove("my-app", seen_version=record.version)
        registry.may_register.set()
        await until(lambda: w.proxy.serving)
        assert (await w.client.get(w.url())).status == 404


async def test_nobody_waits_longer_than_for_a_wake() -> None:
    registry = Forgetful()
    policy = Policy(wake=Wake(timeout=timedelta(milliseconds=200)))
    app = replace(an_app(), policy=policy)
    async with (
        origin(hello) as url,
        world(replace(app, url=url), settings=EAGER, registry=registry) as w,
    ):
        await forgotten(w, registry)
        answer = await w.client.get(w.url())
        assert answer.status == 503
        assert "Retry-After" in answer.headers
        registry.may_register.set()


async def test_open_request_of_a_forgotten_proxy_goes_on() -> None:
    registry = Forgetful()
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(text="done")

    async with origin(slow) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: len(registry.writes) == 1)
        await forgotten(w, registry)
        go.set()
        answer = await visit
        assert (answer.status, await answer.text()) == (200, "done")
        registry.may_register.set()


async def test_drain_that_begins_unseen_is_objected_to_as_soon_as_it_is_listed() -> None:
    """A request that waits for the registration is a use already."""
    registry = Forgetful()
    async with origin(hello) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        await forgotten(w, registry)
        visit = asyncio.create_task(w.client.get(w.url()))
        await until(lambda: w.proxy.open_requests == 1)
        await written(registry, phase=Phase.DRAINING)
        draining = CountingRegistry.apps(registry)["my-app"]
        registry.may_register.set()
        assert (await visit).status == 200
        record = CountingRegistry.apps(registry)["my-app"]
        assert record.version > draining.version
        assert record.last_access_time is not None


async def test_proxy_that_cannot_reach_the_registry_goes_on_serving_awake_apps() -> None:
    registry = Forgetful()
    async with origin(hello) as url, world(an_app(url=url), settings=EAGER, registry=registry) as w:
        registry.failing = RegistryUnavailable("away")
        for _ in range(3):
            assert (await w.client.get(w.url())).status == 200
        assert w.proxy.serving
        registry.failing = None
