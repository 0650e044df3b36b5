"""The guard against mass changes for one user: it decides if a cut waits, may happen, or was a mistake. Pure.

A cut is guarded where the wanted state is derived (`with_wanted`), so that no code path avoids the guard: while the cut
waits, the record keeps its previous spec. `shared.engine.reconcile.guard` finds out if the limits have room for the cut,
and then writes a clearance into the record.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.people.entitlement import Cause, Entitlement, judge_entitlement, ref_of, ref_of_leave
from shared.domain.people.events import Left, LifecycleEvent, statements_of
from shared.domain.people.facts import EMPLOYMENT, GROUP, ROSTER, Facts, in_effect
from shared.domain.plan.plan import Policy
from shared.domain.record.cuts import (
    CREATE,
    IDLE_STOP,
    IMPATIENT,
    OF_NO_CUT,
    Clearance,
    CutClass,
    KeptIn,
    StepKind,
    WaitingCut,
)
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import Reason
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey

_EMPLOYMENT = frozenset({Cause.LEFT, Cause.ACCESS_ENDED})
_ACCOUNT = frozenset(
    {
        Cause.ACCOUNT_SUSPENDED,
        Cause.ACCOUNT_ARCHIVED,
        Cause.ACCOUNT_DELETED,
        Cause.ACCOUNT_DISABLED,
        Cause.ACCOUNT_UNUSABLE,
    }
)
_GROUP = frozenset({Cause.NO_GROUP})
# How often a waiting record is reconciled: room becomes free all the time. Spread, so that a thousand do not come at once.
_LOOK_EVERY = timedelta(minutes=10)
_SPREAD_MINUTES = 20
_FOR_ONE_PASS = timedelta(hours=1)
_MOST_KEPT = 10
_WAITS = (
    "The end of access waits",
    "Access would end for many people at once. This waits until the limits allow it, or until administrators approve it.",
)
_STOPPED_FOR_NOW = (
    "Access ended for now",
    "Nobody decided in time, so Benchkeeper took the steps that can be undone. The other steps wait for an administrator's decision.",
)
_IDLE_REJECTED = timedelta(hours=12)  # long enough to fix what made every notebook look idle


class Cut(Struct, frozen=True, kw_only=True):
    """The end of a user's access. `ref` identifies the reason; the same reason stated again has the same `ref`."""

    ref: str
    cause: CutClass
    source: str


def cut_of(record: UserRecord, entitlement: Entitlement, now: datetime) -> Cut:
    """Return the cut that follows from an entitlement to nothing."""
    cause = entitlement.cause
    if entitlement.ref:
        kind = (
            CutClass.EMPLOYMENT if cause in _EMPLOYMENT else CutClass.ACCOUNT if cause in _ACCOUNT else CutClass.POLICY
        )
        return Cut(ref=entitlement.ref, cause=kind, source=entitlement.source)
    source = _last_about_groups(record.facts, now)
    kind = CutClass.GROUP if cause in _GROUP else CutClass.POLICY
    return Cut(ref=ref_of(cause.value, source), cause=kind, source=source)


def _last_about_groups(facts: Facts, now: datetime) -> str:
    """Return the source of the last statement about the user's groups; "" if no source made a statement."""
    said = [
        statement
        for name, timeline in facts.timelines.items()
        if name == ROSTER or name.startswith(GROUP)
        for statement in in_effect(timeline, now)
    ]
    return max(said, key=lambda statement: statement.rank()).source if said else ""


