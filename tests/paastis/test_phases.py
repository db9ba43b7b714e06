"""The whole transition table, written out a second time, and the rule by which cycles rise."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paastis.app import Observation, Phase
from paastis.phases import TABLE, Transition, raises_cycle, settle
from paastis.reasons import Reason

# Rows: phases. Columns, in this order: what a look at the provider shows. A cell is the next
# phase; `=` stays; `a/b` is a where the app is wanted awake, b where it is not.
COLUMNS = "running   starting  stopping  stopped  failed          missing  unknown"
EXPECTED = {
    "Awake": "=         =         =         Asleep   =               Gone     =",
    "Draining": "Awake/=   Awake     Awake     Asleep   Awake/=         Gone     Awake",
    "Stopping": "Awake     Starting  =         Asleep   Awake           Gone     =",
    "Asleep": "Awake     Starting  =         =        Failed          Gone     =",
    "Starting": "Awake     =         =         Failed   Failed          Gone     =",
    "Failed": "Awake     Starting  =         =        =               Gone     =",
    "Unmanaged": "Awake     Starting  Awake     Asleep   Awake           Gone     Awake",
    "Gone": "Awake     Starting  Awake     Asleep   Awake           =        =",
}

CELLS = [
    (Phase(row), Observation(column), wanted, cell)
    for row, line in EXPECTED.items()
    for column, cell in zip(COLUMNS.split(), line.split(), strict=True)
    for wanted in (True, False)
]
SETTLED_AWAKE = {Phase.AWAKE, Phase.DRAINING}

phases = st.sampled_from(Phase)
observations = st.sampled_from(Observation)


@pytest.mark.parametrize(("phase", "observation", "wanted", "cell"), CELLS)
def test_cell(phase: Phase, observation: Observation, wanted: bool, cell: str) -> None:
    word = cell.split("/")[0 if wanted else -1]
    expected = phase if word == "=" else Phase(word)

    assert settle(phase, observation, wanted=wanted).phase is expected


def test_every_cell_is_filled() -> None:
    assert set(product(Phase, Observation)) == {
        (phase, observation) for phase, row in TABLE.items() for observation in row
    }
    assert len(CELLS) == len(Phase) * len(Observation) * 2


# --- why --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "observation", "reason"),
    [
        (Phase.AWAKE, Observation.STOPPED, Reason.STOPPED_BY_HAND),
        (Phase.DRAINING, Observation.STOPPED, Reason.STOPPED_BY_HAND),
        (Phase.DRAINING, Observation.STARTING, Reason.SEEN_RUNNING),
        (Phase.STOPPING, Observation.STOPPED, Reason.ASLEEP),
        (Phase.STOPPING, Observation.RUNNING, Reason.STOP_FAILED),
        (Phase.STOPPING, Observation.STARTING, Reason.STARTED_BY_HAND),
        (Phase.ASLEEP, Observation.RUNNING, Reason.STARTED_BY_HAND),
        (Phase.ASLEEP, Observation.STARTING, Reason.STARTED_BY_HAND),
        (Phase.ASLEEP, Observation.FAILED, Reason.CRASHED),
        (Phase.STARTING, Observation.RUNNING, Reason.STARTED),
        (Phase.STARTING, Observation.STOPPED, Reason.START_FAILED),
        (Phase.STARTING, Observation.FAILED, Reason.START_FAILED),
        (Phase.FAILED, Observation.RUNNING, Reason.SEEN_RUNNING),
        (Phase.FAILED, Observation.STARTING, Reason.STARTED_BY_HAND),
        (Phase.UNMANAGED, Observation.STOPPED, Reason.FOUND_STOPPED),
        (Phase.UNMANAGED, Observation.RUNNING, Reason.DISCOVERED),
        (Phase.GONE, Observation.STOPPED, Reason.FOUND_STOPPED),
        (Phase.GONE, Observation.RUNNING, Reason.DISCOVERED),
        (Phase.ASLEEP, Observation.MISSING, Reason.DELETED_ASLEEP),
        (Phase.AWAKE, Observation.MISSING, Reason.DELETED),
        (Phase.UNMANAGED, Observation.MISSING, Reason.DELETED),
    ],
)
def test_reason_of_a_move(phase: Phase, observation: Observation, reason: Reason) -> None:
    assert settle(phase, observation, wanted=False).reason is reason


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_only_a_move_has_a_reason(phase: Phase, observation: Observation, wanted: bool) -> None:
    transition = settle(phase, observation, wanted=wanted)

    assert (transition.phase is phase) == (transition.reason is None)


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_only_apps_we_did_not_follow_are_discovered(
    phase: Phase, observation: Observation, wanted: bool
) -> None:
    if settle(phase, observation, wanted=wanted).reason is Reason.DISCOVERED:
        assert phase in {Phase.UNMANAGED, Phase.GONE}


# --- cycles -----------------------------------------------------------------------------------


@given(before=phases, after=phases)
def test_cycle_rises_on_each_entry_to_awake_stopping_and_failed(
    before: Phase, after: Phase
) -> None:
    entered = before is not after and after in {Phase.AWAKE, Phase.STOPPING, Phase.FAILED}
    if after is not Phase.ASLEEP and before is not Phase.DRAINING:
        assert raises_cycle(before, after) == entered


@given(before=phases)
def test_cycle_rises_on_a_stop_seen_from_outside_but_not_at_the_end_of_ours(before: Phase) -> None:
    ours = before is Phase.STOPPING
    stays = before is Phase.ASLEEP

    assert raises_cycle(before, Phase.ASLEEP) == (not ours and not stays)


def test_draining_counts_as_awake() -> None:
    assert not raises_cycle(Phase.AWAKE, Phase.DRAINING)
    assert not raises_cycle(Phase.DRAINING, Phase.AWAKE)
    assert raises_cycle(Phase.DRAINING, Phase.STOPPING)
    assert raises_cycle(Phase.DRAINING, Phase.ASLEEP)


@given(phase=phases)
def test_staying_never_raises_the_cycle(phase: Phase) -> None:
    assert not raises_cycle(phase, phase)


@given(before=phases)
def test_starting_and_vanishing_settle_nothing(before: Phase) -> None:
    for after in (Phase.STARTING, Phase.GONE, Phase.UNMANAGED, Phase.DRAINING):
        assert not raises_cycle(before, after)


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_looks_and_our_own_moves_follow_the_same_rule(
    phase: Phase, observation: Observation, wanted: bool
) -> None:
    transition = settle(phase, observation, wanted=wanted)

    assert transition.raises_cycle == raises_cycle(phase, transition.phase)


def test_cycles_of_an_app_that_is_woken_stopped_by_hand_woken_and_put_to_sleep() -> None:
    """Each step: the phase entered, by our hand or by a look, and the cycle that it has then."""
    story: list[tuple[str, Phase | Observation, int]] = [
        ("a visitor asked for 5; we start it", Phase.STARTING, 5),
        ("it came up", Observation.RUNNING, 6),
        ("its origin looks stopped, and is", Observation.STOPPED, 7),
        ("the visitors who wait asked for 7; we start it", Phase.STARTING, 7),
        ("it came up", Observation.RUNNING, 8),
        ("nobody uses it", Phase.DRAINING, 8),
        ("somebody does", Phase.AWAKE, 8),
        ("nobody uses it", Phase.DRAINING, 8),
        ("still nobody; we stop it", Phase.STOPPING, 9),
        ("it is down; a visitor asked for 9 meanwhile", Observation.STOPPED, 9),
        ("so we start it", Phase.STARTING, 9),
        ("it does not come up", Observation.STOPPED, 10),
        ("the next visitor asked for 10", Phase.STARTING, 10),
        ("it came up", Observation.RUNNING, 11),
    ]
    phase, cycle = Phase.ASLEEP, 5

    for step, what, expected in story:
        before = phase
        phase = what if isinstance(what, Phase) else settle(phase, what, wanted=True).phase
        cycle += raises_cycle(before, phase)
        assert cycle == expected, step


# --- properties of the whole table ------------------------------------------------------------


@given(phase=phases, wanted=st.booleans())
def test_unknown_never_leads_towards_sleep(phase: Phase, wanted: bool) -> None:
    after = settle(phase, Observation.UNKNOWN, wanted=wanted).phase

    if phase in SETTLED_AWAKE | {Phase.UNMANAGED}:
        assert after is Phase.AWAKE
    else:
        assert after is phase


@given(phase=phases, wanted=st.booleans())
def test_missing_always_leads_to_gone(phase: Phase, wanted: bool) -> None:
    assert settle(phase, Observation.MISSING, wanted=wanted).phase is Phase.GONE


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_no_look_begins_a_drain_or_a_stop(
    phase: Phase, observation: Observation, wanted: bool
) -> None:
    after = settle(phase, observation, wanted=wanted).phase

    if after in {Phase.DRAINING, Phase.STOPPING}:
        assert after is phase


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_only_an_app_seen_stopped_falls_asleep(
    phase: Phase, observation: Observation, wanted: bool
) -> None:
    after = settle(phase, observation, wanted=wanted).phase

    if after is Phase.ASLEEP and phase is not Phase.ASLEEP:
        assert observation is Observation.STOPPED


@given(phase=phases, wanted=st.booleans())
def test_app_seen_running_is_awake(phase: Phase, wanted: bool) -> None:
    after = settle(phase, Observation.RUNNING, wanted=wanted).phase

    assert after is Phase.AWAKE or (after is phase is Phase.DRAINING and not wanted)


@given(observation=observations)
def test_wanting_an_app_never_moves_it_away_from_awake(observation: Observation) -> None:
    for phase in Phase:
        wanted = settle(phase, observation, wanted=True).phase
        unwanted = settle(phase, observation, wanted=False).phase
        if wanted is not unwanted:
            assert wanted is Phase.AWAKE


@given(phase=phases, observation=observations, wanted=st.booleans())
def test_same_look_again_changes_nothing_more(
    phase: Phase, observation: Observation, wanted: bool
) -> None:
    first = settle(phase, observation, wanted=wanted)
    second = settle(first.phase, observation, wanted=wanted)

    assert second == Transition(first.phase, None, raises_cycle=False)
