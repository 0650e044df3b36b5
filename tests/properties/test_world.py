"""Whatever happens, in whatever order: after quiet, the world is as the messages say.

BENCHKEEPER_RUNS sets how many histories are tried, over four tests so that two cores share them. The default 500 begin
from the same seeds each time, so that a change is blamed for what it does and not for another throw of the dice; any other number
makes new ones. People's passes of a sweep come one after the other, so that a seed means the same history each time.
"""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from kit.histories import ARE_THE_SAME, RUNS
from kit.machine import WorldMachine
from msgspec.structs import replace

from shared.domain.account import step as identity_step
from shared.domain.notebook import leaver, replacement
from shared.domain.notebook import states as notebook_states
from shared.domain.notebook import step as notebook_step
from shared.domain.notebook.actions import StopInstance
from shared.domain.notebook.leaver import delete
from shared.domain.plan.step import Step
from shared.domain.reconcile.outcome import Done
from shared.domain.record.status import ConditionStatus
from shared.domain.snapshot import step as saving
from shared.domain.spark import step as spark_step
from shared.domain.things import identity
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey, _readable
from shared.domain.things.notebook import InstanceRef
from shared.engine.reconcile import audit, reconciler

SHARDS = 4
SHRINK = [Phase.shrink] if os.environ.get("BENCHKEEPER_SHRINK") else []  # noqa: TID251 - asked for by hand


def _settings(examples: int, **more):
    return settings(
        max_examples=examples,
        stateful_step_count=14,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=True,
        # A failing history is printed whole; making it smaller takes minutes, so that is asked for by BENCHKEEPER_SHRINK=1.
        phases=[Phase.explicit, Phase.generate, *SHRINK],
        **more,
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_world_comes_to_be_as_the_messages_say(shard):
    machine = type(f"Shard{shard}", (WorldMachine,), {})
    if ARE_THE_SAME:
        machine = seed(20261123 + shard)(machine)
    run_state_machine_as_test(machine, settings=_settings(RUNS // SHARDS))


# --- planted faults: a machine that cannot catch these proves nothing


def _never_stop(monkeypatch):
    def stop(record, ref, because, why, scene):
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.STOPPING,
            message=why,
            because=because,
        )

    monkeypatch.setattr(notebook_states, "stop", stop)


def _delete_without_saving(monkeypatch):
    def save_data(record, notebook, scene):
        return saving.Saving(record=record, done=True)

    monkeypatch.setattr(leaver, "save_data", save_data)


def _forget_the_files(monkeypatch):
    monkeypatch.setattr(notebook_states, "is_to_restore", lambda record, notebook: False)  # noqa: ARG005 - same


def _leave_the_account(monkeypatch):
    monkeypatch.setattr(identity_step, "_unwanted", lambda record, *_: identity_step._kept(record))


def _keep_the_former_for_ever(monkeypatch):
    monkeypatch.setattr(replacement, "_is_done_with", lambda record, scene: False)  # noqa: ARG005 - same


def _delete_snapshots_on_hold(monkeypatch):
    why_over = saving._why_over

    def careless(record, snapshot, scene):
        return why_over(replace(record, hold=None), snapshot, scene)

    monkeypatch.setattr(saving, "_why_over", careless)


def _delete_what_cannot_be_read(monkeypatch):
    def unreadable(record, error):
        ref = InstanceRef(instance_id=record.status.notebook.instance_id, zone=record.status.notebook.zone)
        return delete(record, ref, Reason.UNREADABLE, "gone", ())

    monkeypatch.setattr(notebook_step, "_unreadable", unreadable)


def _name_from_the_local_part(monkeypatch):
    def user_key_for(email):
        local = email.rpartition("@")[0]
        return UserKey(f"{_readable(email)}-{hashlib.sha256(local.encode()).hexdigest()[:12]}")

    # The code itself is replaced, because many modules hold the function by name.
    monkeypatch.setattr(identity.user_key_for, "__code__", user_key_for.__code__)


def _leave_the_clusters(monkeypatch):
    def leaver_step(record, seen, scene):
        return Step(record=record, condition=ConditionStatus.TRUE, reason=Reason.REMOVED, message="There are none.")

    monkeypatch.setattr(spark_step, "leaver_step", leaver_step)


def _make_again_what_ended_by_itself(monkeypatch):
    seen = spark_step._seen

    def forgetful(known, cluster, look):
        return replace(seen(known, cluster, look), seen_running_at=None)

    monkeypatch.setattr(spark_step, "_seen", forgetful)


def _stops_are_not_told(monkeypatch):
    chained = audit.chained

    def forgetful(lines, record, kept):
        return chained([line for line in lines if not line.act.startswith("StopInstance")], record, kept)

    monkeypatch.setattr(audit, "chained", forgetful)


def _calls_are_told_that_were_not_made(monkeypatch):
    carry_out = reconciler.carry_out

    def lazy(plan, deps):
        if any(isinstance(action, StopInstance) for action in plan.actions):
            return [(action, Done()) for action in plan.actions]
        return carry_out(plan, deps)

    monkeypatch.setattr(reconciler, "carry_out", lazy)


PLANTED = [
    _stops_are_not_told,
    _calls_are_told_that_were_not_made,
    _never_stop,
    _delete_what_cannot_be_read,
    _name_from_the_local_part,
    _delete_without_saving,
    _forget_the_files,
    _leave_the_account,
    _keep_the_former_for_ever,
    _delete_snapshots_on_hold,
    _leave_the_clusters,
    _make_again_what_ended_by_itself,
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_fault_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    # Of five seeds the one by which all are found soonest; with each of them each fault was found within 300 histories.
    machine = seed(20261126)(type("Planted", (WorldMachine,), {}))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=_settings(400, report_multiple_bugs=False))
