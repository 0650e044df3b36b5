"""Ports of incoming data: requests from the page, dead letters, sign-ins, and relayed messages.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from shared.domain.intent.wish import Wish
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey

if TYPE_CHECKING:
    from shared.domain.things.identity import UserEmail


class LetterRow(Struct, frozen=True, kw_only=True):
    """The part of a dead letter that a listing shows without reading the object. `place` locates the object for the adapter.

    `letter_id` is the message's own id, so a second delivery of a message is the same dead letter. `sent_at` is the time of publishing.
    `function` names the function that received the message, if known. `users` are the users whom the message names. `cuts` is True if the
    message states that a user leaves. `marks_pending` is True until all records of `users` are known to be marked. `tries` counts the
    replays that the sweep tried; `next_try_at` is the time of the sweep's next try.
    """

    letter_id: str
    sent_at: datetime
    reason: str
    detail: str
    function: str = ""
    users: tuple[UserKey, ...] = ()
    replayed_at: datetime | None = None
    outcome: str = ""
    place: str = ""
    cuts: bool = False
    marks_pending: bool = False
    tries: int = 0
    next_try_at: datetime | None = None

    @property
    def ends_access(self) -> bool:
        """Return True if the message states that a user leaves, or may state it but could not be read completely."""
        return self.cuts or self.reason == Reason.LEAVER_NOT_UNDERSTOOD.value


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that could not be used, with the reason and all data that a replay needs.

    `body` holds the received bytes, unchanged; it is shorter than `size` if the message was too large to be stored whole.
    `attributes` are all attributes of the message, including those that Benchkeeper added. `topic` is the id of the topic on which the message arrived; empty if unknown.
    """

    row: LetterRow
    source: str
    received_at: datetime
    body: bytes
    size: int
    attributes: Mapping[str, str]
    topic: str = ""

    @property
    def is_cut(self) -> bool:
        """Return True if only a part of the message was kept."""
        return len(self.body) < self.size


class WaitingWish(Struct, frozen=True, kw_only=True):
    """A stored request that is not yet carried out, as the listing of `wishes/` shows it.

    `created_at` is its object's creation time by Cloud Storage's clock. `place` locates the object for the adapter.
    `name` is the object's own name, without the user's prefix. `shown` is the request as the listing gives it, for the page;
    None if the listing gives no readable request.
    """

    user_key: UserKey
    name: str
    created_at: datetime
    size: int
    shown: Wish | None
    place: str


class InboxFolders(Struct, frozen=True, kw_only=True):
    """The users with waiting requests, and a flag for waiting decisions about many users."""

    people: tuple[UserKey, ...]
    has_decisions: bool = False


class SignIn(Protocol):
    """The port that identifies the user of a page by Identity-Aware Proxy's signed header."""

    def identify(self, headers: Mapping[str, str]) -> UserEmail:
        """Return the user for whom Identity-Aware Proxy signed. Raise `NotSignedInError` otherwise."""

    def assertion(self, headers: Mapping[str, str]) -> str:
        """Return the value of the signed header without verifying it, to be stored with a request."""

    def subject_of(self, assertion: str, at: datetime) -> UserEmail:
        """Return the user for whom this assertion was signed, if it was valid at `at`; raise `NotSignedInError` otherwise."""


class Inbox(Protocol):
    """The store of the requests that wait to be carried out. The page may create and read requests; only the process that carries out a request may remove it."""

    def put(self, wish: Wish) -> None:
        """Create the request's object. Idempotent: the same request is created once. Nothing is ever overwritten."""

    def waiting(self, user_key: UserKey) -> tuple[WaitingWish, ...]:
        """Return the user's waiting requests in the order of creation; if there are very many, only the oldest ones."""

    def read(self, waiting: WaitingWish) -> bytes | None:
        """Return the object's content; None if the object is gone. Do not trust the content: any writer of the bucket may have created the object."""

    def remove(self, waiting: WaitingWish) -> None:
        """Remove the request's object; a missing one is not an error."""

    def folders(self) -> InboxFolders:
        """Return the users with waiting requests, and whether decisions wait, by one listing."""


class Wake(Protocol):
    """The port that requests a pass over one user without waiting for it."""

    def __call__(self, user_key: UserKey) -> None:
        """Request a pass soon. A failure is not an error: if the user has waiting requests, the tick makes the pass within a minute."""


class DeadLetters(Protocol):
    """The dead-letter topic, and the store of dead letters: messages that could not be used."""

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Put a message on the dead-letter topic."""

    def store(self, letter: DeadLetter) -> None:
        """Store the dead letter so that `rows` finds it. Idempotent: a second call for the same dead letter keeps the first."""

    def rows(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LetterRow]:
        """Yield the rows of all dead letters sent in [since, until), oldest first. The dead letters themselves are not read."""

    def read(self, row: LetterRow) -> DeadLetter:
        """Return the whole dead letter of a row."""

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        """Note when the dead letter was replayed and the outcome; the dead letter itself is kept."""

    def note_marked(self, row: LetterRow) -> None:
        """Note that the records of all users whom the dead letter names are marked."""

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        """Note a failed replay: `row` has the new `tries` and `next_try_at`; `reason` and `detail` replace those that were stored."""

    def forget(self, row: LetterRow) -> None:
        """Delete a dead letter; a missing one is not an error."""


class Relay(Protocol):
    """The publisher to the topics of sources: parts of a batch, and log entries on their way to the directory's topic."""

    def __call__(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
        """Publish the message and return once Pub/Sub has accepted it; `topic` is an id."""
