"""`tick`: the scheduled sweeps, from topic workbench-tick."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import handling
from shared.domain.errors import BenchkeeperError
from shared.engine.sweeps import sweep
from shared.messages.parse import parse_tick


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Run the sweep that the message asks for.

    A sweep that cannot list is logged and acked: the next tick comes by itself, and a redelivered old one would only add to it.
    """
    with handling(event, "tick") as delivery:
        kind = parse_tick(delivery.message)
        delivery.facts["sweep"] = kind
        try:
            sweep(kind, delivery.deps)
        except BenchkeeperError as error:
            delivery.deps.log.error("Sweep failed", kind=kind, reason=error.reason.value, detail=error.detail)
