"""A leaver's Spark clusters: all go, none twice, none under a hold, none on a failed look."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import NOW, person, policy, seen
from msgspec.structs import replace

from shared.domain.plan.plan import ClustersSeen
from shared.domain.plan.step import Scene
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Hold, Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.spark.actions import DeleteCluster
from shared.domain.spark.step import spark_step
from shared.domain.things.clusters import Cluster, ClusterState, ClusterStatus
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, Reason
from shared.domain.things.notebook import Absent, NotLooked, Unreadable

GONE = person(Presence.ABSENT, Power.STOPPED)
HELD = replace(GONE, hold=Hold(reason="case 1", since=NOW))


def step_of(sight, record=GONE):
    observed = replace(seen(Absent(), record=record), clusters=sight)
    return spark_step(record, observed.clusters, Scene(seen=observed, policy=policy(), now=NOW))


def clusters(*states: str) -> ClustersSeen:
    return ClustersSeen(tuple(Cluster(name=f"spark-{n}", state=ClusterState(state)) for n, state in enumerate(states)))


def test_nobody_looked_so_nothing_is_said():
    observed = replace(seen(Absent(), record=GONE), clusters=NotLooked())
    plan = make_plan(GONE, observed, policy(), NOW)
    assert plan.record.status.condition(ConditionType.CLUSTERS_REMOVED) is None


@pytest.mark.parametrize("record", [GONE, HELD])
def test_none_is_the_end(record):
    step = step_of(clusters(), record)
    assert (step.condition, step.reason) == (ConditionStatus.TRUE, Reason.REMOVED)
    assert (step.actions, step.requeue_after, step.because) == ((), None, ())


@pytest.mark.parametrize(
    ("states", "deleted", "said"),
    [
        (["RUNNING"], ["spark-0"], "1 Spark cluster being deleted."),
        (["RUNNING", "CREATING", "ERROR"], ["spark-0", "spark-1", "spark-2"], "3 Spark clusters being deleted."),
        (["DELETING", "STOPPED"], ["spark-1"], "2 Spark clusters being deleted."),
        (["DELETING"], [], "1 Spark cluster being deleted."),
    ],
)
def test_all_are_deleted_but_those_that_go_already(states, deleted, said):
    step = step_of(clusters(*states))
    assert step.actions == tuple(DeleteCluster(name=name) for name in deleted)
    assert (step.condition, step.reason, step.message) == (ConditionStatus.FALSE, Reason.DELETING, said)
    assert step.requeue_after == timedelta(seconds=60)
    assert bool(step.because) is bool(deleted)


@pytest.mark.parametrize("states", [["RUNNING"], ["RUNNING", "DELETING"]])
def test_a_hold_keeps_them(states):
    step = step_of(clusters(*states), HELD)
    assert (step.actions, step.reason, step.requeue_after) == ((), Reason.ON_HOLD, timedelta(hours=6))


@pytest.mark.parametrize(
    ("error", "at_least"),
    [
        (
            CloudUnavailableError(user_message="down", detail="503", retry_after=timedelta(minutes=3)),
            timedelta(minutes=3),
        ),
        (AccessDeniedError(user_message="no", detail="403"), timedelta(hours=6)),  # until somebody acts
    ],
)
@pytest.mark.parametrize("record", [GONE, HELD])
def test_a_failed_look_is_no_absence(error, at_least, record):
    step = step_of(Unreadable(error), record)
    assert (step.actions, step.condition, step.reason) == ((), ConditionStatus.UNKNOWN, Reason.UNREADABLE)
    assert error.user_message in step.message
    assert at_least <= step.requeue_after <= at_least * 1.25


@pytest.mark.parametrize(("record", "deleting"), [(GONE, True), (HELD, False)])
def test_what_was_being_deleted_when_the_hold_came_is_being_deleted(record, deleting):
    for before in (True, False):
        known = ClusterStatus(template="spark", name="spark-0", asked_at=NOW, deleting=before)
        step = step_of(clusters("DELETING"), record.with_status(clusters=(known,)))
        assert step.record.status.cluster("spark").deleting is (before or deleting)
