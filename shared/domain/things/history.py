"""The history of one user's environment, in time order. The record itself holds it, so that both always agree."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

# About two months of ordinary use; a record stays below 32 KB. Older lines are in the log and in older versions of the object.
MAX_LINES = 80
_MAX_TEXT = 300


class StoryKind(StrEnum):
    """The kind of an event in the history."""

    NEWS = "news"  # a message came in
    WISH = "wish"  # a request from the page or the command line
    DECISION = "decision"  # a condition of the environment changed
    CALL = "call"  # the cloud was asked for a change, or refused it


class StoryLine(Struct, frozen=True, kw_only=True):
    """A line of the history. `text` is for people, `because` the reason, `ref` an event id, an operation's name or an error's reason.

    `act` identifies the call to the cloud (`Action.key`); `refused`: the cloud refused the call. Lines of earlier versions have neither.
    """

    at: datetime
    kind: StoryKind
    text: str
    because: str = ""
    ref: str = ""
    act: str = ""
    refused: bool = False


def told(story: tuple[StoryLine, ...], lines: Iterable[StoryLine]) -> tuple[StoryLine, ...]:
    """Return the history with more lines. The oldest lines are dropped if there are more than `MAX_LINES`."""
    return (*story, *(_cut(line) for line in lines))[-MAX_LINES:]


def _cut(line: StoryLine) -> StoryLine:
    if len(line.text) <= _MAX_TEXT and len(line.because) <= _MAX_TEXT and len(line.ref) <= _MAX_TEXT:
        return line
    return replace(line, text=line.text[:_MAX_TEXT], because=line.because[:_MAX_TEXT], ref=line.ref[:_MAX_TEXT])
