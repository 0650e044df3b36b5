"""The publishing of mails that are due. The record is the outbox: a mail that nobody claims is published again, by a later pass."""

from __future__ import annotations

from shared.domain.reconcile.mails import to_publish
from shared.domain.record.mails import NOT_TOLD, Mail, Trouble
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.deps import Deps


def publish_due(record: UserRecord, before: UserRecord, deps: Deps) -> None:
    """Publish the mails of a saved record that are due. A failure holds up nothing."""
    if deps.mail is None or not deps.base_policy.tells:
        return
    for mail in to_publish(record, before, deps.clock.now()):
        try:
            deps.mail.notifications.publish(record, mail)
        except BenchkeeperError as error:
            deps.log.warning(
                "Mail waits",
                user=record.user_key,
                stage=mail.stage.value,
                reason=error.reason.value,
                detail=error.detail,
            )
            return


def log_not_told(record: UserRecord, before: UserRecord, deps: Deps) -> None:
    """Log once each mail that came into a state in which nobody was told, or nobody knows."""
    known = {_named(mail) for mail in before.status.mail.mails if mail.state in NOT_TOLD}
    for mail in record.status.mail.mails:
        if mail.state in NOT_TOLD and _named(mail) not in known:
            _tell_operator(record, mail, deps)


def _tell_operator(record: UserRecord, mail: Mail, deps: Deps) -> None:
    """Log that somebody was not told; an alert is made of it."""
    deps.log.error(
        "Could not tell",
        user=record.user_key,
        stage=mail.stage.value,
        state=mail.state.value,
        reason=mail.trouble.value or Trouble.CRASHED.value,
    )


def _named(mail: Mail) -> tuple[str, str]:
    return mail.stage.value, mail.episode
