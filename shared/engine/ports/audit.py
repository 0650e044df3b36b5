"""The port of the audit: objects that are created once and never changed, and the copy of a manifest's digest in the log.

A method of a port may raise `RetryableError` or `PermanentError` (`shared.domain.things.errors`); any other exception
is a bug. Adapters in `shared.cloud` implement the ports; tests have their own fakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class AuditObject(Struct, frozen=True, kw_only=True):
    """An object as a listing shows it. `created_at` is the time of creation by Cloud Storage's clock.

    `digest` is the SHA-256 that the object's writer put into its metadata.
    """

    name: str
    created_at: datetime | None
    digest: str


class LoggedDigest(Struct, frozen=True, kw_only=True):
    """The digest of a day's manifest, read from the log. `day` is an ISO date."""

    day: str
    digest: str


class Audit(Protocol):
    """The store of the audit: a bucket in which nothing is changed or deleted, and a log of the manifests' digests.

    Entries that the bucket refuses can be kept in the bucket of records.
    Calls have short timeouts, because a slow or refused call must not delay a cut.
    """

    def put(self, name: str, content: bytes) -> bytes:
        """Create the object and return its stored content; an existing object is not changed, and its content is returned.

        The object's metadata has the SHA-256 of the content.
        """

    def get(self, name: str) -> bytes | None:
        """Return the content of the object; None if there is no object of that name."""

    def listed(self, prefix: str, *, after: str = "") -> Iterator[AuditObject]:
        """Yield the objects below a prefix in the order of their names; names before `after` are left out."""

    def log_manifest(self, day: str, digest: str, *, at: datetime) -> None:
        """Write the digest of the day's manifest to the log.

        A repeated call for the same day writes an entry with the same id and time, so the log shows it once.
        """

    def logged(self, first: str, last: str) -> Iterator[LoggedDigest]:
        """Yield the digests that the log has for the days from `first` to `last`, both included."""

    def keep(self, name: str, content: bytes) -> None:
        """Store refused entries as an object in the bucket of records; an existing object of that name is not an error."""

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each object that `keep` made."""

    def drop(self, name: str) -> None:
        """Remove an object that `keep` made; a missing one is not an error."""
