"""Whole lives as plans: changes that take a stop, files that come back, what cannot be replaced, and the halves together."""

from __future__ import annotations

from datetime import UTC, time, timedelta

import pytest
from kit.making import (
    ANA,
    NOW,
    RETENTION,
    UID,
    ZONES,
    catalog,
    notebook,
    operation,
    person,
    policy,
    profile,
    saved,
    seen,
    snapshot_seen,
)
from msgspec.structs import replace

from shared.domain.notebook.actions import DeleteInstance
from shared.domain.notebook.differences import Change, Difference, digest
from shared.domain.plan.plan import AccountSeen, ClustersSeen, OperationSeen
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType, Verb
from shared.domain.things.catalog import Disk, Disruption, Identity, Window
from shared.domain.things.clusters import Cluster, ClusterState
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    InvalidSpecError,
    OperationFailedError,
    QuotaExhaustedError,
    Reason,
    StockoutError,
)
from shared.domain.things.identity import account_id_for, instance_id_for, user_key_for
from shared.domain.things.notebook import Absent, InstanceRef, NotebookState, Unreadable
from shared.domain.things.snapshots import Former, Restoring, SnapshotState

S = NotebookState
RUN = (Presence.PRESENT, Power.RUNNING)
STOP = (Presence.PRESENT, Power.STOPPED)


def names(plan) -> list[str]:
    return [type(a).__name__ for a in plan.actions]


def reason(plan, kind=ConditionType.NOTEBOOK_READY) -> Reason:
    return plan.record.status.condition(kind).reason


def plan_of(record, sight, op=None, *, rules=None, now=NOW):
    return make_plan(record, seen(sight, op, record=record), rules or policy(), now)


def _down():
    return CloudUnavailableError(user_message="down", detail="503")


# --- movers: what takes a stop

OPEN = Window(days=frozenset(range(7)), start=time(8), length=timedelta(hours=1), zone=UTC)
OTHER_DISK = Disk(size_gb=500, type="PD_SSD")


def rules_for(mode, **changes):
    made = profile("analyst", disruption=mode, window=OPEN if mode is Disruption.WINDOW else None, **changes)
    return policy(catalog=catalog(profiles={"analyst": made}))


def moving(rules, sight, *, now=NOW, wanted=RUN, **status):
    status = {"was_active": True, "entitling_digest": rules.catalog.entitling_digest, **status}
    return plan_of(person(*wanted, **status), sight, rules=rules, now=now)


HAS_DISK = {"data_disk": Disk(size_gb=100, type="PD_BALANCED")}


@pytest.mark.parametrize(
    ("mode", "now", "acts", "looks_again"),
    [
        (Disruption.NOW, NOW, True, None),
        (Disruption.WHEN_IDLE, NOW, False, None),
        (Disruption.WINDOW, NOW - timedelta(hours=1), False, NOW),
        (Disruption.WINDOW, NOW - timedelta(seconds=1), False, NOW + timedelta(seconds=59)),  # never sooner than a poll
        (Disruption.WINDOW, NOW, True, None),
        (Disruption.WINDOW, NOW + timedelta(hours=1), False, NOW + timedelta(days=1)),
    ],
)
@pytest.mark.parametrize("changes", [{"machine_type": "n2-standard-8"}, {"data_disk": OTHER_DISK}])
def test_a_running_notebook_is_stopped_for_a_change_only_when_it_may_be(mode, now, acts, looks_again, changes):
    plan = moving(rules_for(mode, **changes), notebook(**HAS_DISK), now=now)
    if acts:
        assert names(plan) == ["StopInstance"]
        assert not plan.record.status.notebook.power_settled  # so it ends in a running notebook again
        assert plan.record.spec.power is Power.RUNNING
        return
    assert (names(plan), reason(plan), plan.requeue_at) == ([], Reason.UPDATE_PENDING, looks_again)
    ready = plan.record.status.condition(ConditionType.NOTEBOOK_READY)
    assert ready.status is ConditionStatus.TRUE
    assert "A change to its machine is made" in ready.message
    assert "to be changed" in plan.because[0]


