"""What a dead letter says: its news for a replay, and whether it states that somebody leaves.

Used by the `dead_letter` function when it stores a letter, by the sweep that replays letters, and by the command line.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.domain.errors import InvalidMessageError, PoisonError, UnsupportedMessageError
from shared.domain.events import AccountChanged, GroupChanged, Left
from shared.engine.letters import MESSAGE_ID, News
from shared.engine.ports import DeadLetter
from shared.wire import Message, parse_lifecycle, parse_tick


def news_of(letter: DeadLetter, *, max_bytes: int) -> Sequence[News]:
    """Return the news in a letter as the function reads them: with the message's own id and time. Raise `PoisonError`."""
    message = Message(
        data=letter.body,
        attributes=letter.attributes,
        message_id=letter.attributes.get(MESSAGE_ID) or letter.row.letter_id,
        publish_time=letter.row.sent_at,
    )
    if _is_tick(message):
        raise UnsupportedMessageError(
            user_message="A tick is not replayed: the next one does its work.", detail="a tick among the dead letters"
        )
    return parse_lifecycle(message, max_bytes=max_bytes)


def _is_tick(message: Message) -> bool:
    """Return True for a tick: a message that Pub/Sub forwarded does not say whose it was."""
    try:
        parse_tick(message)
    except InvalidMessageError:
        return False
    return True


def states_a_leave(message: Message) -> bool:
    """Return True if the message can be read and takes something from somebody: its letter comes first when letters are replayed."""
    try:
        news = parse_lifecycle(message, max_bytes=len(message.data))
    except PoisonError:
        return False
    return any(
        isinstance(piece, Left)
        or (isinstance(piece, AccountChanged) and not piece.usable)
        or (isinstance(piece, GroupChanged) and not piece.member)
        for piece in news
    )
