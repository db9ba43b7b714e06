"""The way of a request by phase, and what kind of request it is."""

from datetime import timedelta

import pytest

from paastis.app import Condition, Operation, OperationKind, Phase, Retry
from paastis.policy import IgnoreAccess, Mode, Policy, Power, WakeBy, WakeMode
from paastis.reasons import Reason
from proxy import traffic
from proxy.gate import Gate, Manner, judge, manner
from tests.proxy.world import BORN, an_app

SLEEPY = (Phase.ASLEEP, Phase.STARTING, Phase.STOPPING, Phase.FAILED)


@pytest.mark.parametrize(
    ("phase", "gate"),
    [
        (Phase.AWAKE, Gate.FORWARD),
        (Phase.DRAINING, Gate.OBJECT),
        (Phase.UNMANAGED, Gate.FORWARD),
        (Phase.ASLEEP, Gate.WAIT),
        (Phase.STARTING, Gate.WAIT),
        (Phase.STOPPING, Gate.WAIT),
        (Phase.FAILED, Gate.WAIT),
        (Phase.GONE, Gate.REFUSE),
    ],
)
def test_every_phase_has_its_way(phase: Phase, gate: Gate) -> None:
    app = an_app(phase=phase, url="https://my-app.example")
    way = judge(app, counts=True, ready=False, controller_away=False, now=BORN)
    assert way.gate is gate


def test_app_of_which_nothing_is_known_yet_is_told_so_and_not_tried() -> None:
    """In a cluster a record has no status for the moment between two writes."""
    app = an_app(phase=Phase.UNMANAGED, phase_reason=Reason.DISCOVERED, url=None)
    way = judge(app, counts=True, ready=False, controller_away=False, now=BORN)
    assert (way.gate, way.status, way.reason) == (Gate.REFUSE, 503, Reason.DISCOVERED)
    assert way.retry_after <= 5


def test_start_that_answered_a_probe_is_forwarded_to() -> None:
    app = an_app(phase=Phase.STARTING)
    way = judge(app, counts=True, ready=True, controller_away=False, now=BORN)
    assert way.gate is Gate.FORWARD


@pytest.mark.parametrize("phase", [*SLEEPY, Phase.DRAINING])
def test_what_is_no_use_wakes_nothing(phase: Phase) -> None:
    way = judge(an_app(phase=phase), counts=False, ready=False, controller_away=False, now=BORN)
    assert (way.gate, way.reason) == (Gate.REFUSE, Reason.NOT_WOKEN)


@pytest.mark.parametrize("phase", [*SLEEPY, Phase.AWAKE, Phase.DRAINING])
def test_app_that_is_always_off_is_off_in_every_phase(phase: Phase) -> None:
    app = an_app(phase=phase, policy=Policy(power=Power.ALWAYS_OFF))
    way = judge(app, counts=True, ready=False, controller_away=False, now=BORN)
    assert (way.gate, way.status, way.reason) == (Gate.REFUSE, 503, Reason.ALWAYS_OFF)


def test_observed_account_wakes_nothing() -> None:
    app = an_app(phase=Phase.ASLEEP, policy=Policy(mode=Mode.OBSERVE))
    way = judge(app, counts=True, ready=False, controller_away=False, now=BORN)
    assert way.reason is Reason.OBSERVED_ASLEEP


@pytest.mark.parametrize("phase", SLEEPY)
def test_sleeping_apps_say_that_the_controller_is_away(phase: Phase) -> None:
    way = judge(an_app(phase=phase), counts=True, ready=False, controller_away=True, now=BORN)
    assert way.reason is Reason.CONTROLLER_AWAY


def test_awake_apps_are_served_without_a_controller() -> None:
    way = judge(an_app(phase=Phase.AWAKE), counts=True, ready=False, controller_away=True, now=BORN)
    assert way.gate is Gate.FORWARD


def test_operation_that_takes_too_long_is_told_instead_of_waited_for() -> None:
    overdue = Condition(Reason.OPERATION_OVERDUE, True, Reason.OPERATION_OVERDUE, "slow", BORN)
    app = an_app(
        phase=Phase.STARTING,
        operation=Operation(OperationKind.START, "1", BORN),
        conditions=(overdue,),
    )
    way = judge(app, counts=True, ready=False, controller_away=False, now=BORN)
    assert (way.gate, way.reason) == (Gate.REFUSE, Reason.OPERATION_OVERDUE)


@pytest.mark.parametrize(("ago", "gate"), [(-1, Gate.REFUSE), (0, Gate.WAIT), (1, Gate.WAIT)])
def test_back_off_ends_exactly(ago: int, gate: Gate) -> None:
    app = an_app(phase=Phase.FAILED, retry=Retry(1, BORN))
    now = BORN + timedelta(seconds=ago)
    assert judge(app, counts=True, ready=False, controller_away=False, now=now).gate is gate


