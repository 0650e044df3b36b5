"""Users' requests. The page writes them as objects, which are folded into the record later; the command line writes the record directly.

The page calls `ask`, which changes no record. Each wake-up and the due sweep call `take_up`, so a lost wake-up costs a
minute. Of the page's data, `take_up` trusts only the assertion that Identity-Aware Proxy signed. It folds each request exactly
once: the record's own conditional write stores the ids, and only then the objects are removed.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from shared.domain.intent.asking import MAX_TAKEN, asked_text, was_taken, with_asked, with_taken
from shared.domain.intent.roles import MAY, needed_for
from shared.domain.intent.wanted import with_wanted
from shared.domain.intent.wish import (
    LAPSES_AFTER,
    MAX_BYTES,
    NEVER_OWN,
    Asked,
    Wish,
    WishKind,
    from_json,
    may_ask,
    wish_id_of,
)
from shared.domain.record.record import Power, UserRecord
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError, NotSignedInError, Reason, RefusedError
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.engine.news.groups import role_of
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import WaitingWish
from shared.engine.reconcile.changing import Accepted, change_record
from shared.engine.reconcile.history import with_hold_told
from shared.engine.reconcile.seats import check_budget

_HOLDS = frozenset({WishKind.HOLD, WishKind.RELEASE})


class Fault(StrEnum):
    """The reason why a request is ignored. The list is closed, because the value is a metric label."""

    NO_WISH = "NoWish"
    NOT_SIGNED = "NotSigned"
    NOT_THEIRS = "NotTheirs"
    NOT_ADMINISTRATOR = "NotAdministrator"
    NOT_ROLE = "NotOfThatRole"
    OWN_CASE = "OwnCase"
    NOT_OFFERED = "NotOffered"
    NO_RECORD = "NoRecord"
    LAPSED = "Lapsed"


class Answer(Struct, frozen=True, kw_only=True):
    """The result of a click. `record` is the user's record with all waiting requests; `changed` is False if nothing would change."""

    record: UserRecord
    changed: bool


class _Judged(Struct, frozen=True, kw_only=True):
    """A request after all checks that need no record.

    If `fault` is None, no check has refused the request so far. `undecided` is the error if the group of administrators could not be read.
    """

    waiting: WaitingWish
    wish_id: str
    asked: Asked | None = None
    subject: UserEmail | None = None
    as_administrator: bool = False
    fault: Fault | None = None
    undecided: BenchkeeperError | None = None


# ---- the page's entry point


def ask(
    user_key: UserKey, asked: Asked, deps: Deps, *, subject: UserEmail, assertion: str, as_administrator: bool = False
) -> Answer | None:
    """Store a request of `subject` about a user, unless it would change nothing. Return None if there is no record.

    Raise `RefusedError`, which says what is allowed. The record is only read. Waiting requests already count, so a second click on
    Stop changes nothing. They are listed before the record is read: one that is folded in between is then in the record, and none
    is missed. When the request is folded in, it is judged again by the state at that time.
    """
    waiting = deps.inbox.waiting(user_key)
    stored = deps.records.load(user_key)
    if stored is None:
        return None
    now = deps.clock.now()
    current = with_waiting(with_wanted(stored.record, deps.policy, now), waiting, deps)
    by_person = subject == stored.record.email
    changed = with_asked(current, asked, deps.policy.catalog, now, by_person=by_person)
    if changed is current and asked.kind is not WishKind.LOOK_AGAIN:
        return Answer(record=current, changed=False)
    check_budget(current, asked, deps, now)
    wish = Wish(
        wish_id=secrets.token_hex(8),
        user_key=stored.record.user_key,
        asked=asked,
        as_administrator=as_administrator,
        asked_at=now,
        assertion=assertion,
    )
    deps.inbox.put(wish)
    deps.log.info("Stored a request from the page", user=wish.user_key, kind=asked.kind.value, by=user_key_for(subject))
    return Answer(record=changed, changed=True)


