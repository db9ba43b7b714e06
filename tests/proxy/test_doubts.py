"""How often an app is reported as looking stopped."""

from paastis.app import Phase
from proxy.doubts import Doubt, Doubts
from tests.proxy.world import an_app


def test_first_doubt_is_reported_once_and_waited_for_a_while() -> None:
    doubts = Doubts(patience=3)
    app = an_app(cycle=6)
    assert doubts.about(app, 0) is Doubt.REPORT
    doubts.reported(app, 0)
    assert doubts.about(app, 2.9) is Doubt.PENDING
    assert doubts.about(app, 3) is Doubt.OVERDUE


def test_inspections_that_find_it_running_make_the_next_report_wait_twice_as_long() -> None:
    doubts = Doubts(patience=3)
    now, pauses = 0.0, []
    for cycle in range(6, 16):
        app = an_app(cycle=cycle)
        assert doubts.about(app, now) is Doubt.REPORT
        doubts.reported(app, now)
        later = an_app(cycle=cycle + 1)
        doubts.observe(later, now)
        pause = 0
        while doubts.about(later, now + pause) is Doubt.QUIET:
            pause += 1
        pauses.append(pause)
        now += pause
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]


def test_doubt_that_was_right_is_forgotten() -> None:
    doubts = Doubts(patience=3)
    doubts.reported(an_app(cycle=6), 0)
    doubts.observe(an_app(cycle=7, phase=Phase.ASLEEP), 1)
    assert doubts.about(an_app(cycle=8), 1) is Doubt.REPORT
