"""The adapter to the fleet list and the notes, which sweeps write and pages read: `index/fleet.json.gz`, `index/notes.json.gz`.

The list of ten thousand users has 0.3 MB; an object is read again only if its generation changed (ADR 14).
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import threading
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from msgspec import convert
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Unchanged
from shared.cloud.storage.month_lines import StorageMonths
from shared.cloud.storage.notes_text import PackedNotes, notes_json
from shared.cloud.storage.record_rows import AUDIT, from_texts, to_texts
from shared.domain.fleet.drift import Stray
from shared.domain.fleet.figures import Figures, figures_of
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.fleet.idle_days import IdleDay
from shared.domain.fleet.spent import MonthLines, MonthTotal
from shared.domain.record.record import RecordRow
from shared.domain.things.errors import PermanentError, Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import Line
from shared.engine.ports.fleet import FleetAbout, FleetDraft, MonthDraft
from shared.engine.ports.records import ListedRow

T = TypeVar("T", FleetSnapshot, FleetAbout, PackedNotes)
_VERSION = 1
_FLEET = "index/fleet.json.gz"
_TAKEN_AT = "taken-at"  # custom metadata: tells whether a list is newer without reading it
# Each row has a line, so that a list is read line by line. The line break is inside a row: versions before 2026-11-29 accept none
# between rows.
_BEGIN, _BETWEEN, _END = b'{"rows":[', b",{\n", b"],\n"
_ROW = Decoder(dict[str, str])
_SHARED = frozenset(
    {"profile", "cost-center", "zone", "entitling", "reason", "summary", "power", "presence", "entitled-by", "hold"}
)
_NOT_SHOWN = frozenset(
    {"built-from", "proxy-uri", "copies", "copy-from", AUDIT}
)  # a third of a row's size; no fleet page shows these fields
_PACKED_AT_ONCE = 200  # rows; few enough for the memory, enough for one call of the compressor


class _Kept(Generic[T]):
    """A cache of one stored object in the process, by the object's generation. Thread-safe.

    While a thread reads a new value, other threads use the cached value. With `alone`, the cached value is dropped before
    the new one is parsed, so that two values are never in memory.
    """

    def __init__(self, clients: Clients, name: str, parse: Callable[[bytes], T], *, alone: bool = False) -> None:
        self._clients, self._name, self._alone = clients, name, alone
        self._parse: Callable[[bytes], T] = parse
        self._lock = threading.Lock()
        self._generation = 0
        self._value: T | None = None

    def read(self) -> T | None:
        """Return the current value by one call, whose answer is empty if nothing changed; None if there is no object.

        While one thread reads, other threads get the cached value at once; without a cached value they wait.
        """
        if not self._lock.acquire(blocking=self._value is None):
            return self._value
        try:
            found = self._clients.bucket().read(self._name, known=self._generation or None, what=f"read {self._name}")
            if isinstance(found, Unchanged):
                return self._value
            if found is None:
                self._generation, self._value = 0, None
                return None
            if self._alone:
                self._value = None
            self._value = self._read(found.content)
            self._generation = found.generation
            return self._value
        finally:
            self._lock.release()

    def _read(self, raw: bytes) -> T:
        try:
            value: T = self._parse(raw)
        except (OSError, EOFError, zlib.error, LookupError, ValueError, TypeError, AttributeError) as error:
            raise PermanentError(
                user_message="The list of all environments is damaged; the next sweep writes it again within ten minutes.",
                detail=f"unreadable {self._name}: {type(error).__name__}: {error}",
                reason=Reason.UNREADABLE,
            ) from error
        return value

    def write(self, value: T, text: bytes) -> None:
        """Write `text`, the stored form of the value, unless the stored value is newer.

        If another process wrote since the last read, read and write once more. If that write fails in the same way, the other
        process's value stays, because it is equally good.
        """
        if self._is_newer(value) or self._written(value, text):
            return
        try:
            self.read()  # the object changed since the last read: read it again, then try once more
        except PermanentError:
            self._generation = self._generation_now()  # the object is damaged: the write replaces it
        if not self._is_newer(value):
            self._written(value, text)

    def _is_newer(self, value: T) -> bool:
        return self._value is not None and self._value.taken_at > value.taken_at

    def _written(self, value: T, text: bytes) -> bool:
        """Write the object and return True; return False if the object is not at the generation that was read."""
        raw = gzip.compress(text, 6, mtime=0)
        with self._lock:
            written = self._clients.bucket().write(
                self._name,
                raw,
                content_type="application/gzip",
                expected=self._generation,
                what=f"write {self._name}",
            )
            if written is None:
                return False
            self._generation, self._value = written, value
        return True

    def _generation_now(self) -> int:
        found = self._clients.bucket().look(self._name, what=f"look at {self._name}")
        return 0 if found is None else found.generation


class _Draft:
    """The adapter of the port `FleetDraft`: the object's bytes grow row by row, compressed."""

    def __init__(self, clients: Clients, about: _Kept[FleetAbout]) -> None:
        self._clients, self._about = clients, about
        self._gzip = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self._parts = [self._gzip.compress(_BEGIN)]
        self._texts: list[bytes] = []
        self._is_empty = True

    def add(self, listed: ListedRow) -> None:
        """Add a row without its empty fields, because most fields are empty and every reader would parse them."""
        shown = {k: v for k, v in listed.texts.items() if v and k not in _NOT_SHOWN}
        self._texts.append(encode({"key": listed.row.user_key, **shown}))
        if len(self._texts) >= _PACKED_AT_ONCE:
            self._pack()

    def _pack(self) -> None:
        if self._texts:
            text = b"".join([_BETWEEN + text[1:] for text in self._texts])
            self._parts.append(self._gzip.compress(text[1:] if self._is_empty else text))
            self._texts, self._is_empty = [], False

    def write(self, about: FleetSnapshot, figures: Figures) -> None:
        """Write the list by a look at the stored one and a conditional write, then everything but its rows as a second object.

        A newer list is not overwritten. If another process writes at the same moment, try once more; if it does so again,
        its list stays.
        """
        self._pack()
        rest = _END + encode(_about_json(about))[1:]
        content = b"".join((*self._parts, self._gzip.compress(rest), self._gzip.flush()))
        bucket, metadata = self._clients.bucket(), {_TAKEN_AT: about.taken_at.isoformat()}
        for _ in range(2):
            there = bucket.look(_FLEET, what=f"look at {_FLEET}")
            if there is not None and _taken_at(there.metadata.get(_TAKEN_AT, "")) > about.taken_at:
                return
            expected = 0 if there is None else there.generation
            if bucket.write(
                _FLEET,
                content,
                content_type="application/gzip",
                metadata=metadata,
                expected=expected,
                what=f"write {_FLEET}",
            ):
                told = FleetAbout(replace(about, rows=()), figures)
                self._about.write(told, encode({**_about_json(about), "figures": figures}))
                return


