"""Dataproc's session templates: create, get, list by label, replace, delete, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from emulator.clock import rfc3339
from tests.emulator.data_kit import PROJECT, DataCloud
from tests.emulator.notebooks_cloud import START

PARENT = f"{PROJECT}/locations/europe-west1"
TEMPLATES = f"/v1/{PARENT}/sessionTemplates"
BODY: dict[str, Any] = {
    "description": "PySpark, as oneself",
    "labels": {"benchkeeper-profile": "analyst"},
    "jupyterSession": {"kernel": "PYTHON", "displayName": "PySpark"},
    "runtimeConfig": {"version": "2.3", "properties": {"spark.executor.instances": "2"}},
    "environmentConfig": {
        "executionConfig": {
            "subnetworkUri": "projects/p/regions/europe-west1/subnetworks/spark",
            "idleTtl": "3600s",
            "ttl": "86400s",
            "authenticationConfig": {"userWorkloadAuthenticationType": "END_USER_CREDENTIALS"},
        }
    },
}


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def create(cloud: DataCloud, ident: str = "pyspark", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = cloud.call("POST", TEMPLATES, BODY | {"name": f"{PARENT}/sessionTemplates/{ident}"} | more)
    return made


def idents(cloud: DataCloud, **query: str) -> list[str]:
    found = cloud.call("GET", TEMPLATES, **query).get("sessionTemplates", [])
    return [each["name"].rpartition("/")[2] for each in found]


def test_a_template_is_kept_as_given_with_what_the_service_sets(cloud: DataCloud):
    made = create(cloud, uuid="mine", creator="mallory@example.com", createTime="2001-01-01T00:00:00Z")
    now = rfc3339(START)
    own = {"creator": "agent@example.com", "createTime": now, "updateTime": now, "uuid": made["uuid"]}
    assert made == BODY | own | {"name": f"{PARENT}/sessionTemplates/pyspark"}
    assert len(made["uuid"]) == 36
    assert cloud.call("GET", f"{TEMPLATES}/pyspark") == made
    told = cloud.refused("POST", TEMPLATES, BODY | {"name": made["name"]}, status=409)
    assert (told["status"], made["name"] in told["message"]) == ("ALREADY_EXISTS", True)


def test_a_change_replaces_all_but_what_the_service_sets(cloud: DataCloud):
    made = create(cloud)
    cloud.wait(60)
    changed = cloud.call("PATCH", f"{TEMPLATES}/pyspark", {"description": "new", "uuid": "mine"})
    kept = {key: made[key] for key in ("name", "uuid", "creator", "createTime")}
    assert changed == kept | {"description": "new", "updateTime": rfc3339(START + timedelta(seconds=60))}
    assert cloud.call("GET", f"{TEMPLATES}/pyspark") == changed
    cloud.refused("PATCH", f"{TEMPLATES}/pyspark", {}, status=400, updateMask="labels")  # the request has no mask
    cloud.refused("PATCH", f"{TEMPLATES}/other", {}, status=404)


def test_deleted_is_gone_and_its_name_is_free_for_another(cloud: DataCloud):
    first = create(cloud)
    assert cloud.call("DELETE", f"{TEMPLATES}/pyspark") == {}
    for verb in ("GET", "DELETE"):
        assert first["name"] in cloud.refused(verb, f"{TEMPLATES}/pyspark", status=404)["message"]
    assert create(cloud)["uuid"] != first["uuid"]


def test_lists_are_by_label_and_paged(cloud: DataCloud):
    for ident, labels in (("one-a", {"team": "x"}), ("two-b", {"team": "y"}), ("three", {})):
        create(cloud, ident, labels=labels)
    assert idents(cloud) == ["one-a", "three", "two-b"]
    assert idents(cloud, filter="labels.team = x") == ["one-a"]
    assert idents(cloud, filter="labels.team") == ["one-a", "two-b"]
    assert idents(cloud, filter="labels.team AND labels.team = y") == ["two-b"]
    for wrong in ("team = x", "labels.team =", "labels.team = x OR labels.team = y"):
        cloud.refused("GET", TEMPLATES, status=400, filter=wrong)
    page = cloud.call("GET", TEMPLATES, pageSize="2")
    assert [each["name"].rpartition("/")[2] for each in page["sessionTemplates"]] == ["one-a", "three"]
    assert idents(cloud, pageSize="2", pageToken=page["nextPageToken"]) == ["two-b"]
    assert cloud.call("GET", f"/v1/{PROJECT}/locations/us-central1/sessionTemplates") == {}


def execution(**fields: Any) -> dict[str, Any]:
    return {"environmentConfig": {"executionConfig": fields}}


@pytest.mark.parametrize(
    "more",
    [
        {"name": ""},
        {"name": f"{PARENT}/sessionTemplates/abc"},
        {"name": f"{PARENT}/sessionTemplates/{'a' * 64}"},
        {"name": f"{PARENT}/sessionTemplates/PySpark"},
        {"name": f"{PARENT}/sessionTemplates/pyspark/more"},
        {"name": f"{PROJECT}/locations/us-central1/sessionTemplates/pyspark"},
        {"labels": {"Team": "x"}},
        {"kernel": "PYTHON"},
        {"jupyterSession": {"kernel": "RUST"}},
        {"sparkConnectSession": {}},
        execution(idleTtl="599s"),
        execution(ttl="1209601s"),
        execution(ttl="a day"),
        execution(networkUri="default", subnetworkUri="spark"),
        execution(authenticationConfig={"userWorkloadAuthenticationType": "ANYBODY"}),
    ],
)
def test_a_wrong_template_is_refused(cloud: DataCloud, more: dict[str, Any]):
    body = BODY | {"name": f"{PARENT}/sessionTemplates/pyspark"} | more
    assert cloud.refused("POST", TEMPLATES, body, status=400)["status"] == "INVALID_ARGUMENT"
    assert idents(cloud) == []
    create(cloud)
    if "name" not in more:
        cloud.refused("PATCH", f"{TEMPLATES}/pyspark", body, status=400)


def test_places_that_are_not_there(cloud: DataCloud):
    cloud.refused("GET", f"/v1/{PROJECT}/locations/moon/sessionTemplates", status=403)
    cloud.refused("GET", "/v1/projects/other/locations/europe-west1/sessionTemplates", status=403)
    cloud.refused("GET", "/v1/projects/other/locations/europe-west1/sessionTemplates/pyspark", status=403)


def test_permissions_faults_and_the_saved_world(cloud: DataCloud):
    name = f"{PARENT}/sessionTemplates/pyspark"
    cloud.fault(call="dataproc.CreateSessionTemplate", resource=name, error={"code": "UNAVAILABLE"})
    cloud.refused("POST", TEMPLATES, BODY | {"name": name}, status=503)
    create(cloud)
    cloud.call("GET", f"{TEMPLATES}/pyspark")
    idents(cloud)
    cloud.call("PATCH", f"{TEMPLATES}/pyspark", BODY)
    saved = json.loads(json.dumps(cloud.call("GET", "/_emulator/world")))
    cloud.call("DELETE", f"{TEMPLATES}/pyspark")
    verbs = ["create", "create", "get", "list", "update", "delete"]
    assert cloud.permissions() == [f"dataproc.sessionTemplates.{verb}" for verb in verbs]
    rows = cloud.cloud.world.journal.listing(mutating_only=True)
    assert [row["resource"] for row in rows] == [name] * 4
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", saved)
    assert (
        other.call("GET", f"{TEMPLATES}/pyspark")["uuid"]
        == saved["models"]["dataproc"]["session_templates"]["templates"][0]["uuid"]
    )
