"""Dead letters: their attributes, their storage, their marks on records, their replay, and acknowledgements.

The Cloud Functions write and store dead letters; the CLI and the sweeps replay them. A replay handles the message as a
delivery does, with its own id and time. It is therefore safe by the rules of the facts: known news changes nothing, and
newer news overrules older news. An operator acknowledges an unknown leaver or an undelivered mail, which is then no longer
shown under "Needs attention".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.changes import ChangeKind, kind_of, what_changed
from shared.domain.intent.renaming import renaming
from shared.domain.intent.wanted import new_record, with_event
from shared.domain.people.events import Joined, LifecycleEvent, Moved, News, Renamed, Woken
from shared.domain.people.groups import GroupEvent
from shared.domain.reconcile.mails import with_mail
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.marks import bounded, with_letter, with_letter_used
from shared.domain.record.parts import NOT_TOLD, MailState
from shared.domain.record.record import UserRecord, unknown_leaver_since
from shared.domain.things.errors import BenchkeeperError, Reason
from shared.domain.things.history import StoryKind, StoryLine, told
from shared.domain.things.identity import UserEmail, UserKey
from shared.domain.things.times import parse_time, rfc3339
from shared.engine.news.deliver import deliver
from shared.engine.news.lookup import find, targets
from shared.engine.ports.deps import Deps
from shared.engine.ports.inbox import DeadLetter, LetterRow
from shared.engine.reconcile.changing import Accepted, change_record
from shared.engine.reconcile.guard import wanted_in_a_pass
from shared.engine.reconcile.observer import observe

REASON, DETAIL = "reason", "detail"
MESSAGE_ID, PUBLISHED, SIZE = "source-message-id", "source-publish-time", "source-bytes"
FUNCTION, SUBSCRIPTION, TOPIC = "source-function", "source-subscription", "source-topic"
OURS = (REASON, DETAIL, MESSAGE_ID, PUBLISHED, SIZE, FUNCTION, SUBSCRIPTION, TOPIC)
# The prefix of the attributes that Pub/Sub itself adds when it forwards a message after its last attempt.
FORWARDED = "CloudPubSubDeadLetterSource"
# Faults of the message itself: a replay helps only once another version, or another configuration, runs.
POISON = frozenset({Reason.INVALID_MESSAGE, Reason.UNSUPPORTED_MESSAGE, Reason.UNKNOWN_PROFILE})
_MAX_ATTRIBUTE = 1000  # Pub/Sub accepts 1,024 bytes
_MAX_ATTRIBUTES = 100

Parse = Callable[[DeadLetter], Sequence[News]]


def attributes_for(
    error: BenchkeeperError,
    *,
    message_id: str,
    sent_at: datetime,
    size: int,
    function: str,
    subscription: str,
    others: Mapping[str, str],
    topic: str = "",
) -> dict[str, str]:
    """Return the attributes of a message for the dead-letter topic: the reason, the data for a replay, and the message's own attributes.

    An attribute that would make the message look like one that Pub/Sub forwarded is left out, and so are attributes above
    Pub/Sub's limit of 100. Benchkeeper's attributes replace attributes of the same names.
    """
    ours = {
        REASON: error.reason.value,
        DETAIL: _cut(error.user_message),
        MESSAGE_ID: message_id,
        PUBLISHED: rfc3339(sent_at),
        SIZE: str(size),
        FUNCTION: function,
        SUBSCRIPTION: _cut(subscription),
        TOPIC: _cut(topic),
    }
    kept = [(name, text) for name, text in others.items() if name not in ours and not name.startswith(FORWARDED)]
    return {**dict(kept[: _MAX_ATTRIBUTES - len(ours)]), **ours}


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:_MAX_ATTRIBUTE].decode(errors="ignore")


def letter_of(
    *,
    body: bytes,
    attributes: Mapping[str, str],
    message_id: str,
    published_at: datetime,
    users: tuple[UserKey, ...],
    cuts: bool = False,
) -> DeadLetter:
    """Return the dead letter in a message of the dead-letter topic, written by a function or forwarded unchanged by Pub/Sub.

    The letter's `cuts` is True if the message states that a user leaves, as far as it could be read.
    """
    forwarded = f"{FORWARDED}Subscription" in attributes
    ours: Mapping[str, str] = {} if forwarded else attributes
    sent = attributes.get(f"{FORWARDED}TopicPublishTime") if forwarded else ours.get(PUBLISHED)
    size = int(ours[SIZE]) if ours.get(SIZE, "").isdecimal() else len(body)
    reason = Reason.DELIVERY_ATTEMPTS_EXHAUSTED if forwarded else bounded(ours.get(REASON, ""))
    no_detail = "No attempt to deliver it succeeded; see the log of the function." if forwarded else "No reason given."
    return DeadLetter(
        row=LetterRow(
            letter_id=ours.get(MESSAGE_ID) or message_id,
            sent_at=_moment(sent, published_at),
            reason=reason.value,
            detail=_cut(ours.get(DETAIL) or no_detail),
            function=_cut(ours.get(FUNCTION, "")),
            users=users,
            cuts=cuts,
        ),
        source=attributes.get(f"{FORWARDED}Subscription", "") if forwarded else ours.get(SUBSCRIPTION, ""),
        received_at=published_at,
        body=body[:size],  # an empty message is sent as {}
        size=size,
        attributes=dict(attributes),
        topic=_cut(ours.get(TOPIC, "")),
    )


def _moment(text: str | None, otherwise: datetime) -> datetime:
    try:
        return parse_time(text) if text else otherwise
    except ValueError:
        return otherwise


def keep(letter: DeadLetter, deps: Deps, *, named: Mapping[UserKey, UserEmail] | None = None) -> int:
    """Store a dead letter and mark the records of the users whom it names; return the number of newly marked records.

    Safe to repeat.

    Raise an error only while the dead letter is not stored. A failed mark stays pending on the dead letter, and the
    sweep tries it again. `named` has the users' addresses by key, if known. If `named` has an address for a key, the
    record is marked only if the record has that address, too.
    """
    letter = replace(letter, row=replace(letter.row, marks_pending=bool(letter.row.users)))
    deps.dead_letters.store(letter)
    return mark_people(letter.row, deps, named=named)


def mark_people(row: LetterRow, deps: Deps, *, named: Mapping[UserKey, UserEmail] | None = None) -> int:
    """Mark the records of all users whom the dead letter names. Return the number of changed records. Safe to repeat.

    If every mark succeeded, note this on the dead letter; a failure is logged, and the sweep tries again. For `named`, see
    `keep`.
    """

    def marked(record: UserRecord) -> UserRecord:
        email = named.get(record.user_key) if named is not None else None
        if email and not record.is_known_as(email):
            return record
        now = deps.clock.now()
        return with_letter(record, row.letter_id, row.sent_at, reason=row.reason, detail=row.detail, now=now)

    count, failed = 0, False
    for user_key in row.users:
        try:
            count += _changed(user_key, marked, deps)
        except BenchkeeperError as error:
            failed = True
            _log_pending(row, error.reason.value, error.detail, deps)
        except Exception as error:  # noqa: BLE001 - the dead letter is stored: a failed mark must not cause a redelivery
            failed = True
            _log_pending(row, Reason.UNEXPECTED.value, repr(error), deps)
    if not failed and row.marks_pending:
        try:
            deps.dead_letters.note_marked(row)
        except BenchkeeperError as error:
            _log_pending(row, error.reason.value, error.detail, deps)
    return count


def _log_pending(row: LetterRow, reason: str, detail: str, deps: Deps) -> None:
    deps.log.warning("Mark of a dead letter was not saved", letter=row.letter_id, reason=reason, detail=detail)


def _changed(user_key: UserKey, change: Callable[[UserRecord], UserRecord], deps: Deps) -> bool:
    """Change the user's record; return False if there is none or nothing changed. No pass is requested, because the wanted state is the same."""
    accepted = change_record(user_key, change, deps, wakes=False, mends=False)
    return accepted is not None and accepted.changed


