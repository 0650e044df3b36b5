"""`dead_letter`: messages that cannot succeed, from topic workbench-dead-letter, kept where people find them."""

from __future__ import annotations

import functions_framework
from cloudevents.http import CloudEvent

from functions._delivery import Delivery, handling
from shared.domain.people.sources import HR, Source, source_of_topic
from shared.domain.things.identity import UserEmail, UserKey
from shared.engine.news.dead_letters import TOPIC, keep, letter_of
from shared.messages.letters import states_a_leave
from shared.messages.message import Message
from shared.messages.people import people_named


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Store one dead letter with its reason, then mark the records of the people whom it names.

    Both are safe to repeat: a letter is stored once and marks once. Once it is stored it is acked: a mark that cannot be written
    now is tried again by the sweep.
    """
    with handling(event, "dead_letter") as delivery:
        message = delivery.message
        source = _source(message.attributes.get(TOPIC, ""), delivery)
        named, cuts = _read(message, source, delivery)
        letter = letter_of(
            body=message.data,
            attributes=message.attributes,
            message_id=message.message_id,
            published_at=message.publish_time,
            users=tuple(named),
            cuts=cuts,
        )
        marked = keep(letter, delivery.deps, named=named)
        delivery.facts["users"] = list(letter.row.users)
        delivery.deps.log.error(
            "Stored dead letter",
            letter=letter.row.letter_id,
            reason=letter.row.reason,
            function=letter.row.function,
            users=list(letter.row.users),
            marked=marked,
        )


def _read(message: Message, source: Source, delivery: Delivery) -> tuple[dict[UserKey, UserEmail], bool]:
    """Whom the message names and whether it states a leave. A fault in finding it out keeps no letter from being stored."""
    people = delivery.settings.people
    try:
        return people_named(message, source, people), states_a_leave(message, source, people)
    except Exception as error:  # noqa: BLE001 - without names is better than lost
        delivery.deps.log.error(
            "Names in a dead letter not found", message_id=message.message_id, detail=repr(error)[:300]
        )
        return {}, False


def _source(topic: str, delivery: Delivery) -> Source:
    """Whose word the message was. It decides nothing here, only how the message is read for names."""
    sources = delivery.settings.sources
    return source_of_topic(topic, sources.values()) or sources[HR]
