"""Records in Cloud Storage: one object a person, written conditionally; beside them the due index.

`records/<user_key>.json`   the record; custom metadata carries the row that sweeps list. For an address that somebody with a
                            record took on it is a pointer instead: {"version": 4, "moved_to": "<user_key>"}, without a row
`due/<time>/<user_key>`     empty; time in UTC to the second, sortable
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

from shared.cloud.clients import Clients
from shared.cloud.record_rows import from_texts, to_texts
from shared.cloud.translate import translated
from shared.domain import codec
from shared.domain.errors import ConflictError, InvalidMessageError, PermanentError, Reason
from shared.domain.identity import UserKey, parse_user_key
from shared.domain.record import RecordRow, UserRecord, row_of
from shared.engine.ports import DueHint, Stored

_RECORDS = "records/"
_DUE = "due/"
_TIME = "%Y%m%dT%H%M%SZ"
_HINT = re.compile(r"^due/(\d{8}T\d{6}Z)/([a-z0-9-]+)$")
_POINTER_VERSION = 4  # no record has it: a program that does not know pointers refuses one
_MAX_HOPS = 8  # one for each record that gave way to another
_LIST_FIELDS = "items(name,metadata),nextPageToken"


class StorageRecords:
    """The port `Records` over google-cloud-storage."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def load(self, user_key: UserKey) -> Stored | None:
        """One read; one more for each pointer on the way."""
        key = user_key
        for hop in range(_MAX_HOPS + 1):
            parsed, generation = self._read(key)
            if generation is None:
                if hop:
                    raise _leads_nowhere(user_key, f"{key}, which is not there")
                return None
            moved_to = _moved_to(parsed, key)
            if moved_to is None:
                return Stored(record=codec.from_json(parsed), generation=generation)
            key = moved_to
        raise _leads_nowhere(user_key, f"more than {_MAX_HOPS} others")

    def _read(self, user_key: UserKey) -> tuple[Any, int | None]:
        """What the object says, and its generation; None when there is no object."""
        blob = self._clients.storage_bucket().blob(_name(user_key))
        with translated(f"read record {user_key}"):
            try:
                raw = blob.download_as_bytes(retry=self._clients.storage_retry())
            except NotFound:
                return None, None
        try:
            return json.loads(raw), int(blob.generation)
        except ValueError:
            return None, int(blob.generation)  # the codec says what a damaged record is

    def save(self, record: UserRecord, *, expected: Stored | None) -> Stored:
        """The hint first, then the record: a crash between the two leaves a stale hint, never a record nobody comes to."""
        wake_up = record.status.next_attempt_at
        if wake_up is not None and (expected is None or expected.record.status.next_attempt_at != wake_up):
            self._put_hint(record.user_key, wake_up)
        generation = self._write(
            record.user_key, codec.to_json(record), metadata=to_texts(row_of(record)), expected=expected
        )
        return Stored(record=record, generation=generation)

    def point(self, user_key: UserKey, to: UserKey, *, expected: Stored | None) -> None:
        """An object without a row: what lists records passes over it."""
        self._write(user_key, {"version": _POINTER_VERSION, "moved_to": to}, metadata=None, expected=expected)

    def _write(
        self, user_key: UserKey, content: dict[str, Any], *, metadata: dict[str, str] | None, expected: Stored | None
    ) -> int:
        """The object, if it is still as expected; its new generation."""
        blob = self._clients.storage_bucket().blob(_name(user_key))
        blob.metadata = metadata
        generation = 0 if expected is None else expected.generation
        with translated(f"write record {user_key}"):
            try:
                blob.upload_from_string(
                    json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(),
                    content_type="application/json",
                    if_generation_match=generation,
                    retry=self._clients.storage_retry(),
                )
            except PreconditionFailed as error:
                raise ConflictError(
                    user_message="Somebody changed this person's record at the same time; it is tried again.",
                    detail=f"record {user_key} is not at generation {generation}",
                ) from error
        return int(blob.generation)

    def rows(self) -> Iterator[RecordRow]:
        """Pages of a listing; no object is read."""
        for blob in self._list(prefix=_RECORDS):
            name = blob.name.removeprefix(_RECORDS).removesuffix(".json")
            row = from_texts(UserKey(name), blob.metadata or {})
            if row is not None:
                yield row

    def due(self, until: datetime) -> Iterator[DueHint]:
        """One listing call when nothing is due."""
        # endOffset is exclusive: the character after the second's own entries.
        end = f"{_DUE}{until.astimezone(UTC).strftime(_TIME)}0"
        for blob in self._list(prefix=_DUE, end_offset=end):
            match = _HINT.match(blob.name)
            if match is not None:
                at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
                yield DueHint(at=at, user_key=UserKey(match[2]))

    def drop_hint(self, hint: DueHint) -> None:
        """Not being there is fine."""
        blob = self._clients.storage_bucket().blob(_hint_name(hint.user_key, hint.at))
        with translated(f"drop hint of {hint.user_key}"):
            try:
                blob.delete()
            except NotFound:
                return

    def _put_hint(self, user_key: UserKey, at: datetime) -> None:
        blob = self._clients.storage_bucket().blob(_hint_name(user_key, at))
        with translated(f"write hint of {user_key}"):
            blob.upload_from_string(b"", content_type="text/plain")

    def _list(self, **query: Any) -> Iterator[Any]:
        with translated("list objects"):
            yield from self._clients.storage_bucket().list_blobs(fields=_LIST_FIELDS, page_size=1000, **query)


def _name(user_key: UserKey) -> str:
    return f"{_RECORDS}{user_key}.json"


def _moved_to(parsed: Any, user_key: UserKey) -> UserKey | None:
    """Where a pointer leads; None for anything else, which the codec judges."""
    if not isinstance(parsed, dict) or parsed.get("version") != _POINTER_VERSION:
        return None
    try:
        return parse_user_key(str(parsed.get("moved_to")))
    except InvalidMessageError as error:
        raise _leads_nowhere(user_key, "what is no user key") from error


def _leads_nowhere(user_key: UserKey, where: str) -> PermanentError:
    return PermanentError(
        user_message="This person's record is damaged: it leads to no record. An administrator must restore an older version "
        f"of records/{user_key}.json or of what it names.",
        detail=f"record {user_key} leads to {where}",
        reason=Reason.INVALID_SPEC,
    )


def _hint_name(user_key: UserKey, at: datetime) -> str:
    # Rounded up: a tick at that second finds the record due, never a moment early.
    up = at.astimezone(UTC)
    if up.microsecond:
        up = up.replace(microsecond=0)
        up = datetime.fromtimestamp(up.timestamp() + 1, UTC)
    return f"{_DUE}{up.strftime(_TIME)}/{user_key}"
