"""The datasets, tables and views of BigQuery as resources. Queries are not served here."""

from __future__ import annotations

import re

from emulator.admin.functions_rules import check_labels
from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError

_ID = re.compile(r"\w{1,1024}", re.ASCII)
_FIRST_ACCESS = [
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
]
_FIXED = {"id", "selfLink", "kind", "creationTime", "etag", "type", "location"}


class Tables:
    """A service with datasets, stored by id, and with tables and views, stored by `dataset.table`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.datasets: dict[str, Json] = {}
        self.tables: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        return {
            "bigquery.datasets.insert": self.insert_dataset,
            "bigquery.datasets.get": self._dataset,
            "bigquery.datasets.list": self.list_datasets,
            "bigquery.datasets.patch": lambda ask: self.change_dataset(ask, replace=False),
            "bigquery.datasets.update": lambda ask: self.change_dataset(ask, replace=True),
            "bigquery.datasets.delete": self.delete_dataset,
            "bigquery.tables.insert": self.insert_table,
            "bigquery.tables.get": self._table,
            "bigquery.tables.list": self.list_tables,
            "bigquery.tables.patch": lambda ask: self.change_table(ask, replace=False),
            "bigquery.tables.update": lambda ask: self.change_table(ask, replace=True),
            "bigquery.tables.delete": self.delete_table,
        }

    def insert_dataset(self, ask: Ask) -> Json:
        """Answer `datasets.insert`."""
        self._check_project(ask)
        reference = ask.body.get("datasetReference", {})
        name = str(reference.get("datasetId", ""))
        self._check_reference(reference)
        if _ID.fullmatch(name) is None:
            raise _bad(f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus underscores).')
        if name in self.datasets:
            raise _exists(f"Dataset {self._ground.project}:{name}")
        check_labels(ask.body.get("labels", {}))
        first = {"access": _FIRST_ACCESS, "location": "US", "type": "DEFAULT"}
        self.datasets[name] = self._stamped({**first, **ask.body}, "dataset", name)
        return self.datasets[name]

    def change_dataset(self, ask: Ask, *, replace: bool) -> Json:
        """Answer `datasets.patch` and `datasets.update`; a dataset's location cannot change."""
        old = self._dataset(ask)
        check_labels(ask.body.get("labels") or {})
        if ask.body.get("location", old["location"]) != old["location"]:
            raise _bad("The location of a dataset cannot be changed.")
        self.datasets[ask.params["datasetId"]] = self._merged(old, ask.body, replace=replace)
        return self.datasets[ask.params["datasetId"]]

    def list_datasets(self, ask: Ask) -> Json:
        """Answer `datasets.list`."""
        self._check_project(ask)
        keys = ("kind", "id", "datasetReference", "labels", "location")
        rows = [{key: row[key] for key in keys if key in row} for _, row in sorted(self.datasets.items())]
        return {"kind": "bigquery#datasetList", **({"datasets": rows} if rows else {})}

    def delete_dataset(self, ask: Ask) -> Json:
        """Answer `datasets.delete`. A dataset with tables needs `deleteContents`."""
        self._dataset(ask)
        name = ask.params["datasetId"]
        held = [key for key in self.tables if key.startswith(f"{name}.")]
        if held and ask.query.get("deleteContents") not in ("true", "True"):
            raise ApiError(
                "INVALID_ARGUMENT", f"Dataset {self._ground.project}:{name} is still in use", reason="resourceInUse"
            )
        for key in held:
            del self.tables[key]
        del self.datasets[name]
        return {}

    def insert_table(self, ask: Ask) -> Json:
        """Answer `tables.insert`."""
        dataset = self._dataset(ask)
        reference = ask.body.get("tableReference", {})
        self._check_reference(reference)
        key = f"{ask.params['datasetId']}.{reference.get('tableId', '')}"
        if key in self.tables:
            raise _exists(f"Table {self._ground.project}:{key}")
        _check_view(ask.body)
        kind = "VIEW" if "view" in ask.body else "TABLE"
        self.tables[key] = self._stamped({**ask.body, "type": kind, "location": dataset["location"]}, "table", key)
        return self.tables[key]

    def change_table(self, ask: Ask, *, replace: bool) -> Json:
        """Answer `tables.patch` and `tables.update`."""
        old = self._table(ask)
        _check_view(ask.body)
        key = f"{ask.params['datasetId']}.{ask.params['tableId']}"
        self.tables[key] = self._merged(old, ask.body, replace=replace)
        return self.tables[key]

    def list_tables(self, ask: Ask) -> Json:
        """Answer `tables.list`."""
        self._dataset(ask)
        keys = ("kind", "id", "tableReference", "type", "labels")
        name = ask.params["datasetId"]
        rows = [
            {key: row[key] for key in keys if key in row}
            for key, row in sorted(self.tables.items())
            if key.startswith(f"{name}.")
        ]
        return {"kind": "bigquery#tableList", "totalItems": len(rows), **({"tables": rows} if rows else {})}

    def delete_table(self, ask: Ask) -> Json:
        """Answer `tables.delete`."""
        self._table(ask)
        del self.tables[f"{ask.params['datasetId']}.{ask.params['tableId']}"]
        return {}

    def _check_project(self, ask: Ask) -> None:
        self._ground.check_project(ask.params["projectId"])

    def _check_reference(self, reference: Json) -> None:
        self._ground.check_project(str(reference.get("projectId", self._ground.project)))

    def _dataset(self, ask: Ask) -> Json:
        self._check_project(ask)
        name = ask.params["datasetId"]
        if name not in self.datasets:
            raise _missing(f"Dataset {self._ground.project}:{name}")
        return self.datasets[name]

    def _table(self, ask: Ask) -> Json:
        self._dataset(ask)
        key = f"{ask.params['datasetId']}.{ask.params['tableId']}"
        if key not in self.tables:
            raise _missing(f"Table {self._ground.project}:{key}")
        return self.tables[key]

    def _stamped(self, body: Json, kind: str, key: str) -> Json:
        """Return the resource as it is stored, with the fields that the service sets."""
        stamps = {
            "kind": f"bigquery#{kind}",
            "id": f"{self._ground.project}:{key}",
            "creationTime": str(int(self._ground.embedded.world.clock.now().timestamp() * 1000)),
        }
        return {**body, **stamps, "etag": f"{self._ground.next_id():024x}"}

    def _merged(self, old: Json, new: Json, *, replace: bool) -> Json:
        fixed = {key: old[key] for key in _FIXED & set(old)}
        base = {} if replace else old
        merged = {**base, **new, **fixed}
        return {key: value for key, value in merged.items() if value is not None} | {
            "etag": f"{self._ground.next_id():024x}"
        }


def _check_view(body: Json) -> None:
    if "view" in body and not body["view"].get("query"):
        raise _bad("View definition is missing a query.")


def _bad(text: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", text, reason="invalid")


def _exists(what: str) -> ApiError:
    return ApiError("ALREADY_EXISTS", f"Already Exists: {what}", reason="duplicate")


def _missing(what: str) -> ApiError:
    return ApiError("NOT_FOUND", f"Not found: {what}", reason="notFound")
