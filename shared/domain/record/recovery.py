"""The result of examining the object of one user key: the object can be read, an older version can be restored, or neither.

`Records.examine` returns the result, and `shared.engine.reconcile.repair` acts on it. A record of a newer program is not
damaged; it raises an error instead.
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
    """The finding of a damaged or missing live object without a readable version. `versions` counts the tried versions."""

    live_generation: int
    versions: int


class Recoverable(Struct, frozen=True, kw_only=True):
    """The finding of a damaged live object, or a missing one (`live_generation` 0), with a readable older version.

    `generation` is the newest readable version. It is a record or a pointer: one of `record` and `moved_to` is set.
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
