"""Every command as a person types it, and as a script reads it."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests

from cli import people
from cli.output import said_size
from emulator.faults import Fault


def ready(terminal, user="ana.silva@example.com", *options):
    """Announce somebody and let their notebook come to be."""
    terminal.run("publish", "joiner", user, *options)
    assert terminal.deliver() == 1
    for _ in range(6):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


def open_lab(terminal):
    """Let Ana look at JupyterLab for ten minutes, and half an hour pass. Return when she left it."""
    until = terminal.cloud.world.clock.now() + timedelta(minutes=10)
    script = {"instance": shown(terminal)["instance"], "requests_per_minute": 4, "until": until.isoformat()}
    requests.post(f"{terminal.cloud.url}/_emulator/activity", json=script, timeout=10).raise_for_status()
    terminal.advance(minutes=30)
    return until


def shown(terminal, user="ana.silva@example.com"):
    return json.loads(terminal.run("show", user, "-o", "json").stdout)


def test_a_joiner_by_hand_gets_a_notebook_and_show_says_why(terminal):
    ready(terminal, "ana.silva@example.com", "--profile", "engineer", "--cost-center", "CC-1")
    seen = shown(terminal)
    assert seen["observed"]["notebook"]["state"] == "ACTIVE"
    assert seen["profile"] == "engineer"
    assert seen["because"].startswith("asked for by hand")
    assert seen["observed"]["notebook"]["labels"]["cost-center"] == "cc-1"
    assert seen["observed"]["templates"] == ["large-cluster", "personal-auth-cluster", "single-node"]
    text = terminal.run("show", "ana.silva@example.com").stdout
    assert "asked for by hand" in text
    assert "running, n2-standard-8, europe-west1-b" in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_show_takes_a_user_key_as_well(terminal):
    ready(terminal)
    key = shown(terminal)["user_key"]
    assert shown(terminal, key)["user"] == "ana.silva@example.com"


def test_plan_says_what_reconcile_then_does(terminal):
    ready(terminal)
    terminal.run("publish", "leaver", "ana.silva@example.com", "--effective-time", "2026-11-24T08:00:00Z", "--yes")
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
    assert rows[0]["usage"]["notebook"]["since"] == rows[0]["ready_since"]
    assert rows[0]["ready_since"].endswith("Z")
    assert json.loads(terminal.run("list", "--state", "creating", "-o", "json").stdout) == []
    assert len(json.loads(terminal.run("list", "--state", "ready", "-o", "json").stdout)) == 2
    table = list(csv.DictReader(io.StringIO(terminal.run("list", "--match", "ANA", "-o", "csv").stdout)))
    assert [row["email"] for row in table] == ["ana.silva@example.com"]
    text = terminal.run("list").stdout
    assert "2 people." in text
    assert "nb-ana-silva-" in text


def test_a_cell_that_a_spreadsheet_would_run_is_text(terminal):
    ready(terminal, "--", "-cmd@example.com")
    text = terminal.run("list", "-o", "csv").stdout
    assert "'-cmd@example.com" in text


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
    open_lab(terminal)
    terminal.run("sweep", "idle")  # it sees the counter, whose silence counts from now on
    terminal.advance(hours=5)
    verdict = json.loads(terminal.run("activity", "ana.silva@example.com", "-o", "json").stdout)
    assert verdict["verdict"] == "WARN"
    dry = json.loads(terminal.run("sweep", "idle", "--dry-run", "-o", "json").stdout)
    assert [d["user"] for d in dry["decisions"]] == [shown(terminal)["user_key"]]
    said = " ".join(terminal.run("sweep", "idle", "--dry-run").stdout.split())
    assert "examined 1 of 1 running, those that are due, and would act on 1" in said
    assert "1 to be warned" in said
    assert "Will be stopped, warned: it is not used" in said
    terminal.run("sweep", "idle")
    assert "examined 1 of 1 running" in terminal.run("sweep", "idle", "--dry-run").stdout
    assert shown(terminal)["observed"]["notebook"]["state"] == "ACTIVE"
    terminal.advance(minutes=30)
    assert json.loads(terminal.run("activity", "ana.silva@example.com", "-o", "json").stdout)["verdict"] == "STOP"
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


def test_a_list_of_jobs_that_is_refused_is_said(terminal):
    ready(terminal)
    open_lab(terminal)
    terminal.run("sweep", "idle")
    terminal.advance(hours=5)
    refused = {"code": "PERMISSION_DENIED", "message": "Permission 'dataproc.sessions.list' denied"}
    terminal.cloud.world.faults.add(Fault.parse({"call": "dataproc.ListSessions", "error": refused, "times": 2}))
    text = terminal.run("activity", "ana.silva@example.com").stdout
    assert text.startswith("Kept running: its use is not known")
    assert "Spark sessions: Permission missing" in text
    swept = terminal.run("sweep", "idle", "--dry-run")
    assert "Jobs elsewhere are unknown" in swept.stderr
    assert "Spark sessions: Permission missing" in swept.stderr
    assert terminal.cloud.world.faults.unfired() == []


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
    later = terminal.run("sweep", "idle", "--dry-run").stdout
    assert "examined 0 of 1 running, those that are due, and would act on 0" in later


def test_wrong_use_is_exit_code_2_and_says_what_is_right(terminal):
    assert "ana.silva@example.com" in terminal.run("show", "no-address-@", code=2).stderr
    assert "is not a user key" in terminal.run("plan", "nobody", code=2).stderr
    assert "Give at least one change" in terminal.run("publish", "mover", "ana.silva@example.com", code=2).stderr
    terminal.run("publish", "joiner", "two words", code=2)
    terminal.run("publish", "joiner", "ana.silva@example.com", "--effective-time", "tomorrow", code=2)
    terminal.run("sweep", "everything", code=2)


def test_what_failed_is_exit_code_1_with_a_sentence(terminal):
    assert "No such person" in terminal.run("show", "nobody@example.com", code=1).stderr
    assert (
        "The profiles are: analyst, engineer"
        in terminal.run("publish", "joiner", "ana.silva@example.com", "--profile", "pilot", code=1).stderr
    )
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:1"
    assert "./deploy.sh local" in terminal.run("list", code=1).stderr


def test_names_needs_nobody(terminal):
    terminal.environ["BENCHKEEPER_API_ENDPOINT"] = "http://127.0.0.1:1"
    rows = json.loads(
        terminal.run("names", "Ñandú O'Neil+test@sub.example.co", "ann@a.com", "ann@b.com", "-o", "json").stdout
    )
    assert len({row["instance_id"] for row in rows}) == 3
    assert all(len(row["instance_id"]) <= 48 for row in rows)
    assert not any(row["recorded"] for row in rows)
    said = " ".join(terminal.run("names", "ann@a.com").stdout.split())
    assert "The records were not read: Nothing answers on http://127.0.0.1:1" in said
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


@pytest.fixture
def profiles(terminal):
    """The profiles' file of a copy of the configuration, and how to change it."""
    path = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "profiles.yaml"

    def change(old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def test_live_the_project_is_asked_and_has_all_that_is_shipped(terminal):
    done = terminal.run("validate-config", "--live")
    assert "is valid" in done.stdout
    assert "Note" not in done.stdout + done.stderr


def test_live_the_projects_answer_wins_over_the_table(terminal, profiles):
    """A family that the table does not know is a note; what the project does not have is a fault with line and key."""
    profiles("machine_type: e2-standard-4", "machine_type: n9-standard-4")
    assert "Note: " in terminal.run("validate-config").stdout
    said = terminal.run("validate-config", "--live", code=2).stderr
    assert "profiles.analyst.machine_type: the project has no machine type 'n9-standard-4'" in said
    (fault,) = json.loads(terminal.run("validate-config", "--live", "-o", "json", code=2).stdout)
    assert (fault["field"], fault["is_note"]) == ("profiles.analyst.machine_type", False)
    assert "http" not in said


def test_live_a_project_that_refuses_to_answer_is_said_and_the_table_judges(terminal, profiles):
    error = {"code": "PERMISSION_DENIED", "message": "https://x/ no"}
    terminal.cloud.world.faults.add(Fault(call="compute.machineTypes.get", times=0, error=error))
    done = terminal.run("validate-config", "--live")
    assert "the project was not asked for everything" in done.stdout
    assert "https://x/" not in done.stdout + done.stderr
    profiles("machine_type: e2-standard-4", "machine_type: e2-standrd-4")
    assert "Did you mean 'e2-standard-4'?" in terminal.run("validate-config", "--live", code=2).stderr


def test_notes_refuse_nothing(terminal):
    single = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "templates" / "single-node.yaml"
    single.write_text("clusterName: old\nlabels: {}\n" + single.read_text())
    said = terminal.run("validate-config").stdout
    assert "single-node.yaml:1: clusterName: 'clusterName' is ignored" in said
    assert [each["is_note"] for each in json.loads(terminal.run("validate-config", "-o", "json").stdout)] == [
        True,
        True,
    ]


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
        "messages",
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


@pytest.mark.parametrize("words", [["list"], ["show", "ana@example.com"], ["publish", "joiner", "ana@acme.com"]])
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
    ready(terminal, "Ñandú.O'Neil-test@sub.example.co", "--profile", "engineer")
    terminal.environ["COLUMNS"] = str(width)
    instance = json.loads(terminal.run("list", "-o", "json").stdout)[0]["instance_id"]
    lines = terminal.run("list").stdout.splitlines()
    assert any(line.rstrip().endswith(instance) or f"{instance} " in line for line in lines)
    assert "engineer" in lines[1]


# --- the whole life, as it is shown

ANA, NEW_ANA = "ana.silva@example.com", "ana.lima@example.com"


def minutes(terminal, count):
    for _ in range(count):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")


def say(terminal, *words):
    terminal.run("publish", *words, "--yes")
    assert terminal.deliver() == 1


def narrow(terminal, *words):
    """What is printed in 80 columns; nothing is cut."""
    terminal.environ["COLUMNS"] = "80"
    text = terminal.run(*words).stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    return text


def line(text, heading):
    """What stands behind a heading of `show`, in one line."""
    return next(each for each in text.splitlines() if each.startswith(heading))[len(heading) :].strip()


def personal_accounts(terminal):
    """The administrator gives everybody an account of their own."""
    path = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "profiles.yaml"
    path.write_text(path.read_text().replace("identity: end-user-credentials", "identity: personal-service-account"))


def test_a_leaver_is_shown_with_what_is_kept(terminal):
    personal_accounts(terminal)
    ready(terminal)
    minutes(terminal, 3)
    assert line(narrow(terminal, "show", ANA), "Account").endswith("(may be used by its owner)")
    say(terminal, "leaver", ANA)
    minutes(terminal, 6)
    text, seen = narrow(terminal, "show", ANA), shown(terminal)
    (snapshot,) = seen["snapshots"]
    assert line(text, "Snapshots") == snapshot["name"]
    details = text.splitlines()[[each.startswith("Snapshots") for each in text.splitlines()].index(True) + 1].strip()
    assert details.startswith(snapshot["ready_at"][:16].replace("T", " "))
    assert details.endswith(", holds the files")
    assert line(text, "Account").endswith("(disabled; may be used by no one)")
    for kind, reason in (
        ("Spark clusters deleted", "Removed"),
        ("Files saved", "Saved"),
        ("Service account", "Revoked"),
    ):
        assert reason in line(text, kind)
    assert "Replaces" not in text


def test_a_mover_in_progress_is_shown_with_the_former_instance(terminal):
    ready(terminal)
    say(terminal, "mover", ANA, "--profile", "engineer")
    minutes(terminal, 2)
    first = shown(terminal)["instance"]
    waiting = narrow(terminal, "plan", ANA)
    assert "Plan: nothing to do." in waiting
    said = " ".join(waiting.split())
    assert "to be changed when the notebook is stopped" in said  # when
    assert "machine type e2-standard-4 to n2-standard-8" in said  # what
    assert "(replace, files kept)" in said  # how
    assert all(each.startswith("      ") for each in waiting.splitlines()[1:])
    found = narrow(terminal, "sweep", "drift", "--dry-run")
    assert "examined 1, would act on 0" in found
    assert "     1  waits to be stopped: replace, files kept" in found
    (instance,) = terminal.cloud.notebooks.fleet.instances.values()
    terminal.cloud.notebooks.stop_outside(instance.name)
    assert "out of line" not in narrow(terminal, "sweep", "drift", "--dry-run")
    terminal.run("sweep", "drift")
    minutes(terminal, 4)
    text = narrow(terminal, "show", ANA)
    assert line(text, "Replaces").startswith(f"{first}: stopped, e2-standard-4, europe-west1-b")
    assert line(text, "Instance") == f"{first}-2"
    minutes(terminal, 30)
    assert "Replaces" not in narrow(terminal, "show", ANA)
    (row,) = json.loads(terminal.run("names", ANA, "-o", "json").stdout)
    assert row["instance_id"] == f"{first}-2"
    assert f"the address alone would give {first}" in " ".join(narrow(terminal, "names", ANA).split())


def test_who_returns_is_shown_with_the_snapshot_until_the_files_are_back(terminal):
    ready(terminal)
    say(terminal, "leaver", ANA)
    minutes(terminal, 6)
    terminal.advance(days=31)
    minutes(terminal, 4)
    assert line(narrow(terminal, "show", ANA), "Now") == "no notebook"
    say(terminal, "joiner", ANA)
    minutes(terminal, 2)
    assert line(narrow(terminal, "show", ANA), "Snapshots")
    minutes(terminal, 16)
    text = narrow(terminal, "show", ANA)
    assert line(text, "Now").startswith("running")
    assert "Snapshots" not in text


def test_a_snapshot_on_its_way_is_shown_as_such(terminal):
    ready(terminal)
    say(terminal, "leaver", ANA)
    minutes(terminal, 6)
    seen = {**shown(terminal)["snapshots"][0], "ready_at": None}
    assert people._snapshot_lines([seen])[1][1].startswith("  requested 2026-11-23 08:")
    assert people._snapshot_lines([seen])[1][1].endswith("not ready yet")
    assert [heading for heading, _ in people._snapshot_lines([seen, seen])] == ["Snapshots", "", "", ""]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (2 * 10**12, "2.0 TB"),
    ],
)
def test_sizes_are_said_as_people_say_them(size, said):
    assert said_size(size) == said


