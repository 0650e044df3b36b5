"""The starts in advance: the idle sweep starts the notebooks of users who are expected soon by their working hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec.structs import replace

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.hours import day_of, expected, starts_now
from shared.domain.intent.wanted import with_power
from shared.domain.record.record import Power, Presence, RecordRow, UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.catalog import Hours
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.changing import change_record
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.seats import used_up
from shared.engine.sweeps.sweeping import Summary, for_each

_MOST = 60  # starts of one sweep: the APIs' quotas of writes are for everybody
_AT_A_TIME = 10
_NO_ROOM = frozenset({Reason.QUOTA_EXHAUSTED, Reason.STOCKOUT, Reason.RATE_LIMITED})
_AT_REST = frozenset({Reason.STOPPED, Reason.IDLE})
# The causes of a stop after which a notebook may be started in advance. An administrator's stop stays in force.
_MAY_START = frozenset({PowerCause.IDLE, PowerCause.UNSEEN, PowerCause.STOPPED_BY_PERSON, PowerCause.STOPPED_OUTSIDE})


def hours_of(deps: Deps) -> Mapping[str, Hours]:
    """Return the working hours by profile name, for the profiles that have them."""
    return {name: each.hours for name, each in deps.policy.catalog.profiles.items() if each.hours is not None}


def may_start(row: RecordRow, hours: Mapping[str, Hours]) -> bool:
    """Return True for a notebook at rest whose owner is entitled and whose profile has working hours."""
    is_at_rest = row.power is Power.STOPPED and row.power_settled and not row.busy and row.reason in _AT_REST
    return is_at_rest and row.presence is Presence.PRESENT and (row.profile or "") in hours


def start_ahead(
    resting: Iterable[tuple[UserKey, str]], notes: Notes, summary: Summary, deps: Deps, now: datetime
) -> dict[UserKey, datetime]:
    """Start the notebooks of users who are expected soon, each once a day. Return the start times by user.

    `resting` has each user with a stopped notebook, and the user's profile, which must have working hours. At most `_MOST`
    notebooks are started, ten at a time. After a ten in which a start found no machine or no quota, the other users wait for
    the next sweep. Users of a group whose monthly limit is used up are not started.
    """
    hours = hours_of(deps)
    waiting = []
    for key, profile in resting:
        open_at = hours[profile]
        before = notes.started_ahead.get(key)
        at = expected(notes.arrivals.get(key, ()), open_at, now)
        if at is not None and (before is None or day_of(open_at, before) != day_of(open_at, now)):
            waiting.append((at, key))
    started: dict[UserKey, datetime] = {}
    full = False

    def ahead(record: UserRecord) -> UserRecord:
        return record if used_up(record, deps, now) else _ahead(record, hours, now)

    def start(key: UserKey) -> bool:
        nonlocal full
        accepted = change_record(key, ahead, deps, wakes=True)
        if accepted is None or not accepted.changed:
            return False
        started[key] = now
        result = reconcile(key, deps, stored=accepted.stored)
        ready = None if result is None else result.record.status.condition(ConditionType.NOTEBOOK_READY)
        full = full or (ready is not None and ready.reason in _NO_ROOM)
        return True

    chosen = starts_now(waiting, now, _MOST)
    for begin in range(0, len(chosen), _AT_A_TIME):
        if not full:
            for_each(chosen[begin : begin + _AT_A_TIME], start, summary, deps)
    if started:
        summary.found["started ahead"] = len(started)
    return started


def _ahead(record: UserRecord, hours: Mapping[str, Hours], now: datetime) -> UserRecord:
    """Return the record with a request to run the notebook.

    Return the same object if the owner left or the profile has no working hours. Also return it if the notebook is not at
    rest, an administrator stopped it, or it was stopped by hand today.
    """
    open_at = hours.get(record.spec.profile or "")
    notebook, cause = record.status.notebook, record.spec.power_reason.cause
    is_at_rest = record.spec.power is Power.STOPPED and notebook.power_settled and notebook.operation is None
    if open_at is None or record.spec.presence is not Presence.PRESENT or not is_at_rest or cause not in _MAY_START:
        return record
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    is_by_hand = cause is not PowerCause.IDLE and cause is not PowerCause.UNSEEN
    if is_by_hand and ready is not None and day_of(open_at, ready.last_transition_time) == day_of(open_at, now):
        return record
    return with_power(record, Power.RUNNING, PowerReason(cause=PowerCause.STARTED_AHEAD))


def with_started(notes: Notes, started: Mapping[UserKey, datetime]) -> Notes:
    """Return the notes with the notebooks that were started in advance."""
    return replace(notes, started_ahead={**notes.started_ahead, **started}) if started else notes
