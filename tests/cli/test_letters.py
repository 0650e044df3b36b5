"""`dead-letter list|show|replay` as a person types them, and as a script reads them."""

from __future__ import annotations

import json

import pytest
import yaml
from kit.kept_letters import hr

from shared.domain.things.errors import InvalidMessageError

ANA, BEN = "ana.silva@example.com", "ben@example.com"
BROKEN = InvalidMessageError(user_message="The message is not JSON: Expecting value.", detail="not JSON")


def ids(terminal, *words):
    return [row["letter_id"] for row in json.loads(terminal.run("dead-letter", "list", *words, "-o", "json").stdout)]


def know_pilot(terminal):
    """The administrator adds the profile that was missing."""
    config = f"{terminal.environ['BENCHKEEPER_CONFIG_DIR']}/profiles.yaml"
    with open(config) as file:  # noqa: PTH123 - a path as text
        raw = yaml.safe_load(file)
    raw["profiles"]["pilot"] = {**raw["profiles"]["analyst"], "title": "Pilot"}
    with open(config, "w") as file:  # noqa: PTH123 - same
        yaml.safe_dump(raw, file)


def test_nothing_there_is_said(terminal):
    assert "No message waits." in terminal.run("dead-letter", "list").stdout
    assert json.loads(terminal.run("dead-letter", "list", "-o", "json").stdout) == []
    assert "Nothing to replay." in terminal.run("dead-letter", "replay", "--all").stdout
    assert json.loads(terminal.run("dead-letter", "replay", "--all", "-o", "json").stdout) == []


def test_without_a_subcommand_messages_and_audit_list(terminal, letters):
    letters("1", hr(ANA, profile="pilot"))
    assert terminal.run("messages").stdout == terminal.run("messages", "list").stdout
    assert terminal.run("audit").stdout == terminal.run("audit", "list").stdout


def test_list_filters_by_time_reason_and_user(terminal, letters):
    letters("1", hr(ANA, profile="pilot"))
    letters("2", b"joiner kofi", BROKEN, minutes=5)
    letters("3", hr(BEN, profile="pilot"), minutes=10)
    assert ids(terminal) == ["1", "2", "3"]
    assert ids(terminal, "--since", "2026-11-23T08:05:00Z") == ["2", "3"]
    assert ids(terminal, "--until", "2026-11-23T09:05:00+01:00") == ["1"]
    assert ids(terminal, "--reason", "UnknownProfile", "--since", "2026-11-23T08:01:00Z") == ["3"]
    assert ids(terminal, "--user", ANA) == ["1"]
    (row,) = json.loads(terminal.run("dead-letter", "list", "--user", BEN, "-o", "json").stdout)
    assert (row["sent_at"], row["reason"], row["function"]) == ("2026-11-23T08:10:00Z", "UnknownProfile", "lifecycle")


@pytest.mark.parametrize("width", ["80", "200"])
def test_a_list_fits_the_terminal_and_its_ids_are_whole(terminal, letters, width):
    terminal.environ["COLUMNS"] = width
    letters("10000000000000123", hr(ANA, profile="pilot"))
    lines = terminal.run("dead-letter", "list").stdout.splitlines()
    assert "10000000000000123" in lines[0]
    assert "Profile missing" in lines[0]
    assert any("There is no profile 'pilot'" in line for line in lines)
    assert max(map(len, lines)) <= int(width)


def test_show_tells_everything_and_what_to_do(terminal, letters):
    letters("1", hr(ANA, profile="pilot"))
    text = terminal.run("dead-letter", "show", "1").stdout
    for part in ("Profile missing", "There is no profile", '  "user": "ana.silva@example.com"', "origin", "replay 1"):
        assert part in text
    seen = json.loads(terminal.run("dead-letter", "show", "1", "-o", "json").stdout)
    assert json.loads(seen["body"]) == hr(ANA, profile="pilot")
    assert (seen["cut"], seen["attributes"]["origin"], len(seen["users"])) == (False, "hr", 1)


def test_show_of_what_is_no_text_or_was_cut(terminal, letters):
    letters("1", b"\xff\xfe\x00", BROKEN)
    letters("2", b"x" * 20, BROKEN, size=300_000)
    assert "\\xff\\xfe" in terminal.run("dead-letter", "show", "1").stdout
    seen = json.loads(terminal.run("dead-letter", "show", "1", "-o", "json").stdout)
    assert (seen["body"], seen["body_hex"]) == (None, "fffe00")
    assert "of which 20 are stored" in terminal.run("dead-letter", "show", "2").stdout


def test_show_of_an_unknown_letter_says_where_to_look(terminal):
    assert "messages list --all" in terminal.run("dead-letter", "show", "404", code=1).stderr


def test_a_person_with_a_letter_is_shown_with_it(terminal, letters):
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    letters("1", hr(ANA, event_id="e2", profile="pilot"))
    conditions = json.loads(terminal.run("show", ANA, "-o", "json").stdout)["conditions"]
    (mark,) = [c for c in conditions if c["type"] == "NewsUnderstood"]
    assert (mark["status"], mark["reason"]) == ("False", "UnknownProfile")
    assert "benchkeeper messages show 1" in mark["message"]
    assert "Messages" in terminal.run("show", ANA).stdout
    terminal.run("reconcile", ANA)  # the mark is no failure of the pass


