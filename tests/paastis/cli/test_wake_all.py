"""Leaving with everything awake: what is asked for, what is waited for, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from paastis.app import Phase
from paastis.cli.cluster import NotInstalled
from paastis.cli.wake_all import StillAsleep, outstanding, wake_everything
from paastis.errors import Forbidden, Missing, RegistryUnavailable
from paastis.policy import Mode, Policy, Power
from paastis.reasons import Reason
from paastis.resources.names import ACCOUNTS, APPS
from tests.paastis.cli.fake_cluster import FakeCluster, account_resource, app_resource, failing
from tests.paastis.factories import SNAPSHOT, an_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from paastis.app import App

STOPPED: dict[str, Any] = {"phase_reason": Reason.IDLE, "snapshot": SNAPSHOT}
TOLD = Policy(mode=Mode.WAKE_ALL)


def named(name: str, phase: Phase = Phase.ASLEEP, **fields: Any) -> App:
    return replace(an_app(phase, **fields), name=name, app_name=name)


def left(*apps: App) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    found = outstanding({app.name: app for app in apps})
    return found.asleep, found.not_told, found.kept


@pytest.mark.parametrize(
    "phase", [Phase.ASLEEP, Phase.STOPPING, Phase.STARTING, Phase.FAILED], ids=str
)
def test_app_that_paastis_stopped_is_waited_for_until_it_is_awake(phase: Phase) -> None:
    assert left(named("shop", phase, **STOPPED)) == (("shop",), (), ())


@pytest.mark.parametrize("reason", [Reason.FOUND_STOPPED, Reason.STOPPED_BY_HAND])
def test_app_that_somebody_else_stopped_is_not_waited_for(reason: Reason) -> None:
    assert left(named("shop", phase_reason=reason, snapshot=SNAPSHOT)) == ((), (), ())


@pytest.mark.parametrize("phase", [Phase.UNMANAGED, Phase.GONE])
def test_app_that_nobody_looks_after_is_not_waited_for(phase: Phase) -> None:
    assert left(named("shop", phase, snapshot=SNAPSHOT)) == ((), (), ())


@pytest.mark.parametrize("power", [Power.ALWAYS_OFF, Power.UNMANAGED])
def test_app_that_is_asleep_on_purpose_is_told_and_not_waited_for(power: Power) -> None:
    app = named("shop", policy=Policy(power=power, mode=Mode.WAKE_ALL), **STOPPED)
    assert left(app) == ((), (), ("shop",))


@pytest.mark.parametrize("phase", [Phase.AWAKE, Phase.DRAINING])
def test_awake_app_is_waited_for_until_nothing_can_put_it_to_sleep(phase: Phase) -> None:
    app = named("shop", phase)
    assert left(app) == ((), ("shop",), ())
    for mode in (Mode.WAKE_ALL, Mode.PAUSE, Mode.OBSERVE):
        assert left(replace(app, policy=Policy(mode=mode))) == ((), (), ())


@dataclass
class Hook:
    """A run of it against a made-up cluster and clock."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    lines: list[str] = field(default_factory=list)
    clock: float = 0.0
    rounds: int = 0
    each_round: Callable[[int], None] = lambda number: None

    async def run(self, seconds: float = 10) -> None:
        def before(verb: str) -> None:
            if verb == "list":
                self.clock += 1
                self.rounds += 1
                self.each_round(self.rounds)

        self.cluster.before = before
        await wake_everything(
            self.cluster,
            wait=timedelta(seconds=seconds),
            tell=self.lines.append,
            interval=timedelta(0),
            monotonic=lambda: self.clock,
        )


@pytest.fixture
def hook() -> Hook:
    hook = Hook()
    hook.cluster.put(ACCOUNTS, account_resource())
    return hook


async def test_every_account_is_told_to_wake_all(hook: Hook) -> None:
    hook.cluster.put(ACCOUNTS, {"metadata": {"name": "other"}, "spec": {"provider": "scalingo"}})
    await hook.run()
    modes = [account["spec"]["mode"] for account in hook.cluster.objects[ACCOUNTS].values()]
    assert modes == ["WakeAll", "WakeAll"]
    assert hook.lines == [
        "PaastisAccount main: mode Manage → WakeAll.",
        "PaastisAccount other: mode Observe → WakeAll.",
        "Everything that paastis put to sleep is awake.",
    ]


