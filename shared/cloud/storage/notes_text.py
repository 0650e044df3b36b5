"""The text of the sweeps' notes about all users, `index/notes.json.gz`. One user's notes are found without parsing the other notes."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Raw, Struct, convert
from msgspec.json import Decoder

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.report import Reported
from shared.domain.things.identity import UserKey

V = TypeVar("V")
_VERSION = 1


def notes_json(notes: Notes) -> dict[str, Any]:
    """Return the notes as the values of a JSON object."""
    return {
        "version": _VERSION,
        "taken_at": notes.taken_at.isoformat(),
        **{name: {key: at.isoformat() for key, at in getattr(notes, name).items()} for name in _NOTES_OF_TIMES},
        "reports": dict(notes.reports),
        "arrivals": {key: [at.isoformat() for at in each] for key, each in notes.arrivals.items()},
        "costs": None if notes.costs is None else dict(notes.costs),
        "costs_month": notes.costs_month,
        "costs_at": None if notes.costs_at is None else notes.costs_at.isoformat(),
    }


class _NotesJson(Struct, frozen=True):
    version: int
    taken_at: datetime
    idle_stops: Raw
    costs: Raw
    costs_month: str
    costs_at: datetime | None
    last_used: Raw = Raw(b"{}")  # versions before 2026-11-29 write none of these three
    looked: Raw = Raw(b"{}")
    counter_seen: Raw = Raw(b"{}")
    reports: Raw = Raw(b"{}")
    arrivals: Raw = Raw(b"{}")
    started_ahead: Raw = Raw(b"{}")


class PackedNotes:
    """The notes of all users as unparsed text. The notes of one user are searched in the text, because a user's page needs no others."""

    def __init__(self, raw: bytes) -> None:
        about = _NOTES.decode(raw)
        if about.version != _VERSION:
            raise ValueError(f"version {about.version!r}")
        self.taken_at, self._costs_month, self._costs_at = about.taken_at, about.costs_month, about.costs_at
        self._raw = raw
        self._parts = {name: _part(raw, name, getattr(about, name)) for name in (*_NOTES_OF_TIMES, *_OTHERS)}
        # Made once: results computed from these notes are cached as long as they are the same object.
        self._for_tables: Notes | None = None

    @classmethod
    def read(cls, packed: bytes) -> PackedNotes:
        """Return the notes of a compressed text. Raise `ValueError` or `zlib.error` if it is damaged."""
        return cls(zlib.decompress(packed, wbits=_GZIP, bufsize=_size_in(packed)))

    def of_all(self) -> Notes:
        """Return the notes of all users."""
        return self._notes(
            {name: _TIMES.decode(self._view(name)) for name in _NOTES_OF_TIMES},
            _NUMBERS.decode(self._view("costs")),
            _REPORTS.decode(self._view("reports")),
            _ARRIVALS.decode(self._view("arrivals")),
        )

    def for_tables(self) -> Notes:
        """Return the last uses and costs of all users; the same object each time."""
        if self._for_tables is None:
            used = {"last_used": _interned(_TIMES.decode(self._view("last_used")))}
            costs = _NUMBERS.decode(self._view("costs"))
            self._for_tables = self._notes(used, None if costs is None else _interned(costs), {}, {})
        return self._for_tables

    def of(self, user_key: UserKey) -> Notes:
        """Return the notes about one user, without arrivals, together with the notes that are about no particular user."""
        cost = self._found("costs", user_key)
        costs: dict[UserKey, float] | None = {} if cost is None else {user_key: float(cost)}
        times = {name: self._found(name, user_key) for name in _NOTES_OF_TIMES}
        return self._notes(
            {
                name: {} if text is None else {user_key: datetime.fromisoformat(text.decode().strip('"'))}
                for name, text in times.items()
            },
            None if bytes(self._view("costs")[:4]) == b"null" else costs,
            self._report_of(user_key),
            {},  # no page shows them
        )

    def _view(self, name: str) -> memoryview:
        begin, end = self._parts[name]
        return memoryview(self._raw)[begin:end] if end else _NOTHING

    def _place(self, name: str, user_key: UserKey) -> int:
        """Return the position of the user's value, -1 if there is none.

        User keys have only letters, digits and dashes, so the match is unique.
        """
        key = f'"{user_key}":'.encode()
        begin = self._raw.find(key, *self._parts[name])
        return begin if begin < 0 else begin + len(key)

    def _found(self, name: str, user_key: UserKey) -> bytes | None:
        begin = self._place(name, user_key)
        if begin < 0:
            return None
        limit = self._parts[name][1]
        end = self._raw.find(b",", begin, limit)
        return self._raw[begin : end if end >= 0 else limit - 1]

    def _report_of(self, user_key: UserKey) -> dict[UserKey, Reported]:
        """Return the user's report by its key.

        The only text in a report that a VM chooses has hex digits only, so no text in a report can look like a key.
        """
        begin = self._place("reports", user_key)
        if begin < 0:
            return {}
        found, _ = json.JSONDecoder().raw_decode(self._raw[begin : begin + _LONGEST_REPORT].decode(errors="ignore"))
        return {user_key: convert(found, Reported)}

    def _notes(
        self,
        times: Mapping[str, dict[Any, datetime]],
        costs: Mapping[UserKey, float] | None,
        reports: Mapping[UserKey, Reported],
        arrivals: Mapping[UserKey, tuple[datetime, ...]],
    ) -> Notes:
        return Notes(
            taken_at=self.taken_at,
            reports=reports,
            arrivals=arrivals,
            **times,
            costs=costs,
            costs_month=self._costs_month,
            costs_at=self._costs_at,
        )


_NOTES_OF_TIMES = ("idle_stops", "last_used", "looked", "counter_seen", "started_ahead")
_OTHERS = ("costs", "reports", "arrivals")
_NOTES = Decoder(_NotesJson)
_TIMES, _NUMBERS = Decoder(dict[str, datetime]), Decoder(dict[str, float] | None)
_REPORTS = Decoder(dict[UserKey, Reported])
_ARRIVALS = Decoder(dict[UserKey, tuple[datetime, ...]])
_LONGEST_REPORT = 2_000  # bytes of one user's
_GZIP = 16 + zlib.MAX_WBITS
_NOTHING = memoryview(b"{}")
_MOST_AT_ONCE = 64 * 2**20


def _part(raw: bytes, name: str, value: Raw) -> tuple[int, int]:
    """Return start and end of the named value in the text; (0, 0) if there is none.

    If an equal text occurs elsewhere, the position of that text may be returned: the content is the same.
    """
    part, at = memoryview(value), 0
    while (at := raw.find(f'"{name}":'.encode(), at)) >= 0:
        at += len(name) + 3
        if memoryview(raw)[at : at + len(part)] == part:
            return at, at + len(part)
    at = raw.find(part)  # written by something else, which puts a space before its values
    return (at, at + len(part)) if at >= 0 else (0, 0)


def _size_in(packed: bytes) -> int:
    """Return the uncompressed size by the last four bytes of a gzip file, at most `_MOST_AT_ONCE`.

    With this size as the buffer, the text is unpacked into one block of memory.
    """
    return min(max(int.from_bytes(packed[-4:], "little"), 1), _MOST_AT_ONCE)


def _interned(values: dict[str, V]) -> dict[UserKey, V]:
    """Return the mapping with interned keys, the same objects as in the rows of the list: no key is in memory twice."""
    return {UserKey(sys.intern(key)): value for key, value in values.items()}