def test_labels_are_mended_first_and_stop_nobody():
    rules = rules_for(Disruption.NOW, machine_type="n2-standard-8", labels={"team": "x"})
    plan = moving(rules, notebook())
    assert (names(plan), plan.actions[0].patch.machine_type) == (["UpdateInstance"], None)
    assert plan.actions[0].disruptive == ""


@pytest.mark.parametrize("wanted", [RUN, STOP])
def test_at_rest_all_that_can_be_patched_is_patched_in_one_go(wanted):
    rules = rules_for(Disruption.WHEN_IDLE, machine_type="n2-standard-8", labels={"team": "x"})
    plan = moving(rules, notebook(S.STOPPED), wanted=wanted, settled=wanted == STOP)
    (action,) = plan.actions
    assert (action.patch.machine_type, action.patch.labels) == ("n2-standard-8", {"team": "x"})
    assert action.disruptive == digest(
        (Difference(what="machine type", have="whatever", want="n2-standard-8", change=Change.RESTART),)
    )


def test_a_refusal_that_an_earlier_version_remembered_in_words_still_counts():
    rules = rules_for(Disruption.NOW, machine_type="n2-standard-8")
    once = "machine type e2-standard-4 to n2-standard-8 (stop, patch, start)"
    again = moving(rules, notebook(), refused=once)
    assert (names(again), reason(again)) == ([], Reason.DRIFTED)
    assert names(moving(rules, notebook(), refused=once.replace("16", "8").replace("n2", "n1"))) == ["StopInstance"]


@pytest.mark.parametrize("reworded", ["restart", "stop; patch; start again", ""])
def test_a_refusal_is_remembered_whatever_its_words_become(monkeypatch, reworded):
    """The words of a difference are for people: another sentence must not stop anybody again."""
    rules = rules_for(Disruption.NOW, machine_type="n2-standard-8")
    refused = moving(rules, notebook(S.STOPPED), settled=False).actions[0].disruptive
    monkeypatch.setattr(Difference, "__str__", lambda _: reworded)
    assert names(moving(rules, notebook(), refused=refused)) == []


def test_a_change_that_the_cloud_refused_is_not_tried_again_until_something_else_is_wanted():
    rules = rules_for(Disruption.NOW, machine_type="n2-standard-8")
    refused = moving(rules, notebook(S.STOPPED), settled=False).actions[0].disruptive
    again = moving(rules, notebook(), refused=refused)
    assert (names(again), reason(again)) == ([], Reason.DRIFTED)
    assert "refused by Google Cloud" in again.record.status.condition(ConditionType.NOTEBOOK_READY).message
    resting = moving(rules, notebook(S.STOPPED), refused=refused, settled=False)
    assert names(resting) == ["StartInstance"]  # the person gets what there is
    other = moving(rules_for(Disruption.NOW, machine_type="n2-standard-16"), notebook(), refused=refused)
    assert names(other) == ["StopInstance"]
    mended = moving(rules_for(Disruption.NOW), notebook(), refused=refused)
    assert (reason(mended), mended.record.status.notebook.refused) == (Reason.READY, "")


def test_an_update_that_failed_for_good_is_refused_and_one_that_may_work_later_is_not():
    rules = rules_for(Disruption.NOW, machine_type="n2-standard-8")
    op = operation(Verb.UPDATE)
    for error, remembered in ((InvalidSpecError, True), (StockoutError, False)):
        failed = OperationSeen(ref=op, done=True, error=error(user_message="x", detail="x"))
        record = person(operation=op, entitling_digest=rules.catalog.entitling_digest)
        plan = plan_of(record, notebook(S.STOPPED), failed, rules=rules)
        assert bool(plan.record.status.notebook.refused) is remembered


def test_what_the_cloud_made_otherwise_is_said_and_left():
    rules = rules_for(Disruption.NOW)
    plan = moving(
        rules,
        notebook(data_disk=Disk(size_gb=10, type="PD_BALANCED")),
        built_from={"data disk": "PD_BALANCED of 100 GB"},
    )
    assert (names(plan), reason(plan)) == ([], Reason.DRIFTED)
    assert "an administrator should look" in plan.record.status.condition(ConditionType.NOTEBOOK_READY).message


