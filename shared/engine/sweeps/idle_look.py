"""The examination of running instances by an idle sweep.

It finds the due instances, reads their data from Cloud Monitoring, and judges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.hours import AT_NIGHT, is_open
from shared.domain.fleet.idle import (
    AFTER_WARNING,
    UNSEEN,
    Activity,
    IdlePolicy,
    IdleVerdict,
    Keep,
    Reason,
    Silence,
    Stop,
    Warn,
    judge_idle,
    last_use,
    stops_at,
)
from shared.domain.fleet.report import counts_until
from shared.domain.record.record import Power, Presence, RecordRow
from shared.domain.things.catalog import Profile
from shared.domain.things.errors import Reason as Ready
from shared.domain.things.identity import InstanceId, UserKey
from shared.domain.things.notebook import InstanceRef, NotebookState, ObservedNotebook, is_down
from shared.engine.ports.deps import Deps
from shared.engine.sweeps.idle_elsewhere import Asked, Reports, look_elsewhere, with_jobs

# Metrics become visible minutes late and come in steps of five minutes.
_FRESHNESS = timedelta(minutes=20)
_MAX_GAP = timedelta(minutes=11)
_MARGIN = timedelta(minutes=30)
_LOOK_EVERY = timedelta(minutes=55)  # an hour, less half a sweep's interval
_COUNTER_KNOWN = timedelta(days=7)


_SAID_TO_RUN = frozenset({Ready.READY, Ready.UPDATE_PENDING, Ready.DRIFTED})
_HEALTH_FRESH = timedelta(minutes=15)  # the agent reports every 30 seconds, and a sweep may take minutes


class _Up(NamedTuple):
    """A running instance, with the fields that the sweep needs from the listing."""

    gce_instance_id: str
    agent_up: bool | None
    health_at: datetime | None
    health: str
    proxy_uri: str


class Machine(Struct, frozen=True, kw_only=True):
    """A running instance with the fields of its owner's row that the verdict needs.

    `agent_up` and `health_at` are the VM's last report on the proxy's agent and its time. `health` is the reported
    health if the record shows the instance as running, else "". `has_moved` is True if the notebook's address differs
    from the record's.
    """

    user_key: UserKey
    profile: str
    ref: InstanceRef
    gce_instance_id: str
    agent_up: bool | None
    health_at: datetime | None
    health: str
    has_moved: bool
    ready_since: datetime | None
    idle_warned_at: datetime | None
    keep_on_until: datetime | None


def up_of(notebook: ObservedNotebook) -> _Up:
    """Return a running instance as a listing shows it."""
    return _Up(
        notebook.gce_instance_id, notebook.proxy_agent_up, notebook.health_at, notebook.health, notebook.proxy_uri
    )


def machine_of(row: RecordRow, ref: InstanceRef, up: _Up) -> Machine:
    """Return the instance of a user's row, with its data from the listing."""
    return Machine(
        user_key=row.user_key,
        profile=row.profile or "",
        ref=ref,
        gce_instance_id=up.gce_instance_id,
        agent_up=up.agent_up,
        health_at=up.health_at,
        health=up.health if row.reason in _SAID_TO_RUN else "",
        has_moved=up.proxy_uri != row.proxy_uri,
        ready_since=row.ready_since,
        idle_warned_at=row.idle_warned_at,
        keep_on_until=row.keep_on_until,
    )


def is_news(machine: Machine, now: datetime) -> bool:
    """Return True if the user's record needs a pass because the notebook's URL has changed or JupyterLab no longer answers."""
    return machine.has_moved or is_down(machine.health, machine.health_at, now)


class Judged(Struct, frozen=True, kw_only=True):
    """A running instance with its evidence and verdict.

    `stops_at` is the time at which the instance will be stopped if it stays unused, None if unknown. `last_used` is the
    last sign of use. `unread` are the lists of jobs elsewhere that could not be read, with the reason.
    `asked_elsewhere` is True if jobs elsewhere were searched for.
    """

    machine: Machine
    activity: Activity
    verdict: IdleVerdict
    stops_at: datetime | None
    last_used: datetime | None
    unread: tuple[str, ...] = ()
    asked_elsewhere: bool = False


def running_machines(records: Iterable[RecordRow], deps: Deps) -> list[Machine]:
    """Return the instances that run, should run and are not being changed. Instances are listed before the rows are read."""
    active = {
        notebook.ref: up_of(notebook)
        for page in deps.notebooks.pages()
        for notebook in page.notebooks
        if notebook.state is NotebookState.ACTIVE
    }
    running: list[Machine] = []
    for row in records:
        is_meant_to = row.presence is Presence.PRESENT and row.power is Power.RUNNING
        ref = InstanceRef(instance_id=row.instance_id or InstanceId(""), zone=row.zone or "")
        up = active.pop(ref, None)
        if up is not None and is_meant_to and row.power_settled and not row.busy:
            running.append(machine_of(row, ref, up))
    return running


