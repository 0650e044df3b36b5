"""Ports of what comes in: requests from the page, dead letters, sign-ins, and messages that are sent on.

Every method of a port may raise `RetryableError` or `PermanentError` of `shared.domain.things.errors`, and nothing else on purpose. Adapters in
`shared.cloud` fulfil the ports; tests bring fakes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.intent.wish import Wish
from shared.domain.things.identity import UserEmail, UserKey


class LetterRow(Struct, frozen=True, kw_only=True):
    """What a listing tells of a dead letter without reading it. `place` is where the adapter finds it again.

    `letter_id` is the message's own id, so the same message delivered again is the same letter; `sent_at` is when it was
    published. `function` says whose message it was, as far as that is known; `users` whom it names. `cuts` is True if the
    message states that somebody leaves. `marks_pending`: not all records of `users` are known to be marked yet. `tries` counts
    the replays that the sweep tried; `next_try_at` is when it tries again.
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


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that cannot succeed, with the reason and all that handling it again needs.

    `body` is what arrived, byte for byte; it is less than `size` when the message was too large to be kept whole.
    `attributes` are all that came with it, ours among them. `topic` is the id of the topic it came on, empty if unknown.
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
        """True when not all of the message was kept."""
        return len(self.body) < self.size


class WaitingWish(Struct, frozen=True, kw_only=True):
    """An object below `wishes/`. `created_at` is Cloud Storage's own time. `place` is where the adapter finds it.

    `name` is the object's own name, without the person's prefix. `shown` is what the listing says of the wish, for the page;
    None if it says nothing that can be read.
    """

    user_key: UserKey
    name: str
    created_at: datetime
    size: int
    shown: Wish | None
    place: str


class InboxFolders(Struct, frozen=True, kw_only=True):
    """For whom wishes wait, and whether a decision about many people does."""

    people: tuple[UserKey, ...]
    has_decisions: bool = False


class SignIn(Protocol):
    """Who asks for a page."""

    def identify(self, headers: Mapping[str, str]) -> UserEmail:
        """Return the person whom Identity-Aware Proxy signed for. `NotSignedInError` for everything else."""

    def assertion(self, headers: Mapping[str, str]) -> str:
        """Return the signed header's value, not yet verified, so that it can be kept with a wish."""

    def subject_of(self, assertion: str, at: datetime) -> UserEmail:
        """Return the person for whom an assertion was signed that was used at `at`; `NotSignedInError` otherwise."""


class Inbox(Protocol):
    """Wishes of the page that wait to be taken up. The page may create and read them; only who takes them up may remove them."""

    def put(self, wish: Wish) -> None:
        """Create the wish's object. Idempotent: the same wish is created once. Nothing is ever overwritten."""

    def waiting(self, user_key: UserKey) -> tuple[WaitingWish, ...]:
        """Return what waits for one person, in the order of creation; the oldest ones where there are very many."""

    def read(self, waiting: WaitingWish) -> bytes | None:
        """Return the object's content, which anybody who may create objects wrote; None if the object is gone."""

    def remove(self, waiting: WaitingWish) -> None:
        """Remove the object; a missing one is not an error."""

    def folders(self) -> InboxFolders:
        """Return for whom something waits, by one listing."""


class Wake(Protocol):
    """Asks for a pass without waiting for it."""

    def __call__(self, user_key: UserKey) -> None:
        """Ask for a pass soon; when this fails the tick comes to it within a minute."""


class DeadLetters(Protocol):
    """Messages that cannot succeed."""

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Put a message on the dead-letter topic."""

    def store(self, letter: DeadLetter) -> None:
        """Keep one where `rows` finds it; storing the same letter twice keeps the first."""

    def rows(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LetterRow]:
        """All that are kept and were sent in [since, until), oldest first, as far as a listing tells."""

    def read(self, row: LetterRow) -> DeadLetter:
        """Return the whole letter of a row."""

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        """Note that it was used after all, when, and what came of it; the letter itself is kept."""

    def note_marked(self, row: LetterRow) -> None:
        """Note that the records of all whom it names are marked."""

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        """Note a replay that failed: `row` has the new `tries` and `next_try_at`, `reason` and `detail` say why from now on."""

    def forget(self, row: LetterRow) -> None:
        """Delete a letter; a missing one is not an error."""


class Relay(Protocol):
    """Publishes messages to the topics of sources: parts of a batch, and log entries on their way to the directory's topic."""

    def __call__(self, topic: str, body: bytes, attributes: Mapping[str, str]) -> None:
        """Return when Pub/Sub has the message; `topic` is an id."""
