"""Dataproc's clusters: create, get, list by label, delete, their operations, and what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.cloud.dataproc_v1.services.cluster_controller.transports.grpc import ClusterControllerGrpcTransport
from google.cloud.dataproc_v1.services.cluster_controller.transports.rest_base import (
    _BaseClusterControllerRestTransport,
)
from google.cloud.dataproc_v1.services.job_controller.transports.grpc import JobControllerGrpcTransport
from google.cloud.dataproc_v1.services.job_controller.transports.rest_base import _BaseJobControllerRestTransport
from google.cloud.dataproc_v1.services.session_controller.transports.grpc import SessionControllerGrpcTransport
from google.cloud.dataproc_v1.services.session_controller.transports.rest_base import (
    _BaseSessionControllerRestTransport,
)
from google.cloud.dataproc_v1.services.session_template_controller.transports.grpc import (
    SessionTemplateControllerGrpcTransport,
)
from google.cloud.dataproc_v1.services.session_template_controller.transports.rest_base import (
    _BaseSessionTemplateControllerRestTransport,
)

from emulator.wire.dataproc_calls import METHODS
from emulator.wire.rpc import derive
from tests.emulator.data_kit import PROJECT, DataCloud
from tests.emulator.kcc_logs import FOLDER, Exchange, exchanges

REGION = "us-central1"
CLUSTERS = f"/v1/{PROJECT}/regions/{REGION}/clusters"


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def create(cloud: DataCloud, name: str = "ann-spark", **body: Any) -> dict[str, Any]:
    """The operation of a new cluster that runs."""
    operation: dict[str, Any] = cloud.call("POST", CLUSTERS, {"clusterName": name, **body})
    cloud.wait(90)
    return operation


def names(cloud: DataCloud, **query: str) -> list[str]:
    return [each["clusterName"] for each in cloud.call("GET", CLUSTERS, **query).get("clusters", [])]


def test_routes_paths_and_answers_are_those_of_the_client():
    clusters = derive(ClusterControllerGrpcTransport, _BaseClusterControllerRestTransport)
    templates = derive(SessionTemplateControllerGrpcTransport, _BaseSessionTemplateControllerRestTransport)
    sessions = derive(SessionControllerGrpcTransport, _BaseSessionControllerRestTransport)
    jobs = derive(JobControllerGrpcTransport, _BaseJobControllerRestTransport)
    derived = clusters | jobs | templates | sessions
    assert {name: derived[name].bindings[0] for name in METHODS} == {
        name: each.binding for name, each in METHODS.items()
    }
    assert {derived[name].path for name in METHODS} == {f"/{each.service}/{name}" for name, each in METHODS.items()}
    answers = {name: derived[name].response_type.__name__ for name in METHODS if name != "DeleteOperation"}
    assert answers == {name: METHODS[name].answer for name in answers}
    fields = {name: _camel_fields(derived[name].request_type) for name in METHODS if "Operation" not in name}
    for name, known in fields.items():
        assert set(METHODS[name].query) - {"gracefulTerminationTimeout"} <= known, name  # gcloud has it, the client not


def _camel_fields(message: Any) -> set[str]:
    return {field.json_name for field in message.pb().DESCRIPTOR.fields}


# --- as recorded

MINE = {"warnings"}  # three sentences on firewalls, buckets and images that a create is answered with
CHOSEN = {"clusterUuid", "name", "stateStartTime"}


def same(real: Any, ours: Any, path: str = "") -> None:
    """Every field of the recording is in ours with its value, except what is chosen by the service and the Hadoop properties."""
    if isinstance(real, dict):
        missing = set(real) - MINE - set(ours)
        assert not missing, f"{path}: {missing}"
        assert set(ours) <= set(real), f"{path}: {set(ours) - set(real)} is not in the recording"
        for key in set(real) - MINE - CHOSEN - {"properties", "configBucket", "tempBucket", "zoneUri"}:
            same(real[key], ours[key], f"{path}.{key}")
    elif isinstance(real, list):
        assert len(real) == len(ours), path
        for number, pair in enumerate(zip(real, ours, strict=True)):
            same(*pair, f"{path}[{number}]")
    elif "${" not in str(real) and not re.search(r"/zones/|rc01$", str(real)):
        assert real == ours, path


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded answers (../shared/golden) are not here")
def test_a_life_is_as_recorded(cloud: DataCloud):
    account = {"accountId": "dataproc-abc123"}
    cloud.call("POST", f"/v1/{PROJECT}/serviceAccounts", account)
    recorded = exchanges("mockdataproc-cluster-crud.log", uniqueId="abc123")
    served = [each for each in recorded if each.host == "dataproc.googleapis.com" and each.verb != "PATCH"]
    made, created, got, _, again, listed, deleting, deleted = served
    assert "PATCH" in {each.verb for each in recorded}  # not served here; what is read after it, differs by its label

    def asked(each: Exchange, operation: str = "") -> Any:
        path = each.path if not operation else f"/v1/{operation}"
        return cloud.call(each.verb, path, each.body, expect=each.status, **each.query)

    operation = asked(made)
    same(made.answer, operation)
    cloud.wait(90)
    same(created.answer, asked(created, operation["name"]))
    same(got.answer, asked(got))
    assert again.path == got.path
    (ours,) = asked(listed)["clusters"]
    assert ours == asked(got)
    operation = asked(deleting)
    same(deleting.answer, operation)
    cloud.wait(60)
    same(deleted.answer, asked(deleted, operation["name"]))


# --- the rules


def test_states_and_operations_over_time(cloud: DataCloud):
    operation = cloud.call("POST", CLUSTERS, {"clusterName": "ann-spark"})
    path = f"{CLUSTERS}/ann-spark"
    assert cloud.call("GET", path)["status"]["state"] == "CREATING"
    refusal = cloud.refused("DELETE", path, status=400)
    pending = "Cannot delete cluster 'ann-spark' while it has other pending {} operations."
    assert (refusal["status"], refusal["message"]) == ("FAILED_PRECONDITION", pending.format("create"))
    cloud.wait(89)
    running_ = cloud.call("GET", f"/v1/{operation['name']}")
    assert "done" not in running_
    assert running_["metadata"]["status"]["state"] == "RUNNING"
    cloud.wait(1)
    assert cloud.call("GET", path)["status"]["state"] == "RUNNING"
    cloud.call("DELETE", path)
    assert cloud.call("GET", path)["status"]["state"] == "DELETING"
    assert cloud.refused("DELETE", path, status=400)["message"] == pending.format("delete")
    cloud.wait(60)
    assert cloud.refused("GET", path, status=404)["message"] == f"Not found: Cluster {path[4:]}"
    cloud.refused("DELETE", path, status=404)
    create(cloud)


def test_lists_are_filtered_and_paged(cloud: DataCloud):
    create(cloud, "ann-spark", labels={"user": "ann", "env": "prod"})
    create(cloud, "ann-spark-2", labels={"user": "ann"})
    cloud.call("POST", CLUSTERS, {"clusterName": "ben-spark", "labels": {"user": "ben"}})
    cloud.call("DELETE", f"{CLUSTERS}/ann-spark-2")
    assert names(cloud) == ["ann-spark", "ann-spark-2", "ben-spark"]
    assert names(cloud, filter="labels.user = ann") == ["ann-spark", "ann-spark-2"]
    assert names(cloud, filter="status.state = ACTIVE AND labels.user=ann") == ["ann-spark"]
    assert names(cloud, filter="status.state = INACTIVE") == ["ann-spark-2"]
    assert names(cloud, filter="status.state = CREATING") == ["ben-spark"]
    assert names(cloud, filter="status.state = ACTIVE labels.user=ann") == ["ann-spark"]
    assert names(cloud, filter="clusterName = *") == ["ann-spark", "ann-spark-2", "ben-spark"]
    assert names(cloud, filter='labels.env = * AND clusterName = "ann-spark"') == ["ann-spark"]
    first = cloud.call("GET", CLUSTERS, pageSize="2")
    rest = names(cloud, pageSize="2", pageToken=first["nextPageToken"])
    assert [each["clusterName"] for each in first["clusters"]] + rest == ["ann-spark", "ann-spark-2", "ben-spark"]
    for wrong in (
        "user=ann",
        "labels.user",
        "labels.=ann",
        "labels.user=ann OR labels.user=ben",
        'labels.user="ann"labels.env=prod',
    ):
        cloud.refused("GET", CLUSTERS, status=400, filter=wrong)
    assert cloud.call("GET", f"/v1/{PROJECT}/regions/europe-west1/clusters") == {}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"clusterName": "Ann"},
        {"clusterName": "a" * 52},
        {"clusterName": "ann-spark", "labels": {"User": "ann"}},
        {"clusterName": "ann-spark", "labels": {f"k{number}": "v" for number in range(33)}},
        {"clusterName": "ann-spark", "projectId": "other"},
        {"clusterName": "ann-spark", "config": {"optioimage-versionnalComponents": ["JUPYTER"]}},
        {"clusterName": "ann-spark", "config": {"masterConfig": {"numInstances": "many"}}},
    ],
)
def test_a_wrong_cluster_is_refused(cloud: DataCloud, body: dict[str, Any]):
    assert cloud.refused("POST", CLUSTERS, body, status=400)["status"] == "INVALID_ARGUMENT"
    assert names(cloud) == []


def test_a_request_that_comes_again_and_places_that_are_not_there(cloud: DataCloud):
    first = cloud.call("POST", CLUSTERS, {"clusterName": "ann-spark"}, requestId="r-1")
    assert cloud.call("POST", CLUSTERS, {"clusterName": "ann-spark"}, requestId="r-1")["name"] == first["name"]
    cloud.refused("POST", CLUSTERS, {"clusterName": "ben-spark"}, status=400, requestId="x" * 41)
    cloud.refused("GET", f"/v1/{PROJECT}/regions/moon/clusters", status=400)
    cloud.refused("GET", f"/v1/projects/other/regions/{REGION}/clusters", status=403)
    cloud.refused("GET", f"/v1/{PROJECT}/regions/{REGION}/operations/none", status=404)
    cloud.refused("GET", f"{CLUSTERS}/ann-spark", status=400, view="FULL")
    cloud.wait(90)
    cloud.refused("DELETE", f"{CLUSTERS}/ann-spark", status=404, clusterUuid="another")


def test_scripted_ends_and_refusals(cloud: DataCloud):
    told = {"code": "RESOURCE_EXHAUSTED", "message": "Insufficient 'CPUS' quota."}
    cloud.fault(call="dataproc.CreateCluster", resource="*/clusters/ann-spark", operation_error=told)
    operation = create(cloud)
    assert cloud.call("GET", f"/v1/{operation['name']}")["error"] == {"code": 8, "message": told["message"]}
    status = cloud.call("GET", f"{CLUSTERS}/ann-spark")["status"]
    assert (status["state"], status["detail"]) == ("ERROR", told["message"])
    cloud.fault(call="dataproc.DeleteCluster", operation_error={"code": "INTERNAL"})
    cloud.call("DELETE", f"{CLUSTERS}/ann-spark")
    cloud.wait(60)
    assert names(cloud) == ["ann-spark"]
    cloud.fault(call="dataproc.ListClusters", error={"code": "PERMISSION_DENIED"})
    cloud.refused("GET", CLUSTERS, status=403)
    cloud.call("DELETE", f"{CLUSTERS}/ann-spark")
    cloud.wait(60)
    assert names(cloud) == []
    assert cloud.cloud.world.faults.unfired() == []


def test_the_journal_and_the_saved_world(cloud: DataCloud):
    operation = create(cloud)
    cloud.call("GET", f"{CLUSTERS}/ann-spark")
    names(cloud)
    cloud.call("DELETE", f"{CLUSTERS}/ann-spark")
    verbs = ["create", "get", "list", "delete"]
    needed = [f"dataproc.clusters.{verb}" for verb in verbs]
    assert cloud.permissions() == [f"{needed[0]},iam.serviceAccounts.actAs", *needed[1:]]
    rows = cloud.cloud.world.journal.listing(mutating_only=True)
    assert [row["resource"] for row in rows] == [f"{CLUSTERS[4:]}/ann-spark"] * 2
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", json.loads(json.dumps(cloud.call("GET", "/_emulator/world"))))
    for each in (cloud, other):
        assert each.call("GET", f"{CLUSTERS}/ann-spark")["status"]["state"] == "DELETING"
        each.wait(60)
        assert names(each) == []
        assert each.call("GET", f"/v1/{operation['name']}")["done"] is True


def test_operations_are_listed_filtered_paged_and_forgotten(cloud: DataCloud):
    path = f"/v1/{PROJECT}/regions/{REGION}/operations"
    first = create(cloud)["name"]
    second = cloud.call("POST", CLUSTERS, {"clusterName": "ben-spark"})["name"]
    third = cloud.call("DELETE", f"{CLUSTERS}/ann-spark")["name"]

    def found(**query: str) -> list[str]:
        return [each["name"] for each in cloud.call("GET", path, **query).get("operations", [])]

    assert found() == sorted([first, second, third])
    assert found(filter="clusterName=ann-spark AND operationType=CREATE") == [first]
    assert found(filter="status.state=DONE") == [first]
    cloud.refused("GET", path, status=400, filter="state=DONE")
    page = cloud.call("GET", path, pageSize="2")
    assert [each["name"] for each in page["operations"]] + found(
        pageSize="2", pageToken=page["nextPageToken"]
    ) == found()
    assert cloud.call("DELETE", f"/v1/{first}") == {}
    cloud.refused("GET", f"/v1/{first}", status=404)
    assert found() == sorted([second, third])
    assert cloud.permissions()[-1] == "dataproc.operations.list"


def test_a_world_saved_before_lifetimes_and_templates_is_still_read(cloud: DataCloud):
    create(cloud, config={"lifecycleConfig": {"idleDeleteTtl": "600s"}})
    saved = json.loads(json.dumps(cloud.call("GET", "/_emulator/world")))
    old = saved["models"]["dataproc"]
    del old["session_templates"], old["clusters"][0]["expires"]
    old["clusters"][0]["body"]["config"]["lifecycleConfig"] = {"autoDeleteTtl": "3600s"}  # as it was kept then
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", saved)
    other.wait(3600 - 90 - 1)
    assert names(other, filter="status.state = RUNNING") == ["ann-spark"]
    other.wait(1)
    assert names(other, filter="status.state = DELETING") == ["ann-spark"]
    assert other.call("GET", f"/v1/{PROJECT}/locations/{REGION}/sessionTemplates") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", 2),
        ('{"cluster_name": "ann"}', 1),
        ('{"operation_state_matcher": "ACTIVE"}', 1),
        ('{"operation_state_matcher": "NON_ACTIVE"}', 1),
        ('{"cluster_name": "ann", "operation_state_matcher": "ACTIVE"}', 0),
    ],
)
def test_operations_are_found_by_the_older_form_of_filter(cloud: DataCloud, text, found):
    create(cloud, "ann")
    cloud.call("POST", CLUSTERS, {"clusterName": "ben"})
    operations = cloud.call("GET", f"/v1/{PROJECT}/regions/{REGION}/operations", filter=text).get("operations", [])
    assert len(operations) == found


@pytest.mark.parametrize("text", ["{", '{"colour": "red"}', '{"cluster_name": 3}'])
def test_a_bad_filter_of_operations_is_refused(cloud: DataCloud, text):
    cloud.refused("GET", f"/v1/{PROJECT}/regions/{REGION}/operations", status=400, filter=text)


def test_secondary_workers_and_warnings_are_shown(cloud: DataCloud):
    operation = cloud.call(
        "POST", CLUSTERS, {"clusterName": "ann", "config": {"secondaryWorkerConfig": {"numInstances": 2}}}
    )
    assert operation["metadata"]["warnings"][0].startswith("No image specified.")
    group = cloud.call("GET", f"{CLUSTERS}/ann")["config"]["secondaryWorkerConfig"]
    assert (group["preemptibility"], group["isPreemptible"], len(group["instanceNames"])) == ("PREEMPTIBLE", True, 2)
    assert group["managedGroupConfig"]["instanceGroupManagerName"].endswith("ann-sw")
    image = {"softwareConfig": {"imageVersion": "2.2-debian12"}}
    assert "warnings" not in cloud.call("POST", CLUSTERS, {"clusterName": "ben", "config": image})["metadata"]
    assert "secondaryWorkerConfig" not in cloud.call("GET", f"{CLUSTERS}/ben")["config"]