def guarded(
    record: UserRecord, entitlement: Entitlement, policy: Policy, now: datetime
) -> tuple[UserRecord, Entitlement | None]:
    """Return the record with the guard's state, and the entitlement that applies.

    The entitlement is None if the wanted state must not change.
    """
    status = record.status
    clearance = (
        status.guard.clearance if status.guard.clearance is not None and now < status.guard.clearance.until else None
    )
    if not policy.cuts_wait:
        return record, entitlement
    if entitlement.cause is Cause.BLOCKED:
        # A person looked at this one user: there is no list to wait for, and no mistake of a feed.
        return _remembering(record, waiting=None, clearance=None, kept_in=status.guard.kept_in), entitlement
    if entitlement.entitled:
        announced = clearance if clearance is not None and clearance.ref in {"", *OF_NO_CUT} else None
        kept_in = status.guard.kept_in
        if any(kept.ref not in OF_NO_CUT for kept in kept_in) and not _is_kept(record, policy, now):
            kept_in = tuple(kept for kept in kept_in if kept.ref in OF_NO_CUT)
        return _remembering(record, waiting=None, clearance=announced, kept_in=kept_in), entitlement
    waiting = status.guard.waiting_cut
    if record.spec.presence is Presence.ABSENT and waiting is None:
        return _remembering(record, waiting=None, clearance=clearance, kept_in=status.guard.kept_in), entitlement
    cut = cut_of(record, entitlement, now)
    if clearance is not None and clearance.ref in {"", cut.ref}:
        left = clearance if not clearance.ref else None
        others = tuple(kept for kept in status.guard.kept_in if kept.ref != cut.ref)
        return _remembering(record, waiting=None, clearance=left, kept_in=others), entitlement
    kept = next((each for each in status.guard.kept_in if each.ref == cut.ref), None)
    if kept is not None:
        because = f"kept by an operator's decision: the cut was a mistake (list {kept.digest[:12]})"
        stays = Entitlement(profile=record.spec.profile, because=because, cause=Cause.KEPT_IN)
        return _remembering(record, waiting=None, clearance=clearance, kept_in=status.guard.kept_in), stays
    waiting = _waiting(waiting, cut, now)
    if cut.ref == status.guard.urgent and not waiting.urgent:
        waiting = replace(waiting, urgent=True)
    record = _remembering(record, waiting=waiting, clearance=clearance, kept_in=status.guard.kept_in)
    if waiting.undoable_at is not None:
        return record, entitlement
    if record.spec.presence is Presence.PRESENT:
        return record, None
    # Stopped for a reason that is over. The new cut waits, and a user whose cut waits may work.
    because = "the end of access waits for room, or for an approval"
    return record, Entitlement(profile=record.spec.profile, because=because, cause=Cause.CUT_WAITS)


def _is_kept(record: UserRecord, policy: Policy, now: datetime) -> bool:
    """Return True if the user has access only because an operator marked a cut as a mistake."""
    return not judge_entitlement(record.facts, policy.catalog, now, policy.book).entitled


def with_kept_in(record: UserRecord, kept: KeptIn) -> UserRecord:
    """Return the record with one more cut marked as a mistake; the same object if the record knows that mark.

    A mark replaces an earlier mark with the same `ref`. Only the last ten marks stay.
    """
    known = record.status.guard.kept_in
    if any((each.ref, each.digest) == (kept.ref, kept.digest) for each in known):
        return record
    others = [each for each in known if each.ref != kept.ref]
    return record.with_status(kept_in=(*others, kept)[-_MOST_KEPT:])


def _waiting(known: WaitingCut | None, cut: Cut, now: datetime) -> WaitingCut:
    """Return the waiting cut. Another reason of the same kind does not restart the wait, because the cut is due in any case.

    If only one of the two cuts, `known` and `cut`, has a limited wait, the wait starts again.
    """
    if known is None or (known.cause in IMPATIENT) is not (cut.cause in IMPATIENT):
        return WaitingCut(ref=cut.ref, cause=cut.cause, source=cut.source, since=now)
    return replace(known, ref=cut.ref, cause=cut.cause, source=cut.source)


def _remembering(
    record: UserRecord, *, waiting: WaitingCut | None, clearance: Clearance | None, kept_in: tuple[KeptIn, ...]
) -> UserRecord:
    status = record.status
    if (status.guard.waiting_cut, status.guard.clearance, status.guard.kept_in) == (waiting, clearance, kept_in):
        return record
    return record.with_status(waiting_cut=waiting, clearance=clearance, kept_in=kept_in)


def with_urgency(record: UserRecord, event: LifecycleEvent) -> UserRecord:
    """Return the record with the urgent leave noted if the event is an urgent leave; otherwise return the record unchanged."""
    if not isinstance(event, Left) or not event.urgent:
        return record
    refs = (ref_of_leave(statement) for name, statement in statements_of(event) if name == EMPLOYMENT)
    return record.with_status(urgent=next(refs, record.status.guard.urgent))


def without_waiting(record: UserRecord) -> UserRecord:
    """Return the record without its waiting cut. Call if no fact ends the user's access now."""
    return record if record.status.guard.waiting_cut is None else record.with_status(waiting_cut=None)


