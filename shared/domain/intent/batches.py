"""The batches of waiting users, grouped by source and reason, which an operator approves or rejects at once. Pure.

The approved list is frozen: (user, cut, steps) entries with a digest. Only cuts on the list are carried out, and only
while the same fact holds for the user.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.late import late

VERSION = 1
MAX_ENTRIES = 200_000
_UNTIL = "until:"
_NAME = late(lambda: re.compile(r"[A-Za-z0-9._-]{0,100}"))
_REF = late(lambda: re.compile(r"[A-Za-z0-9.:+-]{1,60}"))


class Entry(Struct, frozen=True, kw_only=True):
    """A user on a list: the cut (`shared.domain.intent.guard.cut_of`) and its effects."""

    user_key: UserKey
    ref: str
    steps: tuple[StepKind, ...]


class WaitingPerson(Struct, frozen=True, kw_only=True):
    """A user whose cut waits: one entry of the index of waiting users.

    `ref`, `cause`, `source` and `since` describe the waiting cut, and `steps` its effects on the user. `undoable_done` is
    True if the notebook is already stopped and only the other effects wait.
    """

    user_key: UserKey
    ref: str
    steps: tuple[StepKind, ...]
    cause: CutClass
    source: str
    since: datetime
    profile: str = ""
    undoable_done: bool = False


class Batch(Struct, frozen=True, kw_only=True):
    """A list of users: all whose cuts wait for the same kind of reason from the same source, or an announced list.

    `entries` are sorted by user key. `since` is the time at which the first of these cuts began to wait; it is 1970 for an
    announced list, and for a list that was read from bytes.
    """

    cause: CutClass
    source: str
    entries: tuple[Entry, ...]
    since: datetime

    @property
    def digest(self) -> str:
        """Return the identity of the list: 32 hex digits of SHA-256 over its bytes."""
        return digest_of(to_json(self))

    @property
    def people(self) -> frozenset[UserKey]:
        """Return the users on the list."""
        return frozenset(entry.user_key for entry in self.entries)


def announced(people: Iterable[UserKey], until: datetime) -> Batch:
    """Return a list of users who may lose access for any reason, without taking slots, until a given time."""
    ref = f"{_UNTIL}{until.astimezone(UTC).isoformat()}"
    entries = tuple(Entry(user_key=key, ref=ref, steps=()) for key in sorted(set(people)))
    return Batch(cause=CutClass.ANNOUNCED, source="", entries=entries, since=datetime.fromtimestamp(0, UTC))


def announced_until(ref: str) -> datetime | None:
    """Return the time until which an announced user may lose access, read from an entry's `ref`; None for any other `ref`."""
    if not ref.startswith(_UNTIL):
        return None
    try:
        until = datetime.fromisoformat(ref.removeprefix(_UNTIL))
    except ValueError:
        return None
    return until if until.tzinfo is not None else None


def batches_of(waiting: Iterable[WaitingPerson]) -> tuple[Batch, ...]:
    """Return the batches, the oldest first. The order of the input makes no difference."""
    sorts: dict[tuple[CutClass, str], dict[UserKey, WaitingPerson]] = {}
    for person in waiting:
        sorts.setdefault((person.cause, person.source), {})[person.user_key] = person
    found = [
        Batch(
            cause=cause,
            source=source,
            entries=tuple(
                Entry(user_key=p.user_key, ref=p.ref, steps=p.steps)
                for p in sorted(people.values(), key=lambda p: p.user_key)
            ),
            since=min(p.since for p in people.values()),
        )
        for (cause, source), people in sorts.items()
    ]
    return tuple(sorted(found, key=lambda batch: (batch.since, batch.cause, batch.source)))


def digest_of(content: bytes) -> str:
    """Return the digest of a list's bytes: 32 hex digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:32]


def to_json(batch: Batch) -> bytes:
    """Return the list as bytes for the approval, without `since`. Equal lists give equal bytes."""
    return json.dumps(
        {
            "version": VERSION,
            "cause": batch.cause.value,
            "source": batch.source,
            "entries": [[e.user_key, e.ref, [step.value for step in e.steps]] for e in batch.entries],
        },
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


def from_json(raw: bytes) -> Batch:
    """Return the list that `to_json` wrote; its `since` is 1970, because the bytes do not contain that time.

    Raise `InvalidMessageError` for anything else, because the bytes are not trusted.
    """
    try:
        found: Any = json.loads(raw)
        if found["version"] != VERSION or len(found["entries"]) > MAX_ENTRIES:
            raise ValueError("another version, or too many")
        entries = tuple(
            Entry(user_key=parse_user_key(str(key)), ref=str(ref), steps=tuple(StepKind(step) for step in steps))
            for key, ref, steps in found["entries"]
        )
        if not _NAME.fullmatch(str(found["source"])) or not all(_REF.fullmatch(entry.ref) for entry in entries):
            raise ValueError("a source or a reference of another form")
        return Batch(
            cause=CutClass(found["cause"]),
            source=str(found["source"]),
            entries=entries,
            since=datetime.fromtimestamp(0, UTC),
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidMessageError(
            user_message="This object is not a list of people.", detail=f"no list: {type(error).__name__}"
        ) from error
