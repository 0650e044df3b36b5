"""The cost view, run: BigQuery's text, translated, over a small export whose sums are known."""

from __future__ import annotations

import pytest
import sqlglot
import yaml
from kit.bills import TABLE, TEXT, Bill, run_view, view
from kit.inprocess import ROOT, local_settings
from kit.making import ANALYSTS, NOW, joined, with_event
from msgspec.structs import replace
from sqlglot import expressions as sql

from cli.deploy.kinds import billing
from shared.cloud.dataproc.cluster_render import render
from shared.domain.intent.wanted import new_record
from shared.domain.template.sessions import labels_of, offers
from shared.domain.things.catalog import MasterTemplate
from shared.domain.things.identity import (
    first_instance_id,
    instance_id_for,
    next_instance_id,
    parse_email,
    user_key_for,
)
from shared.domain.things.notebook import LABEL_COST_CENTER, LABEL_MANAGED_BY, LABEL_PROFILE, LABEL_USER, MANAGED_BY
from shared.wiring import render_target

ANA, BEN = (parse_email(f"{name}@example.com") for name in ("ana.silva", "ben"))
KEY, OTHER = user_key_for(ANA), user_key_for(BEN)
WORKBENCH = {"notebooks-product": "workbench-instances"}


def labels(user: str, profile: str = "analyst", cost_center: str = "cc-1200") -> dict[str, str]:
    """As they come with an instance: ours, Workbench's own and somebody else's."""
    return {
        "goog-something": "x",
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_USER: user,
        LABEL_PROFILE: profile,
        **({LABEL_COST_CENTER: cost_center} if cost_center else {}),
        "team": "analytics",
        **WORKBENCH,
    }


ROWS = [
    Bill(cost=10.0, credits=(-1.0, -2.5), labels=labels(KEY)),
    Bill(cost=4.25, labels=labels(KEY)),
    Bill(cost=1.5, credits=(-1.5,), labels=labels(KEY), service="Notebooks"),
    Bill(cost=7.0, labels=labels(KEY, "engineer")),
    Bill(cost=3.0, labels=labels(KEY, cost_center="")),
    Bill(cost=2.0, credits=(-0.5,), labels=labels(KEY), month="202612"),
    Bill(cost=20.0, credits=(-4.0,), labels=labels(OTHER)),
    # disks that our labels did not reach: of the first instance, and of one that took its place
    Bill(cost=0.75, credits=(-0.25,), labels={**WORKBENCH, "resource-name": instance_id_for(ANA)}),
    Bill(cost=0.5, labels={**WORKBENCH, "resource-name": next_instance_id(KEY, 2)}),
    # not ours
    Bill(cost=99.0, labels={**WORKBENCH, "resource-name": "nb-x"}),
    Bill(cost=99.0, labels={**WORKBENCH, "resource-name": f"{instance_id_for(ANA)}-data"}),
    Bill(cost=99.0, labels={"resource-name": instance_id_for(ANA)}),
    Bill(cost=99.0, labels={LABEL_USER: KEY, LABEL_MANAGED_BY: "somebody"}),
    Bill(cost=99.0, credits=(-9.0,), labels={}, service="BigQuery"),
    Bill(cost=99.0, labels=labels(KEY), project="another-project"),
]

EXPECTED = {
    ("202611", KEY, "analyst", "cc-1200", "Compute Engine"): (10.75, 14.25, -3.5),
    ("202611", KEY, "analyst", "cc-1200", "Notebooks"): (0.0, 1.5, -1.5),
    ("202611", KEY, "engineer", "cc-1200", "Compute Engine"): (7.0, 7.0, 0.0),
    ("202611", KEY, "analyst", None, "Compute Engine"): (3.0, 3.0, 0.0),
    ("202612", KEY, "analyst", "cc-1200", "Compute Engine"): (1.5, 2.0, -0.5),
    ("202611", OTHER, "analyst", "cc-1200", "Compute Engine"): (16.0, 20.0, -4.0),
    ("202611", KEY, None, None, "Compute Engine"): (1.0, 1.25, -0.25),
}


