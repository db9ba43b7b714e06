from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.simulate.app import FOREVER, App, Operation, ProcessSpec
from paastis.simulate.spec import AppSpec, AutoscalerSpec
from paastis.simulate.world import Busy, NameTaken, NoChange, UnknownType, World, WorldSettings
from tests.paastis.simulate.fake_clock import FakeClock

FORMATION = {
    "web": ProcessSpec(2, "M"),
    "worker": ProcessSpec(1, "S"),
    "clock": ProcessSpec(0, "S"),
}
ASLEEP = {"web": ProcessSpec(0), "worker": ProcessSpec(0)}


def world_with(clock: FakeClock, **settings: Any) -> World:
    return World(clock=clock, rng=random.Random(1), settings=WorldSettings(**settings))


def an_app(**more: Any) -> AppSpec:
    return AppSpec(name="my-app", formation=FORMATION, **more)


def started(operation: Operation | None) -> Operation:
    assert operation is not None
    return operation


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    return world_with(clock)


@pytest.fixture
def app(world: World) -> App:
    return world.add(an_app())


def states(app: App) -> list[str]:
    return sorted(f"{c.label} {c.state} {c.size}" for c in app.containers)


def test_new_app_runs_at_once(app: App) -> None:
    assert app.status == "running"
    assert states(app) == ["web-1 running M", "web-2 running M", "worker-1 running S"]


def test_operation_goes_from_pending_over_running_to_done(
    world: World, app: App, clock: FakeClock
) -> None:
    operation = started(world.scale(app, ASLEEP))
    seen = [(operation.status, app.status)]
    for seconds in (0.099, 0.001, 0.999, 0.001):
        clock.advance(seconds)
        seen.append((operation.status, app.status))

    assert seen == [
        ("pending", "scaling"),
        ("pending", "scaling"),
        ("running", "scaling"),
        ("running", "scaling"),
        ("done", "stopped"),
    ]


def test_stopped_containers_are_listed_for_their_stop_time(
    world: World, app: App, clock: FakeClock
) -> None:
    world.scale(app, ASLEEP)
    clock.advance(0.1)
    assert states(app) == ["web-1 stopping M", "web-2 stopping M", "worker-1 stopping S"]
    clock.advance(1)
    assert app.containers == []


def test_containers_boot_for_their_boot_time(world: World, app: App, clock: FakeClock) -> None:
    world.scale(app, ASLEEP)
    clock.advance(2)
    operation = started(world.scale(app, {"web": ProcessSpec(2), "worker": ProcessSpec(1)}))
    clock.advance(3.0)
    assert states(app) == ["web-1 booting M", "web-2 booting M", "worker-1 booting S"]
    clock.advance(0.1)
    assert states(app) == ["web-1 running M", "web-2 running M", "worker-1 running S"]
    assert operation.status == "done"
    assert {c.boot for c in app.containers} == {2}


def test_app_without_web_but_with_a_worker_is_running(
    world: World, app: App, clock: FakeClock
) -> None:
    world.scale(app, {"web": ProcessSpec(0)})
    clock.advance(5)
    assert app.status == "running"


def test_second_operation_is_refused_while_one_is_in_progress(world: World, app: App) -> None:
    world.scale(app, ASLEEP)
    with pytest.raises(Busy, match="scaling"):
        world.scale(app, {"clock": ProcessSpec(1)})
    with pytest.raises(Busy):
        world.restart(app)
    with pytest.raises(Busy):
        world.deploy(app)


def test_scaling_to_what_is_already_so_is_no_change(world: World, app: App) -> None:
    with pytest.raises(NoChange):
        world.scale(app, {"web": ProcessSpec(2, "M")})


def test_refused_scale_changes_nothing(world: World, app: App) -> None:
    with pytest.raises(UnknownType, match="api"):
        world.scale(app, {"web": ProcessSpec(0), "api": ProcessSpec(1)})
    assert app.formation["web"].amount == 2


def test_two_apps_of_one_name_are_refused_in_a_region_only(world: World, app: App) -> None:
    with pytest.raises(NameTaken):
        world.add(an_app())
    other = world.add(an_app(region="osc-secnum-fr1"))
    assert world.find("my-app", "osc-secnum-fr1") is other


