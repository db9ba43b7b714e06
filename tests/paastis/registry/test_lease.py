"""Who leads, for how long, and who may think so."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from paastis.registry.cluster import Cluster, Object
from paastis.registry.lease import LEADER, LeaderLease, LeaderSight, Tenure, Terms
from paastis.resources.names import LEASES
from tests.fakes.kube import KubeFake
from tests.paastis.registry.contract import soon, until
from tests.paastis.registry.stage import Clock, Stage

if TYPE_CHECKING:
    from paastis.registry.port import Leadership

BRISK = Terms(renew=0.02, call=0.5)
SHORT = Terms(lasts=1.0, renew=0.02, give_up=0.3, call=0.1)


class Candidate:
    """A process that would lead."""

    def __init__(self, cluster: Cluster, *, name: str, terms: Terms, seed: int) -> None:
        self.clock = Clock()
        self.cluster = cluster
        self.lease = LeaderLease(
            cluster,
            identity=name,
            monotonic=self.clock,
            now=lambda: datetime.now(UTC),
            rng=random.Random(seed),
            terms=terms,
        )
        self.right: Leadership | None = None
        self.leaving = asyncio.Event()

    async def run(self) -> None:
        """Lead until told to leave."""
        async with self.lease.lead() as right:
            self.right = right
            await self.leaving.wait()
        self.right = None

    async def lost(self) -> None:
        assert self.right is not None
        await soon(self.right.lost())


class Field:
    """Candidates, each as a task of its own."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._open = AsyncExitStack()
        self._made = 0

    async def candidate(self, name: str = "controller", terms: Terms = BRISK) -> Candidate:
        self._made += 1
        cluster = await self._stage.cluster()
        candidate = Candidate(cluster, name=name, terms=terms, seed=self._made)
        running = asyncio.create_task(candidate.run())

        async def end() -> None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        self._open.push_async_callback(end)
        return candidate

    async def leader(self, name: str = "controller", terms: Terms = BRISK) -> Candidate:
        candidate = await self.candidate(name, terms)
        await until(lambda: candidate.right is not None)
        return candidate

    async def close(self) -> None:
        await self._open.aclose()


@pytest.fixture
async def field(stage: Stage) -> Any:
    field = Field(stage)
    yield field
    await field.close()


def lease(kube: KubeFake) -> Object:
    return kube.objects("leases")[LEADER]


def holder(kube: KubeFake) -> str | None:
    found = lease(kube)["spec"].get("holderIdentity")
    assert found is None or isinstance(found, str)
    return found


async def patched(candidate: Candidate, **spec: Any) -> None:
    """As somebody else would change the Lease."""
    await candidate.cluster.patch(LEASES, LEADER, {"spec": spec})


# --- the right itself


@pytest.mark.parametrize(
    ("age", "span", "outlives"),
    [
        (0.0, 10.0, True),
        (0.0, 10.001, False),
        (5.9, 4.0, True),
        (5.9, 4.2, False),
        (6.0, 0.0, False),
        (9.0, 0.0, False),
    ],
)
def test_right_outlives_a_call_as_long_as_it_is_neither_over_nor_given_up(
    age: float, span: float, outlives: bool
) -> None:
    tenure = Tenure(sent=100.0, monotonic=lambda: 100.0 + age, terms=Terms())
    assert tenure.outlives(timedelta(seconds=span)) is outlives


def test_right_counts_from_when_the_renewal_was_sent() -> None:
    now = 100.0
    tenure = Tenure(sent=100.0, monotonic=lambda: now, terms=Terms())
    now = 105.0
    tenure.renewed(103.0)
    assert tenure.outlives(timedelta(seconds=8))
    assert not tenure.outlives(timedelta(seconds=8.1))


async def test_right_that_is_over_outlives_nothing() -> None:
    tenure = Tenure(sent=100.0, monotonic=lambda: 100.0, terms=Terms())
    tenure.end()
    assert not tenure.outlives(timedelta(0))
    await soon(tenure.lost())


# --- one leads


