"""The reader of YAML files into structs: it finds every fault at once, each with its line and the nearest key (docs/adr/0028).

msgspec itself stops at the first fault and does not know lines. So this module walks the data together with msgspec's
description of the type.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from msgspec import NODEFAULT, ValidationError, convert, inspect
from msgspec.structs import replace

from shared.domain.things.errors import BenchkeeperError
from shared.faults import ConfigFault, Loc, Place, dotted, line_of, nearest, unreadable
from shared.settings.values import read_duration
from shared.yaml_lines import YamlFaultError, load_yaml

M = TypeVar("M")
_BAD: Any = object()  # a fault was noted; never a value
_LONGEST_SHOWN = 60  # characters of a value that fit on a line
_PLAIN: dict[type, tuple[type, str]] = {
    inspect.StrType: (str, "string"),
    inspect.IntType: (int, "integer"),
    inspect.FloatType: (float, "number"),
    inspect.BoolType: (bool, "boolean"),
}
_BOUNDS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("ge", "greater than or equal to", operator.ge),
    ("gt", "greater than", operator.gt),
    ("le", "less than or equal to", operator.le),
    ("lt", "less than", operator.lt),
)


def parse_file(
    path: Path, kind: type[M], faults: list[ConfigFault], *, missing_hint: str = "", place: Place | None = None
) -> M | None:
    """Return the checked content of a file. After faults, add them to `faults` and return None.

    `place` gets the raw content and the line numbers. `missing_hint` is the hint for a missing file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        faults.append(ConfigFault(str(path), 0, "", "the file does not exist", missing_hint))
        return None
    except (OSError, UnicodeDecodeError) as error:
        faults.append(unreadable(path, error))
        return None
    return parse_text(path, text, kind, faults, place=place)


def parse_text(
    path: Path, text: str, kind: type[M], faults: list[ConfigFault], *, place: Place | None = None
) -> M | None:
    """Return the checked content of `text`, like `parse_file`. `path` is only used in faults."""
    try:
        data, found = load_yaml(text)
    except YamlFaultError as error:
        faults.append(ConfigFault(str(path), error.line, "", error.problem, ""))
        return None
    if place is not None:
        place.data.update(data)
        place.lines.update(found)
    walk = _Walk(str(path), found, faults)
    value = walk.read(data, inspect.type_info(kind), ())
    return None if value is _BAD else value


