"""The conversion of plain values to a type without the type's bounds.

This is for a policy that a release with other bounds accepted.

`msgspec.convert` always checks bounds (`Meta(ge=…)`, patterns, lengths). Here only the types are checked, and unknown
keys are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import Any, TypeVar

from msgspec import convert, inspect

T = TypeVar("T")
_PLAIN: Mapping[type, type] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.TimeType: time,
    inspect.TimeDeltaType: timedelta,
}
_MANY: Mapping[type, Callable[[Any], Any]] = {
    inspect.ListType: list,
    inspect.VarTupleType: tuple,
    inspect.FrozenSetType: frozenset,
}


def read_unbounded(raw: object, kind: type[T], hook: Callable[[type, Any], Any]) -> T:
    """Return the typed value; `hook` converts the types that msgspec does not know.

    Raise `ValueError` or `TypeError` for invalid plain values.
    """
    found: T = _read(raw, inspect.type_info(kind), hook)
    return found


def _read(raw: Any, kind: inspect.Type, hook: Callable[[type, Any], Any]) -> Any:
    match kind:
        case inspect.Metadata(type=inner):
            return _read(raw, inner, hook)
        case inspect.StructType(cls=made, fields=fields):
            known = {field.encode_name: field for field in fields}
            unknown = _mapping(raw).keys() - known.keys()
            if unknown:
                raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
            return made(**{known[key].name: _read(value, known[key].type, hook) for key, value in raw.items()})
        case inspect.DictType(key_type=key_type, value_type=value_type):
            return {_read(key, key_type, hook): _read(value, value_type, hook) for key, value in _mapping(raw).items()}
        case (
            inspect.ListType(item_type=item)
            | inspect.VarTupleType(item_type=item)
            | inspect.FrozenSetType(item_type=item)
        ):
            return _MANY[type(kind)](_read(each, item, hook) for each in convert(raw, list[Any]))
        case inspect.UnionType(types=types):
            if raw is None and any(isinstance(each, inspect.NoneType) for each in types):
                return None
            return _read(raw, next(each for each in types if not isinstance(each, inspect.NoneType)), hook)
        case inspect.AnyType():
            return raw
        case inspect.EnumType(cls=words):
            return words(raw)
        case inspect.CustomType(cls=made):
            return hook(made, raw)
        case _:
            return convert(raw, _PLAIN[type(kind)], strict=False)


def _mapping(raw: Any) -> Mapping[str, Any]:
    return convert(raw, dict[str, Any])
