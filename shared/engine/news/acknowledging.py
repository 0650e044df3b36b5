"""The acknowledgements of an operator: of an unknown leaver, and of undelivered mails.

The user is then no longer shown under "Needs attention".
"""

from __future__ import annotations

from msgspec.structs import replace

from shared.domain.reconcile.mails import with_mail
from shared.domain.record.mails import NOT_TOLD, MailState
from shared.domain.record.record import UserRecord, unknown_leaver_since
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import Accepted, change_record


def acknowledge(user_key: UserKey, deps: Deps, *, by: str) -> Accepted | None:
    """Note that an operator saw this leaver.

    Return None if there is no record; `changed` is False if the user is not an unknown leaver.

    Safe to repeat.
    """

    def seen(record: UserRecord) -> UserRecord:
        if unknown_leaver_since(record) is None:
            return record
        now = deps.clock.now()
        line = StoryLine(at=now, kind=StoryKind.WISH, text="Acknowledged as an unknown leaver", because=by)
        return record.with_status(acknowledged_at=now, story=told(record.status.story, [line]))

    accepted = change_record(user_key, seen, deps, wakes=False)
    if accepted is not None and accepted.changed:
        deps.log.info("Acknowledged an unknown leaver", user=user_key, by=by)
    return accepted


def take_note(user_key: UserKey, deps: Deps, *, by: str) -> int | None:
    """Note that an operator has acknowledged undelivered mails. Return their number; None if there is no record.

    A deletion that waited for such a warning continues. Safe to repeat.
    """
    noted = 0

    def change(record: UserRecord) -> UserRecord:
        nonlocal noted
        now = deps.clock.now()
        untold = [mail for mail in record.status.mail.mails if mail.state in NOT_TOLD]
        noted = len(untold)
        if not untold:
            return record
        for mail in untold:
            record = with_mail(record, replace(mail, state=MailState.NOTED, at=now))
        because = f"Nobody was told: {', '.join(mail.stage.value for mail in untold)}; asked for by {by}"
        line = StoryLine(at=now, kind=StoryKind.WISH, text="Acknowledged messages", because=because, by=by)
        return record.with_status(story=told(record.status.story, [line]))

    accepted = change_record(user_key, change, deps, wakes=True)
    if accepted is None:
        return None
    if noted:
        deps.log.warning("Acknowledged undelivered mails", user=user_key, mails=noted)
    return noted
