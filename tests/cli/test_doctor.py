"""`benchkeeper doctor`: each part with its state, and a remedy for each fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from emulator.faults import Fault
from tests.cli.test_commands import ready


def deployed(terminal):
    """All topics of a deployment, each with a subscription."""
    project = f"{terminal.cloud.url}/v1/projects/benchkeeper-local"
    for topic in ("tick", "wake", "lifecycle", "directory", "operator", "dead-letter"):
        requests.put(f"{project}/topics/workbench-{topic}", json={}, timeout=10)
        body = {"topic": f"projects/benchkeeper-local/topics/workbench-{topic}"}
        requests.put(f"{project}/subscriptions/read-{topic}", json=body, timeout=10).raise_for_status()


def findings(terminal, code=0):
    found = json.loads(terminal.run("doctor", "-o", "json", code=code).stdout)
    return {each["part"]: each for each in found}


def test_a_system_that_works_has_failed_in_nothing(terminal):
    ready(terminal)
    deployed(terminal)
    terminal.run("sweep", "idle")
    found = findings(terminal)
    assert {each["state"] for each in found.values()} <= {"ok", "warning", "unknown"}
    for part in ("configuration", "login", "records", "Notebooks API", "Compute API", "topics", "sweeps", "policy"):
        assert found[part]["state"] == "ok", found[part]
    assert found["sinks"]["state"] == found["quota"]["state"] == "unknown"
    text = terminal.run("doctor").stdout
    assert "Nothing has failed." in text
    assert all(part in text for part in found)


def test_a_fault_is_named_with_its_remedy_and_the_others_are_looked_at(terminal):
    ready(terminal)
    fault = Fault(call="notebooks.ListInstances", error={"code": "PERMISSION_DENIED"}, times=0)
    terminal.cloud.world.faults.add(fault)
    found = findings(terminal, code=1)
    assert found["Notebooks API"]["state"] == "failed"
    assert "says which role" in found["Notebooks API"]["remedy"]
    assert found["policy"]["state"] == "ok"


def test_a_topic_that_is_not_there_or_that_nobody_reads_is_named(terminal):
    ready(terminal)
    assert "workbench-wake" in findings(terminal, code=1)["topics"]["says"]
    deployed(terminal)
    project = f"{terminal.cloud.url}/v1/projects/benchkeeper-local"
    requests.delete(f"{project}/subscriptions/read-tick", timeout=10).raise_for_status()
    assert findings(terminal, code=1)["topics"]["says"] == "Topics without a subscription: workbench-tick."


def test_what_cannot_be_read_is_unknown_and_no_fault(terminal):
    ready(terminal)
    deployed(terminal)
    terminal.run("sweep", "idle")
    terminal.cloud.world.faults.add(Fault(call="compute.snapshots.list", error={"code": "UNAVAILABLE"}, times=0))
    assert findings(terminal)["Compute API"]["state"] == "unknown"


def test_without_a_cloud_it_ends_with_the_login(terminal):
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:9"
    found = findings(terminal, code=1)
    assert list(found) == ["version", "configuration", "login"]
    assert "Start the embedded cloud with ./deploy.sh local" in found["login"]["says"]


@pytest.mark.parametrize("name", ["prod", "nope"])
def test_a_broken_configuration_is_the_first_fault(terminal, name):
    found = json.loads(terminal.run("--env", name, "doctor", "-o", "json", code=1).stdout)
    assert [each["state"] for each in found] == ["ok", "failed"]
    assert found[1]["remedy"] == "benchkeeper validate-config"


def test_jobs_elsewhere_that_cannot_be_listed_are_named_with_what_that_means(terminal):
    ready(terminal)
    deployed(terminal)
    terminal.run("sweep", "idle")
    assert (
        "idle.bigquery_projects is empty"
        in findings(
            terminal,
        )["jobs elsewhere"]["says"]
    )
    settings = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "settings.local.yaml"
    settings.write_text(settings.read_text() + "\nidle: {bigquery_projects: [acme-sandbox]}\n")
    found = findings(
        terminal,
    )["jobs elsewhere"]
    assert found["state"] == "warning"
    assert found["says"].startswith("It is not known whose queries are running. acme-sandbox: ")
    assert "Jobs elsewhere" in found["remedy"]
    job = {"project": "acme-sandbox", "user": "ana@example.com"}
    requests.post(f"{terminal.cloud.url}/_emulator/jobs", json=job, timeout=10).raise_for_status()
    found = findings(
        terminal,
    )["jobs elsewhere"]
    assert (found["state"], found["says"]) == ("ok", "Running queries of acme-sandbox can be listed.")
    terminal.cloud.world.faults.add(Fault(call="bigquery.jobs.list", error={"code": "UNAVAILABLE"}, times=0))
    assert (
        findings(
            terminal,
        )["jobs elsewhere"]["state"]
        == "unknown"
    )


def test_sweeps_that_stand_still_are_a_fault(terminal):
    ready(terminal)
    terminal.run("sweep", "idle")
    terminal.advance(hours=3)
    assert findings(terminal, code=1)["sweeps"]["remedy"].startswith("docs/operations.md")
