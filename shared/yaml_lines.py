"""YAML with the line of every key, and faults that say where they are. Used by the settings and by the template check."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

Loc = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing that is wrong: where (file, line from 1, 0 = the whole file; field), what, and what to do."""

    file: str
    line: int
    field: str
    problem: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        return f"{where}:{field} {self.problem}. {self.hint}".rstrip()


class YamlFaultError(Exception):
    """The text is no YAML mapping, or says a key twice."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def load_yaml(text: str) -> tuple[dict[str, Any], dict[Loc, int]]:
    """The mapping in a YAML text and the line (from 1) of every key and item. Raises `YamlFaultError`."""
    lines: dict[Loc, int] = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise YamlFaultError(1, "a mapping (key: value) is needed")
        _walk(root, (), lines)
        data = yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlFaultError(mark.line + 1 if mark is not None else 0, str(error.problem)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlFaultError(0, f"not YAML: {error}") from error
    return data, lines


def _walk(node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines.setdefault(loc, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise YamlFaultError(key.start_mark.line + 1, f"the key '{name}' stands here twice")
            seen.add(name)
            lines[(*loc, name)] = key.start_mark.line + 1
            _walk(value, (*loc, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*loc, index)] = item.start_mark.line + 1
            _walk(item, (*loc, index), lines)


def line_of(lines: dict[Loc, int], loc: Loc) -> int:
    """The line of the nearest thing that has one."""
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 0)


def dotted(loc: Loc) -> str:
    """`profiles.analyst.templates[0]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def nearest(word: str, valid: Iterable[str]) -> str:
    """`Did you mean 'x'?` and what is valid."""
    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Valid: {', '.join(names) or 'none'}."
