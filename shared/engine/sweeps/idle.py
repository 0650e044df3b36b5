"""The idle sweep: observe all running instances, judge each, stop the unused ones. An instance with unknown activity keeps running."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.fleet.idle import Activity, IdlePolicy, IdleVerdict, Keep, Reason, Stop, Warn, judge_idle, stops_at
from shared.domain.record.record import Power, Presence, RecordRow, row_of
from shared.domain.record.status import ConditionStatus, ConditionType, set_condition
from shared.domain.things.errors import ConflictError
from shared.domain.things.errors import Reason as Ready
from shared.domain.things.identity import InstanceId, UserKey
from shared.domain.things.notebook import Absent, InstanceRef, NotebookState
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import load_mended

# Metrics become visible minutes late and come in steps of five minutes.
_FRESHNESS = timedelta(minutes=20)
_MAX_GAP = timedelta(minutes=11)
_MARGIN = timedelta(minutes=30)


class Machine(Struct, frozen=True, kw_only=True):
    """A running instance with the fields of its owner's row that the verdict needs."""

    user_key: UserKey
    profile: str
    ref: InstanceRef
    gce_instance_id: str
    ready_since: datetime | None
    idle_warned_at: datetime | None
    keep_on_until: datetime | None


def _machine(row: RecordRow, ref: InstanceRef, gce_instance_id: str) -> Machine:
    return Machine(
        user_key=row.user_key,
        profile=row.profile or "",
        ref=ref,
        gce_instance_id=gce_instance_id,
        ready_since=row.ready_since,
        idle_warned_at=row.idle_warned_at,
        keep_on_until=row.keep_on_until,
    )


class Judged(Struct, frozen=True, kw_only=True):
    """A running instance with its evidence and verdict.

    `stops_at` is when the instance will be stopped if it stays unused, as far as known.
    """

    machine: Machine
    activity: Activity
    verdict: IdleVerdict
    stops_at: datetime | None


def judge_all(records: Iterable[RecordRow], deps: Deps, now: datetime) -> Iterator[Judged]:
    """Yield a verdict for each running instance that should run and is not being changed. Raise if no evidence could be read at all.

    Instances are listed first and kept in memory; all records are read before the evidence, so the caller sees every row.
    """
    active = {
        notebook.ref: notebook.gce_instance_id
        for page in deps.notebooks.pages()
        for notebook in page.notebooks
        if notebook.state is NotebookState.ACTIVE
    }
    running: list[Machine] = []
    for row in records:
        is_meant_to = row.presence is Presence.PRESENT and row.power is Power.RUNNING
        ref = InstanceRef(instance_id=row.instance_id or InstanceId(""), zone=row.zone or "")
        vm = active.pop(ref, None)
        if vm is not None and is_meant_to and row.power_settled and not row.busy:
            running.append(_machine(row, ref, vm))
    del active
    return _judge(running, deps, now)


def _judge(running: list[Machine], deps: Deps, now: datetime) -> Iterator[Judged]:
    policies = {
        name: policy for name in deps.policy.catalog.profiles if (policy := _policy_for(name, deps)) is not None
    }
    machines = [machine for machine in running if machine.profile in policies]
    if not machines:
        return
    used = {machine.profile for machine in machines}
    window = max(policies[name].idle_timeout for name in used) + _MARGIN
    seen = deps.activity.read(machines, window, now)
    # Without evidence in the window, the whole bound is read to find since when; only for instances that run that long.
    blind = [
        machine
        for machine in machines
        if _may_reach_bound(machine, policies[machine.profile], now)
        and for_blindness(judge_idle(_known(seen[machine.ref.instance_id], machine), policies[machine.profile], now))
    ]
    longer: Mapping[str, Activity] = {}
    if blind:
        longest = max(policies[name].max_blind for name in used) + _MARGIN
        longer = deps.activity.read(blind, longest, now)
    for machine in machines:
        policy, name = policies[machine.profile], machine.ref.instance_id
        activity = _known(longer[name] if name in longer else seen[name], machine)
        verdict = _kept_on(machine, now) or judge_idle(activity, policy, now)
        yield Judged(
            machine=machine,
            activity=activity,
            verdict=verdict,
            stops_at=_stops_at(machine, activity, policy, verdict, now),
        )


def _kept_on(machine: Machine, now: datetime) -> IdleVerdict | None:
    """Return a verdict to keep the instance if its user extended it until after now; None otherwise."""
    if machine.keep_on_until is None or machine.keep_on_until <= now:
        return None
    return Keep(Reason.ASKED_FOR, f"until {machine.keep_on_until.isoformat()}")


