"""The warning before a leaver's files are deleted: nothing is deleted before somebody was told of it, if messages are switched on."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.plan.step import Scene
from shared.domain.record.mails import Stage, last_warning, warned_of
from shared.domain.record.record import UserRecord


def is_warned(record: UserRecord, scene: Scene) -> bool:
    """Return True if a leaver's files may be deleted: the mail server accepted the last warning, or an operator took note."""
    since = record.spec.absent_since
    if not scene.policy.tells or since is None or not record.email:  # nobody can be told of a record without an address
        return True
    return warned_of(record.status.mail, Stage.WILL_BE_DELETED, since, scene.now)


def wait_for_warned(record: UserRecord, scene: Scene) -> list[timedelta]:
    """Return how long it is until the time that the last warning names, if that is to come."""
    since = record.spec.absent_since
    if not scene.policy.tells or since is None:
        return []
    warning = record.status.mail.mail(Stage.WILL_BE_DELETED, last_warning(since))
    named = warning.time("at") if warning is not None else None
    return [named - scene.now] if named is not None and named > scene.now else []
