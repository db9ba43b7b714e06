"""A simulated Scalingo with short times, and adapters that talk to it over real HTTP."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import stamina

from paastis.app import Formation, Identity, Process
from paastis.providers.port import Remote
from paastis.providers.scalingo import Scalingo
from paastis.secret import Secret
from paastis.simulate.app import App, ProcessSpec
from paastis.simulate.faults import Answer, Fault
from paastis.simulate.fleet import WorldSettings
from paastis.simulate.gate import Call
from paastis.simulate.server import ScalingoSimulator, SimulatorSettings
from paastis.simulate.spec import AppSpec
from tests.paastis.providers.contract import WHOLE, now

SETTINGS = SimulatorSettings(
    listen=("127.0.0.1", 0),
    front_listen=("127.0.0.1", 0),
    token="tk-us-very-secret-indeed",
    rate_limit=0,
    seed=1,
    apps=(),
    world=WorldSettings(
        boot_time=timedelta(milliseconds=120),
        stop_time=timedelta(milliseconds=60),
        pending_time=timedelta(milliseconds=20),
    ),
)
CHANGING = {"POST", "PATCH", "PUT", "DELETE"}


class ScalingoPlatform:
    """One simulator, and the adapters that were opened for it."""

    secret = SETTINGS.token

    def __init__(self, simulator: ScalingoSimulator) -> None:
        self.simulator = simulator
        self.opened: list[Scalingo] = []

    def provider(self, **changes: Any) -> Scalingo:
        url = self.simulator.api_url
        given: dict[str, Any] = {
            "account": "main",
            "token": Secret(self.secret),
            "now": now,
            "api_url": url,
            "auth_url": url,
            "calls_per_minute": 600,
        }
        self.opened.append(Scalingo(**given | changes))
        return self.opened[-1]

    def stranger(self) -> Scalingo:
        return self.provider(token=Secret("tk-us-somebody-else"))

    def refuse_connections(self) -> Scalingo:
        nowhere = "http://127.0.0.1:9"
        return self.provider(api_url=nowhere, auth_url=nowhere, regions=("osc-fr1",))

    def add(self, name: str, formation: Formation = WHOLE, **more: Any) -> Remote:
        spec = AppSpec(name=name, formation=specs(formation), **more)
        app = self.simulator.world.add(spec)
        return Remote(Identity("main", app.region, app.id), name)

    def app(self, remote: Remote) -> App:
        found = self.simulator.world.find(remote.identity.app_id)
        assert found is not None
        return found

    def delete(self, app: Remote) -> None:
        self.simulator.world.delete(self.app(app))

    def formation(self, app: Remote) -> Formation:
        rows = self.app(app).formation.values()
        return tuple(Process(row.name, row.amount, row.size) for row in rows)

    @property
    def calls(self) -> list[Call]:
        return list(self.simulator.gate.calls)

    def counted(self, method: str, ending: str) -> int:
        return sum(call.method == method and call.path.endswith(ending) for call in self.calls)

    def changing_calls(self) -> int:
        return sum(
            call.method in CHANGING and not call.path.endswith("/exchange") for call in self.calls
        )

    def fault(self, match: str, **more: Any) -> Fault:
        fault = Fault(match=match, **more)
        self.simulator.faults.add(fault)
        return fault

    def drop_next_change(self, *, after_effect: bool) -> None:
        drop = "after" if after_effect else "before"
        self.fault("POST /v1/apps/**", times=1, drop=drop)

    def be_down(self, *, page: bool) -> None:
        words = None if page else {"error": "Internal error occured"}
        self.fault("**", answer=Answer(503, body=words))

    def throttle(self, seconds: int) -> None:
        self.fault("**", answer=Answer(429, {"Retry-After": str(seconds)}))

    def fail_next_operation(self, words: str) -> None:
        self.fault("POST /v1/apps/*/scale", times=1, operation_error=words)


def specs(formation: Formation) -> Mapping[str, ProcessSpec]:
    return {process.type: ProcessSpec(process.amount, process.size) for process in formation}


@pytest.fixture
def settings() -> SimulatorSettings:
    """Overridden where a test wants another platform."""
    return SETTINGS


@pytest.fixture
async def platform(settings: SimulatorSettings) -> AsyncIterator[ScalingoPlatform]:
    async with ScalingoSimulator(replace(settings)) as simulator:
        opened = ScalingoPlatform(simulator)
        yield opened
        for provider in opened.opened:
            await provider.aclose()


@pytest.fixture(autouse=True)
def impatient_retries() -> Iterator[None]:
    """As many attempts as always, without the pauses between them."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield
