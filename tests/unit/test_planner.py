"""The plan as a table: what is wanted against what was seen, and what holds for every record and every sight."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import (
    ANALYSTS,
    ENGINEERS,
    NOW,
    RETENTION,
    STRANGERS,
    UID,
    ZONES,
    after,
    at,
    catalog,
    joined,
    left,
    moved,
    notebook,
    operation,
    person,
    policy,
    profile,
    saved,
    seen,
    with_event,
)
from msgspec.structs import replace

from shared.domain.intent.wanted import with_wanted
from shared.domain.notebook.actions import (
    CreateInstance,
    DeleteInstance,
    RestoreData,
    StartInstance,
    StopInstance,
    UpdateInstance,
)
from shared.domain.plan.plan import OperationSeen, TemplatesSeen
from shared.domain.reconcile.outcome import Done, Failed, Started, with_outcomes
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import Power, Presence
from shared.domain.record.status import ConditionStatus, ConditionType, Verb
from shared.domain.template.wanted import PutTemplate, RemoveTemplate
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    InvalidSpecError,
    OperationFailedError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
    StockoutError,
)
from shared.domain.things.identity import instance_id_for
from shared.domain.things.notebook import (
    LABEL_COST_CENTER,
    LABEL_MANAGED_BY,
    LABEL_USER,
    Absent,
    InstanceRef,
    NotebookState,
    NotLooked,
    Unreadable,
)
from shared.domain.things.power import PowerCause, PowerReason, as_once_kept

S = NotebookState
ON_NOTEBOOK = (CreateInstance, StartInstance, StopInstance, DeleteInstance, UpdateInstance, RestoreData)
MOVING = [s for s in S if s not in {S.ACTIVE, S.STOPPED, S.SUSPENDED}]


def names(plan) -> list[str]:
    return [type(a).__name__ for a in plan.actions]


def reason(plan, kind=ConditionType.NOTEBOOK_READY) -> Reason:
    return plan.record.status.condition(kind).reason


def plan_of(record, sight, op=None, *, rules=None, now=NOW, templates=None):
    return make_plan(record, seen(sight, op, templates, record=record), rules or policy(), now)


# --- the table: (presence, power, settled) x what is there -> actions, reason ---

RUN = (Presence.PRESENT, Power.RUNNING)
STOP = (Presence.PRESENT, Power.STOPPED)
GONE = (Presence.ABSENT, Power.STOPPED)
TABLE = [
    # wanted, settled, sight, actions, reason
    (RUN, False, Absent(), ["CreateInstance"], Reason.CREATING),
    (RUN, True, Absent(), ["CreateInstance"], Reason.CREATING),  # deleted from outside
    (STOP, False, Absent(), ["CreateInstance"], Reason.CREATING),
    (STOP, True, Absent(), ["CreateInstance"], Reason.CREATING),
    (GONE, False, Absent(), [], Reason.REMOVED),
    (GONE, True, Absent(), [], Reason.REMOVED),
    (RUN, False, S.ACTIVE, [], Reason.READY),
    (RUN, True, S.ACTIVE, [], Reason.READY),
    (STOP, False, S.ACTIVE, ["StopInstance"], Reason.STOPPING),
    (STOP, True, S.ACTIVE, [], Reason.READY),  # started from outside: adopted
    (GONE, False, S.ACTIVE, ["StopInstance"], Reason.STOPPING),
    (GONE, True, S.ACTIVE, ["StopInstance"], Reason.STOPPING),  # access has ended, whoever started it
    *[(RUN, False, s, ["StartInstance"], Reason.STARTING) for s in (S.STOPPED, S.SUSPENDED)],
    *[(RUN, True, s, [], Reason.STOPPED) for s in (S.STOPPED, S.SUSPENDED)],  # stopped from outside: adopted
    *[(STOP, settled, s, [], Reason.STOPPED) for s in (S.STOPPED, S.SUSPENDED) for settled in (False, True)],
    *[(GONE, settled, s, [], Reason.RETAINED) for s in (S.STOPPED, S.SUSPENDED) for settled in (False, True)],
    *[
        (wanted, settled, s, [], None)
        for wanted, settled, s in itertools.product((RUN, STOP, GONE), (False, True), MOVING)
    ],
]


def test_the_table_is_whole():
    cells = {(wanted, settled, str(sight)) for wanted, settled, sight, _, _ in TABLE}
    assert cells == {
        (wanted, settled, str(sight))
        for wanted, settled, sight in itertools.product((RUN, STOP, GONE), (False, True), (Absent(), *S))
    }


@pytest.mark.parametrize(("wanted", "settled", "sight", "actions", "why"), TABLE)
def test_what_is_done_for_what_is_wanted_and_seen(wanted, settled, sight, actions, why):
    rests = sight in {S.STOPPED, S.SUSPENDED}
    kept = saved() if wanted == GONE and rests else {}
    record = person(*wanted, settled=settled, was_active=sight is S.ACTIVE or rests, **kept)
    plan = plan_of(record, notebook(sight) if isinstance(sight, NotebookState) else sight)
    assert names(plan) == actions
    if why is None:
        assert reason(plan) in {
            Reason.CREATING,
            Reason.STARTING,
            Reason.STOPPING,
            Reason.DELETING,
            Reason.UPDATING,
            Reason.STUCK,
        }
        assert plan.requeue_at is not None
    else:
        assert reason(plan) is why
    ready = plan.record.status.condition(ConditionType.NOTEBOOK_READY)
    assert (ready.status is ConditionStatus.TRUE) == (why is Reason.READY)
    if actions:
        assert plan.because
        assert plan.requeue_at is not None


@pytest.mark.parametrize("wanted", [RUN, STOP, GONE])
@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("sight", [Absent(), *S], ids=str)
def test_nothing_is_sent_into_an_operation_that_is_under_way(wanted, verb, sight):
    record = person(*wanted, settled=False, operation=operation(verb))
    for op in (OperationSeen(ref=operation(verb), done=False), Unreadable(_down())):
        plan = plan_of(record, notebook(sight) if isinstance(sight, NotebookState) else sight, op)
        assert names(plan) == []
        assert plan.record.status.notebook.operation == operation(verb)
        assert plan.requeue_at is not None
        said = {Verb.RESET: "Starting", Verb.RESIZE: "Updating"}.get(verb, verb.value)
        assert reason(plan).value.lower().startswith(said.lower()[:4])


@pytest.mark.parametrize("verb", Verb)
def test_an_operation_without_an_end_is_reported(verb):
    old = operation(verb, NOW - timedelta(hours=2))
    plan = plan_of(person(operation=old), notebook(S.STOPPING), OperationSeen(ref=old, done=False))
    assert reason(plan) is Reason.STUCK
    assert "administrator" in plan.record.status.condition(ConditionType.NOTEBOOK_READY).message


def test_an_instance_that_never_comes_up_is_reported():
    sight = notebook(S.PROVISIONING, create_time=NOW - timedelta(hours=2))
    assert reason(plan_of(person(settled=False), sight)) is Reason.STUCK
    assert reason(plan_of(person(settled=False, was_active=True), sight)) is Reason.STARTING


def test_an_operation_that_is_over_frees_the_way():
    for op in (OperationSeen(ref=operation(Verb.START), done=True), Absent(), NotLooked()):
        record = person(*STOP, settled=False, operation=operation(Verb.START))
        plan = plan_of(record, notebook(S.ACTIVE), op)
        assert names(plan) == ["StopInstance"]
        assert plan.record.status.notebook.operation is None


def test_an_operation_found_after_a_crash_is_followed():
    found = operation(Verb.CREATE)
    plan = plan_of(person(settled=False), notebook(S.PROVISIONING), OperationSeen(ref=found, done=False))
    assert plan.record.status.notebook.operation == found
    assert names(plan) == []


# --- Unreadable is not absence ---


def _down():
    return CloudUnavailableError(user_message="Google Cloud does not answer.", detail="503")


_ERRORS = st.sampled_from(
    [
        _down(),
        AccessDeniedError(user_message="no", detail="403"),
        RateLimitedError(user_message="slow", detail="429", retry_after=timedelta(minutes=7)),
    ]
)
_OPERATIONS = st.none() | st.builds(
    operation, st.sampled_from(Verb), st.sampled_from([NOW - timedelta(minutes=m) for m in (0, 3, 90)])
)
_RECORDS = st.builds(
    lambda wanted, settled, gone_for, kept, **status: person(
        *wanted, settled=settled, absent_for=gone_for, **kept, **status
    ),
    st.sampled_from([RUN, STOP, GONE]),
    st.booleans(),
    st.sampled_from([timedelta(hours=1), RETENTION * 2, RETENTION * 20]),
    st.sampled_from([{}, saved(), saved("another-uid"), saved(ready=False), saved(manifest=False)]),
    was_active=st.booleans(),
    instance_uid=st.sampled_from(["", UID]),
    operation=_OPERATIONS,
    failed_zones=st.lists(st.sampled_from(ZONES), unique=True).map(tuple),
    zone=st.sampled_from(ZONES),
    attempts=st.integers(0, 20),
    tries=st.integers(0, 5),
    not_before=st.none() | st.sampled_from([NOW - timedelta(hours=1), NOW + timedelta(hours=1)]),
    observed_generation=st.integers(1, 3),
)
_FAILURES = st.sampled_from(
    [
        None,
        StockoutError(user_message="no machines", detail="s"),
        QuotaExhaustedError(user_message="quota", detail="q"),
        InvalidSpecError(user_message="wrong", detail="i"),
        OperationFailedError(user_message="failed", detail="o"),
    ]
)
_SIGHTS = st.just(Absent()) | st.builds(
    notebook,
    st.sampled_from(S),
    labels=st.sampled_from([notebook().labels, {}, {LABEL_MANAGED_BY: "benchkeeper", LABEL_USER: "else-0123456789ab"}]),
    metadata=st.sampled_from([notebook().metadata, {}]),
    machine_type=st.sampled_from(["e2-standard-4", "n1-standard-1"]),
    create_time=st.sampled_from([None, NOW - timedelta(minutes=5), NOW - timedelta(hours=5)]),
)
_TEMPLATES = st.sampled_from([TemplatesSeen({}), TemplatesSeen({"spark": "old", "gone": "x"}), Unreadable(_down())])


def op_sights(record, failure, done):
    if record.status.notebook.operation is None:
        return NotLooked()
    return OperationSeen(ref=record.status.notebook.operation, done=done or failure is not None, error=failure)


@given(_RECORDS, _ERRORS, _OPERATIONS, _TEMPLATES)
def test_what_cannot_be_read_is_neither_created_nor_stopped_nor_deleted(record, error, op, templates):
    sight = NotLooked() if op is None else OperationSeen(ref=op, done=True)
    plan = plan_of(record, Unreadable(error), sight, templates=templates)
    assert not [a for a in plan.actions if isinstance(a, ON_NOTEBOOK)]
    assert plan.requeue_at > NOW
    ready = plan.record.status.condition(ConditionType.NOTEBOOK_READY)
    after = plan.record
    is_late = after.spec.absent_since is not None and NOW - after.spec.absent_since > timedelta(minutes=15)
    unseen = after.spec.presence is Presence.ABSENT and not after.status.notebook.power_settled and is_late
    assert ready.status is ConditionStatus.UNKNOWN
    assert ready.reason is (Reason.ACCESS_NOT_CUT if unseen else Reason.UNREADABLE)
    assert plan.record.status.observed_generation == record.status.observed_generation
    assert plan.record.status.notebook.operation == record.status.notebook.operation


def test_reading_is_tried_again_not_sooner_than_was_asked_for():
    error = RateLimitedError(user_message="slow", detail="429", retry_after=timedelta(minutes=7))
    assert plan_of(person(), Unreadable(error)).requeue_at >= NOW + timedelta(minutes=7)


# --- what holds for everything ---


def assert_fits(action, plan, record, sight, failure):
    """Each change fits what is wanted and what was seen."""
    wanted = with_wanted(record, policy(), NOW).spec
    remnant = (
        failure is not None
        and record.status.notebook.operation is not None
        and record.status.notebook.operation.verb is Verb.CREATE
        and not record.status.notebook.was_active  # never ACTIVE, so there is no data in it
    )
    match action:
        case CreateInstance():
            assert isinstance(sight, Absent)
            assert wanted.presence is Presence.PRESENT
            assert action.spec.instance_id == record.status.notebook.instance_id
            assert plan.record.status.notebook.zone == action.zone
        case StartInstance():
            assert sight.state in {S.STOPPED, S.SUSPENDED}
            assert (wanted.presence, wanted.power) == RUN
        case StopInstance():
            assert sight.state is S.ACTIVE
            assert wanted.presence is Presence.ABSENT or wanted.power is Power.STOPPED
        case DeleteInstance():
            over = wanted.presence is Presence.ABSENT and wanted.absent_since + RETENTION <= NOW
            over = over and record.status.data.snapshots and record.status.data.snapshots[0].manifest
            assert (over and sight.state in {S.STOPPED, S.SUSPENDED}) or (
                remnant and sight.state not in {S.ACTIVE, S.STOPPED, S.SUSPENDED, S.STOPPING, S.SUSPENDING, S.UPGRADING}
            )
        case UpdateInstance():
            assert sight.state in {S.ACTIVE, S.STOPPED, S.SUSPENDED}
            assert action.patch.machine_type is None or sight.state is not S.ACTIVE
        case RestoreData():
            assert wanted.presence is Presence.PRESENT
            assert sight.state in {S.ACTIVE, S.STOPPED, S.SUSPENDED}
            assert record.status.data.snapshots[0].instance_uid != sight.uid
            assert plan.record.status.data.restoring.snapshot == action.snapshot


@given(_RECORDS, _SIGHTS, _FAILURES, st.booleans(), _TEMPLATES)
def test_what_every_plan_keeps(record, sight, failure, done, templates):
    plan = plan_of(record, sight, op_sights(record, failure, done), templates=templates)
    on_notebook = [a for a in plan.actions if isinstance(a, ON_NOTEBOOK)]
    assert len(on_notebook) <= 1  # the API takes one change at a time
    if (
        not isinstance(sight, Absent)
        and sight.labels.get(LABEL_USER) != record.user_key
        and not (record.status.notebook.instance_uid and record.status.notebook.instance_uid == sight.uid)
    ):
        assert on_notebook == []  # hands off
    for action in on_notebook:
        assert_fits(action, plan, record, sight, failure)
    for action in plan.actions:
        if isinstance(action, RemoveTemplate):
            assert action.template in templates.digests
    if plan.actions:
        assert plan.because
    if on_notebook:
        assert plan.requeue_at is not None


@given(_RECORDS, _SIGHTS, _FAILURES, st.booleans())
def test_planning_is_repeatable_and_does_not_touch_its_arguments(record, sight, failure, done):
    before = (record, sight)
    observed = seen(sight, op_sights(record, failure, done), record=record)
    assert make_plan(record, observed, policy(), NOW) == make_plan(record, observed, policy(), NOW)
    assert (record, sight) == before


@given(_RECORDS, _SIGHTS, _FAILURES)
def test_while_the_operation_runs_a_second_look_asks_for_nothing_more(record, sight, failure):
    plan = plan_of(record, sight, op_sights(record, failure, done=True))
    started = [a for a in plan.actions if isinstance(a, ON_NOTEBOOK)]
    if not started:
        return
    verb = {
        CreateInstance: Verb.CREATE,
        StartInstance: Verb.START,
        StopInstance: Verb.STOP,
        DeleteInstance: Verb.DELETE,
        UpdateInstance: Verb.UPDATE,
        RestoreData: Verb.RESTORE,
    }[type(started[0])]
    ref = operation(verb, NOW)
    record = with_outcomes(plan, [(started[0], Started(ref))], policy(), NOW)
    then = NOW + timedelta(minutes=1)
    again = plan_of(record, sight, OperationSeen(ref=ref, done=False), now=then)
    assert [a for a in again.actions if isinstance(a, ON_NOTEBOOK)] == []
    assert again.record.status.notebook.operation == ref


@given(_RECORDS, st.sampled_from([S.ACTIVE, S.STOPPED, S.SUSPENDED]))
def test_a_world_in_line_is_a_fixed_point(record, state):
    """After a plan without actions, planning again an hour later over the same sight changes the record no more."""
    record = record.with_status(operation=None, not_before=None, zone=ZONES[0])
    first = plan_of(record, notebook(state))
    if (
        first.actions or first.record.status.notebook.settles_at is not None
    ):  # after that an older copy of the files goes
        return
    second = plan_of(first.record, notebook(state), now=NOW + timedelta(hours=1))
    assert second.actions == ()
    assert second.record.spec == first.record.spec
    assert second.record.status.conditions == first.record.status.conditions


# --- adoption of what somebody did ---


def test_a_stop_from_outside_becomes_what_is_wanted_once():
    first = plan_of(person(*RUN, settled=True, was_active=True), notebook(S.STOPPED))
    assert (first.record.spec.power, first.record.spec.power_reason.cause) == (
        Power.STOPPED,
        PowerCause.STOPPED_OUTSIDE,
    )
    second = plan_of(first.record, notebook(S.STOPPED))
    assert second.record == first.record
    assert second.actions == ()


def test_a_start_from_outside_becomes_what_is_wanted():
    plan = plan_of(person(*STOP, settled=True, was_active=True), notebook(S.ACTIVE))
    assert (plan.record.spec.power, plan.record.spec.power_reason.cause) == (Power.RUNNING, PowerCause.STARTED_OUTSIDE)
    assert reason(plan) is Reason.READY


def test_a_stop_that_we_ask_for_is_not_taken_for_somebody_elses():
    asked = person(*STOP, settled=False, was_active=True)
    plan = plan_of(asked, notebook(S.ACTIVE))
    assert names(plan) == ["StopInstance"]
    assert plan.record.spec.power is Power.STOPPED


@pytest.mark.parametrize(
    "why",
    [
        PowerReason(cause=PowerCause.IDLE, since=NOW),
        PowerReason(cause=PowerCause.UNSEEN, since=NOW),
        as_once_kept("idle since 2026-11-20 09:00 UTC"),
        as_once_kept("idle: nothing could be seen of it since 2026-11-20 09:00 UTC"),
        as_once_kept("idle since some words of long ago"),
    ],
    ids=str,
)
def test_an_idle_stop_says_so(why):
    record = person(*STOP, settled=False)
    record = replace(record, spec=replace(record.spec, power_reason=why))
    assert reason(plan_of(record, notebook(S.STOPPED))) is Reason.IDLE


# --- not ours ---


@pytest.mark.parametrize("wanted", [RUN, STOP, GONE])
@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize(
    "labels",
    [{}, {LABEL_MANAGED_BY: "benchkeeper"}, {LABEL_USER: "x"}, {LABEL_MANAGED_BY: "terraform", LABEL_USER: "x"}],
)
def test_an_instance_that_is_not_ours_is_left_alone(wanted, state, labels):
    plan = plan_of(person(*wanted, absent_for=RETENTION * 2), notebook(state, labels=labels))
    assert names(plan) == []
    assert reason(plan) is Reason.NOT_OURS
    assert "administrator" in plan.record.status.condition(ConditionType.NOTEBOOK_READY).message


def test_an_instance_whose_labels_somebody_took_is_still_ours_by_its_uid():
    record = person(Presence.ABSENT, Power.STOPPED, instance_uid=UID, was_active=True)
    assert names(plan_of(record, notebook(S.ACTIVE, labels={}))) == ["StopInstance"]
    assert reason(plan_of(record, notebook(S.ACTIVE, labels={}, uid="another"))) is Reason.NOT_OURS


# --- creating, and creating again ---


def test_a_create_is_the_whole_instance_as_the_profile_says():
    record = after(joined(groups=(ENGINEERS,), attributes={"cost_center": "CC 44/10"}))
    (create, put) = plan_of(record, Absent(), templates=TemplatesSeen({})).actions
    assert isinstance(put, PutTemplate)
    assert (create.zone, create.spec.machine_type) == (ZONES[0], "n2-standard-8")
    assert create.spec.owner == record.email
    assert create.spec.instance_id == instance_id_for(record.email)
    assert create.spec.labels == {
        "managed-by": "benchkeeper",
        "benchkeeper-user": record.user_key,
        "benchkeeper-profile": "engineer",
        "cost-center": "cc-44-10",
    }
    assert create.spec.metadata == {"notebook-disable-root": "true", "idle-timeout-seconds": "54000"}
    assert not [value for value in create.spec.labels.values() if "@" in value]


def failed_create(record, error, sight=None):
    record = record.with_status(operation=operation(Verb.CREATE))
    op = OperationSeen(ref=operation(Verb.CREATE), done=True, error=error)
    return plan_of(record, sight or Absent(), op)


STOCKOUT = StockoutError(user_message="No machines in this zone.", detail="stockout")
QUOTA = QuotaExhaustedError(user_message="The quota is used up.", detail="quota")


def test_zones_are_tried_in_order_one_at_a_time_each_remnant_going_first():
    record = person(settled=False)
    tried = []
    now = NOW
    for zone in ZONES:
        remnant = notebook(S.DELETED, ref=InstanceRef(instance_id=instance_id_for(record.email), zone=zone))
        plan = failed_create(record.with_status(zone=zone), STOCKOUT, replace(remnant, state=S.PROVISIONING))
        assert names(plan) == ["DeleteInstance"]
        assert plan.actions[0].ref.zone == zone
        record = plan.record
        plan = plan_of(record, Absent(), now=now)
        tried.append([a.zone for a in plan.actions if isinstance(a, CreateInstance)])
        record = plan.record
    assert tried == [[ZONES[1]], [ZONES[2]], []]
    assert record.status.notebook.not_before == NOW + policy().capacity_retry
    again = plan_of(record, Absent(), now=record.status.notebook.not_before)
    assert [a.zone for a in again.actions] == [ZONES[0]]
    assert again.record.status.notebook.failed_zones == ()


def test_a_remnant_is_one_whatever_an_earlier_instance_of_its_name_did():
    """The pass that created it lost the race for the record, which still tells of the instance that was deleted."""
    record = person(settled=False, instance_uid="of the deleted one", was_active=True)
    plan = failed_create(record, QUOTA, notebook(S.PROVISIONING))
    assert names(plan) == ["DeleteInstance"]
    assert not plan.record.status.notebook.was_active


def test_a_finished_deletion_does_not_hide_the_creation_that_followed_it():
    for verb, uid in ((Verb.DELETE, ""), (Verb.STOP, "of the deleted one")):
        record = person(settled=False, instance_uid=uid).with_status(operation=operation(verb))
        op = OperationSeen(ref=operation(verb), done=True)
        plan = plan_of(record, notebook(S.INITIALIZING), op)
        assert plan.record.status.notebook.operation is None, "the next look asks for the newest operation"
    record = person(settled=False, instance_uid=UID).with_status(operation=operation(Verb.START))
    plan = plan_of(record, notebook(S.STARTING), OperationSeen(ref=operation(Verb.START), done=True))
    assert plan.record.status.notebook.operation is not None


def test_without_a_remnant_the_next_zone_follows_at_once():
    plan = failed_create(person(settled=False), STOCKOUT)
    assert [a.zone for a in plan.actions] == [ZONES[1]]
    assert plan.record.status.notebook.zone == ZONES[1]
    assert "stockout" in " ".join(plan.because).lower()


def test_a_zone_taken_out_of_the_settings_is_not_used_for_a_new_create():
    plan = plan_of(person(settled=False, zone="europe-west1-z"), Absent())
    assert [a.zone for a in plan.actions] == [ZONES[0]]


def test_quota_waits_long_says_so_and_stays_in_the_zone():
    plan = failed_create(person(settled=False), QUOTA)
    assert names(plan) == []
    assert reason(plan) is Reason.QUOTA_EXHAUSTED
    assert plan.record.status.condition(ConditionType.NOTEBOOK_READY).message == "The quota is used up."
    assert plan.requeue_at == NOW + timedelta(minutes=30)
    held = plan_of(plan.record, Absent(), now=NOW + timedelta(minutes=29))
    assert (names(held), reason(held)) == ([], Reason.QUOTA_EXHAUSTED)
    later = plan_of(plan.record, Absent(), now=NOW + timedelta(minutes=30))
    assert [a.zone for a in later.actions] == [ZONES[0]]


def test_a_wrong_request_is_not_repeated_for_a_day_and_names_the_profile():
    plan = failed_create(person(settled=False), InvalidSpecError(user_message="No such image.", detail="400"))
    assert names(plan) == []
    assert plan.record.status.notebook.not_before >= NOW + timedelta(days=1)
    message = plan.record.status.condition(ConditionType.NOTEBOOK_READY).message
    assert message == "No such image. An administrator must correct the profile 'analyst'."


def test_waits_grow_while_it_goes_on_failing():
    record = person(settled=False)
    waits = []
    for _ in range(8):
        plan = failed_create(record, OperationFailedError(user_message="failed", detail="x"))
        waits.append(plan.record.status.notebook.not_before - NOW)
        record = plan.record
    assert waits[0] >= timedelta(minutes=2)
    assert waits[-1] >= timedelta(minutes=30)
    assert max(waits) <= timedelta(minutes=37.5)


@pytest.mark.parametrize("state", S)
def test_what_was_ever_active_is_never_deleted_as_a_remnant(state):
    record = person(settled=False, was_active=True)
    assert "DeleteInstance" not in names(failed_create(record, STOCKOUT, notebook(state)))
    gone = person(Presence.ABSENT, Power.STOPPED, settled=False, was_active=True)
    assert "DeleteInstance" not in names(failed_create(gone, STOCKOUT, notebook(state)))


def test_an_active_instance_is_no_remnant_even_when_its_create_is_said_to_have_failed():
    plan = failed_create(person(settled=False), STOCKOUT, notebook(S.ACTIVE))
    assert names(plan) == []
    assert reason(plan) is Reason.READY


@pytest.mark.parametrize("verb", [v for v in Verb if v is not Verb.CREATE])
def test_another_operation_that_failed_waits_and_deletes_nothing(verb):
    record = person(settled=False, was_active=True, operation=operation(verb))
    op = OperationSeen(ref=operation(verb), done=True, error=STOCKOUT)
    plan = plan_of(record, notebook(S.STOPPED), op)
    assert names(plan) == []
    assert plan.requeue_at > NOW
    assert plan.record.status.notebook.operation is None


def test_asking_again_after_a_crash_asks_with_the_same_request_id_and_a_new_try_with_another():
    record = person(settled=False)
    first, again = plan_of(record, Absent()), plan_of(record, Absent())
    assert first.actions[0].request_id == again.actions[0].request_id
    started = with_outcomes(first, [(first.actions[0], Started(operation(Verb.CREATE)))], policy(), NOW)
    later = plan_of(started.with_status(operation=None), Absent())
    assert later.actions[0].request_id != first.actions[0].request_id


# --- leaving, retention, coming back ---


def test_a_leaver_during_the_create_is_waited_for_and_then_stopped():
    gone = person(Presence.ABSENT, Power.STOPPED, settled=False, operation=operation(Verb.CREATE))
    waiting = plan_of(gone, notebook(S.PROVISIONING), OperationSeen(ref=operation(Verb.CREATE), done=False))
    assert names(waiting) == []
    assert names(plan_of(waiting.record, notebook(S.ACTIVE))) == ["StopInstance"]


@pytest.mark.parametrize("state", [S.STOPPED, S.SUSPENDED])
def test_data_is_kept_until_the_retention_is_over_to_the_second(state):
    gone = person(Presence.ABSENT, Power.STOPPED, absent_for=timedelta(0), was_active=True, **saved())
    kept = plan_of(gone, notebook(state))
    assert (names(kept), reason(kept)) == ([], Reason.RETAINED)
    assert kept.requeue_at == NOW + RETENTION
    assert names(plan_of(gone, notebook(state), now=NOW + RETENTION - timedelta(seconds=1))) == []
    assert names(plan_of(gone, notebook(state), now=NOW + RETENTION)) == ["DeleteInstance"]


def test_a_leavers_instance_that_runs_is_stopped_before_it_is_deleted_however_late():
    gone = person(Presence.ABSENT, Power.STOPPED, absent_for=RETENTION * 3, was_active=True)
    assert names(plan_of(gone, notebook(S.ACTIVE))) == ["StopInstance"]


def test_coming_back_inside_the_retention_starts_the_same_instance():
    gone = person(Presence.ABSENT, Power.STOPPED, was_active=True)
    back = with_wanted(with_event(gone, joined("again", -0.5, groups=(ANALYSTS,))), policy(), NOW)
    plan = plan_of(back, notebook(S.STOPPED))
    assert names(plan) == ["StartInstance"]
    assert plan.actions[0].ref == notebook().ref


def test_coming_back_while_it_is_being_deleted_waits_and_creates_anew():
    back = person(settled=False, was_active=True, operation=operation(Verb.DELETE))
    waiting = plan_of(back, notebook(S.DELETED), OperationSeen(ref=operation(Verb.DELETE), done=False))
    assert names(waiting) == []
    assert names(plan_of(waiting.record, Absent())) == ["CreateInstance"]


def test_a_tombstone_looks_once_more_for_an_instance_that_was_still_being_created():
    fresh = person(Presence.ABSENT, Power.STOPPED, observed_generation=2)
    first = plan_of(fresh, Absent())
    assert first.requeue_at == NOW + policy().confirm_absence_after
    assert plan_of(first.record, Absent()).requeue_at is None


def test_somebody_who_never_was_entitled_is_not_looked_for():
    plan = plan_of(after(joined(groups=(STRANGERS,))), NotLooked())
    assert (names(plan), reason(plan), plan.requeue_at) == ([], Reason.NOT_ENTITLED, None)


def test_a_date_to_come_is_when_to_look_again():
    record = after(joined("j", -5, effective=10, groups=(ANALYSTS,)))
    assert plan_of(record, NotLooked()).requeue_at == at(10)
    leaving = after(joined(groups=(ANALYSTS,)), left("l", -1, effective=10))
    first = plan_of(leaving, notebook(S.ACTIVE))
    assert first.requeue_at == first.record.status.notebook.settles_at == NOW + policy().confirm_absence_after
    settled = plan_of(first.record, notebook(S.ACTIVE), now=first.requeue_at)
    assert settled.requeue_at == at(10)
    then = plan_of(settled.record, notebook(S.ACTIVE), now=at(10))
    assert names(then) == ["StopInstance", "RemoveTemplate"]


# --- differences ---


def differences(sight, *, wanted=RUN, rules=None, record=None):
    return plan_of(record or person(*wanted), sight, rules=rules)


def test_only_labels_that_we_own_are_mended():
    sight = notebook(labels={**notebook().labels, "benchkeeper-profile": "other", "theirs": "kept"})
    plan = differences(sight)
    assert names(plan) == ["UpdateInstance"]
    assert plan.actions[0].patch.labels == {"benchkeeper-profile": "analyst"}
    assert plan.actions[0].patch.metadata == {}
    assert reason(plan) is Reason.READY


def test_a_cost_centre_that_is_gone_loses_its_label():
    sight = notebook(labels={**notebook().labels, LABEL_COST_CENTER: "cc-1"})
    assert differences(sight).actions[0].patch.labels == {LABEL_COST_CENTER: ""}


def test_metadata_that_can_change_while_running_is_changed_at_once():
    sight = notebook(metadata={**notebook().metadata, "idle-timeout-seconds": "60"})
    assert differences(sight).actions[0].patch.metadata == {"idle-timeout-seconds": "54000"}


def test_what_needs_a_stop_waits_for_one_and_says_so():
    sight = notebook(machine_type="n1-standard-1", metadata={**notebook().metadata, "notebook-disable-root": "false"})
    running = differences(sight)
    assert (names(running), reason(running)) == ([], Reason.UPDATE_PENDING)
    resting = differences(replace(sight, state=S.STOPPED), wanted=STOP)
    (update,) = resting.actions
    assert update.patch.machine_type == "e2-standard-4"
    assert update.patch.metadata == {"notebook-disable-root": "true"}


def test_a_mover_gets_the_other_machine_before_it_is_started_again():
    record = with_wanted(with_event(person(settled=False), moved(groups=(ENGINEERS,))), policy(), NOW)
    plan = plan_of(record, notebook(S.STOPPED))
    assert names(plan) == ["UpdateInstance"]
    assert plan.actions[0].patch.machine_type == "n2-standard-8"


@pytest.mark.parametrize("sight", [S.ACTIVE, S.STOPPED])
def test_a_profile_that_is_gone_keeps_everything_as_it_is(sight):
    rules = policy(catalog=catalog(profiles={"engineer": profile("engineer")}, default_profile=None))
    record = after(joined(profile="analyst")).with_status(power_settled=True, was_active=True)
    odd = notebook(sight, machine_type="n1-standard-1", metadata={}, labels=notebook().labels)
    plan = make_plan(record, seen(odd, None, TemplatesSeen({"spark": "old", "else": "x"})), rules, NOW)
    assert plan.actions == ()
    assert reason(plan, ConditionType.TEMPLATES_READY) is Reason.UNKNOWN_PROFILE


def test_a_profile_that_is_gone_creates_nothing_and_says_why():
    rules = policy(catalog=catalog(profiles={}, default_profile=None))
    record = after(joined(profile="analyst"))
    plan = make_plan(record, seen(Absent(), None, TemplatesSeen({})), rules, NOW)
    assert plan.actions == ()
    assert reason(plan) is Reason.UNKNOWN_PROFILE
    assert plan.requeue_at is not None


# --- templates ---


def test_templates_are_put_when_missing_or_old_and_removed_when_not_wanted():
    plan = plan_of(person(), notebook(), templates=TemplatesSeen({"gone": "x"}))
    assert [(type(a).__name__, a.template) for a in plan.actions] == [
        ("PutTemplate", "spark"),
        ("RemoveTemplate", "gone"),
    ]
    again = plan_of(plan.record, notebook(), templates=TemplatesSeen({"spark": plan.actions[0].digest}))
    assert again.actions == ()


def test_a_leavers_templates_go_at_once_while_the_data_stays():
    gone = person(Presence.ABSENT, Power.STOPPED, **saved())
    plan = plan_of(gone, notebook(S.STOPPED), templates=TemplatesSeen({"spark": "x"}))
    assert [(type(a).__name__, a.template) for a in plan.actions] == [("RemoveTemplate", "spark")]
    assert reason(plan) is Reason.RETAINED


def test_templates_that_cannot_be_read_hold_up_nothing_else():
    plan = plan_of(person(settled=False), Absent(), templates=Unreadable(_down()))
    assert names(plan) == ["CreateInstance"]
    assert reason(plan, ConditionType.TEMPLATES_READY) is Reason.UNREADABLE


@pytest.mark.parametrize(
    "changed",
    [
        {"catalog": catalog(masters={"spark": replace(catalog().masters["spark"], text="config: {x: 1}\n")})},
        {"template_context": "other-project"},
    ],
)
def test_a_changed_master_or_target_is_rendered_again(changed):
    record = person()
    first = plan_of(record, notebook(), templates=TemplatesSeen({})).actions[0].digest
    plan = plan_of(record, notebook(), templates=TemplatesSeen({"spark": first}), rules=policy(**changed))
    assert [type(a).__name__ for a in plan.actions] == ["PutTemplate"]


def test_done_is_written_down_as_done():
    plan = plan_of(person(settled=False), Absent())
    record = with_outcomes(plan, [(a, Done()) for a in plan.actions], policy(), NOW)
    assert record.status.notebook.operation is None
    assert record.status.tries == 1
    failed = with_outcomes(plan, [(plan.actions[0], Failed(_down()))], policy(), NOW)
    assert failed.status.tries == 0


def test_work_is_under_way_while_any_part_of_it_is_near():
    """The person leaves in a month; what could not be read is looked at again in minutes."""
    record = with_event(person(), left("later", -1, effective=720))
    unread = Unreadable(CloudUnavailableError(user_message="x", detail="x"))
    far = make_plan(record, seen(notebook(), record=record), policy(), NOW).record
    near = make_plan(record, seen(notebook(), templates=unread, record=record), policy(), NOW).record
    assert far.status.condition(ConditionType.RECONCILED).status is ConditionStatus.TRUE
    assert near.status.condition(ConditionType.RECONCILED).status is ConditionStatus.FALSE
