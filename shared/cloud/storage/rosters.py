"""The adapters to the rosters' objects.

In the bucket of records, as JSON: `roster/<kind>`, the state of a roster, written conditionally;
`roster/<kind>-report`, the result of the last reading; `roster/<kind>-allowed`, an operator's statement about the size.
In the inbox: `rosters/…`, the files of HR (JSON or CSV), of which the newest counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder, encode

from shared.cloud.http.clients import Clients
from shared.domain.fleet.roster import Allowed, Reading, Refusal, RosterKind, RosterState
from shared.domain.things.errors import ConflictError, PermanentError, Reason
from shared.domain.things.identity import UserEmail
from shared.engine.ports.roster import RosterRefusedError, RosterReport, StoredRoster

_PREFIX = "roster/"
DROPPED = "rosters/"
_FILE_FIELDS = "name,generation,timeCreated,size"
_MOST_BYTES = 100_000_000
T = TypeVar("T")
_STATES, _ALLOWED, _REPORTS = Decoder(RosterState), Decoder(Allowed), Decoder(RosterReport)


class StorageRosters:
    """The adapter of the port `Rosters` over Cloud Storage."""

    def __init__(self, clients: Clients, *, inbox: str) -> None:
        self._clients = clients
        self._inbox = inbox

    def load(self, kind: RosterKind) -> StoredRoster:
        """Return the roster's state by one read; an empty state if none is stored.

        Raise an error for a damaged state, because absence from a roster proves nothing without the state.
        """
        found = self._clients.bucket().get(f"{_PREFIX}{kind.value}", what=f"read roster {kind.value}")
        if found is None:
            return StoredRoster(RosterState(), 0)
        return StoredRoster(_decoded(_STATES, found.content, kind.value), found.generation)

    def save(self, kind: RosterKind, state: RosterState, *, expected: StoredRoster) -> None:
        """Write the roster's state by one conditional write; raise `ConflictError` if another process wrote first."""
        what = f"write roster {kind.value}"
        written = self._clients.bucket().write(
            f"{_PREFIX}{kind.value}", encode(state), expected=expected.generation, what=what
        )
        if written is None:
            raise ConflictError(
                user_message="The roster was read by another process at the same time. Benchkeeper reads it again in an hour.",
                detail=f"{_PREFIX}{kind.value} is not at generation {expected.generation}",
            )

    def allowed(self, kind: RosterKind) -> Allowed | None:
        """Return the operator's statement by one read; None if it is missing or damaged."""
        return self._optional(_ALLOWED, f"{kind.value}-allowed")

    def allow(self, kind: RosterKind, allowed: Allowed) -> None:
        """Write the operator's statement by one call."""
        self._clients.bucket().write(f"{_PREFIX}{kind.value}-allowed", encode(allowed), what="allow a roster")

    def drop(self, name: str, raw: bytes) -> None:
        """Write HR's file to the inbox by one call."""
        kind = "application/json" if name.endswith(".json") else "text/csv"
        self._clients.bucket(self._inbox).write(f"{DROPPED}{name}", raw, content_type=kind, what="drop a roster")

    def report(self, kind: RosterKind) -> RosterReport | None:
        """Return the report by one read; None if it is missing or damaged."""
        return self._optional(_REPORTS, f"{kind.value}-report")

    def write_report(self, kind: RosterKind, report: RosterReport) -> None:
        """Write the report by one call."""
        self._clients.bucket().write(f"{_PREFIX}{kind.value}-report", encode(report), what="write a roster's report")

    def _optional(self, decoder: Decoder[T], name: str) -> T | None:
        found = self._clients.bucket().get(f"{_PREFIX}{name}", what=f"read {name}")
        try:
            return None if found is None else decoder.decode(found.content)
        except MsgspecError:
            return None


class StorageRosterFile:
    """The adapter of the port `RosterSource` for HR's file: the newest object below `rosters/` of the inbox.

    `parse` turns the file's bytes into a `Reading` (`shared.messages.roster_file.read_roster`).
    """

    def __init__(self, clients: Clients, *, bucket: str, parse: Callable[..., Reading]) -> None:
        self._clients = clients
        self._bucket_name = bucket
        self._parse = parse

    @property
    def kind(self) -> RosterKind:
        """The roster of employees."""
        return RosterKind.EMPLOYEES

    def read(self, groups: frozenset[str], now: datetime) -> Reading | None:  # noqa: ARG002 - the file does not depend on them
        """Return the roster in the newest file; None if there is no file. Raise `RosterRefusedError` for a faulty or changing file."""
        newest = self._newest()
        if newest is None:
            return None
        bucket = self._clients.bucket(self._bucket_name)
        if newest.size > _MOST_BYTES:
            raise _refused(Refusal.FAULTY, f"The file has {newest.size:,} bytes; at most {_MOST_BYTES:,} are read.")
        found = bucket.get(newest.name, generation=newest.generation, what="read HR's roster")
        if found is None:
            raise _refused(Refusal.CHANGED, "The file was replaced while it was being read.")
        reading = self._parse(found.content, written_at=newest.created_at, version=_version(newest))
        if self._version_now() != reading.version:
            raise _refused(Refusal.CHANGED, "A newer file arrived while this one was being read.")
        return reading

    def is_absent(self, email: UserEmail, group: str, reading: Reading) -> bool:  # noqa: ARG002 - the file has no single entries
        """Return True if the file is still the newest one, unchanged."""
        return self._version_now() == reading.version

    def _newest(self) -> Any:
        bucket = self._clients.bucket(self._bucket_name)
        listed = [
            each
            for each in bucket.objects(prefix=DROPPED, fields=_FILE_FIELDS, what="list HR's rosters")
            if each.created_at is not None and not each.name.endswith("/")
        ]
        return max(listed, key=lambda each: (each.created, each.name), default=None)

    def _version_now(self) -> str:
        newest = self._newest()
        return "" if newest is None else _version(newest)


def _version(listed: Any) -> str:
    return f"{listed.name}#{listed.generation}"


def _refused(refusal: Refusal, why: str) -> RosterRefusedError:
    return RosterRefusedError(
        refusal,
        [why],
        user_message=f"{why} The last accepted roster stays in use.",
        detail=f"roster file: {refusal.value}",
    )


def _decoded(decoder: Decoder[T], content: bytes, name: str) -> T:
    try:
        return decoder.decode(content)
    except MsgspecError as error:
        raise PermanentError(
            user_message=f"The object {_PREFIX}{name} is damaged. An administrator must restore an older version of it.",
            detail=f"unreadable roster {name}: {error}",
            reason=Reason.UNREADABLE,
        ) from error