class Change(Struct, frozen=True, kw_only=True):
    """The effect of one piece of news on `user`, in words (`text`). `user_key` is empty if the news is about no user.

    Only dry runs set the other fields: the kind of change, the actions that would follow, and the reasons of that plan.
    """

    user: str
    text: str
    actions: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    kind: ChangeKind | None = None
    user_key: str = ""


class Replayed(Struct, frozen=True, kw_only=True):
    """The result of replaying one dead letter. If `used` is False, the message still cannot be used, and `why` has the reason."""

    row: LetterRow
    used: bool
    changes: tuple[Change, ...] = ()
    reason: str = ""
    why: str = ""

    @property
    def text(self) -> str:
        """The whole result in one line."""
        if not self.used:
            return self.why
        return "; ".join(f"{change.user}: {change.text}" for change in self.changes) or "concerns nobody"


def replay(row: LetterRow, parse: Parse, deps: Deps, *, dry_run: bool = False) -> Replayed:
    """Handle a dead letter's message again and return the result; with `dry_run`, return the changes without making them.

    The replay is noted last. After an earlier crash the dead letter is replayed again, which is safe, because known news changes nothing.
    A dead letter that still fails is not changed.
    """
    try:
        letter = deps.dead_letters.read(row)
        refused = _why_not(letter)
        if refused:
            return Replayed(row=row, used=False, reason=row.reason, why=refused)
        news = parse(letter)
        if dry_run:
            return Replayed(row=row, used=True, changes=tuple(foreseen(news, deps)))
        done = Replayed(row=row, used=True, changes=tuple(_delivered(piece, deps) for piece in news))
        end_marks(row, deps)
        deps.dead_letters.mark_replayed(row, deps.clock.now(), done.text)
    except BenchkeeperError as error:
        return Replayed(row=row, used=False, reason=error.reason.value, why=error.user_message)
    return done


