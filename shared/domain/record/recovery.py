"""The result of examining the object of one user key: its record or pointer can be read, can be put back, or neither.

`Records.examine` returns it, `shared.engine.reconcile.repair` acts on it. A record of a newer program is an error instead, because
it is intact.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserKey


class NeverWritten(Struct, frozen=True):
    """The finding that there is no object for the user key, and no older version of an object."""


class Intact(Struct, frozen=True):
    """The finding of a live object that can be read: a record, or a pointer to a record."""


class Unrecoverable(Struct, frozen=True, kw_only=True):
    """A live object that is damaged or missing, without a readable version. `versions` counts the versions that were tried."""

    live_generation: int
    versions: int


class Recoverable(Struct, frozen=True, kw_only=True):
    """A live object that is damaged (or missing: `live_generation` is 0); `generation` is the newest version that can be read.

    That version holds a record or a pointer: one of `record` and `moved_to` is set.
    """

    user_key: UserKey
    live_generation: int
    generation: int
    written_at: datetime
    record: UserRecord | None = None
    moved_to: UserKey | None = None

    @property
    def deleted(self) -> bool:
        """Return True if there is no live object."""
        return self.live_generation == 0


Examined = NeverWritten | Intact | Unrecoverable | Recoverable