def test_a_changed_address_is_announced_and_means_the_same_person(terminal):
    ready(terminal)
    before = shown(terminal)
    say(terminal, "renamed", ANA, NEW_ANA)
    for address in (ANA, NEW_ANA, before["user_key"]):
        seen = shown(terminal, address)
        assert (seen["user"], seen["user_key"], seen["instance"]) == (NEW_ANA, before["user_key"], before["instance"])
    rows = json.loads(terminal.run("names", ANA, NEW_ANA, "new@example.com", "-o", "json").stdout)
    assert [row["instance_id"] for row in rows[:2]] == [before["instance"]] * 2
    assert [row["recorded"] for row in rows] == [True, True, False]
    assert len({row["user_key"] for row in rows}) == 2
    assert f"{NEW_ANA}: these names are from the record" in terminal.run("names", NEW_ANA).stdout
    terminal.advance(hours=5)
    evidence = json.loads(terminal.run("activity", NEW_ANA, "-o", "json").stdout)
    assert evidence["user_key"] == before["user_key"]


def test_renamed_says_what_is_wrong_with_it(terminal):
    assert "the same address" in terminal.run("publish", "renamed", ANA, "Ana.Silva@Example.com", code=2).stderr
    assert "NEW_USER" in terminal.run("publish", "renamed", ANA, code=2).stderr
    assert "ana.silva@example.com" in terminal.run("publish", "renamed", ANA, "nobody", code=2).stderr
    said = terminal.run("publish", "renamed", ANA, NEW_ANA, "--event-id", "r1", "--yes", "--new", "-o", "json").stdout
    first = json.loads(said)
    assert first["message"] == {
        "schema": "workbench.lifecycle/v1", "event_id": "r1", "type": "renamed", "user": ANA, "attributes": {}, "new_user": NEW_ANA,
    }  # fmt: skip
    assert "changed address" in terminal.run("publish", "--help").stdout


