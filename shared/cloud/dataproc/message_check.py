"""The check of YAML data against a Dataproc message type.

It finds unknown fields, with line and nearest name, and values of the wrong kind.

Used for both kinds of master templates (`cluster_check`, `session_check`). The data and the type are walked together: protobuf's own
reader stops at the first wrong value, knows no lines, and takes texts for numbers.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from shared.cloud.dataproc.plain_form import plain_form
from shared.cloud.dataproc.types import message_type
from shared.domain.things.late import late
from shared.faults import Finding, Loc, nearest

_WELL_KNOWN = "google.protobuf."
_DURATION, _TIMESTAMP = "google.protobuf.Duration", "google.protobuf.Timestamp"
_SECONDS = late(lambda: re.compile(r"-?\d+(\.\d{1,9})?s"))
_SHORT = late(lambda: re.compile(r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?"))
_UNIT_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TIME = late(lambda: re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})"))
_INT32, _INT64 = (5, 13, 15, 17), (3, 4, 6, 16, 18)  # FieldDescriptor.TYPE_*
_DOUBLE, _FLOAT, _BOOL, _STRING = 1, 2, 8, 9
_WRAPPED = {"DoubleValue": _DOUBLE, "BoolValue": _BOOL, "StringValue": _STRING, "Int32Value": 5, "Int64Value": 3}
_MOST = {True: 2**31 - 1, False: 2**63 - 1}
GONE = {"ANACONDA": "it is part of the images since 2.0", "DRUID": "the images since 2.0 do not have it"}  # components
_LONGEST_SHOWN = 60  # characters of a value that fit on a line


def parsed(data: Mapping[str, Any], name: str, *, ignore_unknown: bool = False) -> Any:
    """Return the data parsed as the message type of that name.

    Raise `ParseError`, `TypeError`, `ValueError` or `AttributeError` for invalid data.
    """
    from google.protobuf import json_format

    return json_format.ParseDict(dict(data), message_type(name)(), ignore_unknown_fields=ignore_unknown)


def problem_of(data: Mapping[str, Any], name: str) -> str | None:
    """Return the reason why the Dataproc API's own message type refuses the data; None if it accepts the data."""
    if plain_form(data, name) is not None:
        return None
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
    plain = plain_form(data, name, ignore_unknown=True)
    if plain is not None:
        return plain
    from google.protobuf import json_format

    message = parsed(data, name, ignore_unknown=True)
    found: dict[str, Any] = json.loads(json.dumps(json_format.MessageToDict(message), sort_keys=True))
    return found


