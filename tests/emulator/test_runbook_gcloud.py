"""The real gcloud and the commands of the runbook that gave wrong lists, or no answer, before. Real commands, so only a few."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.emulator.data_kit import ID
from tests.emulator.notebooks_cloud import PROJECT, NotebooksCloud, running
from tests.kit.gcp.sdk import Gcloud, plain_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.gcloud, pytest.mark.slow]
ZONE, REGION = "us-east1-b", "us-central1"


@pytest.fixture
def cloud() -> Iterator[NotebooksCloud]:
    with running() as started:
        yield started


@pytest.fixture
def gcloud(cloud: NotebooksCloud, tmp_path: Path) -> Gcloud:
    services = dict.fromkeys(("IAM", "NOTEBOOKS", "DATAPROC", "LOGGING"), f"{cloud.url}/")
    services |= {"COMPUTE": f"{cloud.url}/compute/v1/", "STORAGE": f"{cloud.url}/storage/v1/"}
    environment = plain_environment(
        HOME=str(tmp_path),
        CLOUDSDK_CONFIG=str(tmp_path / "gcloud"),
        CLOUDSDK_AUTH_DISABLE_CREDENTIALS="true",
        CLOUDSDK_CORE_PROJECT=ID,
        CLOUDSDK_CORE_DISABLE_PROMPTS="1",
        CLOUDSDK_CORE_DISABLE_USAGE_REPORTING="true",
        CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK="true",
        **{f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": url for name, url in services.items()},
    )
    return Gcloud(environment, tmp_path)


def test_an_instance_is_updated_and_its_disks_are_listed(cloud: NotebooksCloud, gcloud: Gcloud):
    name = cloud.active("ann")
    cloud.world.clock.set_speed(600)  # gcloud waits for operations
    gcloud("workbench", "instances", "update", "ann", f"--location={ZONE}", "--metadata=idle-timeout-seconds=600")
    assert cloud.raw(name)["gceSetup"]["metadata"]["idle-timeout-seconds"] == "600"
    disks = gcloud.json("compute", "disks", "list")
    assert sorted(disk["name"] for disk in disks) == ["ann-boot", "ann-data-workspace"]
    chosen = gcloud.json("compute", "disks", "list", "--filter=name~boot")
    assert [disk["name"] for disk in chosen] == ["ann-boot"]


def test_operations_of_dataproc_are_listed(cloud: NotebooksCloud, gcloud: Gcloud):
    clusters = f"/v1/{PROJECT}/regions/{REGION}/clusters"
    for name in ("ann", "ben"):
        assert cloud.call("POST", clusters, {"clusterName": name}).status_code == 200
    assert len(gcloud.json("dataproc", "operations", "list", f"--region={REGION}")) == 2
    assert len(gcloud.json("dataproc", "operations", "list", f"--region={REGION}", "--cluster=ann")) == 1
    assert gcloud.json("dataproc", "operations", "list", f"--region={REGION}", "--state-filter=inactive") == []
    cloud.wait(90)
    assert len(gcloud.json("dataproc", "operations", "list", f"--region={REGION}", "--state-filter=inactive")) == 2


def test_what_was_deleted_from_a_bucket_is_listed_and_restored(cloud: NotebooksCloud, gcloud: Gcloud):
    cloud.call("POST", "/storage/v1/b", {"name": "records"}, project=ID)
    url = f"{cloud.url}/upload/storage/v1/b/records/o?uploadType=media&name=records/ann.json"
    generation = cloud.http.post(url, data=b"{}", timeout=30).json()["generation"]
    gcloud("storage", "rm", "gs://records/records/ann.json")
    listed = gcloud("storage", "ls", "--soft-deleted", "--recursive", "gs://records/records/")
    assert f"gs://records/records/ann.json#{generation}" in listed
    gcloud("storage", "restore", f"gs://records/records/ann.json#{generation}")
    assert "ann.json" in gcloud("storage", "ls", "gs://records/records/")

    gcloud("storage", "rm", "--recursive", "gs://records")
    (bucket,) = json.loads(gcloud("storage", "ls", "--buckets", "--soft-deleted", "--json"))
    gcloud("storage", "restore", f"gs://records#{bucket['metadata']['generation']}")
    assert "gs://records/" in gcloud("storage", "ls", "--buckets")


def test_logs_sinks_and_keys_are_read(cloud: NotebooksCloud, gcloud: Gcloud):
    cloud.wait(400 * 86_400)  # gcloud's `--freshness` counts from the machine's time
    cloud.logs.add("benchkeeper-tick", '{"severity": "INFO", "message": "Finished a sweep", "kind": "due", "acted": 3}')
    cloud.logs.add(
        "benchkeeper-tick", '{"severity": "INFO", "message": "Finished a sweep", "kind": "idle", "acted": 0}'
    )
    cloud.logs.add("benchkeeper-tick", '{"severity": "ERROR", "message": "Pass failed"}')
    cloud.logs.add("benchkeeper-hub", "plain text")
    swept = gcloud.json(
        "logging", "read", 'jsonPayload.message="Finished a sweep" AND jsonPayload.kind="due"', "--freshness=30m"
    )
    assert [entry["jsonPayload"]["acted"] for entry in swept] == [3]
    bad = gcloud.json("logging", "read", 'resource.labels.service_name="benchkeeper-tick" AND severity>=WARNING')
    assert [entry["jsonPayload"]["message"] for entry in bad] == ["Pass failed"]
    assert "Unparseable filter" in gcloud.refused("logging", "read", "jsonPayload.message=")

    topic = f"pubsub.googleapis.com/{PROJECT}/topics/people"
    gcloud("logging", "sinks", "create", "people", topic, "--organization=123456789012", "--log-filter=severity>=ERROR")
    described = gcloud.json("logging", "sinks", "describe", "people", "--organization=123456789012")
    assert (described["filter"], described["destination"]) == ("severity>=ERROR", topic)
    assert "does not exist" in gcloud.refused("logging", "sinks", "describe", "others", "--organization=123456789012")

    cloud.call("POST", f"/v1/{PROJECT}/serviceAccounts", {"accountId": "robots"})
    account = f"--iam-account=robots@{ID}.iam.gserviceaccount.com"
    assert gcloud.json("iam", "service-accounts", "keys", "list", account, "--managed-by=user") == []
    (key,) = gcloud.json("iam", "service-accounts", "keys", "list", account)
    assert key["keyType"] == "SYSTEM_MANAGED"