def due(running: Iterable[Machine], notes: Notes, deps: Deps, now: datetime) -> list[Machine]:
    """Return the machines to examine now: each once an hour, and in each sweep those that could be idle or were never observed.

    A machine that its user extended is examined only once an hour until the extension's end is near.
    Cloud Monitoring bills each time series that it returns (docs/operations.md), so the others are not queried.
    """
    policies = _policies(deps, now)
    return [each for each in running if each.profile in policies and _is_due(each, notes, policies[each.profile], now)]


def _is_due(machine: Machine, notes: Notes, policy: IdlePolicy, now: datetime) -> bool:
    looked = notes.looked.get(machine.user_key)
    if looked is None or now - looked >= _LOOK_EVERY or now < looked:
        return True
    if _is_kept_on(machine, policy, now):
        return False
    last = notes.last_used.get(machine.user_key)
    if machine.ready_since is not None:
        last = max(last or machine.ready_since, machine.ready_since)
    held, warned = notes.reports.get(machine.user_key), machine.idle_warned_at
    until = counts_until(held, policy.max_busy) if held is not None and held.keeps else None
    if until is not None and now >= until - policy.warn_idle:
        return True
    return last is None or now - last >= policy.warn_after or (warned is not None and warned > last)


def reports_of(notes: Notes, deps: Deps, now: datetime) -> Reports:
    """Return the reader of the machines' own reports for one sweep."""
    return Reports(notes, _policies(deps, now), deps, now)


def judge(machines: list[Machine], notes: Notes, reports: Reports, deps: Deps, now: datetime) -> Iterator[Judged]:
    """Yield a verdict for each machine of a configured profile. Raise an error if no evidence could be read at all."""
    policies = _policies(deps, now)
    machines = [machine for machine in machines if machine.profile in policies]
    if not machines:
        return
    used = {machine.profile for machine in machines}
    window = max(policies[name].idle_timeout for name in used) + _MARGIN
    seen = deps.activity.read(machines, window, now)
    counter = counter_seen(machines, seen, notes, now)
    longest = max(policies[name].max_blind for name in used) + _MARGIN
    longer: dict[str, Mapping[str, Activity]] = {}

    def known(machine: Machine) -> Activity:
        """Return the machine's evidence over the longest period read so far. Only one machine is unpacked at a time, to save memory."""
        name = machine.ref.instance_id
        found, begin = (longer[name], now - longest) if name in longer else (seen, now - window)
        return _known(found[name], machine, policies[machine.profile], counter, begin, now)

    def look_back(blind: Iterable[Machine]) -> None:
        """Read evidence over the longest period for blind instances that may have reached their limit, to find when they became blind."""
        may_end = [machine for machine in blind if _may_reach_bound(machine, policies[machine.profile], now)]
        if may_end:
            found = deps.activity.read(may_end, longest, now)
            longer.update({machine.ref.instance_id: found for machine in may_end})

    def verdict_on(machine: Machine) -> IdleVerdict:
        return judge_idle(known(machine), policies[machine.profile], now)

    verdicts = {machine.ref: verdict_on(machine) for machine in machines}
    look_back(machine for machine in machines if for_blindness(verdicts[machine.ref]))
    verdicts |= {machine.ref: verdict_on(machine) for machine in machines if machine.ref.instance_id in longer}
    # A download or a job elsewhere keeps CPU and proxy quiet: the machine's bytes and jobs are read before a user is warned or a machine is stopped.
    judged = [machine for machine in machines if is_at_stake(verdicts[machine.ref])]
    at_stake = [machine for machine in judged if not _is_kept_on(machine, policies[machine.profile], now)]
    quiet = [machine for machine in at_stake if _is_quiet(verdicts[machine.ref])]
    moved = deps.activity.transfers(quiet, window, now) if quiet else {}
    elsewhere = look_elsewhere([_asked(machine, policies, deps) for machine in at_stake], deps, now)
    reports.read(at_stake)
    unknown = [each for each in quiet if elsewhere[each.user_key].jobs is None or reports.failed(each)]
    look_back(each for each in unknown if each.ref.instance_id not in longer)
    for machine in machines:
        policy, name = policies[machine.profile], machine.ref.instance_id
        activity = known(machine)
        if name in moved:
            activity = replace(activity, transfers=moved[name])
        there = elsewhere.get(machine.user_key)
        if there is not None:
            activity = with_jobs(activity, there, reports.last_outside(machine), now - longest)
        activity, verdict = reports.judge(machine, activity, policy, now - longest, now)
        verdict = _extended(machine, verdict, policy, now)
        yield Judged(
            machine=machine,
            activity=activity,
            verdict=verdict,
            stops_at=_stops_at(machine, activity, policy, verdict, now),
            last_used=last_use(activity, policy, now),
            unread=() if there is None else there.unread,
            asked_elsewhere=there is not None,
        )


def _asked(machine: Machine, policies: Mapping[str, IdlePolicy], deps: Deps) -> Asked:
    return Asked(
        user_key=machine.user_key,
        started_at=machine.ready_since,
        max_busy=policies[machine.profile].max_busy,
        has_sessions=bool(deps.policy.catalog.profiles[machine.profile].session_templates),
    )


