"""Should this app be started, stopped, looked at, or left alone? Why, and when to ask again?

An ordered list of small checks, read top to bottom; the first that has something to say decides.
The order is meaning: what forbids any action comes first, then what wants the app awake, then what
forbids a stop, and only what is left may sleep. From `_stops_need_certainty` on there are only
stops, so nothing after it can hold back a wake.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from paastis.app import App, Phase
from paastis.durations import format_duration
from paastis.policy import Mode, Power, Schedule
from paastis.reasons import Reason
from paastis.schedule import is_open, next_change

SLEEP_WINDOW_IDLE = timedelta(minutes=5)
"""Inside a sleep window an app is idle after at most this long."""

LEAST_RESOLUTIONS = 3
"""The record of an access may be one resolution old; three make sure that no open request, which
renews at every resolution, is ever taken for idleness."""

ORIGIN_INSPECTION_SPACING = timedelta(seconds=10)
"""How often an app that should be awake is looked at because visitors see it stopped."""

TRANSIT_INSPECTION_SPACING = timedelta(seconds=5)
"""How often an app that is starting or stopping without an operation of ours is looked at."""


class Action(StrEnum):
    """What the controller is to do."""

    START = "Start"
    BEGIN_DRAIN = "BeginDrain"
    CANCEL_DRAIN = "CancelDrain"
    STOP = "Stop"
    INSPECT = "Inspect"
    NOTHING = "Nothing"


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision may look at: the record, and what the controller learnt.

    Times are on the controller's own clock.
    """

    app: App
    fresh_for: timedelta
    """How old a look at the provider may be and still justify a stop."""
    drain_time: timedelta
    """The least time between `Draining` and the stop."""
    remote_at: datetime | None = None
    """When the last look that agrees with the record was sent; None: never."""
    looked_at: datetime | None = None
    """When the last inspection was sent."""
    inspect_not_before: datetime | None = None
    """Visitors' reports of a stopped origin wait until then."""
    deploying: bool = False
    unmanaged: Reason | None = None
    """Why the provider or the configuration keeps it from being managed."""
    last_use: datetime | None = None
    """Latest access observed, of its own; activity in the record counts beside it."""
    linked_use: datetime | None = None
    """Latest activity of any app that links to this one."""
    linked_by: str = ""
    """The name of that app."""
    use_since_demand: datetime | None = None
    """Latest access, of its own or linked, observed since a person demanded sleep."""
    steady_from: datetime | None = None
    """When this controller has heard from every proxy that there may be; None: there are none."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and when the answer may change by itself."""

    action: Action
    reason: Reason
    message: str
    look_again_at: datetime | None = None
    """None: only an event changes it."""


_Check = Callable[[Situation, datetime], Decision | None]


def decide(situation: Situation, now: datetime) -> Decision:
    """The first check that has something to say."""
    for check in _CHECKS:
        decision = check(situation, now)
        if decision is not None:
            return decision
    raise AssertionError("the last check always decides")


def unmanaged_reason(situation: Situation) -> Reason | None:
    """Why we keep our hands off this app, if we do."""
    if situation.app.policy.power is Power.UNMANAGED:
        return Reason.POWER_UNMANAGED
    return situation.unmanaged


def wanted_awake(situation: Situation, now: datetime) -> tuple[Reason, datetime | None] | None:
    """What wants the app awake, and until when as far as the clock tells."""
    app = situation.app
    policy = app.policy
    if policy.power is Power.ALWAYS_OFF:
        return None
    until = app.overrides.awake_until
    if until is not None and until > now:
        return Reason.AWAKE_UNTIL, until
    if policy.power is Power.ALWAYS_ON and not _against_a_persons_hand(app):
        return Reason.ALWAYS_ON, None
    if policy.mode is Mode.WAKE_ALL and stopped_by_us(app):
        return Reason.WAKE_ALL, None
    if policy.schedule is not None and _keep_awake_window_open(app, policy.schedule, now):
        return Reason.KEEP_AWAKE_WINDOW, next_change(policy.schedule, now)
    if app.wake_asked:
        return Reason.WAKE_ASKED, None
    return None


