import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.errors import RateLimited
from paastis.providers.budget import LONGEST_BACK_OFF, WINDOW, Budget
from paastis.providers.port import Urgency
from tests.paastis.providers.virtual_time import run

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NEVER = 1e9


@dataclass(frozen=True)
class Arrival:
    at: float
    urgency: Urgency
    to_provider: float
    """Seconds from sending until the provider counts the call."""
    back: float
    patience: float


arrivals = st.lists(
    st.builds(
        Arrival,
        at=st.floats(0, 150),
        urgency=st.sampled_from(Urgency),
        to_provider=st.floats(0, 10),
        back=st.floats(0, 10),
        patience=st.one_of(st.just(NEVER), st.floats(0, 100)),
    ),
    max_size=60,
)


@given(arrivals, st.integers(1, 12))
def test_provider_never_counts_more_calls_in_any_minute(
    plan: list[Arrival], per_minute: int
) -> None:
    counted: list[float] = []

    async def caller(budget: Budget, arrival: Arrival) -> None:
        await asyncio.sleep(arrival.at)
        with suppress(RateLimited):
            async with budget.slot(
                arrival.urgency, deadline=budget.time() + arrival.patience
            ) as slot:
                slot.sent = True
                await asyncio.sleep(arrival.to_provider)
                counted.append(budget.time())
                await asyncio.sleep(arrival.back)

    async def main() -> None:
        budget = Budget(per_minute)
        async with asyncio.TaskGroup() as group:
            for arrival in plan:
                group.create_task(caller(budget, arrival))

    run(main())
    counted.sort()
    for first, later in zip(counted, counted[per_minute:], strict=False):
        assert later - first >= WINDOW - 1e-6


