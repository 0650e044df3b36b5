"""The reading of the audit: one user's whole history, all entries of a day, and the check that the audit is complete and unchanged.

Called by the command line and the page. The check (`benchkeeper audit verify`) covers every chain, every manifest, the digests in the
log, and the ends of the chains in the records. An entry that was altered, removed or added is found by its neighbours in the chain, by
the day's manifest, or by the record. A manifest that was altered is found by the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from itertools import islice

from msgspec import Struct, field

from shared.domain.record.audit import (
    ENTRIES,
    MANIFESTS,
    Entry,
    as_line,
    digest_of,
    entries_in,
    manifest_name,
    place_of,
)
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, DamagedRecordError
from shared.domain.things.history import MAX_LINES, StoryLine
from shared.engine.ports.audit import AuditObject
from shared.engine.ports.deps import Deps

PAGE = 80  # lines; a page has whole objects, so it may have a few more


class HistoryPage(Struct, frozen=True, kw_only=True):
    """A part of a history, oldest line first. `older` is the position of the next older part, "" if there is none."""

    lines: tuple[StoryLine, ...]
    older: str


def objects_of(record: UserRecord, deps: Deps, *, start: str = "") -> Iterator[tuple[Entry, ...]]:
    """Yield the entries of the user's objects, the newest object first, from `start` on. Each object costs one read.

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
    """Return the user's history since a time (None: all), oldest first: the audit's entries, then the lines that are not yet copied to the audit.

    Lines that were written before there was an audit are taken from the record.
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

    `before` is the `older` of the previous part. An invalid value counts as empty.
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
        user_message=f"The audit is not complete: {name} is {what}. Check the audit: benchkeeper audit verify",
        detail=f"audit object {name} is {what}",
    )


_AT_ONCE = 200
_MANIFEST_DUE = timedelta(hours=3)  # after midnight


class AuditFault(Struct, frozen=True):
    """A fault of an object of the audit, for an administrator."""

    place: str
    says: str


class Checked(Struct, kw_only=True):
    """The result of a check: the amount of read data, and the faults.

    `logged` counts the days whose digest is in the log.
    """

    objects: int = 0
    entries: int = 0
    manifests: int = 0
    records: int = 0
    logged: int = 0
    faults: list[AuditFault] = field(default_factory=list)

    def fault(self, place: str, says: str) -> None:
        """Add a fault."""
        self.faults.append(AuditFault(place, says))


class _End(Struct):
    number: int = 0
    digest: str = ""
    place: str = ""


def verify(deps: Deps) -> Checked:
    """Read the whole audit and return its faults.

    Raise an error if a page of a listing, or an object, cannot be read.
    """
    result = Checked()
    manifests = list(deps.audit.listed(MANIFESTS))
    digests: dict[str, str] = {}
    ends: dict[str, _End] = {}
    for found, content in _contents(deps.audit.listed(ENTRIES), deps):
        result.objects += 1
        digests[found.name] = digest_of(content)
        _check_object(found.name, content, ends, result)
    _check_manifests(manifests, digests, deps, result)
    _check_ends(ends, deps, result)
    result.faults.sort(key=lambda fault: (fault.place, fault.says))
    return result


def _contents(objects: Iterable[AuditObject], deps: Deps) -> Iterator[tuple[AuditObject, bytes]]:
    left = iter(objects)
    while some := list(islice(left, _AT_ONCE)):
        read = deps.workers.run([partial(deps.audit.get, found.name) for found in some])
        for found, content in zip(some, read, strict=True):
            yield found, content or b""


def _check_object(name: str, content: bytes, ends: dict[str, _End], result: Checked) -> None:
    try:
        entries = tuple(entries_in(content, name))
    except BenchkeeperError:
        result.fault(name, "the object cannot be read as audit entries")
        return
    result.entries += len(entries)
    place = place_of(name)
    if place is None:
        return  # entries of calls about users whose record could not be used: in no chain
    end = ends.setdefault(place.alias, _End())
    if entries[0].number != place.number:
        result.fault(name, f"the first entry has the number {entries[0].number}")
    if entries[0].previous_object != end.place:
        result.fault(name, "the first entry does not name the user's previous object")
    for entry in entries:
        if entry.alias != place.alias:
            result.fault(name, "the object has an entry of another user")
        if entry.number != end.number + 1:
            what = "is there twice" if entry.number <= end.number else "follows missing entries"
            result.fault(name, f"entry {entry.number} {what}: the last entry is {end.number}")
        elif entry.previous != end.digest:
            result.fault(name, f"entry {entry.number} does not follow entry {end.number}: one of them was altered")
        end.number, end.digest = entry.number, entry.digest
    end.place = name


def _check_manifests(manifests: list[AuditObject], digests: Mapping[str, str], deps: Deps, result: Checked) -> None:
    over = (deps.clock.now() - _MANIFEST_DUE).date()
    logged = _logged(manifests, digests, deps)
    result.logged = len(logged)
    seen: dict[str, str] = {}
    for found, content in _contents(manifests, deps):
        result.manifests += 1
        digest = digest_of(content)
        try:
            manifest = json.loads(content)
            day, previous = date.fromisoformat(manifest["day"]), manifest["previous"]
            listed, day_before = dict(manifest["objects"]), manifest_name(day - timedelta(days=1))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            result.fault(found.name, "the object cannot be read as a manifest")
            continue
        seen[manifest_name(day)] = digest
        if found.name != manifest_name(day):
            result.fault(found.name, f"the manifest is of another day: {day}")
        if previous != seen.get(day_before, ""):
            result.fault(found.name, "the manifest of the day before is missing, or was altered")
        said = logged.get(day.isoformat())
        if said is not None and said != {digest}:
            result.fault(found.name, "the manifest's digest differs from the digest in the log")
        _check_listed(found.name, day, listed, digests, result)
    for name in digests:
        day_of = name.removeprefix(ENTRIES).partition("/")[0]
        if day_of < over.isoformat() and f"{MANIFESTS}{day_of}.json" not in seen:
            result.fault(f"{MANIFESTS}{day_of}.json", "the manifest is missing, or cannot be read")
    for day_of in logged:
        name = f"{MANIFESTS}{day_of}.json"
        if day_of < over.isoformat() and name not in seen and deps.audit.get(name) is None:
            result.fault(name, "the manifest is missing; its digest is in the log")
    result.faults[:] = dict.fromkeys(result.faults)


def _check_listed(
    place: str, day: date, listed: Mapping[str, str], digests: Mapping[str, str], result: Checked
) -> None:
    for name, digest in listed.items():
        if name not in digests:
            result.fault(name, f"the object is missing; {place} lists it")
        elif digests[name] != digest:
            result.fault(name, f"the object was altered since {place} listed it")
    prefix = f"{ENTRIES}{day.isoformat()}/"
    for name in digests:
        if name.startswith(prefix) and name not in listed:
            result.fault(name, f"{place} does not list the object: the object came later")


def _logged(manifests: list[AuditObject], digests: Mapping[str, str], deps: Deps) -> dict[str, set[str]]:
    """Return the digests in the log by day, from the first day in the bucket until today.

    The range does not end with the last manifest, because only the log shows that a later manifest was removed.
    """
    first = min(
        [
            *(found.name.removeprefix(MANIFESTS).removesuffix(".json") for found in manifests),
            *(name.removeprefix(ENTRIES).partition("/")[0] for name in digests),
        ],
        default=date.min.isoformat(),
    )
    last = deps.clock.now().date().isoformat()
    logged: dict[str, set[str]] = {}
    for each in deps.audit.logged(first, last):
        logged.setdefault(each.day, set()).add(each.digest)
    return logged


def _check_ends(ends: Mapping[str, _End], deps: Deps, result: Checked) -> None:
    """Compare the ends of the chains with the records, because the loss of a chain's last entries leaves no gap."""
    for row in deps.records.rows():
        if not row.audit:
            continue
        result.records += 1
        alias, number, digest = row.audit.split(" ")
        end = ends.get(alias, _End())
        if end.number < int(number):
            result.fault(f"record {row.user_key}", f"entries {end.number + 1} to {number} are missing")
        elif end.number == int(number) and end.digest != digest:
            result.fault(end.place, f"entry {number} was altered: the record of {row.user_key} has another digest")