def stopped_by_us(app: App) -> bool:
    """Whether it is not awake and the last stop was ours: nobody else's, and not found so."""
    if app.phase not in {Phase.ASLEEP, Phase.FAILED, Phase.STOPPING, Phase.STARTING}:
        return False
    others = {Reason.STOPPED_BY_HAND, Reason.FOUND_STOPPED}
    return app.snapshot is not None and app.phase_reason not in others


def idle_from(situation: Situation, now: datetime) -> datetime:
    """When the app is idle long enough to sleep, if nobody uses it until then.

    In the past where it is so already.
    """
    app = situation.app
    policy = app.policy
    least = LEAST_RESOLUTIONS * policy.access_resolution
    if policy.power is Power.ALWAYS_OFF or app.sleep_asked:
        use = situation.use_since_demand
        return now if use is None else use + least
    idle_time = policy.max_idle_time
    if policy.schedule is not None and any(
        is_open(window, policy.schedule.time_zone, now) for window in policy.schedule.sleep
    ):
        idle_time = min(idle_time, SLEEP_WINDOW_IDLE)
    return last_activity(situation) + max(idle_time, least)


def last_activity(situation: Situation) -> datetime:
    """The latest thing that counts as use; never earlier than the app's discovery."""
    app = situation.app
    times = [app.created_at]
    if app.last_activity is not None:
        times.append(app.last_activity.time)
    if situation.last_use is not None:
        times.append(situation.last_use)
    if situation.linked_use is not None:
        times.append(situation.linked_use)
    return max(times)


def _against_a_persons_hand(app: App) -> bool:
    """Somebody stopped it by hand, and only a rule, not a person, wants it on."""
    stopped_by_hand = app.phase is Phase.ASLEEP and app.phase_reason is Reason.STOPPED_BY_HAND
    return stopped_by_hand and app.overrides.settings.power is not Power.ALWAYS_ON


def _keep_awake_window_open(app: App, schedule: Schedule, now: datetime) -> bool:
    """A window stopped by hand stays closed for that app; the next one counts again."""
    zone = schedule.time_zone
    windows = [window for window in schedule.awake if is_open(window, zone, now)]
    stopped_at = app.phase_since
    if not _against_a_persons_hand(app) or stopped_at is None:
        return bool(windows)
    # Each window by itself: another one that opened or closed since has not reopened this one.
    changes = (next_change(Schedule(zone, awake=(window,)), stopped_at) for window in windows)
    return any(change is not None and change <= now for change in changes)


def _doubtful_from(situation: Situation) -> datetime | None:
    """The first moment at which what we know is too old to justify a stop."""
    if situation.remote_at is None:
        return None
    return situation.remote_at + situation.fresh_for + timedelta.resolution


def _window_change(app: App, now: datetime) -> datetime | None:
    """When a window of the app's schedule next opens or closes."""
    schedule = app.policy.schedule
    return next_change(schedule, now) if schedule is not None else None


def _nothing(reason: Reason, message: str, look_again_at: datetime | None = None) -> Decision:
    return Decision(Action.NOTHING, reason, message, look_again_at)


def _earliest(*times: datetime | None) -> datetime | None:
    known = [time for time in times if time is not None]
    return min(known) if known else None


# --- the checks, in their order ---------------------------------------------------------------


def _unmanaged(situation: Situation, _now: datetime) -> Decision | None:
    app = situation.app
    reason = unmanaged_reason(situation)
    if reason is not None:
        return _nothing(reason, f"{app.app_name} is not managed ({reason}).")
    if app.phase is Phase.GONE:
        return _nothing(app.phase_reason, f"{app.app_name} is gone.")
    if app.phase is Phase.UNMANAGED and app.open_operation is None:
        return Decision(Action.INSPECT, Reason.REMOTE_UNKNOWN, "It can be managed now.")
    return None


