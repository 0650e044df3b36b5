"""What became of the object of one user key: the record or pointer in it can be read, put back, or neither.

`Records.examine` says it, `shared.engine.reconcile.repair` acts on it. A record of a newer program is an error instead, since it is whole.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from shared.domain.record.record import UserRecord
from shared.domain.things.identity import UserKey


class NeverWritten(Struct, frozen=True):
    """No object of the user key exists, nor any older version of one."""


class Intact(Struct, frozen=True):
    """The live object can be read: a record, or a pointer to one."""


class Unrecoverable(Struct, frozen=True, kw_only=True):
    """The live object is damaged or gone, and no kept version of it can be read. `versions` counts those that were tried."""

    live_generation: int
    versions: int


class Recoverable(Struct, frozen=True, kw_only=True):
    """The live object is damaged (or gone: `live_generation` is 0), and `generation` is the newest version that can be read.

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
        """True when there is no live object."""
        return self.live_generation == 0


Examined = NeverWritten | Intact | Unrecoverable | Recoverable
