"""The function `lifecycle`: it handles messages about users from the topic of a source.

The function is deployed once for each source, so that no source delays another.
"""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import Delivery, handling
from shared.domain.people.events import News
from shared.domain.people.groups import GroupEvent, GroupEventKind
from shared.domain.things.errors import PoisonError
from shared.engine.news.deliver import deliver_all
from shared.messages.message import Parsed
from shared.messages.parse import parse_message


@functions_framework.cloud_event
def lifecycle(event: CloudEvent) -> None:
    """Apply the statements of a message to the records of the users whom it names, then reconcile these users.

    Log entries that belong on the directory's topic are published there instead. A batch about several users is published again
    as one message for each user. Unusable statements become dead letters.
    """
    with handling(event, "lifecycle") as delivery:
        rules = delivery.rules
        delivery.facts["source"] = rules.source.name
        parsed = parse_message(delivery.message, rules)
        if parsed.to_directory:
            delivery.deps.relay(delivery.settings.topic_directory, delivery.message.data, delivery.message.attributes)
            delivery.facts["moved_on"] = delivery.settings.topic_directory
            return
        for part in parsed.parts:
            delivery.relay_part(rules.source, part.body, part.number)
        if parsed.parts:
            delivery.facts["parts"] = len(parsed.parts)
        for fault in parsed.sender_faults:
            delivery.deps.log.warning("Found a fault of a sender", source=rules.source.name, fault=fault)
        if parsed.ignored:
            delivery.facts["ignored"] = sorted(set(parsed.ignored))
        delivered = deliver_all(parsed.news, delivery.deps)
        if any(_ends_a_group(piece) for piece in parsed.news) and delivery.reads_groups:
            delivery.ask_for_roster()
        delivery.facts["users"] = list(delivered.users)
        delivery.facts["news"] = [type(piece).__name__ for piece in parsed.news]
        refused = [
            (error, delivery.message.data, f"news-{number}") for number, (_, error) in enumerate(delivered.refused)
        ]
        _report(parsed, [*((f.error, f.body, f.part) for f in parsed.faults), *refused], delivery)


def _ends_a_group(piece: News) -> bool:
    """Return True for the deletion of a group. No message names the members of its nested groups, so a roster is needed."""
    return isinstance(piece, GroupEvent) and piece.kind is GroupEventKind.DELETED


def _report(parsed: Parsed, faults: list[tuple[PoisonError, bytes, str]], delivery: Delivery) -> None:
    """Publish each unusable part of a message as a dead letter. Raise the only fault of a message without a usable part.

    `handling` then publishes the whole message as a dead letter.
    """
    if len(faults) == 1 and len(parsed.news) <= (1 if not parsed.faults else 0):
        raise faults[0][0]
    for error, body, part in faults:
        delivery.dead_letter(error, body, part)
    if faults:
        delivery.facts["faults"] = [error.reason.value for error, _, _ in faults]
