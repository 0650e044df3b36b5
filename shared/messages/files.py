"""The reader of files of messages, each message with its place: CSV, a JSON list, JSON lines, a single JSON object.

`benchkeeper publish file` calls this module. Files may be in UTF-8, UTF-16 and UTF-32, with or without a byte order mark, and CSV
may have commas, semicolons or tabs. Only the form is checked here: `parse_message` reads the content, as for any other
message. The bytes of a JSON object with an event id are not changed, so that duplicate keys are still found.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from shared.domain.things.errors import InvalidMessageError
from shared.messages.hr_strict import SCHEMA
from shared.messages.message import read_json

MOST_ROWS = 10_000
# The longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_FIELDS = frozenset(
    {
        "schema",
        "type",
        "user",
        "person_id",
        "event_id",
        "occurred_at",
        "effective_time",
        "access_until",
        "reason",
        "new_user",
        "account",
        "by",
    }
)
_LISTS = frozenset({"groups", "add_groups", "remove_groups"})
_NAMES = _FIELDS | _LISTS | {"profile", "cost_center"}
_SEPARATORS = re.compile(r"[|;,\s]+")
_WHITE = re.compile(r"\s*")
_NEXT_OBJECT = re.compile(r"\n\{")  # a nested object is indented


class Row(Struct, frozen=True, kw_only=True):
    """A message and its place: the file's name and the line (from 1) on which the message begins."""

    file: str
    line: int
    data: bytes


class RowFault(Struct, frozen=True, kw_only=True):
    """A fault on a line of a file, with a hint. Line 0 means the whole file."""

    file: str
    line: int
    problem: str

    def __str__(self) -> str:
        """Return the fault in the form that editors and compilers use."""
        return f"{self.file}:{self.line}: {self.problem}" if self.line else f"{self.file}: {self.problem}"


class Rows(Struct, frozen=True, kw_only=True):
    """The messages of a file, and all faults of its form."""

    rows: Sequence[Row]
    faults: Sequence[RowFault]


def read_rows(file: str, raw: bytes) -> Rows:
    """Return the messages of a file, and all faults of its form. `file` is the name of the file in faults."""
    found: list[Row | RowFault]
    try:
        text = _text(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = f"is not {error.encoding.upper()} text. Save the file as UTF-8 (a spreadsheet: CSV UTF-8)."
        return Rows(rows=(), faults=(RowFault(file=file, line=line, problem=problem),))
    begin = text.lstrip()[:1]
    found = list(_json_rows(file, text) if begin in {"{", "["} else _csv_rows(file, text))
    rows = tuple(each for each in found if isinstance(each, Row))
    faults = [each for each in found if isinstance(each, RowFault)]
    if not found:
        faults.append(RowFault(file=file, line=0, problem="holds no message."))
    if len(rows) > MOST_ROWS:
        problem = f"holds {len(rows):,} messages; at most {MOST_ROWS:,} are read from a file. Split it."
        faults.append(RowFault(file=file, line=0, problem=problem))
    return Rows(rows=rows, faults=tuple(faults))


def _text(raw: bytes) -> str:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding)
    return raw.decode(json.detect_encoding(raw[:4]))


# --- JSON


def _json_rows(file: str, text: str) -> Iterator[Row | RowFault]:
    """Yield the elements of a list, or consecutive objects, as rows and faults.

    Outside a list, the reading continues after a fault at the next line that begins an object.
    """
    decoder, lines = json.JSONDecoder(), _Lines(text)
    place = _end(_WHITE, text, 0)
    in_list = text[place] == "["
    if in_list:
        place = _end(_WHITE, text, place + 1)
        if text[place : place + 1] == "]":
            return
    is_first = True
    while place < len(text):
        if in_list and not is_first:
            fault = _between(text, place)
            if fault is not None:
                yield RowFault(file=file, line=lines.at(place), problem=fault)
                return
            if text[place] == "]":
                return
            place = _end(_WHITE, text, place + 1)
            if place == len(text):
                break
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            at = error.pos if isinstance(error, json.JSONDecodeError) else place
            following = None if in_list else _NEXT_OBJECT.search(text, place + 1)
            # A message without its closing brace swallows the next message.
            at = min(at, len(text) if following is None else following.start())
            yield RowFault(file=file, line=lines.at(at), problem=f"is not JSON: {reason}.")
            if following is None:
                return
            place = following.end() - 1
            continue
        line = lines.at(place)
        if isinstance(value, dict):
            yield Row(file=file, line=line, data=_with_event_id(value, text[place:end]))
        else:
            yield RowFault(file=file, line=line, problem="is JSON, but not an object: a message is { … }.")
        is_first = False
        place = _end(_WHITE, text, end)
    if in_list:
        yield RowFault(file=file, line=lines.at(len(text)), problem="ends within the list: the ] is missing.")


