"""RestoreInstance: the data disk becomes what the snapshot holds; everything else stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.data_kit import ID, PROJECT, SNAPSHOTS, ZONE, DataCloud


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


@pytest.fixture
def kept(cloud: DataCloud) -> str:
    """A stopped instance with work on it, and the READY snapshot `s1` of an earlier state of that work."""
    path = cloud.stopped("ann", {"instanceOwners": ["ann@example.com"], "labels": {"cost-centre": "r7"}})
    cloud.write("ann", b"first")
    cloud.ready("s1", "ann")
    cloud.write("ann", b"second")
    return path


def without_time(instance: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in instance.items() if key != "updateTime"}


def test_the_disk_is_replaced_when_the_operation_is_done_and_nothing_else(cloud: DataCloud, kept: str):
    before, disk = cloud.call("GET", kept), cloud.disk("ann")
    operation = cloud.restore(kept, "s1")
    assert (operation["metadata"]["verb"], operation["metadata"]["endpoint"]) == ("restore", "RestoreInstance")
    assert cloud.read("ann") == b"second"
    cloud.wait(90)
    assert cloud.call("GET", f"/v2/{operation['name']}")["done"] is True
    assert cloud.read("ann") == b"first"
    assert without_time(cloud.call("GET", kept)) == without_time(before)
    after = cloud.disk("ann")
    assert after["id"] != disk["id"]
    assert after["labels"] == disk["labels"]
    assert after["sourceSnapshot"].endswith(f"{PROJECT}/global/snapshots/s1")
    assert after["sourceSnapshotId"] == cloud.call("GET", f"{SNAPSHOTS}/s1")["id"]
    assert cloud.permissions().count("notebooks.instances.update") == 1


def test_a_snapshot_may_be_named_by_its_numeric_id(cloud: DataCloud, kept: str):
    cloud.restore(kept, cloud.call("GET", f"{SNAPSHOTS}/s1")["id"])
    cloud.wait(90)
    assert cloud.read("ann") == b"first"


def test_a_running_instance_stops_for_it_and_comes_back(cloud: DataCloud):
    path = cloud.instance("ann")
    cloud.write("ann", b"first")
    cloud.ready("s1", "ann")
    cloud.restore(path, "s1")
    assert cloud.call("GET", path)["state"] == "STOPPING"
    cloud.wait(90)
    assert cloud.call("GET", path)["state"] == "ACTIVE"


def test_another_instance_gets_the_work_of_the_first_after_that_is_gone(cloud: DataCloud, kept: str):
    cloud.call("DELETE", kept)
    cloud.wait(60)
    new = cloud.stopped("ann-2")
    cloud.restore(new, "s1")
    cloud.wait(90)
    assert cloud.read("ann-2") == b"first"


def test_a_disk_is_never_smaller_than_its_snapshot(cloud: DataCloud):
    cloud.instance("big", {"gceSetup": {"dataDisks": [{"diskSizeGb": "300"}]}})
    cloud.ready("s1", "big")
    path = cloud.stopped("ann")
    cloud.restore(path, "s1")
    cloud.wait(90)
    assert cloud.disk("ann")["sizeGb"] == "300"
    assert cloud.call("GET", path)["gceSetup"]["dataDisks"][0]["diskSizeGb"] == "300"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"snapshot": "s1"},
        {"snapshot": {"projectId": ID}},
        {"snapshot": {"projectId": ID, "snapshotId": ""}},
        {"snapshot": {"projectId": ID, "snapshotId": "s1", "zone": ZONE}},
        {"snapshot": {"projectId": ID, "snapshotId": "s1"}, "disk": "x"},
    ],
)
def test_a_wrong_request_is_refused(cloud: DataCloud, kept: str, body: dict[str, Any]):
    assert cloud.refused("POST", f"{kept}:restore", body, status=400)["status"] == "INVALID_ARGUMENT"


def test_a_snapshot_that_cannot_be_used_is_refused_at_once(cloud: DataCloud, kept: str):
    def refused(snapshot: str, status: int, project: str = ID) -> str:
        body = {"snapshot": {"projectId": project, "snapshotId": snapshot}}
        return str(cloud.refused("POST", f"{kept}:restore", body, status=status)["status"])

    assert refused("nothing", 404) == "NOT_FOUND"
    assert refused("s1", 403, project="other") == "PERMISSION_DENIED"
    cloud.insert("young", "ann")
    assert refused("young", 400) == "FAILED_PRECONDITION"
    cloud.call("POST", SNAPSHOTS, {"name": "boot", "sourceDisk": f"zones/{ZONE}/disks/ann-boot"})
    cloud.wait(60)
    assert refused("boot", 400) == "FAILED_PRECONDITION"
    cloud.call("DELETE", f"{SNAPSHOTS}/s1")
    assert refused("s1", 400) == "FAILED_PRECONDITION"
    assert cloud.read("ann") == b"second"


def test_one_operation_at_a_time(cloud: DataCloud, kept: str):
    cloud.restore(kept, "s1")
    body = {"snapshot": {"projectId": ID, "snapshotId": "s1"}}
    assert "unable to queue the operation" in cloud.refused("POST", f"{kept}:restore", body, status=409)["message"]
    cloud.refused("POST", f"{kept}:start", {}, status=409)


def test_the_states_in_which_it_may_be_called_are_a_setting_because_they_are_not_documented(cloud: DataCloud):
    cloud.cloud.notebooks.restore_from = frozenset({"STOPPED"})
    path = cloud.instance("ann")
    cloud.ready("s1", "ann")
    body = {"snapshot": {"projectId": ID, "snapshotId": "s1"}}
    assert cloud.refused("POST", f"{path}:restore", body, status=400)["status"] == "FAILED_PRECONDITION"


def test_a_snapshot_that_goes_away_meanwhile_fails_the_restore_and_keeps_the_disk(cloud: DataCloud, kept: str):
    operation = cloud.restore(kept, "s1")
    cloud.call("DELETE", f"{SNAPSHOTS}/s1")
    cloud.wait(90)
    assert cloud.call("GET", f"/v2/{operation['name']}")["error"]["code"] == 5
    assert cloud.read("ann") == b"second"
    assert cloud.call("GET", kept)["state"] == "STOPPED"


def test_a_snapshot_of_the_disk_that_the_restore_deletes_fails(cloud: DataCloud, kept: str):
    cloud.restore(kept, "s1")
    cloud.wait(29)
    cloud.insert("early", "ann")
    cloud.wait(2)
    cloud.insert("late", "ann")
    cloud.wait(60)
    assert cloud.read("ann") == b"first"
    assert (cloud.status("early"), cloud.status("late")) == ("READY", "FAILED")


@pytest.mark.parametrize("lost", [True, False])
def test_a_scripted_failure_keeps_the_old_disk_unless_told_otherwise(cloud: DataCloud, kept: str, lost: bool):
    cloud.fault(
        call="notebooks.RestoreInstance",
        operation_error={"code": "INTERNAL", "message": "disk"},
        payload={"disk_lost": True} if lost else {},
    )
    operation = cloud.restore(kept, "s1")
    cloud.wait(90)
    assert cloud.call("GET", f"/v2/{operation['name']}")["error"] == {"code": 13, "message": "disk"}
    assert cloud.cloud.world.faults.unfired() == []
    if lost:
        assert cloud.http.get(f"/_emulator/disks/{ZONE}/ann-data-workspace").status_code == 404
        cloud.restore(kept, "s1")  # the snapshot still has it
        cloud.wait(90)
        assert cloud.read("ann") == b"first"
    else:
        assert cloud.read("ann") == b"second"


def test_a_world_saved_in_the_middle_of_a_restore_goes_on(cloud: DataCloud, kept: str):
    cloud.restore(kept, "s1")
    cloud.wait(30)
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", cloud.call("GET", "/_emulator/world"))
    assert other.read("ann") == b"second"
    other.wait(60)
    assert other.read("ann") == b"first"
