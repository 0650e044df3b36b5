"""`benchkeeper costs`: everybody's month, one person's lines, and what can be asked of it."""

from __future__ import annotations

import csv
import io
import json

from tests.cli.test_commands import ready


def costs(terminal, *words, code=0):
    return terminal.run("costs", *words, code=code)


def test_a_persons_hours_are_shown_with_their_machine(terminal):
    ready(terminal)
    terminal.advance(hours=10)
    rows = json.loads(costs(terminal, "ana.silva@example.com", "-o", "json").output)["rows"]
    assert [(row["kind"], row["machine"], row["price"]) for row in rows] == [("notebook", "e2-standard-4", "0.18")]
    assert rows[0]["cost"] == round(rows[0]["seconds"] / 3600 * 0.18, 4)
    text = costs(terminal, "ana.silva@example.com").output
    assert "notebook, analyst, e2-standard-4" in text
    made = list(csv.DictReader(io.StringIO(costs(terminal, "ana.silva@example.com", "-o", "csv").output)))
    assert made[0]["seconds"] == str(rows[0]["seconds"])


def test_everybodys_month_by_each_grouping(terminal):
    ready(terminal)
    terminal.advance(hours=3)
    terminal.run("sweep", "drift")
    for by in ("person", "profile", "cost-center", "department", "kind", "month"):
        found = json.loads(costs(terminal, "--by", by, "-o", "json").output)
        assert sum(row["notebook_hours"] for row in found["rows"]) > 3, by
        assert by.upper() in costs(terminal, "--by", by).output
        assert costs(terminal, "--by", by, "-o", "csv").output.splitlines()[1:], by


def test_what_cannot_be_shown_is_said(terminal):
    assert "No sweep has listed everybody yet" in costs(terminal, code=1).stderr
    ready(terminal)
    terminal.run("sweep", "drift")
    assert "Nothing is stored of 2020-01" in costs(terminal, "--month", "2020-01", code=1).stderr
    assert "'soon' is no month" in costs(terminal, "--month", "soon", code=2).stderr
    assert "Nothing is stored of 2026-10" in costs(terminal, "--changes").output
    assert json.loads(costs(terminal, "--changes", "-o", "json").output)["rows"] == []
