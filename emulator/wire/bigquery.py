"""The REST API of BigQuery v2: `jobs.query` and `jobs.getQueryResults`; `POST /_emulator/bigquery` declares a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route, route, with_query
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.bigquery import BigQueryModel
    from emulator.world import World


def routes(world: World, model: BigQueryModel) -> list[Route]:
    """Return the service's routes and the route of the control API."""

    def declare(call: Call) -> Any:
        with world.lock:
            declared = model.declare(call.json())
            world.touch()
        return declared

    def query(call: Call, _query: dict[str, str]) -> Any:
        return model.query(call.params["project"], call.json())

    def results(call: Call, query: dict[str, str]) -> Any:
        return model.results(call.params["project"], call.params["job"], query)

    path = "/bigquery/v2/projects/{project}/queries"
    known = ("location", "maxResults", "pageToken", "startIndex", "timeoutMs", "formatOptions.useInt64Timestamp")
    return [
        route("POST", path, CallSpec("bigquery", "jobs.query", permission="bigquery.jobs.create"), with_query(query),
              resource="projects/{project}"),
        route("GET", f"{path}/{{job}}", CallSpec("bigquery", "jobs.getQueryResults", permission="bigquery.jobs.create"),
              with_query(results, *known), resource="projects/{project}/jobs/{job}"),
        route("POST", "/_emulator/bigquery", None, declare),
    ]  # fmt: skip
