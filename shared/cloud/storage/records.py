"""The adapters to records and to data beside them in Cloud Storage. A record is one object per user, written conditionally.

`records/<user_key>.json`       the record; custom metadata carries the row that sweeps list. For a further address of a user with
                                a record, a pointer without a row: {"version": 4, "moved_to": "<user_key>"}
`due/<time>/<user_key>`         empty; time in UTC to the second, sortable
`due/.claims/<part>`            empty; metadata names the sweep that works on this part of the due users
`policy/groups`                 JSON, the news of groups; written conditionally, read at most once in five minutes by a process
`persons/<digest>/<user_key>`   empty; the digest is SHA-256 of HR's person number
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Listed
from shared.cloud.storage.record_rows import AUDIT, from_texts, to_texts
from shared.domain.people import groups
from shared.domain.people.groups import GroupBook
from shared.domain.record import codec
from shared.domain.record.record import RecordRow, UserRecord, row_of
from shared.domain.record.recovery import Examined, Intact, NeverWritten, Recoverable, Unrecoverable
from shared.domain.things.errors import (
    BenchkeeperError,
    ConflictError,
    DamagedRecordError,
    InvalidMessageError,
    NewerRecordError,
    PermanentError,
    Reason,
)
from shared.domain.things.identity import UserKey, is_user_key, parse_user_key
from shared.engine.ports.records import DueClaim, DueHint, ListedRow, Stored, StoredBook

if TYPE_CHECKING:
    from shared.engine.ports.deps import Clock

_RECORDS = "records/"
_DUE = "due/"
_TIME = "%Y%m%dT%H%M%SZ"
_HINT = re.compile(r"^due/(\d{8}T\d{6}Z)/([a-z0-9-]+)$")
_CLAIM = re.compile(r"^due/\.claims/(\d{2})$")  # sorts before all times
_POINTER_VERSION = 4  # no record has this version, so a program that does not know pointers refuses one
_MAX_HOPS = 8  # one for each record that was replaced by a pointer
_MOST_VERSIONS = 100  # versions read for one record: a longer run of damaged versions is left to an administrator
_POINTER = {"pointer": "True"}  # custom metadata that tells a pointer from a damaged object in a listing


class StorageRecords:
    """The adapter of the port `Records` over Cloud Storage."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def load(self, user_key: UserKey) -> Stored | None:
        """Return the record by one read, and one more for each pointer on the way; None if there is no object."""
        key = user_key
        for hop in range(_MAX_HOPS + 1):
            parsed, generation = self._read(key)
            if generation is None:
                if hop:
                    raise _leads_nowhere(user_key, f"{key}, which is not there", damaged=key)
                return None
            read = _content(parsed, key)
            if isinstance(read, UserRecord):
                return Stored(record=read, generation=generation)
            key = read
        raise _leads_nowhere(user_key, f"more than {_MAX_HOPS} others", damaged="")

    def _read(self, user_key: UserKey, generation: int | None = None) -> tuple[Any, int | None]:
        """Return (parsed content, generation), by default of the live version.

        Both are None if there is no object; only the content is None for invalid JSON.
        """
        found = self._clients.bucket().get(_name(user_key), what=f"read record {user_key}", generation=generation)
        if found is None:
            return None, None
        try:
            return json.loads(found.content), found.generation
        except ValueError:
            return None, found.generation  # the codec raises the error for a damaged record

    def save(self, record: UserRecord, *, expected: Stored | None) -> Stored:
        """Write the hint, then the record. A crash between the two leaves a stale hint, never a record without its hint."""
        wake_up = record.status.next_attempt_at
        if wake_up is not None and (expected is None or expected.record.status.next_attempt_at != wake_up):
            self._put_hint(record.user_key, wake_up)
        generation = self._write(
            record.user_key,
            codec.to_json(record),
            metadata=to_texts(row_of(record)),
            generation=0 if expected is None else expected.generation,
        )
        return Stored(record=record, generation=generation)

    def point(self, user_key: UserKey, to: UserKey, *, expected: Stored | None) -> None:
        """Write a pointer, an object without a row, so that listings of records skip it."""
        self._write_pointer(user_key, to, generation=0 if expected is None else expected.generation)

    def put_back(self, found: Recoverable, record: UserRecord | None) -> None:
        """Replace the examined object by the record or pointer. Before a record, its hint is written."""
        if record is None:
            if found.moved_to is None:
                raise AssertionError("a version that can be put back is a record or a pointer")
            self._write_pointer(found.user_key, found.moved_to, generation=found.live_generation)
            return
        if record.status.next_attempt_at is not None:
            self._put_hint(record.user_key, record.status.next_attempt_at)
        self._write(
            record.user_key,
            codec.to_json(record),
            metadata=to_texts(row_of(record)),
            generation=found.live_generation,
        )

    def examine(self, user_key: UserKey) -> Examined:
        """Examine the object by one listing of its versions, and one read for each version until one can be read."""
        versions = self._versions(user_key)
        if not versions:
            return NeverWritten()
        live = next((generation for generation, _, is_live in versions if is_live), 0)
        for generation, written_at, is_live in versions[:_MOST_VERSIONS]:
            parsed, found = self._read(user_key, generation)
            if found is None:
                continue  # the version expired between the two calls
            try:
                read = _content(parsed, user_key)
            except DamagedRecordError:
                continue
            if is_live:
                return Intact()
            return Recoverable(
                user_key=user_key,
                live_generation=live,
                generation=generation,
                written_at=written_at,
                record=read if isinstance(read, UserRecord) else None,
                moved_to=None if isinstance(read, UserRecord) else read,
            )
        return Unrecoverable(live_generation=live, versions=len(versions))

    def _versions(self, user_key: UserKey) -> list[tuple[int, datetime, bool]]:
        """Return each version's generation, the time when it was written, and True for the live one; the newest first."""
        name = _name(user_key)
        found = self._clients.bucket().objects(
            prefix=name, versions=True, fields="name,generation,timeCreated,timeDeleted", what="list objects"
        )
        return sorted(
            (
                (listed.generation, listed.created_at, listed.deleted_at is None)
                for listed in found
                if listed.name == name and listed.created_at is not None
            ),
            reverse=True,
        )

    def _write_pointer(self, user_key: UserKey, to: UserKey, *, generation: int) -> None:
        content = {"version": _POINTER_VERSION, "moved_to": to}
        self._write(user_key, content, metadata=_POINTER, generation=generation)

    def _write(self, user_key: UserKey, content: dict[str, Any], *, metadata: dict[str, str], generation: int) -> int:
        """Write the object if it is still at that generation (0: missing), and return the new generation. Raise `ConflictError` otherwise."""
        written = self._clients.bucket().write(
            _name(user_key),
            msgspec.json.encode(content),
            what=f"write record {user_key}",
            metadata=metadata,
            expected=generation,
        )
        if written is None:
            raise ConflictError(
                user_message="Another process changed this person's record at the same time; Benchkeeper tries again.",
                detail=f"record {user_key} is not at generation {generation}",
            )
        return written

    def rows(self) -> Iterator[RecordRow]:
        """Yield the rows by pages of a listing. No object is read."""
        return (found.row for found in self.listed() if isinstance(found, ListedRow))

    def listed(self) -> Iterator[ListedRow | UserKey]:
        """Yield rows and keys by pages of a listing. Pointers are skipped, and so are objects that have no row and no record's name."""
        for listed in self._clients.bucket().objects(prefix=_RECORDS, fields="name,metadata", what="list objects"):
            name = listed.name.removeprefix(_RECORDS).removesuffix(".json")
            row = from_texts(UserKey(name), listed.metadata)
            if row is not None:
                listed.metadata.pop(AUDIT, None)
                yield ListedRow(row, listed.metadata)
            elif listed.metadata != _POINTER and listed.name == _name(UserKey(name)) and is_user_key(name):
                yield UserKey(name)

    def due(self, until: datetime) -> Iterator[DueHint]:
        """Yield the hints; a single listing call if nothing is due."""
        return (found for found in self.due_and_claims(until) if isinstance(found, DueHint))

    def due_and_claims(self, until: datetime) -> Iterator[DueHint | DueClaim]:
        """Yield hints and claims by pages of one listing."""
        # endOffset is exclusive: the character after the second's own entries.
        end = f"{_DUE}{until.astimezone(UTC).strftime(_TIME)}0"
        fields = "name,generation,timeCreated,metadata"
        for listed in self._clients.bucket().objects(prefix=_DUE, end_offset=end, fields=fields, what="list objects"):
            match = _HINT.match(listed.name)
            if match is not None:
                at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
                yield DueHint(at=at, user_key=UserKey(match[2]))
            elif (claim := _claim(listed)) is not None:
                yield claim

    def drop_hint(self, hint: DueHint) -> None:
        """Delete the hint; a missing one is not an error."""
        self._clients.bucket().delete(_hint_name(hint.user_key, hint.at), what=f"drop hint of {hint.user_key}")

    def claim_due(self, part: int, holder: str) -> DueClaim | None:
        """Claim the part by one conditional write, then read and return the claim in force.

        The claim in force names this holder, too, if a first write succeeded but its answer was lost. Return None if the claim was
        released meanwhile.
        """
        name = _claim_name(part)
        self._clients.bucket().write(
            name, b"", content_type="text/plain", metadata={"holder": holder}, expected=0, what=f"claim part {part}"
        )
        found = self._clients.bucket().look(name, what=f"look whose part {part} is")
        return None if found is None else _claim(found)

    def release_due(self, claim: DueClaim) -> None:
        """Release the claim by one conditional delete."""
        name = _claim_name(claim.part)
        self._clients.bucket().delete(name, expected=claim.generation, what=f"release part {claim.part}")

    def _put_hint(self, user_key: UserKey, at: datetime) -> None:
        self._clients.bucket().write(
            _hint_name(user_key, at), b"", content_type="text/plain", what=f"write hint of {user_key}"
        )