async def test_of_two_candidates_one_leads_and_renews(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    second = await field.candidate("b")
    version = lease(kube)["metadata"]["resourceVersion"]
    await until(lambda: int(lease(kube)["metadata"]["resourceVersion"]) > int(version) + 5)
    assert second.right is None
    assert first.right is not None
    assert first.right.outlives(timedelta(seconds=4))
    assert (holder(kube) or "").startswith("a_")


async def test_leader_that_leaves_is_followed_at_once(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    second = await field.candidate("b")
    first.leaving.set()
    await until(lambda: second.right is not None)
    spec = lease(kube)["spec"]
    assert spec["holderIdentity"].startswith("b_")
    assert spec["leaseTransitions"] == 1
    assert spec["leaseDurationSeconds"] == 10


async def test_process_of_the_same_name_is_somebody_else(kube: KubeFake, field: Field) -> None:
    """Started again in its Pod, or twice by mistake."""
    await field.leader("controller-0")
    again = await field.candidate("controller-0")
    looked = kube.asked("GET", LEADER)
    await until(lambda: kube.asked("GET", LEADER) > looked + 3)
    assert again.right is None


async def test_candidate_takes_over_only_from_one_it_saw_silent_for_the_whole_span(
    kube: KubeFake, field: Field
) -> None:
    first = await field.leader("a")
    kube.fail(method="PATCH", path=LEADER, status=503, times=10**6)
    second = await field.candidate("b")

    async def looks() -> None:
        looked = kube.asked("GET", LEADER)
        await until(lambda: kube.asked("GET", LEADER) > looked + 1)

    await looks()
    patches = kube.asked("PATCH", LEADER)
    first.clock.ahead += 5.0
    assert first.right is not None
    assert first.right.outlives(timedelta(seconds=1))
    first.clock.ahead += 1.1
    assert not first.right.outlives(timedelta(0))
    await first.lost()

    second.clock.ahead += 9.5
    await looks()
    assert second.right is None
    kube.faults.clear()
    second.clock.ahead += 0.6
    await until(lambda: second.right is not None)
    assert (holder(kube) or "").startswith("b_")
    assert kube.asked("PATCH", LEADER) > patches
    # The first one, when it goes, takes nothing from its successor.
    first.leaving.set()
    await until(lambda: first.right is None)
    assert (holder(kube) or "").startswith("b_")


async def test_frozen_leader_knows_on_its_own_clock_that_it_leads_no_more(
    kube: KubeFake, field: Field
) -> None:
    """Thawed, it must not act in the moment before its renewal fails."""
    first = await field.leader("a")
    right = first.right
    assert right is not None
    first.clock.ahead += 30
    assert not right.outlives(timedelta(0))
    await soon(right.lost())


async def test_candidate_takes_over_when_the_span_ends_and_not_a_look_later(
    kube: KubeFake, stage: Stage, field: Field
) -> None:
    spec = {"holderIdentity": "somebody who died", "leaseDurationSeconds": 1}
    await (await stage.cluster()).create(LEASES, {"metadata": {"name": LEADER}, "spec": spec})
    begun = asyncio.get_running_loop().time()
    await field.leader("a", Terms(lasts=1.0, renew=30, call=0.5))
    assert 1.0 <= asyncio.get_running_loop().time() - begun < 2.0


async def test_process_that_has_lost_the_right_takes_it_back_at_once_if_nobody_has_it(
    kube: KubeFake, field: Field
) -> None:
    """The server was away: what the Lease says is our own last turn, and that is over."""
    first = await field.leader("a", SHORT)
    kube.fail(method="PATCH", path=LEADER, status=503, times=10**6)
    await first.lost()
    before = holder(kube)
    first.leaving.set()
    await until(lambda: first.right is None)
    assert holder(kube) == before  # it could not be given back
    kube.faults.clear()
    first.leaving.clear()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    again = asyncio.create_task(first.run())
    await until(lambda: first.right is not None)
    assert loop.time() - begun < SHORT.lasts / 2
    assert holder(kube) != before
    first.leaving.set()
    await again


async def test_leader_of_another_version_is_given_the_span_that_it_says(
    kube: KubeFake, field: Field
) -> None:
    first = await field.leader("a")
    kube.fail(method="PATCH", path=LEADER, status=503, times=10**6)
    await until(lambda: first.right is not None)
    lease(kube)["spec"]["leaseDurationSeconds"] = 30
    second = await field.candidate("b")
    looked = kube.asked("GET", LEADER)
    # With its second look it has taken in what the first one saw.
    await until(lambda: kube.asked("GET", LEADER) > looked + 1)
    second.clock.ahead += 15
    looked = kube.asked("GET", LEADER)
    await until(lambda: kube.asked("GET", LEADER) > looked + 1)
    first.clock.ahead += 30
    await first.lost()
    kube.faults.clear()
    assert second.right is None
    second.clock.ahead += 16
    await until(lambda: second.right is not None)


# --- renewals


async def test_renewals_that_fail_for_a_while_lose_nothing(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    kube.fail(method="PATCH", path=LEADER, status=503, times=3)
    patches = kube.asked("PATCH", LEADER)
    await until(lambda: kube.asked("PATCH", LEADER) > patches + 6)
    assert first.right is not None
    assert first.right.outlives(timedelta(seconds=4))


async def test_leader_gives_up_when_no_renewal_gets_through(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a", SHORT)
    kube.fail(method="PATCH", path=LEADER, status=503, times=10**6)
    await first.lost()
    assert first.right is not None
    assert not first.right.outlives(timedelta(0))


async def test_leader_gives_up_when_renewals_hang(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a", SHORT)
    kube.fail(method="PATCH", path=LEADER, delay=5, times=10**6)
    begun = asyncio.get_running_loop().time()
    await first.lost()
    assert asyncio.get_running_loop().time() - begun < SHORT.lasts


async def test_renewal_whose_answer_was_lost_is_our_own(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    lost = kube.fail(method="PATCH", path=LEADER, lost=True)
    await until(lambda: lost.times == 0)
    patches = kube.asked("PATCH", LEADER)
    await until(lambda: kube.asked("PATCH", LEADER) > patches + 3)
    assert first.right is not None
    assert first.right.outlives(timedelta(seconds=4))


async def test_winning_whose_answer_was_lost_is_found_out(kube: KubeFake, field: Field) -> None:
    kube.fail(method="POST", path="leases", lost=True)
    await field.leader("a")
    assert (holder(kube) or "").startswith("a_")


async def test_lease_that_somebody_else_holds_is_lost_at_once(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    await patched(first, holderIdentity="b")
    await first.lost()
    assert holder(kube) == "b"


async def test_lease_that_was_deleted_is_lost_at_once(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a")
    await first.cluster.delete(LEASES, LEADER)
    await first.lost()


async def test_leaving_is_quick_when_the_server_is_away(kube: KubeFake, field: Field) -> None:
    first = await field.leader("a", SHORT)
    kube.fail(delay=5, times=10**6)
    first.leaving.set()
    await until(lambda: first.right is None)


async def test_candidate_waits_for_a_server_that_is_away(kube: KubeFake, field: Field) -> None:
    kube.fail(status=503, times=5)
    await field.leader("a")


# --- seen from outside


async def test_controller_is_overdue_from_the_end_of_its_lease_on(
    kube: KubeFake, stage: Stage, field: Field
) -> None:
    first = await field.leader("a")
    clock = Clock()
    sight = LeaderSight(await stage.cluster(), monotonic=clock, terms=Terms())
    assert sight.overdue() == timedelta(0)
    await sight.look()
    clock.ahead += 60
    await until_renewed(kube)
    await sight.look()
    assert sight.overdue() == timedelta(0)
    kube.fail(method="PATCH", path=LEADER, status=503, times=10**6)
    first.clock.ahead += 30
    await first.lost()
    await sight.look()
    clock.ahead += 15
    await sight.look()
    assert timedelta(seconds=5) <= sight.overdue() < timedelta(seconds=6)


async def until_renewed(kube: KubeFake) -> None:
    version = lease(kube)["metadata"]["resourceVersion"]
    await until(lambda: lease(kube)["metadata"]["resourceVersion"] != version)


@pytest.mark.parametrize("given_back", [True, False])
async def test_controller_that_is_not_there_is_overdue_since_we_saw_that(
    kube: KubeFake, stage: Stage, field: Field, given_back: bool
) -> None:
    if given_back:
        first = await field.leader("a")
        first.leaving.set()
        await until(lambda: first.right is None)
    clock = Clock()
    sight = LeaderSight(await stage.cluster(), monotonic=clock, terms=Terms())
    await sight.look()
    assert sight.overdue() == timedelta(0)
    clock.ahead += 12
    await sight.look()
    assert timedelta(seconds=12) <= sight.overdue() < timedelta(seconds=13)


async def test_nothing_is_said_about_the_controller_while_the_server_is_away(
    kube: KubeFake, stage: Stage, field: Field
) -> None:
    await field.leader("a")
    clock = Clock()
    sight = LeaderSight(await stage.cluster(), monotonic=clock, terms=Terms())
    await sight.look()
    kube.fail(status=503, times=10**6)
    clock.ahead += 120
    with pytest.raises(Exception, match="503"):
        await sight.look()
    assert sight.overdue() == timedelta(0)
