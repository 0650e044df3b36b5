"""The recognition of simple data that a Dataproc message type certainly accepts, without protobuf. Protobuf checks all other data.

The shipped templates and most others are plain: fields have their JSON names, and each value has the form that protobuf
writes. Data is "not plain" if a value has another form, if a whole number is negative, or if there is a fault. Nor is data
plain if the stored description of the message types (`types.fields`) lacks the type of a field. Such data may still be
valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.cloud.dataproc.types import fields

_DURATION = re.compile(r"0s|-?[1-9][0-9]{0,10}s")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")
_INT64 = re.compile(r"0|[1-9][0-9]{0,17}")
_UNKNOWN = re.compile(
    r"[a-z][A-Za-z0-9]*"
)  # the name of a field that a newer API may have; others may be second spellings
_DEFAULTS = {"string": "", "bool": False, "int32": 0, "int64": "0"}
_LARGEST = 2**53  # a whole number that every float below it can hold


class _NotPlainError(Exception):
    """The error of data that is not plain: only protobuf can tell whether the data is valid."""


def plain_form(data: Mapping[str, Any], name: str, *, ignore_unknown: bool = False) -> dict[str, Any] | None:
    """Return the data as protobuf would write it as JSON, names sorted; None if the data is not plain.

    `name` is one of `types.TYPES`. Defaults and nulls are left out, as protobuf leaves them out; so are fields that the type does not
    have, with `ignore_unknown`.
    """
    try:
        return _message(dict(data), name, ignore_unknown=ignore_unknown)
    except _NotPlainError:
        return None


def _message(value: Any, name: str, *, ignore_unknown: bool) -> dict[str, Any]:
    known = fields()["messages"].get(name)
    if known is None or type(value) is not dict:
        raise _NotPlainError
    made: dict[str, Any] = {}
    groups: set[str] = set()
    for key, inner in value.items():
        field = known.get(key)
        if field is None:
            if ignore_unknown and isinstance(key, str) and _UNKNOWN.fullmatch(key):
                continue
            raise _NotPlainError
        if inner is None:
            continue
        group = field.get("one_of")
        if group in groups:
            raise _NotPlainError
        if group is not None:
            groups.add(group)
        found = _field(inner, field, ignore_unknown=ignore_unknown)
        if found is not None:
            made[key] = found
    return {key: made[key] for key in sorted(made)}


def _field(value: Any, field: Mapping[str, Any], *, ignore_unknown: bool) -> Any:
    """Return the value of a field as protobuf's JSON has it; None if it is left out as a default. Raise `_NotPlainError` if not plain."""
    kind, many = field["is"], field.get("many")
    if many == "list":
        if type(value) is not list:
            raise _NotPlainError
        return [_single(each, kind, ignore_unknown=ignore_unknown) for each in value] or None
    if many == "map":
        if type(value) is not dict:
            raise _NotPlainError
        entries = {_text(key): _single(value[key], kind, ignore_unknown=ignore_unknown) for key in value}
        return {key: entries[key] for key in sorted(entries)} or None
    found = _single(value, kind, ignore_unknown=ignore_unknown)
    return None if "kept" not in field and found == _default(kind) else found


def _default(kind: str) -> Any:
    return _DEFAULTS[kind] if kind in _DEFAULTS else next(iter(fields()["enums"].get(kind, ())), None)


def _single(value: Any, kind: str, *, ignore_unknown: bool) -> Any:
    if kind == "string":
        return _text(value)
    if kind in {"duration", "timestamp"}:
        return _moment(_text(value), kind)
    if kind in fields()["enums"]:
        if type(value) is str and value in fields()["enums"][kind]:
            return value
    elif kind == "bool":
        if type(value) is bool:
            return value
    elif kind in {"int32", "int64", "double"}:
        return _number(value, kind)
    elif kind:
        return _message(value, kind, ignore_unknown=ignore_unknown)
    raise _NotPlainError


def _text(value: Any) -> str:
    if type(value) is not str or not (value.isascii() or _is_unicode(value)):
        raise _NotPlainError
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a pair of surrogates
        return False
    return True


def _moment(value: str, kind: str) -> str:
    if kind == "duration" and _DURATION.fullmatch(value):
        return value
    if kind == "timestamp" and (match := _TIME.fullmatch(value)) is not None:
        try:
            datetime.fromisoformat(f"{match[1]}+00:00")
        except ValueError:
            raise _NotPlainError from None
        nanos = (match[2] or "").ljust(9, "0")  # written in three, six or nine digits, or in none
        while nanos.endswith("000"):
            nanos = nanos[:-3]
        return f"{match[1]}{'.' if nanos else ''}{nanos}Z"
    raise _NotPlainError


def _number(value: Any, kind: str) -> int | float | str:
    """Return the number as protobuf's JSON has it: an int64 as a text. Raise `_NotPlainError` for any number of which the form is not certain.

    Such numbers are negative whole numbers, too large numbers, and a zero where a double is expected.
    """
    if kind == "int64":
        if (type(value) is int and 0 <= value < 2**63) or (type(value) is str and _INT64.fullmatch(value)):
            return str(value)
    elif kind == "int32":
        if type(value) is int and 0 <= value < 2**31:
            return value
    elif type(value) in {int, float} and value != 0 and abs(value) < _LARGEST:  # a zero may be a negative one
        return float(value)
    raise _NotPlainError
