"""Named stories over the embedded cloud: what goes wrong, and how the world looks afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import impatient, make_bench
from kit.oracle import instances, template_names
from msgspec.structs import replace

from shared.domain.people.events import GroupChanged, Joined, Left, Moved
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_hold
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

ANA = parse_email("ana.silva@example.com")
KEY = user_key_for(ANA)
STOCKOUT = {"code": "UNAVAILABLE", "message": "ZONE_RESOURCE_POOL_EXHAUSTED: try a different zone, or try again later."}


@pytest.fixture
def bench():
    with impatient():
        yield make_bench()


def said(bench, kind, number, **more):
    return kind(event_id=f"e{number}", user=ANA, occurred_at=bench.now, effective_at=bench.now, **more)


def minutes(bench, count):
    for _ in range(count):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def states(bench):
    return {i.zone: i.state for i in instances(bench.cloud).values()}


def ready(bench):
    condition = bench.deps.records.load(KEY).record.status.condition(ConditionType.NOTEBOOK_READY)
    return condition.reason, condition.message


def join(bench, **more):
    deliver(said(bench, Joined, 1, **more), bench.deps)
    minutes(bench, 5)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}


def test_a_sold_out_zone_is_left_for_the_next_and_its_remnant_goes_first(bench):
    bench.fault(call="notebooks.CreateInstance", resource="*europe-west1-b*", operation_error=STOCKOUT)
    deliver(said(bench, Joined, 1), bench.deps)
    most = 0
    for _ in range(14):
        minutes(bench, 1)
        most = max(most, len(states(bench)))
    assert states(bench) == {"europe-west1-c": "ACTIVE"}
    assert most == 1
    assert bench.cloud.world.faults.unfired() == []


def test_when_every_zone_is_sold_out_the_person_is_told_and_it_is_tried_again_later(bench):
    bench.fault(call="notebooks.CreateInstance", operation_error=STOCKOUT, times=3)
    deliver(said(bench, Joined, 1), bench.deps)
    minutes(bench, 20)
    assert states(bench) == {}
    reason, message = ready(bench)
    assert reason is Reason.STOCKOUT
    assert "no such machines" in message
    minutes(bench, 40)
    assert list(states(bench).values()) == ["ACTIVE"]


def test_a_used_up_quota_waits_in_the_same_zone_and_says_so(bench):
    bench.fault(
        call="notebooks.CreateInstance",
        operation_error={"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded.  Limit: 24.0 in region."},
    )
    deliver(said(bench, Joined, 1), bench.deps)
    minutes(bench, 8)
    assert states(bench) == {}
    reason, message = ready(bench)
    assert reason is Reason.QUOTA_EXHAUSTED
    assert "quota" in message
    minutes(bench, 15)
    assert states(bench) == {}  # not hammered
    minutes(bench, 20)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}


def test_a_leaver_during_the_create_is_stopped_as_soon_as_it_can_be(bench):
    deliver(said(bench, Joined, 1), bench.deps)
    bench.advance(minutes=1)
    deliver(said(bench, Left, 2), bench.deps)
    assert template_names(bench.cloud, bench.settings.bucket, KEY) == set()
    minutes(bench, 7)
    assert states(bench) == {"europe-west1-b": "STOPPED"}


def test_a_leaver_is_stopped_in_the_delivery_itself(bench):
    join(bench)
    deliver(said(bench, Left, 2), bench.deps)
    assert states(bench) == {"europe-west1-b": "STOPPING"}


def test_who_comes_back_inside_the_retention_gets_the_same_machine(bench):
    join(bench)
    before = {i.body["id"] for i in instances(bench.cloud).values()}
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 3)
    bench.advance(days=29)
    sweep("due", bench.deps)
    deliver(said(bench, Joined, 3), bench.deps)
    minutes(bench, 4)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}
    assert {i.body["id"] for i in instances(bench.cloud).values()} == before


def test_a_hold_outlasts_the_retention_until_it_is_released(bench):
    join(bench)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 5)
    want_hold(KEY, "case 4711", bench.deps)
    bench.advance(days=90)
    minutes(bench, 5)
    sweep("drift", bench.deps)
    assert states(bench) == {"europe-west1-b": "STOPPED"}
    assert ready(bench)[0] is Reason.ON_HOLD
    assert "case 4711" in ready(bench)[1]
    want_hold(KEY, None, bench.deps)
    minutes(bench, 10)
    assert states(bench) == {}


def test_who_is_on_hold_comes_back_as_anybody_and_stays_on_hold(bench):
    join(bench)
    deliver(said(bench, Left, 2), bench.deps)
    want_hold(KEY, "case 4711", bench.deps)
    minutes(bench, 5)
    bench.advance(days=60)
    deliver(said(bench, Joined, 3), bench.deps)
    minutes(bench, 5)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}
    assert bench.deps.records.load(KEY).record.hold.reason == "case 4711"


@pytest.mark.parametrize("who", ["hold", "joiner"])
def test_a_deletion_that_is_decided_on_an_old_record_is_not_carried_out(bench, who):
    """Between the plan and the call that cannot be taken back somebody writes: the plan is made again."""
    join(bench)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 5)
    bench.advance(days=30)
    before = {i.body["id"] for i in instances(bench.cloud).values()}
    done = []

    def meanwhile():
        looked = any(c["method"] == "GetInstance" for c in bench.cloud.world.journal.listing(mutating_only=False))
        if looked and not done:
            done.append(True)
            if who == "hold":
                want_hold(KEY, "case 4711", bench.deps)
            else:
                deliver(said(bench, Joined, 3), bench.deps)

    bench.cloud.world.journal.clear()
    bench.adapter.around = meanwhile
    sweep("due", bench.deps)
    bench.adapter.around = lambda: None
    assert done
    minutes(bench, 10)
    assert {i.body["id"] for i in instances(bench.cloud).values()} == before


def test_after_the_retention_nothing_is_left_but_a_tombstone(bench):
    join(bench)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 3)
    bench.advance(days=30)
    minutes(bench, 3)
    assert states(bench) == {}
    deliver(
        replace(said(bench, Joined, 3), occurred_at=bench.now - timedelta(days=40)), bench.deps
    )  # an old joiner, late
    minutes(bench, 5)
    assert states(bench) == {}
    assert bench.deps.records.load(KEY) is not None


def test_a_future_leaver_works_until_then(bench):
    join(bench)
    leaves = replace(said(bench, Left, 2), effective_at=bench.now + timedelta(days=3))
    deliver(leaves, bench.deps)
    bench.advance(days=2, hours=23)
    minutes(bench, 2)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}
    bench.advance(minutes=58)
    minutes(bench, 1)
    assert states(bench) == {"europe-west1-b": "STOPPING"}


def test_a_mover_gets_the_other_profile_and_keeps_the_machine_until_it_is_stopped(bench):
    join(bench, groups=("data-analysts@example.com",))
    deliver(
        said(bench, Moved, 2, groups=("data-engineers@example.com",), attributes={"cost_center": "CC-9"}), bench.deps
    )
    minutes(bench, 2)
    (instance,) = instances(bench.cloud).values()
    assert instance.state == "ACTIVE"
    assert instance.body["labels"]["benchkeeper-profile"] == "engineer"
    assert instance.body["labels"]["cost-center"] == "cc-9"
    assert instance.body["gceSetup"]["machineType"].endswith("e2-standard-4")
    names = {"large-cluster", "personal-auth-cluster", "single-node"}
    assert template_names(bench.cloud, bench.settings.bucket, KEY) == names
    assert "A change to its machine is made when the notebook is stopped" in ready(bench)[1]
    bench.cloud.notebooks.stop_outside(instance.short)
    sweep("drift", bench.deps)
    minutes(bench, 30)
    (instance,) = instances(bench.cloud).values()
    assert instance.state == "STOPPED"
    assert instance.body["gceSetup"]["machineType"].endswith("n2-standard-8")


def test_leaving_one_of_two_entitling_groups_is_a_move_and_the_last_is_a_leave(bench):
    deliver(said(bench, GroupChanged, 1, group="data-analysts@example.com", member=True), bench.deps)
    deliver(said(bench, GroupChanged, 2, group="data-engineers@example.com", member=True), bench.deps)
    minutes(bench, 5)
    assert bench.deps.records.load(KEY).record.spec.profile == "engineer"
    deliver(said(bench, GroupChanged, 3, group="data-engineers@example.com", member=False), bench.deps)
    minutes(bench, 2)
    assert states(bench) == {"europe-west1-b": "ACTIVE"}
    assert bench.deps.records.load(KEY).record.spec.profile == "analyst"
    deliver(said(bench, GroupChanged, 4, group="data-analysts@example.com", member=False), bench.deps)
    minutes(bench, 2)
    assert states(bench) == {"europe-west1-b": "STOPPED"}


def test_a_removed_label_is_put_back_and_a_removed_template_too(bench):
    join(bench)
    (instance,) = instances(bench.cloud).values()
    bench.cloud.notebooks.patch(instance.name, {"labels": {"managed-by": "", "benchkeeper-user": ""}}, mask="labels")
    bench.advance(minutes=1)
    bench.cloud.storage.delete(bench.settings.bucket, f"templates/{KEY}/personal-auth-cluster.yaml")
    sweep("drift", bench.deps)
    minutes(bench, 2)
    (instance,) = instances(bench.cloud).values()
    assert instance.body["labels"]["managed-by"] == "benchkeeper"
    assert instance.body["labels"]["benchkeeper-user"] == KEY
    assert template_names(bench.cloud, bench.settings.bucket, KEY) == {"personal-auth-cluster", "single-node"}


def test_a_changed_master_is_rendered_anew_by_the_drift_sweep(bench):
    join(bench)
    catalog = bench.settings.catalog
    master = catalog.masters["personal-auth-cluster"]
    mended = replace(master, text=master.text.replace("n2-standard-4", "n2-standard-16"))
    settings = replace(bench.settings, catalog=replace(catalog, masters={**catalog.masters, master.name: mended}))
    deps = wire(settings, log=bench.log, clients=bench.clients)
    assert [why for _, why in sweep("drift", deps, dry_run=True).decisions] == ["template objects differ"]
    sweep("drift", deps)
    assert "n2-standard-16" in deps.templates.read(KEY, master.name)
    assert sweep("drift", deps).decisions == []


def test_an_instance_with_our_name_that_is_not_ours_is_left_alone(bench):
    deliver(said(bench, Joined, 1), bench.deps)
    name = next(iter(instances(bench.cloud).values())).name
    bench.cloud.notebooks.delete_outside(name)
    parent, _, short = name.partition("/instances/")
    bench.cloud.notebooks.create(parent, short, {"gceSetup": {"machineType": "e2-standard-4"}})
    minutes(bench, 6)
    deliver(said(bench, Left, 2), bench.deps)
    minutes(bench, 3)
    bench.advance(days=40)
    minutes(bench, 3)
    (foreign,) = instances(bench.cloud).values()
    assert foreign.state == "ACTIVE"
    assert ready(bench)[0] is Reason.NOT_OURS


def test_an_unreachable_zone_is_not_an_empty_one(bench):
    join(bench)
    calls = len(bench.calls())
    bench.fault(call="notebooks.ListInstances", unreachable=True, resource="*europe-west1-b*", times=0)
    summary = sweep("drift", bench.deps)
    assert summary.decisions == []
    assert summary.unreachable == ("europe-west1-b",)
    mutating = [call for call in bench.calls()[calls:] if call["mutates"]]
    # what the pages read, how large the fleet is, the policy and the profiles' session templates are kept all the same
    kept = ("/index/", "/guard/sizes", "/sessionTemplates/", "/policy/current")
    assert [call for call in mutating if not any(part in call["resource"] for part in kept)] == []


def test_a_stray_is_reported_and_not_touched(bench):
    join(bench)
    labels = {"managed-by": "benchkeeper", "benchkeeper-user": "nobody-0123456789ab"}
    bench.cloud.notebooks.create(
        "projects/benchkeeper-local/locations/europe-west1-c",
        "nb-nobody-0123456789ab",
        {"gceSetup": {"machineType": "e2-standard-4"}, "labels": labels},
    )
    bench.advance(minutes=6)
    summary = sweep("drift", bench.deps)
    assert [(s.name, s.zone) for s in summary.strays] == [("nb-nobody-0123456789ab", "europe-west1-c")]
    assert states(bench) == {"europe-west1-b": "ACTIVE", "europe-west1-c": "ACTIVE"}


def test_one_users_trouble_holds_up_nobody(bench):
    people = [parse_email(f"user{n}@example.com") for n in range(6)]
    for number, user in enumerate(people):
        deliver(replace(said(bench, Joined, number), user=user), bench.deps)
    bench.fault(call="storage.objects.get", resource="*/records/user3-*", times=0, error={"code": "PERMISSION_DENIED"})
    bench.advance(minutes=1)
    summary = sweep("due", bench.deps)
    assert dict(summary.failed) == {"AccessDenied": 1}
    for _ in range(5):
        bench.advance(minutes=1)
        sweep("due", bench.deps)
    bench.cloud.world.faults.clear()
    sweep("due", bench.deps)  # the one that failed is still due
    assert sorted(i.state for i in instances(bench.cloud).values()) == ["ACTIVE"] * 6
    assert all(bench.deps.records.load(user_key_for(u)).record.status.next_attempt_at is None for u in people)


def test_a_lost_wake_up_is_found_by_the_drift_sweep(bench):
    deliver(said(bench, Joined, 1), bench.deps)
    for hint in list(bench.deps.records.due(bench.now + timedelta(hours=1))):
        bench.deps.records.drop_hint(hint)
    minutes(bench, 10)
    assert bench.deps.records.load(KEY).record.status.notebook.operation is not None
    sweep("drift", bench.deps)
    assert ready(bench)[0] is Reason.READY


def test_no_address_is_ever_logged(bench):
    bench.fault(call="notebooks.CreateInstance", error={"code": "INVALID_ARGUMENT", "message": f"owner {ANA} is odd"})
    deliver(said(bench, Joined, 1), bench.deps)
    sweep("drift", bench.deps)
    assert bench.log.lines
    assert "@" not in str(bench.log.lines)


def test_a_join_is_ten_calls_and_one_for_each_template(bench):
    _ = bench.deps.policy  # a process reads the policy in force once a minute, what became of the groups once in five
    bench.cloud.world.journal.clear()
    deliver(said(bench, Joined, 1, groups=("data-engineers@example.com",)), bench.deps)
    # One writes down what is to be asked of the cloud, before it is asked; one copies into the audit what became of it.
    assert len(bench.calls()) <= 10 + 3
    bench.cloud.world.journal.clear()
    deliver(said(bench, Joined, 1, groups=("data-engineers@example.com",)), bench.deps)
    assert not any(call["mutates"] for call in bench.calls())
    minutes(bench, 5)
    bench.cloud.world.journal.clear()
    sweep("due", bench.deps)
    assert len(bench.calls()) == 2


@pytest.mark.parametrize("state", ["STOPPED", "STOPPING"])
def test_a_machine_that_ran_between_two_looks_is_no_remnant_although_its_create_failed(bench, state):
    bench.fault(call="notebooks.CreateInstance", operation_error={"code": "ABORTED", "message": "late trouble"})
    deliver(said(bench, Joined, 1), bench.deps)
    (instance,) = instances(bench.cloud).values()
    bench.advance(minutes=4)
    bench.cloud.notebooks.settle()
    bench.cloud.notebooks.fleet.set_state(
        instance, state, bench.now
    )  # it was up, its owner worked, and it went to rest
    sweep("due", bench.deps)
    assert instance.name in instances(bench.cloud)
    assert not [call for call in bench.calls() if call["method"] == "DeleteInstance"]