def test_who_has_not_used_theirs_for_long_is_listed_and_who_was_never_seen_is_counted(terminal):
    ready(terminal)
    ready(terminal, "ben.okafor@example.com")
    opened_until = open_lab(terminal)
    assert json.loads(terminal.run("list", "--unused", "1h", "-o", "json").stdout) == []
    said = terminal.run("list", "--unused", "1h").stdout
    assert "No one matches." in said
    assert "2 more: unknown" in said
    terminal.run("sweep", "idle")
    terminal.advance(days=3)
    found = json.loads(terminal.run("list", "--unused", "2d", "-o", "json").stdout)
    assert {row["email"] for row in found} == {"ana.silva@example.com", "ben.okafor@example.com"}
    latest = opened_until + timedelta(minutes=5)  # samples are of five minutes
    assert all(datetime.fromisoformat(row["last_used"]) <= latest for row in found)
    assert json.loads(terminal.run("list", "--unused", "4d", "-o", "json").stdout) == []
    assert "last_used" in terminal.run("list", "-o", "csv").stdout.splitlines()[0]


@pytest.mark.parametrize("wrong", ["60", "d", "-3d", "60 days", ""])
def test_a_length_of_time_that_is_none_is_said(terminal, wrong):
    done = terminal.run("list", f"--unused={wrong}", code=2)
    assert "give a length of time" in done.stderr
