"""The adapter to dead letters: published to their topic with the reason, and stored as objects for operators.

The objects are `dead-letters/<sent>-<id>.json` in a bucket of their own; custom metadata has the row that a listing shows.
Objects of an earlier version are read, too. They are in the bucket of records, and are named by the time of receipt instead
of sending. They have no metadata, and the body as text.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Bucket, Listed
from shared.cloud.http.translate import from_status, translated
from shared.domain.things.errors import PermanentError
from shared.domain.things.identity import UserKey
from shared.engine.ports.inbox import DeadLetter, LetterRow

_PREFIX = "dead-letters/"
_PUBLISH_TIMEOUT_S = 30
_LIST_FIELDS = "name,bucket,metadata,timeCreated"
_PENDING, _DONE = "pending", "done"  # the state of the marks on records
_MAX_OUTCOME = 500  # custom metadata has 8 KiB in all


class _UnreadableError(PermanentError):
    """The error for an unreadable object among the dead letters. A listing has a row with this error's text in place of the object."""


class PubSubDeadLetters:
    """The adapter of the port `DeadLetters`."""

    def __init__(self, clients: Clients, *, project: str, topic: str, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket
        self._topic = f"projects/{project}/topics/{topic}"

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Publish the message and return once Pub/Sub has accepted it. Raise an error otherwise, so that the delivery is not acknowledged."""
        with translated("publish dead letter"):
            self._clients.publisher().publish(self._topic, body or b"{}", **attributes).result(
                timeout=_PUBLISH_TIMEOUT_S
            )

    def store(self, letter: DeadLetter) -> None:
        """Store the dead letter by one read of the metadata and one create-only write.

        A repeated delivery is stored only once.

        The read is needed if the account may not delete: for an existing object, Cloud Storage then answers 403 before it checks the
        precondition.
        """
        bucket, name, what = self._clients.bucket(self._bucket), _object(letter.row), "store dead letter"
        if bucket.look(name, what=what) is None:
            bucket.write(name, _content(letter), metadata=_row_metadata(letter.row), expected=0, what=what)

    def rows(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LetterRow]:
        """Yield the rows by pages of two listings, of the present bucket and of the earlier one, limited by the times in the names.

        A dead letter is read only if its metadata has no valid row, as in an earlier version. An unreadable one gets a row
        that says so.
        """
        start = "" if since is None else _PREFIX + _second(since)
        end = "" if until is None else f"{_PREFIX}{_second(until)}~"  # sorts after all names of that second
        listings = [self._listed(bucket, start, end) for bucket in ("", self._bucket)]
        last = ""
        for listed in heapq.merge(*listings, key=lambda found: found.name):
            if listed.name == last:  # stored by an earlier version, and delivered again since
                continue
            last = listed.name
            row = _row_from(listed.name, listed.metadata) or self._read_row(listed)
            if (since is None or since <= row.sent_at) and (until is None or row.sent_at < until):
                yield replace(row, place=_place(listed))

    def _listed(self, bucket: str, start: str, end: str) -> Iterator[Listed]:
        """Yield the objects of one bucket by name; "" is the bucket of records, where an earlier version stored dead letters.

        A missing bucket has no objects: an installation that was not deployed again has no bucket for dead letters yet.
        """
        return self._clients.bucket(bucket).objects(
            prefix=_PREFIX,
            fields=_LIST_FIELDS,
            start_offset=start,
            end_offset=end,
            if_missing=True,
            what="list dead letters",
        )

    def _read_row(self, listed: Listed) -> LetterRow:
        metadata = listed.metadata
        try:
            row = self._read(_place(listed)).row
        except _UnreadableError as error:
            return LetterRow(
                letter_id=listed.name.removeprefix(_PREFIX).removesuffix(".json"),
                sent_at=listed.created_at or datetime.fromtimestamp(0, UTC),
                reason=error.reason.value,
                detail=error.user_message,
                place=listed.name,
            )
        return replace(row, replayed_at=_time(metadata.get("replayed", "")), outcome=metadata.get("outcome", ""))

    def read(self, row: LetterRow) -> DeadLetter:
        """Return the dead letter by one read; the row includes the notes that were added later."""
        return replace(self._read(row.place), row=row)

    def _read(self, place: str) -> DeadLetter:
        bucket, name = self._where(place)
        found = bucket.get(name, what="read dead letter")
        if found is None:
            raise from_status(404, f"no object {place}", "read dead letter")
        try:
            return _letter_from(place, json.loads(found.content))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _UnreadableError(
                user_message=f"The object {place} is not a dead letter that this version can read. Remove it, or restore an "
                "older version of it.",
                detail=f"unreadable dead letter: {type(error).__name__}: {error}",
            ) from error

    def _where(self, place: str) -> tuple[Bucket, str]:
        bucket, _, name = place.removeprefix("gs://").partition("/")
        return self._clients.bucket(bucket), name

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        """Note the replay by one change of the object's metadata; a missing dead letter is not an error."""
        self._note(row, {"replayed": at.astimezone(UTC).isoformat(), "outcome": _clean(outcome)[:_MAX_OUTCOME]})

    def note_marked(self, row: LetterRow) -> None:
        """Note that all users' records are marked, by one change of the object's metadata."""
        self._note(row, {"marks": _DONE})

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        """Store a failed replay in the object's metadata. The content keeps the first reason."""
        next_try = row.next_try_at.astimezone(UTC).isoformat() if row.next_try_at is not None else ""
        self._note(row, {"tries": str(row.tries), "next-try": next_try, "reason": reason, "detail": _clean(detail)})

    def _note(self, row: LetterRow, metadata: dict[str, str]) -> None:
        """Change only these keys of the object's metadata."""
        bucket, name = self._where(row.place) if row.place else (self._clients.bucket(self._bucket), _object(row))
        bucket.note(name, metadata, what="mark dead letter")

    def forget(self, row: LetterRow) -> None:
        """Delete the dead letter by one call; a missing one is not an error."""
        bucket, name = self._where(row.place)
        bucket.delete(name, what="delete dead letter")


def _place(listed: Listed) -> str:
    """Return the dead letter's address: bucket and name."""
    return f"gs://{listed.bucket}/{listed.name}"


def _object(row: LetterRow) -> str:
    """Return the object's name, which sorts by the time sent. An id with characters unfit for a name gets a hash that keeps it unique."""
    safe = re.sub(r"[^A-Za-z0-9-]", "_", row.letter_id)[:100]
    if safe != row.letter_id:
        safe += f"-{hashlib.sha256(row.letter_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{_PREFIX}{_moment(row.sent_at)}-{safe}.json"


def _moment(at: datetime) -> str:
    return re.sub("[-:]", "", at.astimezone(UTC).isoformat(timespec="microseconds")[:26]) + "Z"


def _second(at: datetime) -> str:
    """Return the lower bound, in the order of names, of the dead letters sent in this second or later."""
    return _moment(at)[:15]


def _content(letter: DeadLetter) -> bytes:
    row = letter.row
    raw: dict[str, Any] = {
        "letter_id": row.letter_id,
        "sent_at": row.sent_at.isoformat(),
        "reason": row.reason,
        "detail": row.detail,
        "function": row.function,
        "users": list(row.users),
        "source": letter.source,
        "topic": letter.topic,
        "received_at": letter.received_at.isoformat(),
        "size": letter.size,
        "attributes": dict(letter.attributes),
    }
    try:
        raw["body"] = letter.body.decode()
    except UnicodeDecodeError:
        raw["body_base64"] = base64.b64encode(letter.body).decode()
    return json.dumps(raw, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _letter_from(place: str, raw: dict[str, Any]) -> DeadLetter:
    body = base64.b64decode(raw["body_base64"]) if "body_base64" in raw else raw["body"].encode()
    row = LetterRow(
        letter_id=raw["letter_id"],
        sent_at=datetime.fromisoformat(raw.get("sent_at") or raw["received_at"]),
        reason=raw["reason"],
        detail=raw["detail"],
        function=raw.get("function", ""),
        users=tuple(UserKey(key) for key in raw.get("users", ())),
        place=place,
    )
    return DeadLetter(
        row=row,
        source=raw["source"],
        received_at=datetime.fromisoformat(raw["received_at"]),
        body=body,
        size=raw.get("size", len(body)),
        attributes=raw["attributes"],
        topic=raw.get("topic", ""),
    )


def _row_metadata(row: LetterRow) -> dict[str, str]:
    return {
        "letter-id": _clean(row.letter_id),
        "sent": row.sent_at.isoformat(),
        "reason": _clean(row.reason),
        "detail": _clean(row.detail),
        "function": row.function,
        "users": ",".join(row.users),
        **({"cuts": "True"} if row.cuts else {}),
        **({"marks": _PENDING} if row.marks_pending else {}),
    }


def _row_from(place: str, raw: Mapping[str, str]) -> LetterRow | None:
    """Return the row in the metadata; None if the metadata has no valid row, as in dead letters of an earlier version."""
    try:
        return LetterRow(
            letter_id=raw["letter-id"],
            sent_at=datetime.fromisoformat(raw["sent"]),
            reason=raw["reason"],
            detail=raw["detail"],
            function=raw["function"],
            users=tuple(UserKey(key) for key in raw["users"].split(",") if key),
            replayed_at=_time(raw.get("replayed", "")),
            outcome=raw.get("outcome", ""),
            place=place,
            cuts=raw.get("cuts") == "True",
            marks_pending=raw.get("marks") == _PENDING,
            tries=int(raw.get("tries") or 0),
            next_try_at=_time(raw.get("next-try", "")),
        )
    except (KeyError, ValueError):
        return None


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _clean(text: str) -> str:
    """Return the text without halves of surrogate pairs, which cannot be sent as metadata."""
    return text.encode(errors="replace").decode()