def _between(text: str, place: int) -> str | None:
    """Return the fault in the text after an element of a list; None if the text is right."""
    if text[place] == "]":
        return None if _end(_WHITE, text, place + 1) == len(text) else "has text after the end of the list."
    return None if text[place] == "," else "lacks a comma between two messages of the list."


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()


class _Lines(Struct):
    """A counter of line numbers in a text. It is fast for places in ascending order."""

    text: str
    place: int = 0
    line: int = 1

    def at(self, place: int) -> int:
        if place < self.place:
            return self.text.count("\n", 0, place) + 1
        self.line += self.text.count("\n", self.place, place)
        self.place = place
        return self.line


def _with_event_id(value: dict[str, Any], written: str) -> bytes:
    """Return the message's bytes; for a message of the neutral schema without an id, with an id made from the content.

    A message with duplicate keys is not changed.
    """
    data = written.encode("utf-8", "surrogatepass")
    if value.get("schema") != SCHEMA or value.get("event_id") is not None or _stands_twice(data):
        return data
    return _data(value)


def _stands_twice(data: bytes) -> bool:
    try:
        return bool(read_json(data).twice)
    except InvalidMessageError:
        return True  # not strict JSON, for example by a number: leave it unchanged for the next reader


def _data(body: dict[str, Any]) -> bytes:
    """Return the bytes of a message. A missing id becomes a digest of the content, so publishing it twice is one event."""
    if not body.get("event_id"):
        content = json.dumps({k: v for k, v in body.items() if k != "event_id"}, sort_keys=True, ensure_ascii=False)
        body = {**body, "event_id": f"file-{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:32]}"}
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


# --- CSV


def _csv_rows(file: str, text: str) -> Iterator[Row | RowFault]:
    skipped = 0
    named = re.match(r"sep=([,;\t])\r?\n", text, re.IGNORECASE)  # some spreadsheets write this line
    if named is not None:
        text, skipped = text[named.end() :], 1
    delimiter = named[1] if named is not None else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield RowFault(file=file, line=line, problem=f"is not valid CSV from here on: {error}.")
            return
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [_column(cell) for cell in cells]
            faults = list(_header_faults(header))
            yield from (RowFault(file=file, line=line, problem=fault) for fault in faults)
            if faults:
                return
            continue
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            problem = f"has {len(cells)} cells; the header has {len(header)}. Put a cell that contains the separator in quotes."
            yield RowFault(file=file, line=line, problem=problem)
            continue
        yield Row(file=file, line=line, data=_data(_body(header, cells)))


def _delimiter(text: str) -> str:
    """Return the delimiter that occurs most often in the header."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=lambda each: (first.count(each), each == ","))


def _column(cell: str) -> str:
    name = cell.strip()
    plain = re.sub(r"[\s-]+", "_", name.lower())
    return plain if plain in _NAMES else name


def _header_faults(header: Sequence[str]) -> Iterator[str]:
    if "type" not in header:
        yield (
            "has no column 'type' (joiner, mover, leaver, leave_cancelled, renamed). The first line names the columns: "
            f"{', '.join(sorted(_NAMES))}; any other is an attribute."
        )
    elif "user" not in header and "person_id" not in header:
        yield "has no column 'user', the person's address."
    if "" in header:
        yield "has a column without a name."
    for name in sorted({name for name in header if name and header.count(name) > 1}):
        yield f"has two columns '{name}'."


def _body(header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """Return the message of a row. An empty cell states nothing."""
    body: dict[str, Any] = {"schema": SCHEMA}
    attributes: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        if name in _FIELDS:
            body[name] = text
        elif name in _LISTS:
            attributes[name] = [each for each in _SEPARATORS.split(text) if each]
        else:
            attributes[name] = text
    if attributes:
        body["attributes"] = attributes
    return body
