"""The execution of decisions about one user or one group. Called by `shared.engine.decisions.decisions` once enough administrators agree.

Every step may be repeated after a crash: a decision is an object that stays until it has taken effect. The current state is
checked first, so that a decision about an outdated question changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.decision import About, Verdict
from shared.domain.intent.handover import is_to_be_joined, joined_by_word, with_earlier_holder
from shared.domain.intent.question import (
    Question,
    group_ref,
    handover_ref,
    is_other_person,
    release_of,
    rename_ref,
    same_person_ref,
    with_rejected,
)
from shared.domain.intent.renaming import confirmed, led_again, owns_something, without_claim, without_rename
from shared.domain.intent.wanted import with_hold, with_wanted
from shared.domain.plan.plan import Policy
from shared.domain.record.cuts import Clearance, CutClass
from shared.domain.record.record import Rejected, UserRecord
from shared.domain.things.errors import ConflictError, UnsupportedMessageError
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserKey, user_key_for
from shared.engine.news.groups import concerned_by
from shared.engine.news.intake import accept
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.changing import change_record
from shared.engine.reconcile.history import with_hold_told
from shared.engine.reconcile.repair import load_mended

_TRIES = 8
_BY_GROUP = frozenset({CutClass.GROUP, CutClass.POLICY})


class Effect(StrEnum):
    """The effect of a decision. The value is written to the log, so the list is closed."""

    DONE = "done"
    DIFFERENT = "different"  # no longer waiting, or the state changed meanwhile: the decision does not cover it
    TWO = "two-environments"  # both users own resources, and two environments cannot be merged


class Answer(Struct, frozen=True, kw_only=True):
    """A question with its verdict, and the keys of the users who decided."""

    question: Question
    verdict: Verdict
    by: Sequence[str]

    @property
    def names(self) -> str:
        """The keys of the users in `by`, as one line of text."""
        return " and ".join(self.by)

    @property
    def digest(self) -> str:
        """The question's digest."""
        return self.question.digest


def carry_out(answer: Answer, deps: Deps) -> Effect:
    """Carry out the answer and return its effect. Raise an error if that fails; the next tick tries again."""
    approved = answer.verdict is Verdict.APPROVE
    match answer.question.about:
        case About.RENAME:
            return _rename(answer, deps) if approved else _no_rename(answer, deps)
        case About.SAME_PERSON:
            return _join(answer, deps) if approved else _other_person(answer, deps)
        case About.RELEASE:
            return _release(answer, deps) if approved else Effect.DONE
        case About.GROUP:
            return _group(answer, deps)
        case About.CUTS | About.POLICY | About.WAVES | About.LETTER:
            raise AssertionError("a list is no question")
        case _:
            assert_never(answer.question.about)


def is_open(question: Question, deps: Deps) -> bool:
    """Return True if exactly this question still waits for an answer."""
    if question.about is About.GROUP:
        return any(group_ref(each) == question.ref and each.waits for each in deps.books.load().book.events)
    stored = deps.records.load(question.people[0])
    if stored is None or stored.record.user_key != question.people[0]:
        return False
    match question.about:
        case About.RENAME:
            return rename_question(stored.record) == question
        case About.RELEASE:
            return release_of(stored.record) == question
        case _:
            new = deps.records.load(question.people[1])
            return new is not None and same_person_question(stored.record, new.record) == question


def finish(question: Question, deps: Deps) -> None:
    """Make an address's key lead to its record, in case a crash interrupted the answer to this question."""
    if question.about is About.RENAME:
        _lead_again(question, deps)
    elif question.about is About.SAME_PERSON:
        found = holders(question, deps)
        if found is not None and found[0].record.handover is None:
            deps.records.point(found[1].record.user_key, found[0].record.user_key, expected=found[1])


# ---- a changed address


def both_own(record: UserRecord, deps: Deps) -> bool:
    """Return True if the user's record and the record of the new address both own resources, so that a rename is impossible."""
    change = confirmed(record)
    if change is None or not owns_something(record):
        return False
    other = _claimed_by(record, deps)
    return other is not None and owns_something(other.record)


def _claimed_by(record: UserRecord, deps: Deps) -> Stored | None:
    """Return the record of the new address; None if that key has no other record, or the record is not known by the address."""
    change = confirmed(record)
    if change is None:
        return None
    found = deps.records.load(user_key_for(change.new_user))
    if found is None or found.record.user_key == record.user_key or not found.record.is_known_as(change.new_user):
        return None
    return found


