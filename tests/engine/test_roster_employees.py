"""HR's file: who is in it works here, who was in it and is no more has left; a faulty file is used for nothing."""

from __future__ import annotations

import hashlib
import json

import pytest
from kit.rosters import Roster, address
from msgspec.structs import replace

from shared.domain.fleet.roster import Allowed, RosterKind
from shared.domain.people.events import LeaveCancelled
from shared.engine.sweeps.sweeps import sweep

FIVE = ("ana", "ben", "cleo", "dan", "eve")
EMPLOYEES = RosterKind.EMPLOYEES


@pytest.fixture
def roster() -> Roster:
    """Five settled people whom HR's file has listed before."""
    made = Roster.build(groups=False, employees=True)
    made.joins(*FIVE, group=None)
    made.drop(map(address, FIVE))
    made.read()
    assert made.report(EMPLOYEES).is_first
    return made


def drop(roster: Roster, *people: str) -> None:
    roster.bench.advance(minutes=1)
    roster.drop(map(address, people))


def test_a_baseline_cuts_nobody_and_states_nothing(roster):
    assert (roster.report(EMPLOYEES).people, roster.report(EMPLOYEES).found) == (5, {})
    assert roster.with_access() == set(FIVE)


def test_a_lost_joiner_and_a_lost_leaver_are_found(roster):
    drop(roster, "ana", "ben", "cleo", "dan", "fay")
    roster.read()
    assert roster.with_access() == {"ana", "ben", "cleo", "dan", "fay"}
    roster.read()
    assert roster.report(EMPLOYEES).found == {}


def test_who_was_never_in_the_file_is_not_cut_by_it(roster):
    roster.joins("guest", group=None)
    roster.read()
    assert roster.has_access("guest")


def test_a_joiner_that_is_newer_than_the_file_stands(roster):
    drop(roster, "ana", "ben", "cleo", "dan")
    roster.bench.advance(minutes=1)
    roster.says(LeaveCancelled, "eve", source="hr")
    roster.read()
    assert roster.has_access("eve")


def test_a_leaver_of_hr_whom_the_file_still_lists_stays_out_and_is_reported(roster):
    roster.leaves("ana")
    drop(roster, *FIVE)
    roster.read()
    assert not roster.has_access("ana")
    assert roster.report(EMPLOYEES).found == {"listed but left": 1}


def test_who_was_left_out_by_mistake_comes_back_with_the_next_file(roster):
    drop(roster, "ana", "ben", "cleo", "dan")
    roster.read()
    assert not roster.has_access("eve")
    drop(roster, *FIVE)
    roster.read()
    assert roster.has_access("eve")


def test_groups_of_the_file_move_a_person(roster):
    made = Roster.build(groups=False, employees=True)
    made.drop(
        ["ana@example.com,data-analysts@example.com", "ben@example.com,data-analysts@example.com"], header="user,groups"
    )
    made.read()
    assert made.with_access() == {"ana", "ben"}
    made.bench.advance(minutes=1)
    made.drop(["ana@example.com,", "ben@example.com,data-engineers@example.com"], header="user,groups")
    made.read()
    assert made.with_access() == {"ben"}
    assert next(row.profile for row in made.bench.deps.records.rows() if row.email == "ben@example.com") == "engineer"


@pytest.mark.parametrize("days", [2.1, 9])
def test_an_export_that_stopped_is_said_and_cuts_nobody(roster, days):
    """After nine days the inbox has deleted the file."""
    if days == 9:
        bucket = roster.bench.clients.bucket(roster.bench.settings.inbox_bucket)
        for each in list(bucket.objects(prefix="rosters/", what="list")):
            bucket.delete(each.name, what="clean up")
    roster.read(hours=24 * days)
    assert (roster.report(EMPLOYEES).refusal, roster.with_access()) == ("Stale", set(FIVE))


def test_no_file_at_all_is_no_fault():
    made = Roster.build(groups=False, employees=True)
    made.read()
    assert made.bench.deps.rosters.report(EMPLOYEES) is None


def whole(*rows: str, header: str = "user", foot: str | None = None) -> bytes:
    body = "".join(f"{line}\n" for line in (header, *rows))
    return f"{body}{foot if foot is not None else f'#rows,{len(rows)}'}\n".encode()


