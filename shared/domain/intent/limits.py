"""Limits by group, for one user: the limited groups that count the user, and those in which the user has no seat yet.

Pure.

A seat is a place among the members of a group that may have an environment at once. `shared.engine.reconcile.seats` claims it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.people.entitlement import Cause
from shared.domain.people.facts import Facts
from shared.domain.plan.plan import Policy
from shared.domain.record.record import Presence, Spec, UserRecord
from shared.domain.things.catalog import Assignment

# How often a waiting user is looked at again. Spread, so that those of a full group do not all come at once.
_LOOK_EVERY = timedelta(minutes=10)
_SPREAD_MINUTES = 20
LOOKS_WITHIN = _LOOK_EVERY + timedelta(minutes=_SPREAD_MINUTES)
_KEPT = frozenset({Cause.KEPT_IN, Cause.CUT_WAITS})


def limited_by(old: Spec, spec: Spec, facts: Facts, policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return the limited groups that count a user.

    They are all limited groups of which the user is a member, even if another group entitles the user.

    A user whose cut waits, or was a mistake, counts as before: the environment is still there.
    """
    limited = policy.catalog.limited
    if not limited or spec.presence is Presence.ABSENT:
        return ()
    if spec.cause in _KEPT:
        return tuple(each.group for each in limited if each.group in old.limited_by)
    return _of(limited, facts, policy, now)


def paid_by(old: Spec, spec: Spec, facts: Facts, policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return the groups with a monthly limit that pay for a user.

    For a leaver, the groups that paid before, because the leaver's costs count in that month.
    """
    budgeted = policy.catalog.budgeted
    if not budgeted:
        return ()
    if spec.presence is Presence.ABSENT or spec.cause in _KEPT:
        return tuple(each.group for each in budgeted if each.group in old.paid_by)
    return _of(budgeted, facts, policy, now)


def _of(limited: tuple[Assignment, ...], facts: Facts, policy: Policy, now: datetime) -> tuple[str, ...]:
    book = policy.book
    held = {book.identity(group, said.occurred_at) for group, said in facts.groups(now, book).items()} - {None}
    return tuple(each.group for each in limited if book.identity(each.group, now) in held)


def next_seat_look(record: UserRecord, now: datetime) -> datetime | None:
    """Return the time of the next search for a seat; None if the user has all seats."""
    if not record.missing_seats and record.status.guard.seat_wait is None:
        return None
    spread = int(hashlib.sha256(record.user_key.encode()).hexdigest()[:8], 16) % _SPREAD_MINUTES
    return now + _LOOK_EVERY + timedelta(minutes=spread)


def with_limits(old: UserRecord, spec: Spec, policy: Policy, now: datetime) -> Spec:
    """Return the wanted state with the limited groups that count the user.

    For a user who was stopped without a decision, the groups stay.
    """
    catalog = policy.catalog
    if not catalog.limited and not catalog.budgeted and not old.spec.limited_by and not old.spec.paid_by:
        return spec
    spec = replace(spec, paid_by=paid_by(old.spec, spec, old.facts, policy, now))
    if old.status.guard.waiting_cut is not None and spec.presence is Presence.ABSENT:
        return replace(spec, limited_by=old.spec.limited_by)
    return replace(spec, limited_by=limited_by(old.spec, spec, old.facts, policy, now))
