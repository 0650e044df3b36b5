"""The decision about the mails that are due to a user, from the record alone. Pure.

`with_mails` is applied to each record before it is written (`shared.engine.reconcile.audit.save`), so a mail is decided in the
same conditional write as the state that the mail reports. A mail lapses if its content is no longer true before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.plan.plan import Policy
from shared.domain.record.parts import (
    LAPSES,
    NOT_TOLD,
    WARNED_BEFORE,
    WARNINGS,
    Mail,
    MailState,
    Stage,
    Trouble,
    last_warning,
)
from shared.domain.record.record import Power, Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.snapshot.step import is_paused
from shared.domain.things.errors import Reason
from shared.domain.things.power import PowerCause

AGAIN = timedelta(minutes=1)  # a mail that was published and not claimed is published again after this time, at first
_LATEST = timedelta(minutes=30)
CHANGE_BEFORE = timedelta(days=3)
_DAY = timedelta(days=1)
_KEPT = 40  # final mails that the record keeps
_NOT_BY_OWNER = frozenset(
    {PowerCause.IDLE, PowerCause.UNSEEN, PowerCause.STOPPED_OUTSIDE, PowerCause.STOPPED_BY_ADMINISTRATOR}
)
_ENDED = frozenset({Reason.RETAINED, Reason.ON_HOLD, Reason.REMOVED})


class Wanted(Struct, frozen=True, kw_only=True):
    """A mail that the present state of the record requires."""

    stage: Stage
    episode: str
    facts: dict[str, str]


def with_mails(record: UserRecord, before: UserRecord | None, policy: Policy, now: datetime) -> UserRecord:
    """Return the record with the mails that are due now, and with the time of the next check for mails.

    `before` is the record as it was last written, None for a new record. Mails about the time before messages were switched
    on are never sent, except warnings. If messages are switched off, the record does not change.
    """
    if not policy.tells:
        return record
    status = record.status.mail
    wanted = list(wanted_mails(record, policy, now))
    mails = [_looked_at(mail, record, wanted, now) for mail in status.mails]
    if status.mails_since is None:
        past = wanted_mails(before, policy, now) if before is not None else ()
        mails += [_made(each, MailState.BEFORE, now) for each in past if each.stage not in WARNINGS]
    for each in wanted:
        found = next((n for n, mail in enumerate(mails) if mail.is_of(each.stage, each.episode)), None)
        if found is None:
            mails.append(_made(each, MailState.DUE, now))
        elif mails[found].state is MailState.LAPSED:  # it was never claimed, and is true again
            mails[found] = _made(each, MailState.DUE, now)
    kept = _bounded(mails)
    if kept != status.mails or status.mails_since is None:
        record = record.with_status(mails=kept, mails_since=status.mails_since or now)
    return _woken(record, _next_look(record, kept, policy, now))


def wanted_mails(record: UserRecord, policy: Policy, now: datetime) -> Iterator[Wanted]:
    """Yield the mails that the record's state requires, sent or not.

    There are none for a record without an address, or while an administrator must decide about the end of access.
    """
    if not record.email:
        return
    if record.spec.presence is Presence.PRESENT:
        yield from _of_entitled(record, now)
    elif not record.is_undecided:
        yield from _of_leaver(record, policy, now)


def with_idle_warning(record: UserRecord, stop_at: datetime, policy: Policy, now: datetime) -> UserRecord:
    """Return the record of a user who was warned of an idle stop, with the mail about that warning."""
    if not policy.tells:
        return record
    since = record.status.notebook.idle_warned_at or now
    wanted = Wanted(stage=Stage.WILL_STOP, episode=since.isoformat(), facts={"at": stop_at.isoformat()})
    return record.with_status(mails=(*record.status.mail.mails, _made(wanted, MailState.DUE, now)))


def with_mail(record: UserRecord, mail: Mail) -> UserRecord:
    """Return the record with this mail in place of its mail of the same stage and episode."""
    kept = tuple(mail if each.is_of(mail.stage, mail.episode) else each for each in record.status.mail.mails)
    return record.with_status(mails=kept)


def with_mails_put_back(record: UserRecord, now: datetime) -> UserRecord:
    """Return a restored older version of a record, changed so that no mail is sent twice.

    A mail that was due or claimed in that version may have been sent since. Its state becomes UNSURE, so an operator decides.
    Mails about the time before the restore that the older version does not have are not sent.
    """
    if record.status.mail.mails_since is None:
        return record
    open_ones = {MailState.DUE, MailState.CLAIMED}
    mails = tuple(
        replace(mail, state=MailState.UNSURE, at=now, trouble=Trouble.CRASHED) if mail.state in open_ones else mail
        for mail in record.status.mail.mails
    )
    return record.with_status(mails=mails, mails_since=None)


def to_publish(record: UserRecord, before: UserRecord, now: datetime) -> Iterator[Mail]:
    """Yield the mails to publish now: mails that were just decided, and mails that were not claimed in time."""
    known = {(mail.stage, mail.episode) for mail in before.status.mail.mails if mail.state is MailState.DUE}
    for mail in record.status.mail.mails:
        if mail.state is not MailState.DUE or (mail.not_before is not None and mail.not_before > now):
            continue
        if (mail.stage, mail.episode) not in known or now >= mail.at + AGAIN:
            yield mail


def is_true(mail: Mail, record: UserRecord, policy: Policy, now: datetime) -> bool:
    """Return True if the mail's content is still true."""
    return _is_true(mail, record, list(wanted_mails(record, policy, now)), now)


