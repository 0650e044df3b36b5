"""The copying of the history to the audit (R18).

The record is the outbox, and each pass copies waiting lines to create-only objects.

All code that writes records uses `save`. A pass copies lines in order, with one create. A line about a call is copied
once the outcome of the call is known; an outcome that is missing after `LAPSES` counts as unknown. If another
process copied first, its object counts, and a later pass copies the remaining lines. A refused copy does not stop
a pass: the lines stay in the record, and a later pass tries again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta

from msgspec.structs import replace

from shared.domain.reconcile.mails import with_mails
from shared.domain.record.audit import (
    ENTRIES,
    CutCall,
    Entry,
    alias_of_cuts,
    chained,
    cut_entries,
    entries_in,
    name_of,
    sealed,
    without_known,
)
from shared.domain.record.kept_cuts import KeptCuts, call_ids, kept_from_json, kept_json, kept_name
from shared.domain.record.parts import AuditStatus
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import BenchkeeperError, ConflictError, InvalidMessageError
from shared.domain.things.history import CAUSES, CallState, StoryLine, folded, latest, once_copied
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.alerts import log_alerts

LAPSES = timedelta(minutes=10)  # longer than a function lives
BEHIND = timedelta(minutes=15)  # an alarm is made of what waits longer
_MIDNIGHT = timedelta(minutes=15)
_FIRST_RETRY, _LAST_RETRY = timedelta(minutes=1), timedelta(minutes=10)
_TRIES = 6


def save(record: UserRecord, expected: Stored | None, deps: Deps) -> Stored:
    """Write the record with the mails that are due, and return it as stored. Raise what `Records.save` raises.

    Lines that wait for the audit get the wanted state, and a record with such lines gets a pseudonym if it has none. Alerts
    about a change of an existing record are logged before the write.
    """
    record = with_mails_due(record, expected.record if expected is not None else None, deps)
    if expected is not None:
        log_alerts(expected.record, record, deps)
    return deps.records.save(sealed(record, secrets.token_hex(8)), expected=expected)


def with_mails_due(record: UserRecord, before: UserRecord | None, deps: Deps) -> UserRecord:
    """Return the record with the mails that are due now; unchanged while messages are switched off."""
    return with_mails(record, before, deps.policy, deps.clock.now()) if deps.base_policy.tells else record


def waits(record: UserRecord) -> bool:
    """Return True if a line of the history is not yet copied to the audit."""
    return any(line.waits for line in record.status.story)


def with_known(record: UserRecord, known: Mapping[str, StoryLine]) -> UserRecord:
    """Return the record with the outcomes in `known`, which maps ids of calls to lines.

    Use this after another process overwrote the record that had these outcomes.
    """
    story = record.status.story
    joined = tuple(known.get(line.call.id, line) if line.call is not None else line for line in story)
    return record if joined == story else record.with_status(story=joined)


def copy_out(record: UserRecord, saved: UserRecord, deps: Deps, now: datetime) -> UserRecord:
    """Copy waiting lines to the audit. Return the record in which the copied lines no longer wait.

    If some lines still wait, the record has a time for the next attempt. A refused copy is logged, not raised.
    `saved` is the record as it was last written. Nothing is copied before that version has the user's pseudonym, because a
    crash would otherwise leave entries that no record links to a user.
    """
    record = sealed(record, saved.status.audit.alias)
    waiting = tuple(line for line in record.status.story if line.waits)
    if not waiting:
        return record
    if not record.status.audit.alias:
        return _retried(record, now + _FIRST_RETRY)
    kept = _kept_addresses(deps)
    met = False
    lines = tuple(_settled(waiting, now))
    if lines:
        try:
            record, waiting, met = _copied(record, waiting, lines, kept, deps, now)
        except BenchkeeperError as error:
            _log_refusal(record, waiting, error, deps, now)
            record = _with_waiting(record, waiting)
            record = record.with_status(story=folded(record.status.story))
            return _retried(record, _next_try(waiting[0].at, now))
    record = _with_waiting(record, waiting)
    if not waiting:
        return record
    # What is left after another process's entries is not written before this record is: if that process saved the record, too, these
    # lines never get into it, and their object would take the number of a line of another day.
    return _retried(record, now + _FIRST_RETRY if met else max(waiting[0].at + LAPSES, now + _FIRST_RETRY))


def with_end_found(record: UserRecord, since: datetime, deps: Deps) -> UserRecord:
    """Return a restored record with the end of its chain read from the audit, because entries were written after the restored version.

    Return the same record if there are no such entries, or if the audit cannot be read. In the second case, the next copy
    finds the newer objects, or the check of the chain reports a fork.
    """
    alias, now = record.status.audit.alias, deps.clock.now()
    if not alias:
        return record
    newer: list[Entry] = []
    day, number = (since - _MIDNIGHT).date(), record.status.audit.audited + 1
    try:
        while day <= now.date():
            name = name_of(alias, number, day)
            content = deps.audit.get(name)
            if content is None:
                day += timedelta(days=1)
                continue
            newer += entries_in(content, name)
            number = newer[-1].number + 1
    except BenchkeeperError as error:
        deps.log.warning(
            "End of the audit chain could not be read",
            user=record.user_key,
            reason=error.reason.value,
            detail=error.detail,
        )
        return record
    if not newer:
        return record
    waiting = tuple(line for line in record.status.story if line.waits)
    left = without_known(waiting, newer, record, _kept_addresses(deps), now)
    return _with_waiting(_with_end(record, newer[-1].number, newer[-1].digest, newer[-1].place), left)


def note_cuts(cuts: Mapping[str, Iterable[CutCall]], because: str, deps: Deps) -> None:
    """Write audit entries of calls about users without a usable record.

    Each user and day has a separate chain, found by one listing.

    The keys of `cuts` are the users' keys, or the pseudonym of an erased user. Entries that the audit refuses are stored beside the
    records, and the hourly sweep writes them (`copy_kept_cuts`). If storing them fails, too, the entries are lost and
    only their number is logged, because the cut must not wait.
    """
    now = deps.clock.now()
    for key, calls in cuts.items():
        some = KeptCuts(key=key, because=because, at=now, calls=tuple(calls))
        if not some.calls:
            continue
        try:
            _note_cut(some, deps, now)
        except BenchkeeperError as error:
            _keep_cuts(some, error, deps)


def _keep_cuts(cuts: KeptCuts, why: BenchkeeperError, deps: Deps) -> None:
    facts = {"user": cuts.key, "entries": len(cuts.calls)}
    try:
        deps.audit.keep(kept_name(cuts), kept_json(cuts))
    except BenchkeeperError as error:
        deps.log.error("Audit entry was lost", reason=error.reason.value, detail=error.detail, **facts)
    else:
        deps.log.warning("Postponed audit entries", age_s=0, reason=why.reason.value, detail=why.detail, **facts)


def copy_kept_cuts(deps: Deps) -> None:
    """Write the entries of cuts that the audit refused earlier. Once the audit refuses again, all remaining cuts wait for the next sweep.

    Safe to repeat: existing entries are recognised, and the object is removed last.
    """
    now = deps.clock.now()
    try:
        for name, cuts in sorted(_readable(deps), key=lambda each: (each[1].at, not each[1].is_intent)):
            if not _is_noted(cuts, deps, now):
                _note_cut(cuts, deps, now)
            deps.audit.drop(name)
    except BenchkeeperError as error:
        deps.log.error("Audit fell behind", reason=error.reason.value, detail=error.detail)


def _readable(deps: Deps) -> Iterator[tuple[str, KeptCuts]]:
    """Yield the kept cuts with their objects' names. Unreadable cuts stay, and do not delay the others."""
    for name, content in deps.audit.kept():
        try:
            yield name, kept_from_json(content)
        except InvalidMessageError as error:
            deps.log.error("Audit fell behind", reason=error.reason.value, detail=error.detail)


