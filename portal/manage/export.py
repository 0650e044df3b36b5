"""The export of every table as CSV and as JSON, streamed: the rows and filters of the page, raw values, times in UTC.

`shared/sheet.py` turns cells that a spreadsheet would run as a formula into text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import flask
from msgspec import Struct, field

from portal.manage.base import blueprint
from portal.routes import CSV, JSON, Access, Param, Route
from shared.domain.things.times import rfc3339
from shared.sheet import Value, csv_lines

_CHUNK = 200  # the number of rows that are sent at once

TEXT: Mapping[str, Any] = {"type": ["string", "null"]}
NUMBER: Mapping[str, Any] = {"type": ["number", "null"]}
FLAG: Mapping[str, Any] = {"type": ["boolean", "null"]}
TIME: Mapping[str, Any] = {"type": ["string", "null"], "format": "date-time"}
Columns = Mapping[str, Mapping[str, Any]]


class Sheet(Struct, frozen=True, kw_only=True):
    """A table to export: its time, its columns, each with a JSON Schema, and its rows.

    `name` becomes the file's name. `more` are further fields of the JSON file.
    """

    name: str
    columns: Columns
    rows: Iterable[Sequence[Value]]
    taken_at: datetime
    more: Mapping[str, Value] = field(default_factory=dict)


def offer(
    rule: str,
    name: str,
    summary: str,
    columns: Columns,
    make: Callable[..., Sheet],
    *,
    params: tuple[Param, ...] = (),
    more: Columns | None = None,
) -> tuple[Route, Route]:
    """Add the routes `rule.csv` and `rule.json` for a sheet, and return the description of both. `make` gets the path's parameters."""
    blueprint.add_url_rule(f"{rule}.csv", f"{name}_csv", lambda **path: _as_csv(make(**path)), methods=["GET"])
    blueprint.add_url_rule(f"{rule}.json", f"{name}_json", lambda **path: _as_json(make(**path)), methods=["GET"])
    kinds = (("csv", CSV, None), ("json", JSON, _schema(columns, more or {})))
    made = tuple(
        Route(
            method="GET",
            rule=f"{rule}.{ending}",
            name=f"manage.{name}_{ending}",
            summary=f"{summary} As {ending.upper()}.",
            access=Access.READ,
            params=params,
            media=media,
            schema=schema,
            answers={200: "The table."},
        )
        for ending, media, schema in kinds
    )
    return made[0], made[1]


def _schema(columns: Columns, more: Columns) -> dict[str, Any]:
    row = {"type": "object", "properties": dict(columns), "required": list(columns), "additionalProperties": False}
    properties = {"taken_at": TIME, **more, "rows": {"type": "array", "items": row}}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _as_csv(sheet: Sheet) -> flask.Response:
    response = flask.Response(_csv_chunks(sheet), content_type=f"{CSV}; charset=utf-8")
    response.headers["Content-Disposition"] = (
        f'attachment; filename="benchkeeper-{sheet.name}-{sheet.taken_at:%Y-%m-%dT%H%M}Z.csv"'
    )
    return response


def _csv_chunks(sheet: Sheet) -> Iterator[str]:
    yield csv_lines([list(sheet.columns)])
    rows = iter(sheet.rows)
    while chunk := list(islice(rows, _CHUNK)):
        yield csv_lines(chunk)


def _as_json(sheet: Sheet) -> flask.Response:
    return flask.Response(_json_chunks(sheet), content_type=JSON)


def _json_chunks(sheet: Sheet) -> Iterator[str]:
    head = {"taken_at": rfc3339(sheet.taken_at), **{name: _plain(value) for name, value in sheet.more.items()}}
    yield f'{_dumped(head)[:-1]},"rows":['
    rows, before = iter(sheet.rows), ""
    while chunk := list(islice(rows, _CHUNK)):
        objects = [{name: _plain(value) for name, value in zip(sheet.columns, row, strict=True)} for row in chunk]
        yield before + ",".join(map(_dumped, objects))
        before = ","
    yield "]}\n"


def _dumped(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Value) -> str | float | bool | None:
    return rfc3339(value) if isinstance(value, datetime) else value