class StorageFleetIndex:
    """The adapter of the port `FleetIndex`. `index/fleet-about.json.gz` repeats all but the rows, for the next sweep."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._months = StorageMonths(clients)
        self._fleet: _Kept[FleetSnapshot] = _Kept(clients, _FLEET, _FleetReader())
        self._about: _Kept[FleetAbout] = _Kept(clients, "index/fleet-about.json.gz", _about)
        self._notes: _Kept[PackedNotes] = _Kept(clients, "index/notes.json.gz", PackedNotes.read, alone=True)

    def fleet(self) -> FleetSnapshot | None:
        """Return the list by one call; None if there is none yet."""
        return self._fleet.read()

    def about(self) -> FleetAbout | None:
        """Return the list without rows by one call; None if there is none.

        If an earlier version stored only the whole list, read that by a second call.
        """
        found = self._about.read()
        if found is None and (whole := StorageFleetIndex(self._clients).fleet()) is not None:
            found = FleetAbout(replace(whole, rows=()), None)
        return found

    def month(self, month: str) -> MonthLines | None:
        """Return the lines of a month, None if none are stored, by at most one call, because the process caches the lines."""
        return self._months.month(month)

    def month_about(self, month: str, user_key: UserKey) -> tuple[Line, ...] | None:
        """Return the user's lines in a month, None if the month is not stored, by at most one call.

        Other users' lines are not parsed.
        """
        return self._months.about(month, user_key)

    def month_totals(self) -> tuple[MonthTotal, ...]:
        """Return the sums of the stored months by one call."""
        return self._months.totals()

    def month_draft(self, month: str, taken_at: datetime) -> MonthDraft:
        """Return an empty draft for a month's lines. Makes no call."""
        return self._months.draft(month, taken_at)

    def notes(self) -> Notes | None:
        """Return the notes by one call; None if there are none yet."""
        found = self._notes.read()
        return None if found is None else found.of_all()

    def notes_for_tables(self) -> Notes | None:
        """Return the last uses and the costs of all users by one call; the same object as long as nothing changed."""
        found = self._notes.read()
        return None if found is None else found.for_tables()

    def notes_about(self, user_key: UserKey) -> Notes | None:
        """Return the user's notes by one call, None without notes; the notes of other users are not parsed."""
        found = self._notes.read()
        return None if found is None else found.of(user_key)

    def draft(self) -> FleetDraft:
        """Return an empty draft of a list. Makes no call."""
        return _Draft(self._clients, self._about)

    def write_fleet(self, fleet: FleetSnapshot) -> None:
        """Write a list whose rows are in memory."""
        draft = self.draft()
        for row in fleet.rows:
            draft.add(ListedRow(row, to_texts(row)))
        draft.write(fleet, figures_of(fleet))

    def write_notes(self, notes: Notes) -> None:
        """Write the notes by one conditional write, unless the stored notes are newer.

        If another process wrote since the last read, read and write once more.
        """
        text = encode(notes_json(notes))
        self._notes.write(PackedNotes(text), text)


