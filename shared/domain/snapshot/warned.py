"""The warning before a leaver's files are deleted.

If messages are switched on, nothing is deleted before a warning was sent, or an operator acknowledged that it failed.
"""

from __future__ import annotations

from datetime import timedelta

from shared.domain.plan.step import Scene
from shared.domain.record.parts import Stage, last_warning, warned_of
from shared.domain.record.record import UserRecord


def is_warned(record: UserRecord, scene: Scene) -> bool:
    """Return True if a leaver's files may be deleted as far as warnings are concerned.

    The last warning must have been sent, or an operator must have acknowledged its failure, and the announced time must have
    passed. If messages are switched off, or the record has no address, no warning is needed.
    """
    since = record.spec.absent_since
    if not scene.policy.tells or since is None or not record.email:  # nobody can be told of a record without an address
        return True
    return warned_of(record.status.mail, Stage.WILL_BE_DELETED, since, scene.now)


def wait_for_warned(record: UserRecord, scene: Scene) -> list[timedelta]:
    """Return the wait until the time that the last warning announced, as a list; empty without such a future time."""
    since = record.spec.absent_since
    if not scene.policy.tells or since is None:
        return []
    warning = record.status.mail.mail(Stage.WILL_BE_DELETED, last_warning(since))
    named = warning.time("at") if warning is not None else None
    return [named - scene.now] if named is not None and named > scene.now else []