def with_waiting(record: UserRecord, waiting: tuple[WaitingWish, ...], deps: Deps) -> UserRecord:
    """Return the record as if all waiting requests were folded in now; a request that would be refused changes nothing."""
    for each in waiting:
        if each.shown is None or was_taken(record, each.shown.wish_id):
            continue
        try:
            record = with_asked(
                record,
                each.shown.asked,
                deps.policy.catalog,
                each.created_at,
                by_person=not each.shown.as_administrator,
            )
        except RefusedError:
            continue
    return record


# ---- folding requests in


def take_up(user_key: UserKey, deps: Deps) -> Accepted | None:
    """Fold a user's waiting requests into the record, in the order of creation. Return None if nothing waits or there is no record.

    Safe to repeat and to run concurrently. Raise an error while the inbox, the keys that verify signatures, or the
    record cannot be read. While a role's group cannot be read, administrators' requests wait in their order. The error
    is raised after the user's own requests are folded.
    """
    waiting = deps.inbox.waiting(user_key)
    if not waiting:
        return None
    judged: list[_Judged] = []
    undecided: BenchkeeperError | None = None
    for each in waiting:
        found = _judge(each, deps)
        if found.undecided is not None:
            undecided = undecided or found.undecided
        elif undecided is None or not found.as_administrator:
            judged.append(found)
    accepted = _folded(user_key, judged, frozenset(_id_of(each) for each in waiting), deps)
    if undecided is not None:
        raise undecided
    return accepted


def try_take_up(user_key: UserKey, deps: Deps) -> Accepted | None:
    """Call `take_up`, but log a `BenchkeeperError` and return None: the requests stay for the next sweep, and the pass continues."""
    try:
        return take_up(user_key, deps)
    except BenchkeeperError as error:
        deps.log.warning("Requests could not be read", user=user_key, reason=error.reason.value, detail=error.detail)
        return None


def _id_of(waiting: WaitingWish) -> str:
    return wish_id_of(waiting.name) or ""


def _judge(waiting: WaitingWish, deps: Deps) -> _Judged:
    """Return the request after every check that needs no record: form, signature, kind, age, and the subject's present role."""
    wish_id = _id_of(waiting)
    faulty = _Judged(waiting=waiting, wish_id=wish_id, fault=Fault.NO_WISH)
    if not wish_id or waiting.size > MAX_BYTES:
        return faulty
    raw = deps.inbox.read(waiting)
    if raw is None:  # another process folded it in
        return _Judged(waiting=waiting, wish_id=wish_id)
    try:
        wish = from_json(raw)
    except InvalidMessageError:
        return faulty
    if (wish.wish_id, wish.user_key) != (wish_id, waiting.user_key):
        return faulty
    fault: Fault | None = None
    subject: UserEmail | None = None
    try:
        subject = deps.sign_in.subject_of(wish.assertion, waiting.created_at)
    except NotSignedInError as error:
        deps.log.warning("Request had no valid signature", user=waiting.user_key, detail=error.detail)
        fault = Fault.NOT_SIGNED
    if fault is None and not may_ask(wish.asked.kind, as_administrator=wish.as_administrator):
        fault = Fault.NOT_OFFERED
    if fault is None and deps.clock.now() - waiting.created_at > LAPSES_AFTER:
        fault = Fault.LAPSED
    undecided: BenchkeeperError | None = None
    if fault is None and wish.as_administrator:
        try:
            fault = _fault_of_role(subject, wish.asked.kind, deps)
        except BenchkeeperError as error:
            undecided = error
    return _Judged(
        waiting=waiting,
        wish_id=wish_id,
        asked=wish.asked,
        subject=subject,
        as_administrator=wish.as_administrator,
        fault=fault,
        undecided=undecided,
    )


def _fault_of_role(subject: UserEmail | None, kind: WishKind, deps: Deps) -> Fault | None:
    """Return the reason why the subject's present role does not allow the request; None if the role allows it.

    Raise `BenchkeeperError` if a group cannot be read.
    """
    role = role_of(subject, deps) if subject is not None else None
    if role is None:
        return Fault.NOT_ADMINISTRATOR
    return None if needed_for(kind) in MAY[role] else Fault.NOT_ROLE