ROWS = [address(name) for name in FIVE]
FOUR = ROWS[:4]
DIGEST = hashlib.sha256(whole(*FOUR, foot="").rstrip(b"\n") + b"\n").hexdigest()
BOTH = hashlib.sha256(whole(*FOUR, foot="#ROWS,4")).hexdigest()
FAULTY = {
    "half written": whole(*FOUR)[:-9],
    "cut in the last row": whole(*ROWS)[:-14],
    "wrong count": whole(*FOUR, foot="#rows,5"),
    "count is no number": whole(*FOUR, foot="#rows,many"),
    "wrong digest": whole(*FOUR, foot=f"#sha256,{'0' * 64}"),
    "duplicated": whole(*FOUR, ROWS[0]),
    "duplicated in another case": whole(*FOUR, ROWS[0].upper()),
    "another domain": whole(*FOUR, "eve@elsewhere.example"),
    "a service account": whole(*FOUR, "x@p.iam.gserviceaccount.com"),
    "no address": whole(*FOUR, "eve"),
    "no column": whole(*FOUR, header="name"),
    "two columns": whole(*(f"{each},{each}" for each in FOUR), header="user,user"),
    "too many cells": whole(*(f"{each},x" for each in FOUR)),
    "same number twice": whole(*(f"{each},17" for each in FOUR), header="user,person_id"),
    "not UTF-8": whole(*FOUR, "zoë@example.com").decode().encode("latin-1"),
    "unknown line": whole("#people,4", *FOUR, foot="#rows,4"),
    "no time": whole("#as_of,yesterday", *FOUR, foot="#rows,4"),
    "of the future": whole("#as_of,2099-01-01T00:00:00Z", *FOUR, foot="#rows,4"),
    "open quote": whole(*FOUR, '"eve@example.com'),
    "a count of many digits": whole(*FOUR, foot="#rows," + "9" * 5000),
    "two counts": whole(*FOUR, "#rows,4"),
    "a count and a wrong digest": whole(*FOUR, foot=f"#rows,4\n#sha256,{'0' * 64}"),
    "a digest and a wrong count": whole(*FOUR, foot=f"#sha256,{DIGEST}\n#rows,5"),
    "two moments": whole("#as_of,2026-11-23T08:00:00Z", "#as_of,2026-11-22T08:00:00Z", *FOUR, foot="#rows,4"),
    "no address in a row": whole(*(f"{each},1{n}" for n, each in enumerate(FOUR)), ",7", header="user,person_id"),
    "compressed": b"\x1f\x8b\x08\x00",
    "UTF-16": whole(*FOUR).decode().encode("utf-16"),
    "a million blank lines": whole(*FOUR, *[""] * 1_000_000, foot="x"),
    "nothing": b"",
    "only spaces": b"  \n\n",
    "only the last line": b"#rows,0\n",
    "JSON without a schema": json.dumps({"people": [], "rows": 0}).encode(),
    "JSON that ends early": b'{"schema": "workbench.roster/v1", "rows": 1, "people": [{"user": "ana@exa',
    "JSON with a wrong count": json.dumps({"schema": "workbench.roster/v1", "rows": 3, "people": [{"user": ROWS[0]}]}).encode(),
    "JSON with a key twice": b'{"schema": "workbench.roster/v1", "rows": 1, "people": [{"user": "a@example.com", "user": "b@example.com"}]}',
    "JSON of texts": json.dumps({"schema": "workbench.roster/v1", "rows": 1, "people": ["ana@example.com"]}).encode(),
    "JSON with a number that is an object": json.dumps({"schema": "workbench.roster/v1", "rows": 1, "people": [{"user": ROWS[0], "person_id": {}}]}).encode(),
    "JSON with half a letter": b'{"schema": "workbench.roster/v1", "rows": 1, "people": [{"user": "a@example.com", "groups": ["\\ud800@example.com"]}]}',
    "a deep JSON": b'{"people": ' + b"[" * 100_000,
    "a page of an error": b"<html><body>502 Bad Gateway</body></html>",
    "a workbook": b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00",
}  # fmt: skip


@pytest.mark.parametrize("raw", FAULTY.values(), ids=FAULTY)
def test_a_faulty_file_is_used_for_nothing_and_its_faults_are_named(roster, raw):
    roster.bench.advance(minutes=1)
    roster.drop_bytes(raw)
    roster.read()
    report = roster.report(EMPLOYEES)
    assert (report.refusal in {"Faulty", "Empty"}, roster.with_access(), report.found) == (True, set(FIVE), {})
    assert report.faults or report.refusal == "Empty"
    drop(roster, "ana", "ben", "cleo", "dan")
    roster.read()
    assert roster.with_access() == set(FIVE) - {"eve"}


