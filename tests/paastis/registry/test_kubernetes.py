"""The Kubernetes kind: the contract, and writes and heartbeats that go wrong.

On a stand-in of our own, which fails when told to. `tests/cluster/test_registry.py` holds the same
contract against a real API server.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from paastis.app import Phase, Process, Snapshot
from paastis.errors import Conflict, Forgotten, RegistryUnavailable, UnknownApp
from paastis.metrics import Metrics
from paastis.policy import Power, Settings
from paastis.reasons import Reason
from paastis.registry.heartbeats import lease_name
from paastis.registry.kubernetes import KubernetesRegistry
from paastis.registry.port import Registry
from tests.fakes.kube import KubeFake, Object
from tests.paastis.registry.contract import (
    NOON,
    TICK,
    PassTime,
    RegistryContract,
    an_app,
    soon,
    until,
)
from tests.paastis.registry.stage import Stage

APPS = "paastisapps"
STATUS = "/status"


@pytest.fixture
async def registry(stage: Stage) -> KubernetesRegistry:
    return await stage.registry()


@pytest.fixture
async def second_view(stage: Stage) -> KubernetesRegistry:
    return await stage.registry()


@pytest.fixture
def pass_time(stage: Stage) -> PassTime:
    async def wait(seconds: float) -> None:
        stage.clock.ahead += seconds

    return wait


class TestOnTheFake(RegistryContract):
    """The fixtures above."""

    async def test_it_is_shared(self, registry: Registry) -> None:
        assert registry.shared


def shop(kube: KubeFake) -> Object:
    return kube.objects(APPS)["shop"]


def condition(kube: KubeFake, kind: str) -> Object:
    (found,) = [one for one in shop(kube)["status"]["conditions"] if one["type"] == kind]
    assert isinstance(found, dict)
    return found


# --- accesses


async def test_access_is_one_call_that_carries_the_version_it_was_computed_from(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.create(an_app())
    await registry.record_access("shop", NOON)
    before = len(kube.requests)
    await registry.record_access("shop", NOON)
    (call,) = [one for one in kube.requests[before:] if APPS in one[1] and one[0] != "GET"]
    assert call[0] == "PATCH"
    assert kube.asked("GET", f"{APPS}/shop") == 0


async def test_access_that_meets_another_write_is_computed_again_from_what_is_there(
    kube: KubeFake, registry: Registry, second_view: Registry
) -> None:
    await registry.create(an_app())
    await until(lambda: "shop" in second_view.apps())
    kube.deafen()
    for number in range(3):
        await registry.record_access("shop", NOON + number * TICK, wake_for=1)
    written = await second_view.record_access("shop", NOON - timedelta(hours=1))
    assert written.last_access_time == NOON + 3 * TICK
    assert written.wake_for == 1


async def test_access_whose_answer_was_lost_happened_and_the_next_one_is_later(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.create(an_app())
    kube.deafen()
    kube.fail(method="PATCH", path=STATUS, lost=True)
    with pytest.raises(RegistryUnavailable):
        await registry.record_access("shop", NOON)
    assert shop(kube)["status"]["lastAccessTime"] == "2026-03-02T12:00:00.000000Z"
    again = await registry.record_access("shop", NOON)
    assert again.last_access_time == NOON + TICK


async def test_access_gives_up_where_others_are_always_faster(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.create(an_app())
    kube.fail(method="PATCH", path=STATUS, status=409, times=100)
    before = kube.asked("PATCH", APPS)
    with pytest.raises(RegistryUnavailable, match="all the time"):
        await soon(registry.record_access("shop", NOON))
    assert kube.asked("PATCH", APPS) - before == 10


async def test_accesses_to_one_name_wait_for_each_other(kube: KubeFake, registry: Registry) -> None:
    await registry.create(an_app())
    before = kube.asked("PATCH", APPS)
    await soon(asyncio.gather(*(registry.record_access("shop", NOON) for _ in range(20))))
    assert kube.asked("PATCH", APPS) - before == 20


async def test_access_to_an_app_that_was_deleted_unseen_is_to_nobody(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    await until(lambda: registry.apps().get("shop") == created)
    kube.remove_quietly(APPS, "shop")
    with pytest.raises(UnknownApp):
        await registry.record_access("shop", NOON)


# --- the controller's writes


async def test_update_is_one_call(kube: KubeFake, registry: Registry) -> None:
    created = await registry.create(an_app())
    before = kube.asked("PATCH", APPS)
    await registry.update("shop", {"phase": Phase.AWAKE}, seen_version=created.version)
    assert kube.asked("PATCH", APPS) == before + 1
    assert kube.asked("GET", f"{APPS}/shop") == 0


async def test_update_from_a_version_known_to_be_old_costs_no_call(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    await registry.record_access("shop", NOON)
    before = len([one for one in kube.requests if APPS in one[1]])
    with pytest.raises(Conflict):
        await registry.update("shop", {"cycle": 2}, seen_version=created.version)
    assert len([one for one in kube.requests if APPS in one[1]]) == before


async def test_update_from_a_version_that_is_not_known_here_looks_first(
    kube: KubeFake, registry: Registry, stage: Stage
) -> None:
    blind = await stage.registry(watches=False)
    created = await registry.create(an_app())
    updated = await blind.update("shop", {"cycle": 2}, seen_version=created.version)
    assert updated.cycle == 2
    with pytest.raises(Conflict):
        await blind.update("shop", {"cycle": 3}, seen_version=created.version)


async def test_update_whose_answer_was_lost_is_a_conflict_when_it_is_tried_again(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    kube.fail(method="PATCH", path=STATUS, lost=True)
    with pytest.raises(RegistryUnavailable):
        await registry.update("shop", {"cycle": 2}, seen_version=created.version)
    with pytest.raises(Conflict):
        await registry.update("shop", {"cycle": 2}, seen_version=created.version)
    await until(lambda: registry.apps()["shop"].cycle == 2)


async def test_update_of_spec_and_status_carries_its_version_through_both(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    overrides = replace(created.overrides, settings=Settings(power=Power.ALWAYS_ON))
    updated = await registry.update(
        "shop",
        {"overrides": overrides, "app_name": "store", "phase": Phase.AWAKE},
        seen_version=created.version,
    )
    assert (updated.overrides, updated.app_name) == (overrides, "store")
    assert updated.phase is Phase.AWAKE
    assert shop(kube)["spec"]["power"] == "AlwaysOn"
    assert shop(kube)["metadata"]["generation"] == 2


async def test_snapshot_is_replaced_whole_and_can_be_taken_away(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    first = Snapshot(NOON, (Process("web", 2, "M"),), ("scaler",))
    second = Snapshot(NOON + TICK, (Process("clock", 1),))
    known = created
    for snapshot in (first, second, None):
        known = await registry.update("shop", {"snapshot": snapshot}, seen_version=known.version)
        assert known.snapshot == snapshot
    assert "snapshot" not in shop(kube)["status"]


async def test_standing_conditions_follow_the_phase_and_keep_their_times(
    kube: KubeFake, registry: Registry
) -> None:
    later = NOON + timedelta(hours=1)
    known = await registry.create(an_app(phase=Phase.AWAKE, phase_since=NOON))
    assert condition(kube, "Ready")["status"] == "True"
    known = await registry.update(
        "shop",
        {"phase": Phase.DRAINING, "phase_since": later, "phase_reason": Reason.IDLE},
        seen_version=known.version,
    )
    ready = condition(kube, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Idle")
    assert ready["lastTransitionTime"] == "2026-03-02T12:00:00Z"
    await registry.update(
        "shop", {"phase": Phase.STOPPING, "phase_since": later}, seen_version=known.version
    )
    assert condition(kube, "Ready")["status"] == "False"
    assert condition(kube, "Ready")["lastTransitionTime"] == "2026-03-02T13:00:00Z"
    assert not known.conditions


async def test_record_whose_creation_was_cut_short_is_there_and_can_be_completed(
    kube: KubeFake, registry: Registry
) -> None:
    kube.fail(method="PATCH", path=STATUS, status=503)
    with pytest.raises(RegistryUnavailable):
        await registry.create(an_app(phase=Phase.AWAKE))
    await until(lambda: "shop" in registry.apps())
    found = registry.apps()["shop"]
    assert (found.phase, found.phase_reason, found.cycle) == (
        Phase.UNMANAGED,
        Reason.DISCOVERED,
        1,
    )
    healed = await registry.update("shop", {"phase": Phase.AWAKE}, seen_version=found.version)
    assert healed.phase is Phase.AWAKE


async def test_creation_goes_on_though_somebody_touches_the_record_in_between(
    kube: KubeFake, registry: Registry
) -> None:
    kube.fail(method="PATCH", path=STATUS, status=409)
    created = await registry.create(an_app(phase=Phase.AWAKE))
    assert created.phase is Phase.AWAKE


async def test_removal_whose_answer_was_lost_is_a_removal(
    kube: KubeFake, registry: Registry
) -> None:
    created = await registry.create(an_app())
    kube.fail(method="DELETE", path=APPS, lost=True)
    # The client asks again by itself: what is gone cannot go twice.
    await registry.remove("shop", seen_version=created.version)
    await until(lambda: "shop" not in registry.apps())


@pytest.mark.parametrize("status", [400, 401, 403, 422, 429, 500, 503])
async def test_whatever_the_server_refuses_is_unavailable_and_told_in_its_words(
    kube: KubeFake, registry: Registry, status: int
) -> None:
    await registry.create(an_app())
    kube.fail(method="PATCH", status=status)
    with pytest.raises(RegistryUnavailable, match=f"{status}: made to fail"):
        await registry.record_access("shop", NOON)


async def test_many_writes_leave_room_for_a_lease(kube: KubeFake, registry: Registry) -> None:
    kube.fail(method="POST", path=APPS, delay=1.0, times=10**6)
    creating = [asyncio.create_task(registry.create(an_app(f"app-{n}"))) for n in range(500)]
    await until(lambda: kube.asked("POST", APPS) >= 40)
    async with asyncio.timeout(0.9), registry.lead():
        assert kube.asked("POST", APPS) < 200
    for task in creating:
        task.cancel()
    await asyncio.gather(*creating, return_exceptions=True)


async def test_writes_are_counted_by_kind_and_outcome(stage: Stage) -> None:
    metrics = Metrics()
    registry = await stage.registry(metrics=metrics)
    created = await registry.create(an_app())
    await registry.record_access("shop", NOON)
    with pytest.raises(Conflict):
        await registry.update("shop", {"cycle": 2}, seen_version=created.version)
    with pytest.raises(UnknownApp):
        await registry.record_access("nobody", NOON)

    def count(kind: str, outcome: str) -> Any:
        labels = {"kind": kind, "outcome": outcome}
        return metrics.registry.get_sample_value("paastis_registry_writes_total", labels)

    assert count("create", "written") == 1
    assert count("access", "written") == 1
    assert count("update", "conflict") == 1
    assert count("access", "unknown") == 1
    assert metrics.registry.get_sample_value("paastis_registry_lists_total", {"resource": APPS})


async def test_nothing_is_logged_about_a_token(
    kube: KubeFake, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry = await stage.registry()
    kube.fail(status=503, times=3)
    with pytest.raises(RegistryUnavailable) as error:
        await registry.create(an_app())
    assert "a-token" not in caplog.text + str(error.value) + repr(registry.__dict__)


# --- heartbeats


def lease(kube: KubeFake, proxy: str = "p1") -> Object:
    return kube.objects("leases")[lease_name(proxy)]


async def test_proxy_registers_before_it_lists(kube: KubeFake, registry: Registry) -> None:
    """One that lists first may have read what was true before it was waited for."""
    before = len(kube.requests)
    await registry.heartbeat("p1", position=0)
    asked = [
        (method, path.split("/")[-1])
        for method, path, query in kube.requests[before:]
        if "watch" not in query and not path.endswith("paastis-controller")
    ]
    assert asked == [("POST", "leases"), ("GET", APPS)]


async def test_proxy_that_registers_as_it_opens_lists_once(kube: KubeFake, stage: Stage) -> None:
    registry = await stage.registry(opened=False)
    await registry.open(proxy="p1")
    await registry.heartbeat("p1", position=0)
    asked = [
        (method, path.split("/")[-1])
        for method, path, query in kube.requests
        if "watch" not in query and not path.endswith("paastis-controller")
    ]
    assert asked == [("POST", "leases"), ("GET", APPS)]
    assert [p.proxy for p in await registry.proxies()] == ["p1"]
    kube.remove_quietly("leases", lease_name("p1"))  # it was forgotten: now it counts again
    await registry.heartbeat("p1", position=0)
    assert kube.asked("GET", APPS) == 2


async def test_heartbeat_is_one_call_and_has_its_owner_label_and_position(
    kube: KubeFake, stage: Stage
) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "paastis-proxy-0", "uid": "0001"}
    registry = await stage.registry(owner=owner)
    await registry.heartbeat("p1", position=0)
    before = kube.asked("PATCH", "leases")
    await registry.heartbeat("p1", position=42)
    assert kube.asked("PATCH", "leases") == before + 1
    metadata = lease(kube)["metadata"]
    assert metadata["labels"] == {"paastis.io/heartbeat": "proxy"}
    assert metadata["annotations"] == {"paastis.io/position": "42"}
    assert metadata["ownerReferences"] == [owner]
    spec = lease(kube)["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("p1", 10)
    assert spec["renewTime"] >= spec["acquireTime"]


async def test_proxy_whose_lease_was_deleted_is_told_so_and_can_begin_again(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.heartbeat("p1", position=0)
    kube.remove_quietly("leases", lease_name("p1"))
    with pytest.raises(Forgotten):
        await registry.heartbeat("p1", position=7)
    await registry.heartbeat("p1", position=0)
    await registry.heartbeat("p1", position=7)
    assert [p.position for p in await registry.proxies()] == [7]


async def test_heartbeat_that_does_not_get_through_is_no_forgetting(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.heartbeat("p1", position=0)
    kube.fail(method="PATCH", path="leases", status=503)
    with pytest.raises(RegistryUnavailable):
        await registry.heartbeat("p1", position=7)
    await registry.heartbeat("p1", position=7)


async def test_silence_is_counted_by_who_looks_since_he_first_saw_it(
    stage: Stage, registry: Registry
) -> None:
    controller = await stage.registry(watches=False)
    await registry.heartbeat("p1", position=0)
    stage.clock.ahead += 60  # nobody has looked yet
    assert [p.silent for p in await controller.proxies()] == [False]
    stage.clock.ahead += 9.5
    assert [p.silent for p in await controller.proxies()] == [False]
    stage.clock.ahead += 1
    assert [p.silent for p in await controller.proxies()] == [True]
    await registry.heartbeat("p1", position=3)
    assert [p.silent for p in await controller.proxies()] == [False]


async def test_position_that_somebody_made_a_mess_of_is_none(
    kube: KubeFake, registry: Registry
) -> None:
    await registry.heartbeat("p1", position=0)
    for text in ("far", "-1", "٣", ""):
        lease(kube)["metadata"]["annotations"]["paastis.io/position"] = text
        assert [p.position for p in await registry.proxies()] == [0]


@pytest.mark.parametrize(
    "proxy", ["paastis-proxy-7d9f-x2x", "Host.Example:3000", "ä", "-", "a" * 200, "a_b", "a-b"]
)
async def test_proxy_may_be_called_anything(registry: Registry, kube: KubeFake, proxy: str) -> None:
    await registry.heartbeat(proxy, position=0)
    await registry.heartbeat(proxy, position=5)
    assert [(p.proxy, p.position) for p in await registry.proxies()] == [(proxy, 5)]


def test_proxies_of_different_names_have_leases_of_different_names() -> None:
    names = ["a-b", "a_b", "A-b", "a.b", "a b", "a" * 70, "a" * 71]
    assert len({lease_name(name) for name in names}) == len(names)
