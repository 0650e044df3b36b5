"""The roster sweep.

Each hour this sweep compares the lists of all people with the records, and states facts for which no message came.

Only differences are stated, as events that `deliver_all` handles like the news of every message, so the guard against mass
changes sees each of them. A wrong roster must not cut any user. `shared.domain.fleet.roster` decides when a reading is
refused as a whole. Absence counts only for people whom the same roster has listed before, and each cut is confirmed by a
second read. A cut is dated to the start of the read, so that news which came during the read is newer. The state is written
last, so that after a crash the next reading finds the same differences.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.fleet.roster import (
    Difference,
    Reading,
    Refusal,
    RosterKind,
    RosterOutcome,
    RosterState,
    accepted,
    differences,
    refusal,
)
from shared.domain.people.events import GroupChanged, LifecycleEvent
from shared.domain.things.errors import BenchkeeperError, ConflictError
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.domain.things.sweep import Sweep
from shared.engine.news.deliver import deliver_all
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import ListedRow
from shared.engine.ports.roster import ReportRow, RosterRefusedError, RosterReport, RosterSource, StoredRoster
from shared.engine.reconcile.guard import sizes_now
from shared.engine.sweeps.roster_news import Found, confirmed
from shared.engine.sweeps.sweeping import ClockWatch, Summary, finish, for_each

_MOST_ROWS = 5_000  # of a report; the rest are counted
_FEW = (
    50  # people whose passes the sweep makes itself; of more, first everything is stated, and the tick makes the passes
)


class _Run(Struct):
    """The state of comparing one roster with the records.

    `stored` is the state before this reading. `keys` maps the address of each user with a record to the key. `found` has the confirmed
    differences, `failed` the users whose comparison failed.
    """

    reading: Reading
    stored: StoredRoster
    keys: dict[UserEmail, UserKey] = field(default_factory=dict)
    found: dict[UserKey, Found] = field(default_factory=dict)
    failed: set[UserKey] = field(default_factory=set)

    def cuts(self) -> int:
        """Return the number of people who would lose access or a group."""
        return sum(1 for each in self.found.values() if each.cuts)

    def undone(self) -> set[UserKey]:
        """Return the keys of the people whom the next reading must examine again."""
        kept = {RosterOutcome.STILL_THERE, RosterOutcome.FAILED}
        return self.failed | {key for key, each in self.found.items() if each.outcome in kept}


def sweep_roster(deps: Deps, *, dry_run: bool = False, asked_at: datetime | None = None) -> Summary:
    """Read each roster, state the differences, and store the report for the pages. Without a roster in the settings, do nothing.

    With `dry_run`, nothing is stated or stored. A roster that cannot be read or is refused is reported, and the other one
    is still read. A roster whose last read began after `asked_at` is not read again: hundreds of groups that change at once
    need one reading.
    """
    summary = Summary(kind=Sweep.ROSTER, began_s=deps.clock.monotonic_s(), clock=ClockWatch.begin(deps.clock))
    lost = 0
    for source in deps.roster_sources:
        now = deps.clock.now()
        if asked_at is not None and _was_read_since(asked_at, source.kind, deps):
            summary.found[f"{source.kind.value}: read since"] += 1
            continue
        try:
            report = _compared(source, now, summary, deps, dry_run=dry_run)
        except RosterRefusedError as error:
            report = _refused(source.kind, now, error.refusal, error.detail, deps, faults=error.faults)
        except BenchkeeperError as error:
            report = _refused(source.kind, now, Refusal.UNREADABLE, error.detail, deps, faults=(error.user_message,))
        if report is None:
            continue
        summary.found.update({f"{source.kind.value}: {word}": number for word, number in report.found.items()})
        lost += report.found.get(RosterOutcome.STATED.value, 0)
        if report.refusal:
            summary.found[f"{source.kind.value}: refused, {report.refusal}"] += 1
        if not dry_run:
            _keep(source.kind, report, deps)
    summary.measures = {"lost_news": lost}
    return finish(summary, deps)


def _was_read_since(asked_at: datetime, kind: RosterKind, deps: Deps) -> bool:
    try:
        report = deps.rosters.report(kind)
    except BenchkeeperError:
        return False
    return report is not None and report.read_at > asked_at


def _keep(kind: RosterKind, report: RosterReport, deps: Deps) -> None:
    facts = {"roster": kind.value, "people": report.people, "found": dict(report.found)}
    if report.refusal:
        deps.log.error("Refused a roster", reason=report.refusal, detail=report.detail, **facts)
    else:
        deps.log.info("Compared a roster", **facts)
    try:
        deps.rosters.write_report(kind, report)
    except BenchkeeperError as error:
        deps.log.warning(
            "Data for the pages was not saved", what="roster", reason=error.reason.value, detail=error.detail
        )


def _compared(
    source: RosterSource, now: datetime, summary: Summary, deps: Deps, *, dry_run: bool
) -> RosterReport | None:
    kind = source.kind
    stored = deps.rosters.load(kind)  # first: an unreadable state refuses before anything else is read
    reading = source.read(frozenset(each.group for each in deps.policy.catalog.assignments), now)
    if reading is None:
        if stored.state.as_of is None:
            return None
        detail = f"there is no file; the last one was of {stored.state.as_of.isoformat()}"
        return _refused(kind, now, Refusal.STALE, detail, deps)
    allowed = deps.rosters.allowed(kind)
    why = refusal(reading, stored.state, now, allowed)
    if why is not None:
        return _refused(kind, now, why, _detail(why, reading, stored, now), deps, reading=reading, stored=stored)
    run = _Run(reading=reading, stored=stored)
    _confirm_all(run, summary, deps)
    room = deps.policy.guard.per_hour_of(sizes_now(deps).everybody)
    is_allowed = allowed is not None and allowed.covers(reading, now)
    if kind is RosterKind.EMPLOYEES and run.cuts() > room and not is_allowed:
        detail = f"{run.cuts()} people would lose access; at most {room} may in an hour"
        return _refused(kind, now, Refusal.MANY_GONE, detail, deps, reading=reading, run=run, stored=stored)
    if not dry_run:
        _state_all(run, source, summary, deps)
        try:
            after = accepted(reading, stored.state, now, run.undone(), run.keys)
            deps.rosters.save(kind, after, expected=stored)
        except ConflictError as error:
            deps.log.info("Another process compared the roster meanwhile", roster=kind.value, detail=error.detail)
    return _report(run, now)


def _confirm_all(run: _Run, summary: Summary, deps: Deps) -> None:
    """Read the records of all people who may differ, and keep the differences that the records confirm."""
    rows = (found.row for found in deps.records.listed() if isinstance(found, ListedRow))
    candidates: dict[UserKey, Difference] = {}
    for each in differences(run.reading, run.stored.state, rows, deps.policy.catalog, run.keys):
        candidates[each.user_key if each.user_key is not None else user_key_for(each.email)] = each
    summary.looked_at += len(run.keys)

    def confirm(key: UserKey) -> bool:
        run.failed.add(key)  # until it is known
        found = confirmed(key, candidates[key], run.reading, run.stored.state, deps)
        run.failed.discard(key)
        if found is not None:
            run.found[found.key] = found
        return False

    for_each(candidates, confirm, summary, deps)


def _state_all(run: _Run, source: RosterSource, summary: Summary, deps: Deps) -> None:
    """State the confirmed differences, each person's events together. A cut is confirmed by a second read first."""
    to_state = [key for key, each in run.found.items() if each.events]

    def state(key: UserKey) -> bool:
        found = run.found[key]
        found.outcome = RosterOutcome.FAILED  # until it is stated
        if not all(_is_confirmed(event, source, run.reading) for event in found.cuts):
            found.outcome = RosterOutcome.STILL_THERE
            return False
        delivered = deliver_all(found.events, deps, passes_now=len(to_state) <= _FEW)
        for _, error in delivered.refused:
            deps.log.warning("News of a roster was refused", user=key, reason=error.reason.value, detail=error.detail)
        if delivered.refused:
            return False
        found.outcome = RosterOutcome.STATED
        for user in delivered.users[:1]:  # a user without a record has one now, and is remembered as listed
            run.keys.setdefault(found.events[0].user, user)
        return True

    for key in to_state:
        run.found[key].outcome = RosterOutcome.FAILED  # of whom the deadline leaves over
    for_each(to_state, state, summary, deps)


