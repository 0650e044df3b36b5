"""What Google says and shows, over the embedded cloud: what the person reads, what is tried again and when, and who is told."""

from __future__ import annotations

import pytest
from kit.inprocess import impatient, make_bench
from kit.oracle import instances
from kit.policies import in_force
from msgspec.structs import replace

from shared.domain.people.events import Joined, Left
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.person import show

ANA = parse_email("ana.silva@example.com")
KEY = user_key_for(ANA)
B, C, D = "europe-west1-b", "europe-west1-c", "europe-west1-d"
OFFERED = (
    "A e2-standard-4 VM instance with 1 nvidia-tesla-t4 accelerator(s) is currently unavailable in the europe-west1-b zone. Consider "
    "trying your request in the europe-west1-d, us-central1-a zone(s), which currently has capacity to accommodate your request."
)
POLICY = (
    "Constraint constraints/compute.storageResourceUseRestrictions violated for project 123. Snapshots are not allowed."
)
IMAGE = "The resource 'projects/cloud-notebooks-managed/global/images/family/workbench-instances-2603' was not found"


@pytest.fixture
def bench():
    with impatient():
        yield make_bench()


def said(bench, kind, number, **more):
    return kind(event_id=f"e{number}", user=ANA, occurred_at=bench.now, effective_at=bench.now, **more)


def minutes(bench, count, each=1):
    for _ in range(count):
        bench.advance(minutes=each)
        sweep("due", bench.deps)


def record(bench):
    return bench.deps.records.load(KEY).record


def ready(bench, kind=ConditionType.NOTEBOOK_READY):
    return record(bench).status.condition(kind)


def states(bench):
    return {i.zone: i.state for i in instances(bench.cloud).values()}


def join(bench, settled=True):
    deliver(said(bench, Joined, 1), bench.deps)
    if settled:
        minutes(bench, 6)
        assert states(bench) == {B: "ACTIVE"}
        assert ready(bench).reason is Reason.READY


def shown(bench, times=0, **fields):
    """Let the cloud show the instance otherwise, in gets and listings."""
    bench.fault(call="notebooks.GetInstance", times=times, payload={"shown": fields})
    bench.fault(call="notebooks.ListInstances", times=times, payload={"shown": fields})


def as_it_is(bench):
    bench.cloud.world.faults.clear()


def logged(bench, message):
    return [facts for _, text, facts in bench.log.lines if text == message]


# --- stockouts: the zones that are named come first


@pytest.mark.parametrize(
    "fault",
    [
        {"operation_error": {"code": "RESOURCE_EXHAUSTED", "message": OFFERED}},
        {"operation_error": {"code": "INTERNAL", "message": f"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: {OFFERED}"}},
        {"error": {"code": "UNAVAILABLE", "message": OFFERED}},
    ],
    ids=["code 8", "code 13", "503"],
)
def test_the_zone_that_google_names_is_next_if_it_is_one_of_ours(bench, fault):
    bench.fault(call="notebooks.CreateInstance", resource=f"*{B}*", **fault)
    join(bench, settled=False)
    minutes(bench, 14)
    assert states(bench) == {D: "ACTIVE"}
    assert record(bench).status.notebook.offered_zones == ()  # said of another day


# --- what can never succeed


@pytest.mark.parametrize("how", ["operation_error", "error"])
def test_a_wrong_image_is_tried_once_a_day_and_names_profile_and_value(bench, how):
    bench.fault(call="notebooks.CreateInstance", times=0, **{how: {"code": "NOT_FOUND", "message": IMAGE}})
    join(bench, settled=False)
    minutes(bench, 12 * 6, each=10)
    assert creates_of(bench) == 1
    assert states(bench) == {}
    assert ready(bench).reason is Reason.INVALID_SPEC
    assert "image family 'workbench-instances-2603'" in ready(bench).message
    assert f"profile '{record(bench).spec.profile}'" in ready(bench).message
    assert [facts["reason"] for facts in logged(bench, "Found a condition for an administrator")] == ["InvalidSpec"]
    minutes(bench, 14, each=60)
    assert creates_of(bench) == 2


