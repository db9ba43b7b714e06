"""Records that a person deletes although their app is there."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from controller import restoring
from paastis.app import App, Overrides, Phase
from paastis.errors import RegistryUnavailable
from paastis.policy import Mode, Settings
from tests.controller.conftest import LONG, until
from tests.controller.fakes import (
    FORMATION,
    FakeProvider,
    Running,
    SharedRegistry,
    World,
    account,
    running,
)


async def delete(work: Running, name: str) -> App:
    """A person's deed; returns what was deleted."""
    app = work.app(name)
    await work.registry.remove(name, seen_version=app.version)
    return app


async def back(work: Running, name: str) -> App:
    await until(lambda: name in work.registry.apps())
    return work.app(name)


async def test_deleted_record_of_a_sleeping_app_is_created_again_with_its_snapshot() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.put_to_sleep("a")
        calls = sum(provider.world.calls.values())
        gone = await delete(work, "a")
        assert "a" not in work.registry.apps()
        again = await back(work, "a")

        assert again == replace(gone, overrides=Overrides(), version=again.version)
        assert again.version > gone.version
        assert work.told("a")[-1] == "RecordRestored"
        assert sum(provider.world.calls.values()) == calls
        await work.ask_wake("a")
        await work.phase(Phase.AWAKE, "a")
        assert provider.world.apps["a"] == FORMATION


async def test_overrides_go_with_the_record_and_the_policy_follows() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        app = work.app("a")
        own = Overrides(Settings(max_idle_time=2 * LONG))
        await work.registry.update("a", {"overrides": own}, seen_version=app.version)
        await until(lambda: work.app("a").policy.max_idle_time == 2 * LONG)
        await delete(work, "a")
        again = await back(work, "a")
        assert again.overrides == Overrides()
        assert again.policy.max_idle_time == LONG


async def test_record_that_is_deleted_while_its_stop_is_under_way_keeps_the_operation() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        provider.gate.clear()
        await work.edit("a", sleep_for=work.app("a").cycle)
        await until(lambda: provider.world.calls["stop wanted"])
        gone = await delete(work, "a")
        again = await back(work, "a")
        assert again.operation == gone.operation
        provider.gate.set()
        await work.phase(Phase.ASLEEP, "a")
        assert work.app("a").snapshot == gone.snapshot
        assert provider.world.calls["stop"] == 1


async def test_deleted_record_of_a_draining_app_is_drained_anew() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.registry.heartbeat("elsewhere", position=0)  # which never agrees
        await work.phase(Phase.AWAKE, "a")
        await work.edit("a", sleep_for=work.app("a").cycle)
        await work.phase(Phase.DRAINING, "a")
        await delete(work, "a")
        await work.phase(Phase.AWAKE, "a")
        await work.registry.goodbye("elsewhere")
        await work.settled()
        assert provider.world.calls["stop wanted"] == 0  # the wish for sleep was deleted, too


async def test_record_that_we_remove_ourselves_stays_away() -> None:
    provider = FakeProvider(World.of("a", "b"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a", "b")
        work.controller.put_account(account(ignored_apps=("a",)), provider)
        await until(lambda: "a" not in work.registry.apps())
        del provider.world.apps["b"]
        await work.listed()
        await work.listed()
        await until(lambda: not work.registry.apps())
        await work.settled()
        assert not work.registry.apps()
        assert "RecordRestored" not in work.told("a") + work.told("b")


async def test_record_that_nobody_looks_after_may_be_deleted() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        work.controller.drop_account("main")
        await work.phase(Phase.UNMANAGED, "a")
        await delete(work, "a")
        await work.settled()
        assert "a" not in work.registry.apps()


async def test_hundred_records_deleted_at_once_are_all_created_again() -> None:
    names = [f"app-{number}" for number in range(100)]
    provider = FakeProvider(World.of(*names))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, *names)
        await asyncio.gather(*(delete(work, name) for name in names))
        await work.phase(Phase.AWAKE, *names)
        await until(lambda: sum(it.reason == "RecordRestored" for it in work.happened) == 100)
        assert provider.world.calls["inspect"] == 0


async def test_registry_that_is_away_gets_the_record_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away(SharedRegistry):
        away = False

        async def create(self, app: App) -> App:
            if self.away:
                raise RegistryUnavailable("away")
            return await super().create(app)

    monkeypatch.setattr(restoring, "FIRST_PAUSE", timedelta(seconds=0.02))
    registry = Away(shared=False)
    async with running(registry=registry, accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.put_to_sleep("a")
        registry.away = True
        gone = await delete(work, "a")
        await asyncio.sleep(0.1)
        assert "a" not in work.registry.apps()
        registry.away = False
        again = await back(work, "a")
        assert again.snapshot == gone.snapshot


async def test_record_that_discovery_made_meanwhile_is_completed() -> None:
    class Slow(SharedRegistry):
        slow = False

        async def create(self, app: App) -> App:
            if self.slow and app.snapshot is not None:
                self.slow = False
                await work.listed()  # discovery is faster
            return await super().create(app)

    registry = Slow(shared=False)
    provider = FakeProvider(World.of("a"))
    async with running(registry=registry, accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.put_to_sleep("a")
        registry.slow = True
        gone = await delete(work, "a")
        await until(lambda: (it := registry.apps().get("a")) and it.snapshot == gone.snapshot)
        assert work.app("a").phase is Phase.ASLEEP
        await work.ask_wake("a")
        await work.phase(Phase.AWAKE, "a")
        assert provider.world.apps["a"] == FORMATION


async def test_observed_account_gets_its_records_back_as_well() -> None:
    provider = FakeProvider(World.of("a"))
    async with running() as work:
        work.controller.put_account(account(mode=Mode.OBSERVE), provider)
        await work.phase(Phase.AWAKE, "a")
        await delete(work, "a")
        await work.phase(Phase.AWAKE, "a")