def with_wait_told(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record with a line of the history about its waiting cut; the same object if no cut waits.

    A wait for the creation of an environment gets no line here, because a condition reports that wait.
    """
    waiting = record.status.guard.waiting_cut
    if waiting is None:
        return record
    text, because = _STOPPED_FOR_NOW if waiting.undoable_at is not None else _WAITS
    line = StoryLine(at=now, kind=StoryKind.DECISION, text=text, because=because, by=waiting.source)
    return record.with_status(story=told(record.status.story, [line]))


def asks_for_room(record: UserRecord) -> bool:
    """Return True if a cut waits and no part of it is done yet."""
    waiting = record.status.guard.waiting_cut
    return waiting is not None and waiting.undoable_at is None and record.spec.presence is Presence.PRESENT


def waits_for_creation(record: UserRecord) -> datetime | None:
    """Return the time since which the guard delays the creation of the environment; None if the guard does not delay it."""
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    if record.spec.presence is not Presence.PRESENT or ready is None or ready.reason is not Reason.GUARD_WAITS:
        return None
    return ready.last_transition_time


def may_be_created(record: UserRecord, now: datetime) -> bool | None:
    """Return True if the creation of this user's environment was approved, False if it was rejected, None if not decided."""
    clearance = record.status.guard.clearance
    if clearance is not None and clearance.ref == CREATE and now < clearance.until:
        return True
    return False if any(kept.ref == CREATE for kept in record.status.guard.kept_in) else None


def may_be_stopped_idle(record: UserRecord, now: datetime) -> bool | None:
    """Return True if an idle stop of this notebook was approved, False if it was rejected, None without a recent decision.

    Such a decision is needed only while most notebooks look idle.
    """
    clearance = record.status.guard.clearance
    if clearance is not None and clearance.ref == IDLE_STOP and now < clearance.until:
        return True
    rejected = any(kept.ref == IDLE_STOP and now - kept.at < _IDLE_REJECTED for kept in record.status.guard.kept_in)
    return False if rejected else None


def steps_of(record: UserRecord) -> tuple[StepKind, ...]:
    """Return the effects that a cut would have on the user.

    Without effects, the user has nothing to lose, and no approval is needed.
    """
    status = record.status
    has_notebook = bool(
        status.notebook.instance_uid
        or status.notebook.was_active
        or status.notebook.operation
        or status.notebook.former
        or status.data.restoring
    )
    has_clusters = bool(record.spec.clusters) or any(known.is_there for known in status.clusters)
    found = {
        StepKind.STOP: has_notebook,
        StepKind.REVOKE: status.account.account_id is not None,
        StepKind.END_CLUSTERS: has_clusters,
    }
    return tuple(kind for kind, does in found.items() if does)


def cleared(record: UserRecord, *, by: str, now: datetime) -> UserRecord:
    """Return the record with a clearance for its waiting cut, valid for one hour; the same object if no cut waits."""
    waiting = record.status.guard.waiting_cut
    if waiting is None:
        return record
    return record.with_status(clearance=Clearance(ref=waiting.ref, by=by, until=now + _FOR_ONE_PASS))


def is_out_of_patience(waiting: WaitingCut, policy: Policy, now: datetime) -> bool:
    """Return True if the part of the cut that can be undone should be done without an approval."""
    ends = _patience_ends(waiting, policy)
    return ends is not None and ends <= now


def without_patience(record: UserRecord, now: datetime) -> UserRecord:
    """Return the record for which the reversible part of the waiting cut is carried out from now on."""
    waiting = record.status.guard.waiting_cut
    return record if waiting is None else record.with_status(waiting_cut=replace(waiting, undoable_at=now))


def _patience_ends(waiting: WaitingCut, policy: Policy) -> datetime | None:
    if policy.guard.patience is None or waiting.cause not in IMPATIENT:
        return None
    return waiting.since + policy.guard.patience


def next_look(record: UserRecord, policy: Policy, now: datetime) -> datetime | None:
    """Return the time of the next check for room for the waiting cut; None if no cut waits for room."""
    waiting = record.status.guard.waiting_cut
    if waiting is None or not asks_for_room(record):
        return None
    ends = _patience_ends(waiting, policy)
    look = now + _LOOK_EVERY + timedelta(minutes=_spread(record.user_key))
    return look if ends is None or ends <= now else min(look, ends)


def _spread(user_key: UserKey) -> int:
    return int(hashlib.sha256(user_key.encode()).hexdigest()[:8], 16) % _SPREAD_MINUTES
