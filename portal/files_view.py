"""The part of a page about the copies of a user's files.

The page shows when the copies were saved, which of them can be restored, and which restore can be undone.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from portal.reader import local
from shared.domain.intent.restoring import pending, undoable
from shared.domain.plan.step import WHAT_IS_RESTORED
from shared.domain.record.copies import UNDO_FOR, copies_of, dailies_of
from shared.domain.record.record import UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.catalog import Profile
from shared.domain.things.errors import Reason
from shared.domain.things.snapshots import SnapshotKind


class CopyView(Struct, frozen=True, kw_only=True):
    """A copy that can be restored.

    `saved_at` is the time of its content. `is_before` is True if it holds files that a restore replaced.
    """

    name: str
    saved_at: datetime
    is_before: bool


class FilesView(Struct, frozen=True, kw_only=True):
    """The copies of a user's files, newest first.

    `saved_at` is the time of the newest daily copy, `kept` the number of daily copies, `keep` the number that the profile
    keeps (0: none).

    `trouble` is the reason why the newest copy failed, "" if it did not. `undo` names the copy with the files from before
    the last restore, which can be undone until `undo_until`. `restored_of` is the time at which the files of that restore
    were saved. `what_stays` is the text about the files that a restore leaves unchanged. `could_undo_until` is the last
    day, on the reader's calendar, on which a restore requested now could be undone.
    """

    copies: tuple[CopyView, ...]
    saved_at: datetime | None
    kept: int
    keep: int
    is_restoring: bool
    trouble: str
    undo: str
    undo_until: datetime | None
    restored_of: datetime | None
    could_undo_until: str
    what_stays: str = WHAT_IS_RESTORED

    @property
    def is_shown(self) -> bool:
        """Return True if the page has anything to show about copies."""
        return bool(self.copies) or self.keep > 0


def files_view(record: UserRecord, profile: Profile | None, now: datetime, zone: ZoneInfo | None) -> FilesView:
    """Return the view of an entitled user's copies. `profile` is None if the configuration no longer has it."""
    copies, dailies = copies_of(record.status), dailies_of(record.status)
    last = undoable(record, now)
    kept = record.status.condition(ConditionType.COPIES_KEPT)
    last_day = local(now + UNDO_FOR, zone)
    fails = kept is not None and kept.status is ConditionStatus.FALSE and kept.reason is not Reason.SAVING
    return FilesView(
        copies=tuple(
            CopyView(name=s.name, saved_at=s.asked_at, is_before=s.kind is SnapshotKind.BEFORE)
            for s in reversed(copies)
        ),
        saved_at=dailies[-1].asked_at if dailies else None,
        kept=len(dailies),
        keep=profile.snapshots.keep if profile is not None and profile.snapshots is not None else 0,
        is_restoring=pending(record) is not None or record.status.data.rollback is not None,
        trouble=kept.message if kept is not None and fails else "",
        undo=last.before if last is not None else "",
        undo_until=last.undo_until if last is not None else None,
        restored_of=last.of if last is not None and last.is_done else None,
        could_undo_until=f"{last_day:%a} {last_day.day} {last_day:%b}",
    )
