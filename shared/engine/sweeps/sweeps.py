"""The scheduled sweeps `idle`, every ten minutes, and `drift`, hourly; and `sweep`, which runs a sweep of any kind.

The `tick` function and the command line call `sweep`. Each sweep decides by pure functions, isolates each user's failure,
begins no pass after its deadline and logs one summary. Users whom a sweep did not reach in time are left to the next sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import assert_never

from shared.domain.fleet.drift import (
    Census,
    Comparisons,
    Count,
    Listed,
    LongestWaits,
    StrayCheck,
    why_left,
    why_pass,
    why_waits,
)
from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.idle import Stop
from shared.domain.fleet.seen import Instances
from shared.domain.policy.policy_change import Outcome
from shared.domain.record.record import RecordRow
from shared.domain.record.status import Notice
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.domain.things.snapshots import SnapshotSeen
from shared.domain.things.sweep import Sweep
from shared.engine.decisions.decisions import clear_losers
from shared.engine.decisions.policy_change import keep_policy
from shared.engine.decisions.waves import instances_now, keep_waves
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import ListedRow
from shared.engine.reconcile.audit import copy_kept_cuts
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import load_mended
from shared.engine.reconcile.seats import SeatKeeper
from shared.engine.sweeps.copies import Copies, take_copy
from shared.engine.sweeps.due import sweep_due
from shared.engine.sweeps.fleet import FleetKeeper, keep_costs, keep_use, notes_before
from shared.engine.sweeps.hours import hours_of, may_start, start_ahead, with_started
from shared.engine.sweeps.idle import Use, act_on, held_back, is_blind, verdict_text, verdict_word
from shared.engine.sweeps.idle_look import (
    Judged,
    Machine,
    due,
    for_blindness,
    is_news,
    judge,
    reports_of,
    running_machines,
)
from shared.engine.sweeps.lifetimes import Over, keep_lifetimes
from shared.engine.sweeps.manifests import keep_manifests
from shared.engine.sweeps.roster import sweep_roster
from shared.engine.sweeps.session_templates import sync_sessions
from shared.engine.sweeps.sweeping import ClockWatch, Summary, finish, for_each
from shared.engine.sweeps.waiting import keep_waiting

MOST_LOST = 500  # records that one drift sweep tries to restore; the rest follow in the next one


def sweep_drift(deps: Deps, *, dry_run: bool = False, proposes: bool = True) -> Summary:
    """Compare all records with all instances and template objects, by listings; reconcile those that differ, and count the rest.

    With `proposes`, first propose the process's own files if they are not in force, as a deployed function does. The sweep
    also stores the lists for the pages and does the hourly upkeep of seats, audit, session templates, waiting entries and
    lifetimes. With `dry_run`, nothing is changed.
    """
    summary = Summary(kind=Sweep.DRIFT, began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    if proposes and not dry_run:
        _try_keep_policy(deps)
    # Snapshots and instances are listed before records, because a record names both before they exist. So a resource that no record
    # names is an orphan. Only these lists are kept in memory; records and templates come in the order of the key and are streamed.
    snapshots = _snapshots(deps)
    instances, unreachable = instances_now(deps)
    if proposes and not dry_run:
        keep_waves(deps, instances, unreachable, now)
    look = _Look(
        deps=deps,
        now=now,
        instances=instances,
        unreachable=unreachable,
        saved=None if snapshots is None else frozenset(snapshot.name for snapshot in snapshots),
        strays=StrayCheck(instances.labelled(), snapshots or ()),
        keeper=None if dry_run else FleetKeeper(deps, now, counts=True),
        seats=SeatKeeper(deps),
    )
    look.over_all(summary)
    summary.unreachable = tuple(sorted(unreachable))
    summary.strays = look.strays.strays()
    lost = look.strays.without_record(look.rowless)
    if lost:
        summary.found["a record may be damaged or gone"] = len(lost)
    if look.keeper is not None:
        for_each([key for key, _ in summary.decisions], lambda key: _acted(key, deps), summary, deps)
        for_each(lost[:MOST_LOST], lambda key: _found_again(key, deps), summary, deps)
        for stray in summary.strays:  # orphans are reported one by one, never deleted automatically
            deps.log.warning("Found an orphan", instance=stray.name, zone=stray.zone, because=stray.why)
        _log_counts(look.census.counts(deps.policy), deps)
        look.seats.keep(now, look.rowless)
        look.keeper.keep(strays=tuple(summary.strays))
        keep_costs(deps, now)
    if not dry_run:
        copy_kept_cuts(deps)
        keep_manifests(deps)
    summary.sessions = sync_sessions(deps, dry_run=dry_run)
    summary.measures |= _waits(look.waits)
    summary.measures |= keep_waiting(deps, now, rows=look.cuts, dry_run=dry_run)
    summary.measures |= keep_lifetimes(deps, look.over, dry_run=dry_run)
    return finish(summary, deps)


class _Look:
    """The drift sweep's single pass over records and templates. It keeps counts, and the rows that need an action."""

    def __init__(
        self,
        *,
        deps: Deps,
        now: datetime,
        instances: Instances,
        unreachable: frozenset[str],
        saved: frozenset[str] | None,
        strays: StrayCheck,
        keeper: FleetKeeper | None,
        seats: SeatKeeper,
    ) -> None:
        self.strays, self.keeper, self.seats = strays, keeper, seats
        self.rowless: list[UserKey] = []
        self.cuts: list[RecordRow] = []
        self.census = Census()
        self.waits = LongestWaits(now)
        self.over = Over(deps.policy.personal_data, now)
        self._deps, self._now, self._policy = deps, now, deps.policy
        self._instances, self._unreachable, self._saved = instances, unreachable, saved
        self._entitling, self._comparisons = self._policy.entitling_digest(), Comparisons()
        self._prices = self._policy.catalog.price_digest()

    def over_all(self, summary: Summary) -> None:
        """Fetch the pages of both listings as needed, and judge each row."""
        templates = by_user(self._deps.templates.rows())
        for found in self._deps.records.listed():
            if isinstance(found, ListedRow):
                summary.looked_at += 1
                if self.keeper is not None:
                    self.keeper.add(found)
                self._take(found.row, templates(found.row.user_key), summary)
            else:
                self.rowless.append(found)

    def _take(self, row: RecordRow, templates: Mapping[str, str], summary: Summary) -> None:
        seen = self._instances.get((row.zone or "", row.instance_id or ""))  # by name: labels may have been removed
        self.strays.add(row)
        self.census.add(row, seen, self._unreachable)
        self.waits.add(row)
        self.over.add(row)
        self.seats.add(row)
        if Notice.CUT_WAITS in row.notices:
            self.cuts.append(row)
        listed = Listed(
            notebook=seen,
            templates=templates,
            unreachable=self._unreachable,
            snapshots=self._saved,
            entitling=self._entitling,
            prices=self._prices,
            comparisons=self._comparisons,
        )
        why = why_pass(row, listed, self._policy, self._now)
        if why is not None:
            summary.decisions.append((row.user_key, why))
            summary.found[why] += 1
        elif (waits := why_waits(row, listed, self._policy)) is not None:
            summary.found[waits] += 1
        elif (left := why_left(row, listed, self._policy)) is not None:
            summary.found[left] += 1