def _rename(answer: Answer, deps: Deps) -> Effect:
    """Change the address as a confirmed `Renamed` event does. Return TWO, and change nothing, if both addresses own resources."""
    question = answer.question
    stored = load_mended(question.people[0], deps)
    if stored is None:
        return Effect.DIFFERENT
    record = stored.record
    if rename_question(record) != question:
        _lead_again(question, deps)  # the record was written before a crash, perhaps without the pointer
        return Effect.DIFFERENT
    if both_own(record, deps):
        return Effect.TWO
    change = confirmed(record)
    if change is None:
        raise AssertionError("a change waits")
    try:
        accept(change, deps)
    except UnsupportedMessageError:
        return Effect.TWO
    _note(record.user_key, "The changed address was approved", answer, deps)
    return Effect.DONE


def _lead_again(question: Question, deps: Deps) -> None:
    stored = load_mended(question.people[0], deps)
    change = led_again(stored.record, question.people[1]) if stored is not None else None
    if change is not None:
        accept(change, deps)


def _no_rename(answer: Answer, deps: Deps) -> Effect:
    """Drop the change, then end the claim on the new address. Earlier statements about either address stay."""
    question, now = answer.question, deps.clock.now()
    owner, other = question.people
    by = " ".join(answer.by)

    def forget(record: UserRecord) -> UserRecord:
        if rename_question(record) != question:
            return record
        changed = without_rename(record, ref=question.ref, by=by, digest=answer.digest, now=now)
        if changed is record:
            return record
        return _told(with_wanted(changed, deps.policy, now), "The changed address was rejected", answer, now)

    accepted = change_record(owner, forget, deps, wakes=True)
    if accepted is None or not any(each.digest == answer.digest for each in accepted.stored.record.rejected):
        return Effect.DIFFERENT
    kept = accepted.stored.record

    def unclaimed(record: UserRecord) -> UserRecord:
        changed = without_claim(record, kept)
        return record if changed is record else with_wanted(changed, deps.policy, now)

    if other != kept.user_key:
        change_record(other, unclaimed, deps, wakes=True)
    return Effect.DONE


# ---- a new account under an address


def holders(question: Question, deps: Deps) -> tuple[Stored, Stored] | None:
    """Return the records of an address's two holders if the question is open, or if a crash interrupted its answer; None otherwise."""
    old, new = (load_mended(key, deps) for key in question.people)
    if old is None or new is None or (old.record.user_key, new.record.user_key) != question.people:
        return None  # one key leads to the other: they are merged already
    return (old, new) if is_to_be_joined(old.record, new.record, question.ref) else None


def _join(answer: Answer, deps: Deps) -> Effect:
    """Merge the two holders, as the same HR number does. The record that owns resources stays; the other key becomes a pointer.

    The record that stays is written first, then the pointer; the next tick repairs a crash between the two.
    """
    found = holders(answer.question, deps)
    if found is None:
        return Effect.DIFFERENT
    old, new = found
    if old.record.handover is not None and is_other_person(new.record):
        return Effect.DIFFERENT  # the question was answered before
    if owns_something(old.record) and owns_something(new.record):
        return Effect.TWO
    now = deps.clock.now()
    kept, gone = (new, old) if owns_something(new.record) else (old, new)

    def joined(record: UserRecord) -> UserRecord:
        if kept is old:
            whole = joined_by_word(record, gone.record, now)
        else:
            whole = with_earlier_holder(record, joined_by_word(gone.record, record, now))
        if whole == record:
            return record
        return _told(with_wanted(whole, deps.policy, now), "The new account is the same person's", answer, now)

    accepted = change_record(kept.record.user_key, joined, deps, wakes=True)
    if accepted is None:
        return Effect.DIFFERENT
    deps.records.point(gone.record.user_key, accepted.stored.record.user_key, expected=gone)
    return Effect.DONE


def _other_person(answer: Answer, deps: Deps) -> Effect:
    """Store that the two holders are different people. HR's number may still show later that they are one person."""
    found = holders(answer.question, deps)
    if found is None or found[0].record.handover is None:
        return Effect.DIFFERENT
    now, ref = deps.clock.now(), same_person_ref(answer.question.people[0])

    def apart(record: UserRecord) -> UserRecord:
        if any(each.digest == answer.digest for each in record.rejected):
            return record
        rejected = Rejected(ref=ref, event="", by=" ".join(answer.by), digest=answer.digest, at=now)
        changed = replace(record, rejected=with_rejected(record, rejected))
        return _told(with_wanted(changed, deps.policy, now), "The new account is another person's", answer, now)

    change_record(answer.question.people[1], apart, deps, wakes=True)
    return Effect.DONE


