"""Orders meet other writers."""

import pytest

from paastis.app import App, AppChange, Phase
from paastis.errors import Conflict
from paastis.registry.memory import MemoryRegistry
from paastis.system import orders
from tests.paastis.registry.contract import NOON, an_app


class Contested(MemoryRegistry):
    """Somebody else writes first, a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.attempts = 0

    async def update(self, name: str, change: AppChange, *, seen_version: int) -> App:
        self.attempts += 1
        if self.times:
            self.times -= 1
            known = self.apps()[name]
            await super().update(name, {"cycle": known.cycle + 1}, seen_version=known.version)
        return await super().update(name, change, seen_version=seen_version)


async def test_order_is_given_again_for_the_record_as_it_is_then() -> None:
    registry = Contested(2)
    await registry.create(an_app(phase=Phase.AWAKE, cycle=1))
    app = await orders.sleep(registry, "shop")
    assert app.cycle == 3
    assert app.overrides.sleep_for == 3
    assert registry.attempts == 3


async def test_order_gives_up_after_a_few_conflicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PAUSE", orders.PAUSE / 100)
    registry = Contested(1000)
    await registry.create(an_app(phase=Phase.AWAKE))
    with pytest.raises(Conflict):
        await orders.wake(registry, "shop", now=NOON)
    assert registry.attempts == orders.ATTEMPTS
