"""A small billing export, the real cost view over it run on DuckDB, and BigQuery's `jobs.query` before it on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from string import Template
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import sqlglot
from sqlglot import expressions as sql

from kit.inprocess import ROOT

TABLE = "acme-billing.costs.gcp_billing_export_v1_012EB3_BC4637_0FC348"
PROJECT = "acme-analytics"
VIEW = f"{PROJECT}.benchkeeper.cost_by_user"
TEXT = (ROOT / "config" / "deploy" / "cost_by_user.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One row of the standard usage cost export."""

    cost: float
    labels: dict[str, str]
    month: str = "202611"
    service: str = "Compute Engine"
    project: str = PROJECT
    credits: tuple[float, ...] = ()
    currency: str = "EUR"

    @property
    def net(self) -> float:
        return self.cost + sum(self.credits)

    def select(self) -> str:
        """The row in the export's shape."""
        given = ", ".join(f"{{'name': 'sustained use', 'amount': {amount}::DOUBLE}}" for amount in self.credits)
        tags = ", ".join(f"{{'key': '{key}', 'value': '{value}'}}" for key, value in self.labels.items())
        return (
            f"SELECT {{'month': '{self.month}'}} AS invoice, {{'description': '{self.service}'}} AS service, "
            f"{{'id': '{self.project}'}} AS project, '{self.currency}' AS currency, {self.cost}::DOUBLE AS cost, "
            f"[{given}]::STRUCT(name VARCHAR, amount DOUBLE)[] AS credits, "
            f"[{tags}]::STRUCT(key VARCHAR, value VARCHAR)[] AS labels"
        )


def view() -> str:
    """The view's text as a deployment writes it."""
    return Template(TEXT).substitute(billing_export=TABLE, project=PROJECT)


def database_of(bills: Sequence[Bill]) -> duckdb.DuckDBPyConnection:
    """A database whose table `export` is these rows."""
    database = duckdb.connect(":memory:")
    database.execute(f"CREATE TABLE export AS {' UNION ALL '.join(bill.select() for bill in bills)}")
    return database


def translated(text: str, tables: dict[str, sql.Expr]) -> str:
    """BigQuery's text in DuckDB's words, with these tables in the place of those that it names. Others are a `LookupError`."""
    tree = sqlglot.parse_one(text, read="bigquery")
    own = {cte.alias for cte in tree.find_all(sql.CTE)}
    for table in list(tree.find_all(sql.Table)):
        name = table.sql(dialect="bigquery").replace("`", "")
        if name not in own:
            table.replace(tables[name].copy())
    return tree.sql(dialect="duckdb")


def run_view(text: str, bills: Sequence[Bill]) -> list[dict[str, Any]]:
    """What the text of a view says over these rows, by column."""
    result = database_of(bills).execute(translated(text, {TABLE: sql.to_table("export")}))
    names = [column[0] for column in result.description]
    return [dict(zip(names, raw, strict=True)) for raw in result.fetchall()]


@dataclass
class BigQuery:
    """`jobs.query` and `jobs.getQueryResults` over one view. What it does not know in a request is a 400.

    `page_size` rows come at a time, a query is done at the `waits`-th look after its start, `refusal` is (status, error) of the next call.
    """

    bills: Sequence[Bill]
    location: str = "europe-west3"
    page_size: int = 1000
    waits: int = 0
    refusal: tuple[int, dict[str, Any]] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    _jobs: dict[str, tuple[list[str], list[list[str | None]]]] = field(default_factory=dict)

    def query(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run the query; its first page, or only the job while it runs."""
        self.asked.append(body)
        known = {
            "query", "useLegacySql", "parameterMode", "queryParameters", "timeoutMs", "maxResults", "maximumBytesBilled",
        }  # fmt: skip
        if project != PROJECT or set(body) - known or body.get("useLegacySql") is not False:
            raise BadRequestError(f"Invalid request: {sorted(set(body) - known)}")
        if body.get("parameterMode") != "NAMED" or not int(body["maximumBytesBilled"]) > 0:
            raise BadRequestError("Invalid parameter mode or limit")
        values = {}
        for each in body["queryParameters"]:
            if each["parameterType"] != {"type": "STRING"}:
                raise BadRequestError(f"Invalid type of {each['name']}")
            values[each["name"]] = each["parameterValue"]["value"]
        inner = sql.Subquery(
            this=sqlglot.parse_one(translated(view(), {TABLE: sql.to_table("export")}), read="duckdb"),
            alias=sql.TableAlias(this=sql.to_identifier("seen")),
        )
        result = database_of(self.bills).execute(translated(body["query"], {VIEW: inner}), values)
        names = [column[0] for column in result.description]
        rows = [[None if value is None else str(value) for value in row] for row in result.fetchall()]
        job = f"job_{len(self._jobs)}"
        self._jobs[job] = (names, rows)
        return self._page(job, 0, int(body["maxResults"]))

    def results(self, job: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of a job, which is found only where it runs."""
        if query.get("location") != self.location or job not in self._jobs:
            raise NotThereError(f"Not found: Job {PROJECT}:{job}")
        self.looks += 1
        return self._page(job, int(query.get("pageToken", "0")), int(query["maxResults"]))

    def _page(self, job: str, start: int, most: int) -> dict[str, Any]:
        told: dict[str, Any] = {
            "kind": "bigquery#queryResponse",
            "jobReference": {"projectId": PROJECT, "jobId": job, "location": self.location},
        }
        if self.waits:
            self.waits -= 1
            return told | {"jobComplete": False}
        names, rows = self._jobs[job]
        end = start + min(most, self.page_size)
        page = [{"f": [{"v": value} for value in row]} for row in rows[start:end]]
        more = {"pageToken": str(end)} if end < len(rows) else {}
        schema = {"fields": [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in names]}
        # No `rows` where there are none, as BigQuery answers.
        return told | {"jobComplete": True, "schema": schema, "totalRows": str(len(rows))} | more | (
            {"rows": page} if page else {}
        )  # fmt: skip


class BadRequestError(Exception):
    """400."""


class NotThereError(Exception):
    """404."""


@contextmanager
def serving(service: BigQuery) -> Iterator[str]:
    """The service on a port of this machine; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any] | None) -> None:
            status, told = _handled(service, self.path, body)
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            """Nothing: a test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handled(service: BigQuery, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
    if service.refusal is not None:
        status, error = service.refusal
        service.refusal = None
        return status, {"error": {"code": status, **error}}
    parts = urlsplit(path)
    match parts.path.split("/")[1:]:
        case ["bigquery", "v2", "projects", project, "queries"] if body is not None:
            call = lambda: service.query(project, body)  # noqa: E731 - one of two
        case ["bigquery", "v2", "projects", _, "queries", job] if body is None:
            call = lambda: service.results(job, {k: v[0] for k, v in parse_qs(parts.query).items()})  # noqa: E731 - the other
        case _:
            return 404, {"error": {"code": 404, "message": "Not Found"}}
    try:
        return 200, call()
    except BadRequestError as error:
        return 400, {"error": {"code": 400, "message": str(error), "errors": [{"reason": "invalidQuery"}]}}
    except (NotThereError, LookupError) as error:
        return 404, {"error": {"code": 404, "message": str(error), "errors": [{"reason": "notFound"}]}}
