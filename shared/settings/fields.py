"""The kinds of values in the configuration, and the base class of all file shapes, which refuses unknown keys.

A shape is a `msgspec.Struct`; `shared.settings.file` reads it. Beside msgspec's own constraints a field may have in `Meta(extra=...)`:
`read`, a function from the file's value to the field's value; `check`, a function from the value to the stored value. Both raise
`ValueError` or `BenchkeeperError`. `one_of` lists the valid values; `words` maps texts to values. A shape may have
`contradictions()`, which yields (field, problem), `REFUSED`, keys that are refused with a reason, and `prepared`, which changes the
file's mapping before it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec import Meta, Struct

_DURATION = re.compile(r"^(\d+)\s*([smhd])$")
_LONGEST = timedelta(days=3650)  # durations are added to dates, which overflow above it
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION_SCHEMA = {"type": "string", "pattern": r"^\d+\s*[smhd]$"}


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a file; an unknown key is a fault."""


def check(function: Callable[[Any], Any], **more: Any) -> Meta:
    """Return the metadata of a field whose value a function checks; `more` is passed to `msgspec.Meta`."""
    return Meta(extra={"check": function}, **more)


def one_of(*values: object) -> Meta:
    """Return the metadata of a field with these valid values; a fault lists them in this order."""
    return Meta(extra={"one_of": values}, extra_json_schema={"enum": list(values)})


def read_duration(raw: Any) -> timedelta:
    """Return the duration of a text such as `30d`. Raise `ValueError` for any other text."""
    match = _DURATION.match(str(raw))
    if match is None:
        raise ValueError(f"'{raw}' is no duration; write a number and a unit: 90s, 30m, 3h or 30d")
    try:
        duration = timedelta(**{_UNIT[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        raise ValueError(f"'{raw}' is too long; at most {_LONGEST.days}d")
    return duration
