"""The step from facts to the wanted state: the only place where a record's `spec` is derived from facts. Pure.

The wanted state names the limited groups that count the user. A limited group has a number of seats: places for members who
have an environment at the same time. `shared.engine.reconcile.seats` claims a seat.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.intent.guard import guarded, without_waiting
from shared.domain.intent.question import is_other_person
from shared.domain.intent.wish import with_profile_templates
from shared.domain.people.entitlement import Cause, Entitlement, judge_entitlement
from shared.domain.people.events import LifecycleEvent, statements_of
from shared.domain.people.facts import DELETED, Facts
from shared.domain.plan.plan import Policy
from shared.domain.record.cuts import OF_NO_CUT
from shared.domain.record.marks import with_later_news
from shared.domain.record.record import Hold, Power, Presence, Spec, UserRecord
from shared.domain.record.status import Notice, Status
from shared.domain.things.catalog import Assignment
from shared.domain.things.identity import UserEmail, UserKey, account_id_for, first_instance_id, user_key_for
from shared.domain.things.power import PowerCause, PowerReason

# How often a waiting user is looked at again. Spread, so that those of a full group do not all come at once.
_LOOK_EVERY = timedelta(minutes=10)
_SPREAD_MINUTES = 20
LOOKS_WITHIN = _LOOK_EVERY + timedelta(minutes=_SPREAD_MINUTES)
_KEPT = frozenset({Cause.KEPT_IN, Cause.CUT_WAITS})


def limited_by(old: Spec, spec: Spec, facts: Facts, policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return the limited groups that count a user.

    These are all limited groups of which the user is a member, even if another group entitles the user. No group counts a
    leaver. A user whose cut waits, or was a mistake, counts as before, because the environment still exists.
    """
    limited = policy.catalog.limited
    if not limited or spec.presence is Presence.ABSENT:
        return ()
    if spec.cause in _KEPT:
        return tuple(each.group for each in limited if each.group in old.limited_by)
    return _of(limited, facts, policy, now)


