"""The sending of one mail: claim the mail in the record, send it, and write the outcome into the record.

The function `notify` calls this.

A mail is sent at most once: only by the process that claimed it, and a claim with an unknown outcome is never undone. A
mail that was certainly not accepted, but might be later, is retried at growing intervals for a day. A warning for which a
deletion waits is retried without a time limit.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from shared.domain.people.domains import People
from shared.domain.reconcile.mails import is_true, with_mail
from shared.domain.record.parts import (
    ABOUT_A_LEAVER,
    NOT_TOLD,
    WARNED_BEFORE,
    WARNINGS,
    Mail,
    MailState,
    Stage,
    Trouble,
)
from shared.domain.record.record import Presence, UserRecord
from shared.domain.things.errors import ConflictError, InvalidMessageError
from shared.domain.things.identity import UserEmail, UserKey, parse_email, user_key_for
from shared.engine.ports.deps import Deps
from shared.engine.ports.mail import Letter, MailPorts, NotAcceptedError
from shared.engine.ports.records import Stored
from shared.engine.reconcile.audit import save
from shared.engine.reconcile.changing import due_soon, lost_the_race

GIVES_UP = timedelta(days=1)
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=1)
_TRIES = 6
MANAGER = "manager"  # the attribute of HR that names the address of a user's manager


def tell(user_key: UserKey, stage: Stage, episode: str, deps: Deps) -> str:
    """Send this mail if it is due, and return its outcome. Repeated calls send it at most once.

    Raise what `Records.load` and `save` raise: the message is then delivered again. A mail that is not accepted raises no
    error; it is logged and noted in the record.
    """
    if deps.mail is None:
        return "messages are switched off"
    for _ in range(_TRIES):
        stored = deps.records.load(user_key)
        mail = stored.record.status.mail.mail(stage, episode) if stored is not None else None
        now = deps.clock.now()
        if stored is None or mail is None:
            return "not due"
        if mail.state is not MailState.DUE or (mail.not_before is not None and mail.not_before > now):
            return f"not due: {mail.state.value}"
        try:
            if not is_true(mail, stored.record, deps.policy, now):
                save(stored.record, stored, deps)  # which lets it lapse
                return "no longer true"
            mail = _with_time_left(mail, now)
            recipients = recipients_of(mail, stored.record, deps.mail, deps, now)
            letter = _written(mail, stored.record, recipients, deps.mail, now)
            if isinstance(letter, Mail):
                save(due_soon(with_mail(stored.record, letter), deps), stored, deps)
                return f"not sent:  {letter.trouble.value}"
            claimed = replace(mail, state=MailState.CLAIMED, at=now)
            stored = save(with_mail(stored.record, claimed), stored, deps)
        except ConflictError:
            continue
        return _noted(stored, claimed, _sent(claimed, letter, deps.mail, deps), deps)
    raise lost_the_race(user_key)


def _with_time_left(mail: Mail, now: datetime) -> Mail:
    """Return the mail; in a last warning that could not be sent in time, the deadline is moved to one day from now."""
    named = mail.time("at")
    if mail.stage not in WARNINGS or mail.facts.get("days") != str(min(WARNED_BEFORE)) or named is None:
        return mail
    return replace(mail, facts={**mail.facts, "at": max(named, now + timedelta(days=1)).isoformat()})


def recipients_of(mail: Mail, record: UserRecord, ports: MailPorts, deps: Deps, now: datetime) -> tuple[str, ...]:
    """Return the recipients: the user or, for a mail about a leaver, the manager or the configured addresses.

    A user whose address is not in a configured domain gets no mail, and the result is empty. A manager who is unknown, is in
    no configured domain, has left or is the leaver is replaced by the configured addresses.
    """
    people = deps.policy.people
    if mail.stage not in ABOUT_A_LEAVER:
        return (record.email,) if _is_ours(record.email, people) else ()
    manager = record.facts.attribute(MANAGER, now)
    try:
        address = parse_email(manager)
    except InvalidMessageError:
        return ports.about_leavers
    if not _is_ours(address, people) or record.is_known_as(address) or _has_left(address, deps):
        return ports.about_leavers
    return (address,)


def _has_left(address: UserEmail, deps: Deps) -> bool:
    stored = deps.records.load(user_key_for(address))
    return stored is not None and stored.record.spec.presence is Presence.ABSENT


def _is_ours(address: str, people: People) -> bool:
    return bool(address) and people.knows_domain(address.rpartition("@")[2])


def _written(
    mail: Mail, record: UserRecord, recipients: tuple[str, ...], ports: MailPorts, now: datetime
) -> Letter | Mail:
    """Return the mail as text, or the mail with the reason why it cannot be sent."""
    if not recipients and (ports.chat is None or ports.server is not None):
        return replace(mail, state=MailState.FAILED, at=now, trouble=Trouble.NO_ADDRESS)
    try:
        return ports.words.write(mail, record, recipients, now)
    except NotAcceptedError as error:
        return _after(mail, error, now)


def _sent(mail: Mail, letter: Letter, ports: MailPorts, deps: Deps) -> Mail:
    """Send the claimed mail and return it with its outcome."""
    try:
        refused = ports.server.send(letter) if ports.server is not None else 0
        if ports.server is None and ports.chat is not None:
            ports.chat.post(letter)
    except NotAcceptedError as error:
        is_late = mail.at - mail.decided_at >= GIVES_UP
        tell_operator = deps.log.error if is_late else deps.log.warning
        tell_operator(
            "Mail was not accepted in time" if is_late else "Mail was not accepted",
            stage=mail.stage.value,
            reason=error.trouble.value,
            state=MailState.CLAIMED.value,
            tries=mail.tries + 1,
            detail=error.detail,
        )
        return _after(mail, error, deps.clock.now())
    if ports.server is not None and ports.chat is not None and mail.stage in ABOUT_A_LEAVER:
        try:
            ports.chat.post(letter)
        except NotAcceptedError as error:  # the mail told already
            deps.log.warning("Chat room did not accept a message", stage=mail.stage.value, detail=error.detail)
    return replace(mail, state=MailState.SENT, at=deps.clock.now(), trouble=Trouble.NONE, refused=refused)


def _after(mail: Mail, error: NotAcceptedError, now: datetime) -> Mail:
    """Return the mail after an attempt that failed: unsure, failed permanently, or due again later."""
    if error.is_unsure:
        return replace(mail, state=MailState.UNSURE, at=now, trouble=error.trouble)
    is_late = now - mail.decided_at >= GIVES_UP and mail.stage not in WARNINGS
    if error.lasts or is_late:
        return replace(mail, state=MailState.FAILED, at=now, trouble=error.trouble, tries=mail.tries + 1)
    wait = min(_FIRST * 2 ** min(mail.tries, 10), _LONGEST)
    return replace(
        mail, state=MailState.DUE, at=now, trouble=error.trouble, tries=mail.tries + 1, not_before=now + wait
    )


def _noted(stored: Stored, claimed: Mail, outcome: Mail, deps: Deps) -> str:
    """Write the outcome into the newest record, and return it in words.

    If the write fails, the claim remains in the record, and counts as unsure after a while.
    """
    key = stored.record.user_key
    for _ in range(_TRIES):
        record = with_mail(stored.record, outcome)
        if outcome.stage in WARNINGS or outcome.state in NOT_TOLD:
            record = due_soon(record, deps)  # a deletion may wait for it, or a notice is to be shown
        try:
            save(record, stored, deps)
        except ConflictError:
            newest = deps.records.load(key)
            if newest is None or newest.record.status.mail.mail(claimed.stage, claimed.episode) != claimed:
                break
            stored = newest
            continue
        _log(key, outcome, deps)
        return outcome.state.value
    deps.log.warning("Outcome of a mail was not saved", user=key, stage=outcome.stage.value, state=outcome.state.value)
    return f"{outcome.state.value}, not noted"


def _log(user_key: UserKey, mail: Mail, deps: Deps) -> None:
    if mail.state is MailState.SENT:
        took = round((mail.at - mail.decided_at).total_seconds(), 1)
        deps.log.info("Sent a mail", user=user_key, stage=mail.stage.value, decided_to_sent_s=took)
    if mail.refused:
        deps.log.error(
            "Recipients of a mail were refused",
            user=user_key,
            stage=mail.stage.value,
            state=mail.state.value,
            reason=Trouble.RECIPIENT.value,
            refused=mail.refused,
        )
