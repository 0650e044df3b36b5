"""Messages that cannot succeed: published to their topic with the reason, kept as objects where people find them.

`dead-letters/<sent>-<id>.json` in a bucket of their own; custom metadata carries the row that a listing shows. What an earlier
version kept (in the bucket of records; received instead of sent in the name, no metadata, the body always as text) is read as well.
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
_PENDING, _DONE = "pending", "done"  # of the marks on records
_MAX_OUTCOME = 500  # custom metadata has 8 KiB in all


class _UnreadableError(PermanentError):
    """An object among the letters that is none: shown in its place, so that it hides no other."""


class PubSubDeadLetters:
    """The port `DeadLetters`."""

    def __init__(self, clients: Clients, *, project: str, topic: str, bucket: str) -> None:
        self._clients = clients
        self._bucket = bucket
        self._topic = f"projects/{project}/topics/{topic}"

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Return when Pub/Sub has it; raises otherwise, so that the message is not acked and nothing is lost."""
        with translated("publish dead letter"):
            self._clients.publisher().publish(self._topic, body or b"{}", **attributes).result(
                timeout=_PUBLISH_TIMEOUT_S
            )

    def store(self, letter: DeadLetter) -> None:
        """One look and one create-only write: the same letter delivered twice is kept once.

        The look is needed where the account may not delete: Cloud Storage then answers 403 for an object that is there, before it
        judges the precondition.
        """
        bucket, name, what = self._clients.bucket(self._bucket), _object(letter.row), "store dead letter"
        if bucket.look(name, what=what) is None:
            bucket.write(name, _content(letter), metadata=_row_metadata(letter.row), expected=0, what=what)

    def rows(self, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[LetterRow]:
        """Pages of a listing, cut by the names' times; only a letter of an earlier version is read."""
        start = "" if since is None else _PREFIX + _second(since)
        end = "" if until is None else f"{_PREFIX}{_second(until)}~"  # after all names of that second
        listings = [self._listed(bucket, start, end) for bucket in ("", self._bucket)]
        last = ""
        for listed in heapq.merge(*listings, key=lambda found: found.name):
            if listed.name == last:  # stored by an earlier version, and delivered once more since
                continue
            last = listed.name
            row = _row_from(listed.name, listed.metadata) or self._read_row(listed)
            if (since is None or since <= row.sent_at) and (until is None or row.sent_at < until):
                yield replace(row, place=_place(listed))

    def _listed(self, bucket: str, start: str, end: str) -> Iterator[Listed]:
        """Return the objects of one bucket by name; "" is that of the records, where an earlier version kept letters.

        None where the bucket is missing: an installation that was not deployed anew has no bucket of letters yet.
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
        """One read; what was noted since it was stored is in the row."""
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
                user_message=f"The object {place} is no dead letter that this version can read. Remove it, or restore an "
                "older version of it.",
                detail=f"unreadable dead letter: {type(error).__name__}: {error}",
            ) from error

    def _where(self, place: str) -> tuple[Bucket, str]:
        bucket, _, name = place.removeprefix("gs://").partition("/")
        return self._clients.bucket(bucket), name

    def mark_replayed(self, row: LetterRow, at: datetime, outcome: str) -> None:
        """One change of the object's metadata; somebody may have removed the letter meanwhile."""
        self._note(row, {"replayed": at.astimezone(UTC).isoformat(), "outcome": _clean(outcome)[:_MAX_OUTCOME]})

    def note_marked(self, row: LetterRow) -> None:
        """One change of the metadata."""
        self._note(row, {"marks": _DONE})

    def note_try(self, row: LetterRow, *, reason: str, detail: str) -> None:
        """One change of the metadata; the stored letter keeps the reason that it came with."""
        next_try = row.next_try_at.astimezone(UTC).isoformat() if row.next_try_at is not None else ""
        self._note(row, {"tries": str(row.tries), "next-try": next_try, "reason": reason, "detail": _clean(detail)})

    def _note(self, row: LetterRow, metadata: dict[str, str]) -> None:
        """Change these keys and no other."""
        bucket, name = self._where(row.place) if row.place else (self._clients.bucket(self._bucket), _object(row))
        bucket.note(name, metadata, what="mark dead letter")

    def forget(self, row: LetterRow) -> None:
        """One delete; a missing letter is not an error."""
        bucket, name = self._where(row.place)
        bucket.delete(name, what="delete dead letter")


def _place(listed: Listed) -> str:
    """Where the letter is found again: bucket and name."""
    return f"gs://{listed.bucket}/{listed.name}"


def _object(row: LetterRow) -> str:
    """Return the letter's place: sorted by when it was sent; ids that no object name should carry are told apart by their hash."""
    safe = re.sub(r"[^A-Za-z0-9-]", "_", row.letter_id)[:100]
    if safe != row.letter_id:
        safe += f"-{hashlib.sha256(row.letter_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    return f"{_PREFIX}{_moment(row.sent_at)}-{safe}.json"


def _moment(at: datetime) -> str:
    return re.sub("[-:]", "", at.astimezone(UTC).isoformat(timespec="microseconds")[:26]) + "Z"


def _second(at: datetime) -> str:
    """Return what all names of this second, and none of an earlier one, are not before."""
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
    """None for a letter of an earlier version: it has no row."""
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
    """Half a surrogate pair cannot be sent as metadata."""
    return text.encode(errors="replace").decode()
