"""`benchkeeper costs`: everybody's month, one person's lines, and what can be asked of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from shared.settings import ENV_CONFIG
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
    assert " EUR, as of 2026-11-23 " in text
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
        shown = costs(terminal, "--by", by).output
        assert by.upper() in shown
        assert ("PEOPLE" in shown) is (by != "person")
        terminal.advance(minutes=20)  # the figures are of the sweep, not of the question
        assert f"as of {found['taken_at'].replace('T', ' ')[:16]} UTC" in costs(terminal, "--by", by).output
        assert costs(terminal, "--by", by, "-o", "csv").output.splitlines()[1:], by


def test_what_cannot_be_shown_is_said(terminal):
    assert "No sweep has listed all people yet" in costs(terminal, code=1).stderr
    ready(terminal)
    terminal.run("sweep", "drift")
    assert "No costs of 2020-01" in costs(terminal, "--month", "2020-01", code=1).stderr
    assert "'soon' is not a month" in costs(terminal, "--month", "soon", code=2).stderr
    assert "No costs of 2026-10" in costs(terminal, "--changes").output
    assert json.loads(costs(terminal, "--changes", "-o", "json").output)["rows"] == []


def test_limits_by_group(terminal):
    assert "No sweep has listed all people yet" in costs(terminal, "--by", "limit", code=1).stderr
    ready(terminal)
    terminal.run("sweep", "drift")
    assert "No group has a limit" in costs(terminal, "--by", "limit").output
    file = Path(terminal.environ[ENV_CONFIG]) / "profiles.yaml"
    file.write_text(
        file.read_text().replace(
            "priority: 10", "priority: 10\n    limits: {max_environments: 1, max_monthly_cost: 100}"
        )
    )
    for name in ("one", "two"):
        terminal.run("publish", "joiner", f"{name}@example.com", "--group", "data-analysts@example.com")
        terminal.deliver()
    terminal.run("sweep", "drift")
    terminal.advance(minutes=31)
    terminal.run("sweep", "due")
    terminal.run("sweep", "drift")
    assert "data-analysts@example.com" in costs(terminal, "--by", "limit").output
    rows = json.loads(costs(terminal, "--by", "limit", "-o", "json").output)["rows"]
    assert [(row["environments"], row["max_environments"], row["waiting"]) for row in rows] == [(1, 1, 1)]
    assert costs(terminal, "--by", "limit", "-o", "csv").output.startswith("group,max_environments,")
    assert "LimitReached" in terminal.run("show", "two@example.com", "-o", "json").output
    assert rows[0]["max_monthly_cost"] == 100
    assert rows[0]["overshoot"] == rows[0]["running_cost_an_hour"] / 6
    said = " ".join(terminal.run("validate-config", "--no-impact", "--no-directory").output.split())
    assert "Starts end within ten minutes after it is reached: each running notebook of analyst costs 0.03 more" in said
