"""The notebook's part of a user's page, made from the record, the profile and the sweeps' notes. Pure, without reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from msgspec import Struct

from portal.machine import machine_of_now, named_machine, size_text
from portal.reader import duration_text, local
from shared.domain.fleet.idle import WARN_IDLE
from shared.domain.fleet.report import Reported, Work, counts_until
from shared.domain.notebook.waiting import next_chance
from shared.domain.record.record import Power, UserRecord
from shared.domain.record.status import Condition, ConditionStatus, ConditionType, Verb
from shared.domain.things.catalog import Hours, Identity, Profile
from shared.domain.things.errors import Reason
from shared.engine.views.person import url_of

FAST_S, SLOW_S, WATCH_S = (
    3,
    30,
    300,
)  # seconds between polls: during a change, during a fault, and while a warning may come
EXTENDED = timedelta(hours=2)  # the extension that the button beside a warning requests
EXTEND = "extend"  # the value that its form sends
_TONIGHT = time(20, 0)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_REPORT_SHOWN = timedelta(minutes=30)
_WORK_WORDS = {
    Work.KERNEL: "A kernel is busy",
    Work.SPARK: "A Spark application is running",
    Work.GPU: "The GPU is busy",
    Work.CPU: "The CPU is busy",
    Work.KERNEL_LATELY: "No work is running",
    Work.TERMINAL_LATELY: "No work is running",
}
_NEWS = timedelta(minutes=10)
_STOP_BEGINS = (
    "A change to the machine is waiting. It begins when you stop the notebook, and you can start again once it is done."
)
_CLOCKS_DIFFER = timedelta(minutes=1)
_WORTHWHILE = timedelta(minutes=30)


class Phase(StrEnum):
    """The state of a notebook as the user sees it. The state decides the words, the colour and which buttons work."""

    COMING = "coming"
    READY = "ready"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CHANGING = "changing"
    SILENT = "silent"
    TROUBLE = "trouble"
    UNSEEN = "unseen"


HEADLINES = {
    Phase.COMING: "Your notebook is on its way",
    Phase.READY: "Your notebook is running",
    Phase.STARTING: "Your notebook is starting",
    Phase.STOPPING: "Your notebook is stopping",
    Phase.STOPPED: "Your notebook is stopped",
    Phase.CHANGING: "Your notebook is being changed",
    Phase.SILENT: "Your notebook is running, but JupyterLab does not answer",
    Phase.TROUBLE: "Your notebook is delayed",
    Phase.UNSEEN: "Status unknown: Google Cloud does not answer",
}
WORDS = {
    Phase.COMING: "On its way",
    Phase.READY: "Running",
    Phase.STARTING: "Starting",
    Phase.STOPPING: "Stopping",
    Phase.STOPPED: "Stopped",
    Phase.CHANGING: "Changing",
    Phase.SILENT: "Not answering",
    Phase.TROUBLE: "Delayed",
    Phase.UNSEEN: "Unknown",
}
_AWAY = "Put away"
_MOVING = frozenset({Phase.COMING, Phase.STARTING, Phase.STOPPING, Phase.CHANGING})
_BY_REASON: Mapping[Reason, Phase] = {
    Reason.READY: Phase.READY,
    Reason.UPDATE_PENDING: Phase.READY,
    Reason.DRIFTED: Phase.READY,
    Reason.STOPPED: Phase.STOPPED,
    Reason.IDLE: Phase.STOPPED,
    Reason.DORMANT: Phase.STOPPED,
    Reason.SETTLED: Phase.STOPPED,
    Reason.CREATING: Phase.COMING,
    Reason.STARTING: Phase.STARTING,
    Reason.STOPPING: Phase.STOPPING,
    Reason.DELETING: Phase.CHANGING,
    Reason.UPDATING: Phase.CHANGING,
    Reason.SAVING: Phase.CHANGING,
    Reason.RESTORING: Phase.CHANGING,
    Reason.REPLACING: Phase.CHANGING,
    Reason.WAITING: Phase.CHANGING,
    Reason.PENDING: Phase.CHANGING,
    Reason.BUSY: Phase.CHANGING,
    Reason.CONFLICT: Phase.CHANGING,
    Reason.NOT_ANSWERING: Phase.SILENT,
    Reason.UNREADABLE: Phase.UNSEEN,
}


class StepState(StrEnum):
    """The progress of one step of a first visit."""

    DONE = "done"
    NOW = "now"
    NEXT = "next"


class Stage(Struct, frozen=True, kw_only=True):
    """A step of the creation of a user's first notebook."""

    text: str
    state: StepState


