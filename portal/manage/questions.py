"""The questions about one user or group that wait for an administrator's answer, as kinds of change on the page (`changes.KINDS`).

A question is a changed address, a new account under an address, a group that is gone, or the release of a hold. The
users concerned come from the fleet index, which is at most ten minutes old, and from earlier decisions. Their records
are then read live, so that a question shows the present state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct, field

from portal.deps import current
from portal.manage.base import NoFleetError, figures_now
from portal.manage.changes_meaning import Change, Seen, Unread, needs_another, takes_effect_at
from portal.manage.changes_view import is_stored, missing
from shared.domain.fleet.figures import Figures
from shared.domain.intent.decision import About
from shared.domain.intent.question import QUESTIONS, Question, from_json, group_ref, release_of, to_json
from shared.domain.intent.renaming import owns_something
from shared.domain.people.groups import GroupEvent, GroupEventKind
from shared.domain.record.record import UserRecord
from shared.domain.record.status import Notice
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError
from shared.domain.things.identity import UserKey
from shared.engine.decisions.questions import both_own, rename_question, same_person_question
from shared.engine.news.groups import concerned_by
from shared.engine.ports.deps import Deps

_MOST = 50  # the most users with a question whose records are read for one page
_WORKERS = 8
_START = datetime.fromtimestamp(0, UTC)
_TWO = "Both have an environment, saved files or a hold, and two environments cannot be merged. Decide which one to remove."
TITLES = {
    About.RENAME: "A new address waits to be confirmed",
    About.SAME_PERSON: "An address was given to a new account: is it the same person?",
    About.GROUP: "A group that gives access is gone",
    About.RELEASE: "The release of a hold was requested",
}
CAUSES = {
    About.RENAME: "NewAddress",
    About.SAME_PERSON: "NewAccount",
    About.GROUP: "GroupGone",
    About.RELEASE: "Release",
}
OVER = "Nothing: it was already decided, or the situation has changed."


class Step(StrEnum):
    """The effect of an approval on one user."""

    NEW_ADDRESS = "NewAddress"
    JOINED = "Joined"
    LOSES_ACCESS = "LosesAccess"
    RELEASED = "Released"


STEPS = {
    About.RENAME: Step.NEW_ADDRESS,
    About.SAME_PERSON: Step.JOINED,
    About.GROUP: Step.LOSES_ACCESS,
    About.RELEASE: Step.RELEASED,
}


class Row(Struct, frozen=True, kw_only=True):
    """A user of a question."""

    user_key: UserKey
    steps: tuple[Step, ...]
    ref: str = ""


class _Told(Struct, frozen=True, kw_only=True):
    """An open question in words. `cannot` is the reason why the question cannot be approved, or ""."""

    source: str
    approving: tuple[str, ...]
    rejecting: tuple[str, ...]
    since: datetime
    cannot: str = ""


class _Look(Struct):
    """A cache for one request: each record is read once."""

    records: dict[UserKey, UserRecord | None] = field(default_factory=dict)

    def at(self, key: UserKey) -> UserRecord | None:
        """Return the record that the key leads to; None if there is none."""
        if key not in self.records:
            stored = _engine().records.load(key)
            self.records[key] = stored.record if stored is not None else None
        return self.records[key]


# ---- the open questions


def questions(found: Seen) -> list[Change]:
    """Return all open questions, oldest first. A failed read is noted in `unread`, and the rest is still shown."""
    look, asked = _Look(), dict[str, Question]()
    for read in (_of_people, _of_groups, _decided_about):
        try:
            asked |= {question.digest: question for question in read(found, look)}
        except BenchkeeperError as error:
            missing(found, Unread.QUESTIONS, error)
    changes = []
    for question in asked.values():
        try:
            change = _change(question, found, look)
        except BenchkeeperError as error:
            missing(found, Unread.QUESTIONS, error)
            continue
        if change.is_current:
            changes.append(change)
    return sorted(changes, key=lambda change: (change.since or _START, change.digest))


def question_of(digest: str, found: Seen) -> Change | None:
    """Return the question with this digest in its present state, or None if the digest was never shown."""
    question = _stored(digest)
    if question is not None:
        return _change(question, found, _Look())
    return next((change for change in questions(found) if change.digest == digest), None)


def _of_people(found: Seen, look: _Look) -> Iterator[Question]:
    """Yield the questions about the users whom the last sweep marked as having one, at most `_MOST` users."""
    figures = _figures()
    marked = figures.asked if figures is not None else ()
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        records = list(pool.map(_read(found), marked[:_MOST]))
    for key, record in zip(marked, records, strict=False):
        if record is None or record.user_key != key:
            continue
        look.records[key] = record
        asked = rename_question(record)
        if asked is not None:
            yield asked
        old = look.at(record.predecessor) if record.predecessor is not None else None
        same = same_person_question(old, record) if old is not None else None
        if same is not None:
            yield same


def _figures() -> Figures | None:
    """Return the figures of the last sweep, or None before the first sweep."""
    try:
        _, figures = figures_now()
    except NoFleetError as error:
        if error.__cause__ is not None:
            raise
        return None
    return figures


def _read(found: Seen) -> Callable[[UserKey], UserRecord | None]:
    """Return a function that reads a record outside the request's own thread. A failed read is noted in `unread` and gives None."""
    deps = _engine()

    def read(key: UserKey) -> UserRecord | None:
        try:
            stored = deps.records.load(key)
        except BenchkeeperError:
            if Unread.QUESTIONS not in found.unread:
                found.unread.append(Unread.QUESTIONS)
            return None
        return stored.record if stored is not None else None

    return read


