"""The idle sweep: examine the running instances that are due, and for each unused one warn its owner or stop it.

Unknown activity keeps an instance running, but not forever. If most instances within their working hours look idle at once,
the evidence is probably wrong. These stops then wait until an administrator approves or the guard's patience is over. The
patience may end because a stop can be undone, and an instance that is truly idle must not cost money forever. The notes of
a sweep have its observations of the examined machines, and earlier observations of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.hours import arrival_of, with_arrival
from shared.domain.fleet.idle import UNSEEN, Activity, IdleVerdict, Keep, Reason, Silence, Stop, Warn
from shared.domain.fleet.report import Reported
from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.guard import may_be_stopped_idle
from shared.domain.reconcile.mails import with_idle_warning
from shared.domain.record.cuts import IDLE_STOP, CutClass, StepKind
from shared.domain.record.record import Power, Presence, RecordRow, row_of
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.catalog import Hours
from shared.domain.things.errors import ConflictError
from shared.domain.things.errors import Reason as Ready
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import Absent, InstanceRef, NotebookState
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.audit import save
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import load_mended
from shared.engine.sweeps.fleet import notes_before
from shared.engine.sweeps.idle_look import Judged, Machine, is_night, judge, machine_of, reports_of, up_of


def act_on(judged: Judged, deps: Deps) -> bool:
    """Carry out one verdict. Return True if it led to a pass whose plan had actions."""
    match judged.verdict:
        case Keep():
            return False
        case Warn():
            _note_warning(judged.machine.user_key, judged.verdict, deps)
            return False
        case Stop(since=since, because=because):
            cause = PowerCause.UNSEEN if because is Reason.MAX_BLIND else PowerCause.IDLE
            stored = want_power(judged.machine.user_key, Power.STOPPED, PowerReason(cause=cause, since=since), deps)
            result = reconcile(judged.machine.user_key, deps, stored=stored)
            return result is not None and bool(result.plan.actions)
        case _:
            assert_never(judged.verdict)


def _note_warning(user_key: UserKey, verdict: Warn, deps: Deps) -> None:
    """Store the time of the warning, from which the next verdict counts; the page shows when the notebook stops."""
    stored = load_mended(user_key, deps)
    if stored is None:
        return
    now = deps.clock.now()
    status = stored.record.status
    warned = stored.record.with_status(idle_warned_at=now)
    ready = status.condition(ConditionType.NOTEBOOK_READY)
    is_fine = ready is None or ready.status is ConditionStatus.TRUE  # else something else is wrong with it, and is said
    if verdict.because is Reason.MAX_BLIND and is_fine:
        message = (
            f"Your notebook is running. There has been no activity data for a long time ({verdict.detail}). It will be stopped at "
            f"{verdict.stop_at:%Y-%m-%d %H:%M} UTC unless activity is seen before. Your files are kept."
        )
        warned = warned.with_status(
            conditions=set_condition(
                status.conditions, ConditionType.NOTEBOOK_READY, ConditionStatus.TRUE, Ready.READY, message, now
            ),
        )
    warned = with_idle_warning(warned, verdict.stop_at, deps.policy, now)
    try:
        save(warned, stored, deps)
    except ConflictError:
        return  # another process changed the record: the next sweep warns
    deps.log.warning("Warned of an idle stop", user=user_key, because=verdict.because.value, detail=verdict.detail)


def examine(user_key: UserKey, deps: Deps) -> dict[str, Any] | None:
    """Return the evidence and the verdict about one user's notebook in words; None if no notebook of a configured profile runs."""
    stored = deps.records.load(user_key)
    if stored is None:
        return None
    row = row_of(stored.record)
    if row.instance_id is None or row.zone is None:
        return None
    notebook = deps.notebooks.get(InstanceRef(instance_id=row.instance_id, zone=row.zone))
    if isinstance(notebook, Absent) or notebook.state is not NotebookState.ACTIVE:
        return None
    now = deps.clock.now()
    notes = notes_before(deps, now) or Notes(taken_at=now)
    machine, reports = machine_of(row, notebook.ref, up_of(notebook)), reports_of(notes, deps, now)
    reports.read([machine])
    for judged in judge([machine], notes, reports, deps, now):
        said = reports_text(
            reports.kept().get(machine.user_key), unread=reports.failed(machine), has=reports.has(machine)
        )
        return {
            "user_key": row.user_key,  # the record's own key, whichever address was given
            "instance": row.instance_id,
            "verdict": verdict_word(judged.verdict),
            "because": verdict_text(judged.verdict),
            "evidence": _evidence(judged.activity, now) | {"outside jobs": _jobs_text(judged), "own report": said},
        }
    return None