def _is_noted(cuts: KeptCuts, deps: Deps, now: datetime) -> bool:
    """Return True if a chain of a day since the cut already has the entries.

    In that case, a process ended after it wrote the entries and before it removed the object.
    """
    ids, day = set(call_ids(cuts)), cuts.at.date()
    while day <= now.date():
        for found in deps.audit.listed(f"{ENTRIES}{day.isoformat()}/{alias_of_cuts(cuts.key, day)}-"):
            if _has_calls(deps.audit.get(found.name), found.name, ids):
                return True
        day += timedelta(days=1)
    return False


def _has_calls(content: bytes | None, name: str, ids: Collection[str]) -> bool:
    return content is not None and any(entry.call in ids for entry in entries_in(content, name))


def _note_cut(cuts: KeptCuts, deps: Deps, now: datetime) -> None:
    alias, ids = alias_of_cuts(cuts.key, now.date()), call_ids(cuts)
    end = AuditStatus(alias=alias)
    last = max((found.name for found in deps.audit.listed(f"{ENTRIES}{now.date().isoformat()}/{alias}-")), default="")
    there = deps.audit.get(last) if last else None
    for _ in range(_TRIES):
        if there is not None:
            if _has_calls(there, last, ids):
                return  # by another process, or by a call whose answer was lost
            entry = tuple(entries_in(there, last))[-1]
            end = AuditStatus(alias=alias, audited=entry.number, audit_digest=entry.digest, audit_object=last)
        named = zip(ids, cuts.calls, strict=True)
        chain = cut_entries(named, cuts.key, end, cuts.because, cuts.at)
        last = name_of(alias, end.audited + 1, now.date())
        there = deps.audit.put(last, chain.content)
        if there == chain.content:
            return
    raise ConflictError(
        user_message="The audit could not be written: several processes write to it.",
        detail=f"chain {alias} went on under {_TRIES} tries",
    )