def creates_of(bench):
    return sum(
        1
        for fault in bench.cloud.world.faults.listing()
        for _ in range(fault["fired"])
        if fault["call"] == "notebooks.CreateInstance"
    )


def test_a_corrected_configuration_is_tried_within_the_hour(bench):
    bench.fault(call="notebooks.CreateInstance", times=0, error={"code": "NOT_FOUND", "message": IMAGE})
    join(bench, settled=False)
    minutes(bench, 3)
    as_it_is(bench)
    profiles = dict(bench.deps.policy.catalog.profiles)
    name = record(bench).spec.profile
    profiles[name] = replace(profiles[name], image=replace(profiles[name].image, family="workbench-instances"))
    base = bench.deps.base_policy
    changed = replace(base, catalog=replace(base.catalog, profiles=profiles))
    bench.deps = in_force(replace(bench.deps, base_policy=changed))
    minutes(bench, 13, each=5)
    minutes(bench, 6)
    assert states(bench) == {B: "ACTIVE"}


@pytest.mark.parametrize("change", [{"machine_type": "e2-standrd-4"}, {"image": "workbench-instances-1999"}])
def test_a_typing_error_in_a_profile_is_named_without_any_planted_fault(bench, change):
    base = bench.deps.base_policy
    (value,) = change.values()
    profiles = {
        name: replace(each, **({"image": replace(each.image, family=value)} if "image" in change else change))
        for name, each in base.catalog.profiles.items()
    }
    bench.deps = in_force(
        replace(bench.deps, base_policy=replace(base, catalog=replace(base.catalog, profiles=profiles)))
    )
    join(bench, settled=False)
    minutes(bench, 20)
    assert ready(bench).reason is Reason.INVALID_SPEC
    assert value in ready(bench).message
    assert f"profile '{record(bench).spec.profile}'" in ready(bench).message
    assert states(bench) == {}


def test_a_machine_type_that_no_zone_has_is_tried_in_each_once(bench):
    text = "Machine type with name 'e2-standrd-4' does not exist in zone 'europe-west1-b'."
    bench.fault(call="notebooks.CreateInstance", times=0, error={"code": "INVALID_ARGUMENT", "message": text})
    join(bench, settled=False)
    minutes(bench, 12 * 6, each=10)
    assert creates_of(bench) == len(bench.deps.policy.zones)
    assert ready(bench).reason is Reason.INVALID_SPEC
    assert "machine type 'e2-standrd-4'" in ready(bench).message


def test_a_machine_type_that_another_zone_has_is_made_there(bench):
    text = "Machine type with name 'a2-highgpu-1g' does not exist in zone 'europe-west1-b'."
    bench.fault(call="notebooks.CreateInstance", resource=f"*{B}*", error={"code": "INVALID_ARGUMENT", "message": text})
    join(bench, settled=False)
    minutes(bench, 8)
    assert states(bench) == {C: "ACTIVE"}


def test_unknown_words_are_shown_logged_and_tried_ever_more_slowly(bench):
    bench.fault(
        call="notebooks.CreateInstance",
        times=0,
        operation_error={"code": "INTERNAL", "message": "The flux capacitor is full."},
    )
    join(bench, settled=False)
    minutes(bench, 6 * 24, each=10)
    assert ready(bench).reason is Reason.UNKNOWN_ANSWER
    assert "flux" not in ready(bench).message
    assert creates_of(bench) <= 7  # after half an hour, an hour, two, …
    assert logged(bench, "Found a condition for an administrator")[0]["reason"] == "UnknownAnswer"
    assert any("flux" in facts["detail"] for facts in logged(bench, "Operation failed"))


# --- the organization's policy on snapshots


