"""The whole life of an environment: leaver with data kept, return, mover. The world is judged, and the bytes on the disk."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from kit.inprocess import impatient
from kit.life import DATA_GROUP, disruptive, life, personal, settings_with
from msgspec.structs import replace

from shared.domain.people.events import Renamed
from shared.domain.record.status import ConditionType
from shared.domain.things.catalog import Disruption, Identity, Window
from shared.domain.things.errors import Reason
from shared.domain.things.identity import account_email, parse_email, user_key_for
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.reconciler import preview
from shared.engine.sweeps.sweeps import sweep

REFUSED = {"code": "INVALID_ARGUMENT", "message": "The image family does not exist."}
GOOGLE_KNOWS = parse_email("Ana.O'Neil+test@sub.example.co")
WORK = b"a year of work\x00\xff"


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


def test_a_leaver_is_stopped_saved_kept_and_deleted_late():
    someone = life()
    someone.join()
    someone.write(WORK)
    someone.leave()
    assert list(someone.states().values()) == ["STOPPING"]
    someone.minutes(10)
    assert list(someone.states().values()) == ["STOPPED"]
    (snapshot,) = someone.snapshots().values()
    assert snapshot.content == WORK
    assert snapshot.labels["benchkeeper-user"] == someone.key
    saved = someone.condition(ConditionType.DATA_SAVED)
    assert (saved.reason, snapshot.path.rpartition("/")[2] in saved.message) == (Reason.SAVED, True)
    assert someone.manifest()["snapshot"]["name"] == snapshot.path.rpartition("/")[2]
    someone.days(29)
    assert list(someone.states().values()) == ["STOPPED"]
    someone.days(1.1)
    assert someone.states() == {}
    assert list(someone.snapshots()) == [snapshot.path.rpartition("/")[2]]
    someone.days(58)
    assert len(someone.snapshots()) == 1
    someone.days(2)
    assert someone.snapshots() == {}
    someone.minutes(3)
    manifest = someone.manifest()
    assert manifest["deleted_at"] is not None
    assert manifest["user_key"] == someone.key
    assert manifest["instance"]["machine_type"] == "e2-standard-4"  # what it held is still said
    assert someone.condition(ConditionType.DATA_SAVED) is None
    assert someone.condition(ConditionType.NOTEBOOK_READY).reason is Reason.REMOVED


def test_who_returns_inside_the_retention_finds_the_same_disk():
    someone = life()
    someone.join()
    someone.write(WORK)
    before = someone.only().body["id"]
    someone.leave(minutes=10)
    someone.days(29)
    someone.join()
    assert someone.only().body["id"] == before
    assert someone.states() == {someone.only().short: "ACTIVE"}
    assert someone.files() == WORK
    someone.minutes(10)
    assert someone.snapshots() == {}  # older than what is on the disk


def test_who_returns_after_it_finds_the_files_on_a_new_disk():
    someone = life()
    someone.join()
    someone.write(WORK)
    before = someone.only().body["id"]
    someone.leave(minutes=10)
    someone.days(31)
    assert someone.states() == {}
    someone.join(minutes=20)
    assert someone.only().body["id"] != before
    assert list(someone.states().values()) == ["ACTIVE"]
    assert someone.files() == WORK
    assert someone.snapshots() == {}
    ready = someone.condition(ConditionType.NOTEBOOK_READY)
    assert ready.reason is Reason.READY


def test_a_mover_is_replaced_when_idle_with_every_byte():
    someone = life()
    someone.join()
    someone.write(WORK)
    before = someone.only()
    someone.move(profile="engineer", profile_said=True, minutes=10)
    assert someone.only().short == before.short  # at work: the engineer's larger disk waits
    assert someone.condition(ConditionType.NOTEBOOK_READY).reason is Reason.UPDATE_PENDING
    someone.bench.cloud.notebooks.stop_outside(before.name)
    sweep("drift", someone.bench.deps)
    someone.minutes(40)
    after = someone.only()
    assert after.short == f"{before.short}-2"
    assert after.body["gceSetup"]["dataDisks"][0]["diskSizeGb"] == "500"
    assert someone.files() == WORK
    assert someone.snapshots() == {}


def test_a_mover_is_replaced_at_once_where_the_profile_says_so():
    someone = life(disruptive(Disruption.NOW))
    someone.join()
    someone.write(WORK)
    before = someone.only()
    someone.move(profile="engineer", profile_said=True, minutes=40)
    after = someone.only()
    assert (after.short, after.state) == (f"{before.short}-2", "ACTIVE")
    assert after.body["gceSetup"]["machineType"].endswith("n2-standard-8")
    assert someone.files() == WORK


def test_a_person_with_an_account_of_their_own():
    someone = life(personal(), GOOGLE_KNOWS)
    someone.join(minutes=10)
    assert list(someone.states().values()) == ["ACTIVE"]
    account = someone.account()
    assert account == {
        "disabled": False,
        "bindings": [{"role": "roles/iam.serviceAccountUser", "members": [f"user:{someone.email}"]}],
    }
    someone.leave()
    assert someone.account() == {"disabled": True, "bindings": []}
    someone.minutes(10)
    someone.days(29)
    someone.join()
    assert someone.account()["disabled"] is False
    assert list(someone.states().values()) == ["ACTIVE"]
    someone.leave(minutes=10)
    someone.days(31)
    assert someone.states() == {}
    assert someone.account()["disabled"] is True
    someone.days(61)
    someone.minutes(10)
    assert someone.snapshots() == {}
    assert someone.account() is None


def reading_group(someone):
    """The group whose members may read the data, made by an administrator."""
    body = {
        "parent": "customers/C1",
        "groupKey": {"id": DATA_GROUP},
        "labels": {"cloudidentity.googleapis.com/groups.discussion_forum": ""},
    }
    someone.bench.clients.json("cloudidentity").call("POST", "/v1/groups?initialGroupConfig=EMPTY", body=body)
    return lambda: someone.bench.deps.groups.has(
        DATA_GROUP, account_email(someone.record.status.account.account_id, someone.bench.settings.project)
    )


def test_data_roles_come_and_go_with_the_group_of_the_profile():
    own = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "disruption": Disruption.NOW}
    someone = life(settings_with({"analyst": {**own, "data_group": DATA_GROUP}, "engineer": own}), GOOGLE_KNOWS)
    reads = reading_group(someone)
    someone.join(minutes=10)
    assert reads()
    someone.move(profile="engineer", profile_said=True, minutes=3)
    assert not reads()  # at once, whatever becomes of the machine
    someone.move(profile="analyst", profile_said=True, minutes=60)
    assert reads()
    someone.leave()
    assert not reads()


def test_a_mover_to_end_user_credentials_loses_the_account_with_the_instance_that_used_it():
    own = {"identity": Identity.PERSONAL_SERVICE_ACCOUNT, "disruption": Disruption.NOW}
    someone = life(settings_with({"analyst": own, "engineer": {"disruption": Disruption.NOW}}), GOOGLE_KNOWS)
    someone.join(minutes=10)
    someone.write(WORK)
    someone.move(profile="engineer", profile_said=True)
    assert someone.account()["disabled"] is False  # still at work as it
    someone.minutes(60)
    assert someone.account() is None
    assert someone.only().body.get("enableManagedEuc") is True
    assert someone.files() == WORK


def test_a_new_address_gets_the_notebook_with_every_byte():
    someone = life(disruptive(Disruption.NOW))
    someone.join()
    someone.write(WORK)
    new = parse_email("nandu.maria@sub.example.co")
    key = someone.key
    someone.tell(Renamed, new_user=new)
    someone.minutes(40)
    assert someone.bench.deps.records.load(user_key_for(new)).record.user_key == key
    assert someone.only().owner == new
    assert someone.files() == WORK
    assert list(someone.states().values()) == ["ACTIVE"]


def test_a_change_waits_for_the_maintenance_window_and_the_plan_says_so():
    window = Window(days=frozenset({5}), start=time(22), length=timedelta(hours=4), zone=ZoneInfo("Europe/Berlin"))
    someone = life(disruptive(Disruption.WINDOW, window=window))
    someone.join()
    someone.write(WORK)
    someone.move(profile="engineer", profile_said=True, minutes=5)
    plan = preview(someone.key, someone.bench.deps).plan
    saturday = datetime(2026, 11, 28, 21, tzinfo=UTC)
    assert plan.requeue_at == saturday
    assert "in the maintenance window that opens on Sat 2026-11-28 21:00 UTC" in " ".join(plan.because)
    assert "machine type e2-standard-4 to n2-standard-8 (stop, patch, start)" in " ".join(plan.because)
    assert "data disk PD_BALANCED of 100 GB to PD_SSD of 500 GB (replace, files kept)" in " ".join(plan.because)
    someone.bench.advance(seconds=(saturday - someone.bench.now).total_seconds() - 90)
    someone.minutes(1)
    assert list(someone.states().values()) == ["ACTIVE"]
    someone.minutes(45)
    assert someone.only().short.endswith("-2")
    assert someone.files() == WORK


@pytest.mark.parametrize("kind", ["error", "operation_error"])
def test_what_cannot_be_built_gives_back_what_was_there(kind):
    someone = life(disruptive(Disruption.NOW))
    someone.join()
    someone.write(WORK)
    before = someone.only()
    someone.bench.fault(call="notebooks.CreateInstance", times=0, **{kind: REFUSED})
    someone.move(profile="engineer", profile_said=True, minutes=45)
    assert someone.only().short == before.short
    assert someone.states() == {before.short: "ACTIVE"}
    assert someone.files() == WORK
    assert "refused" in someone.condition(ConditionType.NOTEBOOK_READY).message
    created = [c for c in someone.bench.calls() if c["method"] == "CreateInstance"]
    assert len(created) == 2  # the join's, and the one that was refused: nobody is stopped for it again
    someone.bench.cloud.world.faults.clear()
    someone.move(profile="analyst", profile_said=True, minutes=5)
    assert someone.record.status.notebook.refused == ""


def test_a_machine_that_is_refused_leaves_the_notebook_as_it_was():
    settings = disruptive(Disruption.NOW)
    profiles = dict(settings.catalog.profiles)
    profiles["engineer"] = replace(profiles["analyst"], name="engineer", machine_type="x9-mega-1", templates=())
    someone = life(replace(settings, catalog=replace(settings.catalog, profiles=profiles)))
    someone.join()
    someone.bench.fault(call="notebooks.UpdateInstance", resource="*", times=0, skip=1, error=REFUSED)
    someone.move(profile="engineer", profile_said=True, minutes=30)
    assert someone.states() == {someone.only().short: "ACTIVE"}
    assert "refused" in someone.condition(ConditionType.NOTEBOOK_READY).message
    stops = [c for c in someone.bench.calls() if c["method"] == "StopInstance"]
    assert len(stops) == 1


@pytest.mark.parametrize("trouble", [{"phase": "after"}, {}])
def test_a_restore_is_done_once_although_its_answer_is_lost(trouble):
    someone = life()
    someone.join()
    someone.write(WORK)
    someone.leave(minutes=10)
    someone.days(31)
    someone.bench.fault(call="notebooks.RestoreInstance", error={"code": "UNAVAILABLE"}, **trouble)
    someone.join(minutes=6)
    someone.minutes(20)
    assert someone.files() == WORK
    asked = [c for c in someone.bench.calls() if c["method"] == "RestoreInstance" and c["status"] == 200]
    done = len(asked) + (1 if trouble else 0)
    assert done == 1


def test_an_old_notebook_that_somebody_starts_is_stopped_and_kept():
    someone = life(disruptive(Disruption.NOW))
    someone.join()
    someone.write(WORK)
    before = someone.only()
    someone.move(profile="engineer", profile_said=True)
    for _ in range(30):
        someone.minutes(1)
        if someone.record.status.notebook.former is not None:
            break
    cloud = someone.bench.cloud
    cloud.notebooks.start(before.name)
    with pytest.raises(AssertionError, match="two at once"):
        someone.minutes(1)
    someone.bench.advance(minutes=3)
    for _ in range(30):
        sweep("due", someone.bench.deps)
        someone.bench.advance(minutes=1)
    assert someone.states() == {before.short: "STOPPED", f"{before.short}-2": "ACTIVE"}
    assert "kept" in someone.condition(ConditionType.NOTEBOOK_READY).message


def test_a_hold_keeps_everything_and_its_release_lets_it_go():
    someone = life(personal(), GOOGLE_KNOWS)
    someone.join(minutes=10)
    someone.write(WORK)
    want_hold(someone.key, "case 1", someone.bench.deps)
    someone.leave(minutes=10)
    assert someone.account() == {"disabled": True, "bindings": []}
    someone.days(400)
    assert list(someone.states().values()) == ["STOPPED"]
    assert [s.content for s in someone.snapshots().values()] == [WORK]
    assert someone.account() is not None
    want_hold(someone.key, None, someone.bench.deps)
    someone.minutes(30)
    assert (someone.states(), someone.snapshots(), someone.account()) == ({}, {}, None)


def test_a_leavers_spark_clusters_go_and_a_hold_keeps_them():
    someone = life()
    someone.join()
    folder = f"/v1/projects/{someone.bench.settings.project}/regions/europe-west1/clusters"
    json = someone.bench.clients.json("dataproc")
    body = {"projectId": someone.bench.settings.project, "labels": {"benchkeeper-user": someone.key}}
    json.call("POST", folder, body={**body, "clusterName": "mine"})
    json.call(
        "POST", folder, body={**body, "clusterName": "other", "labels": {"benchkeeper-user": "else-000000000000"}}
    )
    someone.minutes(3)
    want_hold(someone.key, "case 1", someone.bench.deps)
    someone.leave(minutes=5)
    assert len(json.call("GET", folder)["clusters"]) == 2
    assert someone.condition(ConditionType.CLUSTERS_REMOVED).reason is Reason.ON_HOLD
    want_hold(someone.key, None, someone.bench.deps)
    someone.minutes(10)
    assert [c["clusterName"] for c in json.call("GET", folder)["clusters"]] == ["other"]
    assert someone.condition(ConditionType.CLUSTERS_REMOVED).reason is Reason.REMOVED


def test_a_cost_centre_reaches_a_running_notebook_at_once():
    someone = life()
    someone.join()
    someone.move(attributes={"cost_center": "CC-7"}, minutes=1)
    assert someone.only().body["labels"]["cost-center"] == "cc-7"
    assert list(someone.states().values()) == ["ACTIVE"]