class KeepChoice(Struct, frozen=True, kw_only=True):
    """A moment until which the user may extend the notebook. `code` is the value that the form sends."""

    code: str
    text: str
    until: datetime


class ReportView(Struct, frozen=True, kw_only=True):
    """The machine's own report. `memory_gb` is set if memory ran out lately, `disk` (percent) if the disk is nearly full.

    `work` is the work that the report names, "" for none. `keeps_until` is set if only this report keeps the notebook
    running.
    """

    at: datetime
    work: str
    keeps_since: datetime | None
    keeps_until: datetime | None
    killed_at: datetime | None
    memory_gb: int | None
    disk: int | None


class NotebookView(Struct, frozen=True, kw_only=True):
    """The notebook's part of the page. `poll_s` is None if the page need not poll. `stops_at` is the sweep's forecast, or None.

    `warns` is True if the notebook will stop soon and the owner was warned. `title` is the word for the browser's tab. `last_used` is the
    last sign of use. `comes_back` is True if the notebook is put away and a start restores its files. `report` is the
    machine's own report, None if there is none. `hours` are the working hours of the profile in words, "" for none.
    `size` is that of the machine, `4 vCPU · 16 GB`, "" if the type's name does not contain it. `next_machine` is the
    machine from the next start, with its size, "" if no change waits. `stop_note` is the text about a change that begins with a stop, or "".
    `can_extend` is False if the stop was postponed as far as the profile allows. `is_open_later` is True if opening the
    notebook first needs the owner's consent (`Identity`).
    """

    phase: Phase
    word: str
    headline: str
    why: str
    poll_s: int | None
    since: datetime | None
    open_url: str
    comes_back: bool
    can_start: bool
    can_stop: bool
    can_restart: bool
    idle_timeout: timedelta | None
    stops_at: datetime | None
    last_used: datetime | None
    warned_at: datetime | None
    warns: bool
    title: str
    keep_on_until: datetime | None
    keep_choices: tuple[KeepChoice, ...]
    stages: tuple[Stage, ...]
    machine: str
    size: str
    disk_gb: int | None
    next_machine: str
    stop_note: str
    is_open_later: bool
    can_extend: bool
    report: ReportView | None
    hours: str

    @property
    def moves(self) -> bool:
        """Return True while the notebook is on the way to another state."""
        return self.phase in _MOVING


