"""The scheduled passes: `due` each minute, `idle` each ten, `drift` hourly.

Each lists once, judges purely, isolates every user's failure, stops before its deadline and says what it did in one summary.
What a stopped sweep did not reach is still due and comes first next time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, field

from shared.domain.drift import (
    Census,
    Count,
    Listed,
    LongestWaits,
    Stray,
    StrayCheck,
    why_left,
    why_pass,
    why_waits,
)
from shared.domain.errors import BenchkeeperError, Reason
from shared.domain.identity import UserKey
from shared.domain.keeping import SnapshotSeen
from shared.domain.policy_change import Outcome
from shared.domain.record import Notice, RecordRow
from shared.domain.seen import Instances
from shared.engine.clock_check import ClockWatch
from shared.engine.decisions import clear_losers, try_take_up_decisions
from shared.engine.fleet_keeping import FleetKeeper, keep_costs, keep_idle_stops
from shared.engine.idle_guard import held_back
from shared.engine.idle_sweep import Judged, act_on, for_blindness, is_blind, judge_all, verdict_text, verdict_word
from shared.engine.lifetimes import Over, keep_lifetimes
from shared.engine.policy_change import keep_policy
from shared.engine.ports import Deps, DueHint, InboxFolders
from shared.engine.reconciler import reconcile
from shared.engine.repair import load_mended
from shared.engine.session_sync import SessionsSynced, sync_sessions
from shared.engine.waiting import keep_waiting
from shared.engine.waves import instances_now, keep_waves
from shared.engine.wishes import try_take_up

_CLOCK_JUMPED = "left out: the clock jumped"
MOST_LOST = 500  # records that one drift sweep tries to put back; the rest comes with the next one
DEADLINE = timedelta(seconds=420)  # an event function lives 540 s


class Summary(Struct):
    """What a sweep did. `acted` = users whose plan had actions; `failed` = users whose pass raised, by reason.

    `measures` are numbers for the dashboard that the sweep saw anyway; which ones depends on its kind. `sessions` is what a
    drift sweep did about session templates. `clock` watches the clock while the sweep acts. `began_s` is on the monotonic clock: the deadline counts from it, reading included.
    """

    kind: str
    began_s: float
    looked_at: int = 0
    acted: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    left_over: int = 0
    unreachable: tuple[str, ...] = ()
    strays: list[Stray] = field(default_factory=list)
    decisions: list[tuple[UserKey, str]] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    sessions: SessionsSynced | None = None
    clock: ClockWatch | None = None

    def as_facts(self) -> dict[str, object]:
        """For the one log line."""
        return {
            "kind": self.kind,
            "looked_at": self.looked_at,
            "acted": self.acted,
            "failed": dict(self.failed),
            "found": dict(self.found),
            "left_over": self.left_over,
            "unreachable": list(self.unreachable),
            "strays": [f"{s.zone}/{s.name}: {s.why}" for s in self.strays[:20]],
            "strays_total": len(self.strays),
            **({"sessions": self.sessions.as_facts()} if self.sessions is not None else {}),
            **self.measures,
        }


def sweep_due(deps: Deps, *, dry_run: bool = False) -> Summary:
    """Reconcile the users whose time has come, and take up the page's wishes whose wake-up was lost.

    A quiet tick is two listing calls, whatever the number of users.
    """
    summary = Summary(kind="due", began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    hints: dict[UserKey, list[DueHint]] = {}
    for hint in deps.records.due(now):
        hints.setdefault(hint.user_key, []).append(hint)
    folders = _folders(deps)
    wishing = frozenset(folders.people)
    keys = list(dict.fromkeys([*hints, *sorted(wishing)]))
    summary.looked_at = len(keys)
    if dry_run:
        summary.decisions = [
            (key, "its time has come" if key in hints else "a wish waits to be taken up") for key in keys
        ]
        return summary

    # What cannot be read, and what the deadline leaves over, counts from its hint.
    due_since: dict[UserKey, datetime] = {key: max(hint.at for hint in found) for key, found in hints.items()}
    due_since |= {key: now for key in keys if key not in hints}

    def one(key: UserKey) -> bool:
        accepted = try_take_up(key, deps) if key in wishing else None
        stays_due: datetime | None = None
        # A hint says that there was a record.
        stored = accepted.stored if accepted is not None else load_mended(key, deps, if_missing=True)
        is_new = accepted is not None and accepted.changed
        if stored is None or not (is_new or stored.record.is_due(now)):
            del due_since[key]  # a stale hint
            acted = False
        else:
            due_since[key] = min(stored.record.status.next_attempt_at or now, now)
            result = reconcile(key, deps, stored=stored)
            acted = result is not None and bool(result.plan.actions)
            stays_due = result.requeue_at if result is not None else None
        for hint in hints.get(key, ()):
            if stays_due is not None and hint.at - timedelta(seconds=1) < stays_due <= hint.at:
                del due_since[key]  # it was looked at just now
            else:
                deps.records.drop_hint(hint)
        return acted

    _for_each(keys, one, summary, deps)
    if folders.has_decisions:
        try_take_up_decisions(deps)
    oldest = min(due_since.values(), default=now)
    summary.measures["oldest_due_s"] = round((now - oldest).total_seconds(), 1)
    return _finish(summary, deps)


def _folders(deps: Deps) -> InboxFolders:
    """What waits; nothing while the inbox cannot be listed, which holds up nobody whose time has come."""
    try:
        return deps.inbox.folders()
    except BenchkeeperError as error:
        deps.log.warning("Wishes could not be listed", reason=error.reason.value, detail=error.detail)
        return InboxFolders(people=())


def sweep_drift(deps: Deps, *, dry_run: bool = False, proposes: bool = True) -> Summary:
    """Compare all records with all instances and template objects, by listings; reconcile those that differ, count the rest too.

    With `proposes` the process's own files are proposed first, if they are not in force: what a deployed function does.
    """
    summary = Summary(kind="drift", began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    if proposes and not dry_run:
        _try_keep_policy(deps)
    # Snapshots and instances before records, for a record names both before there are any: so what is there and named by no record
    # is a stray. Only these are held; records and templates come in the order of the key and are judged as they pass.
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
        strays=StrayCheck(instances, snapshots or ()),
        keeper=None if dry_run else FleetKeeper(deps, now, counts=True),
    )
    look.over_all(summary)
    summary.unreachable = tuple(sorted(unreachable))
    summary.strays = look.strays.strays()
    lost = look.strays.without_record(look.rowless)
    if lost:
        summary.found["a record may be damaged or gone"] = len(lost)
    if look.keeper is not None:
        _for_each([key for key, _ in summary.decisions], lambda key: _acted(key, deps), summary, deps)
        _for_each(lost[:MOST_LOST], lambda key: _found_again(key, deps), summary, deps)
        for stray in summary.strays:  # reported one by one, never deleted on their own
            deps.log.warning("Found stray instance", instance=stray.name, zone=stray.zone, because=stray.why)
        _log_counts(look.census.counts(deps.policy), deps)
        look.keeper.keep(strays=tuple(summary.strays))
        keep_costs(deps, now)
    summary.sessions = sync_sessions(deps, dry_run=dry_run)
    summary.measures |= _waits(look.waits)
    summary.measures |= keep_waiting(deps, now, rows=look.cuts, dry_run=dry_run)
    summary.measures |= keep_lifetimes(deps, look.over, dry_run=dry_run)
    return _finish(summary, deps)


class _Look:
    """The drift sweep's one pass over records and templates; keeps counts, and the rows that something is to be done about."""

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
    ) -> None:
        self.strays, self.keeper = strays, keeper
        self.rowless: list[UserKey] = []
        self.cuts: list[RecordRow] = []
        self.census = Census()
        self.waits = LongestWaits(now)
        self.over = Over(deps.policy.personal_data, now)
        self._deps, self._now, self._policy = deps, now, deps.policy
        self._instances, self._unreachable, self._saved = instances, unreachable, saved
        self._entitling = self._policy.entitling_digest()

    def over_all(self, summary: Summary) -> None:
        """Ask for the pages of both listings as they are needed, and judge each row."""
        templates = by_user(self._deps.templates.rows())
        for found in self._deps.records.listed():
            if isinstance(found, RecordRow):
                summary.looked_at += 1
                self._take(found, templates(found.user_key), summary)
            else:
                self.rowless.append(found)

    def _take(self, row: RecordRow, templates: Mapping[str, str], summary: Summary) -> None:
        seen = self._instances.get((row.zone or "", row.instance_id or ""))  # by name: labels may have been taken off
        self.strays.add(row)
        self.census.add(row, seen, self._unreachable)
        self.waits.add(row)
        self.over.add(row)
        if self.keeper is not None:
            self.keeper.add(row)
        if Notice.CUT_WAITS in row.notices:
            self.cuts.append(row)
        listed = Listed(
            notebook=seen,
            templates=templates,
            unreachable=self._unreachable,
            snapshots=self._saved,
            entitling=self._entitling,
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
    """Return what gives the templates of a user, name to digest. Users must be asked for in the order of their objects' names.

    That is the order of the key with `/` behind it: of `records/<key>.json` as of `templates/<key>/...`, for both `.` and `/`
    come after `-` and before all else that a key may have.
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
    """Propose the deployed files. If that fails, the sweep goes on with the policy in force, and the next one tries again."""
    try:
        proposed = keep_policy(deps)
        if proposed.outcome is Outcome.PUT and proposed.proposal is not None:
            clear_losers(proposed.proposal.impact, proposed.digest, deps)
    except BenchkeeperError as error:
        deps.log.error("Policy could not be proposed", reason=error.reason.value, detail=error.detail)


def _found_again(key: UserKey, deps: Deps) -> bool:
    """Put back what is damaged or deleted of this key, then look after the person; False for a pointer: that record is listed itself."""
    stored = load_mended(key, deps, if_missing=True)
    if stored is None or stored.record.user_key != key:
        return False
    return _acted(key, deps)


def _snapshots(deps: Deps) -> list[SnapshotSeen] | None:
    """All snapshots with our labels; None when they could not be listed, which holds up nothing else."""
    try:
        return list(deps.snapshots.rows())
    except BenchkeeperError as error:
        deps.log.warning("Snapshots could not be listed", reason=error.reason.value, detail=error.detail)
        return None


def _log_counts(counts: Iterable[Count], deps: Deps) -> None:
    """One line for each profile and state: what metrics with these labels are made of."""
    for each in counts:
        cost = {} if each.hourly_cost is None else {"hourly_cost": each.hourly_cost}
        deps.log.info("Counted environments", profile=each.profile, state=each.state, count=each.count, **cost)


def _waits(waits: LongestWaits) -> dict[str, float]:
    return {
        "longest_wait_s": round(waits.ready.total_seconds(), 1),
        "longest_stop_s": round(waits.stopped.total_seconds(), 1),
    }


def _acted(key: UserKey, deps: Deps) -> bool:
    result = reconcile(key, deps)
    return result is not None and bool(result.plan.actions)


def _for_each(keys: Iterable[UserKey], work: Callable[[UserKey], bool], summary: Summary, deps: Deps) -> None:
    """Run `work` for each key on a few threads; one user's failure is counted and holds up nobody."""
    end = summary.began_s + DEADLINE.total_seconds()

    def guarded(key: UserKey) -> tuple[bool, str]:
        if deps.clock.monotonic_s() >= end or _jumped(summary, deps):
            return False, "left over"
        try:
            return work(key), ""
        except BenchkeeperError as error:
            deps.log.warning("Pass failed", user=key, reason=error.reason.value, detail=error.detail)
            return False, error.reason.value
        except Exception as error:  # noqa: BLE001 - per-user isolation: counted, logged, and the user stays due
            deps.log.error("Pass failed unexpectedly", user=key, reason="Unexpected", detail=repr(error))
            return False, "Unexpected"

    for acted, failure in deps.workers.run([partial(guarded, key) for key in keys]):
        if failure == "left over":
            summary.left_over += 1
        elif failure:
            summary.failed[failure] += 1
        else:
            summary.acted += int(acted)


def _jumped(summary: Summary, deps: Deps) -> bool:
    """True when the clock moved during the sweep otherwise than time passed: what it judged by `now` must not be done."""
    jump = summary.clock.jumped(deps.clock) if summary.clock is not None else None
    if jump is None:
        return False
    if not summary.found[_CLOCK_JUMPED]:
        deps.log.error(
            "Skipped a sweep", kind=summary.kind, reason=Reason.CLOCK_DIFFERS.value, ahead_s=round(jump.total_seconds())
        )
    summary.found[_CLOCK_JUMPED] += 1
    return True


def _finish(summary: Summary, deps: Deps) -> Summary:
    deps.log.info("Swept", **summary.as_facts())
    return summary


def sweep_idle(deps: Deps, *, dry_run: bool = False) -> Summary:
    """Stop what nobody uses. When the evidence cannot be read, nobody is judged."""
    summary = Summary(kind="idle", began_s=deps.clock.monotonic_s(), clock=(watch := ClockWatch.begin(deps.clock)))
    now = watch.started_at
    waits, keeper = LongestWaits(now), None if dry_run else FleetKeeper(deps, now)

    def rows() -> Iterator[RecordRow]:
        for row in deps.records.rows():
            waits.add(row)
            if keeper is not None:
                keeper.add(row)
            yield row

    to_act: dict[UserKey, Judged] = {}
    blind: set[UserKey] = set()
    stops: dict[UserKey, datetime] = {}
    for item in judge_all(rows(), deps, now):
        key, word = item.machine.user_key, verdict_word(item.verdict)
        summary.looked_at += 1
        summary.found["BLIND" if is_blind(item.verdict) else word] += 1
        if word != "KEEP":
            summary.decisions.append((key, f"{word} {verdict_text(item.verdict)}"))
            to_act[key] = item
        if for_blindness(item.verdict):
            blind.add(key)
        if item.stops_at is not None:
            stops[key] = item.stops_at
    if keeper is not None:
        held = held_back(to_act, summary.looked_at, deps, now)
        acted_on = [key for key in to_act if key not in held]
        _for_each(acted_on, lambda key: act_on(to_act[key], deps), summary, deps)
        if held:
            summary.found["held back by the guard"] = len(held)
        keeper.keep(blind=frozenset(blind))
        keep_idle_stops(deps, now, stops)
    summary.measures = {"blind": len(blind), **_waits(waits)}
    return _finish(summary, deps)


def sweep(kind: str, deps: Deps, *, dry_run: bool = False, proposes: bool = True) -> Summary:
    """The sweep of this name: `due`, `idle` or `drift`; `proposes` as for `sweep_drift`."""
    if kind == "drift":
        return sweep_drift(deps, dry_run=dry_run, proposes=proposes)
    return {"due": sweep_due, "idle": sweep_idle}[kind](deps, dry_run=dry_run)
