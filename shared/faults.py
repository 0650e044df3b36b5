"""Faults of configuration files that say where they are and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from msgspec import Struct

Loc = tuple[int | str, ...]


class ConfigFault(Struct, frozen=True):
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


def line_of(lines: dict[Loc, int], loc: Loc) -> int:
    """Return the line of the nearest thing that has one."""
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
