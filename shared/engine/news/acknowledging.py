"""The acknowledgement of an unknown leaver by an operator: the leaver is no longer shown under "Needs attention"."""

from __future__ import annotations

from shared.domain.record.record import UserRecord, unknown_leaver_since
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import Accepted, change_record


def acknowledge(user_key: UserKey, deps: Deps, *, by: str) -> Accepted | None:
    """Note that an operator saw this leaver. Return None if there is no record; `changed` is False if the user is no unknown leaver.

    Safe to repeat.
    """

    def seen(record: UserRecord) -> UserRecord:
        if unknown_leaver_since(record) is None:
            return record
        now = deps.clock.now()
        line = StoryLine(at=now, kind=StoryKind.WISH, text="Acknowledged as a leaver of whom nobody knows", because=by)
        return record.with_status(acknowledged_at=now, story=told(record.status.story, [line]))

    accepted = change_record(user_key, seen, deps, wakes=False)
    if accepted is not None and accepted.changed:
        deps.log.info("Acknowledged an unknown leaver", user=user_key, by=by)
    return accepted
