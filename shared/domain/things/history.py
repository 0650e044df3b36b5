"""The history of one user's environment, in time order. It is a part of the record, so history and record always agree.

The record has the latest lines, and all lines that are not copied to the audit yet (`StoryLine.waits`). The history is the
outbox of the audit (`shared.domain.record.audit`), which keeps all lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field
from msgspec.structs import replace

# About two months of ordinary use; a record stays below 32 KB. Older lines are in the audit.
MAX_LINES = 75
_MAX_TEXT = 300
_MAX_WAITING_TEXT = 4000  # of a line that is not copied out yet
MAX_WAITING = 20  # if more lines wait, repeated ones become one line with a count


class StoryKind(StrEnum):
    """The kind of an event in the history."""

    NEWS = "news"  # a message came in
    WISH = "wish"  # a request from the page or the command line
    DECISION = "decision"  # a condition of the environment changed
    CALL = "call"  # the cloud was asked for a change, or refused it


CAUSES = frozenset({StoryKind.NEWS, StoryKind.WISH})  # the lines that later calls follow from


class CallState(StrEnum):
    """The known state of a call to the cloud."""

    ASKED = "asked"  # the intent is saved; the call may be under way
    DONE = "done"
    REFUSED = "refused"  # the cloud refused the call, or did not answer
    HELD = "held"  # Benchkeeper's own limits held the call back: the cloud was not called
    UNKNOWN = "unknown"  # the process ended between the intent and the answer


class Call(Struct, frozen=True, kw_only=True):
    """The part of a history line that only a call to the cloud has, until the line is copied to the audit.

    `id` is made of the record's generation before the intent was written, and the number of the action. `activity` is an
    activity number of OCSF class 3001. `event` is the event or request that caused the call. `before` is the wanted and
    observed state before the call.
    """

    id: str
    activity: int
    state: CallState
    policy: str
    event: str = ""
    done_at: datetime | None = None
    before: Mapping[str, str] = field(default_factory=dict)


class StoryLine(Struct, frozen=True, kw_only=True):
    """A line of the history. `text` is for people, `because` the reason, `ref` an event id, an operation's name or an error's reason.

    `act` identifies the call to the cloud (`Action.key`), and `refused` is True if the cloud refused the call. Lines of earlier
    versions have neither. `by` names the author: a source, the key of a user, or a part of Benchkeeper. `waits` is True until
    the line is copied to the audit. Until then the line has `after`, the wanted state after the line was written, and for a
    call `call`. `again` is True for a repeated refusal or a daily call, which only the audit keeps. `repeats` is the number of
    further equal occurrences, the last of them at `until` (`folded`).
    """

    at: datetime
    kind: StoryKind
    text: str
    because: str = ""
    ref: str = ""
    act: str = ""
    refused: bool = False
    by: str = ""
    waits: bool = False
    again: bool = False
    after: Mapping[str, str] = field(default_factory=dict)
    call: Call | None = None
    repeats: int = 0
    until: datetime | None = None

    @property
    def words(self) -> str:
        """Return the text for display, with the number of occurrences if there are several."""
        return with_times(self.text, self.repeats, self.until)

    @property
    def is_under_way(self) -> bool:
        """Return True for a call whose outcome no process has saved yet."""
        return self.call is not None and self.call.state is CallState.ASKED


def with_times(text: str, repeats: int, until: datetime | None) -> str:
    """Return the text of a line or an entry. If there are several occurrences, their number and the time of the last are added."""
    return text if not repeats or until is None else f"{text} ({repeats + 1} times until {until:%Y-%m-%d %H:%M} UTC)"


def told(story: tuple[StoryLine, ...], lines: Iterable[StoryLine]) -> tuple[StoryLine, ...]:
    """Return the history with more lines, which wait to be copied to the audit.

    If there are more than `MAX_LINES` lines, the oldest are dropped, except waiting lines.
    """
    return latest((*story, *(_cut(replace(line, waits=True), _MAX_WAITING_TEXT) for line in lines)))


def latest(story: tuple[StoryLine, ...]) -> tuple[StoryLine, ...]:
    """Return the last `MAX_LINES` lines, and all lines that wait to be copied to the audit."""
    old = len(story) - MAX_LINES
    if old <= 0:
        return story
    return (*(line for line in story[:old] if line.waits), *story[old:])


def folded(story: tuple[StoryLine, ...]) -> tuple[StoryLine, ...]:
    """Return the history; if more than `MAX_WAITING` lines wait, equal waiting lines become one line with a count.

    A refused or held call is folded into an equal call since the last success of that call. A changed condition is folded into
    an equal line while the wanted state stays the same. No other lines are folded.
    """
    if sum(line.waits for line in story) <= MAX_WAITING:
        return story
    lines: list[StoryLine] = []
    open_at: dict[tuple[str, ...], int] = {}
    wanted: Mapping[str, str] = {}
    for line in story:
        if not line.waits:
            lines.append(line)
            continue
        if line.after != wanted:
            wanted = line.after
            open_at = {same: place for same, place in open_at.items() if same[0] == StoryKind.CALL}
        same = _same(line)
        if same is not None and same in open_at:
            lines[open_at[same]] = _one_more(lines[open_at[same]], line)
            continue
        if same is not None:
            open_at[same] = len(lines)
        elif line.act:
            open_at = {known: place for known, place in open_at.items() if known[1] != line.act}
        lines.append(line)
    return tuple(lines)


def _same(line: StoryLine) -> tuple[str, ...] | None:
    """Return the key that equal lines share; None for a line that is never folded."""
    if line.kind is StoryKind.DECISION:
        return (line.kind, line.text, line.because)
    if line.call is not None and line.call.state in {CallState.REFUSED, CallState.HELD}:
        return (line.kind, line.act, line.call.state, line.ref)
    return None


def _one_more(first: StoryLine, line: StoryLine) -> StoryLine:
    return replace(
        first, repeats=first.repeats + line.repeats + 1, until=max(line.until or line.at, first.until or first.at)
    )


def once_copied(line: StoryLine) -> StoryLine:
    """Return the shorter form of a line that the record keeps once the audit has the full content."""
    return _cut(replace(line, waits=False, again=False, after={}, call=None), _MAX_TEXT)


def _cut(line: StoryLine, most: int) -> StoryLine:
    if len(line.text) <= most and len(line.because) <= most and len(line.ref) <= most:
        return line
    return replace(line, text=_short(line.text, most), because=_short(line.because, most), ref=line.ref[:most])


def _short(text: str, most: int) -> str:
    """Return the text, cut at a word to at most `most` characters if it is longer."""
    if len(text) <= most:
        return text
    whole, space, _ = text[: most - 1].rpartition(" ")
    return f"{whole if space else text[: most - 1]}…"