NEW_UID = "11111111-1111-5111-8111-111111111111"
FORMER = Former(instance_id=instance_id_for(ANA), zone=ZONES[0], uid=UID)
NEXT = InstanceRef(instance_id=f"{instance_id_for(ANA)}-2", zone=ZONES[0])


def test_one_replacement_after_the_other_and_patches_meanwhile():
    rules = rules_for(Disruption.NOW, data_disk=OTHER_DISK)
    fresh = notebook(ref=NEXT, uid=NEW_UID, **HAS_DISK)
    plan = moving(rules, fresh, former=replace(FORMER, touched=True), instance_id=NEXT.instance_id, naming=2)
    assert names(plan) == []
    assert (
        f"former instance {FORMER.instance_id} is kept"
        in plan.record.status.condition(ConditionType.NOTEBOOK_READY).message
    )
    restart = rules_for(Disruption.NOW, data_disk=OTHER_DISK, machine_type="n2-standard-8")
    assert names(moving(restart, fresh, former=FORMER, instance_id=NEXT.instance_id, naming=2)) == ["StopInstance"]


def test_a_sight_of_files_that_may_be_written_to_ends_what_was_saved():
    """Started after it was saved: the snapshot is older than the disk from then on."""
    for state in (S.ACTIVE, S.STARTING, S.STOPPING, S.PROVISIONING, S.UPGRADING):
        plan = plan_of(person(Presence.ABSENT, Power.STOPPED, was_active=True, **saved()), notebook(state))
        assert plan.record.status.data.saved_in == "", state
    for state in (S.STOPPED, S.SUSPENDED, S.DELETED, S.UNSPECIFIED):
        plan = plan_of(person(Presence.ABSENT, Power.STOPPED, was_active=True, **saved()), notebook(state))
        assert plan.record.status.data.saved_in == saved()["saved_in"], state


# --- returning: what was saved comes back, once


def returned(sight, *, op=None, sights=None, **status):
    record = person(settled=False, **{**saved(), **status})
    observed = seen(sight, op, record=record)
    if sights is not None:
        observed = replace(observed, snapshots=sights)
    return make_plan(record, observed, policy(), NOW)


NAME = saved()["saved_in"]
FRESH = notebook(uid=NEW_UID)


def test_who_returns_gets_an_instance_and_then_the_files():
    first = returned(Absent())
    assert names(first) == ["CreateInstance"]
    assert "Your files come back after that" in first.record.status.condition(ConditionType.NOTEBOOK_READY).message
    then = returned(FRESH)
    assert names(then) == ["RestoreData"]
    assert reason(then) is Reason.RESTORING
    marker = then.record.status.data.restoring
    assert marker == Restoring(snapshot=NAME, instance_uid=NEW_UID, asked_at=NOW)
    done = returned(FRESH, restoring=marker, op=OperationSeen(ref=operation(Verb.RESTORE, started=NOW), done=True))
    assert (names(done), reason(done)) == (["DeleteSnapshot"], Reason.READY)
    assert (done.record.status.data.restoring, done.record.status.data.saved_in) == (None, "")


def test_a_marker_of_another_instance_is_no_marker():
    elsewhere = Restoring(snapshot=NAME, instance_uid="another", asked_at=NOW)
    plan = returned(FRESH, restoring=elsewhere, op=OperationSeen(ref=operation(Verb.RESTORE), done=True))
    assert names(plan) == ["RestoreData"]
    assert plan.record.status.data.restoring.instance_uid == NEW_UID


def test_a_restore_that_failed_is_asked_for_again_after_a_wait():
    marker = Restoring(snapshot=NAME, instance_uid=NEW_UID, asked_at=NOW)
    error = OperationFailedError(user_message="x", detail="x")
    plan = returned(FRESH, restoring=marker, op=OperationSeen(ref=operation(Verb.RESTORE), done=True, error=error))
    assert (names(plan), plan.record.status.data.restoring) == ([], None)
    assert plan.record.status.notebook.not_before > NOW


def test_a_mover_whose_snapshot_is_lost_keeps_the_former_for_a_person_to_see():
    plan = returned(FRESH, sights={NAME: Absent()}, former=FORMER, naming=2)
    assert "DeleteInstance" not in names(plan)
    assert plan.record.status.notebook.former == replace(FORMER, touched=True)


