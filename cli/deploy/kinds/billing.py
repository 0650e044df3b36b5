"""The BigQuery view of cost by user over the billing export, if an export is configured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.deploy.failures import NoAccessError, NotThereError
from cli.deploy.gcloud import Call
from cli.deploy.kinds.access import grant_key
from cli.deploy.step import Mark, Step, same
from cli.deploy.target import BENCHKEEPER, OURS, Target

_BIGQUERY = "bigquery.googleapis.com"
DATASET, VIEW = "benchkeeper", "cost_by_user"
_QUERY = "benchkeeper-query"


def views(target: Target) -> Iterator[Step]:
    """Yield the steps for the dataset, the view and the access to them; none without an export.

    If the export cannot be read, yield only a note that says why there is no view. If the export's dataset does not let
    the view read, add a note.
    """
    export = target.deployment.options.billing_export
    if export is None:
        return
    project, dataset_id, _ = export.split(".")
    try:
        source = target.ask(
            _BIGQUERY, Call("bigquery", "GET", f"bigquery/v2/projects/{project}/datasets/{dataset_id}"), {}
        )
    except (NoAccessError, NotThereError) as error:
        because = f"the billing export {project}.{dataset_id} cannot be read: {error.cause} See docs/operations.md, Cost by user"
        yield Step(key=f"view {VIEW}", mark=Mark.KEEP, because=because)
        return
    dataset = _found(target, f"datasets/{DATASET}")
    yield _dataset(target, dataset, str(source.get("location", "")))
    yield _view(target)
    yield from _readers(target, dataset)
    if not _sees(target, source):
        because = (
            f"{project}.{dataset_id} does not let the view read yet, so the pages show no costs from it: "
            "docs/operations.md, Cost by user"
        )
        yield Step(key=f"authorized {VIEW}", mark=Mark.KEEP, because=because)


def _dataset(target: Target, found: Mapping[str, Any] | None, location: str) -> Step:
    key = f"dataset {DATASET}"
    if found is not None:
        return same(key)
    body: dict[str, Any] = {
        "datasetReference": {"projectId": target.project, "datasetId": DATASET},
        "labels": {OURS: BENCHKEEPER},
        **({"location": location} if location else {}),
    }
    work = [Call("bigquery", "POST", f"bigquery/v2/projects/{target.project}/datasets", body)]
    # A view must be in the location of the tables that it reads.
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


# ---- the readers of the view


def _readers(target: Target, found: Mapping[str, Any] | None) -> Iterator[Step]:
    """Yield a step for each grant of roles.yaml on the view's dataset; other entries in its access list stay."""
    for grant in (each for each in target.deployment.grants if each.on == "cost-dataset"):
        key, email = grant_key(grant, on=grant.on), target.member(grant.to).partition(":")[2]
        if found is not None and _reads(found, email):
            yield same(key)
            continue
        work = [lambda email=email: _let_in(target, email)]
        needs = (f"dataset {DATASET}", "account")
        yield Step(
            key=key, mark=Mark.CREATE, because="added to the existing access list", work=work, needs=needs, lane=DATASET
        )


def _reads(dataset: Mapping[str, Any], email: str) -> bool:
    return any(each in _entries(email) for each in dataset.get("access", []))


def _entries(email: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the two equivalent forms of an entry that lets `email` read the dataset.

    BigQuery accepts the role of IAM, and returns its own older name for that role.
    """
    return {"role": "READER", "userByEmail": email}, {"role": "roles/bigquery.dataViewer", "userByEmail": email}


def _let_in(target: Target, email: str) -> list[Call]:
    """Return the call that adds an entry for `email` to the dataset's access list, or no call if the entry exists by now.

    The list is read first, because it can only be written as a whole.
    """
    where = f"bigquery/v2/projects/{target.project}/datasets/{DATASET}"
    now = target.gcloud.call(Call("bigquery", "GET", where))
    if _reads(now, email):
        return []
    return [Call("bigquery", "PATCH", where, {"access": [*now.get("access", []), _entries(email)[0]]})]


def readers(target: Target, dataset: Mapping[str, Any]) -> list[str]:
    """Return the addresses of Benchkeeper's accounts that may read the dataset."""
    return [email for key in target.deployment.accounts if _reads(dataset, email := target.account(key))]


def shut_out(target: Target, emails: Sequence[str]) -> list[Call]:
    """Return the call that removes `emails` from the dataset's access list; an empty list if none of them has access."""
    where = f"bigquery/v2/projects/{target.project}/datasets/{DATASET}"
    now = target.gcloud.call(Call("bigquery", "GET", where)).get("access", [])
    left = [each for each in now if each.get("userByEmail") not in emails]
    return [Call("bigquery", "PATCH", where, {"access": left})] if left != now else []


def _sees(target: Target, export: Mapping[str, Any]) -> bool:
    """Return True if the export's dataset lets the view read, or if the deploying account cannot see its access list."""
    view = {"projectId": target.project, "datasetId": DATASET, "tableId": VIEW}
    return "access" not in export or any(each.get("view") == view for each in export["access"])


def _found(target: Target, path: str) -> Mapping[str, Any] | None:
    try:
        return (
            target.ask(_BIGQUERY, Call("bigquery", "GET", f"bigquery/v2/projects/{target.project}/{path}"), {}) or None
        )
    except NotThereError:
        return None
