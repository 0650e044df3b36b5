"""Kinds of values in the configuration, and the base of every file's shapes, which knows no other keys.

A shape is a `msgspec.Struct`; `shared.settings.file` reads it. Beside msgspec's own constraints a field may say in `Meta(extra=...)`:
`read`, a function from what the file says to the value; `check`, a function from the value to the value that is kept; both raise
`ValueError` or `BenchkeeperError`. `one_of` are the values that it may have, `words` texts that stand for a value. A shape may have `contradictions()`, which yields
(field, problem), `REFUSED`, keys that are refused with a reason, and `prepared`, which changes what the file says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec import Meta, Struct

_DURATION = re.compile(r"^(\d+)\s*([smhd])$")
_LONGEST = timedelta(days=3650)  # dates are added to it
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
DURATION_SCHEMA = {"type": "string", "pattern": r"^\d+\s*[smhd]$"}


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a file; a key that it does not have is a fault."""


def check(function: Callable[[Any], Any], **more: Any) -> Meta:
    """Return what a field says that is checked by a function; `more` as `msgspec.Meta` has it."""
    return Meta(extra={"check": function}, **more)


def one_of(*values: object) -> Meta:
    """Return what a field says that has one of these values; a fault names them in this order."""
    return Meta(extra={"one_of": values}, extra_json_schema={"enum": list(values)})


def read_duration(raw: Any) -> timedelta:
    """`30d` -> the duration. Raises `ValueError`."""
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