def test_replay_wants_to_be_told_which(terminal, letters):
    letters("1", hr(ANA))
    assert "Name the messages" in terminal.run("dead-letter", "replay", code=2).stderr
    assert "Name the messages" in terminal.run("dead-letter", "replay", "1", "--all", code=2).stderr
    assert "Name the messages" in terminal.run("dead-letter", "replay", "1", "--user", ANA, code=2).stderr
    terminal.run("dead-letter", "replay", "--since", "yesterday", code=2)
    terminal.run("dead-letter", "replay", "--reason", "Ready", code=2)
    assert ids(terminal) == ["1"]


def test_after_the_cause_is_mended_a_letter_is_used_and_kept_as_replayed(terminal, letters):
    letters("1", hr(ANA, profile="pilot"))
    letters("2", b"joiner kofi", BROKEN, minutes=5)
    said = terminal.run("dead-letter", "replay", "--reason", "UnknownProfile", code=1).stdout
    assert "Profile missing" in said
    assert "0 replayed, 1 still cannot be processed." in said
    assert ids(terminal) == ["1", "2"]
    know_pilot(terminal)
    said = terminal.run("dead-letter", "replay", "--dry-run", "1").stdout
    assert f"{ANA}: joined: profile pilot" in said
    assert "then: create instance nb-ana-silva-" in said
    assert "1 could be processed, 0 still cannot be processed." in said
    assert ids(terminal) == ["1", "2"]
    said = terminal.run("dead-letter", "replay", "1").stdout
    assert f"{ANA}: joined: profile pilot" in said
    assert json.loads(terminal.run("show", ANA, "-o", "json").stdout)["profile"] == "pilot"
    assert ids(terminal) == ["2"]
    assert ids(terminal, "--all") == ["1", "2"]
    assert "replayed 11-23" in terminal.run("dead-letter", "list", "--all").stdout
    assert "joined: profile pilot" in terminal.run("dead-letter", "show", "1").stdout
    again = json.loads(terminal.run("dead-letter", "replay", "1", "-o", "json").stdout)
    assert again[0]["text"] == f"{ANA}: unchanged (known already)"


def test_replay_of_all_leaves_those_that_still_fail_and_says_so(terminal, letters):
    letters("1", hr(ANA), BROKEN)
    letters("2", b"joiner kofi", BROKEN, minutes=5)
    letters("3", {"sweep": "due"}, BROKEN, minutes=6, function="")
    letters("4", {"sweep": "all"}, BROKEN, minutes=7, function="tick")
    results = json.loads(terminal.run("dead-letter", "replay", "--all", "-o", "json", code=1).stdout)
    assert [(r["letter_id"], r["used"]) for r in results] == [("1", True), ("2", False), ("3", False), ("4", False)]
    assert "not JSON" in results[1]["text"]
    assert "next tick does the same work" in results[2]["text"]
    assert "next tick does the same work" in results[3]["text"]
    assert ids(terminal) == ["2", "3", "4"]


def test_an_id_that_is_not_there_is_named_and_the_others_are_used(terminal, letters):
    letters("1", hr(ANA), BROKEN)
    result = terminal.run("dead-letter", "replay", "1", "404", code=1)
    assert "There is no message 404" in result.stderr
    assert ids(terminal) == []


def test_many_letters_tell_how_far_it_is(terminal, letters):
    for number in range(101):
        letters(str(1000 + number), b"joiner kofi", BROKEN, minutes=number / 10)
    result = terminal.run("dead-letter", "replay", "--all", "-o", "json", code=1)
    assert len(json.loads(result.stdout)) == 101
    assert "100 messages so far" in result.stderr


def test_letters_are_found_under_either_address_and_the_records_own_key(terminal, letters):
    new = "ana.lima@example.com"
    letters("1", hr(ANA, profile="pilot"))
    letters("2", hr(BEN, profile="pilot", event_id="e2"), minutes=1)
    letters("3", hr(new, profile="pilot", event_id="e3"), minutes=2)
    assert ids(terminal, "--user", ANA) == ["1"]  # nobody has said yet that they are one
    assert ids(terminal, "--user", new) == ["3"]
    terminal.run("publish", "joiner", ANA)
    terminal.run("publish", "renamed", ANA, new, "--yes", "--new")  # the first has not arrived yet
    assert terminal.deliver() == 2
    key = json.loads(terminal.run("show", new, "-o", "json").stdout)["user_key"]
    for user in (ANA, new, key):
        assert ids(terminal, "--user", user) == ["1", "3"]
    assert ids(terminal, "--user", BEN) == ["2"]
    dry = json.loads(terminal.run("dead-letter", "replay", "--user", new, "--dry-run", "-o", "json", code=1).stdout)
    assert [row["letter_id"] for row in dry] == ["1", "3"]