def _why_not(letter: DeadLetter) -> str:
    if letter.is_cut:
        return (
            f"The message had {letter.size:,} bytes, of which {len(letter.body):,} were kept: it cannot be replayed. "
            "Ask the sender for a smaller message."
        )
    if letter.row.function == "tick":
        return "A tick is not replayed, because the next tick does the same work."
    return ""


def _delivered(news: News, deps: Deps) -> Change:
    if isinstance(news, Woken):
        deliver(news, deps)
        return Change(user=news.user_key, text="checked again")
    if isinstance(news, GroupEvent):
        deliver(news, deps)
        return Change(user=news.group, text=f"group {news.kind.value}")
    befores = _known(news, deps)
    key = deliver(news, deps)
    after = deps.records.load(key) if key is not None else None
    if after is None:
        return Change(user=news.user, text="concerns nobody here")
    known = next((record for record in befores if record.user_key == after.record.user_key), None)
    return Change(user=news.user, text=what_changed(known, after.record, news, deps.clock.now()))


def _known(news: LifecycleEvent, deps: Deps) -> list[UserRecord]:
    """Return the current records that the news is about: up to two for a change of address."""
    if isinstance(news, Renamed):
        found = [find(email, deps) for email in (news.user, news.new_user)]
        return [stored.record for stored in found if stored is not None]
    return [target.stored.record for target in targets(news, deps) if target.stored is not None]


def foreseen(news: Sequence[News], deps: Deps) -> list[Change]:
    """Return the changes that a replay would make, with the plans that would follow. Nothing is written.

    Each piece of news is folded into the result of the previous piece.
    """
    folded: dict[UserKey, UserRecord] = {}
    changes: list[Change] = []
    for piece in news:
        now = deps.clock.now()
        if isinstance(piece, Woken):
            changes.append(Change(user=piece.user_key, text="checked again"))
            continue
        if isinstance(piece, GroupEvent):
            changes.append(Change(user=piece.group, text=f"group {piece.kind.value}"))
            continue
        for before, after in fold_one(piece, folded, deps, now):
            actions: tuple[str, ...] = ()
            because: tuple[str, ...] = ()
            if after is not before:
                folded[after.user_key] = after
                plan = make_plan(after, observe(after, deps), deps.policy, now)
                actions, because = tuple(action.describe() for action in plan.actions), plan.because
            changes.append(
                Change(
                    user=piece.user or after.user_key,
                    text=what_changed(before, after, piece, now),
                    actions=actions,
                    because=because,
                    kind=kind_of(before, after, piece, now),
                    user_key=after.user_key,
                )
            )
    return changes


