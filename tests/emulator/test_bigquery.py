"""BigQuery's two calls over declared tables, read by the product's own adapter of costs."""

from __future__ import annotations

from typing import Any

import pytest
from kit.inprocess import ListLog, make_bench

from shared.cloud.costs import BigQueryCosts
from shared.domain.things.errors import PermanentError
from tests.emulator.data_kit import ID, DataCloud

VIEW = f"{ID}.benchkeeper.cost_by_user"
COLUMNS = ["month", "user_key", "currency", "net_cost"]
ASKED = "SELECT * FROM `benchkeeper-local.benchkeeper.cost_by_user`"
QUERIES = f"/bigquery/v2/projects/{ID}/queries"


def row(month: str, number: int, currency: str = "EUR") -> list[str | None]:
    return [month, f"person-{number:012x}", currency, f"{number}.5"]


def costs(bench: Any, view: str = VIEW) -> BigQueryCosts:
    return BigQueryCosts(bench.clients, project=ID, view=view, currency="EUR", log=ListLog())


def test_the_product_reads_the_costs_of_a_month(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shared.cloud.costs._PAGE", 2)
    bench = make_bench()
    rows = [row("202611", 1), row("202611", 2), row("202611", 3), row("202611", 4, "USD"), row("202610", 5)]
    bench.control("POST", "/_emulator/bigquery", {"table": VIEW, "columns": COLUMNS, "rows": rows})
    bench.cloud.world.load(bench.cloud.world.save())
    assert costs(bench).month("2026-11") == {f"person-{n:012x}": n + 0.5 for n in (1, 2, 3)}
    assert costs(bench).month("2026-12") == {}
    with pytest.raises(PermanentError):
        costs(bench, f"{ID}.benchkeeper.other").month("2026-11")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", QUERIES, {}, 400),
        ("POST", QUERIES, {"query": "SELECT 1"}, 400),
        ("POST", QUERIES, {"query": "SELECT 1 FROM `a.b.c`"}, 404),
        ("POST", QUERIES, {"query": ASKED, "colour": "red"}, 400),
        ("POST", QUERIES, {"query": ASKED, "queryParameters": [{"name": "x"}]}, 400),
        ("POST", QUERIES.replace(ID, "theirs"), {"query": ASKED}, 403),
        ("GET", f"{QUERIES}/job_x", None, 404),
        ("POST", "/_emulator/bigquery", {"table": "cost", "columns": ["a"]}, 400),
        ("POST", "/_emulator/bigquery", {"table": VIEW, "columns": []}, 400),
        ("POST", "/_emulator/bigquery", {"table": VIEW, "columns": ["a"], "rows": [["x", "y"]]}, 400),
    ],
)
def test_a_bad_request_is_refused(method, path, body, status):
    cloud = DataCloud.build()
    cloud.call("POST", "/_emulator/bigquery", {"table": VIEW, "columns": COLUMNS, "rows": []})
    cloud.refused(method, path, body, status=status)


def test_a_job_is_found_only_in_its_location():
    cloud = DataCloud.build()
    cloud.call("POST", "/_emulator/bigquery", {"table": VIEW, "columns": COLUMNS, "rows": [row("202611", 1)]})
    job = cloud.call("POST", QUERIES, {"query": ASKED})["jobReference"]
    assert cloud.call("GET", f"{QUERIES}/{job['jobId']}", location=job["location"])["totalRows"] == "1"
    cloud.refused("GET", f"{QUERIES}/{job['jobId']}", status=404, location="US")
