"""The adapter to data about users and groups beside the records: the news of groups, and the records of person numbers.

`policy/groups`                    JSON; written conditionally, read at most once in five minutes by a process
`persons/<digest>/<user_key>`      empty; the digest is SHA-256 of HR's person number
"""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING

from shared.cloud.http.clients import Clients
from shared.domain.people import groups
from shared.domain.people.groups import GroupBook
from shared.domain.things.errors import BenchkeeperError, ConflictError, InvalidMessageError, PermanentError, Reason
from shared.domain.things.identity import UserKey, parse_user_key
from shared.engine.ports.records import StoredBook

if TYPE_CHECKING:
    from shared.engine.ports.runtime import Clock

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

        If a read fails, return the last book read, if any: an unreadable book does not mean an empty one.
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
        """Return the book by one read; an empty book if none was written yet."""
        found = self._clients.bucket().get(_BOOK, what="read the book of groups")
        if found is None:
            return self._keep(StoredBook(GroupBook(), 0))
        try:
            book = groups.from_json(json.loads(found.content))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PermanentError(
                user_message=f"The object {_BOOK} is damaged. An administrator must restore an older version of it.",
                detail=f"unreadable book of groups: {type(error).__name__}: {error}",
                reason=Reason.UNREADABLE,
            ) from error
        return self._keep(StoredBook(book, found.generation))

    def save(self, book: GroupBook, *, expected: StoredBook) -> StoredBook:
        """Write the book by one conditional write."""
        written = self._clients.bucket().write(
            _BOOK,
            json.dumps(groups.to_json(book), separators=(",", ":"), ensure_ascii=False).encode(),
            expected=expected.generation,
            what="write the book of groups",
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