def test_autoscaler_of_a_manually_scaled_type_is_disabled(world: World, clock: FakeClock) -> None:
    spec = an_app(autoscalers=(AutoscalerSpec(), AutoscalerSpec(type="worker")))
    app = world.add(spec)
    world.scale(app, {"web": ProcessSpec(0)})
    assert [(a.type, a.disabled) for a in app.autoscalers] == [("web", True), ("worker", False)]


def test_operation_that_fails_leaves_everything_as_it_was(
    world: World, app: App, clock: FakeClock
) -> None:
    operation = started(world.scale(app, ASLEEP, fails="quota"))
    clock.advance(1)
    assert (operation.status, operation.error) == ("error", "quota")
    assert (app.formation["web"].amount, app.status) == (2, "running")


def test_too_many_operations_at_one_time_fail_after_acceptance(clock: FakeClock) -> None:
    world = world_with(clock, operation_quota=2)
    apps = [world.add(AppSpec(name=f"app-{n}")) for n in range(3)]
    operations = [started(world.scale(a, {"web": ProcessSpec(0)})) for a in apps]
    clock.advance(5)
    assert [o.status for o in operations] == ["done", "done", "error"]


def test_lingering_stop_is_done_before_its_containers_are_gone(clock: FakeClock) -> None:
    world = world_with(clock, stop_lingers=True)
    app = world.add(an_app())
    operation = started(world.scale(app, ASLEEP))
    clock.advance(0.5)
    assert operation.status == "done"
    assert "web-1 stopping M" in states(app)
    clock.advance(1)
    assert app.containers == []


def test_new_size_replaces_containers_one_generation_after_the_other(
    world: World, app: App, clock: FakeClock
) -> None:
    world.scale(app, {"web": ProcessSpec(1, "L")})
    clock.advance(0.1)
    assert [s for s in states(app) if "web" in s] == [
        "web-1 booting L",
        "web-1 running M",
        "web-2 stopping M",
    ]
    clock.advance(5)
    assert [s for s in states(app) if "web" in s] == ["web-1 running L"]


def test_restart_boots_every_container_again(world: World, app: App, clock: FakeClock) -> None:
    operation = world.restart(app, ["web"])
    assert app.status == "restarting"
    clock.advance(5)
    assert (operation.status, app.status) == ("done", "running")
    assert {c.label: c.boot for c in app.containers} == {"web-1": 2, "web-2": 2, "worker-1": 1}


def test_deployment_boots_the_app_while_the_old_version_serves(
    world: World, app: App, clock: FakeClock
) -> None:
    clock.advance(60)
    before = app.last_deployment
    world.deploy(app)
    clock.advance(2.9)
    assert (app.status, app.last_deployment) == ("booting", before)
    assert app.web_containers()
    clock.advance(2)
    assert (app.status, app.current) == ("running", None)
    assert app.last_deployment is not before
    assert {c.boot for c in app.containers} == {2}


def test_deployment_of_a_stopped_app_leaves_it_stopped(
    world: World, app: App, clock: FakeClock
) -> None:
    world.scale(app, ASLEEP)
    clock.advance(5)
    deployment = world.deploy(app)
    assert app.status == "booting"
    clock.advance(3)
    assert (deployment.status, app.status) == ("success", "stopped")


def test_new_procfile_removes_and_adds_types(world: World, app: App, clock: FakeClock) -> None:
    world.deploy(app, {"web": ProcessSpec(5), "api": ProcessSpec()})
    clock.advance(5)
    amounts = {p.name: p.amount for p in app.formation.values()}
    assert amounts == {"web": 2, "api": 0}
    assert {c.type for c in app.containers} == {"web"}


def test_never_deployed_app_stores_its_formation_and_runs_nothing(
    world: World, clock: FakeClock
) -> None:
    app = world.add(an_app(status="new"))
    assert world.scale(app, {"web": ProcessSpec(1)}) is None
    clock.advance(5)
    assert (app.status, app.formation["web"].amount, app.containers) == ("new", 1, [])
    world.deploy(app)
    clock.advance(5)
    assert app.status == "running"


