"""The view of cost by user over the billing export, when one is named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.gcloud import Call
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_BIGQUERY = "bigquery.googleapis.com"
DATASET, VIEW = "benchkeeper", "cost_by_user"
_QUERY = "benchkeeper-query"


def views(target: Target) -> Iterator[Step]:
    """The dataset and the view."""
    export = target.deployment.options.billing_export
    if export is None:
        return
    project, dataset, _ = export.split(".")
    try:
        source = target.ask(
            _BIGQUERY, Call("bigquery", "GET", f"bigquery/v2/projects/{project}/datasets/{dataset}"), {}
        )
    except (NoAccessError, NotThereError) as error:
        because = (
            f"the billing export {project}.{dataset} cannot be read: {error.cause} See docs/operations.md, Cost by user"
        )
        yield Step(key=f"view {VIEW}", mark=Mark.KEEP, because=because)
        return
    yield _dataset(target, str(source.get("location", "")))
    yield _view(target)


def _dataset(target: Target, location: str) -> Step:
    key = f"dataset {DATASET}"
    if _found(target, f"datasets/{DATASET}") is not None:
        return same(key)
    body: dict[str, Any] = {
        "datasetReference": {"projectId": target.project, "datasetId": DATASET},
        "labels": {OURS: BENCHKEEPER},
        **({"location": location} if location else {}),
    }
    work = [Call("bigquery", "POST", f"bigquery/v2/projects/{target.project}/datasets", body)]
    # A view must be where what it reads is.
    return Step(key=key, mark=Mark.CREATE, because=f"in {location or 'the location of the export'}", work=work)


def _view(target: Target) -> Step:
    key, query = f"view {VIEW}", target.deployment.cost_view
    where = f"bigquery/v2/projects/{target.project}/datasets/{DATASET}/tables"
    digest = hashlib.sha256(query.encode()).hexdigest()[:12]
    body = {
        "tableReference": {"projectId": target.project, "datasetId": DATASET, "tableId": VIEW},
        "view": {"query": query, "useLegacySql": False},
        "labels": {OURS: BENCHKEEPER, _QUERY: digest},
    }
    found = _found(target, f"datasets/{DATASET}/tables/{VIEW}")
    needs = (f"dataset {DATASET}",)
    if found is None:
        work = [Call("bigquery", "POST", where, body)]
        return Step(
            key=key, mark=Mark.CREATE, because="cost by user, profile, cost centre and month", work=work, needs=needs
        )
    if found.get("view", {}).get("query") == query and not found.get("view", {}).get("useLegacySql"):
        return same(key)
    work = [Call("bigquery", "PATCH", f"{where}/{VIEW}", body)]
    return Step(key=key, mark=Mark.CHANGE, because="its query differs", work=work, needs=needs)


def _found(target: Target, path: str) -> Mapping[str, Any] | None:
    try:
        return (
            target.ask(_BIGQUERY, Call("bigquery", "GET", f"bigquery/v2/projects/{target.project}/{path}"), {}) or None
        )
    except NotThereError:
        return None