def fold_one(
    event: LifecycleEvent, folded: Mapping[UserKey, UserRecord], deps: Deps, now: datetime
) -> list[tuple[UserRecord | None, UserRecord]]:
    """Return (the record now, the record that `intake.accept` would write) for each user whom the event concerns.

    Both are the same object if the record would not change. The first is None if there is no record.

    `folded` has the records that earlier news of this replay changed. Raise `UnknownProfileError` for a profile that does not exist, and
    what `targets` raises.
    """
    if isinstance(event, Renamed):
        found = [find(email, deps) for email in (event.user, event.new_user)]
        old, new = (None if s is None else folded.get(s.record.user_key, s.record) for s in found)
        asked = renaming(event, old, new, now)
        before, after = asked.before, asked.record
        return [(before, before if after is before and before is not None else wanted_in_a_pass(after, deps, now))]
    if isinstance(event, Joined | Moved) and event.profile:
        deps.policy.catalog.profile(event.profile)
    told: list[tuple[UserRecord | None, UserRecord]] = []
    for target in targets(event, deps):
        stored = target.stored.record if target.stored is not None else None
        known = folded.get(target.user_key, stored)
        base = known if known is not None else new_record(target.email, now)
        after = with_event(base, event, now, entitling=deps.policy.entitling_groups())
        told.append((known, base if after is base else wanted_in_a_pass(after, deps, now)))
    return told


def end_marks(row: LetterRow, deps: Deps) -> None:
    """End the marks of a dead letter on the records of all users whom it names. Safe to repeat."""
    for user_key in row.users:
        _changed(user_key, lambda record: with_letter_used(record, row.letter_id, deps.clock.now()), deps)


def acknowledge(user_key: UserKey, deps: Deps, *, by: str) -> Accepted | None:
    """Note that an operator has acknowledged this unknown leaver.

    Return None if there is no record; `changed` is False if the user is not an unknown leaver.

    Safe to repeat.
    """

    def seen(record: UserRecord) -> UserRecord:
        if unknown_leaver_since(record) is None:
            return record
        now = deps.clock.now()
        line = StoryLine(at=now, kind=StoryKind.WISH, text="Acknowledged as an unknown leaver", because=by)
        return record.with_status(acknowledged_at=now, story=told(record.status.story, [line]))

    accepted = change_record(user_key, seen, deps, wakes=False)
    if accepted is not None and accepted.changed:
        deps.log.info("Acknowledged an unknown leaver", user=user_key, by=by)
    return accepted


def take_note(user_key: UserKey, deps: Deps, *, by: str) -> int | None:
    """Note that an operator has acknowledged undelivered mails. Return their number; None if there is no record.

    A deletion that waited because its warning was not delivered may then continue. Safe to repeat.
    """
    noted = 0

    def change(record: UserRecord) -> UserRecord:
        nonlocal noted
        now = deps.clock.now()
        untold = [mail for mail in record.status.mail.mails if mail.state in NOT_TOLD]
        noted = len(untold)
        if not untold:
            return record
        for mail in untold:
            record = with_mail(record, replace(mail, state=MailState.NOTED, at=now))
        because = f"Not delivered:  {', '.join(mail.stage.value for mail in untold)}; asked for by {by}"
        line = StoryLine(at=now, kind=StoryKind.WISH, text="Acknowledged messages", because=because, by=by)
        return record.with_status(story=told(record.status.story, [line]))

    accepted = change_record(user_key, change, deps, wakes=True)
    if accepted is None:
        return None
    if noted:
        deps.log.warning("Acknowledged undelivered mails", user=user_key, mails=noted)
    return noted
