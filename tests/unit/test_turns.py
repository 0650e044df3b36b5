"""A person's turn in a rollout: when it ends, and which rollout it is of."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import NOW, notebook, person, policy
from msgspec.structs import replace

from shared.domain.notebook.differences import Differences
from shared.domain.notebook.turns import with_turn_ended, without_old_turn
from shared.domain.record.record import Power
from shared.domain.record.waves import Rollout, Turn
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