# ---- the release of a hold


def _release(answer: Answer, deps: Deps) -> Effect:
    """End the hold that the question shows; a hold that was set later stays."""

    def released(record: UserRecord) -> UserRecord:
        if release_of(record) != answer.question:
            return record
        return with_hold_told(record, with_hold(record, None), answer.names, deps.clock.now())

    (key,) = answer.question.people
    accepted = change_record(key, released, deps, wakes=True)
    if accepted is None or not accepted.changed:
        return Effect.DIFFERENT
    deps.log.warning("Released a hold", user=key, by=list(answer.by))
    return Effect.DONE


# ---- a group that is gone


def _group(answer: Answer, deps: Deps) -> Effect:
    """Approve or reject the change of the group; then judge all users on the list again.

    Return DIFFERENT, and approve nothing, if a user who is not on the list would lose access, too. Raise `ConflictError` if other
    processes keep changing the group book.
    """
    question, agreed = answer.question, answer.verdict is Verdict.APPROVE
    for _ in range(_TRIES):
        stored = deps.books.load()
        event = next((each for each in stored.book.events if group_ref(each) == question.ref), None)
        if event is None or (not event.waits and event.rejected is agreed):
            return Effect.DIFFERENT
        if not event.waits:  # written before a crash: continue with the users not yet handled
            return _looked_at(answer, deps)
        if agreed and not set(concerned_by(event, stored.book, deps, deps.records.rows())) <= set(question.people):
            return Effect.DIFFERENT
        try:
            deps.books.save(stored.book.decided(event, agreed=agreed), expected=stored)
        except ConflictError:
            continue
        return _looked_at(answer, deps)
    raise ConflictError(
        user_message="The stored group changes are being updated by another process. Benchkeeper tries again.",
        detail=f"the group book changed during {_TRIES} attempts to write it",
    )


def _looked_at(answer: Answer, deps: Deps) -> Effect:
    """Judge all users on the list by the present group book; an approval also gives a clearance to those who lose access."""
    deps.books.current(fresh=True)
    policy = deps.policy
    deps.workers.run([partial(_look_at, key, answer, policy, deps) for key in answer.question.people])
    return Effect.DONE


def _look_at(key: UserKey, answer: Answer, policy: Policy, deps: Deps) -> None:
    approved = answer.verdict is Verdict.APPROVE

    def change(record: UserRecord) -> UserRecord:
        now = deps.clock.now()
        current = with_wanted(record, policy, now)
        waiting = current.status.guard.waiting_cut
        if approved and waiting is not None and waiting.cause in _BY_GROUP:
            if current.status.guard.clearance is not None and current.status.guard.clearance.by == answer.digest:
                return record  # written before a crash
            clearance = Clearance(ref=waiting.ref, by=answer.digest, until=now + policy.guard.approval_lapses)
            return _told(current.with_status(clearance=clearance), "The change of the group was approved", answer, now)
        return record if current == record else current

    change_record(key, change, deps, wakes=True)


# ---- history lines


def _note(key: UserKey, text: str, answer: Answer, deps: Deps) -> None:
    change_record(key, lambda record: _told(record, text, answer, deps.clock.now()), deps, wakes=False)


def _told(record: UserRecord, text: str, answer: Answer, now: datetime) -> UserRecord:
    verb = "approved" if answer.verdict is Verdict.APPROVE else "rejected"
    line = StoryLine(
        at=now, kind=StoryKind.DECISION, text=text, because=f"question {answer.digest[:12]}, {verb} by {answer.names}"
    )
    return record.with_status(story=told(record.status.story, [line]))


# ---- open questions, for pages


def rename_question(record: UserRecord) -> Question | None:
    """Return the question about a waiting change of address; None if none waits."""
    change = confirmed(record)
    if change is None or record.rename is None:
        return None
    return Question(
        about=About.RENAME, people=(record.user_key, user_key_for(change.new_user)), ref=rename_ref(record.rename)
    )


def same_person_question(old: UserRecord, new: UserRecord) -> Question | None:
    """Return the question whether an address's two holders are the same person; None if there is no such question or it was answered."""
    if old.handover is None or new.predecessor != old.user_key or is_other_person(new):
        return None
    if not is_to_be_joined(old, new, handover_ref(old.handover)):
        return None
    return Question(about=About.SAME_PERSON, people=(old.user_key, new.user_key), ref=handover_ref(old.handover))
