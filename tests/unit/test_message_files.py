"""`shared.messages.files`: whatever the form of a file, the same messages with the right lines; and every fault."""

from __future__ import annotations

import json

import pytest

from shared.messages.files import MOST_ROWS, read_rows

SCHEMA = "workbench.lifecycle/v1"
ANA = {"schema": SCHEMA, "event_id": "1", "type": "joiner", "user": "ana.silva@example.com"}
BEN = {"schema": SCHEMA, "event_id": "2", "type": "leaver", "user": "bjørn@münchen.example"}


def bodies(raw: bytes):
    found = read_rows("f", raw)
    assert not found.faults, found.faults
    return [json.loads(row.data) for row in found.rows]


def faults(text: str):
    return [(fault.line, fault.problem) for fault in read_rows("f", text.encode()).faults]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ANA, BEN], ensure_ascii=False),
        json.dumps([ANA, BEN], ensure_ascii=False, indent=2),
        "\n".join(json.dumps(each, ensure_ascii=False) for each in (ANA, BEN)) + "\n",
        f"{json.dumps(ANA, indent=1)}\n{json.dumps(BEN, ensure_ascii=False, indent=1)}",
        "type,user,event_id\njoiner,ana.silva@example.com,1\nleaver,bjørn@münchen.example,2\n",
        "type;user;event_id\r\njoiner;ana.silva@example.com;1\r\n\r\nleaver;bjørn@münchen.example;2\r\n",
        "sep=;\r\nType;User;Event ID\r\njoiner;ana.silva@example.com;1\r\nleaver;bjørn@münchen.example;2",
        'type\tuser\tevent-id\n"joiner"\tana.silva@example.com\t1\nleaver\tbjørn@münchen.example\t2\n',
    ],
)
def test_every_form_and_encoding_gives_the_same_messages(text, encoding):
    assert bodies(text.encode(encoding)) == [ANA, BEN]


def test_one_object_is_one_message_as_it_was_written():
    written = b'{"protoPayload":  {"a": 1e2},\n "insertId": "x"}'
    (row,) = read_rows("f", b"\n" + written + b"\n").rows
    assert (row.data, row.line) == (written, 2)


def test_a_key_that_stands_twice_is_left_for_the_reader_to_find():
    written = f'{{"schema": "{SCHEMA}", "user": "a@example.com", "user": "b@example.com"}}'.encode()
    assert read_rows("f", written).rows[0].data == written


def test_lines_are_those_on_which_a_message_begins():
    text = 'type,user,reason\njoiner,a@example.com,"two\nlines"\njoiner,b@example.com,\n'
    assert [row.line for row in read_rows("f", text.encode()).rows] == [2, 4]
    text = f"[\n{json.dumps(ANA, indent=2)},\n\n{json.dumps(BEN)}]"
    assert [row.line for row in read_rows("f", text.encode()).rows] == [2, 9]


def test_cells_are_fields_lists_or_attributes():
    header = "type,user,person_id,effective_time,access_until,groups,profile,cost_center,new_user,Office,account"
    (body,) = bodies(
        f'{header}\nmover,a@example.com,7,2026-12-01,2026-12-31,"x@e.com|y@e.com; z@e.com",analyst,C,,Köln,'.encode()
    )
    assert body.pop("event_id").startswith("file-")
    assert body == {
        "schema": SCHEMA, "type": "mover", "user": "a@example.com", "person_id": "7", "effective_time": "2026-12-01",
        "access_until": "2026-12-31",
        "attributes": {
            "groups": ["x@e.com", "y@e.com", "z@e.com"], "profile": "analyst", "cost_center": "C", "Office": "Köln",
        },
    }  # fmt: skip


def test_a_missing_id_is_that_of_the_content():
    text = "type,user\njoiner,a@example.com\njoiner,b@example.com\njoiner,a@example.com\n"
    first, second = bodies(text.encode()), bodies(text.replace("\n", "\r\n").encode("utf-16"))
    assert first == second
    assert first[0]["event_id"] == first[2]["event_id"] != first[1]["event_id"]
    (same,) = bodies(json.dumps({"user": "a@example.com", "type": "joiner", "schema": SCHEMA}).encode())
    assert same["event_id"] == first[0]["event_id"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 0, "holds no message"),
        ("[]", 0, "holds no message"),
        ("type,user\n", 0, "holds no message"),
        ("user\na@example.com\n", 1, "no column 'type'"),
        ("type,office\njoiner,x\n", 1, "no column 'user'"),
        ("type,user,user\njoiner,a,b\n", 1, "two columns 'user'"),
        ("type,user,\njoiner,a,b\n", 1, "a column without a name"),
        ("type,user\njoiner,a@example.com\njoiner,b@example.com,x\n", 3, "has 3 cells; the header has 2"),
        ('type,user\njoiner,"a@example.com\n', 2, "is not valid CSV"),
        ('[{"a": 1}\n{"b": 2}]', 2, "lacks a comma"),
        ('[{"a": 1},\n', 2, "the ] is missing"),
        ('[{"a": 1}', 1, "the ] is missing"),
        ('[{"a": 1}]\n{"b": 1}', 1, "after the end of the list"),
        ("[{},\n 5]", 2, "not an object"),
        ("[{},]", 1, "is not JSON"),
    ],
)
def test_faults_have_their_line(text, line, said):
    found = faults(text)
    assert [place for place, _ in found] == [line]
    assert said in found[0][1]


def test_json_lines_go_on_behind_a_fault():
    found = read_rows("f", b'{"a": 1}\n{"b": \n{"c": 3}\n{"d": }\n{"e": 5}\n')
    assert [(row.line, row.data) for row in found.rows] == [(1, b'{"a": 1}'), (3, b'{"c": 3}'), (5, b'{"e": 5}')]
    assert [fault.line for fault in found.faults] == [2, 4]


def test_bytes_that_are_no_text_are_said_with_their_line():
    (fault,) = read_rows("f", "type,user\njoiner,bjørn@example.com\n".encode("cp1252")).faults
    assert (fault.line, "UTF-8" in fault.problem) == (2, True)
    assert str(fault).startswith("f:2: ")


def test_a_file_has_a_most():
    text = "type,user\n" + "joiner,a@example.com\n" * (MOST_ROWS + 1)
    (fault,) = read_rows("f", text.encode()).faults
    assert "at most 10,000" in fault.problem
    assert len(read_rows("f", text.encode()).rows) == MOST_ROWS + 1


def test_deep_nesting_is_a_fault_and_no_crash():
    assert read_rows("f", b"[" * 100_000).faults
    assert read_rows("f", b'{"a":' * 100_000).faults
