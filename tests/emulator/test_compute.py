"""Compute Engine v1: the disks of Workbench instances, snapshots, their operations and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.emulator.data_kit import ID, PROJECT, SNAPSHOTS, V1, ZONE, DataCloud, disk_path

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden" / "notebooks-v2-recorded"
DISKS = f"{V1}/{PROJECT}/zones/{ZONE}/disks"


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


# --- disks


def test_an_instance_has_two_disks_with_its_labels_from_the_moment_its_vm_exists(cloud: DataCloud):
    where = f"/v2/{PROJECT}/locations/{ZONE}/instances"
    cloud.call("POST", where, {"labels": {"cost-centre": "r7"}}, instanceId="ann")
    cloud.refused("GET", disk_path("ann"), status=404)
    cloud.wait(10)
    boot, data = cloud.disk("ann", "boot"), cloud.disk("ann")
    assert (boot["sizeGb"], data["sizeGb"]) == ("150", "100")
    for disk in (boot, data):
        assert disk["labels"] == {
            "cost-centre": "r7",
            "consumer-project-id": ID,
            "consumer-project-number": "100000000001",
            "notebooks-product": "workbench-instances",
            "resource-name": "ann",
        }
        assert disk["users"] == [f"https://www.googleapis.com/compute/v1/{PROJECT}/zones/{ZONE}/instances/ann"]
        assert disk["status"] == "READY"


def test_the_disks_are_those_of_the_recorded_vm(cloud: DataCloud):
    recorded = GOLDEN / "gcpdiag-compute-instances-us-west1-a.json"
    if not recorded.is_file():
        pytest.skip("the recorded answers (../shared/golden) are not here")
    machines = json.loads(recorded.read_text(encoding="utf-8"))["items"]
    (real,) = (each for each in machines if each["name"] == "notebooks2instance-ok")
    cloud.instance("notebooks2instance-ok", zone="us-west1-a")
    listed = cloud.call("GET", f"{V1}/{PROJECT}/zones/us-west1-a/disks")["items"]
    ours = {disk["name"]: disk for disk in listed}
    assert set(ours) == {disk["source"].rpartition("/")[2] for disk in real["disks"]}
    for disk in real["disks"]:
        assert disk["autoDelete"] is True
        assert ours[disk["source"].rpartition("/")[2]]["sizeGb"] == disk["diskSizeGb"]
    (boot,) = (disk for disk in real["disks"] if disk["boot"])
    assert ours["notebooks2instance-ok-boot"]["guestOsFeatures"] == boot["guestOsFeatures"]
    assert set(real["labels"]) == set(ours["notebooks2instance-ok-boot"]["labels"])


def test_labels_and_sizes_of_the_instance_reach_its_disks_later_too(cloud: DataCloud):
    path = cloud.instance("ann")
    before = cloud.disk("ann")["labelFingerprint"]
    cloud.call("PATCH", path, {"labels": {"cost-centre": "r8"}}, updateMask="labels")
    cloud.wait(10)
    cloud.call("POST", f"{path}:resizeDisk", {"dataDisk": {"diskSizeGb": "500"}})
    cloud.wait(10)
    disk = cloud.disk("ann")
    assert (disk["labels"]["cost-centre"], disk["sizeGb"]) == ("r8", "500")
    assert disk["labelFingerprint"] != before


def test_a_disk_in_use_is_not_deleted(cloud: DataCloud):
    cloud.instance("ann")
    error = cloud.refused("DELETE", disk_path("ann"), status=400)
    assert error["errors"][0]["reason"] == "resourceInUseByAnotherResource"
    assert f"{PROJECT}/zones/{ZONE}/instances/ann" in error["message"]
    assert cloud.disk("ann")


@pytest.mark.parametrize("outside", [True, False])
def test_both_disks_go_with_their_instance(cloud: DataCloud, outside: bool):
    path = cloud.instance("ann")
    cloud.write("ann", b"thesis")
    first = cloud.disk("ann")["id"]
    if outside:
        cloud.call("POST", "/_emulator/notebooks/ann:delete-outside")
    else:
        cloud.call("DELETE", path)
        cloud.wait(60)
    for role in ("boot", "data-workspace"):
        error = cloud.refused("GET", disk_path("ann", role), status=404)
        assert error["errors"] == [{"message": error["message"], "domain": "global", "reason": "notFound"}]
        assert "status" not in error
    cloud.instance("ann")
    assert cloud.read("ann") == b""
    assert cloud.disk("ann")["id"] != first


def test_disks_are_found_by_zone_only(cloud: DataCloud):
    cloud.instance("ann")
    cloud.instance("ann", zone="europe-west1-c")
    assert [disk["name"] for disk in cloud.call("GET", DISKS)["items"]] == ["ann-boot", "ann-data-workspace"]
    assert cloud.disk("ann")["id"] != cloud.disk("ann", zone="europe-west1-c")["id"]
    assert "items" not in cloud.call("GET", f"{V1}/{PROJECT}/zones/us-west1-a/disks")
    assert cloud.refused("GET", f"{V1}/{PROJECT}/zones/moon-a/disks", status=400)["errors"][0]["reason"] == "invalid"
    cloud.refused("GET", f"{V1}/projects/other/zones/{ZONE}/disks", status=403)


# --- snapshots


def test_a_snapshot_passes_its_states_and_holds_what_the_disk_held_when_it_was_asked_for(cloud: DataCloud):
    cloud.instance("ann")
    crc = cloud.write("ann", b"first")
    operation = cloud.insert("s1", "ann", labels={"benchkeeper": "1"}, description="Leaver", storageLocations=["us"])
    cloud.write("ann", b"second")
    assert (operation["kind"], operation["operationType"]) == ("compute#operation", "insert")
    assert operation["targetLink"].endswith(f"{PROJECT}/global/snapshots/s1")
    assert operation["user"] == "agent@example.com"
    assert (operation["status"], operation["progress"]) == ("RUNNING", 0)
    seen = [cloud.status("s1")]
    for seconds in (5, 54, 1):
        cloud.wait(seconds)
        seen.append(cloud.status("s1"))
    assert seen == ["CREATING", "UPLOADING", "UPLOADING", "READY"]
    done = cloud.operation(operation)
    assert (done["status"], done["progress"]) == ("DONE", 100)
    assert "error" not in done
    snapshot = cloud.call("GET", f"{SNAPSHOTS}/s1")
    assert snapshot["sourceDiskId"] == cloud.disk("ann")["id"]
    assert (snapshot["storageBytes"], snapshot["diskSizeGb"]) == ("5", "100")
    assert (snapshot["labels"], snapshot["description"]) == ({"benchkeeper": "1"}, "Leaver")
    assert (snapshot["storageLocations"], snapshot["snapshotType"]) == (["us"], "STANDARD")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}-07:00", snapshot["creationTimestamp"])
    frozen = cloud.http.get("/_emulator/snapshots/s1")
    assert (frozen.data, frozen.headers["X-Goog-Hash"]) == (b"first", crc)
    assert cloud.read("ann") == b"second"


def test_disks_create_snapshot_is_the_same_by_a_zonal_operation(cloud: DataCloud):
    cloud.instance("ann")
    operation = cloud.call("POST", f"{disk_path('ann')}/createSnapshot", {"name": "s1"})
    assert f"{PROJECT}/zones/{ZONE}/operations/" in operation["selfLink"]
    assert operation["zone"].endswith(f"zones/{ZONE}")
    assert operation["targetId"] == cloud.disk("ann")["id"]
    cloud.wait(60)
    assert cloud.operation(operation)["status"] == "DONE"
    assert (
        cloud.call("POST", operation["selfLink"].removeprefix("https://www.googleapis.com") + "/wait")["status"]
        == "DONE"
    )
    snapshot = cloud.call("GET", f"{SNAPSHOTS}/s1")
    assert snapshot["storageLocations"] == ["us"]
    assert cloud.call("GET", f"{SNAPSHOTS}/{snapshot['id']}")["name"] == "s1"


@pytest.mark.parametrize(
    "disk",
    [
        f"https://www.googleapis.com/compute/v1/{PROJECT}/zones/{ZONE}/disks/ann-data-workspace",
        f"https://compute.googleapis.com/compute/v1/{PROJECT}/zones/{ZONE}/disks/ann-data-workspace",
        f"zones/{ZONE}/disks/ann-data-workspace",
    ],
)
def test_a_source_disk_may_be_a_whole_or_a_partial_url(cloud: DataCloud, disk: str):
    cloud.instance("ann")
    cloud.call("POST", SNAPSHOTS, {"name": "s1", "sourceDisk": disk})
    assert cloud.status("s1") == "CREATING"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Ann"}, "invalid"),
        ({"name": "a" * 64}, "invalid"),
        ({"name": "ann-"}, "invalid"),
        ({"name": ""}, "invalid"),
        ({"sourceDisk": ""}, "required"),
        ({"sourceDisk": "disks/ann-data-workspace"}, "invalid"),
        ({"sourceDisk": "zones/moon-a/disks/ann-data-workspace"}, "invalid"),
        ({"labels": {"Key": "v"}}, "invalid"),
        ({"labels": {"key": "ann@example.com"}}, "invalid"),
        ({"labels": ["key"]}, "invalid"),
        ({"storageLocations": ["us", "eu"]}, "invalid"),
        ({"storageLocations": ["moon"]}, "invalid"),
        ({"snapshotType": "GLACIER"}, "invalid"),
        ({"description": 7}, "invalid"),
        ({"labls": {}}, "badRequest"),
    ],
)
def test_a_wrong_snapshot_is_refused_and_not_made(cloud: DataCloud, change: dict[str, object], reason: str):
    cloud.instance("ann")
    body = {"name": "s1", "sourceDisk": f"zones/{ZONE}/disks/ann-data-workspace"} | change
    error = cloud.refused("POST", SNAPSHOTS, body, status=400)
    assert error["errors"][0]["reason"] == reason
    assert "items" not in cloud.call("GET", SNAPSHOTS)


def test_what_is_not_there_or_there_already_or_not_served(cloud: DataCloud):
    cloud.instance("ann")
    body = {"name": "s1", "sourceDisk": f"zones/{ZONE}/disks/nobody-data-workspace"}
    assert cloud.refused("POST", SNAPSHOTS, body, status=404)["errors"][0]["reason"] == "notFound"
    cloud.insert("s1", "ann")
    again = {"name": "s1", "sourceDisk": f"zones/{ZONE}/disks/ann-boot"}
    error = cloud.refused("POST", SNAPSHOTS, again, status=409)
    assert error["errors"][0]["reason"] == "alreadyExists"
    assert error["message"] == f"The resource '{PROJECT}/global/snapshots/s1' already exists"
    cloud.refused("POST", SNAPSHOTS, {**again, "name": "s2", "guestFlush": True}, status=404)
    cloud.refused("GET", f"{SNAPSHOTS}/nothing", status=404)
    cloud.refused("DELETE", f"{SNAPSHOTS}/nothing", status=404)
    cloud.refused("GET", f"{SNAPSHOTS}/s1", status=400, colour="red")


def test_the_same_request_id_is_the_same_operation(cloud: DataCloud):
    cloud.instance("ann")
    body = {"name": "s1", "sourceDisk": f"zones/{ZONE}/disks/ann-data-workspace"}
    ident = "5b0a6bb0-64d5-4a44-9d0a-d2ba2a3ea2f6"
    first = cloud.call("POST", SNAPSHOTS, body, requestId=ident)
    assert cloud.call("POST", SNAPSHOTS, body, requestId=ident)["name"] == first["name"]
    cloud.refused("POST", SNAPSHOTS, {**body, "name": "s2"}, status=400, requestId="not-a-uuid")


def test_a_snapshot_is_deleted_by_an_operation_and_only_when_it_is_done(cloud: DataCloud):
    cloud.instance("ann")
    cloud.insert("s1", "ann")
    assert cloud.refused("DELETE", f"{SNAPSHOTS}/s1", status=400)["errors"][0]["reason"] == "resourceNotReady"
    cloud.wait(60)
    operation = cloud.call("DELETE", f"{SNAPSHOTS}/s1")
    assert cloud.status("s1") == "DELETING"
    cloud.refused("DELETE", f"{SNAPSHOTS}/s1", status=400)
    cloud.wait(10)
    assert cloud.operation(operation)["status"] == "DONE"
    cloud.refused("GET", f"{SNAPSHOTS}/s1", status=404)
    cloud.insert("s1", "ann")  # the name is free again


@pytest.mark.parametrize("saved_between", [True, False])
def test_a_disk_that_goes_before_its_snapshot_is_ready_takes_it_along(cloud: DataCloud, saved_between: bool):
    path = cloud.stopped("ann")
    cloud.write("ann", b"thesis")
    cloud.call("DELETE", path)
    cloud.wait(30)
    operation = cloud.insert("s1", "ann")
    if saved_between:
        saved = cloud.call("GET", "/_emulator/world")
        cloud = DataCloud.build()
        cloud.call("PUT", "/_emulator/world", saved)
    cloud.wait(60)
    assert cloud.status("s1") == "FAILED"
    done = cloud.operation(operation)
    assert (done["status"], done["error"]["errors"][0]["code"]) == ("DONE", "RESOURCE_NOT_FOUND")
    cloud.call("DELETE", f"{SNAPSHOTS}/s1")


def test_labels_are_replaced_under_their_fingerprint(cloud: DataCloud):
    cloud.instance("ann")
    cloud.ready("s1", "ann", labels={"a": "1"})
    stamp = cloud.call("GET", f"{SNAPSHOTS}/s1")["labelFingerprint"]
    set_labels = f"{SNAPSHOTS}/s1/setLabels"
    error = cloud.refused("POST", set_labels, {"labels": {"b": "2"}, "labelFingerprint": "42WmSpB8rSM="}, status=412)
    assert error["errors"][0]["reason"] == "conditionNotMet"
    cloud.refused("POST", set_labels, {"labels": {"b": "2"}}, status=412)
    urlsafe = stamp.replace("+", "-").replace("/", "_")  # as gcloud sends it
    operation = cloud.call("POST", set_labels, {"labels": {"b": "2"}, "labelFingerprint": urlsafe})
    cloud.wait(2)
    assert cloud.operation(operation)["status"] == "DONE"
    assert cloud.call("GET", f"{SNAPSHOTS}/s1")["labels"] == {"b": "2"}
    cloud.refused("POST", set_labels, {"labels": {}, "fingerprint": "x"}, status=400)


def test_lists_are_filtered_ordered_and_paged(cloud: DataCloud):
    cloud.instance("ann")
    for name, owner in (("s3", "ann"), ("s1", "ann"), ("s2", "ben")):
        cloud.insert(name, "ann", labels={"owner": owner})
        cloud.wait(1)

    def names(**query: str) -> list[str]:
        return [each["name"] for each in cloud.call("GET", SNAPSHOTS, **query).get("items", [])]

    assert names() == ["s1", "s2", "s3"]
    assert names(orderBy="creationTimestamp desc") == ["s2", "s1", "s3"]
    assert names(filter="labels.owner=ann") == ["s1", "s3"]
    assert names(filter='(labels.owner = "ann") AND (name = s1)') == ["s1"]
    assert names(filter="labels.owner!=ann") == ["s2"]
    assert names(filter="labels.owner:*") == ["s1", "s2", "s3"]
    assert names(filter="labels.other:*") == []
    assert names(filter=r'name eq ".*\bs2\b.*"') == ["s2"]
    assert names(filter='name ne "s[12]"') == ["s3"]
    assert names(filter="status=CREATING labels.owner=ben") == ["s2"]
    first = cloud.call("GET", SNAPSHOTS, maxResults="2")
    second = cloud.call("GET", SNAPSHOTS, maxResults="2", pageToken=first["nextPageToken"])
    assert [each["name"] for each in first["items"] + second["items"]] == ["s1", "s2", "s3"]
    assert "nextPageToken" not in second
    for wrong in ({"filter": "owner=ann"}, {"filter": "name ="}, {"filter": "(name=x"}, {"filter": 'name eq "("'}):
        assert cloud.refused("GET", SNAPSHOTS, status=400, **wrong)["errors"][0]["reason"] == "invalid"
    cloud.refused("GET", SNAPSHOTS, status=400, maxResults="501")
    cloud.refused("GET", SNAPSHOTS, status=400, orderBy="size")
    cloud.refused("GET", SNAPSHOTS, status=400, pageToken="x")


# --- faults, journal, saved world


def test_a_scripted_refusal_has_computes_shape(cloud: DataCloud):
    cloud.instance("ann")
    cloud.fault(call="compute.snapshots.insert", resource="*/snapshots/s1", error={"code": "UNAVAILABLE"})
    cloud.fault(
        call="compute.disks.get",
        error={"code": "RESOURCE_EXHAUSTED", "http_status": 403, "reason": "rateLimitExceeded", "message": "slow down"},
    )
    body = {"name": "s1", "sourceDisk": f"zones/{ZONE}/disks/ann-data-workspace"}
    assert cloud.refused("POST", SNAPSHOTS, body, status=503)["errors"][0]["reason"] == "backendError"
    assert cloud.refused("GET", disk_path("ann"), status=403)["errors"][0]["reason"] == "rateLimitExceeded"
    assert cloud.cloud.world.faults.unfired() == []


@pytest.mark.parametrize("zonal", [True, False])
def test_a_scripted_end_of_the_operation_leaves_a_failed_snapshot(cloud: DataCloud, zonal: bool):
    cloud.instance("ann")
    call = "compute.disks.createSnapshot" if zonal else "compute.snapshots.insert"
    told = {
        "code": "RESOURCE_EXHAUSTED",
        "reason": "QUOTA_EXCEEDED",
        "message": "Quota 'SNAPSHOTS' exceeded.  Limit: 5.0",
    }
    cloud.fault(call=call, operation_error=told)
    if zonal:
        operation = cloud.call("POST", f"{disk_path('ann')}/createSnapshot", {"name": "s1"})
    else:
        operation = cloud.insert("s1", "ann")
    assert "error" not in operation
    cloud.wait(60)
    done = cloud.operation(operation)
    assert done["error"]["errors"] == [{"code": "QUOTA_EXCEEDED", "message": told["message"]}]
    assert done["httpErrorStatusCode"] == 429
    assert cloud.status("s1") == "FAILED"
    assert cloud.cloud.world.faults.unfired() == []


def test_a_scripted_end_of_a_deletion_keeps_the_snapshot(cloud: DataCloud):
    cloud.instance("ann")
    cloud.ready("s1", "ann")
    cloud.fault(call="compute.snapshots.delete", operation_error={"code": "INTERNAL"})
    operation = cloud.call("DELETE", f"{SNAPSHOTS}/s1")
    cloud.wait(10)
    assert cloud.operation(operation)["error"]["errors"][0]["code"] == "INTERNAL"
    assert cloud.status("s1") == "READY"


def test_the_journal_names_the_permissions(cloud: DataCloud):
    cloud.instance("ann")
    cloud.call("DELETE", "/_emulator/calls")
    operation = cloud.insert("s1", "ann", labels={"a": "b"})
    zonal = cloud.call("POST", f"{disk_path('ann')}/createSnapshot", {"name": "s2"})
    for each in (operation, zonal):
        cloud.operation(each)
    cloud.wait(60)
    for path in (disk_path("ann"), DISKS, SNAPSHOTS, f"{SNAPSHOTS}/s1"):
        cloud.call("GET", path)
    stamp = cloud.call("GET", f"{SNAPSHOTS}/s1")["labelFingerprint"]
    cloud.call("POST", f"{SNAPSHOTS}/s1/setLabels", {"labels": {}, "labelFingerprint": stamp})
    cloud.call("DELETE", f"{SNAPSHOTS}/s1")
    assert cloud.permissions() == [
        "compute.snapshots.create,compute.disks.createSnapshot,compute.snapshots.setLabels",
        "compute.disks.createSnapshot,compute.snapshots.create",
        "compute.globalOperations.get",
        "compute.zoneOperations.get",
        "compute.disks.get",
        "compute.disks.list",
        "compute.snapshots.list",
        "compute.snapshots.get",
        "compute.snapshots.get",
        "compute.snapshots.setLabels",
        "compute.snapshots.delete",
    ]
    rows = cloud.cloud.world.journal.listing(mutating_only=True)
    assert [row["method"] for row in rows] == [
        "snapshots.insert",
        "disks.createSnapshot",
        "snapshots.setLabels",
        "snapshots.delete",
    ]
    assert rows[0]["resource"] == f"{PROJECT}/global/snapshots/s1"


def test_wait_answers_at_once_on_a_clock_that_stands_still_and_at_the_end_on_one_that_runs(cloud: DataCloud):
    cloud.instance("ann")
    operation = cloud.insert("s1", "ann")
    path = operation["selfLink"].removeprefix("https://www.googleapis.com") + "/wait"
    assert cloud.call("POST", path)["status"] == "RUNNING"
    cloud.cloud.world.clock.set_speed(600)
    assert cloud.call("POST", path)["status"] == "DONE"
    cloud.refused("POST", f"{V1}/{PROJECT}/global/operations/operation-1/wait", status=404)


def test_a_saved_world_keeps_the_bytes_and_goes_on(cloud: DataCloud):
    cloud.instance("ann")
    content = bytes(range(256)) * 40
    cloud.write("ann", content)
    operation = cloud.insert("s1", "ann", labels={"a": "b"})
    cloud.ready("s0", "ann")
    cloud.call("DELETE", f"{SNAPSHOTS}/s0")
    saved = json.loads(json.dumps(cloud.call("GET", "/_emulator/world")))
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", saved)
    assert other.status("s0") == "DELETING"
    other.wait(10)
    assert other.operation(operation)["status"] == "DONE"
    assert other.read("ann") == content
    assert other.http.get("/_emulator/snapshots/s1").data == content
    other.refused("GET", f"{SNAPSHOTS}/s0", status=404)
    assert cloud.call("GET", "/_emulator/world")["models"]["compute"] == saved["models"]["compute"]


def test_a_world_from_before_there_were_disks_gets_empty_ones(cloud: DataCloud):
    cloud.instance("ann")
    cloud.write("ann", b"thesis")
    cloud.ready("s1", "ann")
    saved = cloud.call("GET", "/_emulator/world")
    del saved["models"]["compute"]
    cloud.call("PUT", "/_emulator/world", saved)
    assert cloud.read("ann") == b""
    cloud.refused("GET", f"{SNAPSHOTS}/s1", status=404)


def test_the_aggregated_list_has_each_disk_in_its_zone_and_a_warning_for_the_others(cloud: DataCloud):
    cloud.instance("ann")
    path = f"{V1}/{PROJECT}/aggregated/disks"
    items = cloud.call("GET", path)["items"]
    assert [disk["name"] for disk in items[f"zones/{ZONE}"]["disks"]] == ["ann-boot", "ann-data-workspace"]
    assert items["zones/europe-west1-b"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"
    some = cloud.call("GET", path, maxResults="1", filter="name eq ann-.*")
    assert len(some["items"][f"zones/{ZONE}"]["disks"]) == 1
    assert some["nextPageToken"]
    cloud.refused("GET", f"{V1}/projects/theirs/aggregated/disks", status=403)


# --- what a project offers


@pytest.mark.parametrize(
    "path",
    [
        f"{PROJECT}/zones/{ZONE}",
        f"{PROJECT}/zones/{ZONE}/machineTypes/e2-standard-4",
        f"{PROJECT}/zones/{ZONE}/machineTypes/n2-custom-8-32768",
        f"{PROJECT}/zones/{ZONE}/diskTypes/pd-ssd",
        f"{PROJECT}/zones/europe-west1-b/acceleratorTypes/nvidia-tesla-t4",
        "projects/cloud-notebooks-managed/global/images/family/workbench-instances-2603",
        f"{PROJECT}/global/networks/default",
        f"{PROJECT}/regions/{ZONE.rpartition('-')[0]}/subnetworks/default",
    ],
)
def test_what_a_project_offers_is_read_by_name(cloud: DataCloud, path: str):
    assert cloud.call("GET", f"{V1}/{path}")["name"] == path.rpartition("/")[2]
    error = cloud.refused("GET", f"{V1}/{path}x", status=404)
    assert error["errors"][0]["reason"] == "notFound"


def test_another_project_offers_nothing_that_can_be_seen(cloud: DataCloud):
    cloud.refused("GET", f"{V1}/projects/another/zones/{ZONE}/machineTypes/e2-standard-4", status=404)
    cloud.refused("GET", f"{V1}/projects/another/global/images/family/workbench-instances", status=404)
