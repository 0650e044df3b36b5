"""A conversion of the product's types to dictionaries. The types are `msgspec.Struct`s, which load faster than dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


def to_dict(value: Any) -> Any:
    """Return a struct, and everything inside it, as dictionaries by field name. Leaves such as times, enumerations and sets are kept."""
    match value:
        case Struct():
            return {name: to_dict(getattr(value, name)) for name in value.__struct_fields__}
        case Mapping():
            return {key: to_dict(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(to_dict(item) for item in value)
        case _:
            return value