def test_a_policy_against_snapshots_keeps_the_files_says_so_and_is_not_hammered(bench):
    join(bench)
    bench.fault(
        call="compute.disks.createSnapshot",
        times=0,
        error={"code": "FAILED_PRECONDITION", "message": POLICY, "http_status": 412, "reason": "conditionNotMet"},
    )
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 10)
    saved = ready(bench, ConditionType.DATA_SAVED)
    assert (saved.status, saved.reason) == (ConditionStatus.FALSE, Reason.ORGANIZATION_POLICY)
    assert "constraints/compute.storageResourceUseRestrictions" in saved.message
    assert states(bench) == {B: "STOPPED"}
    minutes(bench, 24, each=60)
    assert sum(fault["fired"] for fault in bench.cloud.world.faults.listing()) <= 8
    assert ready(bench, ConditionType.DATA_SAVED).reason is Reason.ORGANIZATION_POLICY
    assert not any(each["holds_the_disk"] for each in show(KEY, bench.deps)["snapshots"])
    minutes(bench, 40, each=24 * 60)
    assert states(bench) == {B: "STOPPED"}  # nothing is deleted that is not saved
    as_it_is(bench)
    minutes(bench, 12, each=60)
    minutes(bench, 10)
    assert ready(bench, ConditionType.DATA_SAVED).reason in {Reason.SAVED, Reason.REMOVED}


# --- ready


def test_ready_needs_an_address_and_follows_it(bench):
    shown(bench, proxyUri=None)
    join(bench, settled=False)
    minutes(bench, 10)
    assert states(bench) == {B: "ACTIVE"}
    assert ready(bench).status is ConditionStatus.FALSE
    assert "address" in ready(bench).message
    assert record(bench).status.waiting_since is not None
    as_it_is(bench)
    minutes(bench, 1)
    assert ready(bench).reason is Reason.READY
    assert record(bench).status.notebook.proxy_uri
    assert record(bench).status.waiting_since is None
    assert len(logged(bench, "Notebook became ready")) == 1


def test_an_address_that_goes_and_comes_back_otherwise_is_followed(bench):
    join(bench)
    shown(bench, proxyUri=None)
    bench.advance(minutes=10)
    sweep("idle", bench.deps)
    assert ready(bench).status is ConditionStatus.FALSE
    as_it_is(bench)
    shown(bench, proxyUri="other-dot-europe-west1.notebooks.googleusercontent.com")
    minutes(bench, 2)
    assert ready(bench).reason is Reason.READY
    assert record(bench).status.notebook.proxy_uri.startswith("other-")
    as_it_is(bench)
    bench.advance(minutes=10)
    sweep("idle", bench.deps)
    assert not record(bench).status.notebook.proxy_uri.startswith("other-")


def test_an_address_that_never_comes_is_stuck(bench):
    shown(bench, proxyUri=None)
    join(bench, settled=False)
    minutes(bench, 60)
    assert ready(bench).reason is Reason.STUCK
    as_it_is(bench)
    minutes(bench, 11)
    assert ready(bench).reason is Reason.READY


def test_jupyterlab_that_does_not_answer_for_five_minutes_is_said_and_restart_offered(bench):
    join(bench)
    shown(bench, healthState="UNHEALTHY")
    bench.advance(minutes=10)
    sweep("idle", bench.deps)
    assert (ready(bench).status, ready(bench).reason) == (ConditionStatus.FALSE, Reason.STARTING)
    minutes(bench, 6)
    assert ready(bench).reason is Reason.NOT_ANSWERING
    assert "running, but JupyterLab does not answer" in ready(bench).message
    assert "Restart" in ready(bench).message
    as_it_is(bench)
    minutes(bench, 6)
    assert ready(bench).reason is Reason.READY


def test_an_old_report_of_ill_health_says_nothing(bench):
    join(bench)
    shown(bench, healthState="UNHEALTHY", healthInfo={"last_updated": "2026-11-20T08:00:00+00:00"})
    bench.advance(minutes=10)
    sweep("idle", bench.deps)
    minutes(bench, 8)
    assert ready(bench).reason is Reason.READY


