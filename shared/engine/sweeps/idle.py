"""The idle sweep: look at the running instances that are due, judge each, warn about or stop the unused.

Unknown activity keeps an instance running.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_never

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.idle import (
    Activity,
    IdleVerdict,
    Keep,
    Reason,
    Silence,
    Stop,
    Warn,
)
from shared.domain.fleet.report import Reported
from shared.domain.reconcile.mails import with_idle_warning
from shared.domain.record.record import Power, row_of
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
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
from shared.engine.sweeps.idle_look import Judged, judge, machine_of, reports_of, up_of


def act_on(judged: Judged, deps: Deps) -> bool:
    """Carry out one verdict. Return True if a call changed a resource in the cloud."""
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
    """Store that the user was warned; the next verdict counts from it, and the page shows when the notebook stops."""
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
            f"Your notebook is running. It could not be seen at work for a long time ({verdict.detail}) and will be stopped at "
            f"{verdict.stop_at:%Y-%m-%d %H:%M} UTC, unless it is seen by then. Your files are kept."
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
    """Return one user's evidence and verdict in words; None if there is no running notebook."""
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
    """Return True if the instance is kept only because no evidence could be read."""
    return isinstance(verdict, Keep) and verdict.reason in {Reason.NO_FRESH_EVIDENCE, Reason.WARNED}


def verdict_word(verdict: IdleVerdict) -> str:
    """Return KEEP, WARN or STOP."""
    return {Keep: "KEEP", Warn: "WARN", Stop: "STOP"}[type(verdict)]


def verdict_text(verdict: IdleVerdict) -> str:
    """Return the reason of the verdict in a few words."""
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
        work = "nothing at work" if reported.work is None else f"at work ({reported.work.value})"
        said = f"{work}, reported {reported.at:%H:%M} UTC" + (", keeps it on" if reported.keeps else "")
    return f"{said} (could not be read now)" if unread else said


def _jobs_text(judged: Judged) -> str:
    """Return the known jobs elsewhere as text, with the lists that could not be read."""
    if not judged.asked_elsewhere:
        return "not asked: other evidence decides"
    jobs = judged.activity.outside_jobs
    known = "unknown" if jobs is None else ", ".join(jobs) or "none"
    return f"{known} (could not be read: {'; '.join(judged.unread)})" if judged.unread else known
