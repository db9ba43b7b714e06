"""What people are told: ends and surprises, each once."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.happening import happenings
from paastis.app import Activity, App, Condition, Observation, Phase
from paastis.policy import Mode
from paastis.providers.port import Inspection, Remote, Urgency
from paastis.reasons import Reason
from tests.controller.conftest import until
from tests.controller.fakes import FORMATION, FakeProvider, World, account, running
from tests.paastis.factories import NOW, SECOND, an_app

STOPPED = tuple(replace(process, amount=0) for process in FORMATION)


def condition(kind: Reason, message: str, *, status: bool = True) -> Condition:
    return Condition(kind, status, kind, message, NOW)


def app(phase: Phase, reason: Reason = Reason.IDLE, *told: Condition, **fields: Any) -> App:
    return replace(an_app(phase), phase_reason=reason, phase_since=NOW, conditions=told, **fields)


BY_HAND = Activity(NOW, Reason.SCALED_BY_HAND)
WOULD = condition(Reason.WOULD_SLEEP, "It would be put to sleep: Idle.")
CLEARED = condition(Reason.WOULD_SLEEP, "", status=False)
FAILED = condition(Reason.START_FAILED, "no such image")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param(
            app(Phase.STOPPING),
            app(Phase.ASLEEP),
            [("Asleep", False, "It was put to sleep (Idle).")],
            id="slept",
        ),
        pytest.param(
            app(Phase.STARTING, Reason.WAKE_ASKED),
            replace(app(Phase.AWAKE, Reason.STARTED), phase_since=NOW + 12 * SECOND),
            [("Started", False, "It was woken in 12s (WakeAsked).")],
            id="woken",
        ),
        pytest.param(
            app(Phase.STARTING),
            app(Phase.FAILED, Reason.START_FAILED, FAILED),
            [("StartFailed", True, "no such image")],
            id="start failed",
        ),
        pytest.param(
            app(Phase.ASLEEP),
            app(Phase.FAILED, Reason.CRASHED),
            [("Crashed", True, "It does not come up.")],
            id="crashed",
        ),
        pytest.param(
            app(Phase.STOPPING),
            app(Phase.AWAKE, Reason.STOP_FAILED, condition(Reason.STOP_FAILED, "refused")),
            [("StopFailed", True, "refused")],
            id="stop failed",
        ),
        pytest.param(
            app(Phase.AWAKE),
            app(Phase.ASLEEP, Reason.STOPPED_BY_HAND),
            [("StoppedByHand", False, "Somebody stopped it.")],
            id="stopped by hand",
        ),
        pytest.param(
            app(Phase.ASLEEP),
            app(Phase.STARTING, Reason.STARTED_BY_HAND),
            [("StartedByHand", False, "Somebody started it.")],
            id="started by hand",
        ),
        pytest.param(
            app(Phase.STARTING, Reason.STARTED_BY_HAND),
            app(Phase.AWAKE, Reason.STARTED_BY_HAND),
            [],
            id="is up after it was started by hand",
        ),
        pytest.param(
            app(Phase.AWAKE),
            app(Phase.AWAKE, last_activity=BY_HAND),
            [("ScaledByHand", False, "Somebody changed its processes.")],
            id="scaled by hand",
        ),
        pytest.param(
            app(Phase.AWAKE, Reason.IDLE, CLEARED),
            app(Phase.AWAKE, Reason.IDLE, WOULD),
            [("WouldSleep", False, "It would be put to sleep: Idle.")],
            id="would sleep",
        ),
        pytest.param(
            app(Phase.AWAKE, Reason.IDLE, WOULD),
            app(Phase.AWAKE, Reason.IDLE, replace(WOULD, message="It would: SleepAsked.")),
            [],
            id="would sleep for another reason",
        ),
        pytest.param(
            app(Phase.AWAKE, Reason.IDLE, WOULD),
            app(Phase.AWAKE, Reason.IDLE, CLEARED),
            [],
            id="would not sleep any more",
        ),
        pytest.param(
            app(Phase.AWAKE),
            app(Phase.AWAKE, Reason.IDLE, condition(Reason.CONTESTED, "Somebody keeps at it.")),
            [("ContestedControl", True, "Somebody keeps at it.")],
            id="contested",
        ),
        pytest.param(app(Phase.AWAKE), app(Phase.DRAINING), [], id="announced"),
        pytest.param(app(Phase.DRAINING), app(Phase.AWAKE, Reason.IN_USE), [], id="called off"),
        pytest.param(app(Phase.DRAINING), app(Phase.STOPPING), [], id="being stopped"),
        pytest.param(app(Phase.ASLEEP), app(Phase.STARTING), [], id="being started"),
        pytest.param(
            app(Phase.UNMANAGED, Reason.ACCOUNT_MISSING), app(Phase.ASLEEP), [], id="adopted"
        ),
        pytest.param(app(Phase.AWAKE), app(Phase.AWAKE, url="https://new.example"), [], id="moved"),
    ],
)
def test_told_is_what_people_want_to_hear(
    before: App, after: App, told: Sequence[tuple[str, bool, str]]
) -> None:
    found = [(str(it.reason), it.warning, it.message) for it in happenings(before, after)]

    assert found == told
    assert all(it.app is after for it in happenings(before, after))


async def test_sleep_and_wake_are_told_once_each() -> None:
    async with running(accounts={"main": FakeProvider(World.of("a"))}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.put_to_sleep("a")
        await work.ask_wake("a")
        await work.phase(Phase.AWAKE, "a")
        await work.listed()

        assert work.told("a") == ["Asleep", "Started"]


async def test_hands_of_people_are_told() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(accounts={"main": provider}) as work:
        await work.phase(Phase.AWAKE, "a")
        await work.put_to_sleep("a")
        provider.world.apps["a"] = FORMATION
        await work.listed()
        await work.phase(Phase.AWAKE, "a")
        provider.world.apps["a"] = STOPPED
        await work.listed()
        await work.phase(Phase.ASLEEP, "a")

        assert work.told("a") == ["Asleep", "StartedByHand", "StoppedByHand"]


async def test_failed_start_is_a_warning_with_its_reason() -> None:
    class Broken(FakeProvider):
        async def inspect(
            self, app: Remote, *, urgency: Urgency, autoscaled: bool = False
        ) -> Inspection:
            found = await super().inspect(app, urgency=urgency, autoscaled=autoscaled)
            down = found.state is Observation.STOPPED
            return found if down else replace(found, state=Observation.FAILED)

    async with running(accounts={"main": Broken(World({"a": STOPPED}))}) as work:
        await work.phase(Phase.ASLEEP, "a")
        await work.ask_wake("a")
        await work.phase(Phase.FAILED, "a")
        (told,) = work.happened
        assert (told.reason, told.warning) == (Reason.START_FAILED, True)
        assert told.message == "The app did not come up."


async def test_would_sleep_is_told_once_per_change_and_not_again_after_a_restart() -> None:
    provider = FakeProvider(World.of("a"))
    async with running(idle=timedelta(seconds=0.2)) as work:
        work.controller.put_account(account(mode=Mode.OBSERVE), provider)
        await until(lambda: work.told("a"))
        await work.listed()
        await work.lose()
        work.lead()
        await work.listed()
        assert work.told("a") == ["WouldSleep"]

        await work.registry.record_access("a", work.clock.now())
        await until(lambda: not _would_sleep(work.app("a")))
        await until(lambda: _would_sleep(work.app("a")))
        await asyncio.sleep(0.3)
        assert work.told("a") == ["WouldSleep", "WouldSleep"]


def _would_sleep(app: App) -> bool:
    shown = app.condition(Reason.WOULD_SLEEP)
    return shown is not None and shown.status
