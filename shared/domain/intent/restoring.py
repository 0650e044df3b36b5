"""The requests for files of an earlier day: to restore a copy, or to undo a restore. Pure.

The module also lists the available copies.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from shared.domain.intent.wish import entitled
from shared.domain.record.copies import copies_of, newest_at
from shared.domain.record.record import UserRecord
from shared.domain.things.catalog import Catalog
from shared.domain.things.errors import RefusedError
from shared.domain.things.snapshots import Restored, RestoreWish, Snapshot


def pending(record: UserRecord) -> RestoreWish | None:
    """Return the requested restore that has not ended yet; None if there is none."""
    wish, last = record.spec.restore, record.status.data.restored
    return None if wish is None or (last is not None and last.wish == wish) else wish


def undoable(record: UserRecord, now: datetime) -> Restored | None:
    """Return the last restore if the files that it replaced still exist and may be restored; None otherwise."""
    last = record.status.data.restored
    if last is None or not last.before or last.undo_until is None or last.undo_until <= now:
        return None
    return last if any(s.name == last.before for s in copies_of(record.status)) else None


def chosen_at(record: UserRecord, moment: datetime) -> Snapshot:
    """Return the newest copy from that moment or earlier. Raise `RefusedError`, which lists the available copies, if there is none."""
    found = newest_at(record.status, moment)
    if found is None:
        raise RefusedError(
            user_message=f"There is no copy of the files as of {moment:%Y-%m-%d %H:%M} UTC or before. {offered_text(record)}",
            detail=f"restore at {moment:%Y-%m-%dT%H:%M:%SZ}: no copy",
        )
    return found


def offered_text(record: UserRecord) -> str:
    """Return a sentence that lists the available copies."""
    times = [f"{s.asked_at:%Y-%m-%d %H:%M} UTC" for s in reversed(copies_of(record.status))]
    return f"There are copies of: {', '.join(times)}." if times else "There are no copies yet."


def with_restore(record: UserRecord, snapshot: str, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record with a request to restore a copy; the same object while exactly that restore is under way.

    Raise `RefusedError` if the user is not entitled, if the copy does not exist, or while another copy is being restored.
    """
    entitled(record, catalog)
    under_way = pending(record)
    if under_way is not None and under_way.snapshot == snapshot:
        return record
    if under_way is not None:
        raise RefusedError(
            user_message="Other files are being restored just now. Wait until that is done; then choose again.",
            detail=f"restore of {snapshot} while {under_way.snapshot} is under way",
        )
    if not any(s.name == snapshot for s in copies_of(record.status)):
        raise RefusedError(
            user_message=f"That copy of the files does not exist any more. {offered_text(record)}",
            detail=f"restore of {snapshot}, which the record does not name",
        )
    changed = replace(record, spec=replace(record.spec, restore=RestoreWish(snapshot=snapshot, asked_at=now)))
    return changed.with_status(generation=record.status.generation + 1)


def with_undo(record: UserRecord, snapshot: str, catalog: Catalog, now: datetime) -> UserRecord:
    """Return the record with a request to undo the last restore; the same object while exactly this undo is under way.

    Raise `RefusedError` if the files from before the last restore are gone, if the request is about an earlier restore, or
    for any reason of `with_restore`.
    """
    under_way, last = pending(record), undoable(record, now)
    is_same = under_way is not None and under_way.snapshot == snapshot
    if not is_same and (last is None or last.before != snapshot):
        raise RefusedError(
            user_message="There is no restore that can be undone: the files from before a restore are kept for seven days. "
            f"{offered_text(record)}",
            detail=f"undo to {snapshot}: {'another restore came after it' if last is not None else 'nothing to undo'}",
        )
    return with_restore(record, snapshot, catalog, now)
