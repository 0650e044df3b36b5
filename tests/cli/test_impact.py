"""`impact` and `policy`: what a change would do is said before it is done."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from shared.domain.policy.policy_codec import digest_of
from shared.domain.things.identity import parse_email
from tests.cli.conftest import Terminal

ANALYSTS, TYPO = "data-analysts@example.com", "data-analyst@example.com"


def people(count: int) -> list[str]:
    return [f"person.{number:02}@example.com" for number in range(count)]


def message(user: str, kind: str = "joiner", **more: object) -> dict[str, object]:
    event = f"{kind}-{user}"
    return {"schema": "workbench.lifecycle/v1", "event_id": event, "type": kind, "user": user, **more}


def write(path: Path, messages: list[dict[str, object]]) -> str:
    path.write_text("\n".join(json.dumps(each) for each in messages), encoding="utf-8")
    return str(path)


@pytest.fixture
def twelve(terminal: Terminal, tmp_path: Path) -> Terminal:
    edit(terminal, "default: analyst\n", "")  # else who joined without naming a profile keeps the default one
    joiners = [message(user, attributes={"groups": [ANALYSTS]}) for user in people(12)]
    terminal.run("publish", "file", write(tmp_path / "joiners.jsonl", joiners), "--yes")
    assert terminal.deliver() == 12
    for _ in range(6):
        terminal.advance(minutes=1)
        terminal.run("sweep", "due")
    terminal.run("sweep", "drift", "--propose")
    return terminal


def edit(terminal: Terminal, old: str, new: str) -> None:
    path = Path(terminal.environ["BENCHKEEPER_CONFIG_DIR"]) / "profiles.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def with_typo(terminal: Terminal) -> None:
    edit(terminal, ANALYSTS, TYPO)


def test_files_in_force_change_nothing(twelve: Terminal) -> None:
    said = twelve.run("impact").stdout
    assert "changes nothing for anyone" in said
    assert "are in force." in twelve.run("policy").stdout
    assert "No change waits" in twelve.run("policy").stdout


def test_a_typo_says_whom_it_would_stop_and_that_it_waits(twelve: Terminal) -> None:
    with_typo(twelve)
    twelve.environ["COLUMNS"] = "80"
    said = twelve.run("impact").stdout
    assert all(len(line) <= 80 for line in said.splitlines() if "Above" not in line), said
    assert "12  lose access" in said
    assert "12 people; 12 notebooks run now and are stopped for it." in said
    assert f"12 people, at most 6 of group {ANALYSTS}" in said
    assert parse_email("person.00@example.com") in said
    assert said.splitlines()[-1].startswith("Digest: ")
    assert "10 more" in twelve.run("impact", "--limit", "2").stdout


def test_another_machine_at_the_same_price_is_said(twelve: Terminal) -> None:
    edit(twelve, "hourly_cost: 0.18", "hourly_cost: 0.18  # as before")
    assert "hourly_cost stays" not in twelve.run("impact").stdout
    edit(twelve, "machine_type: e2-standard-4", "machine_type: e2-standard-8")
    assert (
        "Profile analyst: machine_type changes, but hourly_cost stays 0.18, so no cost shows it."
        in twelve.run("impact").stdout
    )
    edit(twelve, "hourly_cost: 0.18", "hourly_cost: 0.42")
    assert "hourly_cost stays" not in twelve.run("impact").stdout


def test_the_same_as_json_and_csv_for_another_folder(twelve: Terminal, tmp_path: Path) -> None:
    folder = Path(twelve.environ["BENCHKEEPER_CONFIG_DIR"])
    with_typo(twelve)
    other = folder.rename(tmp_path / "other")
    twelve.environ["BENCHKEEPER_CONFIG_DIR"] = str(other)
    found = json.loads(twelve.run("impact", "--config-dir", str(other), "-o", "json").stdout)
    assert found["counts"] == {"LosesAccess": 12}
    assert found["above"][0] == {"limit": "Group", "name": ANALYSTS, "count": 12, "most": 6}
    rows = list(csv.DictReader(io.StringIO(twelve.run("impact", "-o", "csv").stdout)))
    assert [row["email"] for row in rows] == [e["email"] for e in found["entries"]]
    assert {row["steps"] for row in rows} == {"LosesAccess"}


def test_a_file_of_people_is_judged_without_being_sent(twelve: Terminal, tmp_path: Path) -> None:
    path = write(tmp_path / "leavers.jsonl", [message(user, "leaver") for user in people(8)])
    found = json.loads(twelve.run("impact", "--file", path, "-o", "json").stdout)
    assert found["counts"] == {"LosesAccess": 8}
    assert {tuple(each["parts"]) for each in found["entries"]} == {("News",)}
    assert found["above"] != []
    assert twelve.deliver() == 0


def test_a_plan_says_that_the_files_are_not_in_force(twelve: Terminal) -> None:
    user = people(1)[0]
    assert "the files differ" not in twelve.run("plan", user).stdout
    with_typo(twelve)
    assert "from which the files differ" in twelve.run("plan", user).stdout


def test_a_typo_stops_nobody_and_is_shown_as_waiting(twelve: Terminal) -> None:
    with_typo(twelve)
    said = twelve.run("validate-config").stdout
    assert "12  lose access" in said
    assert "It waits for another administrator's approval" in said
    assert "lose access" not in twelve.run("validate-config", "--no-impact").stdout
    twelve.run("sweep", "drift")
    assert "No change waits" in twelve.run("policy").stdout  # files of a workstation are not proposed by the way
    twelve.run("sweep", "drift", "--propose")
    twelve.run("sweep", "due", "--propose", code=2)
    twelve.run("sweep", "due")
    assert "wanted PRESENT" not in twelve.run("sweep", "drift", "--dry-run").stdout
    rows = json.loads(twelve.run("list", "--presence", "PRESENT", "-o", "json").stdout)
    assert len(rows) == 12
    shown = twelve.run("policy").stdout
    assert "Waits: " in shown
    assert "12  lose access" in shown
    (waits,) = json.loads(twelve.run("policy", "-o", "json").stdout)["waiting"]
    assert waits["counts"] == {"LosesAccess": 12}


def test_a_policy_of_a_newer_program_is_not_acted_on_by_hand(twelve: Terminal) -> None:
    bucket = twelve.cloud.storage
    content = {"version": 99}
    newer = {
        "version": 1, "digest": digest_of(content), "content": content, "since": "2026-11-23T08:00:00+00:00", "by": "",
        "impact_digest": "", "approved_by": [], "superseded": [], "deployed_at": None,
    }  # fmt: skip
    bucket.insert("benchkeeper-local", "policy/current", json.dumps(newer).encode())
    for words in (("sweep", "drift"), ("reconcile", "person.00@example.com"), ("impact",)):
        assert "Use the version that is deployed" in twelve.run(*words, code=1).stderr
