"""The adapter to the page's decisions about many users, and to their lists, in the inbox beside the requests.

`wishes/_decisions/<time>-<id>.json`   a decision; the folder appears in the same listing as the folders of users with requests
`lists/<digest>.json`                  a frozen list of users; its name is the digest of its content, so that it cannot be forged
"""

from __future__ import annotations

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Bucket
from shared.cloud.storage.inbox import DECISIONS
from shared.domain.intent.batches import digest_of
from shared.domain.intent.decision import Decision, from_note, to_json, to_note
from shared.engine.ports.guard import WaitingDecision

_LISTS = "lists/"
_FIELDS = "name,metadata,timeCreated,size"
_MOST = 500  # administrators decide a few times a day; a flood of objects costs one tick no more than this


class StorageDecisions:
    """The adapter of the port `Decisions` over Cloud Storage."""

    def __init__(self, clients: Clients, *, bucket: str) -> None:
        self._clients = clients
        self._bucket_name = bucket

    def put(self, decision: Decision, *, by: str = "") -> None:
        """Create the decision with one create-only write."""
        self._create(f"{DECISIONS}{decision.name}.json", to_json(decision), note=to_note(decision, by=by))

    def put_list(self, content: bytes) -> str:
        """Create the list by one create-only write; the same list again is the same object."""
        digest = digest_of(content)
        self._create(f"{_LISTS}{digest}.json", content)
        return digest

    def _create(self, name: str, content: bytes, *, note: dict[str, str] | None = None) -> None:
        """Create the object, by an account that may not delete."""
        self._bucket().create(name, content, metadata=note, what=f"write {name}")

    def waiting(self) -> tuple[WaitingDecision, ...]:
        """Return the decisions by one listing, the oldest first."""
        listed = self._bucket().objects(prefix=DECISIONS, fields=_FIELDS, most=_MOST, what="list decisions")
        found = [
            WaitingDecision(created_at=each.created_at, size=each.size, place=each.name, shown=from_note(each.metadata))
            for each in listed
            if each.created_at is not None
        ]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.place)))

    def read(self, waiting: WaitingDecision) -> bytes | None:
        """Return the content with one read; None if there is no object."""
        return self._read(waiting.place)

    def read_list(self, digest: str) -> bytes | None:
        """Return the list by one read; None if its content does not match the digest in its name."""
        content = self._read(f"{_LISTS}{digest}.json")
        return content if content is not None and digest_of(content) == digest else None

    def _read(self, name: str) -> bytes | None:
        found = self._bucket().get(name, what=f"read {name}")
        return None if found is None else found.content

    def remove(self, waiting: WaitingDecision) -> None:
        """Delete the decision by one call."""
        self._bucket().delete(waiting.place, what="remove a decision")

    def _bucket(self) -> Bucket:
        return self._clients.bucket(self._bucket_name)
