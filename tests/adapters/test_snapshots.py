"""Snapshots of data disks and their manifests: ensure, whose they are, what is there, in the region of the disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from kit.making import ANA, ZONES, profile
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.domain.snapshot.actions import WriteManifest
from shared.domain.things.errors import (
    AccessDeniedError,
    BusyError,
    CloudUnavailableError,
    ConflictError,
    NotOursError,
    PermanentError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
)
from shared.domain.things.identity import instance_id_for, user_key_for
from shared.domain.things.notebook import LABEL_MANAGED_BY, MANAGED_BY, Absent, InstanceRef, Network, spec_for
from shared.domain.things.snapshots import Snapshot, SnapshotState, data_disk_of, snapshot_labels, snapshot_name

ZONE = ZONES[0]
KEY = user_key_for(ANA)
REF = InstanceRef(instance_id=instance_id_for(ANA), zone=ZONE)
NAME = snapshot_name(REF.instance_id, 1)
LABELS = snapshot_labels(KEY, REF.instance_id, {LABEL_MANAGED_BY: MANAGED_BY, "cost-center": "cc-1"})
DISK = f"zones/{ZONE}/disks/{data_disk_of(REF.instance_id)}"


@pytest.fixture
def snapshots(bench):
    return bench.deps.snapshots


@pytest.fixture
def instance(bench):
    """An instance whose data disk holds something."""
    spec = spec_for(
        owner=ANA,
        user_key=KEY,
        instance_id=REF.instance_id,
        profile=profile("analyst"),
        cost_center="",
        network=Network(),
    )
    bench.deps.notebooks.create(spec, ZONE, "")
    bench.advance(minutes=5)
    write(bench, b"thesis")
    return REF


def write(bench, content):
    bench.cloud.compute.write(f"projects/{bench.settings.project}/{DISK}", content)


def content(bench, name=NAME):
    return bench.cloud.compute.snapshot_content(path(bench, name).removeprefix("/compute/v1/"))


def path(bench, name=NAME):
    return f"/compute/v1/projects/{bench.settings.project}/global/snapshots/{name}"


def raw(bench, name=NAME):
    return bench.control("GET", path(bench, name))


def by_hand(bench, name=NAME, **more):
    body = {"name": name, "sourceDisk": f"projects/{bench.settings.project}/{DISK}", **more}
    bench.control("POST", f"/compute/v1/projects/{bench.settings.project}/global/snapshots", body)
    bench.advance(minutes=2)


def kept(bench):
    return storage_bucket(bench.clients).blob(f"manifests/{KEY}/{NAME}.json").download_as_bytes()


# --- create ---


def test_a_snapshot_holds_what_is_on_the_disk_and_says_whose_it_is(bench, snapshots, instance):
    assert isinstance(snapshots.get(NAME), Absent)
    snapshots.create(NAME, instance, LABELS)
    assert snapshots.get(NAME).state is SnapshotState.CREATING
    write(bench, b"later")
    asked = bench.now
    bench.advance(minutes=2)
    seen = snapshots.get(NAME)
    assert seen.state is SnapshotState.READY
    assert (seen.name, seen.labels, seen.source_disk) == (NAME, LABELS, DISK)
    assert (seen.size_bytes, seen.disk_size_gb, seen.created_at) == (len(b"thesis"), 100, asked)
    assert seen.snapshot_id == raw(bench)["id"]
    assert content(bench) == b"thesis"


def test_a_snapshot_stays_in_the_region_of_its_disk_and_names_nobody(bench, snapshots, instance):
    snapshots.create(NAME, instance, LABELS)
    made = raw(bench)
    assert made["storageLocations"] == ["europe-west1"]
    assert "@" not in json.dumps({**made, "selfLink": ""})


@pytest.mark.parametrize("minutes", [0, 5])
def test_a_snapshot_that_is_there_already_and_ours_is_success(bench, snapshots, instance, minutes):
    snapshots.create(NAME, instance, LABELS)
    bench.advance(minutes=minutes)
    before = raw(bench)["id"]
    snapshots.create(NAME, instance, {**LABELS, "cost-center": "cc-2"})
    assert raw(bench)["id"] == before


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {**LABELS, "managed-by": "terraform"},
        {**LABELS, "benchkeeper-user": "ben-0123456789ab"},
        {**LABELS, "benchkeeper-instance": "nb-else-0123456789ab"},
    ],
)
def test_a_snapshot_that_is_not_ours_is_left_alone(bench, snapshots, instance, labels):
    by_hand(bench, labels=labels)
    before = raw(bench)
    with pytest.raises(NotOursError) as caught:
        snapshots.create(NAME, instance, LABELS)
    assert "administrator" in caught.value.user_message
    assert raw(bench) == before


def test_a_snapshot_whose_answer_was_lost_is_one_snapshot(bench, snapshots, instance):
    lost = {"code": "UNAVAILABLE", "message": "lost"}
    bench.fault(call="compute.disks.createSnapshot", phase="after", error=lost)
    with pytest.raises(CloudUnavailableError):
        snapshots.create(NAME, instance, LABELS)
    snapshots.create(NAME, instance, LABELS)
    assert [row.name for row in snapshots.rows()] == [NAME]


def test_a_collision_with_one_that_goes_away_is_tried_again_later(bench, snapshots, instance):
    gone = {"code": "ALREADY_EXISTS", "message": f"The resource '{NAME}' already exists"}
    bench.fault(call="compute.disks.createSnapshot", error=gone)
    with pytest.raises(ConflictError):
        snapshots.create(NAME, instance, LABELS)


def test_a_disk_that_is_not_there_is_data_that_is_missing(bench, snapshots):
    with pytest.raises(PermanentError) as caught:
        snapshots.create(NAME, REF, LABELS)
    assert caught.value.reason is Reason.DATA_MISSING
    assert data_disk_of(REF.instance_id) in caught.value.user_message
    assert isinstance(snapshots.get(NAME), Absent)


REFUSALS = [
    ({"code": "PERMISSION_DENIED", "message": "Required 'compute.x' permission for 'y'"}, AccessDeniedError),
    (
        {
            "code": "PERMISSION_DENIED",
            "message": "Quota 'SNAPSHOTS' exceeded.  Limit: 1000.0 globally.",
            "reason": "quotaExceeded",
        },
        QuotaExhaustedError,
    ),
    ({"code": "PERMISSION_DENIED", "message": "Rate Limit Exceeded", "reason": "rateLimitExceeded"}, RateLimitedError),
    ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
    ({"code": "FAILED_PRECONDITION", "message": "The resource 'd' is not ready"}, BusyError),
]


@pytest.mark.parametrize(("error", "kind"), REFUSALS)
def test_a_refused_snapshot_is_in_its_class_and_leaves_nothing(bench, snapshots, instance, error, kind):
    bench.fault(call="compute.disks.createSnapshot", error=error)
    with pytest.raises(kind) as caught:
        snapshots.create(NAME, instance, LABELS)
    assert type(caught.value) is kind
    assert isinstance(snapshots.get(NAME), Absent)


def test_a_quota_on_snapshots_is_named(bench, snapshots, instance):
    bench.fault(call="compute.disks.createSnapshot", error=REFUSALS[1][0])
    with pytest.raises(QuotaExhaustedError) as caught:
        snapshots.create(NAME, instance, LABELS)
    assert "quota for disk snapshots" in caught.value.user_message


def test_a_snapshot_that_failed_is_seen_as_failed(bench, snapshots, instance):
    bench.fault(call="compute.disks.createSnapshot", operation_error={"code": "INTERNAL", "message": "oops"})
    snapshots.create(NAME, instance, LABELS)
    bench.advance(minutes=2)
    seen = snapshots.get(NAME)
    assert (seen.state, seen.size_bytes) == (SnapshotState.FAILED, 0)


# --- delete ---


def test_deleting_is_done_when_it_is_gone_or_going(bench, snapshots, instance):
    snapshots.delete(NAME)
    snapshots.create(NAME, instance, LABELS)
    bench.advance(minutes=2)
    snapshots.delete(NAME)
    assert snapshots.get(NAME).state is SnapshotState.DELETING
    snapshots.delete(NAME)
    bench.advance(minutes=1)
    assert isinstance(snapshots.get(NAME), Absent)
    snapshots.delete(NAME)


def test_a_snapshot_that_is_being_made_is_deleted_later(bench, snapshots, instance):
    snapshots.create(NAME, instance, LABELS)
    with pytest.raises(BusyError):
        snapshots.delete(NAME)
    bench.advance(minutes=2)
    assert snapshots.get(NAME).state is SnapshotState.READY
    snapshots.delete(NAME)
    bench.advance(minutes=1)
    assert isinstance(snapshots.get(NAME), Absent)


def test_a_snapshot_that_goes_while_it_is_asked_for_is_gone(bench, snapshots):
    busy = {"code": "FAILED_PRECONDITION", "message": "not ready", "reason": "resourceNotReady"}
    bench.fault(call="compute.snapshots.delete", error=busy)
    snapshots.delete(NAME)


@pytest.mark.parametrize("call", ["get", "list", "delete"])
@pytest.mark.parametrize(("error", "kind"), [r for r in REFUSALS if r[1] is not BusyError])
def test_what_cannot_be_read_or_deleted_is_an_error_and_not_an_absence(bench, snapshots, call, error, kind):
    bench.fault(call=f"compute.snapshots.{call}", error=error)
    act = {"get": snapshots.get, "delete": snapshots.delete, "list": lambda _: list(snapshots.rows())}[call]
    with pytest.raises(kind):
        act(NAME)


# --- rows ---


def test_all_pages_of_ours_and_nobody_elses_are_listed(bench, snapshots, instance, monkeypatch):
    monkeypatch.setattr("shared.cloud.notebook.snapshots._PAGE", 2)
    ours = [snapshot_name(REF.instance_id, number) for number in range(1, 6)]
    for name in ours:
        snapshots.create(name, instance, LABELS)
    by_hand(bench, "theirs")
    by_hand(bench, "theirs-too", labels={"managed-by": "terraform"})
    bench.cloud.world.journal.clear()
    rows = list(snapshots.rows())
    assert sorted(row.name for row in rows) == ours
    assert {row.name: row for row in rows} == {name: snapshots.get(name) for name in ours}
    assert len([call for call in bench.calls() if call["method"] == "snapshots.list"]) == 3


def test_a_state_newer_than_this_product_is_unknown(bench, snapshots, instance, monkeypatch):
    snapshots.create(NAME, instance, LABELS)
    monkeypatch.setattr("emulator.model.disks.Snapshot.status", lambda _self, _now: "MOTHBALLED")
    assert snapshots.get(NAME).state is SnapshotState.UNKNOWN


def test_each_call_needs_exactly_these_permissions(bench, snapshots, instance):
    bench.cloud.world.journal.clear()
    snapshots.create(NAME, instance, LABELS)
    bench.advance(minutes=2)
    snapshots.get(NAME)
    list(snapshots.rows())
    snapshots.delete(NAME)
    found = {permission for call in bench.calls() for permission in call["permission"].split(",")}
    assert found == {
        "compute.disks.createSnapshot",
        "compute.snapshots.create",
        "compute.snapshots.delete",
        "compute.snapshots.get",
        "compute.snapshots.list",
        "compute.snapshots.setLabels",
    }


# --- manifests ---

ASKED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
MANIFEST = WriteManifest(
    snapshot=Snapshot(
        name=NAME,
        instance_id=REF.instance_id,
        zone=ZONE,
        instance_uid="u",
        asked_at=ASKED,
        ready_at=ASKED + timedelta(minutes=2),
        size_bytes=12345,
        disk_size_gb=100,
        snapshot_id="77",
        spec={"machine_type": "e2-standard-4", "image": "cloud-notebooks-managed/workbench-instances-2603"},
    ),
)


def test_a_manifest_says_what_a_snapshot_holds(bench, snapshots):
    snapshots.write_manifest(KEY, MANIFEST)
    (blob,) = storage_bucket(bench.clients).list_blobs()
    assert blob.name == f"manifests/{KEY}/{NAME}.json"
    assert blob.content_type == "application/json"
    text = blob.download_as_bytes().decode()
    assert "@" not in text
    assert json.loads(text) == {
        "schema": "benchkeeper.manifest/v1",
        "user_key": KEY,
        "snapshot": {
            "name": NAME,
            "id": "77",
            "created_at": "2026-11-23T09:00:00Z",
            "ready_at": "2026-11-23T09:02:00Z",
            "size_bytes": 12345,
            "disk_size_gb": 100,
            "source_disk": DISK,
        },
        "instance": {"machine_type": "e2-standard-4", "image": "cloud-notebooks-managed/workbench-instances-2603"},
        "deleted_at": None,
    }


def test_the_same_manifest_is_the_same_bytes_whatever_the_order(bench, snapshots):
    snapshots.write_manifest(KEY, MANIFEST)
    first = kept(bench)
    turned = dict(reversed(MANIFEST.snapshot.spec.items()))
    snapshots.write_manifest(KEY, replace(MANIFEST, snapshot=replace(MANIFEST.snapshot, spec=turned)))
    assert kept(bench) == first


def test_a_manifest_outlives_its_snapshot_and_says_when_that_was_deleted(bench, snapshots):
    snapshots.write_manifest(KEY, MANIFEST)
    snapshots.write_manifest(KEY, replace(MANIFEST, deleted_at=ASKED + timedelta(days=90)))
    assert json.loads(kept(bench))["deleted_at"] == "2027-02-21T09:00:00Z"


def test_a_manifest_that_cannot_be_written_is_an_error(bench, snapshots):
    bench.fault(call="storage.objects.insert", error={"code": "PERMISSION_DENIED", "message": "denied"})
    with pytest.raises(AccessDeniedError):
        snapshots.write_manifest(KEY, MANIFEST)
