"""Faults of configuration files, each with its place and a hint how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from msgspec import Struct

Loc = tuple[int | str, ...]


class ConfigFault(Struct, frozen=True):
    """A fault in a configuration file: its place, the problem and what to do.

    `line` counts from 1; 0 means the whole file. `field` is the dotted path of the key.
    """

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
    """Return the line of the innermost key or item around `loc` whose line is known; 0 if there is none."""
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 0)


def dotted(loc: Loc) -> str:
    """Return the location as text, such as `profiles.analyst.templates[0]`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a hint: `Did you mean 'x'?` if a valid name is similar, then all valid names."""
    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}Valid: {', '.join(names) or 'none'}."