class _Walk:
    """A walk over data and the description of its type. A wrong value becomes a fault and `_BAD`; the walk continues."""

    def __init__(self, path: str, lines: dict[Loc, int], faults: list[ConfigFault]) -> None:
        self._path, self._lines, self._faults = path, lines, faults

    def _bad(self, loc: Loc, problem: str, hint: str = "") -> Any:
        self._faults.append(ConfigFault(self._path, line_of(self._lines, loc), dotted(loc), problem, hint))
        return _BAD

    def _wrong(self, loc: Loc, problem: str, raw: object) -> Any:
        given = _as_written(raw)
        return self._bad(loc, problem + (f", not {given}" if len(given) <= _LONGEST_SHOWN else ""))

    def _by(self, function: Callable[[Any], Any], raw: Any, loc: Loc) -> Any:
        try:
            return function(raw)
        except BenchkeeperError as error:
            return self._bad(loc, error.user_message[:1].lower() + error.user_message[1:].rstrip("."))
        except ValueError as error:
            return self._bad(loc, str(error))

    def read(self, raw: Any, kind: inspect.Type, loc: Loc) -> Any:
        """Return the value for the data at a place of the file; `_BAD` after a fault."""
        extra: Mapping[str, Any] = {}
        examples: Sequence[object] = ()
        if isinstance(kind, inspect.Metadata):
            examples = (kind.extra_json_schema or {}).get("examples", ())
            extra, kind = kind.extra or {}, kind.type
        raw = raw.strip() if isinstance(raw, str) and not isinstance(kind, inspect.AnyType) else raw
        if "words" in extra:
            if isinstance(raw, str) and raw in extra["words"]:
                return extra["words"][raw]
            kind = _wanted(kind)  # None must be written as its word, not left empty
        if "one_of" in extra:
            return self._word(raw, extra["one_of"], loc)
        value = self._by(extra["read"], raw, loc) if "read" in extra else self._kind(raw, kind, loc)
        if value is _BAD and examples and not self._faults[-1].hint:
            self._faults[-1] = replace(self._faults[-1], hint=f"Valid: for example {examples[0]}.")
        return self._by(extra["check"], value, loc) if "check" in extra and value is not _BAD else value

    def _kind(self, raw: Any, kind: inspect.Type, loc: Loc) -> Any:
        match kind:
            case inspect.StructType():
                return self._struct(raw, kind, loc)
            case inspect.DictType():
                return self._dict(raw, kind, loc)
            case inspect.ListType() | inspect.VarTupleType() | inspect.FrozenSetType():
                return self._items(raw, kind, loc)
            case inspect.UnionType(types=types):
                if raw is None and any(isinstance(each, inspect.NoneType) for each in types):
                    return None
                return self.read(raw, _wanted(kind), loc)
            case inspect.EnumType(cls=words):
                said = self._word(raw, [each.value for each in words], loc)
                return said if said is _BAD else words(said)
            case inspect.TimeDeltaType():
                return self._by(read_duration, raw, loc)
            case inspect.AnyType():
                return raw
            case _:
                return self._plain(raw, kind, loc)

    def _struct(self, raw: Any, kind: inspect.StructType, loc: Loc) -> Any:
        if not isinstance(raw, dict):
            return self._wrong(loc, "should be a mapping (key: value)", raw)
        raw = kind.cls.prepared(raw) if hasattr(kind.cls, "prepared") else raw
        refused: Mapping[str, str] = getattr(kind.cls, "REFUSED", {})
        values: dict[str, Any] = {}
        for field in kind.fields:
            name = field.encode_name
            if name in raw:
                values[field.name] = self.read(raw[name], field.type, (*loc, name))
            elif field.required:
                values[field.name] = self._bad((*loc, name), "is missing")
        known = [field.encode_name for field in kind.fields]
        for key in (
            str(key) for key, value in raw.items() if key not in known and not (key in refused and value is None)
        ):
            problem, hint = refused.get(key), nearest(key, known)
            values[key] = self._bad((*loc, key), problem or f"unknown key '{key}'", "" if problem else hint)
        if any(value is _BAD for value in values.values()):
            return _BAD
        made: Any = kind.cls(**values)
        for place, problem in made.contradictions() if hasattr(made, "contradictions") else ():
            made = self._bad((*loc, place) if place else loc, problem)
        return made

    def _dict(self, raw: Any, kind: inspect.DictType, loc: Loc) -> Any:
        if not isinstance(raw, dict):
            return self._wrong(loc, "should be a mapping (key: value)", raw)
        made = {
            self.read(key, kind.key_type, (*loc, str(key))): self.read(value, kind.value_type, (*loc, str(key)))
            for key, value in raw.items()
        }
        return self._sized(made, kind, loc, is_bad=any(_BAD in pair for pair in made.items()))

    def _items(self, raw: Any, kind: Any, loc: Loc) -> Any:
        if not isinstance(raw, list):
            return self._wrong(loc, "should be a valid list", raw)
        made = [self.read(item, kind.item_type, (*loc, index)) for index, item in enumerate(raw)]
        found = self._sized(made, kind, loc, is_bad=_BAD in made)
        kinds: dict[type, Callable[[Any], Any]] = {inspect.VarTupleType: tuple, inspect.FrozenSetType: frozenset}
        return found if found is _BAD else kinds.get(type(kind), list)(found)

    def _sized(self, made: Any, kind: Any, loc: Loc, *, is_bad: bool) -> Any:
        for bound, words, holds in (("min_length", "at least", operator.ge), ("max_length", "at most", operator.le)):
            limit = getattr(kind, bound)
            if limit is not None and not holds(len(made), limit):
                unit = "character" if isinstance(made, str) else "item"
                return self._bad(loc, f"should have {words} {limit} {unit}{'' if limit == 1 else 's'}, not {len(made)}")
        return _BAD if is_bad else made

    def _word(self, raw: Any, values: Sequence[object], loc: Loc) -> Any:
        if raw in values:
            return raw
        *first, last = [repr(value) for value in values]
        valid = f"{', '.join(first)} or {last}" if first else last
        close = difflib.get_close_matches(str(raw), [str(value) for value in values], n=1)
        return self._bad(
            loc, f"'{raw}' is not one of the values: {valid}", f"Did you mean '{close[0]}'?" if close else ""
        )

    def _plain(self, raw: Any, kind: Any, loc: Loc) -> Any:
        python, name = _PLAIN[type(kind)]
        value: Any = NODEFAULT
        with suppress(ValidationError):
            value = convert(raw, python, strict=False)  # accepts '4' as a number
        if value is NODEFAULT:
            return self._wrong(loc, f"should be a valid {name}", raw)
        if python is str:
            if kind.pattern is not None and not re.search(kind.pattern, value):
                return self._wrong(loc, f"string should match pattern '{kind.pattern}'", raw)
            return self._sized(value, kind, loc, is_bad=False)
        for bound, words, holds in _BOUNDS if python is not bool else ():
            limit = getattr(kind, bound)
            if limit is not None and not holds(value, limit):
                return self._wrong(loc, f"should be {words} {limit}", raw)
        return value


def _as_written(raw: object) -> str:
    """Return a value in the form of YAML, for a fault: `true`, not Python's `True`."""
    if raw is None:
        return "empty"
    if isinstance(raw, bool):
        return str(raw).lower()
    return raw.isoformat() if isinstance(raw, date) else repr(raw)


def _wanted(kind: Any) -> inspect.Type:
    """Return the type of the values other than None."""
    found: inspect.Type = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return found