@given(arrivals, st.integers(5, 30))
def test_only_visitors_use_the_reserve(plan: list[Arrival], per_minute: int) -> None:
    async def caller(budget: Budget, arrival: Arrival) -> None:
        await asyncio.sleep(arrival.at)
        with suppress(RateLimited):
            async with budget.slot(
                arrival.urgency, deadline=budget.time() + arrival.patience
            ) as slot:
                slot.sent = True
                if arrival.urgency is not Urgency.VISITOR:
                    assert budget.state(NOW).left >= min(10, per_minute // 5)

    async def main() -> None:
        budget = Budget(per_minute)
        async with asyncio.TaskGroup() as group:
            for arrival in plan:
                group.create_task(caller(budget, arrival))

    run(main())


def test_stops_leave_calls_for_following_what_visitors_started() -> None:
    async def main() -> None:
        budget = Budget(50)
        await spend(budget, Urgency.STOP, 30)
        with pytest.raises(RateLimited):
            await spend(budget, Urgency.STOP)
        await spend(budget, Urgency.DISCOVERY)
        await spend(budget, Urgency.SCHEDULED, 9)
        with pytest.raises(RateLimited):
            await spend(budget, Urgency.SCHEDULED)
        await spend(budget, Urgency.VISITOR, 10)

    run(main())


def test_listing_does_not_wait_behind_stops_that_may_not_go_yet() -> None:
    order: list[str] = []

    async def caller(budget: Budget, urgency: Urgency) -> None:
        async with budget.slot(urgency, deadline=budget.time() + 1) as slot:
            slot.sent = True
            order.append(urgency.name)

    async def main() -> None:
        budget = Budget(50)
        await spend(budget, Urgency.STOP, 30)
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(caller(budget, Urgency.STOP))
            await asyncio.sleep(0)
            group.create_task(caller(budget, Urgency.DISCOVERY))
            await asyncio.wait({stop})
            assert isinstance(stop.exception(), RateLimited)

    with pytest.raises(ExceptionGroup):
        run(main())
    assert order == ["DISCOVERY"]


@given(arrivals)
def test_everybody_with_patience_is_served(plan: list[Arrival]) -> None:
    served = 0

    async def caller(budget: Budget, arrival: Arrival) -> None:
        nonlocal served
        await asyncio.sleep(arrival.at)
        async with budget.slot(arrival.urgency, deadline=NEVER) as slot:
            slot.sent = True
            served += 1

    async def main() -> None:
        budget = Budget(10)
        async with asyncio.TaskGroup() as group:
            for arrival in plan:
                group.create_task(caller(budget, arrival))

    run(main())
    assert served == len(plan)


async def spend(budget: Budget, urgency: Urgency = Urgency.VISITOR, times: int = 1) -> None:
    for _ in range(times):
        async with budget.slot(urgency, deadline=budget.time()) as slot:
            slot.sent = True


def test_the_more_urgent_goes_first_and_equals_in_order_of_arrival() -> None:
    order: list[str] = []

    async def caller(budget: Budget, urgency: Urgency, name: str) -> None:
        async with budget.slot(urgency, deadline=NEVER) as slot:
            slot.sent = True
            order.append(name)

    async def main() -> None:
        budget = Budget(1)
        await spend(budget)
        async with asyncio.TaskGroup() as group:
            for urgency, name in [
                (Urgency.DISCOVERY, "discovery"),
                (Urgency.STOP, "stop"),
                (Urgency.VISITOR, "visitor 1"),
                (Urgency.SCHEDULED, "scheduled"),
                (Urgency.VISITOR, "visitor 2"),
            ]:
                group.create_task(caller(budget, urgency, name))

    run(main())
    assert order == ["visitor 1", "visitor 2", "scheduled", "stop", "discovery"]


def test_visitor_is_served_at_once_while_discovery_waits() -> None:
    async def main() -> None:
        budget = Budget(50)
        await spend(budget, Urgency.DISCOVERY, 40)
        with pytest.raises(RateLimited) as refused:
            await spend(budget, Urgency.DISCOVERY)
        assert refused.value.retry_after == timedelta(seconds=60)
        await spend(budget, Urgency.VISITOR, 10)
        assert budget.time() == 0
        with pytest.raises(RateLimited):
            await spend(budget, Urgency.VISITOR)

    run(main())


def test_slot_is_free_again_a_minute_after_the_answer_and_not_before() -> None:
    async def main() -> None:
        budget = Budget(1)
        async with budget.slot(Urgency.VISITOR, deadline=NEVER) as slot:
            slot.sent = True
            await asyncio.sleep(7)
        with pytest.raises(RateLimited):
            async with budget.slot(Urgency.VISITOR, deadline=66.9):
                pass
        assert budget.time() == pytest.approx(66.9)
        async with budget.slot(Urgency.VISITOR, deadline=NEVER):
            assert budget.time() == pytest.approx(67)

    run(main())


def test_slot_that_was_not_used_is_free_at_once() -> None:
    async def main() -> None:
        budget = Budget(1)
        async with budget.slot(Urgency.VISITOR, deadline=0):
            assert budget.state(NOW).left == 0
        assert budget.state(NOW).left == 1

    run(main())


def test_cancelled_waiter_leaves_nothing_behind() -> None:
    async def main() -> None:
        budget = Budget(1)

        async def wait() -> None:
            async with budget.slot(Urgency.VISITOR, deadline=NEVER):
                pytest.fail("it was cancelled")

        async with budget.slot(Urgency.VISITOR, deadline=0):
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(1)
        # The slot was given to the waiter in this very turn, and it never ran.
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert budget.state(NOW).left == 1
        await spend(budget)

    run(main())


def test_after_too_many_nothing_is_sent_until_the_wanted_silence_is_over() -> None:
    async def main() -> None:
        budget = Budget(10)
        async with budget.slot(Urgency.VISITOR, deadline=0) as slot:
            slot.sent = True
            assert budget.too_many(slot, 42.0) == 42
        assert budget.state(NOW).blocked_until == NOW + timedelta(seconds=42)
        assert budget.state(NOW).left == 0
        with pytest.raises(RateLimited) as refused:
            async with budget.slot(Urgency.VISITOR, deadline=41.9):
                pass
        assert refused.value.retry_after == timedelta(seconds=42)
        assert budget.time() == 0, "it is told at once, since waiting is certainly in vain"
        async with budget.slot(Urgency.DISCOVERY, deadline=NEVER):
            assert budget.time() == pytest.approx(42)

    run(main())


def test_silence_grows_until_a_success() -> None:
    async def too_many(budget: Budget) -> float:
        async with budget.slot(Urgency.VISITOR, deadline=NEVER) as slot:
            slot.sent = True
            return budget.too_many(slot, None)

    async def main() -> None:
        budget = Budget(50)
        assert [await too_many(budget) for _ in range(6)] == [5, 10, 20, 40, 60, LONGEST_BACK_OFF]
        async with budget.slot(Urgency.VISITOR, deadline=NEVER) as slot:
            slot.sent = True
            budget.accepted(slot)
        assert await too_many(budget) == 5

    run(main())


def test_many_refusals_of_one_burst_count_as_one() -> None:
    async def main() -> None:
        budget = Budget(50)

        async def call(answered_after: float) -> None:
            async with budget.slot(Urgency.DISCOVERY, deadline=NEVER) as slot:
                slot.sent = True
                await asyncio.sleep(answered_after)
                budget.too_many(slot, None)

        async with asyncio.TaskGroup() as group:
            for number in range(1, 9):
                group.create_task(call(number / 10))
        blocked = budget.state(NOW).blocked_until
        assert blocked is not None
        assert blocked - NOW == pytest.approx(timedelta(seconds=4.3), abs=timedelta(seconds=0.01))

    run(main())


def test_answer_to_an_older_call_does_not_end_the_growth() -> None:
    async def main() -> None:
        budget = Budget(50)
        async with (
            budget.slot(Urgency.VISITOR, deadline=0) as early,
            budget.slot(Urgency.VISITOR, deadline=0) as slot,
        ):
            early.sent = slot.sent = True
            await asyncio.sleep(1)
            budget.too_many(slot, None)
            budget.accepted(early)
        async with budget.slot(Urgency.VISITOR, deadline=NEVER) as slot:
            assert budget.too_many(slot, None) == 10

    run(main())


def test_silence_of_more_than_an_hour_is_cut() -> None:
    async def main() -> None:
        budget = Budget(50)
        async with budget.slot(Urgency.VISITOR, deadline=0) as slot:
            assert budget.too_many(slot, 1e6) == 3600

    run(main())


def test_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Budget(0)
