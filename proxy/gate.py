"""What may be done with a request for an app, by the app's phase. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from paastis.app import App, Phase
from paastis.policy import Mode, Power, WakeMode
from paastis.reasons import Reason


class Gate(Enum):
    """The ways of a request."""

    FORWARD = auto()
    OBJECT = auto()
    """Forward once an own access write has met the drain."""
    WAIT = auto()
    """Ask for the wake; the visitor waits."""
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class Way:
    """A gate, with the status and reason of a refusal and what to say in `Retry-After`."""

    gate: Gate
    status: int = 503
    reason: Reason = Reason.WAKING
    retry_after: int = 5
    """Seconds."""


_FORWARD = Way(Gate.FORWARD)
_OBJECT = Way(Gate.OBJECT)
_WAIT = Way(Gate.WAIT)
_LONG = 300
"""`Retry-After` where only a person can change something."""


def judge(app: App, *, counts: bool, ready: bool, controller_away: bool, now: datetime) -> Way:
    """The way of a request.

    `counts`: it is a use of the app. `ready`: the app's front has answered a probe in this
    start, though the record does not say so yet.
    """
    power = app.policy.power
    match app.phase:
        case Phase.GONE:
            return Way(Gate.REFUSE, 404, Reason.DELETED, _LONG)
        case Phase.UNMANAGED if app.url is None and app.phase_reason is Reason.DISCOVERED:
            return Way(Gate.REFUSE, 503, Reason.DISCOVERED, 2)
        case Phase.UNMANAGED:
            return _FORWARD
        case _ if power is Power.ALWAYS_OFF:
            return Way(Gate.REFUSE, 503, Reason.ALWAYS_OFF, _LONG)
        case Phase.AWAKE:
            return _FORWARD
        case Phase.DRAINING if counts:
            return _OBJECT
        case Phase.STARTING if ready:
            return _FORWARD
        case _:
            return _asleep(app, counts=counts, controller_away=controller_away, now=now)


def _asleep(app: App, *, counts: bool, controller_away: bool, now: datetime) -> Way:
    if not counts:
        return Way(Gate.REFUSE, 503, Reason.NOT_WOKEN, 60)
    if app.policy.mode is Mode.OBSERVE and app.phase is not Phase.STARTING:
        return Way(Gate.REFUSE, 503, Reason.OBSERVED_ASLEEP, _LONG)
    if controller_away:
        return Way(Gate.REFUSE, 503, Reason.CONTROLLER_AWAY, 10)
    not_before = app.retry.not_before
    if app.phase is Phase.FAILED and not_before is not None and now < not_before:
        pause = (not_before - now).total_seconds()
        return Way(Gate.REFUSE, 503, Reason.BACKING_OFF, max(1, round(pause + 0.5)))
    overdue = app.condition(Reason.OPERATION_OVERDUE)
    if overdue is not None and overdue.status and app.open_operation is not None:
        return Way(Gate.REFUSE, 503, Reason.OPERATION_OVERDUE, 30)
    return _WAIT


class Manner(Enum):
    """How a visitor of a sleeping app waits."""

    HOLD = auto()
    PAGE = auto()
    REJECT = auto()
    """A 503 at once; the wake is asked for all the same."""


def manner(mode: WakeMode, *, page: bool) -> Manner:
    """`page`: the request is a GET or HEAD navigation of a browser."""
    match mode:
        case WakeMode.HOLD:
            return Manner.HOLD
        case WakeMode.REJECT:
            return Manner.REJECT
        case WakeMode.PAGE:
            return Manner.PAGE if page else Manner.REJECT
        case WakeMode.AUTO:
            return Manner.PAGE if page else Manner.HOLD
