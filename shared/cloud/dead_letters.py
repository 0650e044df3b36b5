"""Messages that cannot succeed: published to their topic with the reason, kept as objects where people find them.

`dead-letters/<received>-<id>.json`
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from google.api_core.exceptions import PreconditionFailed

from shared.cloud.clients import Clients
from shared.cloud.translate import translated
from shared.engine.ports import DeadLetter

_PREFIX = "dead-letters/"
_PUBLISH_TIMEOUT_S = 30


class PubSubDeadLetters:
    """The port `DeadLetters`."""

    def __init__(self, clients: Clients, *, project: str, topic: str) -> None:
        self._clients = clients
        self._topic = f"projects/{project}/topics/{topic}"

    def publish(self, *, body: bytes, attributes: Mapping[str, str]) -> None:
        """Returns when Pub/Sub has it; raises otherwise, so that the message is not acked and nothing is lost."""
        with translated("publish dead letter"):
            self._clients.publisher().publish(self._topic, body or b"{}", **attributes).result(
                timeout=_PUBLISH_TIMEOUT_S
            )

    def store(self, letter: DeadLetter) -> None:
        """Create-only: the same letter delivered twice is kept once."""
        safe = re.sub(r"[^A-Za-z0-9-]", "_", letter.letter_id)[:100]
        name = f"{_PREFIX}{letter.received_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{safe}.json"
        raw = {
            "letter_id": letter.letter_id,
            "reason": letter.reason,
            "detail": letter.detail,
            "source": letter.source,
            "received_at": letter.received_at.isoformat(),
            "body": letter.body,
            "attributes": dict(letter.attributes),
        }
        with translated("store dead letter"):
            try:
                self._clients.storage_bucket().blob(name).upload_from_string(
                    json.dumps(raw, ensure_ascii=False).encode(), content_type="application/json", if_generation_match=0
                )
            except PreconditionFailed:
                return

    def listing(self) -> Iterator[DeadLetter]:
        """Oldest first; one read a letter."""
        with translated("list dead letters"):
            for blob in self._clients.storage_bucket().list_blobs(prefix=_PREFIX, page_size=1000):
                raw = json.loads(blob.download_as_bytes())
                yield DeadLetter(
                    letter_id=raw["letter_id"],
                    reason=raw["reason"],
                    detail=raw["detail"],
                    source=raw["source"],
                    received_at=datetime.fromisoformat(raw["received_at"]),
                    body=raw["body"],
                    attributes=raw["attributes"],
                )