def run(text: str) -> dict[tuple[str | None, ...], tuple[float, ...]]:
    """The view's rows over `ROWS`, by month, user, profile, cost centre and service."""
    found = {}
    for row in run_view(text, ROWS):
        key = tuple(row[name] for name in ("invoice_month", "user_key", "profile", "cost_center", "service"))
        assert key not in found
        assert row["currency"] == "EUR"
        found[key] = (row["net_cost"], row["cost"], row["credits"])
    return found


def test_each_person_has_what_their_environment_cost_net_of_credits():
    assert run(view()) == EXPECTED


def test_several_labels_and_credits_never_multiply_a_cost():
    ours = [row for row in ROWS if row.cost != 99.0]
    assert sum(cost for _, cost, _ in run(view()).values()) == sum(row.cost for row in ours)
    assert sum(net for net, _, _ in run(view()).values()) == sum(row.net for row in ours)


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


def test_the_view_is_looked_for_where_a_deployment_makes_it():
    settings = local_settings(project="acme-analytics", billing_export=TABLE)
    assert settings.cost_view == f"acme-analytics.{billing.DATASET}.{billing.VIEW}"
    assert local_settings(billing_export=None).cost_view is None


def test_the_instance_of_every_naming_is_its_persons():
    addresses = ["ana.silva@example.com", "x@example.com", "a-000000000000@b.example", "ben-2@example.com", "9@e.org"]
    keys = [user_key_for(parse_email(address)) for address in addresses]
    names = [(key, first_instance_id(key)) for key in keys]
    names += [(key, next_instance_id(key, naming)) for key in keys for naming in (2, 3, 10, 99, 100, 999, 1000, 4711)]
    rows = run_view(view(), [Bill(cost=1.0, labels={**WORKBENCH, "resource-name": name}) for _, name in names])
    assert {row["user_key"]: row["cost"] for row in rows} == dict.fromkeys(keys, 9.0)


@pytest.mark.parametrize(
    "name",
    [
        "nb-ana-4a7f0c21b3de-0",
        "nb-ana-4a7f0c21b3de-1000",
        "nb-ana-4a7f0c21b3de-2-3",
        "nb--4a7f0c21b3de",
        "nb-9-4a7f0c21b3de",
    ],
)
def test_a_name_that_is_not_computed_here_is_nobodys(name):
    assert run_view(view(), [Bill(cost=1.0, labels={**WORKBENCH, "resource-name": name})]) == []


@pytest.mark.parametrize("name", ["single-node", "personal-auth-cluster"])
def test_a_spark_cluster_is_on_its_persons_bill_with_profile_and_cost_centre(name):
    record = replace(with_event(new_record(ANA, NOW), joined(groups=(ANALYSTS,))), cost_center="CC 1200")
    record = replace(record, spec=replace(record.spec, profile="analyst"))
    master = MasterTemplate(
        name=name, text=(ROOT / "config" / "templates" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    made = yaml.safe_load(render(master, record, render_target(local_settings())))
    machine = {**made["labels"], "goog-dataproc-cluster-name": made["clusterName"]}
    (row,) = run_view(view(), [Bill(cost=2.5, labels=machine)])
    assert (row["user_key"], row["profile"], row["cost_center"], row["cost"]) == (KEY, "analyst", "cc-1200", 2.5)


def test_a_serverless_session_has_a_profile_and_is_on_nobodys_bill():
    catalog = local_settings().catalog
    offered = {offer.profile: labels_of(offer, catalog.profiles[offer.profile]) for offer in offers(catalog)}
    assert offered["analyst"][LABEL_PROFILE] == "analyst"
    bills = [Bill(cost=5.0, labels=each, service="Cloud Dataproc") for each in offered.values()]
    assert bills
    assert run_view(view(), bills) == []
