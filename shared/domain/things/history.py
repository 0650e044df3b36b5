"""What happened to one person's environment, in time order: kept in the record itself, so that it is never at odds with it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

# About two months of an ordinary life; a record stays below 32 KB. What is older is in the log and in older versions of the object.
MAX_LINES = 80
_MAX_TEXT = 300


class StoryKind(StrEnum):
    """What sort of thing happened."""

    NEWS = "news"  # a message came in
    WISH = "wish"  # somebody asked for something on the page or the command line
    DECISION = "decision"  # how the environment stands changed
    CALL = "call"  # the cloud was asked for a change, or said no


class StoryLine(Struct, frozen=True, kw_only=True):
    """One line: `text` for people, `because` why, `ref` an event id, an operation's name or an error's reason.

    `act` identifies what was asked of the cloud (`Action.key`), `refused` says that the cloud said no. Lines of earlier versions
    have neither.
    """

    at: datetime
    kind: StoryKind
    text: str
    because: str = ""
    ref: str = ""
    act: str = ""
    refused: bool = False


def told(story: tuple[StoryLine, ...], lines: Iterable[StoryLine]) -> tuple[StoryLine, ...]:
    """Return the story with more lines, the oldest left out where there are too many."""
    return (*story, *(_cut(line) for line in lines))[-MAX_LINES:]


def _cut(line: StoryLine) -> StoryLine:
    if len(line.text) <= _MAX_TEXT and len(line.because) <= _MAX_TEXT and len(line.ref) <= _MAX_TEXT:
        return line
    return replace(line, text=line.text[:_MAX_TEXT], because=line.because[:_MAX_TEXT], ref=line.ref[:_MAX_TEXT])
