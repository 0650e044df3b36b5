"""The JSON Schema of a configuration file, for editors. Only tests call this module: config/schema/ has its results."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import msgspec

from shared.domain.things.times import duration_text
from shared.settings.values import DURATION_SCHEMA

_ISO_LENGTH = re.compile(r"P(?=[\dT])(\d+D)?(T\d+S)?")


def schema_of(kind: type) -> str:
    """Return the schema as JSON text, with durations in the form that the files use."""
    return json.dumps(_as_written(msgspec.json.schema(kind)), indent=2, sort_keys=True) + "\n"


def _as_written(node: Any) -> Any:
    match node:
        case list():
            return [_as_written(each) for each in node]
        case str() if _ISO_LENGTH.fullmatch(node):  # the duration of a default value
            return duration_text(msgspec.convert(node, timedelta))
        case {"type": "string", "format": "duration", **rest}:
            return {**{key: _as_written(value) for key, value in rest.items()}, **DURATION_SCHEMA}
        case {"words": words, "anyOf": kinds, **rest}:  # texts that stand for a value
            return _as_written({**rest, "anyOf": [*kinds, {"enum": words}]})
        case dict():
            return {key: _as_written(value) for key, value in node.items()}
        case _:
            return node
