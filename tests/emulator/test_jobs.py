"""Running jobs outside the instances: BigQuery's `jobs.list`, jobs of Dataproc clusters, and the control API that plants them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from emulator.clock import rfc3339
from tests.emulator.data_kit import ID, PROJECT, DataCloud
from tests.emulator.notebooks_cloud import START

PLANT = "/_emulator/jobs"
QUERIES = f"/bigquery/v2/projects/{ID}/jobs"
REGION = f"/v1/{PROJECT}/regions/europe-west1"
JOB = {"placement": {"clusterName": "ann-spark"}, "pysparkJob": {"mainPythonFileUri": "gs://b/main.py"}}


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def after(**by: float) -> str:
    return rfc3339(START + timedelta(**by))


def query(cloud: DataCloud, user: str = "ana@example.com", **more: Any) -> None:
    cloud.call("POST", PLANT, {"project": ID, "user": user, **more})


def ids(cloud: DataCloud, **asked: str) -> list[str]:
    found = cloud.call("GET", QUERIES, **{"allUsers": "true", **asked})
    return [each["jobReference"]["jobId"] for each in found.get("jobs", [])]


# --- BigQuery


def test_a_job_waits_runs_and_is_done_and_the_filter_takes_several_states(cloud: DataCloud):
    query(cloud, job_id="a", pending_seconds=60, until=after(minutes=10))
    cloud.wait(1)
    query(cloud, job_id="b")
    assert ids(cloud) == ["b", "a"]
    assert ids(cloud, stateFilter="pending") == ["a"]
    cloud.wait(60)
    assert ids(cloud, stateFilter="running") == ["b", "a"]
    cloud.wait(600)
    assert (ids(cloud, stateFilter="running"), ids(cloud, stateFilter="done")) == (["b"], ["a"])
    found = cloud.http.get(f"{QUERIES}?allUsers=true&stateFilter=running&stateFilter=done").json["jobs"]
    assert len(found) == 2


def test_who_runs_it_and_its_labels_are_in_the_full_projection_only(cloud: DataCloud):
    query(cloud, job_id="a", labels={"data_source_id": "scheduled_query"}, location="US")
    (minimal,) = cloud.call("GET", QUERIES, allUsers="true")["jobs"]
    assert set(minimal) == {"kind", "id", "jobReference", "state", "statistics"}
    assert minimal["id"] == f"{ID}:US.a"
    assert minimal["statistics"]["creationTime"] == str(round(START.timestamp() * 1000))
    (full,) = cloud.call("GET", QUERIES, allUsers="true", projection="full")["jobs"]
    assert (full["user_email"], full["status"]) == ("ana@example.com", {"state": "RUNNING"})
    assert full["configuration"]["labels"] == {"data_source_id": "scheduled_query"}


def test_without_all_users_only_the_callers_jobs_are_listed(cloud: DataCloud):
    query(cloud, job_id="a")
    query(cloud, "agent@example.com", job_id="mine")
    assert ids(cloud, allUsers="false") == ["mine"]


def test_pages_go_on_after_the_last_job(cloud: DataCloud):
    for number in range(3):
        query(cloud, job_id=f"j{number}", **{"from": after(seconds=number)})
    cloud.wait(5)
    first = cloud.call("GET", QUERIES, allUsers="true", maxResults="2")
    second = cloud.call("GET", QUERIES, allUsers="true", maxResults="2", pageToken=first["nextPageToken"])
    assert [each["jobReference"]["jobId"] for each in (*first["jobs"], *second["jobs"])] == ["j2", "j1", "j0"]
    assert "nextPageToken" not in second


def test_fields_choose_a_part_of_the_answer(cloud: DataCloud):
    query(cloud, job_id="a", labels={"team": "x"})
    chosen = "nextPageToken,jobs(state,configuration/labels,jobReference(jobId))"
    found = cloud.call("GET", QUERIES, allUsers="true", projection="full", fields=chosen)
    job = {"state": "RUNNING", "configuration": {"labels": {"team": "x"}}, "jobReference": {"jobId": "a"}}
    assert found == {"jobs": [job]}
    for wrong in ("jobs(", "jobs(state", "jobs)", "jobs,", "jobs//state", "jobs state", "jobs/"):
        cloud.refused("GET", QUERIES, status=400, fields=wrong)


def test_what_is_planted_is_in_a_saved_world(cloud: DataCloud):
    cloud.call("POST", PLANT, {"projects": ["acme-sandbox"]})
    query(cloud, job_id="a", until=after(days=1))
    saved = cloud.call("GET", "/_emulator/world")
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", saved)
    assert ids(other) == ["a"]
    assert other.call("GET", "/bigquery/v2/projects/acme-sandbox/jobs")["kind"] == "bigquery#jobList"


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/bigquery/v2/projects/not-known/jobs", {}, 403),
        (QUERIES, {"stateFilter": "RUNNING"}, 400),
        (QUERIES, {"projection": "all"}, 400),
        (QUERIES, {"maxResults": "many"}, 400),
        (QUERIES, {"minCreationTime": "0"}, 400),
        (QUERIES, {"pageToken": "x"}, 400),
        (QUERIES, {"colour": "red"}, 400),
    ],
)
def test_a_bad_listing_is_refused(cloud: DataCloud, path, asked, status):
    cloud.refused("GET", path, status=status, **asked)


@pytest.mark.parametrize(
    "body",
    [
        {"project": ID},
        {"user": "ana@example.com"},
        {"project": "X", "user": "a"},
        {"project": ID, "user": "a", "colour": "red"},
        {"project": ID, "user": "a", "job_id": "a b"},
        {"project": ID, "user": "a", "from": "now"},
        {"project": ID, "user": "a", "until": "2020-01-01T00:00:00Z"},
        {"projects": "acme-sandbox"},
        {"cluster": "ann-spark", "user": "a"},
    ],
)
def test_what_cannot_be_planted_is_refused(cloud: DataCloud, body):
    cloud.refused("POST", PLANT, body, status=400)


# --- jobs of clusters


def with_cluster(cloud: DataCloud, **config: Any) -> DataCloud:
    cloud.call("POST", f"{REGION}/clusters", {"clusterName": "ann-spark", "config": config})
    cloud.wait(90)
    return cloud


def jobs(cloud: DataCloud, **asked: str) -> list[str]:
    return [each["reference"]["jobId"] for each in cloud.call("GET", f"{REGION}/jobs", **asked).get("jobs", [])]


def test_a_submitted_job_runs_for_five_minutes_and_is_found_by_state_and_cluster(cloud: DataCloud):
    with_cluster(cloud)
    made = cloud.call("POST", f"{REGION}/jobs:submit", {"job": {**JOB, "labels": {"team": "a"}}, "requestId": "r1"})
    again = cloud.call("POST", f"{REGION}/jobs:submit", {"job": JOB, "requestId": "r1"})
    assert (made["status"]["state"], again["jobUuid"]) == ("PENDING", made["jobUuid"])
    job_id = made["reference"]["jobId"]
    cloud.wait(10)
    seen = cloud.call("GET", f"{REGION}/jobs/{job_id}")
    assert [row["state"] for row in (*seen["statusHistory"], seen["status"])] == ["PENDING", "RUNNING"]
    for asked in (
        {"filter": "status.state = ACTIVE"},
        {"filter": "status.state = ACTIVE AND labels.team = a"},
        {"jobStateMatcher": "ACTIVE", "clusterName": "ann-spark"},
        {"filter": "status.state = RUNNING", "jobStateMatcher": "NON_ACTIVE"},
    ):
        assert jobs(cloud, **asked) == [job_id], asked
    assert jobs(cloud, clusterName="other") == jobs(cloud, jobStateMatcher="NON_ACTIVE") == []
    cloud.wait(300)
    done = cloud.call("GET", f"{REGION}/jobs/{job_id}")
    assert (done["done"], done["status"]["state"]) == (True, "DONE")
    assert (jobs(cloud, filter="status.state = ACTIVE"), jobs(cloud, jobStateMatcher="NON_ACTIVE")) == ([], [job_id])


def test_a_planted_job_keeps_its_cluster_and_is_lost_with_it(cloud: DataCloud):
    with_cluster(cloud, lifecycleConfig={"idleDeleteTtl": "600s"})
    cloud.call("POST", PLANT, {"cluster": "ann-spark", "job_id": "short", "until": after(hours=1)})
    cloud.wait(3000)
    assert jobs(cloud, filter="status.state = ACTIVE") == ["short"]
    assert "idleStartTime" not in cloud.call("GET", f"{REGION}/clusters/ann-spark")["config"]["lifecycleConfig"]
    cloud.wait(600 + 300)
    assert cloud.call("GET", f"{REGION}/clusters/ann-spark")["config"]["lifecycleConfig"]["idleStartTime"] == after(
        hours=1
    )
    cloud.call("POST", PLANT, {"cluster": "ann-spark", "job_id": "open"})
    saved = cloud.call("GET", "/_emulator/world")
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", saved)
    other.wait(7 * 86_400)
    assert jobs(other, filter="status.state = ACTIVE") == ["open"]
    other.call("DELETE", f"{REGION}/clusters/ann-spark")
    assert other.call("GET", f"{REGION}/jobs/open")["status"]["state"] == "ERROR"
    other.wait(60)
    assert jobs(other, filter="status.state = ACTIVE") == []


def test_jobs_that_cannot_be_are_refused(cloud: DataCloud):
    submit = f"{REGION}/jobs:submit"
    cloud.refused("POST", submit, {"job": JOB}, status=404)
    cloud.call("POST", f"{REGION}/clusters", {"clusterName": "ann-spark"})
    cloud.refused("POST", submit, {"job": JOB}, status=400)
    cloud.wait(90)
    for wrong in (
        {"placement": {}},
        {"placement": JOB["placement"]},
        {**JOB, "reference": {"jobId": "a b"}},
        {**JOB, "colour": "red"},
    ):
        cloud.refused("POST", submit, {"job": wrong}, status=400)
    named = {**JOB, "reference": {"jobId": "one"}}
    cloud.call("POST", submit, {"job": named})
    cloud.refused("POST", submit, {"job": named}, status=409)
    cloud.refused("GET", f"{REGION}/jobs/other", status=404)
    cloud.refused("GET", f"{REGION}/jobs", status=400, jobStateMatcher="BUSY")
    cloud.refused("GET", f"{REGION}/jobs", status=400, filter="placement.clusterName = a")