def _operation_open(situation: Situation, _now: datetime) -> Decision | None:
    operation = situation.app.open_operation
    if operation is None:
        return None
    return _nothing(Reason.OPERATION_OPEN, f"The {operation.kind} is on its way.")


def _in_transit(situation: Situation, now: datetime) -> Decision | None:
    """Starting or stopping, and no call of ours that could still move it: look until it settles."""
    app = situation.app
    if app.phase not in {Phase.STARTING, Phase.STOPPING}:
        return None
    if situation.looked_at is not None:
        due = situation.looked_at + TRANSIT_INSPECTION_SPACING
        if now < due:
            return _nothing(app.phase_reason, f"It is {app.phase.lower()}.", due)
    return Decision(Action.INSPECT, app.phase_reason, f"It is {app.phase.lower()}.")


def _wanted(situation: Situation, now: datetime) -> Decision | None:
    app = situation.app
    wanted = wanted_awake(situation, now)
    if wanted is None:
        return None
    reason, until = wanted
    if app.phase is Phase.ASLEEP:
        return Decision(Action.START, reason, _WANTED[reason], until)
    if app.phase is Phase.FAILED:
        not_before = app.retry.not_before
        if not_before is not None and now < not_before:
            look_again_at = _earliest(not_before, until)
            return _nothing(
                Reason.BACKING_OFF, "The last start failed; it is tried again later.", look_again_at
            )
        return Decision(Action.START, reason, _WANTED[reason], until)
    if app.phase is Phase.DRAINING:
        return Decision(Action.CANCEL_DRAIN, reason, _WANTED[reason], until)
    if app.wake_asked:
        return _origin_reported(situation, now)
    return _nothing(reason, _WANTED[reason], until)


def _origin_reported(situation: Situation, now: datetime) -> Decision:
    """An app that is `Awake` was asked to wake: its address answers as if it were stopped."""
    due = situation.inspect_not_before
    message = "Visitors get answers as from a stopped app."
    if due is not None and now < due:
        return _nothing(Reason.ORIGIN_LOOKS_STOPPED, message, due)
    return Decision(Action.INSPECT, Reason.ORIGIN_LOOKS_STOPPED, message)


def _asleep(situation: Situation, now: datetime) -> Decision | None:
    app = situation.app
    if app.phase not in {Phase.ASLEEP, Phase.FAILED}:
        return None
    return _nothing(Reason.ASLEEP, "It sleeps until somebody wants it.", _window_change(app, now))


def _stops_need_certainty(situation: Situation, now: datetime) -> Decision | None:
    app = situation.app
    reason: Reason
    look_again_at: datetime | None = None
    seen = situation.remote_at
    if seen is None or now - seen > situation.fresh_for:
        reason, message = Reason.REMOTE_UNKNOWN, "Its state at the provider is not known for sure."
    elif situation.deploying:
        reason, message = Reason.DEPLOYING, "Somebody is deploying it."
    elif app.policy.mode in {Mode.PAUSE, Mode.WAKE_ALL}:
        reason, message = Reason.PAUSED, "The account puts nothing to sleep now."
    elif situation.steady_from is not None and now < situation.steady_from:
        reason, message = Reason.JUST_TOOK_OVER, "The proxies are still reporting."
        look_again_at = situation.steady_from
    elif (contested := app.condition(Reason.CONTESTED)) is not None and contested.status:
        reason, message = Reason.CONTESTED, contested.message
    elif app.retry.not_before is not None and now < app.retry.not_before:
        reason, message = Reason.BACKING_OFF, "The last stop did not succeed; it is tried later."
        look_again_at = app.retry.not_before
    else:
        return None
    if app.phase is Phase.DRAINING:
        return Decision(Action.CANCEL_DRAIN, reason, message, look_again_at)
    return _nothing(reason, message, look_again_at)


