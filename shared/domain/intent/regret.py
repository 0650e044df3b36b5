"""The signs that an idle stop or its warning disturbed a user at work: an extension or a start within ten minutes.

Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.record.record import Power, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, Regret, RegretKind

_SOON = timedelta(minutes=10)
_KEPT_FOR = timedelta(days=30)
_MOST = 10


def with_regret(before: UserRecord, after: UserRecord, now: datetime) -> UserRecord:
    """Return the record after a request, with a note if the request came soon after a warning or an idle stop."""
    kind = _kind(before, after, now)
    if kind is None:
        return after
    known = [each for each in after.status.notebook.regrets if now - each.at < _KEPT_FOR]
    return after.with_status(regrets=(*known, Regret(kind=kind, at=now))[-_MOST:])


def _kind(before: UserRecord, after: UserRecord, now: datetime) -> RegretKind | None:
    warned, until = before.status.notebook.idle_warned_at, after.spec.keep_on_until
    extends = until is not None and until != before.spec.keep_on_until
    if extends and warned is not None and timedelta(0) <= now - warned <= _SOON:
        return RegretKind.EXTENDED
    starts = before.spec.power is Power.STOPPED and after.spec.power is Power.RUNNING
    ready = before.status.condition(ConditionType.NOTEBOOK_READY)
    if not starts or not before.spec.power_reason.is_idle or ready is None or ready.status is not ConditionStatus.FALSE:
        return None
    return RegretKind.STARTED if now - ready.last_transition_time <= _SOON else None
