"""The fleet at one moment, in one object that sweeps write and pages read: `index/fleet.json.gz`, `index/notes.json.gz`.

One object for ten thousand people is 0.3 MB; it is read again only when its generation changed (ADR 14).
"""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from shared.cloud.clients import Clients
from shared.cloud.objects import Unchanged
from shared.cloud.record_rows import from_texts, to_texts
from shared.domain.drift import Stray
from shared.domain.errors import PermanentError, Reason
from shared.domain.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.identity import UserKey

T = TypeVar("T", FleetSnapshot, Notes)
_VERSION = 1


class _Kept(Generic[T]):
    """One object, kept in the process by its generation; safe from several threads."""

    def __init__(self, clients: Clients, name: str, parse: Callable[[Any], T], dump: Callable[[T], Any]) -> None:
        self._clients, self._name = clients, name
        self._parse: Callable[[Any], T] = parse
        self._dump: Callable[[T], Any] = dump
        self._lock = threading.Lock()
        self._generation = 0
        self._value: T | None = None

    def read(self) -> T | None:
        """What it says now: one call, whose answer is empty when nothing changed."""
        with self._lock:  # several requests at once wait for one download
            found = self._clients.bucket().read(self._name, known=self._generation or None, what=f"read {self._name}")
            if isinstance(found, Unchanged):
                return self._value
            if found is None:
                self._generation, self._value = 0, None
                return None
            self._value = self._read(found.content)
            self._generation = found.generation
            return self._value

    def _read(self, raw: bytes) -> T:
        try:
            content = json.loads(gzip.decompress(raw))
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']!r}")
            value: T = self._parse(content)
        except (OSError, EOFError, zlib.error, KeyError, ValueError, TypeError, AttributeError) as error:
            raise PermanentError(
                user_message="The list of all environments is damaged; the next sweep writes it anew within ten minutes.",
                detail=f"unreadable {self._name}: {type(error).__name__}: {error}",
                reason=Reason.UNREADABLE,
            ) from error
        return value

    def write(self, value: T) -> None:
        """Write it unless what is there is newer. Somebody who writes at the same moment wins: theirs is as good."""
        if self._is_newer(value) or self._written(value):
            return
        try:
            self.read()  # not what was read last: look again, then once more
        except PermanentError:
            self._generation = self._generation_now()  # damaged: this mends it
        if not self._is_newer(value):
            self._written(value)

    def _is_newer(self, value: T) -> bool:
        return self._value is not None and self._value.taken_at > value.taken_at

    def _written(self, value: T) -> bool:
        """False when the object is not at the generation that was read."""
        raw = gzip.compress(
            json.dumps(self._dump(value), separators=(",", ":"), ensure_ascii=False).encode(), 6, mtime=0
        )
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


class StorageFleetIndex:
    """The port `FleetIndex`."""

    def __init__(self, clients: Clients) -> None:
        self._fleet: _Kept[FleetSnapshot] = _Kept(clients, "index/fleet.json.gz", _fleet, _fleet_json)
        self._notes: _Kept[Notes] = _Kept(clients, "index/notes.json.gz", _notes, _notes_json)

    def fleet(self) -> FleetSnapshot | None:
        """One call."""
        return self._fleet.read()

    def notes(self) -> Notes | None:
        """One call."""
        return self._notes.read()

    def write_fleet(self, fleet: FleetSnapshot) -> None:
        """One call, two more when somebody else wrote since the last read."""
        self._fleet.write(fleet)

    def write_notes(self, notes: Notes) -> None:
        """The same."""
        self._notes.write(notes)


def _fleet_json(fleet: FleetSnapshot) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "taken_at": fleet.taken_at.isoformat(),
        # What is empty is left out: most of it is, and a reader parses it a thousand times.
        "rows": [{"key": r.user_key, **{k: v for k, v in to_texts(r).items() if v}} for r in fleet.rows],
        "strays": [[s.name, s.zone, s.why] for s in fleet.strays],
        "blind": sorted(fleet.blind),
        "points": [[p.at.isoformat(), p.running, p.resting, p.moving, p.attention] for p in fleet.points],
    }


_EMPTY = dict.fromkeys(
    ("profile", "cost-center", "instance", "zone", "next-attempt", "entitling"),
    "",
)  # what `from_texts` asks for by name


def _fleet(raw: Any) -> FleetSnapshot:
    rows = (from_texts(UserKey(each["key"]), {**_EMPTY, **each}) for each in raw["rows"])
    return FleetSnapshot(
        taken_at=_time(raw["taken_at"]),
        rows=tuple(row for row in rows if row is not None),
        strays=tuple(Stray(name=name, zone=zone, why=why) for name, zone, why in raw["strays"]),
        blind=frozenset(UserKey(key) for key in raw["blind"]),
        points=tuple(
            FleetPoint(at=_time(at), running=running, resting=resting, moving=moving, attention=attention)
            for at, running, resting, moving, attention in raw["points"]
        ),
    )


def _notes_json(notes: Notes) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "taken_at": notes.taken_at.isoformat(),
        "idle_stops": {key: at.isoformat() for key, at in notes.idle_stops.items()},
        "costs": None if notes.costs is None else dict(notes.costs),
        "costs_month": notes.costs_month,
        "costs_at": None if notes.costs_at is None else notes.costs_at.isoformat(),
    }


def _notes(raw: Any) -> Notes:
    return Notes(
        taken_at=_time(raw["taken_at"]),
        idle_stops={UserKey(key): _time(at) for key, at in raw["idle_stops"].items()},
        costs=None if raw["costs"] is None else {UserKey(key): float(cost) for key, cost in raw["costs"].items()},
        costs_month=raw["costs_month"],
        costs_at=None if raw["costs_at"] is None else _time(raw["costs_at"]),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