def notebook_view(
    record: UserRecord,
    profile: Profile | None,
    idle_stops_at: datetime | None,
    *,
    last_used: datetime | None,
    reported: Reported | None = None,
    now: datetime,
    zone: ZoneInfo | None,
) -> NotebookView:
    """Return the view for an entitled user. `profile` is None if the configuration no longer has it.

    `idle_stops_at`, `last_used` and `reported` are the sweep's notes.
    """
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    phase = _phase(record, ready)
    changes = ready is not None and ready.reason is Reason.UPDATE_PENDING
    saved = record.status.snapshot(record.status.data.saved_in)
    is_away = phase is Phase.STOPPED and ready is not None and ready.reason is Reason.DORMANT
    kept = record.spec.keep_on_until
    kept = kept if kept is not None and kept > now else None
    runs = phase is Phase.READY
    present = machine_of_now(record, profile, changes=changes)
    warned_at = record.status.notebook.idle_warned_at if runs else None
    stops_at = max(idle_stops_at, kept or idle_stops_at) if idle_stops_at is not None and runs else None
    is_extended = kept is not None and warned_at is not None and warned_at < kept - WARN_IDLE
    warns = stops_at is not None and not is_extended and _is_warned(warned_at, ready, last_used, now)
    here = local(stops_at, zone) if stops_at is not None else None
    return NotebookView(
        phase=phase,
        word=_AWAY if is_away else WORDS[phase],
        headline="Your notebook is put away" if is_away else HEADLINES[phase],
        why=_why(ready, phase),
        poll_s=_poll_s(phase),
        since=ready.last_transition_time if ready is not None and phase in {Phase.READY, Phase.STOPPED} else None,
        open_url=url_of(record.status.notebook.proxy_uri) if runs else "",
        comes_back=is_away and saved is not None and not saved.lost,
        can_start=profile is not None and phase in {Phase.STOPPED, Phase.STOPPING},
        can_restart=profile is not None and phase in {Phase.READY, Phase.SILENT},
        can_stop=profile is not None and phase in {Phase.READY, Phase.STARTING, Phase.SILENT},
        idle_timeout=profile.idle.timeout if profile is not None else None,
        stops_at=stops_at,
        last_used=last_used,
        warned_at=warned_at,
        warns=warns,
        title=f"Stops {here:%H:%M}" if warns and here is not None else _AWAY if is_away else _title(phase, ready, now),
        keep_on_until=kept,
        keep_choices=keep_choices(profile.idle.max_keep_on, now, zone) if profile is not None and runs else (),
        stages=_stages(record, profile) if phase is Phase.COMING else (),
        machine=present.machine,
        size=size_text(present.machine),
        disk_gb=present.disk_gb or None,
        next_machine=named_machine(profile.machine_type) if profile is not None and changes else "",
        stop_note=_STOP_BEGINS if changes and profile is not None and next_chance(profile, now) is None else "",
        can_extend=profile is not None and runs and _may_extend(profile, kept, stops_at, now),
        is_open_later=profile is not None and profile.identity is Identity.END_USER_CREDENTIALS,
        report=report_view(reported, profile, now) if runs else None,
        hours=_hours_text(profile.hours) if profile is not None and profile.hours is not None else "",
    )


def _title(phase: Phase, ready: Condition | None, now: datetime) -> str:
    """Return the word for the browser tab's title. For a while after a start the title says that the notebook is ready, because users wait in another tab."""
    if phase is Phase.READY and ready is not None and now - ready.last_transition_time < _NEWS:
        return "Ready"
    return WORDS[phase]


def _hours_text(hours: Hours) -> str:
    days = ", ".join(_DAYS[day] for day in sorted(hours.days))
    return f"{days} {hours.start:%H:%M} to {hours.end:%H:%M} ({hours.zone})"


def report_view(reported: Reported | None, profile: Profile | None, now: datetime) -> ReportView | None:
    """Return the view of the machine's latest report; None if there is none. An old report names neither work nor a full disk."""
    if reported is None:
        return None
    is_new = now - reported.at < _REPORT_SHOWN
    until = counts_until(reported, profile.idle.max_busy) if profile is not None else None
    keeps = reported.keeps and is_new and until is not None and until > now
    is_short = reported.out_of_memory(now)
    return ReportView(
        at=reported.at,
        work=_WORK_WORDS[reported.work] if reported.work is not None and is_new else "",
        keeps_since=reported.outside_at if keeps else None,
        keeps_until=until if keeps else None,
        killed_at=reported.killed_at if is_short else None,
        memory_gb=_as_sold(reported.memory_gb) if is_short and reported.memory_gb is not None else None,
        disk=reported.disk if reported.is_nearly_full and is_new else None,
    )


def _as_sold(memory_gb: float) -> int:
    """Return the nominal memory of a machine in GB: Linux reports up to a sixteenth less."""
    sizes = [size << power for power in range(14) for size in (1, 3)]
    return next((size for size in sorted(sizes) if size * 15 / 16 <= memory_gb <= size), round(memory_gb))


def _poll_s(phase: Phase) -> int | None:
    if phase in _MOVING:
        return FAST_S
    if phase in {Phase.TROUBLE, Phase.SILENT, Phase.UNSEEN}:
        return SLOW_S
    return WATCH_S if phase is Phase.READY else None


def _is_warned(warned_at: datetime | None, ready: Condition | None, last_used: datetime | None, now: datetime) -> bool:
    """Return True if the last warning is still valid: it came after the last sign of use and the last start."""
    if warned_at is None:
        return False
    started = ready.last_transition_time if ready is not None else warned_at
    return started <= warned_at <= now and (last_used is None or last_used < warned_at)