async def test_account_that_is_told_already_is_not_written_again(hook: Hook) -> None:
    account = account_resource()
    account["spec"]["mode"] = "WakeAll"
    hook.cluster.put(ACCOUNTS, account)
    await hook.run()
    assert {verb for verb, *_ in hook.cluster.calls} == {"list"}


async def test_mode_that_is_set_back_meanwhile_is_set_again(hook: Hook) -> None:
    hook.cluster.put(APPS, app_resource(named("shop", **STOPPED)))

    def each_round(number: int) -> None:
        if number == 3:
            hook.cluster.put(ACCOUNTS, account_resource())
        if number == 6:
            hook.cluster.put(APPS, app_resource(named("shop", Phase.AWAKE, policy=TOLD)))

    hook.each_round = each_round
    await hook.run()
    assert hook.cluster.objects[ACCOUNTS]["main"]["spec"]["mode"] == "WakeAll"
    assert sum("→ WakeAll" in line for line in hook.lines) == 2


async def test_progress_is_told_whenever_it_changes(hook: Hook) -> None:
    for name in ("shop", "blog"):
        hook.cluster.put(APPS, app_resource(named(name, **STOPPED)))

    def each_round(number: int) -> None:
        if number in {5, 9}:
            name = "blog" if number == 5 else "shop"
            hook.cluster.put(APPS, app_resource(named(name, Phase.AWAKE, policy=TOLD)))

    hook.each_round = each_round
    await hook.run(100)
    assert hook.lines[1:] == [
        "2 still asleep: blog, shop.",
        "1 still asleep: shop.",
        "Everything that paastis put to sleep is awake.",
    ]


async def test_time_that_is_over_names_every_app_that_still_sleeps(hook: Hook) -> None:
    names = [f"app-{number:02}" for number in range(12)]
    for name in names:
        hook.cluster.put(APPS, app_resource(named(name, **STOPPED)))
    with pytest.raises(StillAsleep) as over:
        await hook.run(5)
    assert str(over.value) == f"After 5s: 12 still asleep: {', '.join(names)}."
    assert hook.lines[-1].endswith("app-09 and 2 more.")
    assert hook.rounds <= 8


async def test_controller_that_does_not_hear_is_told_when_the_time_is_over(hook: Hook) -> None:
    hook.cluster.put(APPS, app_resource(named("shop", Phase.AWAKE)))
    with pytest.raises(StillAsleep, match="1 awake that the controller might still put to sleep"):
        await hook.run(3)


async def test_api_server_that_is_away_for_a_while_is_waited_for(hook: Hook) -> None:
    def each_round(number: int) -> None:
        if number < 4:
            raise RegistryUnavailable("It could not be reached.")

    hook.each_round = each_round
    await hook.run()
    assert hook.lines[0] == "It could not be reached. Trying again."
    assert hook.lines.count(hook.lines[0]) == 1
    assert hook.lines[-1] == "Everything that paastis put to sleep is awake."


async def test_api_server_that_stays_away_ends_it(hook: Hook) -> None:
    def each_round(number: int) -> None:
        raise RegistryUnavailable("It could not be reached.")

    hook.each_round = each_round
    with pytest.raises(StillAsleep, match="the API server did not say what sleeps"):
        await hook.run(5)


@pytest.mark.parametrize(
    ("error", "expected"), [(Forbidden("No."), Forbidden), (Missing("No."), NotInstalled)]
)
async def test_refusal_ends_it_at_once(
    hook: Hook, error: Forbidden | Missing, expected: type[Exception]
) -> None:
    def each_round(number: int) -> None:
        failing("list", error)("list")

    hook.each_round = each_round
    with pytest.raises(expected):
        await hook.run()
    assert hook.rounds == 1


async def test_what_is_asleep_on_purpose_is_told_at_the_end(hook: Hook) -> None:
    policy = Policy(power=Power.ALWAYS_OFF, mode=Mode.WAKE_ALL)
    hook.cluster.put(APPS, app_resource(named("shop", policy=policy, **STOPPED)))
    await hook.run()
    assert hook.lines[-2] == "Left asleep, since their power says so: shop."


async def test_record_that_cannot_be_read_is_told(hook: Hook) -> None:
    broken = app_resource(named("shop", Phase.AWAKE, policy=TOLD))
    del broken["spec"]["appId"]
    hook.cluster.put(APPS, broken)
    await hook.run()
    assert hook.lines[-2].startswith("Not read, so not waited for: PaastisApp 'shop'")