def test_another_instance_than_the_one_last_seen_has_a_new_disk_and_gets_the_files():
    """The pass that created it did not save: the record still says that the files are on the disk of the one before."""
    plan = returned(FRESH, instance_uid=UID, saved_in="", built_from={"owner": "x"})
    assert ("RestoreData" in names(plan), plan.record.status.notebook.built_from) == (True, {})
    assert "RestoreData" in names(returned(FRESH, instance_uid="", saved_in=""))
    assert "RestoreData" not in names(returned(FRESH, instance_uid=FRESH.uid, saved_in=""))


def test_files_are_taken_from_the_newest_snapshot_that_can_be_read():
    older, newer = (replace(saved()["snapshots"][0], name=name) for name in ("s1", "s2"))
    sights = {"s1": snapshot_seen("s1"), "s2": snapshot_seen("s2")}
    both = {"snapshots": (older, newer), "saved_in": ""}
    assert returned(Absent(), sights=sights, **both).record.status.data.saved_in == "s2"
    failed = {**sights, "s2": snapshot_seen("s2", SnapshotState.FAILED)}
    assert returned(Absent(), sights=failed, **both).record.status.data.saved_in == "s1"
    lost = {**sights, "s2": Absent()}
    assert returned(Absent(), sights=lost, **{**both, "saved_in": "s2"}).record.status.data.saved_in == "s1"
    assert "RestoreData" in names(returned(FRESH, sights=failed, **{**both, "saved_in": "s2"}))  # its disk was deleted
    blind = {**sights, "s2": Unreadable(_down())}
    assert returned(Absent(), sights=blind, **{**both, "saved_in": "s2"}).record.status.data.saved_in == "s2"


# --- a replacement that cannot be built


@pytest.mark.parametrize(
    ("error", "goes_back"),
    [(InvalidSpecError, True), (AccessDeniedError, True), (StockoutError, False), (QuotaExhaustedError, False)],
)
@pytest.mark.parametrize("remnant", [True, False])
def test_what_cannot_be_replaced_comes_back_as_it_was(error, goes_back, remnant):
    op = operation(Verb.CREATE)
    failed = OperationSeen(ref=op, done=True, error=error(user_message="x", detail="x"))
    status = {"former": FORMER, "instance_id": NEXT.instance_id, "naming": 2, "operation": op, "instance_uid": ""}
    record = person(settled=False, **{**saved(), **status})
    sight = notebook(S.PROVISIONING, ref=NEXT, uid=NEW_UID) if remnant else Absent()
    observed = replace(seen(sight, failed, record=record), former=notebook(S.STOPPED))
    plan = make_plan(record, observed, policy(), NOW)
    after_ = plan.record.status
    assert (after_.notebook.instance_id == FORMER.instance_id) is goes_back
    # The former's sight was of another: nothing is done to it, or with it, before the next look.
    assert [a.ref for a in plan.actions if isinstance(a, DeleteInstance)] == (
        [NEXT] if remnant and not goes_back else []
    )
    if goes_back:
        assert after_.notebook.former == (
            replace(FORMER, instance_id=NEXT.instance_id, uid=NEW_UID, is_remnant=True) if remnant else None
        )
        assert plan.requeue_at <= NOW + timedelta(seconds=5)


# --- the halves together

OWN = {"account_id": account_id_for(user_key_for(ANA))}


def whole(record, sight, rules=None, **more):
    return make_plan(record, replace(seen(sight, record=record), **more), rules or policy(), NOW)


def test_access_ends_first_in_one_pass_whatever_else_is_in_the_way():
    record = person(Presence.ABSENT, Power.STOPPED, settled=False, was_active=True, **OWN)
    account = AccountSeen(is_ours=True, disabled=False, shared_with={"r": (f"user:{ANA}",)})
    clusters = ClustersSeen((Cluster(name="c", state=ClusterState.RUNNING),))
    plan = whole(record, notebook(), account=account, clusters=clusters)
    assert names(plan) == ["StopInstance", "DisableAccount", "ShareAccount", "DeleteCluster"]
    blind = whole(record, Unreadable(_down()), account=account, clusters=clusters)
    assert names(blind) == ["DisableAccount", "ShareAccount", "DeleteCluster"]
    other = whole(record, notebook(), account=Unreadable(_down()), clusters=Unreadable(_down()))
    assert names(other) == ["StopInstance"]
    assert reason(other, ConditionType.IDENTITY_READY) is Reason.UNREADABLE
    assert reason(other, ConditionType.CLUSTERS_REMOVED) is Reason.UNREADABLE


