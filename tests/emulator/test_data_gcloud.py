"""The real gcloud against service accounts, disks, snapshots and a restore. Real commands, so only a few."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.notebooks_cloud import NotebooksCloud, running
from tests.kit.gcp.sdk import Gcloud, plain_environment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.gcloud,
    pytest.mark.slow,
]
ID = "benchkeeper-local"
WHERE = "us-east1-b"
ANN = f"bk-ann-0001@{ID}.iam.gserviceaccount.com"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.fixture
def gcloud(cloud: NotebooksCloud, tmp_path: Path) -> Gcloud:
    environment = plain_environment(
        HOME=str(tmp_path),
        CLOUDSDK_CONFIG=str(tmp_path / "gcloud"),
        CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true",
        CLOUDSDK_CORE_PROJECT=ID,
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
        CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="true",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=f"{cloud.url}/compute/v1/",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM=f"{cloud.url}/",
        CLOUDSDK_API_ENDPOINT_OVERRIDES_NOTEBOOKS=f"{cloud.url}/",
    )
    return Gcloud(environment, tmp_path)


def test_snapshots_are_made_listed_labelled_restored_and_deleted(cloud: NotebooksCloud, gcloud: Gcloud):
    cloud.active("ann", {"labels": {"cost-centre": "r7"}})
    cloud.world.clock.set_speed(600)  # gcloud waits for operations
    content = f"{cloud.url}/_emulator/disks/{WHERE}/ann-data-workspace"
    cloud.http.put(content, data=b"first", timeout=30).raise_for_status()

    disk = gcloud.json("compute", "disks", "describe", "ann-data-workspace", f"--zone={WHERE}")
    assert (disk["sizeGb"], disk["labels"]["cost-centre"]) == ("100", "r7")
    source = ("--source-disk=ann-data-workspace", f"--source-disk-zone={WHERE}", "--storage-location=us")
    made = gcloud.json("compute", "snapshots", "create", "s1", *source, "--labels=benchkeeper=1")
    assert (made["status"], made["storageBytes"], made["labels"]) == ("READY", "5", {"benchkeeper": "1"})
    gcloud("compute", "disks", "snapshot", "ann-data-workspace", f"--zone={WHERE}", "--snapshot-names=s2")
    chosen = gcloud.json("compute", "snapshots", "list", "--filter=labels.benchkeeper=1 AND name=s1")
    assert [each["name"] for each in chosen] == ["s1"]
    assert gcloud.json("compute", "snapshots", "list", "--filter=name~2")[0]["name"] == "s2"
    gcloud("compute", "snapshots", "add-labels", "s1", "--labels=held=yes")
    labels = gcloud.json("compute", "snapshots", "describe", "s1")["labels"]
    assert labels == {"benchkeeper": "1", "held": "yes"}

    cloud.http.put(content, data=b"second", timeout=30).raise_for_status()
    gcloud(
        "workbench", "instances", "restore", "ann", f"--location={WHERE}", "--snapshot=s1", f"--snapshot-project={ID}"
    )
    assert cloud.http.get(content, timeout=30).content == b"first"

    refused = gcloud.refused("compute", "disks", "delete", "ann-data-workspace", f"--zone={WHERE}")
    assert "is already being used by" in refused
    assert "already exists" in gcloud.refused("compute", "snapshots", "create", "s1", *source)
    gcloud("compute", "snapshots", "delete", "s1", "s2")
    assert "was not found" in gcloud.refused("compute", "snapshots", "describe", "s1")
    assert json.loads(gcloud("compute", "snapshots", "list", "--format=json")) == []


def test_a_service_account_lives_is_bound_disabled_enabled_and_deleted(gcloud: Gcloud):
    made = gcloud.json("iam", "service-accounts", "create", "bk-ann-0001", "--display-name=Ann")
    assert gcloud.json("iam", "service-accounts", "describe", ANN) == made
    owner = ("--member=user:ann@example.com", "--role=roles/iam.serviceAccountUser")
    for command in ("add-iam-policy-binding", "remove-iam-policy-binding", "add-iam-policy-binding"):
        policy = gcloud.json("iam", "service-accounts", command, ANN, *owner)
        assert ("bindings" in policy) is (command == "add-iam-policy-binding")
    assert policy["bindings"] == [{"role": "roles/iam.serviceAccountUser", "members": ["user:ann@example.com"]}]
    assert gcloud.json("iam", "service-accounts", "get-iam-policy", ANN)["etag"] == policy["etag"]
    gcloud("iam", "service-accounts", "disable", ANN)
    gcloud("iam", "service-accounts", "update", ANN, "--description=Leaver")
    (listed,) = gcloud.json("iam", "service-accounts", "list")
    assert listed == {**made, "disabled": True, "description": "Leaver"}
    gcloud("iam", "service-accounts", "enable", ANN)
    assert gcloud.json("iam", "service-accounts", "describe", ANN) == {**made, "description": "Leaver"}
    gcloud("iam", "service-accounts", "delete", ANN)
    assert "NOT_FOUND" in gcloud.refused("iam", "service-accounts", "describe", ANN)
