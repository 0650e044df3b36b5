"""What carrying out a plan gave: operations are followed, failures become a condition and a time, nothing is raised."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import MagicMock

import pytest
from kit.making import (
    ANA,
    ANALYSTS,
    NOW,
    UID,
    ZONES,
    after,
    at,
    joined,
    left,
    notebook,
    operation,
    person,
    policy,
    saved,
    seen,
)
from msgspec.structs import replace

from shared.domain.account.actions import (
    CreateAccount,
    DeleteAccount,
    DisableAccount,
    EnableAccount,
    JoinGroup,
    LeaveGroup,
    ShareAccount,
)
from shared.domain.notebook.actions import (
    CreateInstance,
    DeleteInstance,
    ResetInstance,
    ResizeDisk,
    RestoreData,
    StartInstance,
    StopInstance,
    UpdateInstance,
)
from shared.domain.plan.plan import Action, Plan, TemplatesSeen
from shared.domain.reconcile.outcome import Asked, Done, Failed, Started, with_outcomes
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType, Verb
from shared.domain.snapshot.actions import CreateSnapshot, DeleteSnapshot, WriteManifest
from shared.domain.spark.actions import CreateCluster, DeleteCluster, EndSession
from shared.domain.template.wanted import PutTemplate, RemoveTemplate
from shared.domain.things.clusters import ClusterStatus, ClusterWish
from shared.domain.things.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    InvalidSpecError,
    NotOursError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
    StockoutError,
)
from shared.domain.things.identity import account_id_for, instance_id_for, user_key_for
from shared.domain.things.notebook import Absent, InstanceRef, NotebookState, Patch
from shared.domain.things.snapshots import Former, Restoring
from shared.engine.reconcile import executor

HALF_HOUR = timedelta(minutes=30)


def failure(kind, **more):
    return Failed(kind(user_message=f"{kind.__name__} happened.", detail="x", **more))


def create_plan(record=None):
    record = record or person(settled=False)
    return make_plan(record, seen(Absent(), record=record), policy(), NOW)


def start_plan():
    record = person(settled=False, was_active=True)
    return make_plan(record, seen(notebook(NotebookState.STOPPED), record=record), policy(), NOW)


def stop_plan():
    record = person(Presence.ABSENT, Power.STOPPED, settled=False, was_active=True)
    return make_plan(record, seen(notebook(NotebookState.ACTIVE), record=record), policy(), NOW)


def ended(plan, *outcomes):
    return with_outcomes(plan, list(zip(plan.actions, outcomes, strict=True)), policy(), NOW)


def ready(record):
    return record.status.condition(ConditionType.NOTEBOOK_READY)


def test_a_started_operation_is_followed_and_is_a_new_try():
    record = ended(create_plan(), Started(operation(Verb.CREATE)))
    assert record.status.notebook.operation == operation(Verb.CREATE)
    assert record.status.tries == 1
    assert record.status.attempts == 0
    assert record.status.next_attempt_at == NOW + timedelta(seconds=60)


def test_a_plan_without_actions_is_its_own_outcome():
    record = person()
    plan = make_plan(record, seen(notebook(), record=record), policy(), NOW)
    assert with_outcomes(plan, [], policy(), NOW) is plan.record


def test_already_so_is_done():
    record = ended(create_plan(), Done())
    assert record.status.notebook.built_from == {}  # another pass created it, perhaps from another profile
    assert record.status.notebook.operation is None
    assert record.status.tries == 1


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        (CloudUnavailableError, timedelta(seconds=30)),
        (RateLimitedError, timedelta(seconds=60)),
        (BusyError, timedelta(seconds=30)),
        (OperationFailedError, timedelta(minutes=2)),
        (QuotaExhaustedError, HALF_HOUR),
        (InvalidSpecError, timedelta(hours=1)),
        (AccessDeniedError, timedelta(hours=1)),
        (NotOursError, timedelta(hours=1)),
    ],
)
def test_a_refused_create_says_why_and_waits(kind, at_least):
    record = ended(create_plan(), failure(kind))
    assert ready(record).reason is kind.reason
    assert ready(record).status is ConditionStatus.FALSE
    assert ready(record).message.startswith(f"{kind.__name__} happened.")
    assert ("profile 'analyst'" in ready(record).message) is (kind is InvalidSpecError)
    assert record.status.condition(ConditionType.RECONCILED).reason is kind.reason
    assert NOW + at_least <= record.status.next_attempt_at <= NOW + at_least * 1.25
    waits = record.status.notebook.not_before
    assert waits == (NOW + timedelta(days=1) if kind is InvalidSpecError else record.status.next_attempt_at)
    assert record.status.attempts == 1
    assert record.status.notebook.operation is None


def test_nothing_is_created_before_the_wait_is_over_and_the_reason_stays():
    record = ended(create_plan(), failure(QuotaExhaustedError))
    for minutes, expected in ((1, []), (29, []), (30, [CreateInstance])):
        plan = make_plan(record, seen(Absent(), record=record), policy(), NOW + timedelta(minutes=minutes))
        assert [type(a) for a in plan.actions] == expected
        if not expected:
            assert ready(plan.record).reason is Reason.QUOTA_EXHAUSTED


def test_a_server_that_says_when_is_heeded():
    record = ended(create_plan(), failure(RateLimitedError, retry_after=timedelta(minutes=7)))
    assert record.status.next_attempt_at >= NOW + timedelta(minutes=7)


def test_waits_grow_with_failures_in_a_row():
    record, waits = person(settled=False), []
    for _ in range(10):
        record = ended(create_plan(record.with_status(not_before=None)), failure(CloudUnavailableError))
        waits.append(record.status.next_attempt_at - NOW)
    assert waits[0] < timedelta(seconds=40)
    assert HALF_HOUR <= waits[-1] <= HALF_HOUR * 1.25
    assert record.status.attempts == 10


def test_a_refused_stockout_goes_through_the_zones_and_then_waits():
    record, zones = person(settled=False), []
    for _ in ZONES:
        plan = create_plan(record)
        zones.append(plan.actions[0].zone)
        record = ended(plan, failure(StockoutError))
        if len(zones) < len(ZONES):
            assert record.status.next_attempt_at <= NOW + timedelta(minutes=1)
            assert record.status.notebook.not_before is None
    assert zones == list(ZONES)
    assert record.status.notebook.not_before == NOW + HALF_HOUR
    assert record.status.next_attempt_at == NOW + HALF_HOUR


def test_a_start_that_finds_no_machine_waits_for_it_since_another_zone_does_not_help():
    record = ended(start_plan(), failure(StockoutError))
    assert record.status.notebook.failed_zones == ()
    assert record.status.notebook.zone == ZONES[0]
    assert record.status.next_attempt_at == NOW + HALF_HOUR
    held = make_plan(record, seen(notebook(NotebookState.STOPPED), record=record), policy(), NOW + timedelta(minutes=5))
    assert held.actions == ()
    assert ready(held.record).reason is Reason.STOCKOUT


def test_a_stop_that_failed_is_not_held_back():
    record = ended(stop_plan(), failure(CloudUnavailableError))
    assert record.status.notebook.not_before is None
    assert record.status.next_attempt_at <= NOW + timedelta(seconds=38)
    again = make_plan(record, seen(notebook(), record=record), policy(), NOW + timedelta(seconds=40))
    assert [type(a).__name__ for a in again.actions] == ["StopInstance"]


def test_a_stop_of_a_leaver_is_tried_again_every_ten_minutes_at_least():
    record = person(Presence.ABSENT, Power.STOPPED, settled=False, was_active=True, attempts=20)
    plan = make_plan(record, seen(notebook(NotebookState.ACTIVE), record=record), policy(), NOW)
    assert [type(action) for action in plan.actions] == [StopInstance]
    assert ended(plan, failure(AccessDeniedError)).status.next_attempt_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(("kind", "holds"), [(InvalidSpecError, True), (CloudUnavailableError, False)])
def test_a_snapshot_that_is_refused_for_long_holds_back_the_notebooks_half_too(kind, holds):
    """Else that half would ask for the snapshot again each minute."""
    source = InstanceRef(zone=ZONES[0], instance_id=instance_id_for(ANA))
    save = CreateSnapshot(name="s", source=source, labels={})
    record = ended(a_plan(person(), save), failure(kind))
    assert record.status.notebook.not_before == (record.status.next_attempt_at if holds else None)


def test_a_failed_template_blames_the_templates_and_not_the_notebook():
    record = person(settled=False)
    plan = make_plan(record, seen(Absent(), templates=TemplatesSeen({})), policy(), NOW)
    assert [type(a).__name__ for a in plan.actions] == ["CreateInstance", "PutTemplate"]
    done = ended(plan, Started(operation(Verb.CREATE)), failure(InvalidSpecError))
    assert ready(done).reason is Reason.CREATING
    assert done.status.condition(ConditionType.TEMPLATES_READY).reason is Reason.INVALID_SPEC
    assert done.status.notebook.operation == operation(Verb.CREATE)
    assert done.status.notebook.not_before is None


def test_with_several_failures_the_soonest_attempt_counts():
    record = person(settled=False)
    plan = make_plan(record, seen(Absent(), templates=TemplatesSeen({})), policy(), NOW)
    done = ended(plan, failure(QuotaExhaustedError), failure(CloudUnavailableError))
    assert done.status.next_attempt_at < NOW + timedelta(minutes=2)
    assert done.status.notebook.not_before == NOW + HALF_HOUR


def test_a_date_that_comes_before_the_next_attempt_is_not_slept_through():
    record = after(joined(groups=(ANALYSTS,)), left("l", -1, effective=0.1))
    plan = make_plan(record, seen(Absent(), record=record), policy(), NOW)
    done = ended(plan, failure(QuotaExhaustedError))
    assert done.status.next_attempt_at == at(0.1)


# --- what a whole life adds

ACCOUNT = account_id_for(user_key_for(ANA))
REF = InstanceRef(instance_id=instance_id_for(ANA), zone=ZONES[0])
NEXT = InstanceRef(instance_id=f"{REF.instance_id}-2", zone=ZONES[0])
SNAPSHOT = saved()["snapshots"][0]
FORMER = Former(instance_id=REF.instance_id, zone=ZONES[0], uid=UID)


def a_plan(record, *actions, waits=None):
    return Plan(record=record, actions=actions, because=(), requeue_at=None, waits=waits or {})


def patch(disruptive=""):
    return UpdateInstance(ref=REF, patch=Patch(machine_type="x"), disruptive=disruptive, request_id="r")


def create():
    (action,) = create_plan().actions
    return action


C = ConditionType
BLAMED = [
    (create(), C.NOTEBOOK_READY),
    (StartInstance(ref=REF), C.NOTEBOOK_READY),
    (StopInstance(ref=REF), C.NOTEBOOK_READY),
    (ResetInstance(ref=REF), C.NOTEBOOK_READY),
    (ResizeDisk(ref=REF, disk="data", size_gb=200, change="d"), C.NOTEBOOK_READY),
    (DeleteInstance(ref=REF, request_id="r"), C.NOTEBOOK_READY),
    (patch(), C.NOTEBOOK_READY),
    (RestoreData(ref=REF, snapshot="s"), C.NOTEBOOK_READY),
    (CreateSnapshot(name="s", source=REF, labels={}), C.DATA_SAVED),
    (DeleteSnapshot(name="s"), C.DATA_SAVED),
    (WriteManifest(snapshot=SNAPSHOT), C.DATA_SAVED),
    (CreateAccount(account_id=ACCOUNT), C.IDENTITY_READY),
    (ShareAccount(account_id=ACCOUNT, user=ANA), C.IDENTITY_READY),
    (EnableAccount(account_id=ACCOUNT), C.IDENTITY_READY),
    (DisableAccount(account_id=ACCOUNT), C.IDENTITY_READY),
    (DeleteAccount(account_id=ACCOUNT), C.IDENTITY_READY),
    (JoinGroup(account_id=ACCOUNT, group="g"), C.IDENTITY_READY),
    (LeaveGroup(account_id=ACCOUNT, group="g"), C.IDENTITY_READY),
    (DeleteCluster(name="c"), C.CLUSTERS_READY),
    (PutTemplate(template="t", digest="d"), C.TEMPLATES_READY),
    (RemoveTemplate(template="t"), C.TEMPLATES_READY),
]


@pytest.mark.parametrize(("action", "kind"), BLAMED, ids=lambda value: type(value).__name__)
def test_what_failed_is_said_of_its_own_half(action, kind):
    before = person()
    record = ended(a_plan(before, action), failure(AccessDeniedError))
    assert record.status.condition(kind).reason is Reason.ACCESS_DENIED
    said = {condition.type for condition in record.status.conditions}
    assert said - {condition.type for condition in before.status.conditions} == {kind, C.RECONCILED}
    # Only what makes an instance run is held back: nothing that ends access or saves files ever is.
    held = isinstance(action, CreateInstance | StartInstance | RestoreData)
    assert record.status.notebook.not_before == (NOW + timedelta(hours=1) if held else None)
    assert record.status.attempts == 1


@pytest.mark.parametrize(("error", "is_asked"), [(BusyError, False), (CloudUnavailableError, True)])
def test_a_restore_that_was_refused_as_busy_was_not_asked_for(error, is_asked):
    """The operation that was in the way ends well, and must not be taken for the restore."""
    record = person(restoring=Restoring(snapshot="s", instance_uid="u", asked_at=NOW))
    after_ = ended(a_plan(record, RestoreData(ref=REF, snapshot="s")), failure(error))
    assert (after_.status.data.restoring is not None) is is_asked


def test_a_half_that_failed_waits_and_the_others_go_on_in_their_own_time():
    waits = {C.NOTEBOOK_READY: NOW + timedelta(seconds=60), C.IDENTITY_READY: NOW + timedelta(seconds=7)}
    record = ended(a_plan(person(), JoinGroup(account_id=ACCOUNT, group="g"), waits=waits), failure(AccessDeniedError))
    assert record.status.next_attempt_at == NOW + timedelta(seconds=60)
    alone = ended(a_plan(person(), JoinGroup(account_id=ACCOUNT, group="g")), failure(AccessDeniedError))
    assert alone.status.next_attempt_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("ref", [REF, NEXT])
@pytest.mark.parametrize("verb", [Verb.STOP, Verb.DELETE])
def test_operations_on_the_former_are_not_followed(ref, verb):
    record = person(instance_id=NEXT.instance_id, former=FORMER)
    action = StopInstance(ref=ref) if verb is Verb.STOP else DeleteInstance(ref=ref, request_id="r")
    after_ = ended(a_plan(record, action), Started(operation(verb)))
    assert after_.status.notebook.operation == (operation(verb) if ref == NEXT else None)
    assert after_.status.tries == 1  # or a second request would have the first one's id


def test_a_manifest_that_is_written_is_remembered():
    record = person(**saved(manifest=False))
    (snapshot,) = record.status.data.snapshots
    done = ended(a_plan(record, WriteManifest(snapshot=snapshot)), Done())
    assert done.status.data.snapshots[0].manifest
    failed = ended(a_plan(record, WriteManifest(snapshot=snapshot)), failure(CloudUnavailableError))
    assert not failed.status.data.snapshots[0].manifest


def test_a_snapshot_is_forgotten_once_its_deletion_is_written_down():
    record = person(**saved())
    action = WriteManifest(snapshot=SNAPSHOT, deleted_at=NOW)
    assert ended(a_plan(record, action), Done()).status.data.snapshots == ()
    assert ended(a_plan(record, action), failure(CloudUnavailableError)).status.data.snapshots == (SNAPSHOT,)


@pytest.mark.parametrize(
    "action", [DeleteSnapshot(name=SNAPSHOT.name), CreateSnapshot(name="s", source=REF, labels={})]
)
def test_a_snapshot_is_not_forgotten_on_a_promise(action):
    record = person(**saved())
    assert ended(a_plan(record, action), Done()) == record


@pytest.mark.parametrize(
    ("kind", "disruptive", "refused"),
    [
        (InvalidSpecError, "machine type a to b", "machine type a to b"),
        (InvalidSpecError, "", ""),  # labels are tried again: nothing was stopped for them
        (CloudUnavailableError, "machine type a to b", ""),
        (BusyError, "machine type a to b", ""),
    ],
)
def test_a_change_that_was_refused_for_good_is_remembered(kind, disruptive, refused):
    record = ended(a_plan(person(), patch(disruptive)), failure(kind))
    assert record.status.notebook.refused == refused


def test_a_replacement_that_was_refused_for_good_gives_back_the_former():
    record = person(instance_id=NEXT.instance_id, naming=2, former=FORMER, refused="data disk", settled=False)
    back = ended(a_plan(record, create()), failure(InvalidSpecError)).status
    assert (back.notebook.instance_id, back.notebook.former, back.notebook.refused) == (
        REF.instance_id,
        None,
        "data disk",
    )
    assert (back.notebook.not_before, back.notebook.was_active) == (None, True)
    assert back.next_attempt_at <= NOW + timedelta(minutes=1)  # the person waits for a notebook
    kept = ended(a_plan(record, create()), failure(CloudUnavailableError)).status
    assert (kept.notebook.instance_id, kept.notebook.former) == (NEXT.instance_id, FORMER)
    assert kept.notebook.not_before == kept.next_attempt_at


def test_a_create_without_a_former_has_nothing_to_go_back_to():
    record = ended(create_plan(), failure(InvalidSpecError))
    assert record.status.notebook.instance_id == REF.instance_id
    assert record.status.notebook.not_before == NOW + timedelta(days=1)


# --- Spark clusters

MAKE = CreateCluster(template="spark", name="spark-1", zone="", request_id="r")
WISH = ClusterWish(template="spark", since=NOW)


def wanting(**changes):
    """Somebody whose cluster is asked for in this pass."""
    known = ClusterStatus(
        template="spark", name="spark-1", **{"asked_at": NOW, "reason": Reason.CREATING, "tries": 4, **changes}
    )
    record = person(clusters=(known,))
    return replace(record, spec=replace(record.spec, clusters=(WISH,)))


def of(record):
    return record.status.cluster("spark")


@pytest.mark.parametrize("name", ["projects/p/regions/r/operations/o", ""])
def test_a_create_that_was_taken_is_followed_and_is_a_new_try(name):
    record = ended(a_plan(wanting(), MAKE), Asked(name))
    assert (of(record).operation, of(record).tries, of(record).asked_at) == (name, 5, NOW)
    assert record.status.notebook.operation is None  # the notebook's own
    assert record.status.tries == person().status.tries


def test_an_answer_about_a_cluster_that_nobody_remembers_changes_nothing():
    record = person()
    assert ended(a_plan(record, MAKE), Asked("o")) == record


@pytest.mark.parametrize(
    ("kind", "may_be_there"),
    [(CloudUnavailableError, True), (RateLimitedError, False), (BusyError, False)],
)
def test_what_may_pass_is_tried_again_and_a_lost_answer_may_have_been_yes(kind, may_be_there):
    record = ended(a_plan(wanting(), MAKE), failure(kind))
    assert record.spec.clusters == (WISH,)
    assert of(record).is_there is may_be_there
    assert (of(record).reason, of(record).message) == (kind.reason, f"{kind.__name__} happened.")
    assert of(record).not_before == record.status.next_attempt_at
    assert of(record).tries == 4  # the same try: asking twice is asking once
    assert of(record).diagnosis == ""


@pytest.mark.parametrize("kind", [QuotaExhaustedError, InvalidSpecError, AccessDeniedError, NotOursError])
def test_what_does_not_pass_ends_the_wish_with_what_was_said(kind):
    record = ended(a_plan(wanting(), MAKE), failure(kind))
    assert record.spec.clusters == ()
    assert not of(record).is_there
    assert of(record).reason is kind.reason
    assert of(record).diagnosis == of(record).message
    condition = record.status.condition(C.CLUSTERS_READY)
    assert (condition.status, condition.reason) == (ConditionStatus.FALSE, kind.reason)
    assert condition.message == of(record).diagnosis
    assert record.status.observed_generation == record.status.generation  # nothing else is left to look at


def test_a_wish_that_ended_does_not_hide_that_something_else_was_not_looked_at():
    record = wanting().with_status(observed_generation=1)
    assert ended(a_plan(record, MAKE), failure(QuotaExhaustedError)).status.observed_generation == 1


def test_a_stockout_that_is_said_at_once_goes_through_the_zones():
    record, zones = wanting(), []
    while record.spec.clusters:
        record = ended(a_plan(record, MAKE), failure(StockoutError))
        zones.append(of(record).tried_zones)
        left = [zone for zone in ZONES if zone not in of(record).tried_zones]
        if left and record.spec.clusters:
            assert record.status.next_attempt_at <= NOW + timedelta(minutes=1)
            assert of(record).not_before is None
            record = wanting(tried_zones=of(record).tried_zones, zone=left[0])
    assert zones == [("",), ("", *ZONES[:1]), ("", *ZONES[:2]), ()]
    assert of(record).diagnosis.startswith("No zone of the region")


def test_a_cluster_that_is_refused_leaves_the_notebook_as_it_is():
    record = stands = wanting()
    record = ended(a_plan(record, MAKE), failure(CloudUnavailableError))
    assert ready(record) == ready(stands)
    assert record.status.notebook.not_before is None


@pytest.mark.parametrize(
    ("presence", "kind"), [(Presence.PRESENT, C.CLUSTERS_READY), (Presence.ABSENT, C.CLUSTERS_REMOVED)]
)
def test_a_deletion_that_failed_is_told_where_it_belongs(presence, kind):
    power = Power.RUNNING if presence is Presence.PRESENT else Power.STOPPED
    record = ended(a_plan(person(presence, power), DeleteCluster(name="spark-1")), failure(BusyError))
    assert record.status.condition(kind).reason is Reason.BUSY
    assert record.status.next_attempt_at <= NOW + timedelta(seconds=40)


# --- what every action says of itself

CREATE_CLUSTER = CreateCluster(template="t", name="c", zone="", request_id="r")
EVERY = [*(action for action, _ in BLAMED), CREATE_CLUSTER, EndSession(name="s")]


def test_every_kind_of_action_is_tried_here():
    assert {type(action) for action in EVERY} == set(Action.__subclasses__())


@pytest.mark.parametrize("action", EVERY, ids=lambda value: type(value).__name__)
def test_an_action_tells_what_it_is_and_somebody_carries_it_out(action, monkeypatch):
    assert action.key.startswith(f"{type(action).__name__} ")
    assert action.key.split(" ", 1)[1]
    assert action.describe()
    monkeypatch.setattr(executor, "check_room", lambda *_: None)
    deps = MagicMock()
    ((carried_out, outcome),) = executor.carry_out(a_plan(person(), action), deps)
    assert carried_out is action
    assert not isinstance(outcome, Failed)
    called = [name for name, *_ in deps.mock_calls if not name.startswith("log.") and "__" not in name]
    assert len(called) == 1, called


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (Patch(machine_type="n2-standard-8"), "machine type"),
        (Patch(labels={"team": "x"}), "label team"),
        (Patch(tags=("x",), disable_public_ip=True), "network tags, public IP"),
    ],
)
def test_an_update_names_what_it_changes_and_nothing_else(patch, words):
    ref = InstanceRef(zone=ZONES[0], instance_id=instance_id_for(ANA))
    action = UpdateInstance(ref=ref, patch=patch, disruptive="", request_id="r")
    assert action.describe().partition(": ")[2] == words


@pytest.mark.parametrize("leaves", [False, True])
def test_what_failed_of_a_cluster_is_said_of_the_half_that_the_person_is_in(leaves):
    record = replace(person(), spec=replace(person().spec, presence=Presence.ABSENT)) if leaves else person()
    after_ = ended(a_plan(record, DeleteCluster(name="c")), failure(AccessDeniedError))
    kind = C.CLUSTERS_REMOVED if leaves else C.CLUSTERS_READY
    assert after_.status.condition(kind).reason is Reason.ACCESS_DENIED