def test_nothing_is_created_or_started_before_the_account_is_ready():
    rules = rules_for(Disruption.NOW, identity=Identity.PERSONAL_SERVICE_ACCOUNT)
    for sight, settled in ((Absent(), False), (notebook(S.STOPPED), False)):
        record = person(settled=settled, was_active=True, entitling_digest=rules.catalog.entitling_digest, **OWN)
        plan = whole(record, sight, rules, account=Absent())
        assert not {"CreateInstance", "StartInstance"} & set(names(plan))
        assert "CreateAccount" in names(plan)


def test_nobody_is_stopped_for_a_change_that_could_not_be_finished():
    """Without the account the notebook could not be started again."""
    own = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "machine_type": "n2-standard-8"}
    rules = rules_for(Disruption.NOW, **own)
    record = person(was_active=True, entitling_digest=rules.catalog.entitling_digest, **OWN)
    good = AccountSeen(is_ours=True, disabled=False, shared_with={"roles/iam.serviceAccountUser": (f"user:{ANA}",)})
    assert names(whole(record, notebook(), rules, account=good)) == ["StopInstance"]
    for account in (replace(good, disabled=True), replace(good, shared_with={}), Unreadable(_down())):
        plan = whole(record, notebook(), rules, account=account)
        assert "StopInstance" not in names(plan)
        assert reason(plan) is Reason.UPDATE_PENDING


def test_a_condition_of_a_half_that_is_no_more_goes():
    record = whole(person(**OWN), notebook(), account=AccountSeen(is_ours=True, disabled=True, shared_with={})).record
    assert record.status.condition(ConditionType.IDENTITY_READY) is not None
    later = whole(record.with_status(account_id=None), notebook()).record
    assert later.status.condition(ConditionType.IDENTITY_READY) is None


def test_each_half_says_when_it_looks_again():
    record = person(Presence.ABSENT, Power.STOPPED, **saved())
    plan = whole(record, notebook(S.STOPPED), clusters=ClustersSeen((Cluster(name="c", state=ClusterState.DELETING),)))
    assert plan.waits[ConditionType.CLUSTERS_REMOVED] == NOW + timedelta(seconds=60)
    assert plan.waits[ConditionType.NOTEBOOK_READY] == NOW + RETENTION - timedelta(days=1)
    assert plan.waits[ConditionType.DATA_SAVED] == NOW + timedelta(days=89)
    assert plan.requeue_at == NOW + timedelta(seconds=60)


def test_who_comes_back_to_saved_files_is_settled_only_when_no_older_pass_can_delete_the_disk():
    record = person(*RUN, settled=False, observed_generation=2, **{**saved(), "saved_in": ""})
    start = plan_of(record, notebook(S.STOPPED))
    later = start.record.status.notebook.settles_at
    assert (names(start), later) == (["StartInstance"], NOW + policy().confirm_absence_after)
    running = plan_of(start.record, notebook(S.ACTIVE), now=NOW + timedelta(minutes=2))
    assert (names(running), running.record.status.notebook.power_settled, running.requeue_at) == ([], False, later)
    assert names(plan_of(running.record, notebook(S.ACTIVE), now=later)) == ["DeleteSnapshot"]


@pytest.mark.parametrize(
    ("lost", "actions"), [(Absent(), ["RestoreData"]), (Unreadable(_down()), [])], ids=["gone", "not to be read"]
)
def test_an_older_copy_is_kept_until_the_files_are_on_the_disk(lost, actions):
    older, newer = (replace(saved()["snapshots"][0], name=name) for name in ("s1", "s2"))
    plan = returned(FRESH, sights={"s1": snapshot_seen("s1"), "s2": lost}, snapshots=(older, newer), saved_in="s2")
    assert "DeleteSnapshot" not in names(plan)
    assert [name for name in names(plan) if name == "RestoreData"] == actions
