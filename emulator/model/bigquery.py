"""BigQuery's `jobs.query` and `jobs.getQueryResults` over declared tables. No SQL is run.

A query returns the declared rows of the table that it names. A query parameter with a column's name selects the rows
with its value, and the column is left out of the result. That is enough for a view that is read by month.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.notebooks_fresh import digest

if TYPE_CHECKING:
    from emulator.world import World

_TABLE = re.compile(r"[\w-]+\.\w+\.\w+")
_NAMED = re.compile(r"`([\w-]+\.\w+\.\w+)`")
_LOCATION = "europe-west1"
_PAGE = 10_000
_KNOWN = frozenset(
    [
        "query", "useLegacySql", "parameterMode", "queryParameters", "timeoutMs", "maxResults", "maximumBytesBilled", "kind",
        "location", "labels", "requestId", "useQueryCache", "dryRun", "defaultDataset",
    ]
)  # fmt: skip


@dataclass(slots=True)
class _Table:
    columns: list[str]
    rows: list[list[str | None]] = field(default_factory=list)


class BigQueryModel:
    """The model of BigQuery's queries: declared tables and views, and the jobs of queries over them (as long as the process lives)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables: dict[str, _Table] = {}
        self._jobs: dict[str, _Table] = {}

    def dump(self) -> Any:
        """Return the tables; jobs are not saved."""
        return {name: {"columns": table.columns, "rows": table.rows} for name, table in self._tables.items()}

    def load(self, state: Any) -> None:
        """Restore the tables from a result of `dump`."""
        self._tables = {name: _Table(each["columns"], each["rows"]) for name, each in state.items()}

    def declare(self, body: dict[str, Any]) -> dict[str, Any]:
        """Declare a table or view: `table`, `columns`, and `rows` of texts or nulls. A table or view of the same name is replaced.

        Raise `ApiError` (400) for an invalid declaration.
        """
        name, columns, rows = body.get("table"), body.get("columns"), body.get("rows", [])
        if set(body) - {"table", "columns", "rows"} or not isinstance(name, str) or not _TABLE.fullmatch(name):
            raise ApiError("INVALID_ARGUMENT", "a table needs `table` (project.dataset.name), `columns` and `rows`")
        if not isinstance(columns, list) or not columns or not all(isinstance(each, str) for each in columns):
            raise ApiError("INVALID_ARGUMENT", "`columns` are the names of the columns")
        if not isinstance(rows, list) or not all(_fits(row, len(columns)) for row in rows):
            raise ApiError("INVALID_ARGUMENT", f"`rows` are lists of {len(columns)} texts or nulls")
        self._tables[name] = _Table(columns, rows)
        return {"table": name, "columns": columns, "rows": len(rows)}

    def query(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `jobs.query`, always complete at once."""
        self._check(project)
        unknown = sorted(set(body) - _KNOWN)
        if unknown:
            text = f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
            raise ApiError("INVALID_ARGUMENT", text, reason="badRequest")
        asked = body.get("query")
        if not isinstance(asked, str) or not asked:
            raise ApiError("INVALID_ARGUMENT", "Required parameter is missing: query", reason="required")
        named = _NAMED.search(asked)
        if named is None:
            raise ApiError(
                "INVALID_ARGUMENT", "The query names no table as `project.dataset.name`.", reason="invalidQuery"
            )
        table = self._tables.get(named[1])
        if table is None:
            where = named[1].replace(".", ":", 1)
            raise ApiError(
                "NOT_FOUND", f"Not found: Table {where} was not found in location {_LOCATION}", reason="notFound"
            )
        job = f"job_{digest(asked, len(self._jobs))[:28]}"
        self._jobs[job] = _chosen(table, body.get("queryParameters", []))
        return {"kind": "bigquery#queryResponse"} | self._page(project, job, 0, body.get("maxResults"))

    def results(self, project: str, job: str, query: dict[str, str]) -> dict[str, Any]:
        """Answer `jobs.getQueryResults`; a job is found only in its own location."""
        self._check(project)
        start, most = query.get("pageToken", "0"), query.get("maxResults", str(_PAGE))
        if job not in self._jobs or query.get("location", _LOCATION) != _LOCATION:
            raise ApiError("NOT_FOUND", f"Not found: Job {project}:{job}", reason="notFound")
        if not start.isdigit() or not most.isdigit():
            raise ApiError("INVALID_ARGUMENT", "Invalid page token or maxResults.", reason="invalid")
        return {"kind": "bigquery#getQueryResultsResponse"} | self._page(project, job, int(start), int(most))

    def _check(self, project: str) -> None:
        if project != self._world.project:
            text = f"Access Denied: Project {project}: User does not have bigquery.jobs.create permission in project {project}."
            raise ApiError("PERMISSION_DENIED", text, reason="accessDenied")

    def _page(self, project: str, job: str, start: int, most: Any) -> dict[str, Any]:
        table = self._jobs[job]
        end = start + min(int(most or _PAGE), _PAGE)
        page: dict[str, Any] = {
            "jobReference": {"projectId": project, "jobId": job, "location": _LOCATION},
            "jobComplete": True,
            "schema": {"fields": [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in table.columns]},
            "totalRows": str(len(table.rows)),
            "totalBytesProcessed": "0",
            "cacheHit": False,
        }
        rows = [{"f": [{"v": value} for value in row]} for row in table.rows[start:end]]
        return page | ({"rows": rows} if rows else {}) | ({"pageToken": str(end)} if end < len(table.rows) else {})


def _fits(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width and all(each is None or isinstance(each, str) for each in row)


def _chosen(table: _Table, parameters: Any) -> _Table:
    """Return the table's rows that match the query parameters, without the columns of these parameters; raise 400 for a malformed parameter."""
    try:
        wanted = {str(each["name"]): each["parameterValue"]["value"] for each in parameters}
    except (TypeError, KeyError) as error:
        raise ApiError("INVALID_ARGUMENT", "Invalid query parameter.", reason="invalidQuery") from error
    rows = [
        row
        for row in table.rows
        if all(value == wanted.get(name, value) for name, value in zip(table.columns, row, strict=True))
    ]
    kept = [number for number, name in enumerate(table.columns) if name not in wanted]
    return _Table([table.columns[number] for number in kept], [[row[number] for number in kept] for row in rows])