def extended_until(stops_at: datetime | None, kept: datetime | None, longest: timedelta, now: datetime) -> datetime:
    """Return the time until which the button extends.

    That is two hours after the planned stop, or after the extension until `kept`, but at most the longest allowed.
    """
    return min(max(stops_at or now, kept or now, now) + EXTENDED, now + longest)


def _may_extend(profile: Profile, kept: datetime | None, stops_at: datetime | None, now: datetime) -> bool:
    """Return True if the button would extend the notebook: there is no extension yet, or a new one would end more than a minute later."""
    until = extended_until(stops_at, kept, profile.idle.max_keep_on, now)
    return kept is None or until - kept > _CLOCKS_DIFFER


def keep_choices(longest: timedelta, now: datetime, zone: ZoneInfo | None) -> tuple[KeepChoice, ...]:
    """Return the moments to choose from, soonest first: some hours, 20:00 tonight on the reader's clock, the longest allowed."""
    found = [
        KeepChoice(
            code=f"{hours}h", text=f"for {hours} hour{'s' if hours > 1 else ''}", until=now + timedelta(hours=hours)
        )
        for hours in (1, 2, 4, 8)
        if timedelta(hours=hours) < longest
    ]
    here = local(now, zone)
    tonight = here.replace(hour=_TONIGHT.hour, minute=0, second=0, microsecond=0).astimezone(now.tzinfo)
    if now + _WORTHWHILE <= tonight <= now + longest:
        found.append(KeepChoice(code="tonight", text=f"until {_TONIGHT:%H:%M} tonight", until=tonight))
    found.append(KeepChoice(code="max", text=f"for {duration_text(longest)}, the longest", until=now + longest))
    return tuple(sorted(found, key=lambda choice: choice.until))


def _phase(record: UserRecord, ready: Condition | None) -> Phase:
    if ready is None:
        return Phase.COMING
    asked = not record.status.notebook.power_settled
    phase = _BY_REASON.get(ready.reason, Phase.TROUBLE)
    if ready.status is ConditionStatus.UNKNOWN:
        return Phase.UNSEEN
    if phase in {Phase.READY, Phase.SILENT} and asked and record.spec.power is Power.STOPPED:
        return Phase.STOPPING
    if phase is Phase.STOPPED and asked and record.spec.power is Power.RUNNING:
        return Phase.STARTING
    if (
        phase in {Phase.CHANGING, Phase.STARTING}
        and not record.status.notebook.was_active
        and record.spec.power is Power.RUNNING
    ):
        return Phase.COMING
    return phase


def _why(ready: Condition | None, phase: Phase) -> str:
    """Return the explanation of the phase: the condition's own sentence, unless a click is newer than the condition."""
    if ready is None:
        return "You were given access a moment ago; the first steps begin within a minute."
    if phase is Phase.STOPPING and ready.reason is not Reason.STOPPING:
        return "Stopping. Your files are kept."
    if phase is Phase.STARTING and ready.reason in {Reason.STOPPED, Reason.IDLE, Reason.SETTLED}:
        return "Starting. This usually takes 3 minutes."
    return ready.message


def _stages(record: UserRecord, profile: Profile | None) -> tuple[Stage, ...]:
    """Return the steps of a first creation, done and to come, according to the record. Durations are unknown, so none are shown."""
    conditions = record.status.conditions
    fine = {c.type for c in conditions if c.status is ConditionStatus.TRUE}
    operation = record.status.notebook.operation
    asked = operation is not None and operation.verb is Verb.CREATE
    texts: list[tuple[str, bool]] = [("You were given access", True)]
    if profile is not None and profile.needs_account:
        texts.append(("Your own service account is created", ConditionType.IDENTITY_READY in fine or asked))
    if profile is not None and profile.templates:
        texts.append(("Your Spark environments are prepared", ConditionType.TEMPLATES_READY in fine))
    texts.append(("Your machine is requested from Google Cloud", asked or record.status.notebook.was_active))
    texts.append(("Machine, disks and JupyterLab are set up", record.status.notebook.was_active))
    if record.status.data.saved_in:
        texts.append(("Your files are restored", False))
    texts.append(("Ready to open", False))
    current = next(index for index, (_, done) in enumerate(texts) if not done)
    return tuple(
        Stage(text=text, state=StepState.DONE if done else StepState.NOW if index == current else StepState.NEXT)
        for index, (text, done) in enumerate(texts)
    )