def shape_findings(data: Mapping[str, Any], name: str, *, left_out: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield a fault for each unknown field and each value of the wrong kind.

    The top-level keys `left_out` are skipped.
    """
    rest = {key: value for key, value in data.items() if key not in set(left_out)}
    if plain_form(rest, name) is not None:
        return
    found = list(_message(rest, message_type(name).DESCRIPTOR, ()))
    yield from found
    if not found and (problem := problem_of(rest, name)) is not None:  # a rule that the walk does not know
        yield Finding((), problem, f"See the Dataproc API's {name} message.")


def _message(value: Any, descriptor: Any, loc: Loc) -> Iterator[Finding]:
    if value is None or value == []:  # the API's own parser takes null and [] for an empty message
        return
    if not isinstance(value, dict):
        yield Finding(loc, f"{shown(value)} is not a section", "Write keys and values below it.")
        return
    fields = {field.json_name: field for field in descriptor.fields}
    for key, inner in value.items():
        here, field = (*loc, str(key)), fields.get(str(key))
        if field is None:
            close = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.4)
            hint = f"Did you mean '{close[0]}'?" if close else nearest(str(key), fields)
            yield Finding(here, f"unknown field '{key}'", hint)
        elif inner is not None:
            yield from _field(inner, field, here)
    for oneof in descriptor.oneofs:
        given = [field.json_name for field in oneof.fields if value.get(field.json_name) is not None]
        for second in given[1:]:
            yield Finding((*loc, second), f"'{given[0]}' is given, too", "Keep one of the two.")


def _field(value: Any, field: Any, loc: Loc) -> Iterator[Finding]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        if not isinstance(value, dict):
            if value != []:
                yield Finding(loc, f"{shown(value)} is not a section", "Write keys and values below it.")
            return
        for key, inner in value.items():
            yield from _single(inner, message.fields_by_name["value"], (*loc, str(key)))
    elif field.is_repeated:
        if not isinstance(value, list):
            yield Finding(
                loc,
                f"{shown(value)} is not a list",
                f"Write it as an item: - {value}" if _is_plain(value) else "Write a list.",
            )
            return
        for index, item in enumerate(value):
            yield from _single(item, field, (*loc, index))
    else:
        yield from _single(value, field, loc)


def _single(value: Any, field: Any, loc: Loc) -> Iterator[Finding]:
    message, verdict = field.message_type, None
    if message is None:
        verdict = _enum(value, field.enum_type) if field.enum_type is not None else _scalar(value, field.type)
    elif message.full_name == _DURATION:
        verdict = _duration(value)
    elif message.full_name == _TIMESTAMP:
        verdict = _timestamp(value)
    elif message.full_name.startswith(_WELL_KNOWN):
        wrapped = _WRAPPED.get(message.name)
        verdict = None if wrapped is None else _scalar(value, wrapped)
    else:
        yield from _message(value, message, loc)
        return
    if verdict is not None:
        yield Finding(loc, *verdict)


_Verdict = tuple[str, str] | None  # problem and hint


def _duration(value: Any) -> _Verdict:
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        return None
    meant = f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else None
    if (
        isinstance(value, str)
        and (match := _SHORT.fullmatch(value.replace(" ", ""))) is not None
        and any(match.groups())
    ):
        meant = f"{sum(int(number) * _UNIT_S[unit] for unit, number in match.groupdict().items() if number)}s"
    return (
        f"{shown(value)} is not a duration",
        f"Did you mean {meant}?" if meant else "Write seconds with an s, for example 7200s.",
    )


def _timestamp(value: Any) -> _Verdict:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return None
    if isinstance(value, date):  # YAML reads a time without quotes itself
        return "a time without quotes", 'Write it in quotes, for example "2026-12-01T18:00:00Z".'
    return f"{shown(value)} is not a time", 'Write one such as "2026-12-01T18:00:00Z".'


def _enum(value: Any, kind: Any) -> _Verdict:
    names = [each.name for each in kind.values]
    if isinstance(value, str) and value in names:
        return None
    said = [name for name in names if not name.endswith("_UNSPECIFIED") and name not in GONE]
    close = difflib.get_close_matches(str(value).upper(), said, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{shown(value)} is not one of the values", f"{guess}Valid: {', '.join(said)}."


def _scalar(value: Any, kind: int) -> _Verdict:
    if kind == _STRING:
        if isinstance(value, str):
            return None
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        return f"{shown(value)} is not a text", f'Write it in quotes: "{plain}"' if _is_plain(
            value
        ) else "Write a text."
    if kind == _BOOL:
        if isinstance(value, bool):
            return None
        said = str(value).lower() if str(value).lower() in {"true", "false"} else ""
        return (
            f"{shown(value)} is not true or false",
            f"Write {said} without quotes." if said else "Valid: true, false.",
        )
    if kind in {_DOUBLE, _FLOAT}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if is_number else (f"{shown(value)} is not a number", "Write a number without quotes, such as 0.5.")
    if kind in (*_INT32, *_INT64):
        return _whole(value, kind)
    return None


def _whole(value: Any, kind: int) -> _Verdict:
    is_large = kind in _INT64
    if (
        is_large and isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value)
    ):  # protobuf's JSON writes large numbers as texts
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        meant = re.fullmatch(r"(\d+)(?:\.0*)?", str(value).strip())
        hint = f"Write {meant[1]}." if meant else "Write a number without quotes, such as 2."
        return f"{shown(value)} is not a whole number", hint
    return (
        None
        if 0 <= value <= _MOST[not is_large]
        else (f"{value} is not possible", f"Valid: 0 to {_MOST[not is_large]}.")
    )


def shown(value: Any) -> str:
    """Return a value shortened to one line, for the text of a fault."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | None) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"this {'list' if isinstance(value, list) else 'value'}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) <= _LONGEST_SHOWN


def seconds_of(value: Any) -> float | None:
    """Return the seconds of a duration as Dataproc writes it, such as `7200s`; None for any other value."""
    return float(value[:-1]) if isinstance(value, str) and _SECONDS.fullmatch(value) else None


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
