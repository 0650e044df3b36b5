"""The tables of evidence for an auditor: about one user or all users, from the records and the audit.

`gather` makes the tables; `as_of` gives the access of each user at the end of a past day.
The population is counted from the records. A page of a listing, a record or an audit object that cannot be read is an
error, because evidence with a gap would look complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from msgspec import Struct

from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.errors import DamagedRecordError, InvalidMessageError
from shared.domain.things.history import CAUSES, StoryKind, StoryLine
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import ListedRow
from shared.engine.views.audit import history_since
from shared.engine.views.certificate import certificate_of

Cell = str | int | float | bool | datetime | None
_AT_ONCE = 200
_SOON = timedelta(minutes=2)  # from news to the pass that acts on it

# The columns of each table.
TABLES: Mapping[str, tuple[str, ...]] = {
    "population": (
        "user_key", "user", "access", "profile", "cause", "group", "because", "since", "created_at", "on_hold",
    ),
    "facts": ("user_key", "fact", "says", "said_at", "from", "source", "claims_to_be_by", "event_id"),
    "decisions": ("user_key", "at", "kind", "text", "because", "by", "ref"),
    "changes": (
        "user_key", "at", "done_at", "activity", "text", "because", "state", "ref", "by", "event", "policy", "before", "after",
    ),
    "access": ("user_key", "from", "to", "profile", "cause", "group"),
    "snapshots": ("user_key", "name", "asked_at", "ready_at", "size_bytes", "lost"),
    "approvals": ("user_key", "kind", "about", "by", "at", "digest"),
    "certificates": ("user_key", "path", "covers", "result", "says", "cut_at", "verified_at"),
}  # fmt: skip


class Period(Struct, frozen=True, kw_only=True):
    """The days that evidence is about, in UTC: from the beginning of `first` to the end of `last`."""

    first: date
    last: date

    @property
    def begin(self) -> datetime:
        """The first moment."""
        return datetime.combine(self.first, time.min, UTC)

    @property
    def end(self) -> datetime:
        """The first moment after the period; the greatest possible time for a period without an end."""
        if self.last == date.max:
            return datetime.max.replace(tzinfo=UTC)
        return datetime.combine(self.last, time.min, UTC) + timedelta(days=1)

    def has(self, moment: datetime) -> bool:
        """Return True if the moment is in the period."""
        return self.begin <= moment < self.end


class Evidence(Struct, frozen=True, kw_only=True):
    """The tables by name, and the number of records that they are about."""

    tables: Mapping[str, Sequence[Sequence[Cell]]]
    records: int


class AccessThen(Struct, frozen=True, kw_only=True):
    """The access of a user at a past moment. `known` is False if no entry is that old: then `access` is unknown, not absent."""

    user_key: UserKey
    user: str
    known: bool
    access: bool
    profile: str
    cause: str
    group: str
    since: datetime | None
    why: str


def one_record(user_key: UserKey, deps: Deps) -> tuple[UserRecord, ...]:
    """Return the record of one user; empty if there is none."""
    stored = deps.records.load(user_key)
    return () if stored is None else (stored.record,)


def all_records(deps: Deps) -> Iterator[tuple[UserRecord, ...]]:
    """Yield all records, some at a time.

    Raise `DamagedRecordError` for a record that cannot be read, and `InvalidMessageError` if records disappear meanwhile.
    """
    keys: list[UserKey] = []
    for found in deps.records.listed():
        if not isinstance(found, ListedRow):
            raise DamagedRecordError(
                user_message=f"The record {found} cannot be read, so the evidence would not be complete. Restore it first: "
                f"benchkeeper repair {found}",
                detail=f"record {found} has no row",
                user_key=found,
            )
        keys.append(found.row.user_key)
    for begin in range(0, len(keys), _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        loaded = deps.workers.run([partial(deps.records.load, key) for key in some])
        missing = [key for key, stored in zip(some, loaded, strict=True) if stored is None]
        if missing:
            raise InvalidMessageError(
                user_message="Records changed while they were read. Ask for the evidence again.",
                detail=f"{len(missing)} records are gone",
            )
        yield tuple(stored.record for stored in loaded if stored is not None)


def gather(records: Iterable[Sequence[UserRecord]], period: Period, deps: Deps) -> Evidence:
    """Return the evidence about these users.

    The tables of decisions, changes and access are limited to the period. The other tables show the records as they are now.
    """
    tables: dict[str, list[Sequence[Cell]]] = {name: [] for name in TABLES}
    count = 0
    for some in records:
        stories = deps.workers.run([partial(history_since, record, deps, None) for record in some])
        for record, story in zip(some, stories, strict=True):
            count += 1
            _add(tables, record, story, period)
    return Evidence(tables=tables, records=count)


def _add(
    tables: Mapping[str, list[Sequence[Cell]]], record: UserRecord, story: Sequence[StoryLine], period: Period
) -> None:
    key, spec = record.user_key, record.spec
    has_access = spec.presence is Presence.PRESENT
    why = (spec.profile or "", spec.cause.value, spec.entitled_by, spec.because)
    since = None if has_access else spec.absent_since
    tables["population"].append(
        (key, record.email, has_access, *why, since, record.created_at, record.hold is not None)
    )
    for name, timeline in sorted(record.facts.timelines.items()):
        for said in timeline:
            stated = (key, name, str(said.value), said.occurred_at, said.effective_at)
            tables["facts"].append((*stated, said.source, said.says, said.event_id))
    for line in story:
        if period.has(line.at):
            _add_line(tables, key, line)
    tables["access"] += [(key, *row) for row in _access_times(story, period)]
    for snapshot in record.status.data.snapshots:
        times = (snapshot.asked_at, snapshot.ready_at)
        tables["snapshots"].append((key, snapshot.name, *times, snapshot.size_bytes, snapshot.lost))
    tables["approvals"] += [(key, *row) for row in _approvals(record)]
    found = certificate_of(record)
    for row in found.paths if found is not None else ():
        said_of = (row.path, row.covers, row.result, row.says)
        tables["certificates"].append((key, *said_of, row.cut_at, row.verified_at))


def _add_line(tables: Mapping[str, list[Sequence[Cell]]], key: UserKey, line: StoryLine) -> None:
    call = line.call
    if line.kind is not StoryKind.CALL or call is None:
        tables["decisions"].append((key, line.at, line.kind.value, line.words, line.because, line.by, line.ref))
        return
    told = (line.words, line.because, call.state.value, line.ref, line.by, call.event, call.policy)
    states = (_state(call.before), _state(line.after))
    tables["changes"].append((key, line.at, call.done_at, call.activity, *told, *states))


def _state(state: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in sorted(state.items()))


def _access_times(story: Sequence[StoryLine], period: Period) -> Iterator[tuple[Cell, ...]]:
    """Yield the intervals of unchanged access that overlap the period: begin, end (None: not ended), profile, cause, group."""
    began: datetime | None = None
    now: tuple[str, ...] | None = None
    for line in story:
        if not line.after:
            continue
        after = line.after
        then = (
            (after.get("profile", ""), after.get("cause", ""), after.get("group", ""))
            if after.get("presence") == Presence.PRESENT.value
            else None
        )
        if then == now:
            continue
        if now is not None and began is not None and line.at > period.begin and began < period.end:
            yield began, line.at, *now
        began, now = line.at, then
    if now is not None and began is not None and began < period.end:
        yield began, None, *now


def _approvals(record: UserRecord) -> Iterator[tuple[Cell, ...]]:
    guard = record.status.guard
    if guard.clearance is not None:
        yield "cleared", guard.clearance.ref, guard.clearance.by, guard.clearance.until, ""
    for kept in guard.kept_in:
        yield "kept in", kept.ref, kept.by, kept.at, kept.digest
    for rejected in record.rejected:
        yield "rejected", rejected.ref, rejected.by, rejected.at, rejected.digest
    if record.hold is not None:
        yield "hold", record.hold.reason, "", record.hold.since, ""


def as_of(day: date, records: Iterable[Sequence[UserRecord]], deps: Deps) -> Iterator[AccessThen]:
    """Yield each user's access at the end of a day (UTC), by the audit's entries.

    All users whose record existed then are included.
    """
    end = Period(first=day, last=day).end
    for some in records:
        old = [record for record in some if record.created_at < end]
        stories = deps.workers.run([partial(history_since, record, deps, None) for record in old])
        for record, story in zip(old, stories, strict=True):
            yield _then(record, story, end)


def _then(record: UserRecord, story: Sequence[StoryLine], end: datetime) -> AccessThen:
    told = [line for line in story if line.at < end]
    last = next((line for line in reversed(told) if line.after), None)
    after = last.after if last is not None else {}
    has_access = after.get("presence") == Presence.PRESENT.value
    same = _same_access(after)
    begin = len(told)
    while begin and (not told[begin - 1].after or _same_access(told[begin - 1].after) == same):
        begin -= 1
    since = next((line.at for line in told[begin:] if line.after), None)
    return AccessThen(
        user_key=record.user_key,
        user=record.email,
        known=last is not None,
        access=has_access,
        profile=after.get("profile", "") if has_access else "",
        cause=after.get("cause", ""),
        group=after.get("group", "") if has_access else "",
        since=since,
        why=_why(told, begin),
    )


def _why(told: Sequence[StoryLine], begin: int) -> str:
    """Return the reason for the access since the line at `begin`: the news that caused the change, else the first decision or news after it.

    The history has the news before its effects, and later lines name the news by its id: an announced leave takes
    effect days later.
    """
    since = told[begin:]
    first = next((line for line in since if line.after), None)
    if first is None:
        return ""
    event = next((line.call.event for line in since if line.call is not None and line.call.event), "")
    causes = [line for line in (*told[:begin], first) if line.kind in CAUSES]
    named = [line for line in causes if event and line.ref == event]
    at_once = [line for line in causes[-1:] if line.at + _SOON >= first.at]
    said = [line for line in since if line.kind is StoryKind.DECISION or line.kind in CAUSES]
    found = next(iter([*named[-1:], *at_once, *said]), None)
    return f"{found.words}. {found.because}".strip() if found is not None else ""


def _same_access(after: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(after.get(name, "") for name in ("presence", "profile", "cause", "group"))
