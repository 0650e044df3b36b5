"""The REST API of BigQuery's `jobs.list`, and the control API that adds running jobs of BigQuery and on Dataproc's clusters.

`fields` asks for a partial response: `nextPageToken,jobs(state,configuration/labels)`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.bigquery_jobs import times_of
from emulator.wire.http import Call, Route, read_query, route
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.bigquery_jobs import BigQueryJobs
    from emulator.model.dataproc import DataprocModel
    from emulator.world import World


_TOKEN = re.compile(r"[A-Za-z_][\w]*|[(),/*]")


def partial(answer: dict[str, Any], selector: str) -> dict[str, Any]:
    """Return the part of an answer that a selector names; without a selector, the whole answer.

    Raise `ApiError` (400) for an invalid selector.
    """
    if not selector:
        return answer
    tokens = _TOKEN.findall(selector)
    if "".join(tokens) != selector:
        raise _invalid(selector)
    wanted = _fields(tokens, selector)
    if tokens:
        raise _invalid(selector)
    found = _cut(answer, wanted)
    return found if isinstance(found, dict) else {}


def _fields(tokens: list[str], selector: str) -> dict[str, Any]:
    """Consume a list of fields from the tokens. Return a mapping from name to nested fields, {} for a whole field."""
    found: dict[str, Any] = {}
    while True:
        if not tokens or tokens[0] in "(),/":
            raise _invalid(selector)
        path, inner = [tokens.pop(0)], {}
        while tokens[:1] == ["/"]:
            tokens.pop(0)
            if not tokens:
                raise _invalid(selector)
            path.append(tokens.pop(0))
        if tokens[:1] == ["("]:
            tokens.pop(0)
            inner = _fields(tokens, selector)
            if tokens[:1] != [")"]:
                raise _invalid(selector)
            tokens.pop(0)
        for name in reversed(path[1:]):
            inner = {name: inner}
        found[path[0]] = inner
        if tokens[:1] != [","]:
            return found
        tokens.pop(0)


def _cut(value: Any, wanted: dict[str, Any]) -> Any:
    if not wanted or "*" in wanted:
        return value
    if isinstance(value, list):
        return [_cut(each, wanted) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: _cut(value[name], inner) for name, inner in wanted.items() if name in value}


def _invalid(selector: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Invalid field selection {selector}", reason="invalidParameter")


_QUERY = (
    "allUsers", "stateFilter", "projection", "maxResults", "pageToken", "minCreationTime", "maxCreationTime", "parentJobId",
)  # fmt: skip
_OF_A_CLUSTER = {"cluster", "region", "job_id", "labels", "from", "until"}


def routes(world: World, queries: BigQueryJobs, dataproc: DataprocModel) -> list[Route]:
    """Return the route of `jobs.list` and the route of the control API."""

    def listing(call: Call) -> Any:
        query = read_query(call, _QUERY)
        unserved = sorted({"minCreationTime", "maxCreationTime"} & set(query))
        if unserved:
            raise ApiError("INVALID_ARGUMENT", f"the embedded cloud does not serve {unserved[0]}", reason="invalid")
        states = call.request.args.getlist("stateFilter")
        found = queries.listing(call.params["project"], query, states=states, principal=call.principal)
        return partial(found, call.query("fields"))

    def plant(call: Call) -> Any:
        body = call.json()
        with world.lock:
            if "cluster" in body:
                _plant_on_cluster(body)
            elif set(body) == {"projects"}:
                queries.declare(body["projects"])
            else:
                queries.plant(body)
            world.touch()
        return {}

    def _plant_on_cluster(body: dict[str, Any]) -> None:
        unknown = sorted(set(body) - _OF_A_CLUSTER)
        if unknown:
            raise ApiError("INVALID_ARGUMENT", f"unknown fields {unknown}; known: {sorted(_OF_A_CLUSTER)}")
        begun, ends = times_of(body, world.clock.now())
        reference = {"reference": {"jobId": body["job_id"]}} if "job_id" in body else {}
        job = {
            "placement": {"clusterName": body["cluster"]},
            "pysparkJob": {"mainPythonFileUri": "gs://jobs/main.py"},
            "labels": body.get("labels", {}),
        }
        parent = dataproc.region(world.project, body.get("region", "europe-west1"))
        dataproc.submit(parent, job | reference, submitted=begun, ends=ends)

    spec = CallSpec("bigquery", "jobs.list", permission="bigquery.jobs.listAll")  # the product asks for all users only
    return [
        route("GET", "/bigquery/v2/projects/{project}/jobs", spec, listing, resource="projects/{project}"),
        route("POST", "/_emulator/jobs", None, plant),
    ]
