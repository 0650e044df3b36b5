"""`lifecycle`: news about people, from topic workbench-lifecycle."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import handling
from shared import wire
from shared.engine.deliver import deliver


@functions_framework.cloud_event
def lifecycle(event: CloudEvent) -> None:
    """Fold one message into its user's record, then reconcile that user."""
    with handling(event, "lifecycle") as delivery:
        news = wire.parse_lifecycle(delivery.message, max_bytes=delivery.settings.max_message_bytes)
        delivery.facts["users"] = [deliver(piece, delivery.deps) for piece in news]
        delivery.facts["news"] = [type(piece).__name__ for piece in news]
