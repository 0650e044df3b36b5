"""Decisions of the page about many people, and the lists that they are about, in the inbox beside the wishes.

`wishes/_decisions/<time>-<id>.json`   what was clicked; the folder shows in the same listing as those of people who wish for something
`lists/<digest>.json`                  a frozen list of people; its name is the digest of its content, so nobody can forge one
"""

from __future__ import annotations

from typing import Any

from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed

from shared.cloud.clients import Clients
from shared.cloud.inbox import DECISIONS
from shared.cloud.translate import translated
from shared.domain.batches import digest_of
from shared.domain.decision import Decision, from_note, to_json, to_note
from shared.engine.ports import WaitingDecision

_LISTS = "lists/"
_FIELDS = "items(name,metadata,timeCreated,size),nextPageToken"
_MOST = 500  # administrators click a few times a day; whoever floods the inbox costs one tick no more than this


class StorageDecisions:
    """The port `Decisions` over google-cloud-storage."""

    def __init__(self, clients: Clients, *, bucket: str) -> None:
        self._clients = clients
        self._bucket_name = bucket

    def put(self, decision: Decision, *, by: str = "") -> None:
        """One create-only write."""
        self._create(f"{DECISIONS}{decision.name}.json", to_json(decision), note=to_note(decision, by=by))

    def put_list(self, content: bytes) -> str:
        """One create-only write; the same list again is the same object."""
        digest = digest_of(content)
        self._create(f"{_LISTS}{digest}.json", content)
        return digest

    def _create(self, name: str, content: bytes, *, note: dict[str, str] | None = None) -> None:
        """The account may not delete, so Cloud Storage may answer 403 for an object that is there: a listing tells."""
        blob = self._bucket().blob(name)
        blob.metadata = note
        with translated(f"write {name}"):
            try:
                blob.upload_from_string(
                    content,
                    content_type="application/json",
                    if_generation_match=0,
                    retry=self._clients.storage_retry(),
                )
            except PreconditionFailed:
                return
            except Forbidden:
                if not any(found.name == name for found in self._bucket().list_blobs(prefix=name, max_results=1)):
                    raise

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """One listing, the oldest first."""
        with translated("list decisions"):
            blobs = list(self._bucket().list_blobs(prefix=DECISIONS, fields=_FIELDS, max_results=_MOST))
        found = [
            WaitingDecision(
                created_at=blob.time_created, size=int(blob.size or 0), place=blob.name, shown=from_note(blob.metadata)
            )
            for blob in blobs
        ]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.place)))

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """One read."""
        return self._read(waiting.place)

    def read_list(self, digest: str) -> bytes | None:
        """One read; a content that is not what its name says is none."""
        content = self._read(f"{_LISTS}{digest}.json")
        return content if content is not None and digest_of(content) == digest else None

    def _read(self, name: str) -> bytes | None:
        with translated(f"read {name}"):
            try:
                return bytes(self._bucket().blob(name).download_as_bytes(retry=self._clients.storage_retry()))
            except NotFound:
                return None

    def remove(self, waiting: WaitingDecision) -> None:
        """One delete."""
        with translated("remove a decision"):
            try:
                self._bucket().blob(waiting.place).delete()
            except NotFound:
                return

    def _bucket(self) -> Any:
        return self._clients.storage_bucket(self._bucket_name)
