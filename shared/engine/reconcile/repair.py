"""The repair of damaged and deleted records: the newest readable version is restored, and the caller continues with it.

Passes and changes of records load a record by `load_mended`, so that a delivery, a sweep and the command line repair a
damaged record. Only a mark of a dead letter does not. A record of a newer program is never touched. Statements made after
the restored version are lost. So the restoration is logged as an error with the time of that version, which the user's
history has, too.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from shared.domain.reconcile.mails import with_mails_put_back
from shared.domain.record.record import UserRecord
from shared.domain.record.recovery import Intact, NeverWritten, Recoverable, Unrecoverable
from shared.domain.things.errors import ConflictError, DamagedRecordError, NewerRecordError, Reason
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.audit import with_end_found

_TRIES = 12  # one for each pointer on the way, and a few for concurrent processes
_SOON = timedelta(seconds=60)  # until a pass checks the restored record, if this process dies


def load_mended(user_key: UserKey, deps: Deps, *, if_missing: bool = False) -> Stored | None:
    """Return the record, None if there is none, as `Records.load` does, after repairing a damaged object on the way.

    With `if_missing`, a missing object counts as damaged if the bucket has older versions of it. That costs one listing for
    a user who never had a record. Raise `DamagedRecordError` if no version can be read, and `NewerRecordError` for a record
    of a newer program; both errors are logged here, for an alert. Raise `ConflictError` if the record stays damaged after
    several repairs.
    """
    try:
        return _load_mended(user_key, deps, if_missing=if_missing)
    except (DamagedRecordError, NewerRecordError) as error:
        deps.log.error(
            "Record could not be used",
            user=error.user_key or user_key,
            asked_for=user_key,
            reason=error.reason.value,
            detail=error.detail,
        )
        raise


def _load_mended(user_key: UserKey, deps: Deps, *, if_missing: bool) -> Stored | None:
    for _ in range(_TRIES):
        try:
            stored = deps.records.load(user_key)
        except DamagedRecordError as error:
            if not error.user_key or not mend(UserKey(error.user_key), deps):
                raise
            continue
        if stored is not None or not if_missing or not mend(user_key, deps):
            return stored
    raise ConflictError(
        user_message="This person's record is being changed by another process just now; Benchkeeper tries again.",
        detail=f"record of {user_key} is damaged again after {_TRIES} attempts to put it back",
    )


def mend(user_key: UserKey, deps: Deps) -> bool:
    """Restore the object of this key if it is damaged or gone. Return False if there never was an object, and True otherwise.

    Raise `DamagedRecordError` if no version can be read, and `NewerRecordError` for a record of a newer program. Safe to
    repeat and to run concurrently: the write is conditional, and the process that loses the race leaves the winner's
    object.
    """
    found = deps.records.examine(user_key)
    match found:
        case NeverWritten():
            return False
        case Intact():
            return True
        case Unrecoverable():
            raise no_version(user_key, found)
        case Recoverable():
            _put_back(found, deps)
            return True


def _put_back(found: Recoverable, deps: Deps) -> None:
    reason = "Deleted" if found.deleted else Reason.DAMAGED.value
    try:
        deps.records.put_back(found, None if found.record is None else _as_put_back(found, found.record, deps))
    except ConflictError:
        return  # another process wrote the object: the caller loads that
    deps.log.error(
        "Restored a record",
        user=found.user_key,
        reason=reason,
        written_at=found.written_at.isoformat(),
        generation=found.generation,
    )


def _as_put_back(found: Recoverable, record: UserRecord, deps: Deps) -> UserRecord:
    """Return the restored version with a line in its history. A pass follows soon, because the cloud may differ from that version."""
    now = deps.clock.now()
    what = "deleted" if found.deleted else "damaged"
    line = StoryLine(
        at=now,
        kind=StoryKind.DECISION,
        text="Record put back",
        because=f"The record was {what}. The version of {found.written_at:%Y-%m-%d %H:%M:%S} UTC is in force again.",
        ref=str(found.generation),
    )
    planned = record.status.next_attempt_at
    soon = now + _SOON
    record = with_mails_put_back(with_end_found(record, found.written_at, deps), now)
    status = record.status.changed(
        story=told(record.status.story, [line]),
        next_attempt_at=soon if planned is None else min(planned, soon),
    )
    return replace(record, status=status)


def no_version(user_key: UserKey, found: Unrecoverable) -> DamagedRecordError:
    """Return the error for an object of which no version can be read."""
    what = "damaged" if found.live_generation else "gone"
    return DamagedRecordError(
        user_message=f"This person's record is {what}, and none of its {found.versions} kept versions can be read. An "
        "administrator must examine the record; nothing is changed meanwhile.",
        detail=f"unreadable record: no version of {user_key} can be read",
        user_key=user_key,
    )


def find_damage(user_key: UserKey, deps: Deps) -> NeverWritten | Intact | Recoverable:
    """Return the version that `load_mended` would restore, without restoring it; `Intact` if the record can be read.

    A missing object counts as damaged if the bucket has older versions of it; without any, return `NeverWritten`. Raise
    `DamagedRecordError` and `NewerRecordError` as `load_mended` does.
    """
    try:
        if deps.records.load(user_key) is not None:
            return Intact()
    except DamagedRecordError as error:
        if not error.user_key:
            raise
        user_key = UserKey(error.user_key)
    found = deps.records.examine(user_key)
    if isinstance(found, Unrecoverable):
        raise no_version(user_key, found)
    return found
