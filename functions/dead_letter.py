"""`dead_letter`: messages that cannot succeed, from topic workbench-dead-letter, kept where people find them."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import handling
from shared.domain.errors import Reason
from shared.engine.ports import DeadLetter

_SOURCE = "CloudPubSubDeadLetterSourceSubscription"


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Store one dead letter with its reason. One without a reason was forwarded by Pub/Sub after its last attempt."""
    with handling(event, "dead_letter") as delivery:
        message, attributes = delivery.message, delivery.message.attributes
        forwarded = _SOURCE in attributes
        delivery.deps.dead_letters.store(
            DeadLetter(
                letter_id=message.message_id,
                reason=attributes.get("reason")
                or (Reason.DELIVERY_ATTEMPTS_EXHAUSTED.value if forwarded else Reason.INVALID_MESSAGE.value),
                detail=attributes.get("detail")
                or (
                    "No attempt to deliver it succeeded; see the log of the function."
                    if forwarded
                    else "No reason given."
                ),
                source=attributes.get("source-subscription") or attributes.get(_SOURCE, ""),
                received_at=message.publish_time,
                body=message.data.decode(errors="replace"),
                attributes=dict(attributes),
            )
        )
        delivery.deps.log.error(
            "Stored dead letter", letter=message.message_id, reason=attributes.get("reason", ""), forwarded=forwarded
        )
