"""Where an app is between awake and asleep, and what a look at the provider makes of it.

One table, from phase, observation and what is wanted to the next phase. It is consulted after an inspection, when no operation of
ours is open: while one is, no inspection moves an app, since the call may still take effect.
Moves that we make ourselves (beginning a drain, sending a stop or start) are not in the table; the
cycle follows the same rule for all of them (`raises_cycle`).

A cell names the next phase; a pair names it for "wanted awake" and for "not wanted".
"""

from dataclasses import dataclass

from paastis.app import Observation, Phase
from paastis.reasons import Reason

_Cell = Phase | tuple[Phase, Phase]

_AWAKE = Phase.AWAKE
_DRAINING = Phase.DRAINING
_STOPPING = Phase.STOPPING
_ASLEEP = Phase.ASLEEP
_STARTING = Phase.STARTING
_FAILED = Phase.FAILED
_GONE = Phase.GONE

_FRESH: dict[Observation, _Cell] = {
    # An app that we did not follow until now: take what is there. When unsure, it is awake.
    Observation.RUNNING: _AWAKE,
    Observation.STARTING: _STARTING,
    Observation.STOPPING: _AWAKE,
    Observation.STOPPED: _ASLEEP,
    Observation.FAILED: _AWAKE,
    Observation.MISSING: _GONE,
    Observation.UNKNOWN: _AWAKE,
}

TABLE: dict[Phase, dict[Observation, _Cell]] = {
    Phase.AWAKE: {
        Observation.RUNNING: _AWAKE,
        Observation.STARTING: _AWAKE,  # a restart or a deployment
        Observation.STOPPING: _AWAKE,  # somebody stops it: the next look will show it stopped
        Observation.STOPPED: _ASLEEP,  # stopped by hand
        Observation.FAILED: _AWAKE,  # crashes are the app's own affair
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _AWAKE,
    },
    Phase.DRAINING: {
        Observation.RUNNING: (_AWAKE, _DRAINING),
        Observation.STARTING: _AWAKE,  # something is going on: not the time to stop it
        Observation.STOPPING: _AWAKE,
        Observation.STOPPED: _ASLEEP,
        Observation.FAILED: (_AWAKE, _DRAINING),
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _AWAKE,
    },
    Phase.STOPPING: {
        Observation.RUNNING: _AWAKE,  # the stop failed
        Observation.STARTING: _STARTING,  # somebody starts it, or deploys
        Observation.STOPPING: _STOPPING,
        Observation.STOPPED: _ASLEEP,
        Observation.FAILED: _AWAKE,
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _STOPPING,
    },
    Phase.ASLEEP: {
        Observation.RUNNING: _AWAKE,  # started by hand
        Observation.STARTING: _STARTING,
        Observation.STOPPING: _ASLEEP,
        Observation.STOPPED: _ASLEEP,
        Observation.FAILED: _FAILED,
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _ASLEEP,
    },
    Phase.STARTING: {
        Observation.RUNNING: _AWAKE,
        Observation.STARTING: _STARTING,
        Observation.STOPPING: _STARTING,
        Observation.STOPPED: _FAILED,
        Observation.FAILED: _FAILED,
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _STARTING,
    },
    Phase.FAILED: {
        Observation.RUNNING: _AWAKE,
        Observation.STARTING: _STARTING,
        Observation.STOPPING: _FAILED,
        Observation.STOPPED: _FAILED,
        Observation.FAILED: _FAILED,
        Observation.MISSING: _GONE,
        Observation.UNKNOWN: _FAILED,
    },
    Phase.UNMANAGED: _FRESH,
    Phase.GONE: {**_FRESH, Observation.UNKNOWN: _GONE},
}

_REASONS: dict[tuple[Phase, Phase], Reason] = {
    (Phase.AWAKE, Phase.ASLEEP): Reason.STOPPED_BY_HAND,
    (Phase.DRAINING, Phase.ASLEEP): Reason.STOPPED_BY_HAND,
    (Phase.DRAINING, Phase.AWAKE): Reason.SEEN_RUNNING,
    (Phase.STOPPING, Phase.AWAKE): Reason.STOP_FAILED,
    (Phase.STOPPING, Phase.STARTING): Reason.STARTED_BY_HAND,
    (Phase.STOPPING, Phase.ASLEEP): Reason.ASLEEP,
    (Phase.ASLEEP, Phase.AWAKE): Reason.STARTED_BY_HAND,
    (Phase.ASLEEP, Phase.STARTING): Reason.STARTED_BY_HAND,
    (Phase.ASLEEP, Phase.FAILED): Reason.CRASHED,
    (Phase.STARTING, Phase.AWAKE): Reason.STARTED,
    (Phase.STARTING, Phase.FAILED): Reason.START_FAILED,
    (Phase.FAILED, Phase.AWAKE): Reason.SEEN_RUNNING,
    (Phase.FAILED, Phase.STARTING): Reason.STARTED_BY_HAND,
    (Phase.UNMANAGED, Phase.ASLEEP): Reason.FOUND_STOPPED,
    (Phase.GONE, Phase.ASLEEP): Reason.FOUND_STOPPED,
}

_WITH_SNAPSHOT = frozenset({Phase.STOPPING, Phase.ASLEEP, Phase.STARTING, Phase.FAILED})
"""Phases in which the record holds the only knowledge of the app's formation."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What an observation makes of a phase."""

    phase: Phase
    reason: Reason | None
    """Why it was entered; None where the phase stays."""
    raises_cycle: bool


def raises_cycle(before: Phase, after: Phase) -> bool:
    """Whether that move settles a change between awake and asleep, which voids older demands.

    `Draining` counts as awake, so entering it and leaving it for `Awake` change nothing. A stop
    that we sent raised the cycle on entering `Stopping`, so its end does not raise it again.
    """
    if before is after:
        return False
    if after is Phase.AWAKE:
        return before is not Phase.DRAINING
    if after is Phase.ASLEEP:
        return before is not Phase.STOPPING
    return after in {Phase.STOPPING, Phase.FAILED}


def settle(phase: Phase, observation: Observation, *, wanted: bool) -> Transition:
    """The phase after a look at the provider, no operation of ours being open."""
    cell = TABLE[phase][observation]
    after = cell if isinstance(cell, Phase) else cell[0 if wanted else 1]
    if after is phase:
        return Transition(phase, None, raises_cycle=False)
    if after is Phase.GONE:
        reason = Reason.DELETED_ASLEEP if phase in _WITH_SNAPSHOT else Reason.DELETED
    else:
        reason = _REASONS.get((phase, after), Reason.DISCOVERED)
    return Transition(after, reason, raises_cycle=raises_cycle(phase, after))
