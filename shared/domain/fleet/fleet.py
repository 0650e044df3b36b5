"""The whole fleet at one moment, as a sweep observed it. The manager's page is made from this list, without a query for each user."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.fleet.drift import Stray
from shared.domain.fleet.idle_days import IdleDay
from shared.domain.fleet.report import Reported
from shared.domain.people.unknown_leaver import SHOWN_FOR
from shared.domain.record.record import Presence, RecordRow
from shared.domain.record.status import NEEDS_ATTENTION
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey

MAX_POINTS = 24 * 62  # one an hour for two months


class Notes(Struct, frozen=True, kw_only=True):
    """The notes that sweeps write for each user's own page.

    `idle_stops` are the times at which running notebooks will be stopped if they stay unused. `last_used` is the time of the
    last observed use of each user's notebook, even if the notebook was stopped since. `looked` is the time at which a
    running notebook was last examined. `counter_seen` is the time of the proxy counter's last point, by profile.
    `arrivals` are the times at which users of profiles with working hours arrived, the first of each day;
    `started_ahead` is the last time at which their notebook was started in advance. `reports` are the latest reports of
    the VMs of profiles with a reporter. `costs` is each user's cost in `costs_month` (`2026-11`) by the billing
    export's labels, in its currency; None if no export is configured, or if it could not be read.
    """

    taken_at: datetime
    idle_stops: Mapping[UserKey, datetime] = field(default_factory=dict)
    last_used: Mapping[UserKey, datetime] = field(default_factory=dict)
    looked: Mapping[UserKey, datetime] = field(default_factory=dict)
    counter_seen: Mapping[str, datetime] = field(default_factory=dict)
    reports: Mapping[UserKey, Reported] = field(default_factory=dict)
    arrivals: Mapping[UserKey, tuple[datetime, ...]] = field(default_factory=dict)
    started_ahead: Mapping[UserKey, datetime] = field(default_factory=dict)
    costs: Mapping[UserKey, float] | None = None
    costs_month: str = ""
    costs_at: datetime | None = None


class FleetPoint(Struct, frozen=True, kw_only=True):
    """The number of environments at `at`: running, resting (stopped), being created or changed, and in need of attention."""

    at: datetime
    running: int
    resting: int
    moving: int
    attention: int


class FleetSnapshot(Struct, frozen=True, kw_only=True):
    """The rows of all users at `taken_at`, the orphans, the users without activity data, and earlier counts, oldest first.

    `idle_days` are the counts of idle stops by day (`2026-11-29`, UTC).
    """

    taken_at: datetime
    rows: tuple[RecordRow, ...]
    strays: tuple[Stray, ...] = ()
    blind: frozenset[UserKey] = frozenset()
    points: tuple[FleetPoint, ...] = ()
    idle_days: Mapping[str, IdleDay] = field(default_factory=dict)


class Standing(StrEnum):
    """The state of an environment, in four classes. GONE is the state of a tombstone, which has no environment."""

    RUNNING = "running"
    RESTING = "resting"
    MOVING = "on the way"
    GONE = "gone"


_RUNNING = frozenset({Reason.READY, Reason.UPDATE_PENDING, Reason.DRIFTED, Reason.NOT_ANSWERING})
_RESTING = frozenset({Reason.STOPPED, Reason.IDLE, Reason.DORMANT, Reason.RETAINED, Reason.SAVED, Reason.ON_HOLD})
_GONE = frozenset({Reason.REMOVED, Reason.NOT_ENTITLED})
# Reasons that need an administrator: to look, grant a permission, raise a quota or decide.
_NEEDS = frozenset(
    {
        Reason.STUCK,
        Reason.ACCESS_NOT_CUT,
        Reason.NOT_ANSWERING,
        Reason.UNKNOWN_ANSWER,
        Reason.ORGANIZATION_POLICY,
        Reason.PERIMETER,
        Reason.API_DISABLED,
        Reason.BILLING_DISABLED,
        Reason.QUOTA_EXHAUSTED,
        Reason.LIMIT_REACHED,
        Reason.NOT_OURS,
        Reason.ACCESS_DENIED,
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_PROFILE,
        Reason.SNAPSHOT_FAILED,
        Reason.DATA_MISSING,
    }
)


def standing(row: RecordRow) -> Standing:
    """Return the standing of this row's environment."""
    if row.reason in _GONE:
        return Standing.GONE
    if row.reason in _RUNNING:
        return Standing.RUNNING
    return Standing.RESTING if row.reason in _RESTING else Standing.MOVING


def needs_person(row: RecordRow, blind: frozenset[UserKey], at: datetime | None = None) -> str | None:
    """Return the reason why the row needs attention; None if it needs none.

    The result is the name of a reason or notice, `NewsNotUnderstood`, `Blind` or `UnknownLeaver`. A hold needs no
    attention. An unknown leaver needs attention for a limited time up to `at`; if `at` is None, without a limit.
    """
    if row.unknown_since is not None and (at is None or at - row.unknown_since < SHOWN_FOR):
        return Reason.UNKNOWN_LEAVER.value
    if row.reason in _NEEDS:
        return row.reason
    if row.marked:
        return "NewsNotUnderstood"
    for notice in row.notices:
        if notice in NEEDS_ATTENTION:
            return notice.value
    if row.user_key in blind and row.presence is Presence.PRESENT:
        return "Blind"
    return None


def with_point(points: tuple[FleetPoint, ...], point: FleetPoint) -> tuple[FleetPoint, ...]:
    """Return the earlier points and the new point, which is dropped if the last point is less than 50 minutes old.

    At most `MAX_POINTS` points stay; the oldest points are dropped.
    """
    if points and point.at - points[-1].at < timedelta(minutes=50):
        return points
    return (*points, point)[-MAX_POINTS:]