def _is_true(mail: Mail, record: UserRecord, wanted: list[Wanted], now: datetime) -> bool:
    if mail.stage is Stage.WILL_STOP:
        return _will_stop(mail, record, now)
    return any(mail.is_of(each.stage, each.episode) for each in wanted)


def _will_stop(mail: Mail, record: UserRecord, now: datetime) -> bool:
    ready, until = record.status.condition(ConditionType.NOTEBOOK_READY), record.spec.keep_on_until
    stops, warned = mail.time("at"), record.status.notebook.idle_warned_at
    return (
        record.spec.presence is Presence.PRESENT
        and record.spec.power is Power.RUNNING
        and ready is not None
        and ready.status is ConditionStatus.TRUE
        and warned is not None
        and warned.isoformat() == mail.episode
        and stops is not None
        and stops > now
        and (until is None or until < stops)
    )


def _of_entitled(record: UserRecord, now: datetime) -> Iterator[Wanted]:
    status, ready = record.status, record.status.condition(ConditionType.NOTEBOOK_READY)
    if ready is None:
        return
    if ready.status is ConditionStatus.TRUE:
        yield Wanted(stage=Stage.READY, episode=_access_of(record), facts={})
    is_at_rest = record.spec.power is Power.STOPPED and ready.status is ConditionStatus.FALSE
    reason = record.spec.power_reason
    if is_at_rest and ready.reason in {Reason.IDLE, Reason.STOPPED} and reason.cause in _NOT_BY_OWNER:
        facts = {"cause": reason.cause.value, "at": ready.last_transition_time.isoformat()}
        if reason.since is not None:
            facts["since"] = reason.since.isoformat()
        yield Wanted(stage=Stage.STOPPED, episode=ready.last_transition_time.isoformat(), facts=facts)
    yield from _of_dormancy(record)
    restored = status.data.restored
    if restored is not None:
        facts = {"end": restored.end.value, "at": restored.ended_at.isoformat()}
        if restored.of is not None:
            facts["of"] = restored.of.isoformat()
        yield Wanted(stage=Stage.RESTORED, episode=restored.ended_at.isoformat(), facts=facts)
    change = status.mail.change
    if change is not None and (change.at is None or change.at - CHANGE_BEFORE <= now):
        facts = {"replaces": "yes" if change.replaces else ""}
        if change.at is not None:
            facts["at"] = change.at.isoformat()
        yield Wanted(stage=Stage.WILL_CHANGE, episode=change.what, facts=facts)


def _of_dormancy(record: UserRecord) -> Iterator[Wanted]:
    dormancy = record.status.notebook.dormancy
    if dormancy is None:
        return
    since = dormancy.unused_since.isoformat()
    if dormancy.away_since is not None:
        ready = record.status.condition(ConditionType.NOTEBOOK_READY)
        if ready is not None and ready.reason is Reason.DORMANT:
            facts = {"since": since, "at": dormancy.away_since.isoformat()}
            yield Wanted(stage=Stage.PUT_AWAY, episode=dormancy.away_since.isoformat(), facts=facts)
    elif dormancy.warned and dormancy.promised is not None:
        days = min(dormancy.warned)
        facts = {"since": since, "days": str(days), "at": dormancy.promised.isoformat()}
        yield Wanted(stage=Stage.WILL_BE_PUT_AWAY, episode=last_warning(dormancy.unused_since, days), facts=facts)


