"""The whole fleet at one moment, as a sweep saw it: what the manager's page shows without asking about each person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.fleet.drift import Stray
from shared.domain.people.unknown_leaver import SHOWN_FOR
from shared.domain.record.record import Presence, RecordRow
from shared.domain.record.status import NEEDS_ATTENTION
from shared.domain.things.errors import Reason
from shared.domain.things.identity import UserKey

MAX_POINTS = 24 * 62  # one an hour for two months


class Notes(Struct, frozen=True, kw_only=True):
    """What a person's own page tells from sweeps. `idle_stops`: when each running notebook will be stopped if nobody uses it.

    `costs` is what each person cost in `costs_month` (`2026-11`) by the billing export's labels, in its currency; None where no
    export is configured, or it could not be read.
    """

    taken_at: datetime
    idle_stops: Mapping[UserKey, datetime] = field(default_factory=dict)
    costs: Mapping[UserKey, float] | None = None
    costs_month: str = ""
    costs_at: datetime | None = None


class FleetPoint(Struct, frozen=True, kw_only=True):
    """How many environments there were at `at`: running, resting (stopped), on the way, and in need of a person."""

    at: datetime
    running: int
    resting: int
    moving: int
    attention: int


class FleetSnapshot(Struct, frozen=True, kw_only=True):
    """Everybody's row at `taken_at`, what belongs to nobody, who could not be seen at work, and earlier counts, oldest first."""

    taken_at: datetime
    rows: tuple[RecordRow, ...]
    strays: tuple[Stray, ...] = ()
    blind: frozenset[UserKey] = frozenset()
    points: tuple[FleetPoint, ...] = ()


class Standing(StrEnum):
    """How somebody's environment stands, in four words; GONE is a tombstone, which is no environment."""

    RUNNING = "running"
    RESTING = "resting"
    MOVING = "on the way"
    GONE = "gone"


_RUNNING = frozenset({Reason.READY, Reason.UPDATE_PENDING, Reason.DRIFTED})
_RESTING = frozenset({Reason.STOPPED, Reason.IDLE, Reason.RETAINED, Reason.SAVED, Reason.ON_HOLD})
_GONE = frozenset({Reason.REMOVED, Reason.NOT_ENTITLED})
# What does not mend itself: somebody must look, grant, raise or decide.
_NEEDS = frozenset(
    {
        Reason.STUCK,
        Reason.QUOTA_EXHAUSTED,
        Reason.NOT_OURS,
        Reason.ACCESS_DENIED,
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_PROFILE,
        Reason.SNAPSHOT_FAILED,
        Reason.DATA_MISSING,
    }
)


def standing(row: RecordRow) -> Standing:
    """How the environment of this row stands."""
    if row.reason in _GONE:
        return Standing.GONE
    if row.reason in _RUNNING:
        return Standing.RUNNING
    return Standing.RESTING if row.reason in _RESTING else Standing.MOVING


def needs_person(row: RecordRow, blind: frozenset[UserKey], at: datetime | None = None) -> str | None:
    """Why somebody should look at it: the reason's or notice's own word, `NewsNotUnderstood`, `Blind`, `OnHold` or `UnknownLeaver`; None when nobody need.

    `at` is the moment that counts for what is shown for a time only.
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
    if row.on_hold:
        return Reason.ON_HOLD.value
    if row.user_key in blind and row.presence is Presence.PRESENT:
        return "Blind"
    return None


def with_point(points: tuple[FleetPoint, ...], point: FleetPoint) -> tuple[FleetPoint, ...]:
    """Earlier counts with one more, at most one an hour; the oldest are left out where there are too many."""
    if points and point.at - points[-1].at < timedelta(minutes=50):
        return points
    return (*points, point)[-MAX_POINTS:]