def by_user(rows: Iterable[tuple[UserKey, str, str]]) -> Callable[[UserKey], Mapping[str, str]]:
    """Return a function that gives a user's templates, name to digest. Users must be requested in the order of their objects' names.

    `records/<key>.json` and `templates/<key>/...` have the same order, because both `.` and `/` come after `-` and before all other
    characters of a key.
    """
    stream = iter(rows)
    ahead = next(stream, None)

    def of(user_key: UserKey) -> Mapping[str, str]:
        nonlocal ahead
        found: dict[str, str] = {}
        while ahead is not None and f"{ahead[0]}/" <= f"{user_key}/":
            if ahead[0] == user_key:
                found[ahead[1]] = ahead[2]
            ahead = next(stream, None)
        return found

    return of


def _try_keep_policy(deps: Deps) -> None:
    """Propose the deployed files. If that fails, the sweep continues with the policy in force, and the next sweep tries again."""
    try:
        proposed = keep_policy(deps)
        if proposed.outcome is Outcome.PUT and proposed.proposal is not None:
            clear_losers(proposed.proposal.impact, proposed.digest, deps)
    except BenchkeeperError as error:
        deps.log.error("Policy could not be proposed", reason=error.reason.value, detail=error.detail)


def _found_again(key: UserKey, deps: Deps) -> bool:
    """Restore this key's damaged or deleted record, then make a pass. Return False for a pointer, whose record is listed itself."""
    stored = load_mended(key, deps, if_missing=True)
    if stored is None or stored.record.user_key != key:
        return False
    return _acted(key, deps)


def _snapshots(deps: Deps) -> list[SnapshotSeen] | None:
    """Return all snapshots with our labels; None if they could not be listed, which stops nothing else."""
    try:
        return list(deps.snapshots.rows())
    except BenchkeeperError as error:
        deps.log.warning("Snapshots could not be listed", reason=error.reason.value, detail=error.detail)
        return None


def _log_counts(counts: Iterable[Count], deps: Deps) -> None:
    """Log one line for each profile and state, for the metrics with these labels."""
    for each in counts:
        cost = {} if each.hourly_cost is None else {"hourly_cost": each.hourly_cost}
        deps.log.info("Counted environments", profile=each.profile, state=each.state, count=each.count, **cost)


def _waits(waits: LongestWaits) -> dict[str, float]:
    return {
        "longest_wait_s": round(waits.ready.total_seconds(), 1),
        "longest_stop_s": round(waits.stopped.total_seconds(), 1),
    }


def _acted(key: UserKey, deps: Deps) -> bool:
    result = reconcile(key, deps, thorough=True)
    return result is not None and bool(result.plan.actions)


