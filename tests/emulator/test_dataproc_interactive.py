"""Serverless interactive sessions: create, find by state and label, terminate, delete, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.emulator.data_kit import PROJECT, DataCloud

PARENT = f"{PROJECT}/locations/europe-west1"
SESSIONS = f"/v1/{PARENT}/sessions"
BODY: dict[str, Any] = {"jupyterSession": {"kernel": "PYTHON"}, "labels": {"team": "a"}, "user": "ana@example.com"}


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def create(cloud: DataCloud, ident: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = cloud.call("POST", SESSIONS, {**BODY, **more}, sessionId=ident)
    return made


def idents(cloud: DataCloud, **query: str) -> list[str]:
    return [each["name"].rpartition("/")[2] for each in cloud.call("GET", SESSIONS, **query).get("sessions", [])]


def test_a_session_becomes_active_and_is_ended(cloud: DataCloud):
    started = create(cloud, "ana-1", creator="mallory@example.com", state="ACTIVE")
    assert started["metadata"]["operationType"] == "CREATE"
    path = f"{SESSIONS}/ana-1"
    made = cloud.call("GET", path)
    assert (made["state"], made["user"], made["creator"]) == ("CREATING", "ana@example.com", "agent@example.com")
    cloud.wait(60)
    assert cloud.call("GET", path)["state"] == "ACTIVE"
    done = cloud.call("GET", f"/v1/{started['name']}")
    assert (done["done"], done["response"]["name"]) == (True, f"{PARENT}/sessions/ana-1")
    ended = cloud.call("POST", f"{path}:terminate", {})
    assert ended["metadata"]["operationType"] == "TERMINATE"
    assert cloud.call("GET", path)["state"] == "TERMINATING"
    assert cloud.refused("POST", f"{path}:terminate", {}, status=400)["status"] == "FAILED_PRECONDITION"
    cloud.wait(30)
    seen = cloud.call("GET", path)
    assert [row["state"] for row in seen["stateHistory"]] == ["CREATING", "ACTIVE", "TERMINATING"]
    assert seen["state"] == "TERMINATED"
    cloud.call("DELETE", path)
    assert cloud.refused("GET", path, status=404)["status"] == "NOT_FOUND"


def test_one_that_is_deleted_while_it_runs_ends_first(cloud: DataCloud):
    create(cloud, "ana-1")
    cloud.call("DELETE", f"{SESSIONS}/ana-1")
    assert cloud.call("GET", f"{SESSIONS}/ana-1")["state"] == "TERMINATING"
    cloud.wait(30)
    assert idents(cloud) == []


def test_sessions_are_found_by_state_and_label_with_and_and_or(cloud: DataCloud):
    create(cloud, "ana-1")
    cloud.wait(60)
    create(cloud, "ben-2", labels={"team": "b"})
    create(cloud, "chi-3")
    cloud.call("POST", f"{SESSIONS}/chi-3:terminate", {})
    assert idents(cloud) == ["ana-1", "ben-2", "chi-3"]
    assert idents(cloud, filter="state = ACTIVE OR state = CREATING") == ["ana-1", "ben-2"]
    assert idents(cloud, filter="state=ACTIVE AND labels.team = b OR session_id = chi-3") == ["chi-3"]
    page = cloud.call("GET", SESSIONS, pageSize="2")
    assert [len(page["sessions"]), len(idents(cloud, pageSize="2", pageToken=page["nextPageToken"]))] == [2, 1]
    for wrong in ("creator = ana@example.com", "create_time < 2026", "(state = ACTIVE)", "state = ACTIVE OR"):
        assert cloud.refused("GET", SESSIONS, filter=wrong, status=400)["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("ident", ["abc", "Ana-1", "x" * 64, ""])
def test_wrong_ids_are_refused(cloud: DataCloud, ident: str):
    assert cloud.refused("POST", SESSIONS, BODY, sessionId=ident, status=400)["status"] == "INVALID_ARGUMENT"


def test_what_google_refuses_is_refused(cloud: DataCloud):
    create(cloud, "ana-1")
    assert cloud.refused("POST", SESSIONS, BODY, sessionId="ana-1", status=409)["status"] == "ALREADY_EXISTS"
    cloud.refused("POST", SESSIONS, {"labels": {}}, sessionId="ana-2", status=400)  # of no kind
    cloud.refused("POST", SESSIONS, {**BODY, "colour": "red"}, sessionId="ana-2", status=400)
    cloud.refused("POST", f"{SESSIONS}/nobody:terminate", {}, status=404)
    cloud.refused("GET", f"/v1/{PROJECT}/locations/nowhere/sessions", status=403)


def test_sessions_survive_a_save(cloud: DataCloud):
    operation = create(cloud, "ana-1")
    saved = json.loads(json.dumps(cloud.cloud.dataproc.dump()))
    cloud.cloud.dataproc.load({**saved, "interactive_sessions": {}})
    assert idents(cloud) == []
    cloud.cloud.dataproc.load(saved)
    cloud.wait(60)
    assert cloud.call("GET", f"{SESSIONS}/ana-1")["state"] == "ACTIVE"
    assert cloud.call("GET", f"/v1/{operation['name']}")["done"]


@pytest.mark.parametrize("address", ["ana@example.com", "ana.silva@example.com", "a.b.c@sub.example.co"])
def test_the_creator_is_whose_token_it_is_however_many_dots_the_address_has(cloud: DataCloud, address: str):
    headers = {"Authorization": f"Bearer {address}"}
    answer = cloud.http.post(SESSIONS, json=BODY, query_string={"sessionId": "ana-1"}, headers=headers)
    assert answer.status_code == 200
    assert cloud.call("GET", f"{SESSIONS}/ana-1")["creator"] == address
