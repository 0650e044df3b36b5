"""The function `dead_letter`: it stores messages that cannot succeed, from topic workbench-dead-letter, for administrators."""

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
    """Store a dead letter with its reason, then mark the records of the users whom the dead letter names.

    Both steps are safe to repeat: a dead letter is stored once, and marks a record once. The message is acked even if a mark
    could not be written, because the sweep retries that mark.
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
    """Return the users whom the message names, and True if the message states a leave.

    An error while reading is logged, and the result is ({}, False), so that the dead letter is stored anyway.
    """
    people = delivery.settings.people
    try:
        return people_named(message, source, people), states_a_leave(message, source, people)
    except Exception as error:  # noqa: BLE001 - without names is better than lost
        delivery.deps.log.error(
            "Names in a dead letter could not be read", message_id=message.message_id, detail=repr(error)[:300]
        )
        return {}, False


def _source(topic: str, delivery: Delivery) -> Source:
    """Return the source of the message, or HR if the topic is unknown. The source decides only how users are found."""
    sources = delivery.settings.sources
    return source_of_topic(topic, sources.values()) or sources[HR]
