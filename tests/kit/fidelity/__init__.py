"""How faithful the embedded cloud is: each method and field that is used, against Google's discovery documents.

`tests/data/fidelity.tsv` has the denominator: the fields of the requests and answers of the product, the deployment, the
runbook and the documents, recorded while their tests ran. It only grows. `tests/data/discovery.json.gz` has what the discovery
documents say of the methods in it. `tests/kit/fidelity/__main__.py` records, extracts and scores.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parents[2] / "data"
TABLE, DISCOVERY = DATA / "fidelity.tsv", DATA / "discovery.json.gz"
# Fields that no discovery document has because the API's own front end adds or takes them.
_ALWAYS = {"query": {"$alt", "alt", "fields", "key", "prettyPrint", "uploadType", "upload_id", "userProject", "name"}}
_JSON = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "object": (dict,), "array": (list,),
    "any": (object,),
}  # fmt: skip


class Used(NamedTuple):
    """A field that was used: the method's id, `query`, `body` or `answer`, the path of the field, and its JSON type."""

    method: str
    part: str
    field: str
    kind: str


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a discovery document, with the document's schemas."""

    id: str
    verb: str
    path: re.Pattern[str]
    query: frozenset[str]
    body: str
    answer: str
    schemas: Mapping[str, Any]
    fixed: int


def methods_of(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all methods of a discovery document or of a resource in it."""
    yield from document.get("methods", {}).values()
    for resource in document.get("resources", {}).values():
        yield from methods_of(resource)


def read(documents: Iterable[Mapping[str, Any]]) -> list[Method]:
    """Return the methods of these documents, the most specific paths first."""
    found = []
    for document in documents:
        common = set(document.get("parameters", {}))
        base = "/" + document.get("servicePath", "")
        for method in methods_of(document):
            parameters = {name for name, each in method.get("parameters", {}).items() if each["location"] == "query"}
            upload = method.get("mediaUpload", {}).get("protocols", {})
            paths = [base + method.get("flatPath", method["path"]), base + method["path"]]
            paths += [each["path"] for each in upload.values()]
            if method.get("supportsMediaDownload"):
                paths.append(f"/download{base}{method['path']}")
            found += [
                Method(
                    method["id"],
                    method["httpMethod"],
                    _pattern(path),
                    frozenset(common | parameters),
                    method.get("request", {}).get("$ref", ""),
                    method.get("response", {}).get("$ref", ""),
                    document["schemas"],
                    len(re.sub(r"\{[^}]*\}", "", path)),
                )
                for path in dict.fromkeys(paths)
            ]
    return sorted(found, key=lambda method: -method.fixed)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]*\})", path)
    text = "".join(
        ".+" if part.startswith("{+") else "[^/:]+" if part.startswith("{") else re.escape(part) for part in parts
    )
    return re.compile(f"^{text}$")


@cache
def discovery() -> list[Method]:
    """Return the committed methods."""
    return read(json.loads(gzip.decompress(DISCOVERY.read_bytes())))


def method_of(known: Iterable[Method], verb: str, path: str) -> Method | None:
    """Return the method that a call is, or None."""
    path = re.sub(r"^/resumable(?=/upload/)", "", path)
    if path.startswith("/upload/") and verb == "PUT":  # the chunks of an upload that a POST began
        verb = "POST"
    return next((method for method in known if method.verb == verb and method.path.match(path)), None)


def fields(value: Any, method: Method, schema: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and JSON type of each field in a value. A key of a map, and an item of a list, is `*`."""
    schema = _resolved(schema, method)
    if isinstance(value, dict):
        if "@type" in value:  # an Any: the schema of the message that it holds
            schema = {"properties": _any(method, str(value["@type"]))}
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            if key == "@type":
                continue
            inner = f"{path}.{key}" if key in known or not more else f"{path}.*"
            yield inner.removeprefix("."), _type(item)
            yield from fields(item, method, known.get(key, more or {}), inner)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from fields(item, method, schema.get("items", {}), f"{path}[]")


def _resolved(schema: Any, method: Method) -> Mapping[str, Any]:
    found: Any = schema
    while isinstance(found, dict) and "$ref" in found:
        found = method.schemas.get(found["$ref"], {})
    return found if isinstance(found, dict) else {}


def _any(method: Method, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = method.schemas.get(name.rpartition(".")[2], {}).get("properties", {})
    return found


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "null")


def miss(used: Used, known: Mapping[str, Method]) -> str | None:
    """Return why the discovery documents do not have the field so, or None if they do."""
    method = known.get(used.method)
    if method is None:
        return "no such method"
    if used.part == "query":
        # a query parameter may name a nested field of the request
        return None if used.field in method.query or used.field in _ALWAYS["query"] else "no such parameter"
    schema: Any = {"$ref": method.body if used.part == "body" else method.answer}
    for step in re.findall(r"\[\]|[^.\[\]]+", used.field):
        schema = _resolved(schema, method)
        if step == "[]":
            schema = schema.get("items", {})
            continue
        if schema.get("type") == "any" or (
            not schema.get("properties") and schema.get("additionalProperties", {}).get("type") == "any"
        ):
            return None  # an Any, whose message the documents do not name
        schema = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
        if schema is None:
            return "no such field"
    return _wrong_type(used.kind, _resolved(schema, method))


def _wrong_type(kind: str, schema: Mapping[str, Any]) -> str | None:
    wanted = schema.get("type", "object")
    if wanted in {"any", kind} or kind == "null":
        return None
    if (wanted, kind) == ("number", "integer"):
        return None
    return f"{kind}, not {wanted}"


def table() -> list[Used]:
    """Return the rows of the committed table."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    return [Used(*line.split("\t")) for line in lines if not line.startswith("#")][1:]


def write(rows: Iterable[Used]) -> None:
    """Write the table, with its number of rows: it never shrinks."""
    ordered = sorted(set(rows))
    head = f"# {len(ordered)} fields; python -m tests.kit.fidelity adds to them and never takes one away"
    body = ["method\tpart\tfield\tkind", *("\t".join(row) for row in ordered)]
    TABLE.write_text("\n".join([head, *body]) + "\n", encoding="utf-8")