# --- stuck


@pytest.mark.parametrize("state", ["STARTING", "STOPPING", "UPGRADING", "SOMETHING_NEW"])
def test_a_state_that_stays_for_hours_after_the_first_active_is_stuck(bench, state):
    join(bench)
    shown(bench, state=state)
    bench.advance(minutes=60)
    sweep("drift", bench.deps)
    assert ready(bench).reason is not Reason.STUCK
    minutes(bench, 60)
    assert ready(bench).reason is Reason.STUCK
    assert "administrator" in ready(bench).message
    assert [facts["reason"] for facts in logged(bench, "Found a condition for an administrator")] == ["Stuck"]
    as_it_is(bench)
    minutes(bench, 12)
    assert ready(bench).reason is Reason.READY


@pytest.mark.parametrize("state", ["STARTING", "UPGRADING", "STOPPING", "SOMETHING_NEW"])
def test_a_leaver_whose_notebook_cannot_be_stopped_has_access_that_is_not_cut(bench, state):
    join(bench)
    shown(bench, state=state)
    deliver(said(bench, Left, 2), bench.deps)
    assert ready(bench).message.startswith("Access is not cut yet.")
    minutes(bench, 20)
    assert ready(bench).reason is Reason.ACCESS_NOT_CUT
    assert logged(bench, "Access was not cut")
    minutes(bench, 48, each=60)
    before = len(logged(bench, "Access was not cut"))
    minutes(bench, 3)
    assert len(logged(bench, "Access was not cut")) > before  # it is looked at for ever
    as_it_is(bench)
    minutes(bench, 5)
    assert states(bench) == {B: "STOPPED"}
    assert ready(bench).reason is Reason.RETAINED


@pytest.mark.parametrize(
    "error",
    [
        {"code": "PERMISSION_DENIED", "message": "denied"},
        {"code": "FAILED_PRECONDITION", "message": POLICY},
        {"code": "FAILED_PRECONDITION", "message": "The flux capacitor is full."},
        {"code": "INVALID_ARGUMENT", "message": "no"},
    ],
)
def test_a_stop_that_is_refused_is_tried_for_ever_and_soon(bench, error):
    join(bench)
    bench.fault(call="notebooks.StopInstance", times=0, error=error)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 60)
    assert states(bench) == {B: "ACTIVE"}
    assert ready(bench).message.startswith("Access is not cut yet.")
    assert logged(bench, "Access was not cut")
    as_it_is(bench)
    minutes(bench, 14)
    assert states(bench) == {B: "STOPPED"}


def test_a_stop_that_never_does_anything_is_noticed(bench):
    """The operation ends well, and the instance goes on running."""
    join(bench)
    shown(bench, state="ACTIVE")
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 25)
    assert ready(bench).reason is Reason.ACCESS_NOT_CUT


# --- deleted by hand


def test_a_notebook_deleted_by_hand_says_that_its_files_are_gone(bench):
    join(bench)
    bench.cloud.notebooks.delete_outside(record(bench).status.notebook.instance_id)
    bench.advance(minutes=5)
    sweep("drift", bench.deps)
    assert "files" in ready(bench).message
    minutes(bench, 8)
    assert ready(bench).reason is Reason.READY
    assert "deleted outside Benchkeeper" in ready(bench).message
    assert "they are lost" in ready(bench).message
    bench.advance(minutes=60 * 24 * 15)
    sweep("drift", bench.deps)


def test_a_leavers_notebook_deleted_by_hand_says_so_too(bench):
    join(bench)
    bench.fault(call="compute.disks.createSnapshot", times=0, error={"code": "UNAVAILABLE", "message": "down"})
    name = record(bench).status.notebook.instance_id
    bench.cloud.notebooks.delete_outside(name)
    bench.advance(minutes=5)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 3)
    assert ready(bench).reason is Reason.REMOVED
    assert "they are lost" in ready(bench).message