class _Fold(Struct):
    """The function that folds requests into the record as it was read. `change_record` may call it several times.

    After the last call, `faults` has the ignored requests by object name, each with its fault. `left` has the names of the requests left for
    the next time, because the record has too many ids of folded requests already.
    """

    judged: list[_Judged]
    listed: frozenset[str]
    deps: Deps
    faults: dict[str, Fault] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)

    def __call__(self, record: UserRecord) -> UserRecord:
        self.left.clear()
        self.faults.clear()
        now = self.deps.clock.now()
        result = with_wanted(record, self.deps.policy, now)
        taken: list[str] = []
        for each in self.judged:
            if was_taken(record, each.wish_id) or (each.fault is None and each.asked is None):
                continue
            fault = _fault_of(each, record)
            if fault is not None:
                self.faults[each.waiting.name] = fault
                if fault is not Fault.LAPSED:
                    continue
            if len(record.status.inbox.taken_wishes) + len(taken) >= MAX_TAKEN:
                self.left.add(each.waiting.name)
                continue
            result = _with_one(result, each, fault, self.deps, now)
            taken.append(each.wish_id)
        return with_taken(result, taken, self.listed, now) if taken else record


def _fault_of(each: _Judged, record: UserRecord) -> Fault | None:
    """Return the reason why this record does not accept the request, None if it does. The record's owner may be another user by now."""
    if each.fault not in {None, Fault.LAPSED}:
        return each.fault
    if each.asked is not None and each.asked.kind in NEVER_OWN and is_about(record, each.subject):
        return Fault.OWN_CASE
    is_theirs = each.subject == record.email and record.handover is None
    return each.fault if each.as_administrator or is_theirs else Fault.NOT_THEIRS


def is_about(record: UserRecord, subject: UserEmail | None) -> bool:
    """Return True if the record is the subject's own, by the present, an earlier, or an announced address."""
    own = {record.email, *record.former_emails, *((record.rename.new_email,) if record.rename is not None else ())}
    return subject in own or (subject is not None and user_key_for(subject) == record.user_key)


def _folded(user_key: UserKey, judged: list[_Judged], listed: frozenset[str], deps: Deps) -> Accepted | None:
    """Fold the requests by one conditional write, then remove their objects. Return None if there is no record.

    Ignored requests are removed, too; those in `_Fold.left` stay. After a crash in between, the record has the ids of the folded requests.
    """
    fold = _Fold(judged, listed, deps)
    accepted = change_record(user_key, fold, deps, wakes=True)
    faults = fold.faults
    if accepted is None:
        faults = {each.waiting.name: each.fault or Fault.NO_RECORD for each in judged if each.asked or each.fault}
    for name, fault in faults.items():
        deps.log.warning("Dropped a request", user=user_key, wish=name, reason=fault.value)
    if fold.left:
        deps.log.error("Left requests of one user for the next pass", user=user_key, left=len(fold.left))
    for each in judged:
        if each.waiting.name not in fold.left:
            deps.inbox.remove(each.waiting)
    return accepted


def _with_one(record: UserRecord, each: _Judged, fault: Fault | None, deps: Deps, now: datetime) -> UserRecord:
    """Return the record with one request folded in, or with a history line about its refusal; unchanged if the request changes nothing."""
    asked, subject = each.asked, each.subject
    if asked is None or subject is None:
        raise AssertionError("a wish without a fault has a subject")
    by = record.user_key if subject == record.email else user_key_for(subject)
    if fault is Fault.LAPSED:
        late = "The request was not carried out within a day, so it has expired. Ask again if you still want it."
        return _with_line(record, _refusal(asked, late, now))
    try:
        return _with_told(record, asked, deps, by=by)
    except RefusedError as error:
        deps.log.info("Refused a request", user=record.user_key, kind=asked.kind.value, detail=error.detail, by=by)
        return _with_line(record, _refusal(asked, error.user_message, now))


def _refusal(asked: Asked, because: str, now: datetime) -> StoryLine:
    text = f"{asked_text(asked)}: refused"
    return StoryLine(at=now, kind=StoryKind.WISH, text=text, because=because, ref=Reason.REFUSED.value)


