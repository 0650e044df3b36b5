"""`publish file`: all faults before the first message is sent, a dry run, and then quickly."""

from __future__ import annotations

import csv
import io
import json

import pytest
import requests

from emulator.faults import Fault

ANA, SLIP = "ana.silva@example.com", "ana.slva@example.com"
PEOPLE = f"""type,user,groups,cost_center,Office
joiner,{ANA},data-analysts@example.com,CC-1,Berlin
joiner,ben.ng@example.com,,,
mover,{ANA},,CC-2,
leaver,cy@example.com,,,
"""


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "people.csv", encoding: str = "utf-8") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return str(path)

    return write


@pytest.fixture
def known(terminal):
    """Ana is known."""
    terminal.run("publish", "joiner", ANA, "--profile", "engineer")
    terminal.deliver()
    terminal.advance(minutes=1)
    return terminal


def test_a_dry_run_counts_and_says_what_each_person_gets(terminal, file):
    found = json.loads(terminal.run("publish", "file", file(PEOPLE), "--dry-run", "-o", "json").stdout)
    assert (found["messages"], found["people"]) == (4, 3)
    assert {kind: count for kind, count in found["counts"].items() if count} == {"joins": 2, "moves": 1, "noted": 1}
    ana = found["plans"][0]
    assert (ana["user"], ana["kinds"], ana["lines"]) == (ANA, ["joins", "moves"], ["people.csv:2", "people.csv:4"])
    assert any(action.startswith("create instance nb-ana-silva-") for action in ana["actions"])
    assert terminal.deliver() == 0
    rows = list(
        csv.DictReader(io.StringIO(terminal.run("publish", "file", file(PEOPLE), "--dry-run", "-o", "csv").stdout))
    )
    assert [row["kinds"] for row in rows] == ["joins moves", "joins", "noted"]
    terminal.environ["COLUMNS"] = "80"
    text = terminal.run("publish", "file", file(PEOPLE), "--dry-run").stdout
    assert max(len(line) for line in text.splitlines()[:-1]) <= 80
    assert "…" not in text
    assert text.splitlines()[-1].startswith("4 messages about 3 people. Joins: 2, moves: 1,")


def test_a_dry_run_of_several_leavers_names_the_limit_of_an_hour(terminal, file):
    leavers = "type,user\n" + "".join(f"leaver,p{number}@example.com\n" for number in range(3))
    text = terminal.run("publish", "file", file(leavers), "--dry-run").stdout
    limit = "At most 20 people, and 50% of a group, lose access in an hour; others wait for an approval."
    assert text.splitlines()[-1] == f"3 people leave. {limit}"
    assert "people leave." not in terminal.run("publish", "file", file(PEOPLE), "--dry-run").stdout


def test_what_is_sent_is_what_the_dry_run_said(terminal, file):
    done = json.loads(terminal.run("publish", "file", file(PEOPLE), "--yes", "-o", "json").stdout)
    assert (done["published"], done["topic"]) == (4, "workbench-operator")
    assert len({each["message_id"] for each in done["messages"]}) == 4
    assert sorted(each["line"] for each in done["messages"]) == [2, 3, 4, 5]
    assert terminal.deliver() == 4
    rows = {row["email"]: row for row in json.loads(terminal.run("list", "-o", "json").stdout)}
    assert rows[ANA]["profile"] == "analyst"
    assert rows["ben.ng@example.com"]["presence"] == "PRESENT"
    terminal.advance(minutes=1)
    again = json.loads(terminal.run("publish", "file", file(PEOPLE), "--dry-run", "-o", "json").stdout)
    assert {kind for kind, count in again["counts"].items() if count} == {"nothing-new"}
    terminal.run("publish", "file", file(PEOPLE), "--yes")
    terminal.deliver()
    story = json.loads(terminal.run("history", ANA, "--kind", "news", "-o", "json").stdout)
    assert sorted(line["text"] for line in story) == ["Joined", "Moved"]  # the same file twice is one event each


