"""A dead letter's message, read once more as the source that sent it."""

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
    """Return the news in a letter, as the function reads them: as its source, with the message's own id and time.

    Raises `PoisonError` if it still cannot be used, or if nobody knows whose word it is and `replay_as` names no source.
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
            user_message="A tick is not replayed: the next one does its work.", detail="a tick among the dead letters"
        )
    source = source_of_letter(letter, sources) if replay_as is None else sources[replay_as]
    if source is None:
        raise UnsupportedMessageError(
            user_message="The letter does not say on which topic its message came, so nobody knows whose word it is. Name the source: "
            f"benchkeeper dead-letter replay --as SOURCE {letter.row.letter_id}",
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
    """Return the source that the letter's message came from; None if neither its topic nor its subscription tells.

    A letter that Pub/Sub forwarded names its subscription only, which has the function's name in it.
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
    """Return True if the message can be read and takes something from somebody: its letter comes first when letters are replayed."""
    try:
        news = parse_message(message, Rules(source=source, people=people, max_bytes=len(message.data))).news
    except PoisonError:
        return False
    return any(not isinstance(piece, Woken | GroupEvent) and is_cut(piece) for piece in news)


def _is_tick(message: Message) -> bool:
    """One that Pub/Sub forwarded does not say whose it was."""
    try:
        parse_tick(message)
    except InvalidMessageError:
        return False
    return True