def _is_confirmed(event: LifecycleEvent, source: RosterSource, reading: Reading) -> bool:
    group = event.group if isinstance(event, GroupChanged) else ""
    return source.is_absent(event.user, group, reading)


def _report(run: _Run, now: datetime) -> RosterReport:
    found: Counter[str] = Counter(each.outcome.value for each in run.found.values())
    if run.failed:
        found[RosterOutcome.FAILED.value] += len(run.failed)
    rows = [
        ReportRow(user_key=each.key, stated=each.stated, outcome=each.outcome.value)
        for each in sorted(run.found.values(), key=lambda each: each.key)
    ]
    state = run.stored.state
    return RosterReport(
        kind=run.reading.kind.value,
        read_at=now,
        people=len(run.reading.people),
        others=run.reading.others,
        smallest=state.smallest(now),
        accepted_at=run.reading.as_of,
        is_first=state.as_of is None,
        found=dict(found),
        rows=tuple(rows[:_MOST_ROWS]),
    )


def _refused(
    kind: RosterKind,
    now: datetime,
    why: Refusal,
    detail: str,
    deps: Deps,
    *,
    faults: tuple[str, ...] = (),
    reading: Reading | None = None,
    run: _Run | None = None,
    stored: StoredRoster | None = None,
) -> RosterReport:
    """Return the report of a reading that is not used. The last accepted roster stays in use."""
    try:
        state = (stored or deps.rosters.load(kind)).state
    except BenchkeeperError:
        state = RosterState()
    report = RosterReport(
        kind=kind.value,
        read_at=now,
        people=len(reading.people) if reading is not None else 0,
        others=reading.others if reading is not None else 0,
        smallest=state.smallest(now),
        refusal=why.value,
        detail=detail,
        faults=faults,
        accepted_at=state.as_of,
    )
    if run is None:
        return report
    would = _report(run, now)
    return replace(report, found=would.found, rows=would.rows)


def _detail(why: Refusal, reading: Reading, stored: StoredRoster, now: datetime) -> str:
    match why:
        case Refusal.SHRUNK:
            return f"{len(reading.people)} people; at least {stored.state.smallest(now)} were expected"
        case Refusal.OLDER | Refusal.STALE:
            return f"of {reading.as_of.isoformat()}"
        case _:
            return "the list is empty"