def test_one_fault_and_nothing_is_sent(terminal, file):
    bad = file(
        "type,user,effective_time,profile\n"
        "joiner,ana@exmaple.com,,\n"
        "leaver,ben@example.com,31.12.2026,\n"
        "joiner,cy@example.com,,pilot\n"
        "\n"
        "hirer,dana@example.com,,\n"
        "joiner,ok@example.com,,,x\n"
        "joiner,fine@example.com,,\n"
    )
    said = terminal.run("publish", "file", bad, "--yes", code=2).stderr.splitlines()
    assert [line.partition(": ")[0] for line in said[:-1]] == [f"people.csv:{line}" for line in (2, 3, 4, 6, 7)]
    assert "5 faults; 1 of 5 messages could be used. Nothing was sent." in said[-1]
    assert "used" not in said[1]  # nothing was
    assert terminal.deliver() == 0
    found = json.loads(terminal.run("publish", "file", bad, "--yes", "-o", "json", code=2).stdout)
    assert [fault["line"] for fault in found] == [2, 3, 4, 6, 7]


def test_where_nobody_can_be_asked_nothing_is_sent(terminal, file):
    assert "--yes" in terminal.run("publish", "file", file(PEOPLE), code=2).stderr
    assert terminal.deliver() == 0


def test_a_person_is_asked_and_told_of_whom_nothing_is_known(known, file, monkeypatch):
    asked = []
    monkeypatch.setattr("cli.publishing_files.somebody_there", lambda: True)
    monkeypatch.setattr("cli.publishing_files.agreed", lambda question, **_how: bool(asked.append(question)))
    result = known.run("publish", "file", file(f"type,user\nleaver,{SLIP}\nleaver,{ANA}\n"), code=1)
    slip, limit = result.stdout.splitlines()
    assert slip == f"No such person: {SLIP}. Did you mean {ANA}?"
    assert limit.startswith("2 people leave. At most 20 people")
    assert asked == ["Publish 2 messages (2 left) as operator?"]
    assert known.deliver() == 0


def test_what_the_intake_would_refuse_is_counted(known, file):
    text = f"type,user,new_user\nrenamed,{ANA},ben.ng@example.com\nleaver,who@elsewhere.example,\n"
    known.run("publish", "joiner", "ben.ng@example.com")
    known.deliver()
    found = json.loads(known.run("publish", "file", file(text), "--dry-run", "-o", "json", code=1).stdout)
    assert found["counts"]["refused"] == 2
    assert "both have an environment" in found["plans"][0]["refused"][0]


def test_a_file_is_read_and_sent_as_its_source(terminal, file):
    entry = file('{"protoPayload": {"serviceName": "admin.googleapis.com"}, "logName": "x"}', "entry.json")
    assert "may not send log entries" in terminal.run("publish", "file", entry, "--yes", code=2).stderr
    assert "to workbench-lifecycle" in terminal.run("publish", "file", file(PEOPLE), "--as", "hr", "--yes").stdout
    assert terminal.deliver() == 0  # that is another topic
    said = terminal.run("publish", "file", file(PEOPLE), "--as", "nobody", "--yes", code=2).stderr
    assert "hr, directory, operator, wake" in said
    not_hrs = '{"schema": "workbench.lifecycle/v1", "type": "account", "account": "usable", "user": "a@example.com"}'
    terminal.run("publish", "file", file(not_hrs, "x.json"), "--as", "hr", "--yes", code=2)


def test_an_outage_in_the_middle_says_what_to_do(terminal, file):
    denied = {"call": "pubsub.Publish", "times": 0, "error": {"code": "PERMISSION_DENIED", "message": "no"}}
    terminal.cloud.world.faults.add(Fault.parse(denied))
    said = terminal.run("publish", "file", file(PEOPLE), "--yes", code=1).stderr
    assert "0 of 4 messages were sent" in said
    assert "Publish the same files again" in said


def test_a_thousand_messages_are_published_in_few_calls(terminal, file):
    text = "type,user\n" + "".join(f"joiner,person{number}@example.com\n" for number in range(1000))
    terminal.run("publish", "file", file(text), "--yes")
    pull = f"{terminal.cloud.url}/v1/projects/benchkeeper-local/subscriptions/lifecycle-pull:pull"
    got = 0
    while True:
        answer = requests.post(pull, json={"maxMessages": 1000, "returnImmediately": True}, timeout=30).json()
        received = answer.get("receivedMessages", [])
        if not received:
            break
        got += len(received)
    assert got == 1000