def is_blind(verdict: IdleVerdict) -> bool:
    """Return True if the instance is kept because evidence is missing, before or after a warning."""
    return isinstance(verdict, Keep) and verdict.reason in UNSEEN


def verdict_word(verdict: IdleVerdict) -> str:
    """Return KEEP, WARN or STOP."""
    return {Keep: "KEEP", Warn: "WARN", Stop: "STOP"}[type(verdict)]


def verdict_text(verdict: IdleVerdict) -> str:
    """Return the reason for the verdict in a few words."""
    match verdict:
        case Keep(reason=reason, detail=detail):
            return f"{reason.value}: {detail}"
        case Warn(because=because, detail=detail, stop_at=stop_at):
            return f"{because.value}: {detail}; would be stopped at {stop_at:%Y-%m-%d %H:%M} UTC"
        case Stop(because=because, since=since):
            return f"{because.value}: since {since:%Y-%m-%d %H:%M} UTC"
        case _:
            assert_never(verdict)


def _evidence(activity: Activity, now: datetime) -> dict[str, str]:
    cpu, requests = activity.cpu, activity.requests
    evidence = {"running since": f"{activity.started_at:%Y-%m-%d %H:%M} UTC" if activity.started_at else "unknown"}
    if cpu:
        evidence["CPU"] = (
            f"{cpu[-1].value:.2f} cores now, {max(s.value for s in cpu):.2f} at most since {cpu[0].at:%H:%M}; "
            f"last seen {int((now - cpu[-1].at).total_seconds() // 60)} min ago"
        )
    else:
        evidence["CPU"] = "unknown"
    used = [s.at for s in requests or () if s.value > 0]
    if used:
        total = int(sum(s.value for s in requests or ()))
        evidence["requests through the proxy"] = f"{total}, last {used[-1]:%H:%M} UTC"
    elif activity.silence is Silence.MEANS_NONE:
        evidence["requests through the proxy"] = "none"
    else:
        evidence["requests through the proxy"] = "unknown: " + activity.silence.value.partition("(")[2].rstrip(")")
    if activity.transfers:
        most = max(s.value for s in activity.transfers)
        evidence["network and disk"] = f"{most / 1000:.0f} kB a second at most"
    return evidence


def reports_text(reported: Reported | None, *, unread: bool, has: bool) -> str:
    """Return the state of the machine's own reports in a few words."""
    if not has:
        return "none: kernels and terminals are not visible from outside"
    said = "unknown: no report of the last minutes" if reported is None else ""
    if reported is not None:
        work = "no work" if reported.work is None else f"work ({reported.work.value})"
        said = f"{work}, reported {reported.at:%H:%M} UTC" + (", keeps the notebook running" if reported.keeps else "")
    return f"{said} (could not be read now)" if unread else said


def _jobs_text(judged: Judged) -> str:
    """Return the known jobs elsewhere as text, with the lists that could not be read."""
    if not judged.asked_elsewhere:
        return "not asked: other evidence decides"
    jobs = judged.activity.outside_jobs
    known = "unknown" if jobs is None else ", ".join(jobs) or "none"
    return f"{known} (could not be read: {'; '.join(judged.unread)})" if judged.unread else known


