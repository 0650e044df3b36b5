"""A writer of simple data as YAML, with the same bytes as libyaml.

This module avoids PyYAML, whose import costs a cold start 15 ms. It writes the usual content of a template: words,
paths, addresses, numbers. For all other data, which libyaml might quote, fold or share, PyYAML is used. A test compares
the output of both.
"""

from __future__ import annotations

import re
from typing import Any

# Begins with a letter and has nothing that starts a comment, a key or a break; letters of Western names are printable to libyaml.
_WORD = re.compile(r"[A-Za-z_/\u00c0-\u024f][\w./@+'=,:\u00c0-\u024f-]*(?<!:)", re.ASCII)
_COUNTED = re.compile(
    r"[0-9][\w.-]*[g-su-wy][\w.-]*", re.ASCII
)  # such as 7200s or 2.2-debian12: no number or time has such a letter
_QUOTED = re.compile(r"0|[1-9][0-9]*|[0-9]+\.[0-9]+|true|false|")  # texts that would be read as something else
_SPECIAL = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_LONGEST_KEY = 60  # characters; libyaml writes a key of more than 128 bytes in another form


class _NotPlainError(Exception):
    """The error of data that this module cannot write with the same bytes as libyaml."""


def plain_yaml(data: dict[str, Any]) -> str | None:
    """Return the data as YAML in blocks, keys sorted; None if this module cannot write the data as libyaml would."""
    try:
        return "".join(f"{line}\n" for line in _mapping(data, "", set())) if data else "{}\n"
    except _NotPlainError:
        return None


def _mapping(value: dict[str, Any], indent: str, seen: set[int]) -> list[str]:
    lines = []
    for key in sorted(_once(value, seen), key=_key):
        inner = value[key]
        name = f"{indent}{_text(key)}:"
        if type(inner) is dict and inner:
            lines += [name, *_mapping(inner, f"{indent}  ", seen)]
        elif type(inner) is list and inner:
            lines += [name, *_items(inner, indent, seen)]
        else:
            lines.append(f"{name} {_scalar(inner, seen)}")
    return lines


def _items(value: list[Any], indent: str, seen: set[int]) -> list[str]:
    lines = []
    for item in _once(value, seen):
        if type(item) is dict and item:
            first, *others = _mapping(item, f"{indent}  ", seen)
            lines += [f"{indent}- {first[len(indent) + 2 :]}", *others]
        else:
            lines.append(f"{indent}- {_scalar(item, seen)}")
    return lines


def _once(value: Any, seen: set[int]) -> Any:
    """Return the value. Raise `_NotPlainError` if the same object occurred before: libyaml would write an anchor and an alias."""
    if id(value) in seen:
        raise _NotPlainError
    seen.add(id(value))
    return value


def _key(key: Any) -> str:
    if type(key) is not str or not 0 < len(key) <= _LONGEST_KEY:
        raise _NotPlainError
    return key


def _scalar(value: Any, seen: set[int]) -> str:
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    if type(value) in {dict, list} and not value:
        return "{}" if type(_once(value, seen)) is dict else "[]"
    return _text(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _NotPlainError
    if _QUOTED.fullmatch(value):
        return f"'{value}'"
    if (_WORD.fullmatch(value) and value.lower() not in _SPECIAL) or _COUNTED.fullmatch(value):
        return value
    raise _NotPlainError