def sweep_idle(deps: Deps, *, dry_run: bool = False) -> Summary:
    """Warn of and stop unused instances, and take the copies of files that are due. With `dry_run`, only judge.

    Raise an error, before anything is stopped or copied, if no evidence could be read at all. Running instances whose
    address changed, or whose JupyterLab does not answer, get a pass, too. Notebooks of users who are expected soon are
    started in advance.
    """
    summary = Summary(kind=Sweep.IDLE, began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    keeper = None if dry_run else FleetKeeper(deps, now)
    notes = notes_before(deps, now)
    use = Use(notes or Notes(taken_at=now), hours_of(deps))
    rows = _IdleRows(use, keeper, deps, now)
    running = running_machines(rows.over_all(), deps)
    looked = due(running, use.before, deps, now)
    use.leave_alone({machine.user_key for machine in running} - {machine.user_key for machine in looked})
    blind = set() if keeper is None else set(use.left_alone & keeper.blind_before)
    to_act: dict[UserKey, Judged] = {}
    unread: set[str] = set()
    reports = reports_of(use.before, deps, now)
    for item in judge(looked, use.before, reports, deps, now):
        key, word = item.machine.user_key, verdict_word(item.verdict)
        summary.looked_at += 1
        summary.found["BLIND" if is_blind(item.verdict) else word] += 1
        if word != "KEEP":
            summary.decisions.append((key, f"{word} {verdict_text(item.verdict)}"))
            to_act[key] = item
        if for_blindness(item.verdict):
            blind.add(key)
        use.add(item, now)
        unread.update(item.unread)
    # A notebook that is stopped now is copied at rest, by the next sweep.
    stopping = {key for key, item in to_act.items() if verdict_word(item.verdict) == "STOP"}
    due_copies = rows.copies.due(len(running), leave_out=stopping)
    summary.decisions += [(key, "save a copy of the files") for key in due_copies]
    if keeper is not None:
        for key in _carry_out(to_act, running, summary, deps, now):
            keeper.idle.add_stop(reports.kernels(key))
        news = [m.user_key for m in running if m.user_key not in to_act and is_news(m, now)]
        for_each(news, lambda key: _acted(key, deps), summary, deps)
        for_each(due_copies, lambda key: take_copy(key, deps), summary, deps)
        keeper.keep(blind=frozenset(blind))
        reports.top_up(running)
        if notes is not None:
            seen = use.notes(reports.kept())
            keep_use(deps, now, with_started(seen, start_ahead(rows.resting, seen, summary, deps, now)))
    if due_copies:
        summary.found["copies of files to be taken"] = len(due_copies)
    unread.update(f"reports of {count} machines: {reason}" for reason, count in reports.unread.items())
    summary.unread = tuple(sorted(unread))
    summary.measures = {"blind": len(blind), "running": len(running), **_waits(rows.waits)}
    return finish(summary, deps)


class _IdleRows:
    """The idle sweep's single pass over the rows.

    It collects waiting times, due copies, and notebooks that may be started in advance.
    """

    def __init__(self, use: Use, keeper: FleetKeeper | None, deps: Deps, now: datetime) -> None:
        self.waits, self.copies = LongestWaits(now), Copies(deps.policy, now)
        self.resting: list[tuple[UserKey, str]] = []
        self._use, self._keeper, self._deps, self._hours = use, keeper, deps, hours_of(deps)

    def over_all(self) -> Iterator[RecordRow]:
        """Yield all rows, each once."""
        for found in self._deps.records.listed():
            if isinstance(found, ListedRow):
                row = found.row
                self.waits.add(row)
                self.copies.add(row)
                self._use.know(row)
                if may_start(row, self._hours):
                    self.resting.append((row.user_key, row.profile or ""))
                if self._keeper is not None:
                    self._keeper.add(found)
                yield row


def _carry_out(
    to_act: Mapping[UserKey, Judged], running: Sequence[Machine], summary: Summary, deps: Deps, now: datetime
) -> list[UserKey]:
    """Carry out the verdicts except those that the guard holds back. Return the users whose notebook was stopped."""
    held = held_back(to_act, running, deps, now)
    if held:
        summary.found["held back by the guard"] = len(held)
    stopped: list[UserKey] = []

    def act(key: UserKey) -> bool:
        acted = act_on(to_act[key], deps)
        if acted and isinstance(to_act[key].verdict, Stop):
            stopped.append(key)
        return acted

    for_each([key for key in to_act if key not in held], act, summary, deps)
    return stopped


def sweep(
    kind: Sweep, deps: Deps, *, dry_run: bool = False, proposes: bool = True, asked_at: datetime | None = None
) -> Summary:
    """Run a sweep of that kind and return its summary; `proposes` as for `sweep_drift`, `asked_at` as for `sweep_roster`."""
    match kind:
        case Sweep.DUE:
            return sweep_due(deps, dry_run=dry_run)
        case Sweep.IDLE:
            return sweep_idle(deps, dry_run=dry_run)
        case Sweep.DRIFT:
            return sweep_drift(deps, dry_run=dry_run, proposes=proposes)
        case Sweep.ROSTER:
            return sweep_roster(deps, dry_run=dry_run, asked_at=asked_at)
        case _:
            assert_never(kind)