def _of_groups(_: Seen, __: _Look) -> Iterator[Question]:
    """Yield the questions about groups. The group book is read only if a user is marked as waiting for a group."""
    deps = _engine()
    figures = _figures()
    if figures is None or not figures.notices.get(Notice.GROUP_WAITS):
        return
    fleet = deps.fleet.fleet()
    if fleet is None:
        return
    book = deps.books.load().book
    for event in book.events:
        people = concerned_by(event, book, deps, fleet.rows) if event.waits else []
        if people:
            yield Question(about=About.GROUP, people=tuple(sorted(people)), ref=group_ref(event))


def _decided_about(found: Seen, _: _Look) -> Iterator[Question]:
    """Yield the questions that have a decision, so that a release is shown as soon as it is requested."""
    for digest, votes in list(found.votes.items()):
        if votes[0].about in QUESTIONS:
            question = _stored(digest)
            if question is not None:
                yield question


def _stored(digest: str) -> Question | None:
    content = _engine().decisions.read_list(digest)
    try:
        return from_json(content) if content is not None else None
    except InvalidMessageError:
        return None


# ---- in words


def _change(question: Question, found: Seen, look: _Look) -> Change:
    guard, votes = _engine().policy.guard, tuple(found.votes.get(question.digest, ()))
    told = _WORDS[question.about](question, look)
    is_release = question.about is About.RELEASE
    shown = question.people[:1] if question.about is About.RENAME else question.people
    return Change(
        about=question.about,
        digest=question.digest,
        title=TITLES[question.about],
        cause=CAUSES[question.about],
        source=told.source if told is not None else "",
        entries=tuple(Row(user_key=key, steps=(STEPS[question.about],)) for key in shown),
        still=len(shown) if told is not None else 0,
        undone=0,
        since=told.since if told is not None else None,
        patience_ends=None,
        votes=votes,
        approving=told.approving if told is not None else (OVER,),
        rejecting=told.rejecting if told is not None else (OVER,),
        is_kept=is_stored(question.digest, to_json(question), found),
        takes_effect_at=None if is_release else takes_effect_at(votes, guard),
        concerned=frozenset(question.people),
        cannot_approve=told.cannot if told is not None else "",
        needs_another=is_release and needs_another(votes, min(guard.approvers, 2)),
    )


def _rename(question: Question, look: _Look) -> _Told | None:
    record = look.at(question.people[0])
    waits = record.rename if record is not None else None
    if record is None or waits is None or rename_question(record) != question:
        return None
    new = waits.new_email
    return _Told(
        source=waits.source,
        since=waits.occurred_at,
        approving=(
            f"{record.email} becomes {new}: one person, whose environment, files and groups stay as they are.",
            "Messages about either address then count for this person, including those received before.",
        ),
        rejecting=(
            (
                f"{record.email} keeps the address and the environment; {new} belongs to another person, who gets the access that "
                "they are entitled to."
            ),
            (
                "The same message, or an older one, raises no further question. A new message does, and a statement of the "
                "directory counts at once."
            ),
            (
                "An end of access that was stated for either address still counts for this person; if that is wrong: benchkeeper publish "
                "leave-cancelled."
            ),
        ),
        cannot=f"{_TWO} If both belong to one person: reject this, publish a leaver for the address to remove, and once its environment is deleted: benchkeeper publish renamed."
        if both_own(record, _engine())
        else "",
    )


def _same_person(question: Question, look: _Look) -> _Told | None:
    old, new = (look.at(key) for key in question.people)
    if old is None or new is None or old.handover is None or same_person_question(old, new) != question:
        return None
    two = owns_something(old) and owns_something(new)
    return _Told(
        source="",
        since=old.handover.at,
        approving=(
            f"The present holder of {new.email} is the person who had it before: files, groups and HR's statements are theirs again.",
            "An end of access that was stated for either account counts. The deletion of the first account no longer counts.",
        ),
        rejecting=(
            "They are two people. The earlier person's data is kept, and deleted when its retention is over.",
            "This question is not asked again. If HR states the same person number for both, that counts.",
        ),
        cannot=f"{_TWO} The earlier holder's data is kept until its retention is over." if two else "",
    )


def _release(question: Question, look: _Look) -> _Told | None:
    record = look.at(question.people[0])
    if record is None or record.hold is None or release_of(record) != question:
        return None
    return _Told(
        source="",
        since=record.hold.since,
        approving=(
            f"The hold of {record.email} ends ({record.hold.reason}).",
            "Data past its retention is permanently deleted soon after. A person with access keeps everything.",
        ),
        rejecting=("The hold stays, and nothing is deleted. The release can be requested again.",),
    )


def _group(question: Question, _: _Look) -> _Told | None:
    found = (each for each in _engine().books.load().book.events if group_ref(each) == question.ref and each.waits)
    event = next(found, None)
    if event is None:
        return None
    count = len(question.people)
    return _Told(
        source=event.source,
        since=event.occurred_at,
        approving=(
            (
                f"{_what_happened(event)} {count:,} {'person loses' if count == 1 else 'people lose'} access: notebooks are stopped, "
                "and deleted after their retention."
            ),
        ),
        rejecting=(
            f"The group {event.group} continues to give access as before, until there is a new statement about it or a member.",
        ),
    )


def _what_happened(event: GroupEvent) -> str:
    match event.kind:
        case GroupEventKind.DELETED:
            return f"The group {event.group} was deleted."
        case GroupEventKind.CREATED:
            return f"The group {event.group} was created again: its previous members are no longer in it."
        case GroupEventKind.ADDRESS_CHANGED:
            return f"The group {event.group} has the address {event.new_group} now."


_WORDS: dict[About, Callable[[Question, _Look], _Told | None]] = {
    About.RENAME: _rename,
    About.SAME_PERSON: _same_person,
    About.RELEASE: _release,
    About.GROUP: _group,
}


def _engine() -> Deps:
    return current().deps.engine
