"""The adapter to the audit: objects in a bucket of their own, created once, and digests in Cloud Logging.

If this bucket refuses entries about users without a record, they are stored in the bucket of records (`shared.domain.record.kept_cuts`).

The functions' accounts may create, read and list objects in the audit's bucket, but never delete, so nothing can be
overwritten. A write is sent once, without retries. After a refused or unanswered write, `put` raises an error at once for
half a minute, so that a broken audit does not delay passes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Bucket
from shared.domain.record.audit import digest_of
from shared.domain.record.kept_cuts import KEPT
from shared.domain.things.errors import AccessDeniedError, BenchkeeperError, CloudUnavailableError
from shared.engine.ports.audit import AuditObject, LoggedDigest
from shared.engine.ports.deps import Clock

_LOG = "audit-manifests"
_REST = timedelta(seconds=30)
_ZERO = timedelta(0)


class StorageAudit:
    """The adapter of the port `Audit`."""

    def __init__(self, clients: Clients, *, bucket: str, records: str, project: str, clock: Clock) -> None:
        self._clients = clients
        self._name, self._records = bucket, records
        self._project = project
        self._clock = clock
        self._lock = threading.Lock()
        self._refused_at: datetime | None = None

    def put(self, name: str, content: bytes) -> bytes:
        """Create the object with one call, and return its content. If it already exists, read it with a second call.

        Raise an error without a call if a write failed less than half a minute ago.
        """
        self._check_rest()
        try:
            return self._put(name, content)
        except BenchkeeperError:
            now = self._clock.now()  # locally a call: not under the lock
            with self._lock:
                self._refused_at = now
            raise

    def _check_rest(self) -> None:
        with self._lock:
            refused_at = self._refused_at
        if refused_at is not None and _ZERO <= self._clock.now() - refused_at < _REST:
            raise CloudUnavailableError(
                user_message="The audit could not be written a moment ago. Benchkeeper tries again.",
                detail=f"audit bucket refused at {refused_at:%H:%M:%S}",
            )

    def _put(self, name: str, content: bytes) -> bytes:
        what = "write audit entry"
        try:
            written = self._bucket().write(
                name,
                content,
                what=what,
                content_type="application/x-ndjson" if name.endswith("l") else "application/json",
                metadata={"sha256": digest_of(content)},
                expected=0,
                again=False,
            )
        except AccessDeniedError:  # without the right to delete, that may be the answer for an object that is there
            there = self.get(name)
            if there is None:
                raise
            return there
        if written is not None:
            return content
        there = self.get(name)
        if there is None:
            raise CloudUnavailableError(
                user_message="The audit could not be written. Benchkeeper tries again.",
                detail=f"{what}: {name} is there and cannot be read",
            )
        return there

    def get(self, name: str) -> bytes | None:
        """Return the object's content by one read; None if there is no object."""
        found = self._bucket().get(name, what="read audit entry")
        return None if found is None else found.content

    def listed(self, prefix: str, *, after: str = "") -> Iterator[AuditObject]:
        """Yield the objects by pages of one listing."""
        found = self._bucket().objects(
            prefix=prefix, start_offset=after, fields="name,timeCreated,metadata", what="list audit entries"
        )
        for each in found:
            yield AuditObject(name=each.name, created_at=each.created_at, digest=each.metadata.get("sha256", ""))

    def keep(self, name: str, content: bytes) -> None:
        """Store refused entries in the bucket of records, by one create-only write with a short timeout."""
        self._clients.quick_bucket(self._records).write(
            name, content, content_type="application/json", expected=0, what="keep audit entry"
        )

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield the stored refused entries by pages of one listing, with one read for each object."""
        bucket = self._clients.bucket(self._records)
        for each in bucket.objects(prefix=KEPT, fields="name", what="list kept audit entries"):
            found = bucket.get(each.name, what="read kept audit entry")
            if found is not None:
                yield each.name, found.content

    def drop(self, name: str) -> None:
        """Remove an object that `keep` made, by one call."""
        self._clients.bucket(self._records).delete(name, what="remove kept audit entry")

    def log_manifest(self, day: str, digest: str, *, at: datetime) -> None:
        """Write the digest of the day's manifest to the log by one call of `entries.write`."""
        entry = {
            "logName": self._log_name,
            "resource": {"type": "global"},
            "insertId": f"manifest-{day}",
            "timestamp": at.isoformat().replace("+00:00", "Z"),
            "severity": "NOTICE",
            "jsonPayload": {"message": "Audit manifest", "day": day, "sha256": digest},
        }
        self._clients.json("logging").call("POST", "/v2/entries:write", body={"entries": [entry]}, what="log manifest")

    def logged(self, first: str, last: str) -> Iterator[LoggedDigest]:
        """Yield the digests by pages of `entries.list`."""
        query = (
            f'logName="{self._log_name}" AND jsonPayload.message="Audit manifest" '
            f'AND jsonPayload.day>="{first}" AND jsonPayload.day<="{last}"'
        )
        body: dict[str, Any] = {"resourceNames": [f"projects/{self._project}"], "filter": query, "pageSize": 1000}
        while True:
            page = self._clients.json("logging").call("POST", "/v2/entries:list", body=body, what="read manifests' log")
            for entry in page.get("entries", []):
                said = entry.get("jsonPayload", {})
                yield LoggedDigest(day=str(said.get("day", "")), digest=str(said.get("sha256", "")))
            if not page.get("nextPageToken"):
                return
            body = {**body, "pageToken": page["nextPageToken"]}

    @property
    def _log_name(self) -> str:
        return f"projects/{self._project}/logs/{_LOG}"

    def _bucket(self) -> Bucket:
        return self._clients.quick_bucket(self._name)
