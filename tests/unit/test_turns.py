"""A person's turn in a rollout: when it ends, and which rollout it is of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import NOW, notebook, person, policy
from msgspec.structs import replace

from shared.domain.notebook.differences import Differences
from shared.domain.notebook.waiting import with_turn_ended, without_old_turn
from shared.domain.record.record import Power
from shared.domain.record.waves import Counts, Rollout, RolloutState, Turn, judge
from shared.domain.things.identity import InstanceId, UserKey
from shared.domain.things.notebook import NotebookState, Patch
from shared.domain.things.snapshots import Former, Restoring

BEGAN = NOW - timedelta(minutes=5)
TURN = Turn(rollout="r2", began_at=BEGAN)
FORMER = Former(instance_id=InstanceId("nb-1"), zone="z", uid="u")
RESTORING = Restoring(snapshot="s", instance_uid="u", asked_at=BEGAN)
ALIKE = Differences(items=(), patch=Patch(), patch_at_rest=Patch())
RUNS, RESTS = notebook(NotebookState.ACTIVE), notebook(NotebookState.STOPPED)


def ended(record, sight):
    return with_turn_ended(record, sight, NOW, lambda: ALIKE).status.notebook.turn.ended_at


@pytest.mark.parametrize(
    ("status", "sight", "ends"),
    [
        ({}, RUNS, NOW),
        ({"former": FORMER}, RUNS, None),
        ({"restoring": RESTORING}, RUNS, None),
        ({}, RESTS, None),
        ({}, replace(RUNS, health="UNHEALTHY"), None),
    ],
)
def test_a_turn_ends_when_the_notebook_is_well_and_nothing_of_the_former_one_is_left(status, sight, ends):
    assert ended(person(turn=TURN, **status), sight) == ends


def test_a_notebook_that_is_to_rest_need_not_run_for_its_turn_to_end():
    assert ended(person(power=Power.STOPPED, turn=TURN), RESTS) == NOW


def rollout(rollout_id):
    return Rollout(
        rollout_id=rollout_id,
        before={},
        earlier=(),
        sizes=(1,),
        bounds=(),
        first=UserKey("k"),
        began_at=BEGAN,
        opened_at=BEGAN,
    )


@pytest.mark.parametrize(("current", "kept"), [("r2", TURN), ("r3", None), (None, None)])
def test_a_turn_is_kept_as_long_as_its_rollout_is_the_last_one(current, kept):
    rules = replace(policy(), rollout=rollout(current) if current is not None else None)
    assert without_old_turn(person(turn=TURN), rules).status.notebook.turn == kept


@pytest.mark.parametrize(("sight", "began_at", "sold_out"), [(RUNS, NOW, False), (RESTS, BEGAN, True)])
def test_the_time_of_whoever_waited_for_a_machine_begins_when_it_runs(sight, began_at, sold_out):
    waited = person(turn=replace(TURN, sold_out=True), former=FORMER)
    turn = with_turn_ended(waited, sight, NOW, lambda: ALIKE).status.notebook.turn
    assert (turn.began_at, turn.sold_out, turn.ended_at) == (began_at, sold_out, None)


@pytest.mark.parametrize(
    ("wave", "failed", "begun", "state"),
    [
        (0, 0, 1, RolloutState.OPEN),
        (0, 1, 1, RolloutState.HALTED),  # of the first one none may fail
        (1, 1, 50, RolloutState.OPEN),  # later one in fifty
        (1, 2, 50, RolloutState.HALTED),
    ],
)
def test_a_rollout_halts_at_the_first_that_fails_and_later_at_more_than_one_in_fifty(wave, failed, begun, state):
    waves = replace(rollout("r2"), sizes=(1, 50, 90), bounds=(1, 2), wave=wave)
    counts = Counts(verified=0, under_way=begun - failed, failed=failed)
    assert judge(waves, counts, NOW).state is state
