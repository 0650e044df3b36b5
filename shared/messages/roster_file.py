"""The reader of HR's roster: a CSV or JSON file that lists all employees. A file with any fault is not used at all.

CSV: the first line names the columns `user`, `person_id`, `groups`; other columns are ignored. The last line is `#rows,1234`
or `#sha256,<digest of all bytes before that line>`, or the last two lines are these, so that a half-written file is noticed.
A line `#as_of,2026-11-29T06:00:00Z` above them states the moment that the file describes. JSON: `{"schema":
"workbench.roster/v1", "as_of": …, "rows": 1234, "people": [{"user": …, "person_id": …, "groups": […]}]}`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from shared.domain.fleet.roster import Reading, Refusal, RosterKind
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserEmail
from shared.domain.things.times import parse_time
from shared.engine.ports.roster import RosterRefusedError

SCHEMA = "workbench.roster/v1"
MOST_BYTES = 100_000_000
MOST_FAULTS = 20
_GROUPS = re.compile(r"[|;,\s]+")
_COLUMNS = ("user", "person_id", "groups")
_FOOT = re.compile(rb"\"?#(?P<name>rows|sha256)\"?\s*[,;\t]\s*\"?(?P<value>[0-9A-F]{1,64})\"?[,;\t\s]*", re.IGNORECASE)
_LONGEST_FOOT = 1_000
_PERSON_ID = re.compile(r"[^\x00-\x1f\ud800-\udfff]{1,64}")
_MARKS = {
    b"\x1f\x8b": "is compressed (gzip)",
    b"PK": "is a workbook or an archive",
    b"\xff\xfe": "is UTF-16",
    b"\xfe\xff": "is UTF-16",
}
Person = Callable[[object], UserEmail]


class RosterFault(Struct, frozen=True, kw_only=True):
    """A fault on a line of the file, with a hint at valid values. Line 0 means the whole file."""

    line: int
    problem: str

    def __str__(self) -> str:
        """Return the fault as text, with its line."""
        return f"line {self.line}: {self.problem}" if self.line else self.problem


class _People(Struct):
    """The people and faults read so far. `lines` maps an address to the line that first lists it."""

    people: dict[UserEmail, tuple[str, ...] | None] = field(default_factory=dict)
    numbers: dict[UserEmail, str] = field(default_factory=dict)
    lines: dict[UserEmail, int] = field(default_factory=dict)
    of_number: dict[str, int] = field(default_factory=dict)
    faults: list[RosterFault] = field(default_factory=list)
    total: int = 0

    def fault(self, line: int, problem: str) -> None:
        self.total += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(RosterFault(line=line, problem=problem))

    def add(self, line: int, row: dict[str, Any], person: Person) -> None:
        """Add a person, or a fault if the row is invalid."""
        try:
            email = person(row.get("user"))
        except InvalidMessageError as error:
            self.fault(line, error.user_message)
            return
        if email in self.lines:
            self.fault(line, f"the person is already on line {self.lines[email]}; list each person once")
            return
        self.lines[email] = line
        number, groups = row.get("person_id"), row.get("groups")
        if number is not None and number != "":
            if not isinstance(number, str | int) or isinstance(number, bool) or not _PERSON_ID.fullmatch(str(number)):
                self.fault(line, "person_id must be a text or number of at most 64 characters")
                return
            if str(number) in self.of_number:
                self.fault(line, f"the person_id is already on line {self.of_number[str(number)]}")
                return
            self.of_number[str(number)] = line
            self.numbers[email] = str(number)
        if groups is not None and not (isinstance(groups, list) and all(isinstance(each, str) for each in groups)):
            self.fault(line, "groups is not a list of addresses")
            return
        try:
            self.people[email] = None if groups is None else tuple(sorted({_group(each, person) for each in groups}))
        except InvalidMessageError as error:
            self.fault(line, error.user_message.replace("The address", "The group's address", 1))


def _group(raw: str, _person: Person) -> str:
    address = raw.strip().lower()
    if not re.fullmatch(r"[^@\s\ud800-\udfff]+@[^@\s\ud800-\udfff]+\.[^@\s\ud800-\udfff]+", address):
        shown = raw[:60].encode("utf-8", "replace").decode()
        raise InvalidMessageError(
            user_message=f"'{shown}' is not an address. A valid one looks like data-analysts@example.com.",
            detail="group in a roster",
        )
    return address


def read_roster(raw: bytes, *, person: Person, written_at: datetime, version: str = "") -> Reading:
    """Return the roster of a file that was written at `written_at`.

    `person` returns the canonical form of an address, or raises `InvalidMessageError`.

    Raise `RosterRefusedError` for any fault: no part of a faulty file is used.
    """
    found = _People()
    if len(raw) > MOST_BYTES:
        found.fault(0, f"The file has {len(raw):,} bytes; at most {MOST_BYTES:,} are read.")
    is_json = raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}
    try:
        as_of = written_at if found.faults else (_json if is_json else _csv)(raw, found, person)
    except UnicodeDecodeError as error:
        found.fault(raw.count(b"\n", 0, error.start) + 1, "is not UTF-8 text. Save the file as UTF-8.")
        as_of = None
    if as_of is not None and as_of > written_at:
        found.fault(0, f"as_of is {as_of.isoformat()}, later than the file itself ({written_at.isoformat()}).")
    if found.total:
        raise _refused(found)
    return Reading(
        kind=RosterKind.EMPLOYEES,
        as_of=as_of or written_at,
        people=found.people,
        numbers=found.numbers,
        version=version,
    )


def _refused(found: _People) -> RosterRefusedError:
    some = "a fault" if found.total == 1 else f"{found.total:,} faults"
    return RosterRefusedError(
        Refusal.FAULTY,
        [str(fault) for fault in found.faults],
        user_message=f"HR's roster has {some}, so the whole file is ignored. The last accepted list stays in use.",
        detail=f"{found.total} faults, the first on line {found.faults[0].line}",
    )


class _Foot(Struct, frozen=True):
    """A line at the end of the file: its position, and the name and value of its check (`rows` or `sha256`)."""

    begin: int
    name: str
    value: str


def _feet(raw: bytes) -> list[_Foot]:
    """Return the check lines at the end of the file: at most one of each kind, the upper line first."""
    found: list[_Foot] = []
    end = len(raw.rstrip())
    while len(found) < 2:  # noqa: PLR2004 - a count and a digest
        begin = raw.rfind(b"\n", 0, end) + 1
        foot = _FOOT.fullmatch(raw[begin:end].strip()) if end - begin < _LONGEST_FOOT else None
        if foot is None or any(each.name == foot["name"].decode().lower() for each in found):
            break
        found.insert(0, _Foot(begin, foot["name"].decode().lower(), foot["value"].decode().lower()))
        end = max(begin - 1, 0)
    return found


def _csv(raw: bytes, found: _People, person: Person) -> datetime | None:
    feet = _feet(raw)
    if not feet:
        mark = next((says for mark, says in _MARKS.items() if raw.startswith(mark)), None)
        found.fault(
            raw.count(b"\n") + 1 if mark is None else 0,
            "the last line is missing, so the file may be half written. Valid: #rows,1234 (the people listed above) or #sha256,DIGEST"
            if mark is None
            else f"The file {mark}. Valid: CSV or JSON as UTF-8 text.",
        )
        return None
    body = raw[: feet[0].begin]
    text = body.decode("utf-8-sig")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    as_of, rows = None, 0
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            found.fault(line, f"is not valid CSV from here on: {error}.")
            break
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if cells[0].lstrip().startswith("#"):
            if as_of is not None:
                found.fault(line, "has a second #as_of; a file describes one moment.")
            as_of = _as_of(line, cells, found) or as_of
        elif header is None:
            header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in cells]
            if not _is_header(line, header, found):
                return None
        else:
            rows += 1
            if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
                found.fault(line, f"has {len(cells)} cells; the header has {len(header)}.")
                continue
            found.add(line, _cells(header, cells), person)
    for foot in feet:
        _check_foot(foot, raw, len(body), rows, found)
    return as_of


def _is_header(line: int, header: list[str], found: _People) -> bool:
    if "user" not in header:
        found.fault(line, f"has no column 'user'. The first line names the columns: {', '.join(_COLUMNS)}.")
        return False
    twice = next((name for name in _COLUMNS if header.count(name) > 1), None)
    if twice is not None:
        found.fault(line, f"has two columns '{twice}'.")
        return False
    return True


def _cells(header: list[str], cells: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: cell.strip() for name, cell in zip(header, cells, strict=False) if name in _COLUMNS and cell.strip()
    }
    row.setdefault("user", "")
    if "groups" in header:
        row["groups"] = [each for each in _GROUPS.split(row.get("groups", "")) if each]
    return row


def _as_of(line: int, cells: list[str], found: _People) -> datetime | None:
    name, value = cells[0].strip().lower(), cells[1].strip() if len(cells) > 1 else ""
    if name != "#as_of":
        found.fault(
            line, f"'{cells[0][:40]}' is unknown. Lines with # are #as_of, and as the last line #rows or #sha256."
        )
        return None
    return _time(line, value, found)


def _time(line: int, value: object, found: _People) -> datetime | None:
    try:
        return parse_time(str(value))
    except ValueError:
        found.fault(line, f"as_of '{str(value)[:40]}' is not an RFC 3339 time, for example 2026-11-29T06:00:00Z.")
        return None


def _check_foot(foot: _Foot, raw: bytes, body: int, rows: int, found: _People) -> None:
    """Add a fault if the check line does not match the file.

    A digest may cover all bytes above its own line, or all bytes above the first check line.
    """
    line = raw.count(b"\n", 0, foot.begin) + 1
    if foot.name == "rows":
        if not foot.value.isdigit() or int(foot.value) != rows:
            found.fault(
                line,
                f"says {foot.value[:20]} rows, and {rows} are there: the file is half written, or the count is wrong.",
            )
    elif foot.value not in {hashlib.sha256(raw[:end]).hexdigest() for end in (foot.begin, body)}:
        found.fault(
            line, "the SHA-256 is not that of the bytes above this line: the file was changed, or is half written."
        )


def _json(raw: bytes, found: _People, person: Person) -> datetime | None:
    try:
        body = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
        found.fault(line, f"is not JSON: {error if not isinstance(error, json.JSONDecodeError) else error.msg}.")
        return None
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        found.fault(0, f'The file is not an object with "schema": "{SCHEMA}".')
        return None
    people, rows = body.get("people"), body.get("rows")
    if not isinstance(people, list):
        found.fault(0, '"people" is not a list.')
        return None
    if not isinstance(rows, int) or isinstance(rows, bool) or rows != len(people):
        found.fault(
            0,
            f'"rows" is {str(rows)[:20]}, and "people" lists {len(people)}: the file is half written, or the count is wrong.',
        )
    for place, row in _placed(people, raw):
        if isinstance(row, dict):
            found.add(place, row, person)
        else:
            found.fault(place, "is not an object.")
    return _time(0, body["as_of"], found) if "as_of" in body else None


def _placed(people: list[Any], raw: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the line of each person's address and the person's object. The line is 0 if the address was not found."""
    text, place, line = raw.decode("utf-8-sig"), 0, 1
    for row in people:
        user = row.get("user") if isinstance(row, dict) else None
        at = text.find(json.dumps(user, ensure_ascii=False), place) if isinstance(user, str) else -1
        if at >= 0:
            line += text.count("\n", place, at)
            place = at
        yield (line if at >= 0 else 0), row


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"the key '{next(name for name in names if names.count(name) > 1)[:40]}' occurs twice in an object"
        )
    return found
