"""Who waits, what is asked for, and when they may go on. Times are plain seconds."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import App, Phase
from paastis.policy import Mode, Policy, Power
from paastis.reasons import Reason
from proxy.waker import Full, Waker
from tests.proxy.world import an_app

DEAD_AT = 50.0


class Scene:
    """A waker with everything around it played by hand."""

    def __init__(self, *apps: App, links: dict[str, tuple[str, ...]] | None = None) -> None:
        self.asks: list[tuple[str, int]] = []
        self.probes: list[str] = []
        self.told: list[str] = []
        self.waker = Waker(
            self,
            links=lambda name: (links or {}).get(name, ()),
            backoff=lambda failures: 1.0,
            per_app=3,
            total=4,
        )
        self.records: dict[str, App] = {}
        self.version = 0
        for app in apps:
            self.records[app.name] = app
            self.change(app.name, now=0)

    def ask(self, name: str, cycle: int) -> None:
        self.asks.append((name, cycle))

    def probe(self, name: str) -> None:
        self.probes.append(name)

    def change(self, name: str = "a", *, now: float, **changes: object) -> App:
        self.version += 1
        record = replace(self.records[name], version=self.version, **changes)  # type: ignore[arg-type]
        self.records[name] = record
        self.waker.observe(record, now=now)
        return record

    def answer(self, name: str = "a", *, now: float) -> None:
        """The wish that was asked for last is written."""
        _, cycle = self.asks[-1]
        self.version += 1
        record = replace(self.records[name], version=self.version, wake_for=cycle)
        self.records[name] = record
        self.waker.asked(name, cycle, record, now=now)

    def visit(
        self, who: str = "v", name: str = "a", *, now: float = 0, beyond: int | None = None
    ) -> Callable[[], None]:
        return self.waker.wait(
            name,
            now + DEAD_AT,
            lambda: self.told.append(f"{who} ready"),
            lambda reason: self.told.append(f"{who} {reason}"),
            now=now,
            beyond=beyond,
        )


def asleep(name: str = "a", **changes: object) -> App:
    return an_app(name, **{"phase": Phase.ASLEEP, "cycle": 5, **changes})


def test_wake_is_asked_for_once_whatever_the_number_of_visitors() -> None:
    scene = Scene(asleep())
    scene.visit("one")
    scene.visit("two")
    scene.answer(now=1)
    scene.visit("three", now=2)
    assert scene.asks == [("a", 5)]


def test_wish_that_another_proxy_wrote_is_not_written_again() -> None:
    scene = Scene(asleep(wake_for=5))
    scene.visit()
    assert scene.asks == []


def test_old_record_in_the_mirror_is_no_other_wish() -> None:
    scene = Scene(asleep())
    scene.visit()
    stale = scene.records["a"]
    scene.answer(now=1)
    scene.waker.observe(stale, now=2)
    assert scene.asks == [("a", 5)]


def test_overwritten_wish_is_asked_again_while_visitors_wait() -> None:
    scene = Scene(asleep())
    scene.visit()
    scene.answer(now=1)
    scene.change(now=2, wake_for=4)
    assert scene.asks == [("a", 5), ("a", 5)]


def test_overwritten_wish_of_nobody_is_left() -> None:
    scene = Scene(asleep())
    cancel = scene.visit()
    scene.answer(now=1)
    cancel()
    scene.change(now=2, wake_for=4)
    assert scene.asks == [("a", 5)]


def test_new_cycle_is_asked_for_while_visitors_wait() -> None:
    scene = Scene(an_app("a", phase=Phase.STOPPING, cycle=7))
    scene.visit()
    scene.answer(now=1)
    scene.change(now=2, phase=Phase.ASLEEP)
    assert scene.asks == [("a", 7)]
    scene.change(now=3, cycle=8)
    assert scene.asks == [("a", 7), ("a", 8)]


def test_failed_wish_is_asked_again_after_a_pause() -> None:
    scene = Scene(asleep())
    scene.visit()
    scene.waker.asked("a", 5, None, now=2)
    assert scene.asks == [("a", 5)]
    assert scene.waker.next_due() == 3
    scene.waker.tick(3)
    assert scene.asks == [("a", 5), ("a", 5)]


@pytest.mark.parametrize(
    ("policy", "phase"),
    [
        (Policy(power=Power.ALWAYS_OFF), Phase.ASLEEP),
        (Policy(mode=Mode.OBSERVE), Phase.ASLEEP),
    ],
)
def test_what_must_not_be_woken_is_never_asked_for(policy: Policy, phase: Phase) -> None:
    scene = Scene(asleep(policy=policy, phase=phase))
    scene.waker.wish("a", now=0)
    scene.visit()
    assert scene.asks == []


def test_probes_run_only_in_the_start_that_was_asked_for() -> None:
    scene = Scene(asleep())
    scene.visit()
    scene.answer(now=1)
    assert scene.probes == []
    scene.change(now=2, phase=Phase.STARTING)
    assert scene.probes == ["a"]
    scene.waker.tick(3)
    assert scene.probes == ["a"]


def test_dying_app_is_not_probed() -> None:
    scene = Scene(an_app("a", phase=Phase.STOPPING, cycle=7))
    scene.visit()
    scene.answer(now=1)
    scene.waker.tick(2)
    assert scene.probes == []


def test_good_probe_releases_without_waiting_for_the_phase() -> None:
    scene = Scene(asleep(wake_for=5))
    scene.visit()
    scene.change(now=1, phase=Phase.STARTING)
    scene.waker.probed("a", ok=True, now=2)
    assert scene.told == ["v ready"]
    assert scene.waker.is_ready(scene.records["a"])
    assert scene.waker.ready_since("a") == 2


def test_probes_are_eager_until_twice_the_usual_boot_and_patient_then() -> None:
    boot = timedelta(seconds=4)
    scene = Scene(asleep(wake_for=5, usual_boot=boot))
    scene.visit()
    scene.change(now=0, phase=Phase.STARTING)
    scene.waker.probed("a", ok=False, now=7.9)
    assert scene.waker.next_due() == pytest.approx(8.0)
    scene.waker.tick(8.0)
    scene.waker.probed("a", ok=False, now=8.1)
    assert scene.waker.next_due() == pytest.approx(9.1)


def test_answer_of_an_earlier_life_proves_nothing() -> None:
    scene = Scene(asleep(wake_for=5))
    scene.visit()
    scene.change(now=1, phase=Phase.STARTING)
    scene.change(now=2, phase=Phase.STOPPING, cycle=7)
    scene.waker.probed("a", ok=True, now=3)
    assert scene.told == []


def test_awake_app_whose_probes_fail_is_tried_after_five_seconds() -> None:
    scene = Scene(asleep(wake_for=5))
    scene.visit()
    scene.change(now=1, phase=Phase.STARTING)
    scene.change(now=2, phase=Phase.AWAKE, cycle=6)
    scene.waker.probed("a", ok=False, now=6.8)
    scene.waker.tick(6.9)
    assert scene.told == []
    scene.waker.tick(7)
    assert scene.told == ["v ready"]


def test_failure_answers_everybody_with_its_reason() -> None:
    scene = Scene(asleep(wake_for=5))
    scene.visit("one")
    scene.visit("two")
    scene.change(now=1, phase=Phase.FAILED, cycle=6, phase_reason=Reason.START_FAILED)
    assert sorted(scene.told) == ["one StartFailed", "two StartFailed"]
    assert scene.waker.waiting == 0


def test_visitor_after_the_back_off_waits_for_the_next_attempt() -> None:
    scene = Scene(an_app("a", phase=Phase.FAILED, cycle=6))
    scene.visit()
    assert scene.asks == [("a", 6)]
    scene.answer(now=1)
    assert scene.told == []
    scene.change(now=2, cycle=7, phase_reason=Reason.START_FAILED)
    assert scene.told == ["v StartFailed"]


def test_deadline_is_each_visitors_own() -> None:
    scene = Scene(asleep())
    scene.visit("early", now=0)
    scene.visit("late", now=10)
    assert scene.waker.next_due() == 50
    scene.waker.tick(50)
    assert scene.told == ["early WakeTimedOut"]
    scene.waker.tick(60)
    assert scene.told == ["early WakeTimedOut", "late WakeTimedOut"]


def test_places_are_limited_per_app_and_in_total_and_freed_at_once() -> None:
    scene = Scene(asleep("a"), asleep("b"))
    cancel = scene.visit()
    scene.visit()
    scene.visit()
    with pytest.raises(Full):
        scene.visit()
    scene.visit(name="b")
    with pytest.raises(Full):
        scene.visit(name="b")
    cancel()
    cancel()
    scene.visit(name="b")
    assert scene.waker.waiting == 4


def test_gone_app_tells_its_visitors() -> None:
    scene = Scene(asleep())
    scene.visit()
    scene.change(now=1, phase=Phase.GONE)
    assert scene.told == ["v Deleted"]


def test_linked_apps_are_asked_for_and_not_waited_for() -> None:
    scene = Scene(asleep("a"), asleep("b", cycle=2), links={"a": ("b",)})
    scene.visit()
    assert sorted(scene.asks) == [("a", 5), ("b", 2)]
    scene.change("a", now=1, wake_for=5)
    scene.change("a", now=1, phase=Phase.STARTING)
    scene.waker.probed("a", ok=True, now=2)
    assert scene.told == ["v ready"]


def test_who_doubts_an_awake_app_waits_for_its_inspection() -> None:
    scene = Scene(an_app("a", phase=Phase.AWAKE, cycle=6))
    scene.visit(beyond=6)
    assert scene.asks == [("a", 6)]
    assert scene.told == []
    scene.change(now=1, cycle=7)
    assert scene.told == ["v ready"]


def test_who_doubted_rightly_waits_for_the_wake() -> None:
    scene = Scene(an_app("a", phase=Phase.AWAKE, cycle=6))
    scene.visit(beyond=6)
    scene.answer(now=0)
    scene.change(now=1, phase=Phase.ASLEEP, cycle=7)
    assert scene.asks == [("a", 6), ("a", 7)]
    scene.answer(now=2)
    scene.change(now=3, phase=Phase.STARTING)
    scene.waker.probed("a", ok=True, now=4)
    assert scene.told == ["v ready"]


@given(st.integers(0, 2**32), st.integers(10, 120))
def test_every_visitor_is_told_exactly_once_or_left(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    scene = Scene(asleep("a"))
    left: set[str] = set()
    cancels = {}
    now = 0.0
    for number in range(steps):
        now += rng.random() * 3
        match rng.randrange(7):
            case 0 | 1:
                with suppress(Full):
                    cancels[f"v{number}"] = scene.visit(
                        f"v{number}", now=now, beyond=rng.choice([None, scene.records["a"].cycle])
                    )
            case 2 if cancels:
                who = rng.choice(sorted(cancels))
                if not any(line.startswith(f"{who} ") for line in scene.told):
                    left.add(who)
                cancels.pop(who)()
            case 3:
                phase = rng.choice(list(Phase))
                cycle = scene.records["a"].cycle + rng.randrange(2)
                scene.change(now=now, phase=phase, cycle=cycle)
            case 4 if scene.asks:
                scene.answer(now=now)
            case 5:
                scene.waker.probed("a", ok=rng.random() < 0.3, now=now)
            case _:
                scene.waker.tick(now)
                due = scene.waker.next_due()
                assert due is None or due > now  # else the timer would spin
    scene.waker.tick(now + DEAD_AT + 1)

    told = [line.split(" ")[0] for line in scene.told]
    assert len(told) == len(set(told))
    assert not left & set(told)
    assert scene.waker.waiting == 0
    assert scene.waker.next_due() is None