def _stops_at(
    machine: Machine, activity: Activity, policy: IdlePolicy, verdict: IdleVerdict, now: datetime
) -> datetime | None:
    if isinstance(verdict, Warn):
        return verdict.stop_at
    at = stops_at(activity, policy, now)
    return max(at, machine.keep_on_until) if at is not None and machine.keep_on_until is not None else at


def for_blindness(verdict: IdleVerdict) -> bool:
    """Return True if no recent evidence could be read, whatever the verdict."""
    match verdict:
        case Keep(reason=reason):
            return reason in {Reason.WARNED, Reason.NO_FRESH_EVIDENCE}
        case Warn(because=because) | Stop(because=because):
            return because is Reason.MAX_BLIND
        case _:
            assert_never(verdict)


def _may_reach_bound(machine: Machine, policy: IdlePolicy, now: datetime) -> bool:
    return machine.ready_since is None or now - machine.ready_since >= policy.max_blind - policy.warn_before


def _policy_for(name: str, deps: Deps) -> IdlePolicy | None:
    profile = deps.policy.catalog.profiles.get(name)
    if profile is None:
        return None
    return IdlePolicy(
        idle_timeout=profile.idle.timeout,
        cpu_busy_at=profile.idle.cpu_busy_at,
        max_blind=profile.idle.max_blind,
        warn_before=min(timedelta(hours=1), profile.idle.max_blind),
        freshness=_FRESHNESS,
        max_gap=_MAX_GAP,
    )


def _known(activity: Activity, machine: Machine) -> Activity:
    return replace(activity, started_at=machine.ready_since, warned_at=machine.idle_warned_at)


def act_on(judged: Judged, deps: Deps) -> bool:
    """Carry out one verdict; return True if a call changed a resource in the cloud."""
    match judged.verdict:
        case Keep():
            return False
        case Warn(detail=detail, stop_at=stop_at):
            _note_warning(judged.machine.user_key, detail, stop_at, deps)
            return False
        case Stop(since=since, because=because):
            cause = PowerCause.UNSEEN if because is Reason.MAX_BLIND else PowerCause.IDLE
            stored = want_power(judged.machine.user_key, Power.STOPPED, PowerReason(cause=cause, since=since), deps)
            result = reconcile(judged.machine.user_key, deps, stored=stored)
            return result is not None and bool(result.plan.actions)
        case _:
            assert_never(judged.verdict)


def _note_warning(user_key: UserKey, detail: str, stop_at: datetime, deps: Deps) -> None:
    """Store that the user was warned, and show the warning; the next verdict counts from it."""
    stored = load_mended(user_key, deps)
    if stored is None:
        return
    now = deps.clock.now()
    message = (
        f"Your notebook is ready. It could not be seen at work for a long time ({detail}) and will be stopped at "
        f"{stop_at:%Y-%m-%d %H:%M} UTC, unless it is seen by then. Your files are kept."
    )
    status = stored.record.status
    warned = stored.record.with_status(
        idle_warned_at=now,
        conditions=set_condition(
            status.conditions, ConditionType.NOTEBOOK_READY, ConditionStatus.TRUE, Ready.READY, message, now
        ),
    )
    try:
        deps.records.save(warned, expected=stored)
    except ConflictError:
        return  # another process changed the record: the next sweep warns
    deps.log.warning("Warned of a stop for want of evidence", user=user_key, detail=detail)


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
    for judged in _judge([_machine(row, notebook.ref, notebook.gce_instance_id)], deps, now):
        return {
            "user_key": row.user_key,  # the record's own key, whichever address was given
            "instance": row.instance_id,
            "verdict": verdict_word(judged.verdict),
            "because": verdict_text(judged.verdict),
            "evidence": _evidence(judged.activity, now),
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
            f"{cpu[-1].value:.0%} now, {max(s.value for s in cpu):.0%} at most since {cpu[0].at:%H:%M}; "
            f"last seen {int((now - cpu[-1].at).total_seconds() // 60)} min ago"
        )
    else:
        evidence["CPU"] = "unknown"
    if requests is None:
        evidence["requests through the proxy"] = "unknown"
    else:
        used = [s.at for s in requests if s.value > 0]
        total = int(sum(s.value for s in requests))
        evidence["requests through the proxy"] = f"{total}, last {used[-1]:%H:%M} UTC" if used else "none"
    evidence["kernels, terminals"] = "not visible from outside"
    evidence["outside jobs"] = ", ".join(activity.outside_jobs or ()) or "none known"
    return evidence