def paid_by(old: Spec, spec: Spec, facts: Facts, policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return the groups with a monthly limit that pay for a user.

    For a leaver, return the groups that paid before, because the leaver's costs count in that month. The same holds for a
    user whose cut waits, or was a mistake.
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
    """Return the time of the next search for a seat; None if the user waits for no seat."""
    if not record.missing_seats and record.status.guard.seat_wait is None:
        return None
    spread = int(hashlib.sha256(record.user_key.encode()).hexdigest()[:8], 16) % _SPREAD_MINUTES
    return now + _LOOK_EVERY + timedelta(minutes=spread)


def with_limits(old: UserRecord, spec: Spec, policy: Policy, now: datetime) -> Spec:
    """Return the wanted state with the limited groups that count the user, and with the groups that pay for the user.

    The limited groups of a user who was stopped without a decision do not change.
    """
    catalog = policy.catalog
    if not catalog.limited and not catalog.budgeted and not old.spec.limited_by and not old.spec.paid_by:
        return spec
    spec = replace(spec, paid_by=paid_by(old.spec, spec, old.facts, policy, now))
    if old.status.guard.waiting_cut is not None and spec.presence is Presence.ABSENT:
        return replace(spec, limited_by=old.spec.limited_by)
    return replace(spec, limited_by=limited_by(old.spec, spec, old.facts, policy, now))


COST_CENTER = "cost_center"
# How far back facts can still be evaluated: more than clocks differ.
HORIZON = timedelta(hours=1)
# A change of presence that was stated longer ago than this was imported or repeated, so the user did not wait since then.
_NEWS_AGE = timedelta(days=1)


def new_record(email: UserEmail, now: datetime) -> UserRecord:
    """Return a new record without facts: the user is not entitled to anything yet."""
    return UserRecord(
        user_key=user_key_for(email),
        email=email,
        facts=Facts.none(),
        spec=Spec(
            presence=Presence.ABSENT,
            power=Power.STOPPED,
            power_reason=PowerReason(cause=PowerCause.UNKNOWN),
            profile=None,
            because="nothing known",
        ),
        status=Status(generation=0),
        created_at=now,
    )


def with_event(
    record: UserRecord, event: LifecycleEvent, now: datetime, *, entitling: frozenset[str] = frozenset()
) -> UserRecord:
    """Return the record with the statements of the event; the same object if the statements add nothing new.

    A new statement also ends the mark that a dead letter left. `entitling` are the addresses of groups that entitle. If there
    are too many facts about groups, the facts about other groups are dropped first.
    """
    facts = record.facts
    for name, statement in statements_of(event):
        facts = facts.with_statement(name, statement, now - HORIZON, kept=entitling)
    if facts is record.facts:
        return record
    # The record of a user whose data was erased has no address; a new message about the user brings the address again.
    told = replace(
        record,
        email=record.email or event.user,
        facts=facts,
        status=record.status.changed(last_event_id=event.event_id),
    )
    return with_later_news(told, now)


def with_wanted(record: UserRecord, policy: Policy, now: datetime) -> UserRecord:
    """Return the record with its spec derived from its facts at `now`. The content is the same if nothing changed.

    The wanted state of an entitled user does not change if the configuration no longer has the requested profile, because
    that is a mistake in the configuration. While a cut waits, the user keeps access (`shared.domain.intent.guard`), unless
    the guard's patience is over.
    """
    judged = _entitlement(record, policy, now)
    is_lost = judged.unknown_profile is not None and record.spec.presence is Presence.PRESENT
    was_undecided = record.is_undecided
    if is_lost:
        record, entitlement = without_waiting(record), None
    else:
        record, entitlement = guarded(record, judged, policy, now)
    record = record.with_status(notices=notices_of(record, judged, policy, now))
    if entitlement is None:
        return record.with_status(entitling_digest=policy.entitling_digest())
    cost_center = str(record.facts.attribute(COST_CENTER, now) or "")
    spec = _spec(record.spec, entitlement, now)
    if was_undecided and not record.is_undecided and spec.presence is Presence.ABSENT:
        spec = replace(spec, absent_since=now)  # the cut was approved only now: the retention begins
    offered = policy.catalog.profiles.get(spec.profile or "")
    spec = with_profile_templates(replace(record, spec=spec), offered).spec
    spec = with_limits(record, spec, policy, now)
    status = record.status
    if spec.presence is not record.spec.presence:
        status = status.changed(
            power_settled=False,
            failed_zones=(),
            attempts=0,
            not_before=None,
            waiting_since=_news_time(record.facts, now),
            asks_seat=bool(spec.limited_by or spec.paid_by) and spec.presence is Presence.PRESENT and not was_undecided,
        )
    if spec.presence is Presence.PRESENT:
        # The name by the first address (`instance_id_for`): the address may have changed before the instance was named.
        status = status.changed(
            instance_id=status.notebook.instance_id or first_instance_id(record.user_key),
            zone=status.notebook.zone or policy.zones[0],
        )
        status = _with_account(status, record.user_key, spec.profile, policy)
    if _what_counts(spec, cost_center) != _what_counts(record.spec, record.cost_center) or status.generation == 0:
        status = status.changed(generation=status.generation + 1)
    status = status.changed(entitling_digest=policy.entitling_digest())
    return replace(record, spec=spec, status=status, cost_center=cost_center)


def _entitlement(record: UserRecord, policy: Policy, now: datetime) -> Entitlement:
    """Return the entitlement that the facts give.

    A new user is entitled to nothing while a waiting change of address may give the user's address to another user.
    """
    mistakes = frozenset(kept.ref for kept in record.status.guard.kept_in)
    entitlement = judge_entitlement(record.facts, policy.catalog, now, policy.book, mistakes=mistakes)
    claim = record.claim
    if entitlement.entitled and claim is not None and now < claim.until and record.spec.presence is Presence.ABSENT:
        because = f"another user may get the address; waits until {claim.until:%Y-%m-%d %H:%M} UTC at most"
        return Entitlement(profile=None, because=because, cause=Cause.ADDRESS_WAITS)
    return entitlement


def notices_of(record: UserRecord, entitlement: Entitlement, policy: Policy, now: datetime) -> tuple[Notice, ...]:
    """Return the notices about the user for the manager's page, in the order of the enum."""
    employment = record.facts.employment(now)
    found = _guard_notices(record)
    if employment.confirmed_since is not None:
        found.add(Notice.STILL_LISTED)
    if employment.tied is not None:
        found.add(Notice.TIE_WENT_TO_LEAVER)
    if record.facts.overruled_groups(now):
        found.add(Notice.DIRECTORY_OVERRULES)
    if entitlement.cause is Cause.ACCOUNT_DELETED and record.handover is None:
        deleted = record.facts.at(DELETED, now)
        hired = employment.decides if employment.employed else None
        if deleted is not None and hired is not None and hired.said_at > deleted.said_at:
            found.add(Notice.DELETED_BUT_JOINED)
    if record.predecessor is not None and not is_other_person(record):
        found.add(Notice.SAME_PERSON)
    if record.rename is not None:
        found.add(Notice.RENAME_WAITS)
    since = record.spec.absent_since
    if entitlement.cause is Cause.ACCOUNT_SUSPENDED and since is not None and since + policy.retention <= now:
        found.add(Notice.SUSPENDED_LONG)
    if entitlement.cause is Cause.ADDRESS_WAITS:
        found.add(Notice.ADDRESS_WAITS)
    if entitlement.entitled and policy.book.waits:
        agreed = judge_entitlement(record.facts, policy.catalog, now, policy.book.agreed())
        if not agreed.entitled:
            found.add(Notice.GROUP_WAITS)
    return tuple(notice for notice in Notice if notice in found)


def _guard_notices(record: UserRecord) -> set[Notice]:
    status = record.status
    found = {Notice.CUT_WAITS} if status.guard.waiting_cut is not None else set()
    found |= {Notice.NOT_TOLD} if status.mail.is_untold else set()
    if record.facts.blocked() is not None:
        found.add(Notice.BLOCKED)
    return found | ({Notice.KEPT_IN} if any(kept.ref not in OF_NO_CUT for kept in status.guard.kept_in) else set())


def _with_account(status: Status, user_key: UserKey, profile_name: str | None, policy: Policy) -> Status:
    """Return the status with the names of the account and of the group that gives the account its data roles.

    Both names are recorded before any request to the cloud, so that both can be removed later. The status does not change if
    the profile needs no account.
    """
    profile = policy.catalog.profiles.get(profile_name or "")
    if profile is None or not profile.needs_account:
        return status
    group = (profile.data_group,) if profile.data_group is not None else ()
    return status.changed(
        account_id=status.account.account_id or account_id_for(user_key),
        data_groups=tuple(dict.fromkeys([*status.account.data_groups, *group])),
    )


def _news_time(facts: Facts, now: datetime) -> datetime:
    """Return the time since which the user waits for a change of presence.

    This is the time of the newest statement. If that statement is older than a day, it was imported or repeated, or the
    assignments changed; the wait then begins now.
    """
    newest = facts.newest(now)
    return newest if newest is not None and now - _NEWS_AGE <= newest <= now else now


def with_power(record: UserRecord, power: Power, reason: PowerReason) -> UserRecord:
    """Return the record with a new wanted power state, not settled yet, and a new generation."""
    spec = replace(record.spec, power=power, power_reason=reason)
    status = record.status.changed(power_settled=False, generation=record.status.generation + 1)
    return replace(record, spec=spec, status=status)


def with_hold(record: UserRecord, hold: Hold | None) -> UserRecord:
    """Return the record with the hold, or without a hold if `hold` is None; the same object if nothing changes.

    A renewed hold keeps its start time.
    """
    now_held = record.hold.reason if record.hold is not None else None
    if now_held == (hold.reason if hold is not None else None):
        return record
    if hold is not None and record.hold is not None:
        hold = replace(hold, since=record.hold.since)
    return replace(record, hold=hold).with_status(generation=record.status.generation + 1)


def _spec(old: Spec, entitlement: Entitlement, now: datetime) -> Spec:
    if not entitlement.entitled:
        return Spec(
            presence=Presence.ABSENT,
            power=Power.STOPPED,
            power_reason=PowerReason(cause=PowerCause.NOT_ENTITLED),
            profile=old.profile,  # kept, so that the tombstone still names the last profile
            because=entitlement.because,
            absent_since=_absent_since(old, entitlement, now),
            cause=entitlement.cause,
        )
    if old.presence is Presence.PRESENT:
        return replace(
            old,
            profile=entitlement.profile,
            because=entitlement.because,
            cause=entitlement.cause,
            entitled_by=entitlement.group,
        )
    return Spec(
        presence=Presence.PRESENT,
        power=Power.RUNNING,
        power_reason=PowerReason(cause=PowerCause.JOINED),
        profile=entitlement.profile,
        because=entitlement.because,
        cause=entitlement.cause,
        entitled_by=entitlement.group,
    )


def _absent_since(old: Spec, entitlement: Entitlement, now: datetime) -> datetime:
    """Return the time at which entitlement ended.

    If a suspension turns into another end of access, the time starts anew, so the user's data gets the whole retention.
    """
    if old.presence is Presence.PRESENT or old.absent_since is None:
        return now
    pause = Cause.ACCOUNT_SUSPENDED
    return now if old.cause is pause and entitlement.cause is not pause else old.absent_since


def _what_counts(spec: Spec, cost_center: str) -> tuple[object, ...]:
    return (spec.presence, spec.power, spec.profile, spec.clusters, cost_center, spec.limited_by)