def _settled(waiting: tuple[StoryLine, ...], now: datetime) -> Iterator[StoryLine]:
    """Yield the waiting lines before the first call that may still be under way.

    A call without an outcome after `LAPSES` is yielded with the outcome unknown.
    """
    for line in waiting:
        if not line.is_under_way or line.call is None:
            yield line
        elif line.at + LAPSES <= now:
            yield replace(line, call=replace(line.call, state=CallState.UNKNOWN))
        else:
            return


def _copied(
    record: UserRecord,
    waiting: tuple[StoryLine, ...],
    lines: tuple[StoryLine, ...],
    kept: frozenset[str],
    deps: Deps,
    now: datetime,
) -> tuple[UserRecord, tuple[StoryLine, ...], bool]:
    """Copy `lines`, the first of the waiting lines, by one create.

    Return (the record with the new end of the chain, the lines that still wait, True if another process had written that object).
    """
    chain, number = chained(lines, record, kept), record.status.audit.audited + 1
    alias = record.status.audit.alias
    for day in _earlier_days(waiting[0].at, now):
        name = name_of(alias, number, day)
        there = deps.audit.get(name)
        if there is not None:
            break
    else:
        name = name_of(alias, number, now.date())
        there = deps.audit.put(name, chain.content)
    if there == chain.content:
        return _with_end(record, chain.audited, chain.digest, name), waiting[len(lines) :], False
    known = tuple(entries_in(there, name))
    left = without_known(waiting, known, record, kept, now)
    return _with_end(record, known[-1].number, known[-1].digest, name), left, True


def _earlier_days(first: datetime, now: datetime) -> Iterator[date]:
    """Yield the days before today on which another process may have copied the line."""
    day = min(first, now - _MIDNIGHT).date()
    while day < now.date():
        yield day
        day += timedelta(days=1)


def _with_end(record: UserRecord, audited: int, digest: str, name: str) -> UserRecord:
    return record.with_status(audited=audited, audit_digest=digest, audit_object=name)


def _with_waiting(record: UserRecord, waiting: tuple[StoryLine, ...]) -> UserRecord:
    """Return the record in which only these lines wait. Repeated refusals and daily calls among the other lines are dropped."""
    left = set(map(id, waiting))
    story = tuple(
        line if id(line) in left or not line.waits else once_copied(line)
        for line in record.status.story
        if id(line) in left or not line.again
    )
    return record.with_status(story=_with_last_cause(latest(story)))


def _with_last_cause(story: tuple[StoryLine, ...]) -> tuple[StoryLine, ...]:
    """Return the history in which the last message or request keeps its author, for later calls.

    All other lines that do not wait lose their author.
    """
    last = next((line for line in reversed(story) if line.kind in CAUSES), None)
    return tuple(replace(line, by="") if line.by and not line.waits and line is not last else line for line in story)


def _next_try(first: datetime, now: datetime) -> datetime:
    """Return the time of the next try, at growing intervals.

    There is also a try at the time at which the oldest line's age raises an alert.
    """
    later = now + min(max(now - first, _FIRST_RETRY), _LAST_RETRY)
    return later if now >= first + BEHIND else min(later, max(first + BEHIND, now + _FIRST_RETRY))


def _retried(record: UserRecord, at: datetime) -> UserRecord:
    planned = record.status.next_attempt_at
    return record if planned is not None and planned <= at else record.with_status(next_attempt_at=at)


def _log_refusal(
    record: UserRecord, waiting: tuple[StoryLine, ...], error: BenchkeeperError, deps: Deps, now: datetime
) -> None:
    age = now - waiting[0].at
    tell = deps.log.error if age >= BEHIND else deps.log.warning
    message = "Audit fell behind" if age >= BEHIND else "Postponed audit entries"
    tell(
        message,
        user=record.user_key,
        entries=len(waiting),
        age_s=round(age.total_seconds()),
        reason=error.reason.value,
        detail=error.detail,
    )


def _kept_addresses(deps: Deps) -> frozenset[str]:
    """Return the addresses of groups, which entries may name."""
    policy = deps.policy
    data = {profile.data_group for profile in policy.catalog.profiles.values() if profile.data_group}
    return frozenset(address.lower() for address in policy.entitling_groups() | data)
