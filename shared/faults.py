"""The faults of configuration files, each with its place and a hint on how to fix the fault."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

Loc = tuple[int | str, ...]


class ConfigFault(Struct, frozen=True):
    """A fault in a configuration file: its place, the problem and what to do.

    `line` counts from 1; 0 means the whole file. `field` is the dotted path of the key. A note (`is_note`) does not make the
    file invalid: it is for example about a value that Benchkeeper ignores or adds, or that the shipped table cannot judge.
    """

    file: str
    line: int
    field: str
    problem: str
    hint: str
    is_note: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        field = f" {self.field}:" if self.field else ""
        said = f"{where}:{field} {self.problem}. {self.hint}".rstrip()
        return " ".join(said.splitlines())  # what a file says may have several lines


def unreadable(path: Path, error: OSError | UnicodeDecodeError) -> ConfigFault:
    """Return the fault of a file that cannot be read, or of a file that is not UTF-8, with the line of the first bad byte."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return ConfigFault(str(path), line, "", "cannot be read: it is not UTF-8 text", "Save it as UTF-8.")
    return ConfigFault(str(path), 0, "", f"cannot be read: {error.strerror or type(error).__name__}", "")


class Finding(Struct, frozen=True):
    """A fault or a note at a key, without the name of the file; `at` adds it."""

    loc: Loc
    problem: str
    hint: str = ""
    is_note: bool = False

    def at(self, path: str, lines: Mapping[Loc, int]) -> ConfigFault:
        """Return the fault with its file and line."""
        return ConfigFault(path, line_of(lines, self.loc), dotted(self.loc), self.problem, self.hint, self.is_note)


class Place(Struct, frozen=True):
    """A configuration file: its content as parsed YAML, and the line of each of its keys. `shared.settings.file.parse_file` fills both."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Loc, int] = field(default_factory=dict)

    def fault(self, loc: Loc, problem: str, hint: str = "", *, is_note: bool = False) -> ConfigFault:
        """Return a fault or a note at a place of this file."""
        return Finding(loc, problem, hint, is_note).at(str(self.path), self.lines)

    def at(self, *loc: int | str) -> Any:
        """Return the value at a place of this file; None if the place has no value."""
        found: Any = self.data
        for part in loc:
            if isinstance(found, dict):
                found = found.get(part)
            else:
                found = found[part] if isinstance(found, list) and isinstance(part, int) and part < len(found) else None
        return found

    def section(self, *loc: int | str) -> dict[str, Any]:
        """Return the mapping at a place of this file; empty if the place has no mapping."""
        found = self.at(*loc)
        return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}

    def items(self, *loc: int | str) -> list[Any]:
        """Return the list at a place of this file; empty if the place has no list."""
        found = self.at(*loc)
        return found if isinstance(found, list) else []


def in_order(stages: Iterable[Iterable[ConfigFault]], files: Sequence[str] = ()) -> list[ConfigFault]:
    """Return the faults of several checks in the order of the files, then of their lines.

    If several checks have a fault at the same key, only the faults of the first check are returned: the later faults mostly
    follow from the first. Files that `files` does not name come last.
    """
    found: list[ConfigFault] = []
    judged: set[tuple[str, str]] = set()
    for stage in stages:
        new = [fault for fault in stage if not fault.field or (fault.file, fault.field) not in judged]
        judged |= {(fault.file, fault.field) for fault in new if not fault.is_note}
        found += [fault for fault in new if fault not in found]
    rank = {name: number for number, name in enumerate(files)}
    return sorted(found, key=lambda fault: (rank.get(fault.file, len(rank)), fault.file, fault.line, fault.field))


def line_of(lines: Mapping[Loc, int], loc: Loc) -> int:
    """Return the line of the innermost key or item around `loc` with a known line; 0 if no line is known."""
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