GOOD = {
    "with a digest": whole(*FOUR, foot=f"#sha256,{DIGEST}"),
    "with a digest and a count": whole(*FOUR, foot=f"#sha256,{DIGEST.upper()}\n#rows,4"),
    "with a count and a digest of both": whole(*FOUR, foot=f"#ROWS,4\n#SHA256,{BOTH}\n\n"),
    "without a last newline": whole(*FOUR).rstrip(b"\n"),
    "with Windows line ends": whole(*FOUR).replace(b"\n", b"\r\n"),
    "with a byte order mark and semicolons": b"\xef\xbb\xbf" + whole(*(f"{each};7{n}" for n, each in enumerate(FOUR)), header="User;Person ID", foot="#rows;4"),
    "with other columns": whole(*(f"Doe,{each},Sales" for each in FOUR), header="name,user,team"),
    "as a spreadsheet saves it": whole(*(f"{each},,," for each in FOUR), header="user,,,", foot="#rows,4,,"),
    "in JSON": json.dumps({"schema": "workbench.roster/v1", "rows": 4, "people": [{"user": each} for each in FOUR]}).encode(),
    "in other cases": whole(*(each.title() for each in FOUR)),
}  # fmt: skip


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_a_good_file_in_any_usual_form_finds_the_leaver(roster, raw):
    roster.bench.advance(minutes=1)
    roster.drop_bytes(raw)
    roster.read()
    assert (roster.report(EMPLOYEES).refusal, roster.report(EMPLOYEES).faults) == ("", ())
    assert roster.with_access() == set(FIVE) - {"eve"}


def test_the_lines_of_the_faults_are_those_of_the_file(roster):
    rows = [*FOUR, "nobody", ROWS[1], "x@elsewhere.example"]
    roster.bench.advance(minutes=1)
    roster.drop_bytes(whole(*rows, foot="#rows,9"))
    roster.read()
    assert [fault.partition(":")[0] for fault in roster.report(EMPLOYEES).faults] == [
        "line 6",
        "line 7",
        "line 8",
        "line 9",
    ]


def test_more_leavers_at_once_than_the_guard_lets_through_cut_nobody_until_an_operator_allows_it():
    made = Roster.build(groups=False, employees=True)
    base = made.bench.deps.base_policy
    tight = replace(made.bench.deps, base_policy=replace(base, guard=replace(base.guard, per_hour=2, share=0.01)))
    people = [f"p{number:03}" for number in range(60)]
    made.joins(*people, group=None)
    drop(made, *people)
    made.bench.advance(hours=1)
    sweep("roster", tight)
    drop(made, *people[5:])
    made.bench.advance(hours=1)
    sweep("roster", tight)
    report = made.report(EMPLOYEES)
    assert (report.refusal, report.found, made.with_access()) == ("ManyGone", {"would be stated": 5}, set(people))
    made.bench.deps.rosters.allow(EMPLOYEES, Allowed(people=55, by="mia", at=made.bench.now))
    sweep("roster", tight)
    assert len(made.with_access()) == 58  # the guard still counts


def test_an_older_file_dropped_late_is_refused(roster):
    drop(roster, *FIVE)
    roster.read()
    roster.bench.advance(minutes=1)
    roster.drop(FOUR, lines=("#as_of,2026-11-23T08:01:00Z", "#rows,4"))
    roster.read()
    assert (roster.report(EMPLOYEES).refusal, roster.with_access()) == ("Older", set(FIVE))


def test_a_file_that_comes_while_one_is_read_refuses_the_reading(roster):
    source = roster.bench.deps.roster_sources[0].read.__self__  # the adapter, not its stand-in
    drop(roster, *FIVE[:4])
    parse = source._parse

    def slow(*args, **about):
        source._parse = parse
        drop(roster, *FIVE)
        return parse(*args, **about)

    source._parse = slow
    roster.read()
    assert (roster.report(EMPLOYEES).refusal, roster.with_access()) == ("ChangedWhileRead", set(FIVE))


def test_a_file_that_is_replaced_before_the_cut_cuts_nobody(roster):
    source = roster.bench.deps.roster_sources[0].read.__self__  # the adapter, not its stand-in
    drop(roster, *FIVE[:4])
    look, source._version_now = (
        source._version_now,
        lambda: (drop(roster, *FIVE), look())[1] if len(calls) else (calls.append(1), look())[1],
    )
    calls: list[int] = []
    roster.read()
    assert (roster.report(EMPLOYEES).found, roster.with_access()) == ({"still there": 1}, set(FIVE))