def counter_seen(
    machines: Iterable[Machine], seen: Mapping[str, Activity], notes: Notes, now: datetime
) -> dict[str, datetime]:
    """Return, for each profile, the time of the proxy counter's last point, as seen by this sweep or noted in the last week."""
    found = {name: at for name, at in notes.counter_seen.items() if now - at < _COUNTER_KNOWN}
    for machine in machines:
        requests = seen[machine.ref.instance_id].requests
        if requests:
            found[machine.profile] = max(requests[-1].at, found.get(machine.profile, requests[-1].at))
    return found


def is_at_stake(verdict: IdleVerdict) -> bool:
    """Return True if the user is warned, or would be warned or stopped."""
    return not isinstance(verdict, Keep) or verdict.reason in AFTER_WARNING


def _is_quiet(verdict: IdleVerdict) -> bool:
    """Return True if the machine is unused by the present evidence, or is kept because its user was warned."""
    match verdict:
        case Keep(reason=reason):
            return reason in AFTER_WARNING
        case Warn(because=because) | Stop(because=because):
            return because is Reason.IDLE
        case _:
            assert_never(verdict)


def _is_kept_on(machine: Machine, policy: IdlePolicy, now: datetime) -> bool:
    """Return True while more than `warn_idle` is left of the time to which the user extended the instance: no warning is due yet."""
    return machine.keep_on_until is not None and machine.keep_on_until - policy.warn_idle > now


def _extended(machine: Machine, verdict: IdleVerdict, policy: IdlePolicy, now: datetime) -> IdleVerdict:
    """Return the verdict on an instance, taking the user's extension into account: no stop before its end, and a warning shortly before."""
    until = machine.keep_on_until
    if until is None or until <= now or isinstance(verdict, Keep):
        return verdict
    if isinstance(verdict, Warn) and not _is_kept_on(machine, policy, now):
        return replace(verdict, stop_at=max(verdict.stop_at, until))
    return Keep(Reason.ASKED_FOR, f"until {until.isoformat()}")


def _stops_at(
    machine: Machine, activity: Activity, policy: IdlePolicy, verdict: IdleVerdict, now: datetime
) -> datetime | None:
    if isinstance(verdict, Warn):
        return verdict.stop_at
    at = stops_at(activity, policy, now)
    return max(at, machine.keep_on_until) if at is not None and machine.keep_on_until is not None else at


def for_blindness(verdict: IdleVerdict) -> bool:
    """Return True if the verdict is due to missing evidence."""
    match verdict:
        case Keep(reason=reason):
            return reason in UNSEEN
        case Warn(because=because) | Stop(because=because):
            return because is Reason.MAX_BLIND
        case _:
            assert_never(verdict)


def _may_reach_bound(machine: Machine, policy: IdlePolicy, now: datetime) -> bool:
    return machine.ready_since is None or now - machine.ready_since >= policy.max_blind - policy.warn_before


def is_night(profile: Profile, now: datetime) -> bool:
    """Return True outside of the working hours of a profile that has working hours."""
    return profile.hours is not None and not is_open(profile.hours, now)


def _policies(deps: Deps, now: datetime) -> dict[str, IdlePolicy]:
    """Return the limits of each configured profile; an instance of another profile is kept.

    Outside of its working hours, a profile's timeout is at most an hour.
    """
    return {
        name: IdlePolicy(
            idle_timeout=min(profile.idle.timeout, AT_NIGHT) if is_night(profile, now) else profile.idle.timeout,
            cores_busy_at=profile.idle.cores_busy_at,
            max_busy=profile.idle.max_busy,
            max_blind=profile.idle.max_blind,
            warn_before=min(timedelta(hours=1), profile.idle.max_blind),
            freshness=_FRESHNESS,
            max_gap=_MAX_GAP,
        )
        for name, profile in deps.policy.catalog.profiles.items()
    }


def _warned_at(machine: Machine, policy: IdlePolicy) -> datetime | None:
    """Return the time of the user's warning; None if an extension came later, because its end needs a new warning."""
    warned, until = machine.idle_warned_at, machine.keep_on_until
    if warned is not None and until is not None and warned < until - policy.warn_idle:
        return None
    return warned


def _known(
    activity: Activity,
    machine: Machine,
    policy: IdlePolicy,
    counter: Mapping[str, datetime],
    begin: datetime,
    now: datetime,
) -> Activity:
    """Return the evidence completed by the record and the listing.

    A counter without points means no requests if the counter is known to work.

    `begin` is the start of the evidence: an instance with too little evidence is blind at least since then.
    """
    silence = Silence.MEANS_NONE
    own = activity.requests or ()
    since = machine.ready_since
    if machine.profile not in counter and not any(since is None or sample.at >= since for sample in own):
        silence = Silence.NEVER_SEEN
    elif machine.agent_up is False or machine.health_at is None or now - machine.health_at > _HEALTH_FRESH:
        # Instances recorded in 2026 report their health without a word on the agent (docs/platform-facts.md): that is no failure.
        silence = Silence.AGENT_SILENT
    return replace(
        activity,
        started_at=since,
        warned_at=_warned_at(machine, policy),
        silence=silence,
        blind_since=activity.blind_since if silence is Silence.MEANS_NONE else begin,
    )
