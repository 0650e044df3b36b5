"""Ports of what is kept about people: records, their rows, who has which address or number, the book of groups.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.people.groups import GroupBook
from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.record.recovery import Examined, Recoverable
from shared.domain.things.identity import UserKey


class Stored(Struct, frozen=True):
    """A record and the generation of its object, which the next write must name."""

    record: UserRecord
    generation: int


class ListedRow(Struct, frozen=True):
    """A row, and the texts that the listing gave it as: the list for the pages takes them over as they are."""

    row: RecordRow
    texts: Mapping[str, str]


class DueHint(Struct, frozen=True):
    """An entry of the due index: this user may be due since `at`. A hint, never authority."""

    at: datetime
    user_key: UserKey


class DueClaim(Struct, frozen=True, kw_only=True):
    """A part of the due users that one sweep works on. `holder` is that sweep; `at` is Cloud Storage's own time."""

    part: int
    holder: str
    at: datetime
    generation: int


class Records(Protocol):
    """One record per person, written conditionally, and the due index."""

    def load(self, user_key: UserKey) -> Stored | None:
        """Return the record, None when there has never been one. For an address that a person has taken on, the person's own.

        So its `user_key` may be another than the one asked for; only that one names the person's things.
        """

    def save(self, record: UserRecord, *, expected: Stored | None) -> Stored:
        """Write if the object is still as `expected` was read (None: if there is none); `ConflictError` otherwise.

        The due hint for `next_attempt_at` is written before the record, so that a crash between the two leaves at worst a
        stale hint; it is there already when `expected` has the same time.
        """

    def point(self, user_key: UserKey, to: UserKey, *, expected: Stored | None) -> None:
        """From now on `user_key` leads to the record of `to`.

        It takes the place of the record `expected` (None: of nothing); `ConflictError` if that is not what is there.
        """

    def put_back(self, found: Recoverable, record: UserRecord | None) -> None:
        """Write `record` (None: the pointer that was found) over what was examined; `ConflictError` if that changed since."""

    def examine(self, user_key: UserKey) -> Examined:
        """Judge the object of this very key and, if it is damaged or gone, its older versions, the newest first.

        `NewerRecordError` when a newer program wrote the newest one that is not damaged: nothing may be put over it.
        """

    def rows(self) -> Iterator[RecordRow]:
        """All records, as far as a listing tells."""

    def listed(self) -> Iterator[ListedRow | UserKey]:
        """Return the same listing with the keys of objects without a row: damaged ones, and pointers of earlier programs."""

    def due(self, until: datetime) -> Iterator[DueHint]:
        """Hints up to `until`, oldest first."""

    def due_and_claims(self, until: datetime) -> Iterator[DueHint | DueClaim]:
        """Return the same listing with what sweeps have claimed, first."""

    def drop_hint(self, hint: DueHint) -> None:
        """Remove a hint; not being there is fine."""

    def claim_due(self, part: int, holder: str) -> DueClaim | None:
        """Claim a part of the due users, and return whose it is: `holder`'s now, or that of a sweep that was quicker.

        None: that other sweep let go between two calls.
        """

    def release_due(self, claim: DueClaim) -> None:
        """Remove a claim; one that is gone, or is another's by now, is not an error."""


class StoredBook(Struct, frozen=True):
    """The news of groups and the generation of its object, 0 where there is none; the next write must name it."""

    book: GroupBook
    generation: int


class GroupBooks(Protocol):
    """What became of the assigned groups: one object beside the policy, `policy/groups`."""

    def current(self, *, fresh: bool = False) -> GroupBook:
        """Return the book as it was read in the last minutes; `fresh` reads it now."""

    def load(self) -> StoredBook:
        """Read the book."""

    def save(self, book: GroupBook, *, expected: StoredBook) -> StoredBook:
        """Write the book if it is still as `expected` was read; raise `ConflictError` otherwise."""


class Persons(Protocol):
    """Which records HR's person numbers belong to."""

    def note(self, person_id: str, user_key: UserKey) -> None:
        """Remember that the record has this number. Idempotent."""

    def known(self, person_id: str) -> tuple[UserKey, ...]:
        """Return the keys of the records that have, or had, this number."""

    def forget(self, person_id: str, user_key: UserKey) -> None:
        """Forget that the record had this number; one that is not noted is not an error."""
