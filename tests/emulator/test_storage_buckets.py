"""Buckets through the official client: settings, IAM, and what is refused."""

from __future__ import annotations

import pytest
from google.api_core import exceptions

from tests.emulator.data_kit import ID, DataCloud

KEY = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"


def test_the_settings_are_kept(client):
    bucket = client.bucket("kept-settings")
    bucket.versioning_enabled = True
    bucket.labels = {"team": "data"}
    bucket.default_kms_key_name = KEY
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.add_lifecycle_delete_rule(number_of_newer_versions=3)
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.create(location="europe-west1")
    read = client.get_bucket("kept-settings")
    assert (read.location, read.location_type, read.storage_class) == ("EUROPE-WEST1", "region", "STANDARD")
    assert (read.versioning_enabled, read.labels, read.default_kms_key_name) == (True, {"team": "data"}, KEY)
    assert read.iam_configuration.uniform_bucket_level_access_enabled is True
    assert read.iam_configuration.uniform_bucket_level_access_locked_time is not None
    assert read.iam_configuration.public_access_prevention == "enforced"
    assert next(iter(read.lifecycle_rules))["condition"] == {"numNewerVersions": 3}
    assert read.soft_delete_policy.retention_duration_seconds == 0
    blob = read.blob("x")
    blob.upload_from_string(b"x")
    assert read.get_blob("x").kms_key_name == KEY


def test_a_patch_merges_labels_and_null_deletes_one(client, bucket):
    bucket.labels = {"a": "1", "b": "2"}
    bucket.patch()
    labels = bucket.labels
    del labels["a"]
    labels["c"] = "3"
    bucket.labels = labels
    bucket.patch()
    assert client.get_bucket(bucket.name).labels == {"b": "2", "c": "3"}
    bucket.versioning_enabled = True
    bucket.update()
    assert client.get_bucket(bucket.name).versioning_enabled is True


@pytest.mark.parametrize(
    "name",
    ["ab", "Upper-case", "-begin", "end-", "goog-things", "my-google", "1.2.3.4", "a..b", "x" * 64, "under score"],
)
def test_names_that_are_refused(name, client, storage_cloud, http):
    answer = http.post(f"{storage_cloud.url}/storage/v1/b?project=p", json={"name": name})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"Invalid bucket name: '{name}'")


@pytest.mark.parametrize(
    "body",
    [
        {"location": "nowhere"},
        {"labels": {"Upper": "x"}},
        {"labels": {"a": 1}},
        {"iamConfiguration": {"publicAccessPrevention": "maybe"}},
        {"storageClass": "COOL"},
        {"encryption": {"defaultKmsKeyName": "k"}},
        {"softDeletePolicy": {"retentionDurationSeconds": "5"}},
        {"lifecycle": {"rule": [{"action": {}}]}},
        {"versioning": {"enabled": "yes"}},
        {"iamConfiguration": {"publicAccessPrevention": []}},
        {"iamConfiguration": {"uniformBucketLevelAccess": "x"}},
        {"versioning": []},
        {"nonsense": True},
    ],
)
def test_values_that_are_refused(body, storage_cloud, http):
    answer = http.post(f"{storage_cloud.url}/storage/v1/b?project=p", json={"name": "good-name", **body})
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert storage_cloud.model.buckets.by_name == {}


def test_taken_missing_and_not_empty(client, bucket):
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        client.create_bucket(bucket.name)
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket("no-such-bucket")
    bucket.blob("x").upload_from_string(b"x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert client.lookup_bucket(bucket.name) is None


def test_list_in_pages_by_project(client):
    for index in range(5):
        client.create_bucket(f"list-{index}")
    client.create_bucket("other", project="other-project")
    pages = [[b.name for b in page] for page in client.list_buckets(page_size=2, prefix="list-").pages]
    assert pages == [["list-0", "list-1"], ["list-2", "list-3"], ["list-4"]]
    assert [b.name for b in client.list_buckets(project="other-project")] == ["other"]


def test_iam_policy_is_compare_and_set(bucket):
    policy = bucket.get_iam_policy(requested_policy_version=3)
    stale = bucket.get_iam_policy(requested_policy_version=3)
    policy["roles/storage.objectUser"] = {"serviceAccount:sa@p.iam.gserviceaccount.com"}
    bucket.set_iam_policy(policy)
    members = bucket.get_iam_policy()["roles/storage.objectUser"]
    assert members == {"serviceAccount:sa@p.iam.gserviceaccount.com"}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(stale)
    fresh = bucket.get_iam_policy()
    fresh["roles/storage.objectViewer"] = {"nobody"}
    with pytest.raises(exceptions.BadRequest):
        bucket.set_iam_policy(fresh)


def test_a_condition_in_a_policy_needs_version_3_and_uniform_access(bucket):
    binding = {
        "role": "roles/storage.objectUser",
        "members": {"user:a@b.c"},
        "condition": {"title": "t", "expression": "true"},
    }
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    policy.bindings.append(binding)
    with pytest.raises(exceptions.BadRequest):
        bucket.set_iam_policy(policy)
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy(requested_policy_version=3).bindings[-1]["condition"]["title"] == "t"


def test_the_service_agent_of_the_project(client):
    assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")


def test_the_access_lists_are_shown_to_who_asks_for_them_and_only_where_they_are_in_use():
    cloud = DataCloud.build()
    cloud.call("POST", "/storage/v1/b", {"name": "fine"}, project=ID)
    uniform = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}, "location": "EUROPE-WEST1"}
    cloud.call("POST", "/storage/v1/b", {"name": "uniform", **uniform}, project=ID)
    full = cloud.call("GET", "/storage/v1/b/fine", projection="full")
    assert [(each["entity"].split("-")[1], each["role"]) for each in full["acl"]] == [
        ("owners", "OWNER"), ("editors", "OWNER"), ("viewers", "READER"),
    ]  # fmt: skip
    assert full["owner"]["entity"].startswith("project-owners-")
    assert full["rpo"] == "DEFAULT"
    assert "acl" not in cloud.call("GET", "/storage/v1/b/fine")
    other = cloud.call("GET", "/storage/v1/b/uniform", projection="full")
    assert not {"acl", "defaultObjectAcl", "owner", "rpo"} & set(other)