def _name(user_key: UserKey) -> str:
    return f"{_RECORDS}{user_key}.json"


def _claim_name(part: int) -> str:
    return f"{_DUE}.claims/{part:02}"


def _claim(listed: Listed) -> DueClaim | None:
    match = _CLAIM.match(listed.name)
    if match is None or listed.created_at is None:
        return None
    return DueClaim(
        part=int(match[1]),
        holder=listed.metadata.get("holder", ""),
        at=listed.created_at,
        generation=listed.generation,
    )


def _content(parsed: Any, user_key: UserKey) -> UserRecord | UserKey:
    """Return the record of this key, or the key that a pointer leads to. Raise `DamagedRecordError` or `NewerRecordError` with the key."""
    if isinstance(parsed, dict) and parsed.get("version") == _POINTER_VERSION:
        try:
            return parse_user_key(str(parsed.get("moved_to")))
        except InvalidMessageError as error:
            raise _leads_nowhere(user_key, "what is no user key", damaged=user_key) from error
    try:
        record = codec.from_json(parsed)
    except (DamagedRecordError, NewerRecordError) as error:
        error.user_key = user_key
        raise
    if record.user_key != user_key:
        raise DamagedRecordError(
            user_message="This person's record is damaged: the stored object holds the record of another person. "
            "An administrator can put the last good version back: benchkeeper repair USER",
            detail=f"unreadable record: {user_key} holds the record of {record.user_key}",
            user_key=user_key,
        )
    return record