def _with_told(before: UserRecord, asked: Asked, deps: Deps, *, by: str) -> UserRecord:
    """Return the record with the request and its history line; the same object if nothing changes. Raise `RefusedError` if not allowed."""
    now, by_person = deps.clock.now(), by == before.user_key
    if asked.kind is WishKind.RELEASE and before.hold is not None and deps.policy.guard.approvers > 1:
        raise RefusedError(
            user_message="The release of a hold needs another administrator: request it again on this person's page.",
            detail="a release that nobody else agreed to",
        )
    after = with_asked(before, asked, deps.policy.catalog, now, by_person=by_person)
    if after is before and asked.kind is not WishKind.LOOK_AGAIN:
        return before
    check_budget(before, asked, deps, now)
    if after.facts is not before.facts:
        after = with_wanted(after, deps.policy, now)
    if asked.kind in _HOLDS:
        deps.log.warning(asked_text(asked), user=before.user_key, because=asked.reason)
        return with_hold_told(before, after, by, now)
    deps.log.info("Accepted a request", user=before.user_key, wish=asked_text(asked), by=by)
    because = "asked for by the person" if by_person else f"asked for by {by}"
    return _with_line(after, StoryLine(at=now, kind=StoryKind.WISH, text=asked_text(asked), because=because, by=by))


def _with_line(record: UserRecord, line: StoryLine) -> UserRecord:
    return record.with_status(story=told(record.status.story, [line]))


# ---- the command line's entry points


def want_cluster(user_key: UserKey, template: str, deps: Deps, *, by: str) -> Accepted | None:
    """Request a Spark cluster of `template`; return None if there is no record. Raise `RefusedError`, which says what is allowed."""
    return _direct(user_key, Asked(kind=WishKind.START_CLUSTER, template=template), deps, by=by)


def drop_cluster(user_key: UserKey, template: str, deps: Deps, *, by: str) -> Accepted | None:
    """Withdraw the request for a Spark cluster of `template`. Return None if there is no record."""
    return _direct(user_key, Asked(kind=WishKind.DELETE_CLUSTER, template=template), deps, by=by)


def keep_on(user_key: UserKey, until: datetime | None, deps: Deps, *, by: str) -> Accepted | None:
    """Postpone the idle stop until `until`; None resumes the normal idle stop. Return None if there is no record. Raise `RefusedError` if `until` is too late."""
    kind = WishKind.KEEP_ON if until is not None else WishKind.END_KEEP_ON
    return _direct(user_key, Asked(kind=kind, until=until), deps, by=by)


def ask_power(user_key: UserKey, power: Power, deps: Deps, *, by: str) -> Accepted | None:
    """Request that the notebook runs or is stopped. Return None if there is no record.

    Raise `RefusedError` for a user without entitlement, and for a start if a group of the user has used up its monthly limit.
    """
    return _direct(user_key, Asked(kind=WishKind.START if power is Power.RUNNING else WishKind.STOP), deps, by=by)


def ask_restart(user_key: UserKey, deps: Deps, *, by: str) -> Accepted | None:
    """Request a restart of the running notebook. Return None if there is no record.

    Raise `RefusedError` for a user without entitlement, and for a notebook that does not run.
    """
    return _direct(user_key, Asked(kind=WishKind.RESTART), deps, by=by)


def ask_restore(user_key: UserKey, asked: Asked, deps: Deps, *, by: str) -> Accepted | None:
    """Request that the files of a copy are restored, or that the last restore is undone. Return None if there is no record.

    Raise `RefusedError` for a user without entitlement, and for a copy that does not exist.
    """
    return _direct(user_key, asked, deps, by=by)


def _direct(user_key: UserKey, asked: Asked, deps: Deps, *, by: str) -> Accepted | None:
    """Write the record at once, on behalf of the operator `by`; return None if there is no record. Raise `RefusedError` if not allowed.

    The wanted state is computed first, because assignments may have changed.
    """

    def change(record: UserRecord) -> UserRecord:
        current = with_wanted(record, deps.policy, deps.clock.now())
        changed = _with_told(current, asked, deps, by=by)
        return record if changed is current else changed

    return change_record(user_key, change, deps, wakes=True)