def _taken_at(text: str) -> datetime:
    """Return the time of a list; the earliest possible time if the text is invalid, so that a new list replaces the old one."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _about_json(fleet: FleetSnapshot) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "taken_at": fleet.taken_at.isoformat(),
        "strays": [[s.name, s.zone, s.why] for s in fleet.strays],
        "blind": sorted(fleet.blind),
        "idle_days": dict(fleet.idle_days),
        "points": [[p.at.isoformat(), p.running, p.resting, p.moving, p.attention] for p in fleet.points],
    }


_EMPTY = dict.fromkeys(
    ("profile", "cost-center", "instance", "zone", "next-attempt", "entitling"),
    "",
)  # the keys that `from_texts` requires


def _content(raw: bytes) -> Any:
    return _of_our_version(json.loads(gzip.decompress(raw)))


def _of_our_version(content: Any) -> Any:
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r}")
    return content


class _FleetReader:
    """A reader of lists that reuses a row object of the previous list if the row's line is unchanged.

    Between two sweeps few rows change. Two lists in memory at the same time therefore need little more memory than a single list. The
    reader is not thread-safe: `_Kept` calls it under a lock.
    """

    def __init__(self) -> None:
        self._rows: tuple[RecordRow, ...] = ()
        self._marks = array("q")  # the hash of each row's line

    def __call__(self, raw: bytes) -> FleetSnapshot:
        """Return the list, read row by row, so that its whole text or JSON is never in memory."""
        marks, rows, lines = array("q"), [], _Lines(raw)
        before, last, at = self._rows, len(self._rows), 0
        for line in lines:
            mark = hash(line)
            if at < last and self._marks[at] == mark and line.startswith(b'"key":"%b"' % before[at].user_key.encode()):
                row: RecordRow | None = before[at]
                at += 1
            else:
                row = _row(line)
            if row is None:
                continue
            marks.append(mark)
            rows.append(row)
            while at < last and before[at].user_key <= row.user_key:  # both are in the order of the key
                at += 1
        fleet = replace(_about_of(lines.rest), rows=tuple(rows))
        self._rows, self._marks = fleet.rows, marks
        return fleet


def _row(line: bytes) -> RecordRow | None:
    texts = _ROW.decode(b"{" + line)
    known = {name: sys.intern(text) if name in _SHARED else text for name, text in texts.items()}
    return from_texts(UserKey(sys.intern(texts["key"])), {**_EMPTY, **known})


class _Lines:
    """An iterator over the rows of a packed list, each as JSON without the first brace.

    `rest` is the remaining content, available after the last row.

    A list of an earlier version, without a line for each row, is read as a whole.
    """

    def __init__(self, raw: bytes) -> None:
        self._stream = gzip.GzipFile(fileobj=io.BytesIO(raw))
        self.rest: Any = None

    def __iter__(self) -> Iterator[bytes]:
        line = self._stream.readline()
        if line not in {_BEGIN + _BETWEEN[1:], _BEGIN + _END}:
            self.rest = _of_our_version(json.loads(line + self._stream.read()))
            yield from (encode(row)[1:] for row in self.rest["rows"])
            return
        while not line.endswith(_END):
            line = self._stream.readline()
            if not line.endswith((_BETWEEN, _END)):
                raise EOFError("a list without an end")
            yield line[: -len(_END)]
        self.rest = _of_our_version(json.loads(b"{" + self._stream.read()))


def _about(raw: bytes) -> FleetAbout:
    content = _content(raw)
    figures = content.get("figures")
    return FleetAbout(_about_of(content), None if figures is None else convert(figures, Figures))


def _about_of(raw: Any) -> FleetSnapshot:
    return FleetSnapshot(
        taken_at=_time(raw["taken_at"]),
        rows=(),
        strays=tuple(Stray(name=name, zone=zone, why=why) for name, zone, why in raw["strays"]),
        blind=frozenset(UserKey(key) for key in raw["blind"]),
        points=tuple(
            FleetPoint(at=_time(at), running=running, resting=resting, moving=moving, attention=attention)
            for at, running, resting, moving, attention in raw["points"]
        ),
        idle_days=convert(raw.get("idle_days", {}), dict[str, IdleDay]),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
