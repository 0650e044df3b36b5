"""The employment of a user, and the rules of leaves: when a leave begins and ends, and which statements may be forgotten.

Pure.

Timelines of the fact `employment` hold joiners (True), leavers (False) and cancelled leaves (True, `Force.CANCELS`).

* A leave holds from its `effective_at` until another statement ends it. The order of arrival does not matter.
* A joiner that only confirms (a feed that repeats all employees) ends no leave.
* A joiner with an explicit effective time ends the leaves that took effect before it. If a joiner and a leaver of one source have the
  same explicit time, they are a conversion: the joiner wins.
* A joiner that is an event, and a cancelled leave, end the leaves that were stated before. A leaver that is dated back counts
  as stated at the time of its publication.
* In a tie the leaver wins. If a leaver is stated before an announced joiner takes effect, the joiner never takes effect. If a
  leaver is stated before an announced leave begins, the new statement replaces the announced leave.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from shared.domain.people.statements import MAX_STATEMENTS, Force, Statement, Timeline


class Employment(Struct, frozen=True, kw_only=True):
    """The employment of a user at a moment. `employed` is None if no statement is in effect.

    `decides` is the statement that decides. If a leave decides, `confirmed_since` is the newest confirming joiner after the
    leave, and `tied` is a joiner that was stated at the same moment as the leave.
    """

    employed: bool | None
    decides: Statement | None = None
    confirmed_since: Statement | None = None
    tied: Statement | None = None


def is_leave(statement: Statement) -> bool:
    """Return True for a leaver's statement."""
    return statement.value is not True


def is_conversion(joiner: Statement, leave: Statement) -> bool:
    """Return True if one source stated the joiner and the leave for the same explicit moment."""
    return (
        joiner.explicit
        and leave.explicit
        and joiner.effective_at == leave.effective_at
        and joiner.source == leave.source
    )


def ends_leave(statement: Statement, leave: Statement) -> bool:
    """Return True if `statement` ends `leave`, from its own effective time on."""
    if is_leave(statement):
        return False
    is_later = statement.occurred_at > leave.happened_at and statement.said_at >= leave.said_at
    if statement.force is Force.CANCELS:
        return is_later
    if is_conversion(statement, leave):
        return True
    # The leaver was stated while the joiner was still to come.
    if statement.occurred_at < leave.said_at < statement.effective_at:
        return False
    if statement.force is Force.SAYS and is_later:
        return True
    return statement.explicit and statement.effective_at > leave.effective_at


def _is_replaced(leave: Statement, timeline: Timeline) -> bool:
    """Return True if another leaver was stated after this leave was announced and before it began."""
    return any(is_leave(other) and other.forestalls(leave) for other in timeline)


def standing_leaves(timeline: Timeline, now: datetime) -> list[Statement]:
    """Return the leaves that hold at `now`."""
    begun = [s for s in timeline if s.effective_at <= now]
    return [
        leave
        for leave in begun
        if is_leave(leave)
        and not _is_replaced(leave, timeline)
        and not any(ends_leave(other, leave) for other in begun)
    ]


def lasting_leaves(timeline: Timeline) -> Timeline:
    """Return the present and future leaves that no statement of the timeline replaces or ends."""
    return tuple(
        leave
        for leave in timeline
        if is_leave(leave)
        and not _is_replaced(leave, timeline)
        and not any(ends_leave(other, leave) for other in timeline)
    )


def judge_employment(timeline: Timeline, now: datetime) -> Employment:
    """Return the employment at `now`, with the statement that decides."""
    standing = standing_leaves(timeline, now)
    joiners = [s for s in timeline if s.effective_at <= now and not is_leave(s) and s.force is not Force.CANCELS]
    if standing:
        leave = max(standing, key=Statement.rank)
        confirming = [
            s for s in joiners if s.force is Force.CONFIRMS and s.said_at > max(leave.effective_at, leave.said_at)
        ]
        return Employment(
            employed=False,
            decides=leave,
            confirmed_since=max(confirming, key=Statement.rank, default=None),
            tied=next((s for s in joiners if s.occurred_at == leave.occurred_at and not s.explicit), None),
        )
    in_force = [s for s in joiners if not any(_forestalled_by(other, s) for other in timeline)]
    if not in_force:
        return Employment(employed=None)
    return Employment(employed=True, decides=max(in_force, key=Statement.rank))


