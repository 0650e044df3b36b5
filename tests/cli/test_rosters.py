"""`benchkeeper roster`: a file is tried before it is dropped, and a refusal says what to do."""

from __future__ import annotations

import json

PEOPLE = [f"p{number:02}@example.com" for number in range(20)]


def file_of(path, people, *, foot=None):
    path.write_text("\n".join(["user", *people, foot or f"#rows,{len(people)}", ""]), encoding="utf-8")
    return str(path)


def test_a_file_is_checked_dropped_read_and_shown(terminal, tmp_path):
    good = file_of(tmp_path / "hr.csv", PEOPLE)
    assert "20 people; the file is valid" in terminal.run("roster", "check", good).stdout
    assert "no file was dropped yet" in terminal.run("roster").stdout
    terminal.run("roster", "drop", good)
    assert "20  employees: stated" in terminal.run("sweep", "roster").stdout
    shown = terminal.run("roster", "show").stdout
    assert "HR's list of employees (employees)" in shown
    assert "found, and stated" in shown
    found = json.loads(terminal.run("roster", "show", "--output", "json").stdout)
    assert found["employees"]["found"] == {"stated": 20}


def test_all_faults_are_named_with_their_lines_and_nothing_is_dropped(terminal, tmp_path):
    bad = file_of(tmp_path / "hr.csv", ["nobody", PEOPLE[0], PEOPLE[0]], foot="#rows,7")
    for command in ("check", "drop"):
        said = terminal.run("roster", command, bad, code=1).stderr
        assert [f"line {number}:" in said for number in (2, 4, 5)] == [True] * 3
    assert "no file was dropped yet" in terminal.run("roster").stdout


def test_a_list_that_shrank_is_used_once_it_is_allowed(terminal, tmp_path):
    for people in (PEOPLE, PEOPLE[:10]):
        terminal.advance(minutes=1)
        terminal.run("roster", "drop", file_of(tmp_path / "hr.csv", people))
        said = terminal.run("sweep", "roster").stdout
    assert "refused, Shrunk" in said
    shown = terminal.run("roster")
    assert "benchkeeper roster allow employees --people 10" in shown.stderr
    terminal.run("roster", "allow", "employees", "--people", "10")
    assert "10  employees: stated" in terminal.run("sweep", "roster").stdout


def test_a_kind_that_is_none_is_refused(terminal):
    assert "groups" in terminal.run("roster", "allow", "everybody", "--people", "10", code=2).stderr
