"""The text of the sweeps' notes about all users, `index/notes.json.gz`, in which one user's notes are found without reading the others."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Raw, Struct, convert
from msgspec.json import Decoder

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.report import Reported
from shared.domain.things.identity import UserKey

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
    """The notes of all users as they were written. One user's notes are looked up in the text, because a page needs no others."""

    def __init__(self, raw: bytes) -> None:
        self._about = _NOTES.decode(raw)
        if self._about.version != _VERSION:
            raise ValueError(f"version {self._about.version!r}")
        self.taken_at = self._about.taken_at
        self._times = {name: bytes(getattr(self._about, name)) for name in _NOTES_OF_TIMES}
        self._costs, self._reports = bytes(self._about.costs), bytes(self._about.reports)
        self._arrivals = bytes(self._about.arrivals)
        self._all: Notes | None = (
            None  # made once: what is worked out from the notes is kept as long as they are the same object
        )

    @classmethod
    def read(cls, packed: bytes) -> PackedNotes:
        """Return the notes of a compressed text. Raise `ValueError` or `OSError` if it is damaged."""
        return cls(gzip.decompress(packed))

    def of_all(self) -> Notes:
        """Return the notes of everybody; the same object each time."""
        if self._all is None:
            self._all = self._read_all()
        return self._all

    def _read_all(self) -> Notes:
        return self._notes(
            {name: _TIMES.decode(raw) for name, raw in self._times.items()},
            _NUMBERS.decode(self._costs),
            {UserKey(key): held for key, held in _REPORTS.decode(self._reports).items()},
            {UserKey(key): each for key, each in _ARRIVALS.decode(self._arrivals).items()},
        )

    def of(self, user_key: UserKey) -> Notes:
        """Return the notes of one user, with what concerns nobody in particular."""
        cost = _found(self._costs, user_key)
        costs: dict[str, float] | None = {} if cost is None else {user_key: float(cost)}
        times = {name: _found(raw, user_key) for name, raw in self._times.items()}
        return self._notes(
            {
                name: {} if text is None else {user_key: datetime.fromisoformat(text.decode().strip('"'))}
                for name, text in times.items()
            },
            None if self._costs == b"null" else costs,
            _report_of(self._reports, user_key),
            {},  # no page shows them
        )

    def _notes(
        self,
        times: Mapping[str, Mapping[str, datetime]],
        costs: dict[str, float] | None,
        reports: Mapping[UserKey, Reported],
        arrivals: Mapping[UserKey, tuple[datetime, ...]],
    ) -> Notes:
        about = self._about
        by_user = {
            name: {UserKey(key): at for key, at in times[name].items()}
            for name in ("idle_stops", "last_used", "looked", "started_ahead")
        }
        return Notes(
            taken_at=about.taken_at,
            counter_seen=times["counter_seen"],
            reports=reports,
            arrivals=arrivals,
            **by_user,
            costs=None if costs is None else {UserKey(key): cost for key, cost in costs.items()},
            costs_month=about.costs_month,
            costs_at=about.costs_at,
        )


_NOTES_OF_TIMES = ("idle_stops", "last_used", "looked", "counter_seen", "started_ahead")
_NOTES = Decoder(_NotesJson)
_TIMES, _NUMBERS = Decoder(dict[str, datetime]), Decoder(dict[str, float] | None)
_REPORTS = Decoder(dict[str, Reported])
_ARRIVALS = Decoder(dict[str, tuple[datetime, ...]])
_LONGEST_REPORT = 2_000  # bytes of one user's


def _found(raw: bytes, user_key: UserKey) -> bytes | None:
    """Return the value of a key in an object written by `encode`. User keys have only letters, digits and dashes: the match is unique."""
    name = f'"{user_key}":'.encode()
    begin = raw.find(name)
    if begin < 0:
        return None
    begin += len(name)
    end = raw.find(b",", begin)
    return raw[begin:end] if end >= 0 else raw[begin:-1]


def _report_of(raw: bytes, user_key: UserKey) -> dict[UserKey, Reported]:
    """Return the user's report by its key; the text of a VM in it is of hex digits alone, so it cannot look like a key."""
    name = f'"{user_key}":'.encode()
    begin = raw.find(name)
    if begin < 0:
        return {}
    begin += len(name)
    found, _ = json.JSONDecoder().raw_decode(raw[begin : begin + _LONGEST_REPORT].decode())
    return {user_key: convert(found, Reported)}
