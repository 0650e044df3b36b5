"""`benchkeeper history`."""

from __future__ import annotations

import csv
import io
import json

import pytest

ANA = "ana.silva@example.com"


@pytest.fixture
def told(terminal):
    terminal.run("publish", "joiner", ANA)
    terminal.deliver()
    terminal.advance(minutes=5)
    terminal.run("reconcile", ANA)
    terminal.run("hold", ANA, "--reason", "=case 4711")
    return terminal


def lines(terminal, *more):
    return json.loads(terminal.run("history", ANA, "-o", "json", *more).stdout)


def test_the_story_is_told_in_time_order(told):
    story = lines(told)
    assert [line["at"] for line in story] == sorted(line["at"] for line in story)
    assert [line["text"] for line in story if line["kind"] == "news"] == ["Joined"]
    assert any(line["text"].startswith("create instance") and line["because"] and line["ref"] for line in story)
    decisions = [line["text"] for line in story if line["kind"] == "decision"]
    assert decisions.index("Notebook: Creating") < decisions.index("Notebook: Ready")
    assert story[-1]["text"] == "Put on hold"


def test_kinds_are_chosen(told):
    assert {line["kind"] for line in lines(told, "--kind", "wish")} == {"wish"}
    both = lines(told, "--kind", "news", "--kind", "wish")
    assert {line["kind"] for line in both} == {"news", "wish"}
    assert len(both) == len(lines(told, "--kind", "news")) + len(lines(told, "--kind", "wish"))


def test_as_csv_no_cell_is_a_formula(told):
    text = told.run("history", ANA, "-o", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["text"] for row in rows] == [line["text"] for line in lines(told)]
    assert rows[-1]["because"].startswith("'=case 4711")


def test_the_table_says_why_and_what(told):
    shown = told.run("history", ANA).stdout
    assert "2026-11-23 08:00" in shown
    assert "There is no instance yet." in shown
    assert "asked for" in shown
    assert shown.endswith("Times are UTC.\n")


def test_nothing_to_tell_is_said(told):
    assert "No such person" in told.run("history", "norah.stranger@example.com", code=1).stderr
    told.run("history", ANA, "--kind", "rumour", code=2)


def test_an_operation_is_its_last_part_at_a_terminal_and_whole_in_json(told):
    (whole,) = {line["ref"] for line in lines(told) if "/operations/" in line["ref"]}
    shown = told.run("history", ANA).stdout
    assert whole not in shown
    assert f"  {whole.rpartition('/')[2]}\n" in shown
