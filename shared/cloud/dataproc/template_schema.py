"""The JSON Schema of a master template, of clusters or of sessions, for editors, derived from the Dataproc API's own message types.

Only a test calls this: it compares config/schema/template.schema.json with the result. `shared.cloud.dataproc.masters`
checks masters against the message itself, so the schema may accept more than the check, but never less.
"""

from __future__ import annotations

import json
from typing import Any

from shared.cloud.dataproc.cluster_fields import SET_HERE
from shared.cloud.dataproc.session_check import SESSION_SET_HERE
from shared.domain.things.catalog import SESSION_KINDS

_INTEGERS = {"TYPE_INT32", "TYPE_UINT32", "TYPE_INT64", "TYPE_UINT64", "TYPE_SINT32", "TYPE_SINT64"}
_LARGE = {"TYPE_INT64", "TYPE_UINT64", "TYPE_SINT64"}  # protobuf's JSON writes these as texts
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.DoubleValue": {"type": "number"},
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.Int32Value": {"type": "integer"},
    "google.protobuf.Int64Value": {"type": ["integer", "string"]},
}


def template_schema() -> str:
    """Return the schema as JSON text, without the fields that Benchkeeper sets.

    A file with a key of a session kind must have the form of a session template, any other file that of a cluster.
    """
    from google.cloud.dataproc_v1.types import Cluster, SessionTemplate

    definitions: dict[str, Any] = {}
    for message, left_out in ((Cluster, SET_HERE), (SessionTemplate, SESSION_SET_HERE)):
        made = definitions[_define(message.pb().DESCRIPTOR, definitions)]
        made["properties"] = {name: field for name, field in made["properties"].items() if name not in left_out}
    root = {
        "if": {"anyOf": [{"required": [kind]} for kind in SESSION_KINDS]},
        "then": {"$ref": "#/$defs/SessionTemplate"},
        "else": {"$ref": "#/$defs/Cluster"},
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Master Dataproc template, of clusters or of sessions",
        "type": "object",
        **root,
        "$defs": _reachable(root, definitions),
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def _define(message: Any, definitions: dict[str, Any]) -> str:
    """Add a message and all that it uses to the definitions; return its name there."""
    name = str(message.full_name).removeprefix("google.cloud.dataproc.v1.")
    if name not in definitions:
        definitions[name] = properties = {"type": "object", "additionalProperties": False}
        properties["properties"] = {field.json_name: _field(field, definitions) for field in message.fields}
    return name


def _field(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _single(message.fields_by_name["value"], definitions)}
    single = _single(field, definitions)
    return {"type": "array", "items": single} if field.is_repeated else single


def _single(field: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None:
        known = _WELL_KNOWN.get(field.message_type.full_name)
        return known if known is not None else {"$ref": f"#/$defs/{_define(field.message_type, definitions)}"}
    if field.enum_type is not None:
        return {"enum": [value.name for value in field.enum_type.values]}
    return _scalar(field)


def _scalar(field: Any) -> dict[str, Any]:
    kinds = {getattr(field, name): name for name in dir(field) if name.startswith("TYPE_")}
    kind = kinds[field.type]
    if kind in _LARGE:
        return {"type": ["integer", "string"]}
    if kind in _INTEGERS:
        return {"type": "integer"}
    if kind in {"TYPE_DOUBLE", "TYPE_FLOAT"}:
        return {"type": "number"}
    return {"type": "boolean" if kind == "TYPE_BOOL" else "string"}


def _reachable(root: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that the root uses, directly or not."""
    found: dict[str, Any] = {}
    text = json.dumps(root)
    while missing := [n for n in definitions if n not in found and f'"#/$defs/{n}"' in text]:
        found |= {name: definitions[name] for name in missing}
        text += json.dumps([definitions[name] for name in missing])
    return found