def test_app_that_is_stopped_at_first_remembers_in_its_history_what_it_was(world: World) -> None:
    app = world.add(an_app(status="stopped"))
    assert app.status == "stopped"
    assert app.events[-1].kind == "scale"
    assert app.events[-1].data["before"] == {"web": (2, "M"), "worker": (1, "S"), "clock": (0, "S")}


def test_crashed_container_loses_its_connections_and_boots_again(
    world: World, app: App, clock: FakeClock
) -> None:
    cut: list[int] = []
    container = app.web_containers()[0]
    container.cuts.add(lambda: cut.append(1))
    world.crash(app, container)
    assert cut == [1]
    assert (container.state, app.status) == ("booting", "running")
    clock.advance(3)
    assert (container.state, container.boot) == ("running", 2)


@pytest.mark.parametrize(("failures", "status"), [(12, "running"), (13, "crashed")])
def test_app_is_given_up_after_more_than_twelve_crashes_in_a_row(
    world: World, clock: FakeClock, failures: int, status: str
) -> None:
    app = world.add(AppSpec(name="shaky", status="stopped", boot_failures=failures))
    operation = started(world.scale(app, {"web": ProcessSpec(1)}))
    clock.advance(60)
    assert app.status == status
    assert operation.status == ("done" if status == "running" else "error")


def test_crashed_app_comes_back_by_a_restart(world: World, clock: FakeClock) -> None:
    app = world.add(AppSpec(name="shaky", status="crashed"))
    world.restart(app)
    clock.advance(5)
    assert app.status == "running"


def test_failed_deployment_leaves_the_old_version_running(
    world: World, app: App, clock: FakeClock
) -> None:
    old = app.last_deployment
    app.boot_failures = FOREVER
    deployment = world.deploy(app)
    clock.advance(100)
    assert (deployment.status, app.status) == ("crashed-error", "running")
    assert app.last_deployment is old
    assert {c.boot for c in app.web_containers()} == {1}


def test_container_that_ran_for_long_starts_a_new_count_of_crashes(
    world: World, app: App, clock: FakeClock
) -> None:
    for _ in range(20):
        clock.advance(70)
        world.crash(app, app.web_containers()[0])
    assert app.crashes_in_a_row == 1


def test_deleted_app_leaves_no_timer_and_no_connection(
    world: World, app: App, clock: FakeClock
) -> None:
    cut: list[int] = []
    app.web_containers()[0].cuts.add(lambda: cut.append(1))
    world.restart(app)
    clock.advance(1)
    world.delete(app)
    assert (cut, clock.waiting(), world.find("my-app")) == ([1], 0, None)


ACTIONS = st.one_of(
    st.tuples(
        st.just("scale"),
        st.sampled_from(list(FORMATION)),
        st.integers(0, 3),
        st.sampled_from("SML"),
    ),
    st.tuples(st.sampled_from(["restart", "deploy", "crash"])),
    st.tuples(st.just("wait"), st.floats(0, 10)),
)


@given(st.lists(ACTIONS, max_size=30), st.booleans())
def test_platform_always_settles_on_the_formation(
    actions: list[tuple[Any, ...]], lingers: bool
) -> None:
    clock = FakeClock()
    world = world_with(clock, stop_lingers=lingers, steady_time=timedelta())
    app = world.add(an_app())
    for action in actions:
        try:
            match action:
                case ("scale", name, amount, size):
                    world.scale(app, {name: ProcessSpec(amount, size)})
                case ("restart",):
                    world.restart(app)
                case ("deploy",):
                    world.deploy(app)
                case ("crash",):
                    for container in app.web_containers()[:1]:
                        world.crash(app, container)
                case ("wait", seconds):
                    clock.advance(seconds)
        except (Busy, NoChange):
            pass
    clock.advance(200)

    expected = sorted(
        f"{p.name}-{i} running {p.size}"
        for p in app.formation.values()
        for i in range(1, p.amount + 1)
    )
    assert states(app) == expected
    assert app.current is None
    assert app.status == ("running" if expected else "stopped")
    assert clock.waiting() == 0
