"""The search for words of a newer program in data that could not be read: enum values that this program does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import inspect


class UnknownWordError(Exception):
    """The error of an enum value, or a version, that this program does not know."""


def unknown_word(raw: Any, kind: Any) -> str | None:
    """Return the enum's name and the unknown value, for the first unknown enum value in JSON data of the type `kind`.

    Return None if all enum values are known.
    """
    return _in(raw, inspect.type_info(kind))


def _in(raw: Any, kind: inspect.Type) -> str | None:
    match kind, raw:
        case inspect.EnumType(), str():
            return None if raw in {member.value for member in kind.cls} else f"{kind.cls.__name__} {raw[:80]!r}"
        case inspect.StructType(), dict():
            return _first(_in(raw[each.encode_name], each.type) for each in kind.fields if each.encode_name in raw)
        case inspect.VarTupleType(), list():
            return _first(_in(item, kind.item_type) for item in raw)
        case inspect.DictType(), dict():
            return _first(_in(item, kind.value_type) for item in raw.values())
        case inspect.UnionType(), _:
            return _first(_in(raw, each) for each in kind.types)
        case _:
            return None


def _first(found: Iterable[str | None]) -> str | None:
    return next((word for word in found if word is not None), None)