@pytest.mark.parametrize(
    ("mode", "page", "how"),
    [
        (WakeMode.AUTO, True, Manner.PAGE),
        (WakeMode.AUTO, False, Manner.HOLD),
        (WakeMode.HOLD, True, Manner.HOLD),
        (WakeMode.PAGE, True, Manner.PAGE),
        (WakeMode.PAGE, False, Manner.REJECT),
        (WakeMode.REJECT, True, Manner.REJECT),
    ],
)
def test_visitors_wait_as_the_policy_says(mode: WakeMode, page: bool, how: Manner) -> None:
    assert manner(mode, page=page) is how


@pytest.mark.parametrize(
    ("method", "headers", "navigation"),
    [
        ("GET", {"Sec-Fetch-Mode": "navigate", "Accept": "*/*"}, True),
        ("HEAD", {"Sec-Fetch-Mode": "navigate"}, True),
        ("POST", {"Sec-Fetch-Mode": "navigate"}, False),
        ("GET", {"Sec-Fetch-Mode": "cors", "Accept": "text/html"}, False),
        (
            "GET",
            {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
            True,
        ),
        ("GET", {"Accept": "*/*"}, False),
        ("GET", {"Accept": "application/json, text/plain, */*"}, False),
        ("GET", {"Accept": "application/json, text/html;q=0.5"}, False),
        ("GET", {"Accept": "text/html;q=0"}, False),
        ("GET", {"Accept": "text/html;q=x"}, False),
        ("GET", {}, False),
    ],
)
def test_navigations_are_told_from_the_rest(
    method: str, headers: dict[str, str], navigation: bool
) -> None:
    assert traffic.is_navigation(method, headers) is navigation


@pytest.mark.parametrize(
    ("rules", "request_", "use"),
    [
        (IgnoreAccess(), {}, True),
        (IgnoreAccess(), {"agent": "Mozilla/5.0 Chrome/140"}, True),
        (IgnoreAccess(), {"agent": "curl/8.5"}, True),
        (IgnoreAccess(), {"agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}, False),
        (IgnoreAccess(), {"agent": "Slackbot-LinkExpanding 1.0"}, False),
        (IgnoreAccess(), {"agent": "kube-probe/1.30"}, False),
        (IgnoreAccess(built_in=False), {"agent": "kube-probe/1.30"}, True),
        (IgnoreAccess(methods=("OPTIONS",)), {"method": "OPTIONS"}, False),
        (IgnoreAccess(paths=("/health",)), {"path": "/health"}, False),
        (IgnoreAccess(paths=("/health",)), {"path": "/health/deep"}, True),
        (IgnoreAccess(user_agents=("mybot",)), {"agent": "The MyBot 1"}, False),
        (IgnoreAccess(addresses=("192.0.2.0/24",)), {"address": "192.0.2.9"}, False),
        (IgnoreAccess(addresses=("192.0.2.0/24",)), {"address": "::ffff:192.0.2.9"}, False),
        (IgnoreAccess(addresses=("192.0.2.0/24",)), {"address": "198.51.100.1"}, True),
        (IgnoreAccess(), {"purpose": "prefetch;anonymous-client-ip"}, False),
    ],
)
def test_use_is_told_from_what_comes_by_itself(
    rules: IgnoreAccess, request_: dict[str, str], use: bool
) -> None:
    headers = {"User-Agent": request_.get("agent", ""), "Sec-Purpose": request_.get("purpose", "")}
    assert (
        traffic.counts(
            rules,
            method=request_.get("method", "GET"),
            path=request_.get("path", "/"),
            headers=headers,
            address=request_.get("address", "203.0.113.5"),
        )
        is use
    )


@pytest.mark.parametrize(
    ("by", "headers", "wakes"),
    [
        (WakeBy.ANY, {"Sec-Fetch-Mode": "cors"}, True),
        (WakeBy.VISIT, {"Sec-Fetch-Mode": "navigate"}, True),
        (WakeBy.VISIT, {"Sec-Fetch-Mode": "websocket"}, False),
        (WakeBy.VISIT, {"User-Agent": "Mozilla/5.0", "Accept": "text/event-stream"}, False),
        (WakeBy.VISIT, {"User-Agent": "curl/8.5", "Accept": "*/*"}, True),
    ],
)
def test_forgotten_tab_does_not_wake_by_visit(
    by: WakeBy, headers: dict[str, str], wakes: bool
) -> None:
    assert traffic.may_wake(by, "GET", headers) is wakes
