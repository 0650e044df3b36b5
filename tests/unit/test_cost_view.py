"""The cost view, run: BigQuery's text, translated, over a small export whose sums are known."""

from __future__ import annotations

from string import Template

import duckdb
import pytest
import sqlglot
from kit.inprocess import ROOT
from sqlglot import expressions as sql

from shared.domain.identity import instance_id_for, parse_email, user_key_for
from shared.domain.notebook import LABEL_COST_CENTER, LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_USER, MANAGED_BY

TABLE = "acme-billing.costs.gcp_billing_export_v1_012EB3_BC4637_0FC348"
ANA, BEN = (parse_email(f"{name}@example.com") for name in ("ana.silva", "ben"))
KEY, OTHER = user_key_for(ANA), user_key_for(BEN)
TEXT = (ROOT / "config" / "deploy" / "cost_by_user.sql").read_text(encoding="utf-8")


def view() -> str:
    return Template(TEXT).substitute(billing_export=TABLE, project="acme-analytics")


def labels(user: str, profile: str = "analyst", cost_center: str = "cc-1200") -> dict[str, str]:
    """As they come with an instance: ours, Workbench's own and somebody else's."""
    return {
        "goog-something": "x",
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_USER: user,
        LABEL_PROFILE: profile,
        **({LABEL_COST_CENTER: cost_center} if cost_center else {}),
        "team": "analytics",
        "notebooks-product": "workbench-instances",
    }


# (month, service, project, cost, credits, labels)
ROWS = [
    ("202611", "Compute Engine", "acme-analytics", 10.0, [-1.0, -2.5], labels(KEY)),
    ("202611", "Compute Engine", "acme-analytics", 4.25, [], labels(KEY)),
    ("202611", "Notebooks", "acme-analytics", 1.5, [-1.5], labels(KEY)),
    ("202611", "Compute Engine", "acme-analytics", 7.0, [], labels(KEY, "engineer")),
    ("202611", "Compute Engine", "acme-analytics", 3.0, [], labels(KEY, cost_center="")),
    ("202612", "Compute Engine", "acme-analytics", 2.0, [-0.5], labels(KEY)),
    ("202611", "Compute Engine", "acme-analytics", 20.0, [-4.0], labels(OTHER)),
    # a disk that our labels did not reach
    ("202611", "Compute Engine", "acme-analytics", 0.75, [-0.25],
     {"notebooks-product": "workbench-instances", "resource-name": instance_id_for(ANA)}),
    # not ours
    ("202611", "Compute Engine", "acme-analytics", 99.0, [], {"notebooks-product": "workbench-instances", "resource-name": "nb-x"}),
    ("202611", "Compute Engine", "acme-analytics", 99.0, [], {"resource-name": instance_id_for(ANA)}),
    ("202611", "Compute Engine", "acme-analytics", 99.0, [], {LABEL_USER: KEY, LABEL_MANAGED_BY: "somebody"}),
    ("202611", "BigQuery", "acme-analytics", 99.0, [-9.0], {}),
    ("202611", "Compute Engine", "another-project", 99.0, [], labels(KEY)),
]  # fmt: skip

EXPECTED = {
    ("202611", KEY, "analyst", "cc-1200", "Compute Engine"): (10.75, 14.25, -3.5),
    ("202611", KEY, "analyst", "cc-1200", "Notebooks"): (0.0, 1.5, -1.5),
    ("202611", KEY, "engineer", "cc-1200", "Compute Engine"): (7.0, 7.0, 0.0),
    ("202611", KEY, "analyst", None, "Compute Engine"): (3.0, 3.0, 0.0),
    ("202612", KEY, "analyst", "cc-1200", "Compute Engine"): (1.5, 2.0, -0.5),
    ("202611", OTHER, "analyst", "cc-1200", "Compute Engine"): (16.0, 20.0, -4.0),
    ("202611", KEY, None, None, "Compute Engine"): (0.5, 0.75, -0.25),
}


def export_row(row: tuple[str, str, str, float, list[float], dict[str, str]]) -> str:
    """One row in the shape of the standard usage cost export."""
    month, service, project, cost, credited, labelled = row
    given = ", ".join(f"{{'name': 'sustained use', 'amount': {amount}::DOUBLE}}" for amount in credited)
    tags = ", ".join(f"{{'key': '{key}', 'value': '{value}'}}" for key, value in labelled.items())
    return (
        f"SELECT {{'month': '{month}'}} AS invoice, {{'description': '{service}'}} AS service, {{'id': '{project}'}} AS project, "
        f"'EUR' AS currency, {cost}::DOUBLE AS cost, [{given}]::STRUCT(name VARCHAR, amount DOUBLE)[] AS credits, "
        f"[{tags}]::STRUCT(key VARCHAR, value VARCHAR)[] AS labels"
    )


def run(text: str) -> dict[tuple[str | None, ...], tuple[float, ...]]:
    """The view's rows over `ROWS`, by month, user, profile, cost centre and service."""
    tree = sqlglot.parse_one(text, read="bigquery")
    for table in list(tree.find_all(sql.Table)):
        if table.sql(dialect="bigquery").replace("`", "") == TABLE:
            table.replace(sql.to_table("export"))
    database = duckdb.connect(":memory:")
    database.execute(f"CREATE TABLE export AS {' UNION ALL '.join(map(export_row, ROWS))}")
    result = database.execute(tree.sql(dialect="duckdb"))
    names = [column[0] for column in result.description]
    found = {}
    for raw in result.fetchall():
        row = dict(zip(names, raw, strict=True))
        key = tuple(row[name] for name in ("invoice_month", "user_key", "profile", "cost_center", "service"))
        assert key not in found
        assert row["currency"] == "EUR"
        found[key] = (row["net_cost"], row["cost"], row["credits"])
    return found


def test_each_person_has_what_their_environment_cost_net_of_credits():
    assert run(view()) == EXPECTED


def test_several_labels_and_credits_never_multiply_a_cost():
    ours = [row for row in ROWS if row[2] == "acme-analytics" and (row[3] != 99.0)]
    assert sum(cost for _, cost, _ in run(view()).values()) == sum(row[3] for row in ours)
    assert sum(net for net, _, _ in run(view()).values()) == sum(row[3] + sum(row[4]) for row in ours)


@pytest.mark.parametrize("label", [LABEL_USER, LABEL_PROFILE, LABEL_COST_CENTER, LABEL_MANAGED_BY])
def test_a_view_that_asks_for_another_label_is_seen(label):
    assert f"label.key = '{label}'" in TEXT
    assert run(view().replace(f"'{label}'", "'other'")) != EXPECTED


def test_the_text_is_bigquerys_and_joins_nothing():
    tree = sqlglot.parse_one(view(), read="bigquery")
    assert list(tree.find_all(sql.Join)) == []
    assert [column.alias_or_name for column in tree.selects] == [
        "invoice_month", "user_key", "profile", "cost_center", "service", "currency", "net_cost", "cost", "credits",
    ]  # fmt: skip
    assert f"`{TABLE}`" in view()