def _in_use(situation: Situation, now: datetime) -> Decision | None:
    app = situation.app
    idle_at = idle_from(situation, now)
    if now >= idle_at:
        return None
    linked, own = situation.linked_use, last_activity(situation)
    if linked is not None and linked >= own:
        reason, message = Reason.LINKED_IN_USE, f"{situation.linked_by} links to it and is in use."
    else:
        reason, message = Reason.IN_USE, _last_activity_told(situation, now)
    look_again_at = _earliest(idle_at, _window_change(app, now))
    if app.phase is Phase.DRAINING:
        return Decision(Action.CANCEL_DRAIN, reason, message, look_again_at)
    return _nothing(reason, message, look_again_at)


def _idle(situation: Situation, now: datetime) -> Decision:
    app = situation.app
    if app.policy.power is Power.ALWAYS_OFF:
        reason, message = Reason.ALWAYS_OFF, "It is to be off."
    elif app.sleep_asked:
        reason, message = Reason.SLEEP_ASKED, "Somebody wants it asleep."
    else:
        idle = format_duration(_seconds(now - last_activity(situation)))
        reason, message = Reason.IDLE, f"Nobody used it for {idle}."
    # Told even with an action: in an account that is only observed nobody carries it out.
    look_again_at = _earliest(_doubtful_from(situation), _window_change(app, now))
    if app.phase is not Phase.DRAINING:
        return Decision(Action.BEGIN_DRAIN, reason, message, look_again_at)
    drained_at = (app.phase_since or now) + situation.drain_time
    if now < drained_at:
        return _nothing(Reason.DRAIN_RUNNING, message, _earliest(drained_at, look_again_at))
    return Decision(Action.STOP, reason, message, look_again_at)


def _last_activity_told(situation: Situation, now: datetime) -> str:
    """What the latest activity was, and how long ago."""
    latest = last_activity(situation)
    ago = f"{format_duration(_seconds(now - latest))} ago"
    activity = situation.app.last_activity
    if situation.last_use == latest:
        return f"A visitor used it {ago}."
    if activity is not None and activity.time == latest:
        return f"{_ACTIVITIES.get(activity.reason, activity.reason)} {ago}."
    return f"It became known {ago}."


def _seconds(span: timedelta) -> timedelta:
    """Whole seconds, never negative: fractions say nothing to people."""
    return timedelta(seconds=max(0, int(span.total_seconds())))


_WANTED: dict[Reason, str] = {
    Reason.ALWAYS_ON: "It is to be always on.",
    Reason.AWAKE_UNTIL: "Somebody wants it awake for a while.",
    Reason.WAKE_ALL: "The account wakes what was put to sleep.",
    Reason.KEEP_AWAKE_WINDOW: "Its schedule keeps it awake now.",
    Reason.WAKE_ASKED: "A visitor came.",
}

_ACTIVITIES: dict[Reason, str] = {
    Reason.DISCOVERED: "It was discovered",
    Reason.STARTED: "It was started",
    Reason.STARTED_BY_HAND: "Somebody started it",
    Reason.SCALED_BY_HAND: "Somebody scaled it",
    Reason.DEPLOYED: "Somebody deployed it",
    Reason.DIRECT_TRAFFIC: "A visitor reached it directly",
    Reason.SEEN_RUNNING: "It was found running",
}

_CHECKS: tuple[_Check, ...] = (
    _unmanaged,  # hands off: forwarded to at most
    _operation_open,  # one thing at a time: follow what is on its way
    _in_transit,  # no call of ours left, but not settled yet
    _wanted,  # a visitor, a schedule or a person; nothing below may hold this back
    _asleep,  # nobody wants it: there is nothing to stop
    _stops_need_certainty,  # stale knowledge and silence never put an app to sleep
    _in_use,  # the idle time is not over, its own or through links
    _idle,  # first drain, then stop
)