def _forestalled_by(leave: Statement, joiner: Statement) -> bool:
    """Return True if the joiner never takes effect, because the leaver was stated between its announcement and its date."""
    return (
        is_leave(leave)
        and joiner.occurred_at < leave.said_at < joiner.effective_at
        and not is_conversion(joiner, leave)
    )


def next_employment_change(timeline: Timeline, now: datetime) -> datetime | None:
    """Return the next moment at which a statement takes effect; None if there is none."""
    return min((s.effective_at for s in timeline if s.effective_at > now), default=None)


def leave_before_return(timeline: Timeline, now: datetime) -> Statement | None:
    """Return the newest leave after which the user was hired again; None if the user was never hired again.

    Cancelled leaves and conversions do not count.
    """
    begun = [s for s in timeline if s.effective_at <= now]
    ended = [
        leave
        for leave in begun
        if is_leave(leave)
        and any(ends_leave(s, leave) and s.force is not Force.CANCELS and not is_conversion(s, leave) for s in begun)
    ]
    return max(ended, key=Statement.rank, default=None)


def fold_employment(timeline: Timeline, statement: Statement, horizon: datetime) -> Timeline:
    """Return the timeline with one more statement and without statements that cannot decide at `horizon` or later.

    Return the same object if the statement changes nothing.
    """
    if any(kept.is_same(statement) for kept in timeline):
        return timeline
    kept = _without_what_is_over(tuple(sorted([*timeline, statement], key=Statement.rank)), horizon)
    return timeline if kept == timeline else kept


def _without_what_is_over(timeline: Timeline, horizon: datetime) -> Timeline:
    """Return at most `MAX_STATEMENTS` statements, without those that a later statement makes unnecessary (`_outdoes`)."""
    returned_from = leave_before_return(timeline, horizon)
    kept = [
        s
        for index, s in enumerate(timeline)
        if s is returned_from
        or not any(
            _outdoes(other, s, horizon) and not _holds_off(s, other, timeline) for other in timeline[index + 1 :]
        )
    ]
    if len(kept) <= MAX_STATEMENTS:
        return tuple(kept)
    joiners = [s for s in kept if not is_leave(s)]
    most = max(1, MAX_STATEMENTS // 3)
    leaves = [s for s in kept if is_leave(s)]
    return tuple(sorted([*joiners[-most:], *leaves[-(MAX_STATEMENTS - most) :]], key=Statement.rank))


def _holds_off(older: Statement, newer: Statement, timeline: Timeline) -> bool:
    """Return True if `older`, but not `newer`, keeps some joiner from taking effect, so that `older` is still needed."""
    return any(
        _forestalled_by(older, joiner) and not _forestalled_by(newer, joiner)
        for joiner in timeline
        if not is_leave(joiner)
    )


def _outdoes(newer: Statement, older: Statement, horizon: datetime) -> bool:
    """Return True if `older` has no effect any more because of `newer`. Both must be in effect at the horizon."""
    if is_leave(newer) is not is_leave(older) or max(newer.effective_at, older.effective_at) > horizon:
        return False
    at_least = (
        newer.occurred_at >= older.occurred_at
        and newer.said_at >= older.said_at
        and newer.effective_at >= older.effective_at
    )
    if is_leave(newer):
        # A statement that ends the newer leave also ends the older one, a conversion included.
        return at_least and (newer.effective_at > older.effective_at or newer.source == older.source)
    if older.force is Force.CONFIRMS and not older.explicit and newer.force is not Force.CANCELS:
        return newer.occurred_at >= older.occurred_at and newer.said_at >= older.said_at
    return at_least and newer.force is older.force and newer.explicit >= older.explicit and newer.source == older.source
