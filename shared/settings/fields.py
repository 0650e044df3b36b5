"""Kinds of values in the configuration: durations, addresses, and the base of every model, which knows no other keys."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from shared.domain.errors import BenchkeeperError
from shared.domain.identity import parse_email

_DURATION = re.compile(r"^(\d+)\s*([smhd])$")
_LONGEST = timedelta(days=3650)  # dates are added to it
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(raw: Any) -> timedelta:
    if isinstance(raw, timedelta):
        return raw
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


def duration_text(value: timedelta) -> str:
    """`30d`, as the files say it."""
    seconds = int(value.total_seconds())
    return next(
        f"{seconds // n}{unit}" for unit, n in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % n == 0
    )


def _email(raw: Any) -> str:
    try:
        return str(parse_email(raw))
    except BenchkeeperError as error:
        raise ValueError(error.user_message) from error


Email = Annotated[str, BeforeValidator(_email)]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*[smhd]$"}),
]


class Strict(BaseModel):
    """A part of a file; a key that it does not have is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=False, str_strip_whitespace=True)
