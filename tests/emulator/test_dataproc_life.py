"""How a cluster comes up and ends: zones and stockouts, web pages, personal credentials, ends by idleness and age, labels."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from emulator.clock import rfc3339
from tests.emulator.data_kit import ID, PROJECT, DataCloud
from tests.emulator.notebooks_cloud import START

REGION = "europe-west1"
CLUSTERS = f"/v1/{PROJECT}/regions/{REGION}/clusters"
ANN = f"{CLUSTERS}/ann-spark"
SOLD_OUT = (
    f"Error Code: UNAVAILABLE, errorSource: COMPUTE_ENGINE, Error Message: The zone 'projects/{ID}/zones/%s' does not have "
    "enough resources available to fulfill the request.  Try a different zone, or try again later."
)
PERSONAL = "dataproc:dataproc.personal-auth.user"


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def create(cloud: DataCloud, name: str = "ann-spark", *, wait: float = 90, **config: Any) -> dict[str, Any]:
    """The operation of a new cluster after `wait`."""
    operation = cloud.call("POST", CLUSTERS, {"clusterName": name, "config": config})
    cloud.wait(wait)
    found: dict[str, Any] = cloud.call("GET", f"/v1/{operation['name']}")
    return found


def state(cloud: DataCloud, path: str = ANN) -> str:
    return str(cloud.call("GET", path)["status"]["state"])


def zone(cloud: DataCloud, path: str = ANN) -> str:
    return str(cloud.call("GET", path)["config"]["gceClusterConfig"]["zoneUri"]).rpartition("/")[2]


def sold_out(cloud: DataCloud, resource: str, **more: Any) -> None:
    fault = {"call": "dataproc.CreateCluster", "resource": resource, "payload": {"sold_out": True}}
    cloud.call("POST", "/_emulator/faults", fault | more)


# --- the end by itself


def test_an_idle_cluster_is_deleted_after_its_time(cloud: DataCloud):
    create(cloud, wait=0, lifecycleConfig={"idleDeleteTtl": "600s"})
    assert "idleStartTime" not in cloud.call("GET", ANN)["config"]["lifecycleConfig"]
    cloud.wait(90)
    shown = cloud.call("GET", ANN)["config"]["lifecycleConfig"]
    assert shown == {"idleDeleteTtl": "600s", "idleStartTime": rfc3339(START + timedelta(seconds=90))}
    cloud.wait(599)
    assert state(cloud) == "RUNNING"
    cloud.wait(1)
    assert state(cloud) == "DELETING"
    told = cloud.refused("DELETE", ANN, status=400)["message"]
    assert told.endswith("other pending delete operations.")
    cloud.wait(60)
    cloud.refused("GET", ANN, status=404)
    assert create(cloud)["done"] is True  # its name is free again


def test_one_that_nobody_looked_at_is_gone_all_the_same(cloud: DataCloud):
    create(cloud, lifecycleConfig={"idleDeleteTtl": "600s"})
    cloud.wait(3 * 86_400)
    assert cloud.call("GET", CLUSTERS) == {}


def test_age_counts_from_the_request_and_ends_it_although_idleness_has_not(cloud: DataCloud):
    create(cloud, lifecycleConfig={"idleDeleteTtl": "7200s", "autoDeleteTtl": "3600s"})
    shown = cloud.call("GET", ANN)["config"]["lifecycleConfig"]
    assert (shown["autoDeleteTime"], "autoDeleteTtl" in shown) == (rfc3339(START + timedelta(hours=1)), False)
    cloud.wait(3600 - 90 - 1)
    assert state(cloud) == "RUNNING"
    cloud.wait(1)
    assert state(cloud) == "DELETING"


def test_a_moment_may_be_named(cloud: DataCloud):
    create(cloud, lifecycleConfig={"autoDeleteTime": rfc3339(START + timedelta(minutes=20))})
    cloud.wait(20 * 60 - 90)
    assert state(cloud) == "DELETING"


def test_a_cluster_that_failed_is_not_idle_but_grows_old(cloud: DataCloud):
    sold_out(cloud, "*", times=0)
    create(cloud, lifecycleConfig={"idleDeleteTtl": "600s", "autoDeleteTtl": "3600s"})
    cloud.wait(3000)
    assert state(cloud) == "ERROR"
    cloud.wait(600)
    cloud.refused("GET", ANN, status=404)


def test_one_without_a_lifetime_stays_and_the_saved_world_knows_the_other(cloud: DataCloud):
    create(cloud, "for-ever")
    create(cloud, lifecycleConfig={"idleDeleteTtl": "600s"})
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", json.loads(json.dumps(cloud.call("GET", "/_emulator/world"))))
    for each in (cloud, other):
        each.wait(601)
        assert state(each) == "DELETING"
        each.wait(14 * 86_400)
        assert [found["clusterName"] for found in each.call("GET", CLUSTERS)["clusters"]] == ["for-ever"]


@pytest.mark.parametrize(
    ("lifecycle", "status"),
    [
        ({"idleDeleteTtl": "299s"}, 400),
        ({"idleDeleteTtl": "1209601s"}, 400),
        ({"autoDeleteTtl": "599s"}, 400),
        ({"autoDeleteTime": rfc3339(START + timedelta(minutes=9))}, 400),
        ({"autoDeleteTime": rfc3339(START + timedelta(days=15))}, 400),
        ({"autoDeleteTtl": "600s", "autoDeleteTime": rfc3339(START + timedelta(hours=1))}, 400),
        ({"idleDeleteTtl": "two hours"}, 400),
        ({"idleStopTtl": "600s"}, 404),
    ],
)
def test_a_wrong_lifetime_is_refused(cloud: DataCloud, lifecycle: dict[str, Any], status: int):
    body = {"clusterName": "ann-spark", "config": {"lifecycleConfig": lifecycle}}
    cloud.refused("POST", CLUSTERS, body, status=status)
    assert cloud.call("GET", CLUSTERS) == {}


# --- zones


def test_a_zone_is_picked_or_taken_as_named(cloud: DataCloud):
    create(cloud)
    assert zone(cloud) in {"europe-west1-b", "europe-west1-c", "europe-west1-d"}
    assert cloud.call("GET", ANN)["labels"]["goog-dataproc-autozone"] == "enabled"
    url = f"https://www.googleapis.com/compute/v1/projects/{ID}/zones/europe-west1-d"
    for number, named in enumerate(("europe-west1-d", f"projects/{ID}/zones/europe-west1-d", url)):
        create(cloud, f"in-d-{number}", gceClusterConfig={"zoneUri": named})
        found = cloud.call("GET", f"{CLUSTERS}/in-d-{number}")
        assert found["config"]["gceClusterConfig"]["zoneUri"] == url
        assert found["config"]["masterConfig"]["machineTypeUri"].startswith(f"{url}/")
        assert "goog-dataproc-autozone" not in found["labels"]
    body = {"clusterName": "far", "config": {"gceClusterConfig": {"zoneUri": "us-central1-a"}}}
    assert "us-central1-a" in cloud.refused("POST", CLUSTERS, body, status=400)["message"]


def test_auto_zone_goes_round_the_zones_that_are_sold_out(cloud: DataCloud):
    sold_out(cloud, "*/zones/europe-west1-b/*", times=0)
    sold_out(cloud, "*/zones/europe-west1-c/*", times=0)
    assert "error" not in create(cloud)
    assert (state(cloud), zone(cloud)) == ("RUNNING", "europe-west1-d")
    assert cloud.cloud.world.faults.unfired() == []


def test_a_region_that_is_sold_out_ends_in_error_and_stays_so_until_it_is_deleted(cloud: DataCloud):
    sold_out(cloud, "*/clusters/ann-spark", times=3)
    operation = create(cloud, wait=89)
    assert "done" not in operation
    assert state(cloud) == "CREATING"
    cloud.wait(1)
    error = cloud.call("GET", f"/v1/{operation['name']}")["error"]
    assert error == {"code": 14, "message": SOLD_OUT % zone(cloud)}
    status = cloud.call("GET", ANN)["status"]
    assert (status["state"], status["detail"]) == ("ERROR", error["message"])
    cloud.refused("POST", CLUSTERS, {"clusterName": "ann-spark"}, status=409)
    cloud.call("DELETE", ANN)
    cloud.wait(60)
    create(cloud)
    assert state(cloud) == "RUNNING"
    assert cloud.cloud.world.faults.unfired() == []


def test_a_named_zone_that_is_sold_out_is_not_left_for_another(cloud: DataCloud):
    sold_out(cloud, "*/zones/europe-west1-c/*")
    assert (
        create(cloud, gceClusterConfig={"zoneUri": "europe-west1-c"})["error"]["message"] == SOLD_OUT % "europe-west1-c"
    )
    assert zone(cloud) == "europe-west1-c"


def test_a_quota_is_refused_at_once_or_at_the_end_as_scripted(cloud: DataCloud):
    told = "Multiple validation errors:\n - Insufficient 'CPUS' quota. Requested 12.0, available 4.0."
    cloud.fault(call="dataproc.CreateCluster", error={"code": "INVALID_ARGUMENT", "message": told})
    assert cloud.refused("POST", CLUSTERS, {"clusterName": "ann-spark"}, status=400)["message"] == told
    cloud.refused("GET", ANN, status=404)
    cloud.fault(call="dataproc.CreateCluster", operation_error={"code": "RESOURCE_EXHAUSTED", "message": "Quota"})
    assert create(cloud)["error"] == {"code": 8, "message": "Quota"}
    assert state(cloud) == "ERROR"


# --- what it shows


def test_web_pages_show_once_it_runs(cloud: DataCloud):
    config = {
        "endpointConfig": {"enableHttpPortAccess": True, "httpPorts": {"mine": "https://mine"}},
        "softwareConfig": {"optionalComponents": ["JUPYTER"]},
    }
    create(cloud, wait=89, **config)
    assert cloud.call("GET", ANN)["config"]["endpointConfig"] == {"enableHttpPortAccess": True}
    cloud.wait(1)
    pages = cloud.call("GET", ANN)["config"]["endpointConfig"]["httpPorts"]
    base = re.fullmatch(
        r"(https://[a-z2-7]{26}-dot-europe-west1\.dataproc\.googleusercontent\.com)/yarn/",
        pages["YARN ResourceManager"],
    )
    assert base is not None
    assert pages["JupyterLab"] == f"{base[1]}/gateway/default/jupyter/lab/"
    assert pages["Jupyter"] == f"{base[1]}/gateway/default/jupyter/"
    assert "mine" not in pages
    (listed,) = cloud.call("GET", CLUSTERS)["clusters"]
    assert listed["config"]["endpointConfig"]["httpPorts"] == pages


def test_no_pages_without_access_and_no_jupyter_without_the_component(cloud: DataCloud):
    create(cloud, softwareConfig={"optionalComponents": ["JUPYTER"]})
    assert "httpPorts" not in cloud.call("GET", ANN)["config"]["endpointConfig"]
    create(cloud, "plain", endpointConfig={"enableHttpPortAccess": True})
    pages = cloud.call("GET", f"{CLUSTERS}/plain")["config"]["endpointConfig"]["httpPorts"]
    assert "YARN ResourceManager" in pages
    assert not {"Jupyter", "JupyterLab"} & set(pages)
    sold_out(cloud, "*", times=3)
    create(cloud, "failed", endpointConfig={"enableHttpPortAccess": True})
    assert "httpPorts" not in cloud.call("GET", f"{CLUSTERS}/failed")["config"]["endpointConfig"]


def test_another_gateway_may_stand_before_jupyter(cloud: DataCloud):
    asked: list[tuple[str, str]] = []

    def gateway(name: str, uuid: str) -> str:
        asked.append((name, uuid))
        return "http://ann-dot-europe-west1.dataproc.localhost:8902"

    cloud.cloud.dataproc.gateway = gateway
    create(
        cloud,
        endpointConfig={"enableHttpPortAccess": True},
        softwareConfig={"optionalComponents": ["JUPYTER"]},
    )
    shown = cloud.call("GET", ANN)
    assert shown["config"]["endpointConfig"]["httpPorts"] == {
        "Jupyter": "http://ann-dot-europe-west1.dataproc.localhost:8902/gateway/default/jupyter/",
        "JupyterLab": "http://ann-dot-europe-west1.dataproc.localhost:8902/gateway/default/jupyter/lab/",
    }
    assert asked == [(ANN.removeprefix("/v1/"), shown["clusterUuid"])]


def test_a_single_machine_has_no_workers(cloud: DataCloud):
    operation = create(cloud, softwareConfig={"properties": {"dataproc:dataproc.allow.zero.workers": "true"}})
    assert operation["metadata"]["description"] == "Create cluster with 0 workers"
    shown = cloud.call("GET", ANN)["config"]
    assert shown["masterConfig"]["instanceNames"] == ["ann-spark-m"]
    assert "workerConfig" not in shown


# --- who


@pytest.mark.parametrize("user", ["ann", "", "ann@", "ann@example.com,ben@example.com\n"])
def test_personal_credentials_want_an_address(cloud: DataCloud, user: str):
    body = {"clusterName": "ann-spark", "config": {"softwareConfig": {"properties": {PERSONAL: user}}}}
    assert PERSONAL in cloud.refused("POST", CLUSTERS, body, status=400)["message"]


def test_personal_credentials_refuse_custom_images(cloud: DataCloud):
    software = {"properties": {PERSONAL: "ann@example.com"}}
    googles = "projects/cloud-dataproc/global/images/dataproc-2-2-deb12-20250817-165100-rc01"
    create(cloud, softwareConfig=software, masterConfig={"imageUri": googles})
    assert state(cloud) == "RUNNING"
    for group in ("masterConfig", "workerConfig", "secondaryWorkerConfig"):
        config = {"softwareConfig": software, group: {"imageUri": f"projects/{ID}/global/images/mine"}}
        cloud.refused("POST", CLUSTERS, {"clusterName": "other", "config": config}, status=400)
    create(cloud, "custom", masterConfig={"imageUri": f"projects/{ID}/global/images/mine"})
    assert state(cloud, f"{CLUSTERS}/custom") == "RUNNING"


@pytest.mark.parametrize("gce", [{}, {"serviceAccount": f"spark@{ID}.iam.gserviceaccount.com"}])
def test_a_create_needs_to_act_as_the_account_it_runs_as(cloud: DataCloud, gce: dict[str, Any]):
    cloud.call("POST", CLUSTERS, {"clusterName": "ann-spark", "config": {"gceClusterConfig": gce}})
    assert cloud.permissions() == ["dataproc.clusters.create,iam.serviceAccounts.actAs"]


# --- labels