def _access_of(record: UserRecord) -> str:
    """Return an episode for the present access: "after" and the last end of access, or "first" if access never ended."""
    ends = [mail.episode for mail in record.status.mail.mails if mail.stage is Stage.ACCESS_ENDED]
    return f"after {max(ends)}" if ends else "first"


def _of_leaver(record: UserRecord, policy: Policy, now: datetime) -> Iterator[Wanted]:
    since, ready = record.spec.absent_since, record.status.condition(ConditionType.NOTEBOOK_READY)
    if since is None or ready is None or ready.reason not in _ENDED:
        return
    kept, end = since + policy.retention, since + policy.snapshot_retention
    episode, has_data = since.isoformat(), bool(record.status.data.snapshots) or ready.reason is not Reason.REMOVED
    facts = {"at": ready.last_transition_time.isoformat()}
    if record.hold is not None:
        facts["kept"] = "hold"
    elif is_paused(record):
        facts["kept"] = "suspended"
    elif has_data:
        facts |= {"kept": "until", "notebook_until": kept.isoformat(), "files_until": end.isoformat()}
    yield Wanted(stage=Stage.ACCESS_ENDED, episode=episode, facts=facts)
    if record.hold is not None or is_paused(record):
        return
    if has_data:
        days = next((days for days in sorted(WARNED_BEFORE) if end - now <= timedelta(days=days)), None)
        if days is not None:  # a late warning leaves a day
            facts = {"days": str(days), "at": max(end, now + _DAY if days == 1 else end).isoformat()}
            yield Wanted(stage=Stage.WILL_BE_DELETED, episode=last_warning(since, days), facts=facts)
    elif record.status.mail.mail(Stage.WILL_BE_DELETED, last_warning(since)) is not None:
        yield Wanted(stage=Stage.DELETED, episode=episode, facts={"at": now.isoformat()})


def _made(wanted: Wanted, state: MailState, now: datetime) -> Mail:
    return Mail(stage=wanted.stage, episode=wanted.episode, state=state, at=now, decided_at=now, facts=wanted.facts)


def _looked_at(mail: Mail, record: UserRecord, wanted: list[Wanted], now: datetime) -> Mail:
    """Return the mail in its present state.

    A due mail that is no longer true lapses, and a claim without an outcome counts as unsure.
    """
    if mail.state is MailState.CLAIMED and now >= mail.at + LAPSES:
        return replace(mail, state=MailState.UNSURE, at=now, trouble=Trouble.CRASHED)
    if mail.state is MailState.DUE and not _is_true(mail, record, wanted, now):
        return replace(mail, state=MailState.LAPSED, at=now)
    return mail


def _bounded(mails: list[Mail]) -> tuple[Mail, ...]:
    """Return the mails; if there are too many, without the oldest mails in a final state.

    Mails that an operator must see stay. The latest mail of each stage stays, so that it is not decided a second time.
    """
    latest = {mail.stage: id(mail) for mail in mails}
    final = [mail for mail in mails if mail.state not in {MailState.DUE, MailState.CLAIMED, *NOT_TOLD}]
    dropped = set(map(id, final[: max(len(final) - _KEPT, 0)])) - set(latest.values())
    return tuple(mail for mail in mails if id(mail) not in dropped)


def _next_look(record: UserRecord, mails: Iterable[Mail], policy: Policy, now: datetime) -> datetime | None:
    moments: list[datetime] = []
    for mail in mails:
        if mail.state is MailState.DUE:
            wait = min(max(now - mail.decided_at, AGAIN), _LATEST)
            moments.append(max(now + wait, mail.not_before or now))
        elif mail.state is MailState.CLAIMED:
            moments.append(mail.at + LAPSES)
    since, change = record.spec.absent_since, record.status.mail.change
    if record.spec.presence is Presence.ABSENT and since is not None and record.status.data.snapshots:
        end = since + policy.snapshot_retention
        moments += [end - timedelta(days=days) for days in WARNED_BEFORE]
    if change is not None and change.at is not None:
        moments.append(change.at - CHANGE_BEFORE)
    return min((moment for moment in moments if moment > now), default=None)


def _woken(record: UserRecord, at: datetime | None) -> UserRecord:
    planned = record.status.next_attempt_at
    if at is None or (planned is not None and planned <= at):
        return record
    return record.with_status(next_attempt_at=at)
