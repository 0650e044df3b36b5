"""The publishing of mails that are due.

The record is the outbox: a mail that no process claims is published again by a later pass.
"""

from __future__ import annotations

from shared.domain.reconcile.mails import to_publish
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError
from shared.engine.ports.deps import Deps


def publish_due(record: UserRecord, before: UserRecord, deps: Deps) -> None:
    """Publish the mails of a saved record that are due. A failure does not stop the pass."""
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
