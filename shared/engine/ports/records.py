"""Ports of stored data about users: records, their rows, addresses, person numbers, and the group book.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.people.groups import GroupBook
from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.things.identity import UserKey

if TYPE_CHECKING:
    from shared.domain.record.recovery import Examined, Recoverable


class Stored(Struct, frozen=True):
    """A record and the generation of its object, which the next write must name."""

    record: UserRecord
    generation: int


class ListedRow(Struct, frozen=True):
    """A row together with its texts from the listing; the fleet list for the pages copies these texts unchanged."""

    row: RecordRow
    texts: Mapping[str, str]


class DueHint(Struct, frozen=True):
    """An entry of the due index: this user may be due since `at`. Whether a pass is due is decided by the record."""

    at: datetime
    user_key: UserKey


class DueClaim(Struct, frozen=True, kw_only=True):
    """A sweep's claim of a part of the due users. `holder` is that sweep; `at` is the time of the claim by Cloud Storage's clock."""

    part: int
    holder: str
    at: datetime
    generation: int


class Records(Protocol):
    """The store of the users' records, one per user, and of the due index. Records are written conditionally."""

    def load(self, user_key: UserKey) -> Stored | None:
        """Return the record; None if there is none. For a user's newer address, return the record of the user's first key.

        So the record's `user_key` may differ from the argument; only the record's key names the user's resources.
        Raise `DamagedRecordError` or `NewerRecordError` if the record cannot be used.
        """

    def save(self, record: UserRecord, *, expected: Stored | None) -> Stored:
        """Write the record if its object is still as `expected` was read (None: missing); raise `ConflictError` otherwise.

        The due hint for `next_attempt_at` is written before the record, so that a crash between the two leaves at worst a stale hint.
        No hint is written if `expected` has the same time, because its hint exists already.
        """

    def point(self, user_key: UserKey, to: UserKey, *, expected: Stored | None) -> None:
        """Make `user_key` lead to the record of `to` from now on.

        The pointer replaces the record `expected` (None: nothing). Raise `ConflictError` if the object is not as expected.
        """

    def put_back(self, found: Recoverable, record: UserRecord | None) -> None:
        """Replace the examined object by `record`, or by the pointer that was found if `record` is None. Raise `ConflictError` if the object has changed since."""

    def examine(self, user_key: UserKey) -> Examined:
        """Examine the object of exactly this key. If it is damaged or gone, examine its older versions, newest first.

        Raise `NewerRecordError` if a newer program wrote the newest undamaged version: nothing may be written over it.
        """

    def rows(self) -> Iterator[RecordRow]:
        """Yield the rows of all records from one listing, without reading the records."""

    def listed(self) -> Iterator[ListedRow | UserKey]:
        """Yield the row of each record from one listing. For an object without a row, yield the key.

        Damaged objects have no row, nor have pointers that earlier programs wrote.
        """

    def due(self, until: datetime) -> Iterator[DueHint]:
        """Yield the hints up to `until`, oldest first."""

    def due_and_claims(self, until: datetime) -> Iterator[DueHint | DueClaim]:
        """Yield the sweeps' claims first, then the hints up to `until`, from one listing."""

    def drop_hint(self, hint: DueHint) -> None:
        """Remove a hint; a missing one is not an error."""

    def claim_due(self, part: int, holder: str) -> DueClaim | None:
        """Claim a part of the due users. Return the claim in force: `holder`'s, or that of a sweep that was quicker.

        Return None if the other sweep released its claim between two calls.
        """

    def release_due(self, claim: DueClaim) -> None:
        """Remove a claim; a claim that is gone or now belongs to another sweep is not an error."""


class StoredBook(Struct, frozen=True):
    """The group book and the generation of its object, which the next write must name; 0 if there is no object."""

    book: GroupBook
    generation: int


class GroupBooks(Protocol):
    """The store of the group book, the news about all groups: one object, `policy/groups`."""

    def current(self, *, fresh: bool = False) -> GroupBook:
        """Return the book, cached for some minutes; with `fresh`, read it now."""

    def load(self) -> StoredBook:
        """Return the book and its generation, read now."""

    def save(self, book: GroupBook, *, expected: StoredBook) -> StoredBook:
        """Write the book if it is still as `expected` was read; raise `ConflictError` otherwise."""


class Persons(Protocol):
    """The index from HR's person numbers to records."""

    def note(self, person_id: str, user_key: UserKey) -> None:
        """Store that the record has this number. Idempotent."""

    def known(self, person_id: str) -> tuple[UserKey, ...]:
        """Return the keys of the records that have, or had, this number."""

    def forget(self, person_id: str, user_key: UserKey) -> None:
        """Remove the entry of this number for the record; a missing entry is not an error."""
