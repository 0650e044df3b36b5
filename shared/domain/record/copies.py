"""The copies of a user's files in the record: the copies that can be restored, and the earliest time of the next copy. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.record.status import Status
from shared.domain.things.snapshots import Snapshot, SnapshotKind

# A day, less the interval of the sweep that takes them: else each copy would be ten minutes later than the one before.
EVERY = timedelta(hours=23, minutes=50)
UNDO_FOR = timedelta(days=7)  # how long the files that a restore replaced are kept


def copies_of(status: Status) -> tuple[Snapshot, ...]:
    """Return the copies that were READY and are not known to be lost, oldest first."""
    return tuple(s for s in status.data.snapshots if s.is_copy and s.ready_at is not None and not s.lost)


def dailies_of(status: Status) -> tuple[Snapshot, ...]:
    """Return the daily copies that were READY and are not known to be lost, oldest first."""
    return tuple(s for s in copies_of(status) if s.kind is SnapshotKind.DAILY)


def newest_at(status: Status, moment: datetime) -> Snapshot | None:
    """Return the newest copy from this moment or earlier; None if there is no such copy."""
    return max((s for s in copies_of(status) if s.asked_at <= moment), key=lambda s: s.asked_at, default=None)


def next_copy_at(status: Status, ever: datetime) -> datetime | None:
    """Return the earliest time of the next copy of the present disk.

    Return None if the disk was never in use, or if the newest copy already has all files. Return `ever` if the first copy may
    be taken at once. The caller checks that the profile has copies switched on.
    """
    data, notebook = status.data, status.notebook
    if notebook.instance_id is None or not notebook.instance_uid or not notebook.was_active:
        return None
    asked = [s for s in data.snapshots if s.kind is SnapshotKind.DAILY and not s.lost]
    if data.is_copied and any(s.instance_uid == notebook.instance_uid for s in asked):
        return None
    due = asked[-1].asked_at + EVERY if asked else ever
    return max(due, data.copy_after) if data.copy_after is not None else due
