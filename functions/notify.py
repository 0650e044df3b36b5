"""The function `notify`: it sends the mails of topic workbench-notifications to users."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import handling
from shared.engine.news.mails import tell
from shared.messages.notification import parse_notification


@functions_framework.cloud_event
def notify(event: CloudEvent) -> None:
    """Send the mail that the message names, if the record shows that the mail is due.

    A forged message can therefore trigger only a mail that is due.
    """
    with handling(event, "notify") as delivery:
        due = parse_notification(delivery.message)
        delivery.facts["users"] = [due.user_key]
        delivery.facts["stage"] = due.stage.value
        delivery.facts["told"] = tell(due.user_key, due.stage, due.episode, delivery.deps)
