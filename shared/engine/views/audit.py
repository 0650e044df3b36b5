"""The reading of the audit: one user's whole history, and everything of a day. Called by the command line and the page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from functools import partial

from msgspec import Struct

from shared.domain.record.audit import ENTRIES, Entry, as_line, entries_in, place_of
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, DamagedRecordError
from shared.domain.things.history import MAX_LINES, StoryLine
from shared.engine.ports.deps import Deps

PAGE = 80  # lines; a page has whole objects, so it may have a few more


class HistoryPage(Struct, frozen=True, kw_only=True):
    """A part of a history, oldest line first. `older` is where the next part begins, "" if there is none."""

    lines: tuple[StoryLine, ...]
    older: str


def objects_of(record: UserRecord, deps: Deps, *, start: str = "") -> Iterator[tuple[Entry, ...]]:
    """Yield the entries of the user's objects, the newest object first, from `start` on. Each costs one read.

    Raise `DamagedRecordError` if an object of the chain is missing or damaged.
    """
    name = start or record.status.audit.audit_object
    while name:
        content = deps.audit.get(name)
        if content is None:
            raise _broken(name, "missing")
        try:
            entries = tuple(entries_in(content, name))
        except BenchkeeperError as error:
            raise _broken(name, "damaged") from error
        yield entries
        name = entries[0].previous_object


def entries_since(record: UserRecord, deps: Deps, since: datetime | None) -> list[Entry]:
    """Return the user's entries since a time (None: all), oldest first."""
    found: list[tuple[Entry, ...]] = []
    for entries in objects_of(record, deps):
        if since is not None and all(entry.at < since for entry in entries):
            break
        found.append(entries)
    return [entry for entries in reversed(found) for entry in entries if since is None or entry.at >= since]


def history_since(record: UserRecord, deps: Deps, since: datetime | None) -> list[StoryLine]:
    """Return the user's whole history since a time (None: all), oldest first: the audit, and what is not copied out yet.

    Lines of a program without an audit are as the record has them.
    """
    entries = entries_since(record, deps, since)
    kept: list[StoryLine] = []
    if record.status.audit.audited == len(entries):  # the beginning was reached
        first = entries[0].at if entries else None
        kept = [line for line in record.status.story if not line.waits and (first is None or line.at < first)]
    waiting = [line for line in record.status.story if line.waits]
    lines = [*kept, *(as_line(entry, record) for entry in entries), *waiting]
    return [line for line in lines if since is None or line.at >= since]


def history_page(record: UserRecord, deps: Deps, *, before: str = "") -> HistoryPage:
    """Return a part of the history: without `before` the lines in the record, otherwise older lines from the audit.

    `before` is the `older` of the part before. Any other text counts as none.
    """
    story = record.status.story
    place = place_of(before)
    if place is None or place.alias != record.status.audit.alias:
        tip = record.status.audit.audit_object
        copied = sum(not line.waits for line in story)
        return HistoryPage(
            lines=story, older=tip if record.status.audit.audited > copied or len(story) >= MAX_LINES else ""
        )
    shown = story[0].at if story and before == record.status.audit.audit_object else None
    parts: list[list[Entry]] = []
    older = ""
    for entries in objects_of(record, deps, start=before):
        parts.append([entry for entry in entries if shown is None or entry.at < shown])
        older = entries[0].previous_object
        if sum(map(len, parts)) >= PAGE:
            break
    lines = tuple(as_line(entry, record) for part in reversed(parts) for entry in part)
    return HistoryPage(lines=lines, older=older)


def entries_on(day: date, deps: Deps) -> Iterator[Entry]:
    """Yield all entries that were copied on a day, by object. Each object costs one read."""
    names = [found.name for found in deps.audit.listed(f"{ENTRIES}{day.isoformat()}/")]
    contents = deps.workers.run([partial(deps.audit.get, name) for name in names])
    for name, content in zip(names, contents, strict=True):
        if content is not None:
            yield from entries_in(content, name)


def _broken(name: str, what: str) -> DamagedRecordError:
    return DamagedRecordError(
        user_message=f"The audit is not complete: {name} is {what}. Check it: benchkeeper audit verify",
        detail=f"audit object {name} is {what}",
    )
