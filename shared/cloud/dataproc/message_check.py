"""The check of YAML data against a Dataproc message type: unknown fields with line and nearest name, and invalid values.

Used for both kinds of master templates (`cluster_render`, `session_render`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shared.cloud.dataproc.types import message_type
from shared.faults import ConfigFault, Loc, dotted, line_of, nearest


def parsed(data: Mapping[str, Any], name: str, *, ignore_unknown: bool = False) -> Any:
    """Return the data as the message of that name. Raise `ParseError`, `TypeError`, `ValueError` or `AttributeError` for invalid data."""
    from google.protobuf import json_format

    return json_format.ParseDict(dict(data), message_type(name)(), ignore_unknown_fields=ignore_unknown)


def problem_of(data: Mapping[str, Any], name: str) -> str | None:
    """Return the problem that the Dataproc API's own type has with the data; None if there is none."""
    from google.protobuf import json_format

    try:
        parsed(data, name)
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        return str(error).replace("\n", " ")
    return None


def canonical(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the data in a canonical form, the same for equal messages; fields unknown to the type are left out.

    Names are sorted: protobuf gives a map's entries in an order that differs from process to process.
    """
    from google.protobuf import json_format

    message = parsed(data, name, ignore_unknown=True)
    found: dict[str, Any] = json.loads(json.dumps(json_format.MessageToDict(message), sort_keys=True))
    return found


def unknown_fields(data: Any, name: str, path: str, lines: dict[Loc, int]) -> list[ConfigFault]:
    """Return the faults of unknown fields. The data and the message type are walked together; the type's field names are the valid keys."""
    return list(_unknown(data, message_type(name).DESCRIPTOR, (), path, lines))


def _unknown(value: Any, descriptor: Any, loc: Loc, path: str, lines: dict[Loc, int]) -> Iterator[ConfigFault]:
    if not isinstance(value, dict) or descriptor.full_name.startswith("google.protobuf."):
        return
    fields = {field.json_name: field for field in descriptor.fields}
    for key, inner in value.items():
        here = (*loc, str(key))
        field = fields.get(str(key))
        if field is None:
            close = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.4)
            hint = f"Did you mean '{close[0]}'?" if close else nearest(str(key), fields)
            yield ConfigFault(path, line_of(lines, here), dotted(here), f"unknown field '{key}'", hint)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            items = inner if isinstance(inner, list) else [inner]
            for index, item in enumerate(items):
                where = (*here, index) if isinstance(inner, list) else here
                yield from _unknown(item, field.message_type, where, path, lines)


def set_here(
    data: Mapping[str, Any], keys: Iterable[str], whose: str, path: str, lines: dict[Loc, int]
) -> list[ConfigFault]:
    """Return a fault for each key in the data that Benchkeeper itself sets for each `whose`."""
    return [
        ConfigFault(path, line_of(lines, (key,)), key, f"'{key}' is set by Benchkeeper for each {whose}", "Remove it.")
        for key in keys
        if key in data
    ]


def within(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the section of that name; create it if it is missing or empty."""
    if not parent.get(key):  # null, {} and []: the API's own parser treats all three as empty
        parent[key] = {}
    section: dict[str, Any] = parent[key]
    return section


def section_of(data: Any, *path: str) -> dict[str, Any]:
    """Return a nested mapping; empty if it, or a part of the path, is not a mapping."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
