"""Every command as a person types it, and as a script reads it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import requests

from emulator.faults import Fault


def ready(terminal, user="ana.silva@example.com", *options):
    """Announce somebody and let their notebook come to be."""
    terminal.run("publish", "joiner", user, *options)
    assert terminal.deliver() == 1
    for _ in range(6):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


def shown(terminal, user="ana.silva@example.com"):
    return json.loads(terminal.run("show", user, "-o", "json").stdout)


def test_a_joiner_by_hand_gets_a_notebook_and_show_says_why(terminal):
    ready(terminal, "ana.silva@example.com", "--profile", "engineer", "--cost-center", "CC-1")
    seen = shown(terminal)
    assert seen["observed"]["notebook"]["state"] == "ACTIVE"
    assert seen["profile"] == "engineer"
    assert seen["because"].startswith("asked for by hand")
    assert seen["observed"]["notebook"]["labels"]["cost-center"] == "cc-1"
    assert seen["observed"]["templates"] == ["personal-auth-cluster", "single-node"]
    text = terminal.run("show", "ana.silva@example.com").stdout
    assert "asked for by hand" in text
    assert "ACTIVE in europe-west1-b" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_show_takes_a_user_key_as_well(terminal):
    ready(terminal)
    key = shown(terminal)["user_key"]
    assert shown(terminal, key)["user"] == "ana.silva@example.com"


def test_plan_says_what_reconcile_then_does(terminal):
    ready(terminal)
    terminal.run("publish", "leaver", "ana.silva@example.com", "--effective-time", "2026-11-24T08:00:00Z")
    assert terminal.deliver() == 1
    assert json.loads(terminal.run("plan", "ana.silva@example.com", "-o", "json").stdout)["actions"] == []
    terminal.advance(days=1)
    plan = json.loads(terminal.run("plan", "ana.silva@example.com", "-o", "json").stdout)
    assert plan["actions"][0].startswith("stop instance nb-ana-silva-")
    assert shown(terminal)["observed"]["notebook"]["state"] == "ACTIVE"  # a plan changes nothing
    done = json.loads(terminal.run("reconcile", "ana.silva@example.com", "-o", "json").stdout)
    assert done["actions"] == plan["actions"]
    assert done["because"] == plan["because"]
    assert shown(terminal)["observed"]["notebook"]["state"] == "STOPPING"


def test_list_filters_and_speaks_json_and_csv(terminal):
    ready(terminal, "ana.silva@example.com", "--profile", "analyst")
    ready(terminal, "ben@example.com", "--profile", "engineer")
    rows = json.loads(terminal.run("list", "--profile", "engineer", "-o", "json").stdout)
    assert [row["email"] for row in rows] == ["ben@example.com"]
    assert rows[0]["url"].startswith("https://")
    assert json.loads(terminal.run("list", "--state", "creating", "-o", "json").stdout) == []
    assert len(json.loads(terminal.run("list", "--state", "ready", "-o", "json").stdout)) == 2
    table = list(csv.DictReader(io.StringIO(terminal.run("list", "--match", "ANA", "-o", "csv").stdout)))
    assert [row["email"] for row in table] == ["ana.silva@example.com"]
    text = terminal.run("list").stdout
    assert "2 people." in text
    assert "nb-ana-silva-" in text


def test_a_cell_that_a_spreadsheet_would_run_is_text(terminal):
    ready(terminal, "=cmd@example.com")
    text = terminal.run("list", "-o", "csv").stdout
    assert "'=cmd@example.com" in text


@pytest.mark.parametrize("kind", ["due", "idle", "drift"])
def test_a_dry_sweep_changes_nothing(terminal, kind):
    ready(terminal)
    terminal.advance(hours=8)
    before = terminal.cloud.world.save()["models"]["notebooks"]
    summary = json.loads(terminal.run("sweep", kind, "--dry-run", "-o", "json").stdout)
    assert summary["dry_run"]
    assert terminal.cloud.world.save()["models"]["notebooks"] == before


def test_an_idle_notebook_is_stopped_and_the_person_is_told_why(terminal):
    ready(terminal)
    terminal.advance(hours=5)
    verdict = json.loads(terminal.run("activity", "ana.silva@example.com", "-o", "json").stdout)
    assert verdict["verdict"] == "STOP"
    dry = json.loads(terminal.run("sweep", "idle", "--dry-run", "-o", "json").stdout)
    assert [d["user"] for d in dry["decisions"]] == [shown(terminal)["user_key"]]
    terminal.run("sweep", "idle")
    for _ in range(3):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    seen = shown(terminal)
    assert seen["observed"]["notebook"]["state"] == "STOPPED"
    ready_condition = next(c for c in seen["conditions"] if c["type"] == "NotebookReady")
    assert ready_condition["reason"] == "Idle"
    assert "Your files are kept" in ready_condition["message"]
    terminal.advance(hours=5)
    terminal.run("sweep", "drift")
    assert shown(terminal)["observed"]["notebook"]["state"] == "STOPPED"  # it is not started again


def test_somebody_at_work_is_kept(terminal):
    ready(terminal)
    name = shown(terminal)["instance"]

    script = {"instance": name, "cpu": 0.02, "requests_per_minute": 4}
    requests.post(f"{terminal.cloud.url}/_emulator/activity", json=script, timeout=10).raise_for_status()
    terminal.advance(hours=5)
    seen = json.loads(terminal.run("activity", "ana.silva@example.com", "-o", "json").stdout)
    assert seen["verdict"] == "KEEP"
    terminal.run("sweep", "idle")
    assert shown(terminal)["observed"]["notebook"]["state"] == "ACTIVE"


def test_wrong_use_is_exit_code_2_and_says_what_is_right(terminal):
    assert "ana.silva@example.com" in terminal.run("show", "no-address-@", code=2).stderr
    assert "is not a user key" in terminal.run("plan", "nobody", code=2).stderr
    assert "Say what changed" in terminal.run("publish", "mover", "ana.silva@example.com", code=2).stderr
    terminal.run("publish", "joiner", "two words", code=2)
    terminal.run("publish", "joiner", "ana.silva@example.com", "--effective-time", "tomorrow", code=2)
    terminal.run("sweep", "everything", code=2)


def test_what_failed_is_exit_code_1_with_a_sentence(terminal):
    assert "Nothing is known of" in terminal.run("show", "nobody@example.com", code=1).stderr
    assert (
        "The profiles are: analyst, engineer"
        in terminal.run("publish", "joiner", "ana.silva@example.com", "--profile", "pilot", code=1).stderr
    )
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:1"
    assert "./deploy.sh local" in terminal.run("list", code=1).stderr


def test_names_asks_nobody(terminal):
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:1"
    rows = json.loads(
        terminal.run("names", "Ñandú O'Neil+test@sub.example.co", "ann@a.com", "ann@b.com", "-o", "json").stdout
    )
    assert len({row["instance_id"] for row in rows}) == 3
    assert all(len(row["instance_id"]) <= 48 for row in rows)
    assert "has no name before an @" in terminal.run("names", "nobody", code=2).stderr


def test_validate_config_says_all_faults_with_their_lines(terminal):
    terminal.run("validate-config")
    config = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"])
    profiles, single = config / "profiles.yaml", config / "templates" / "single-node.yaml"
    text = profiles.read_text().replace("machine_type: e2-standard-4", "machine_typ: e2-standard-4")
    profiles.write_text(text.replace("size_gb: 500", "size_gb: 5"))
    single.write_text(single.read_text() + "    optioimage-versionnalComponents: [JUPYTER]\n")
    said = terminal.run("validate-config", code=2).stderr
    assert "unknown key 'machine_typ'" in said
    assert "Did you mean 'machine_type'?" in said
    assert "size_gb" in said
    assert "optioimage-versionnalComponents" in said
    assert "profiles.yaml:" in said
    faults = json.loads(terminal.run("validate-config", "-o", "json", code=2).stdout)
    assert all(fault["file"] for fault in faults)
    assert len(faults) >= 4  # the misspelt key also leaves the right one missing
    assert "machine_typ" in terminal.run("list", code=2).stderr  # every other command refuses as well


def test_help_shows_every_command(terminal):
    text = terminal.run("--help").stdout
    for command in [
        "publish",
        "show",
        "list",
        "plan",
        "reconcile",
        "sweep",
        "activity",
        "dead-letter",
        "validate-config",
        "names",
    ]:
        assert command in text


def test_reconcile_that_cannot_is_exit_code_1(terminal):

    terminal.run("publish", "joiner", "ana.silva@example.com")
    terminal.cloud.world.faults.add(
        Fault.parse(
            {"call": "notebooks.CreateInstance", "times": 0, "error": {"code": "PERMISSION_DENIED", "message": "no"}}
        )
    )
    terminal.deliver()
    terminal.advance(hours=2)
    said = terminal.run("reconcile", "ana.silva@example.com", code=1).stderr
    assert "An administrator must grant" in said


@pytest.mark.parametrize("words", [["list"], ["show", "ana@example.com"], ["publish", "joiner", "ana@example.com"]])
def test_who_is_not_logged_in_is_told_how(terminal, words, tmp_path):
    terminal.environ |= {
        "BENCHKEEPER_API_ENDPOINT": "",
        "NO_GCE_CHECK": "true",  # google-auth's own switch: do not look for a metadata server
        "CLOUDSDK_CONFIG": str(tmp_path / "nobody"),
        "GOOGLE_APPLICATION_CREDENTIALS": "",
    }
    said = terminal.run("--env", "example", *words, code=1).stderr
    assert "gcloud auth application-default login" in said


@pytest.mark.parametrize("width", [80, 100, 200])
def test_an_instance_is_never_cut_whatever_the_terminal(terminal, width):
    ready(terminal, "Ñandú.O'Neil+test@sub.example.co", "--profile", "engineer")
    terminal.environ["COLUMNS"] = str(width)
    instance = json.loads(terminal.run("list", "-o", "json").stdout)[0]["instance_id"]
    lines = terminal.run("list").stdout.splitlines()
    assert any(line.rstrip().endswith(instance) or f"{instance} " in line for line in lines)
    assert "engineer" in lines[1]
