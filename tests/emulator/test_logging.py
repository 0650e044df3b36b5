"""Cloud Logging: what the functions wrote, found by the query language, and the sinks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.data_kit import ID, PROJECT, DataCloud

LIST = "/v2/entries:list"
LINES = [
    (
        "benchkeeper-tick",
        '{"severity": "INFO", "message": "Finished a sweep", "kind": "due", "acted": 3, "users": ["ann", "ben"]}',
    ),
    (
        "benchkeeper-tick",
        '{"severity": "WARNING", "message": "Held back a group change", "logging.googleapis.com/labels": {"component": "tick"}}',
    ),
    ("benchkeeper-hub", '{"severity": "ERROR", "message": "Pass failed unexpectedly", "reason": "AccessDenied"}'),
    ("benchkeeper-hub", "Traceback: nothing structured"),
]


@pytest.fixture
def cloud() -> DataCloud:
    made = DataCloud.build()
    for service, line in LINES:
        made.cloud.log_entries.add(service, line)
        made.wait(60)
    return made


def read(cloud: DataCloud, text: str = "", **more: Any) -> list[int]:
    """The numbers of the lines that the filter finds."""
    body = {"resourceNames": [PROJECT], "filter": text, **more}
    entries = cloud.call("POST", LIST, body).get("entries", [])
    shown = [entry.get("textPayload", entry.get("jsonPayload", {}).get("message")) for entry in entries]
    return [next(n for n, (_, line) in enumerate(LINES) if text in line) for text in shown]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [0, 1, 2, 3]),
        ('jsonPayload.message="Finished a sweep"', [0]),
        ('jsonPayload.message="Finished a sweep" AND jsonPayload.kind="due"', [0]),
        ('jsonPayload.message="Finished a sweep" jsonPayload.kind="idle"', []),
        ('jsonPayload.message=("Finished a sweep" OR "Held back a group change")', [0, 1]),
        ('resource.labels.service_name="benchkeeper-hub" AND severity>=WARNING', [2]),
        ('resource.type="cloud_run_revision" AND severity>=WARNING', [1, 2]),
        ("severity=INFO OR severity=ERROR", [0, 2]),
        ('NOT severity="INFO"', [1, 2, 3]),
        ("-severity=INFO", [1, 2, 3]),
        ('jsonPayload.message!="Finished a sweep"', [1, 2, 3]),
        ('jsonPayload.message:"HELD"', [1]),
        ('jsonPayload.message=~"^Pass failed"', [2]),
        ('jsonPayload.message!~"^Pass"', [0, 1, 3]),
        ("jsonPayload.acted>2", [0]),
        ("jsonPayload.acted=3", [0]),
        ("jsonPayload.acted<3", []),
        ('jsonPayload.users="ben"', [0]),
        ("jsonPayload.reason:*", [2]),
        ('labels.component="tick"', [1]),
        ("Traceback", [3]),
        ('"nothing structured"', [3]),
        ('timestamp>="2026-08-12T17:31:00Z"', [3]),
        ('(severity=ERROR OR severity=WARNING) AND timestamp<"2026-08-12T17:30:30Z"', [1]),
        (f'logName="{PROJECT}/logs/run.googleapis.com%2Fstdout" severity=ERROR', [2]),
        ('protoPayload.serviceName="admin.googleapis.com"', []),
    ],
)
def test_the_filter_finds(cloud: DataCloud, text, found):
    assert read(cloud, text) == found


@pytest.mark.parametrize(
    "text", ["jsonPayload.message=", "(severity=INFO", 'a =~ "("', "timestamp>yesterday", "= 3", 'severity>="LOUD"']
)
def test_a_filter_that_cannot_be_read_is_refused(cloud: DataCloud, text):
    assert (
        "Unparseable filter"
        in cloud.refused("POST", LIST, {"resourceNames": [PROJECT], "filter": text}, status=400)["message"]
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"resourceNames": [PROJECT], "orderBy": "name"},
        {"resourceNames": [PROJECT], "pageSize": -1},
        {"resourceNames": [PROJECT], "colour": "red"},
    ],
)
def test_a_bad_list_is_refused(cloud: DataCloud, body):
    cloud.refused("POST", LIST, body, status=400)


def test_order_pages_and_other_projects(cloud: DataCloud):
    assert read(cloud, orderBy="timestamp desc") == [3, 2, 1, 0]
    body = {"resourceNames": [PROJECT], "pageSize": 3}
    page = cloud.call("POST", LIST, body)
    rest = cloud.call("POST", LIST, {**body, "pageToken": page["nextPageToken"]})
    assert (len(page["entries"]), len(rest["entries"])) == (3, 1)
    assert cloud.call("POST", LIST, {"resourceNames": ["organizations/123"]}) == {}


def test_sinks_are_made_described_listed_and_deleted(cloud: DataCloud):
    parent = "/v2/organizations/123456789012/sinks"
    sink = {
        "name": "people",
        "destination": f"pubsub.googleapis.com/{PROJECT}/topics/people",
        "filter": "severity>=ERROR",
    }
    made = cloud.call("POST", parent, sink)
    assert made["writerIdentity"] == "serviceAccount:service-org-123456789012@gcp-sa-logging.iam.gserviceaccount.com"
    assert cloud.call("GET", f"{parent}/people") == made
    assert [each["name"] for each in cloud.call("GET", parent)["sinks"]] == ["_Required", "_Default", "people"]
    assert cloud.call("GET", f"/v2/projects/{ID}/sinks/_Default")["name"] == "_Default"
    cloud.refused("POST", parent, sink, status=409)
    cloud.refused("POST", parent, {**sink, "name": "no/slash"}, status=400)
    cloud.refused("GET", "/v2/projects/theirs/sinks/people", status=403)
    cloud.cloud.world.load(cloud.cloud.world.save())
    cloud.call("DELETE", f"{parent}/people")
    cloud.refused("GET", f"{parent}/people", status=404)


def test_an_entry_that_is_written_has_the_labels_of_the_request_below_its_own(cloud: DataCloud):
    log = f"{PROJECT}/logs/mine"
    body = {
        "logName": log,
        "resource": {"type": "global"},
        "labels": {"a": "1", "b": "1"},
        "entries": [{"textPayload": "x", "labels": {"b": "2"}}],
    }
    cloud.call("POST", "/v2/entries:write", {**body, "dryRun": True})
    query = {"resourceNames": [PROJECT], "filter": f'logName="{log}"'}
    assert cloud.call("POST", LIST, query) == {}
    cloud.call("POST", "/v2/entries:write", body)
    (entry,) = cloud.call("POST", LIST, query)["entries"]
    assert entry["labels"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize("labels", [["a"], "a", 7])
@pytest.mark.parametrize("place", ["request", "entry"])
def test_labels_that_are_no_object_are_refused(cloud: DataCloud, labels: Any, place: str):
    entry = {"textPayload": "x", "logName": f"{PROJECT}/logs/mine", "resource": {"type": "global"}}
    body = {"entries": [{**entry, "labels": labels}]} if place == "entry" else {"entries": [entry], "labels": labels}
    assert "labels" in cloud.refused("POST", "/v2/entries:write", body, status=400)["message"]
    assert read(cloud, f'logName="{PROJECT}/logs/mine"') == []
