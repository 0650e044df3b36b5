"""The function `tick`: it runs the scheduled sweeps, from topic workbench-tick."""

from __future__ import annotations

from collections.abc import Sequence

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import Delivery, handling
from shared.domain.people.events import News
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.sweep import Sweep
from shared.domain.things.times import rfc3339
from shared.engine.ports.inbox import DeadLetter
from shared.engine.sweeps.dead_letters import sweep_letters
from shared.engine.sweeps.sweeping import clock_differs
from shared.engine.sweeps.sweeps import sweep
from shared.messages.letters import parse_letter
from shared.messages.parse import parse_tick


@functions_framework.cloud_event
def tick(event: CloudEvent) -> None:
    """Run the sweep that the message requests. After an idle or drift sweep, also sweep the dead letters.

    If a sweep fails with a `BenchkeeperError`, for example because the records cannot be listed, the failure is logged and
    the message is acked: the next tick repeats the work, and a redelivery would only add load. If the function's clock
    differs too much from the message's publish time, no sweep runs.
    """
    with handling(event, "tick") as delivery:
        kind = parse_tick(delivery.message)
        delivery.facts["sweep"] = kind
        if _has_wrong_clock(kind, delivery):
            return
        try:
            sweep(kind, delivery.deps, asked_at=delivery.message.publish_time)
        except BenchkeeperError as error:
            delivery.deps.log.error("Sweep failed", kind=kind, reason=error.reason.value, detail=error.detail)
        if kind.tends_dead_letters:
            _letters(delivery)


def _has_wrong_clock(kind: Sweep, delivery: Delivery) -> bool:
    published_at = delivery.message.publish_time
    ahead = clock_differs(published_at, delivery.deps.clock)
    if ahead is None:
        return False
    delivery.facts["skipped"] = Reason.CLOCK_DIFFERS.value
    delivery.deps.log.error(
        "Skipped a sweep",
        kind=kind,
        reason=Reason.CLOCK_DIFFERS.value,
        ahead_s=round(ahead.total_seconds()),
        published_at=rfc3339(published_at),
    )
    return True


def _letters(delivery: Delivery) -> None:
    max_bytes = delivery.settings.max_message_bytes

    def parse(letter: DeadLetter) -> Sequence[News]:
        policy = delivery.deps.policy
        return parse_letter(letter, sources=policy.sources, people=policy.people, max_bytes=max_bytes)

    try:
        sweep_letters(parse, delivery.deps)
    except BenchkeeperError as error:
        delivery.deps.log.error("Dead letter sweep failed", reason=error.reason.value, detail=error.detail)