def held_back(
    to_act: Mapping[UserKey, Judged], running: Sequence[Machine], deps: Deps, now: datetime
) -> frozenset[UserKey]:
    """Return the users whose instances are idle but must not be stopped by this sweep.

    `to_act` has the verdicts other than `Keep` on `running` machines. Stops wait if they are at least `guard.group_from`
    and would stop most of the machines within their working hours. Each then waits for an approval or for the end of the
    guard's patience. Outside of working hours, many idle machines are normal. The index of waiting users is also brought up
    to date, with one listing.
    """
    profiles = deps.policy.catalog.profiles
    by_day = {m.user_key for m in running if m.profile not in profiles or not is_night(profiles[m.profile], now)}
    stops = {key: each for key, each in to_act.items() if isinstance(each.verdict, Stop) and key in by_day}
    known = {each.user_key: each for each in deps.guard.waiting() if each.cause is CutClass.IDLE}
    is_mass = len(stops) >= deps.policy.guard.group_from and 2 * len(stops) > len(by_day)
    held = {key for key in stops if _waits(key, known.get(key), deps, now)} if is_mass else set()
    for key in known.keys() - held:
        deps.guard.forget_waiting(key, idle=True)
    for key in sorted(held - known.keys()):
        deps.guard.note_waiting(
            WaitingPerson(
                user_key=key,
                ref=IDLE_STOP,
                steps=(StepKind.STOP,),
                cause=CutClass.IDLE,
                source="",
                since=now,
                profile=stops[key].machine.profile or "",
            )
        )
    if held:
        deps.log.error("Held back idle stops", people=len(held), running=len(by_day))
    return frozenset(held)


def _waits(key: UserKey, known: WaitingPerson | None, deps: Deps, now: datetime) -> bool:
    patience = deps.policy.guard.patience
    stored = deps.records.load(key)
    decided = None if stored is None else may_be_stopped_idle(stored.record, now)
    if decided is not None:
        return not decided
    return known is None or patience is None or now - known.since < patience


class Use:
    """A collector of one sweep's notes: its observations of the examined machines, and earlier observations of the others."""

    def __init__(self, before: Notes, hours: Mapping[str, Hours]) -> None:
        self.before = before
        self.left_alone: frozenset[UserKey] = frozenset()
        self._last_used: dict[UserKey, datetime] = {}
        self._looked: dict[UserKey, datetime] = {}
        self._stops: dict[UserKey, datetime] = {}
        self._counter = dict(before.counter_seen)
        self._hours = hours
        self._arrivals: dict[UserKey, tuple[datetime, ...]] = {}
        self._ahead: dict[UserKey, datetime] = {}

    def know(self, row: RecordRow) -> None:
        """Keep the user's last use from the earlier notes; it is dropped for users for whom this is not called.

        Arrivals and early starts are kept, too, while the user is entitled and the profile has working hours.
        """
        user_key, before = row.user_key, self.before
        if user_key in before.last_used:
            self._last_used[user_key] = before.last_used[user_key]
        if row.presence is Presence.PRESENT and (row.profile or "") in self._hours:
            if user_key in before.arrivals:
                self._arrivals[user_key] = before.arrivals[user_key]
            if user_key in before.started_ahead:
                self._ahead[user_key] = before.started_ahead[user_key]

    def leave_alone(self, keys: Collection[UserKey]) -> None:
        """Keep the notes about running machines that this sweep does not examine."""
        self.left_alone = frozenset(keys)
        self._looked |= {key: at for key, at in self.before.looked.items() if key in self.left_alone}
        self._stops |= {key: at for key, at in self.before.idle_stops.items() if key in self.left_alone}

    def add(self, judged: Judged, now: datetime) -> None:
        """Add the observations of a machine."""
        key, last = judged.machine.user_key, judged.last_used
        if last is None and key not in self._last_used:
            last = judged.activity.started_at  # never used: a notebook counts as unused from its first start on
        if last is not None:
            self._last_used[key] = max(last, self._last_used.get(key, last))
        self._looked[key] = now
        if judged.stops_at is not None:
            self._stops[key] = judged.stops_at
        requests = judged.activity.requests
        if requests:
            profile, at = judged.machine.profile, requests[-1].at
            self._counter[profile] = max(at, self._counter.get(profile, at))
        hours = self._hours.get(judged.machine.profile)
        came = arrival_of(requests or (), hours, now) if hours is not None else None
        if hours is not None and came is not None:
            self._arrivals[key] = with_arrival(self._arrivals.get(key, ()), came, hours)

    def notes(self, reports: Mapping[UserKey, Reported]) -> Notes:
        """Return the notes to store, without costs. `reports` is the memory of the machines' own reports."""
        return Notes(
            taken_at=self.before.taken_at,
            idle_stops=self._stops,
            last_used=self._last_used,
            looked=self._looked,
            counter_seen=self._counter,
            reports=reports,
            arrivals=self._arrivals,
            started_ahead=self._ahead,
        )
