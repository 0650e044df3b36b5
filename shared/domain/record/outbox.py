"""The end of a user's chain of audit entries, as the record keeps it. The history is the outbox (`shared.domain.record.audit`)."""

from __future__ import annotations

from msgspec import Struct


class AuditStatus(Struct, frozen=True, kw_only=True):
    """The end of the user's chain of audit entries. The lines of the history that wait are the entries to come.

    `alias` is the pseudonym in the entries; only the record links it to the user. `audited` is the number of the last
    entry, `audit_digest` the SHA-256 of its bytes, `audit_object` the object that has it.
    """

    alias: str = ""
    audited: int = 0
    audit_digest: str = ""
    audit_object: str = ""