def _leads_nowhere(user_key: UserKey, where: str, *, damaged: str) -> DamagedRecordError:
    return DamagedRecordError(
        user_message="This user's record is damaged: it is a pointer that does not lead to a record. An administrator must restore "
        f"an older version of records/{user_key}.json, or of the record it points to.",
        detail=f"record {user_key} leads to {where}",
        user_key=damaged,
    )


def _hint_name(user_key: UserKey, at: datetime) -> str:
    # Rounded up: a tick at that second finds the record due, never a moment early.
    up = at.astimezone(UTC)
    if up.microsecond:
        up = up.replace(microsecond=0)
        up = datetime.fromtimestamp(up.timestamp() + 1, UTC)
    return f"{_DUE}{up.strftime(_TIME)}/{user_key}"


_BOOK = "policy/groups"
_PERSONS = "persons/"
_KEEP_S = 300.0


class StorageGroupBooks:
    """The adapter of the port `GroupBooks`."""

    def __init__(self, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, GroupBook] | None = None

    def current(self, *, fresh: bool = False) -> GroupBook:
        """Return the book, cached for five minutes.

        If a read fails, return the last book that was read, or else raise the error: an unreadable book does not mean an empty book.
        """
        with self._lock:
            kept = self._kept
        now = self._clock.monotonic_s()
        if kept is not None and not fresh and now - kept[0] < _KEEP_S:
            return kept[1]
        try:
            return self.load().book
        except BenchkeeperError:
            if kept is None:
                raise
            return kept[1]

    def load(self) -> StoredBook:
        """Return the book by one read; an empty book if none was written yet. Raise `PermanentError` for a damaged book."""
        found = self._clients.bucket().get(_BOOK, what="read the group book")
        if found is None:
            return self._keep(StoredBook(GroupBook(), 0))
        try:
            book = groups.from_json(json.loads(found.content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PermanentError(
                user_message=f"The object {_BOOK} is damaged. An administrator must restore an older version of it.",
                detail=f"unreadable group book: {type(error).__name__}: {error}",
                reason=Reason.UNREADABLE,
            ) from error
        return self._keep(StoredBook(book, found.generation))

    def save(self, book: GroupBook, *, expected: StoredBook) -> StoredBook:
        """Write the book by one conditional write; raise `ConflictError` if another process wrote first."""
        written = self._clients.bucket().write(
            _BOOK,
            json.dumps(groups.to_json(book), separators=(",", ":"), ensure_ascii=False).encode(),
            expected=expected.generation,
            what="write the group book",
        )
        if written is None:
            raise ConflictError(
                user_message="The stored group changes were updated at the same time. Benchkeeper tries again.",
                detail=f"{_BOOK} is not at generation {expected.generation}",
            )
        return self._keep(StoredBook(book, written))

    def _keep(self, stored: StoredBook) -> StoredBook:
        with self._lock:
            self._kept = (self._clock.monotonic_s(), stored.book)
        return stored


class StoragePersons:
    """The adapter of the port `Persons`."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def note(self, person_id: str, user_key: UserKey) -> None:
        """Store the number by one create-only write."""
        name = f"{_prefix(person_id)}{user_key}"
        self._clients.bucket().write(name, b"", content_type="text/plain", expected=0, what="note a person number")

    def known(self, person_id: str) -> tuple[UserKey, ...]:
        """Return the keys of the users with this person number, from one listing."""
        prefix = _prefix(person_id)
        found = []
        for listed in self._clients.bucket().objects(prefix=prefix, what="look a person number up"):
            try:
                found.append(parse_user_key(listed.name.removeprefix(prefix)))
            except InvalidMessageError:
                continue  # not an object of ours
        return tuple(found)

    def forget(self, person_id: str, user_key: UserKey) -> None:
        """Delete the entry by one call."""
        self._clients.bucket().delete(f"{_prefix(person_id)}{user_key}", what="forget a person number")


def _prefix(person_id: str) -> str:
    return f"{_PERSONS}{hashlib.sha256(person_id.encode()).hexdigest()[:32]}/"
