"""`python -m tests.kit.fidelity`: record, extract and score. How to add to the table stands in docs/testing.md.

add FILE DOCUMENTS    adds the recorded calls of FILE; DOCUMENTS is the folder of google-api-python-client's discovery documents
score                 prints the score, and each miss with who uses the method
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.kit.fidelity import (
    DISCOVERY,
    TABLE,
    Method,
    Used,
    discovery,
    fields,
    method_of,
    methods_of,
    miss,
    read,
    table,
    write,
)

APIS = (
    "bigquery.v2", "cloudidentity.v1", "cloudresourcemanager.v1", "cloudscheduler.v1", "compute.v1", "dataproc.v1", "iam.v1",
    "logging.v2", "monitoring.v3", "notebooks.v2", "pubsub.v1", "storage.v1",
)  # fmt: skip


def rows_of(calls: Iterable[dict[str, Any]], known: list[Method]) -> Iterator[Used]:
    """Yield the fields of recorded calls; a call that no document has is a row of its own."""
    for call in calls:
        method = method_of(known, call["verb"], call["path"])
        if method is None:
            yield Used(f"{call['verb']} {call['path']}", "answer", "", "object")
            continue
        yield from (Used(method.id, "query", name, "string") for name in call["query"])
        for part, name in (("body", method.body), ("answer", method.answer)):
            yield from (Used(method.id, part, *each) for each in fields(call[part], method, {"$ref": name}))


def _slim(schema: Any) -> Any:
    """Return a schema without its words."""
    kept = ("$ref", "type", "properties", "items", "additionalProperties", "format")
    if isinstance(schema, dict):
        return {
            key: {name: _slim(each) for name, each in value.items()}
            if key == "properties"
            else _slim(value)
            if key in kept[3:5]
            else value
            for key, value in schema.items()
            if key in kept
        }
    return schema


def extract(folder: Path, wanted: set[str]) -> list[dict[str, Any]]:
    """Return the documents of the folder with these methods only, and without words."""
    found = []
    for api in APIS:
        document = json.loads((folder / f"{api}.json").read_text(encoding="utf-8"))
        keys = (
            "id",
            "httpMethod",
            "path",
            "flatPath",
            "parameters",
            "request",
            "response",
            "mediaUpload",
            "supportsMediaDownload",
        )
        methods = {
            each["id"]: {
                key: {name: {"location": one["location"]} for name, one in each[key].items()}
                if key == "parameters"
                else each[key]
                for key in keys
                if key in each
            }
            for each in methods_of(document)
            if each["id"] in wanted
        }
        if methods:
            schemas = {name: _slim(schema) for name, schema in document["schemas"].items()}
            found.append(
                {
                    "revision": document["revision"],
                    "servicePath": document["servicePath"],
                    "parameters": {name: {} for name in document.get("parameters", {})},
                    "methods": methods,
                    "schemas": _reachable(schemas, methods.values()),
                }
            )
    return found


def _reachable(schemas: dict[str, Any], methods: Iterable[dict[str, Any]]) -> dict[str, Any]:
    # An Any names its message only in the call: messages of operations are kept by their usual names.
    waiting = [each[key]["$ref"] for each in methods for key in ("request", "response") if key in each]
    waiting += [name for name in schemas if name.endswith("Metadata")]
    kept: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name in kept or name not in schemas:
            continue
        kept[name] = schemas[name]
        waiting += [part.partition('"')[0] for part in json.dumps(schemas[name]).split('"$ref": "')[1:]]
    return kept


def add(file: Path, folder: Path) -> None:
    """Add the recorded calls to the table, and what the documents say of their methods."""
    everything = read(json.loads((folder / f"{api}.json").read_text(encoding="utf-8")) for api in APIS)
    with file.open(encoding="utf-8") as lines:
        rows = {*rows_of(map(json.loads, lines), everything), *(table() if TABLE.is_file() else ())}
    write(rows)
    documents = extract(folder, {row.method for row in rows})
    DISCOVERY.write_bytes(gzip.compress(json.dumps(documents, sort_keys=True).encode(), mtime=0))
    print(f"{len(rows)} fields of {len({row.method for row in rows})} methods")  # noqa: T201 - a command's own output


def score() -> None:
    """Print the score and the misses."""
    rows, known = table(), {method.id: method for method in discovery()}
    misses = [(row, why) for row in rows if (why := miss(row, known)) is not None]
    for row, why in misses:
        print(f"{row.method}\t{row.part}\t{row.field}\t{why}")  # noqa: T201 - a command's own output
    print(f"{len(rows) - len(misses)} of {len(rows)} fields, {100 * (1 - len(misses) / len(rows)):.2f} %")  # noqa: T201


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["add", file, folder]:
            add(Path(file), Path(folder))
        case ["score"]:
            score()
        case _:
            sys.exit(__doc__)
