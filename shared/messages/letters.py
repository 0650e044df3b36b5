"""The parser of a dead letter's message, by the rules of the source that sent it."""

from __future__ import annotations

from collections.abc import Mapping

from shared.domain.people.domains import People
from shared.domain.people.events import News, Woken, is_cut
from shared.domain.people.groups import GroupEvent
from shared.domain.people.sources import HR, Source, source_of_topic
from shared.domain.things.errors import InvalidMessageError, PoisonError, Reason, UnsupportedMessageError
from shared.engine.news.dead_letters import MESSAGE_ID
from shared.engine.ports.inbox import DeadLetter
from shared.messages.message import Message, Rules
from shared.messages.parse import parse_message, parse_tick


def parse_letter(
    letter: DeadLetter,
    *,
    sources: Mapping[str, Source],
    people: People,
    max_bytes: int,
    replay_as: str | None = None,
) -> tuple[News, ...]:
    """Return the events in a dead letter, parsed by the rules of its source, with the message's own id and time.

    If `replay_as` names a source, its rules are used instead. Raise `PoisonError` if the message still cannot be used, if its
    source is unknown, or if it is a tick or a batch.
    """
    message = Message(
        data=letter.body,
        attributes=letter.attributes,
        message_id=letter.attributes.get(MESSAGE_ID) or letter.row.letter_id,
        publish_time=letter.row.sent_at,
        topic=letter.topic,
    )
    if _is_tick(message):
        raise UnsupportedMessageError(
            user_message="A tick is not replayed, because the next tick does the same work.",
            detail="a tick among the dead letters",
        )
    source = source_of_letter(letter, sources) if replay_as is None else sources[replay_as]
    if source is None:
        raise UnsupportedMessageError(
            user_message="The message does not name the topic on which it arrived. Name its source: "
            f"benchkeeper messages replay --as SOURCE {letter.row.letter_id}",
            detail="a letter of no known topic",
            reason=Reason.UNKNOWN_TOPIC,
        )
    parsed = parse_message(message, Rules(source=source, people=people, max_bytes=max_bytes))
    if not parsed.news and parsed.faults:
        raise parsed.faults[0].error
    if parsed.parts:
        raise UnsupportedMessageError(
            user_message="A list of messages about several people is not replayed as one. Publish it again: benchkeeper publish file.",
            detail="a batch among the dead letters",
        )
    return parsed.news


def source_of_letter(letter: DeadLetter, sources: Mapping[str, Source]) -> Source | None:
    """Return the source of the dead letter's message, by its topic or subscription; None if the source is unknown.

    A dead letter that Pub/Sub forwarded has only a subscription, whose name contains the name of the function or of the
    topic.
    """
    if letter.topic:
        return source_of_topic(letter.topic, sources.values())
    subscription = letter.source.rpartition("/")[2]
    for name, source in sources.items():
        function = "benchkeeper-lifecycle" if name == HR else f"benchkeeper-{name}"
        if function in subscription or source.topic in subscription:
            return source
    return None


def states_a_leave(message: Message, source: Source, people: People) -> bool:
    """Return True if the message can be parsed and ends a user's access, so that its dead letter is replayed first."""
    try:
        news = parse_message(message, Rules(source=source, people=people, max_bytes=len(message.data))).news
    except PoisonError:
        return False
    return any(not isinstance(piece, Woken | GroupEvent) and is_cut(piece) for piece in news)


def _is_tick(message: Message) -> bool:
    """Return True if the message is a tick. Only the content shows this, because the dead letter may not name its function."""
    try:
        parse_tick(message)
    except InvalidMessageError:
        return False
    return True
