"""Parts of a record's status: the proof of leaving, the mails, and the end of the chain of audit entries.

The proof has, for each of the eight paths by which a leaver could still have access, the time of the cut and the time at
which the cloud confirmed it.

A mail is sent at most once for each user, stage and episode. The decision to send and the claim are written with the record,
under its generation match, so neither a redelivery nor a crash sends a mail twice (docs/adr/0040). The function `notify`
writes the text of a mail.

The lines of the history that wait are the outbox of the audit (`shared.domain.record.audit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field


class LeavingPath(StrEnum):
    """A path by which a user may have access. A proof of leaving lists the paths in this order."""

    PROXY = "proxy-session"
    VM = "vm"
    ACCOUNT = "account"
    BINDINGS = "keys-and-bindings"
    CLUSTERS = "clusters"
    SESSIONS = "serverless-sessions"
    TEMPLATES = "template-objects"
    PAGE = "page"


class PathState(StrEnum):
    """The result of the last check of a path."""

    GONE = "gone"
    NONE = "none"  # there never was anything
    THERE = "there"
    UNREADABLE = "unreadable"
    NOT_LOOKED = "not-looked"


class PathCut(Struct, frozen=True, kw_only=True):
    """The state of a path by which a leaver could have access.

    `cut_at` is the time at which the end of the path was requested, or first observed. `gone_at` is the time at which the
    end was confirmed. `reason` says why the path is not gone or could not be observed, "" if no reason is known.
    """

    path: LeavingPath
    state: PathState
    cut_at: datetime | None = None
    gone_at: datetime | None = None
    reason: str = ""

    @property
    def is_verified(self) -> bool:
        """Return True if it was confirmed that the path is gone, or that there never was one."""
        return self.gone_at is not None


class Leaving(Struct, frozen=True, kw_only=True):
    """The state of a user's leaving.

    `since` is the time of the statement that ended access. `complete_at` is the time at which the last path was verified, None
    before. `keys` is the number of user-managed keys of the user's own account at the last check; None if they were never
    counted.
    """

    since: datetime
    paths: tuple[PathCut, ...]
    complete_at: datetime | None = None
    keys: int | None = None

    def path(self, path: LeavingPath) -> PathCut | None:
        """Return the state of a path; None if the path was not checked."""
        return next((each for each in self.paths if each.path is path), None)


class Stage(StrEnum):
    """The kind of a mail. `config/messages/<language>/<stage>.txt` has the text of each kind."""

    READY = "ready"
    WILL_STOP = "will-stop"
    STOPPED = "stopped"
    WILL_CHANGE = "will-change"
    RESTORED = "restored"
    WILL_BE_PUT_AWAY = "will-be-put-away"
    PUT_AWAY = "put-away"
    ACCESS_ENDED = "access-ended"
    WILL_BE_DELETED = "will-be-deleted"
    DELETED = "deleted"


# Stages about a leaver, who cannot read mail any more: they go to the manager, or to the configured addresses.
ABOUT_A_LEAVER = frozenset({Stage.ACCESS_ENDED, Stage.WILL_BE_DELETED, Stage.DELETED})
# Warnings without which nothing is deleted.
WARNINGS = frozenset({Stage.WILL_BE_PUT_AWAY, Stage.WILL_BE_DELETED})
WARNED_BEFORE = (14, 3, 1)  # days


class MailState(StrEnum):
    """The state of a mail. A LAPSED mail is DUE again once it is true again, and an operator may acknowledge UNSURE and FAILED.

    SENT, BEFORE and NOTED are final.
    """

    DUE = "Due"  # to be sent
    CLAIMED = "Claimed"  # a function began to send it; it is never sent by another one
    SENT = "Sent"  # accepted by the mail server, or by the chat if there is no mail server
    UNSURE = "Unsure"  # claimed, and nobody knows whether the mail server accepted it: never sent again
    FAILED = "Failed"  # refused for good, or nobody could be addressed
    LAPSED = "Lapsed"  # not true any more before it could be sent
    BEFORE = "Before"  # of the time before messages were switched on: never sent
    NOTED = "Noted"  # an operator took note that nobody was told


# The operator is told of these, until one takes note.
NOT_TOLD = frozenset({MailState.UNSURE, MailState.FAILED})
# A warning in one of these states has reached somebody who may act.
WAS_TOLD = frozenset({MailState.SENT, MailState.NOTED})


class Trouble(StrEnum):
    """The reason why a mail was not accepted. The value is a label of metrics."""

    NONE = ""
    NO_ADDRESS = "NoAddress"
    CONNECT = "Connect"
    GREETING = "Greeting"
    STARTTLS = "StartTls"
    LOGIN = "Login"
    SENDER = "Sender"
    RECIPIENT = "Recipient"
    CONTENT = "Content"
    NO_ANSWER = "NoAnswer"  # the content was sent, and the answer did not come
    SECRET = "Secret"  # noqa: S105 - the name of a reason
    TEXT = "Text"
    CHAT = "Chat"
    CRASHED = "Crashed"  # claimed, and no outcome for ten minutes


class Mail(Struct, frozen=True, kw_only=True):
    """A mail of a stage for an episode. `episode` is a text that identifies the episode within the stage.

    `at` is the time at which the mail entered its state, and `decided_at` the time of the decision to send the mail. `facts`
    are times and numbers for the text. `tries` counts attempts that certainly failed; the next attempt is not made before
    `not_before`. `refused` counts recipients that the mail server refused while it accepted others.
    """

    stage: Stage
    episode: str
    state: MailState
    at: datetime
    decided_at: datetime
    facts: Mapping[str, str] = field(default_factory=dict)
    tries: int = 0
    not_before: datetime | None = None
    trouble: Trouble = Trouble.NONE
    refused: int = 0

    def is_of(self, stage: Stage, episode: str) -> bool:
        """Return True if this is the mail of that stage and episode."""
        return self.stage is stage and self.episode == episode

    def time(self, name: str) -> datetime | None:
        """Return the time in the entry `name` of `facts`; None if the mail has no such entry."""
        said = self.facts.get(name)
        return None if said is None else datetime.fromisoformat(said)


class PlannedChange(Struct, frozen=True, kw_only=True):
    """A change for which a running notebook will be stopped.

    `what` is the digest of the change. `at` is the time at which the maintenance window opens; None if the change waits
    for the next stop. `replaces` is True if a new machine replaces the present one.
    """

    what: str
    at: datetime | None
    replaces: bool = False


class MailStatus(Struct, frozen=True, kw_only=True):
    """The mails of a user, oldest first.

    `mails_since` is the time at which messages were switched on for the user. It is None before that, and after a repair put
    an older version of the record back.

    `change` is a change of the notebook that waits, with the time at which it is planned.
    """

    mails: tuple[Mail, ...] = ()
    mails_since: datetime | None = None
    change: PlannedChange | None = None

    @property
    def is_untold(self) -> bool:
        """Return True if a mail was not delivered, or may not have been, and no operator has acknowledged that."""
        return any(mail.state in NOT_TOLD for mail in self.mails)

    def mail(self, stage: Stage, episode: str) -> Mail | None:
        """Return the mail of that stage and episode, None if none was decided."""
        return next((mail for mail in self.mails if mail.is_of(stage, episode)), None)


LAPSES = timedelta(minutes=10)  # a claim without an outcome: longer than the function lives


def last_warning(since: datetime, days: int = min(WARNED_BEFORE)) -> str:
    """Return the episode of the warning `days` days before the end; by default, of the last warning."""
    return f"{since.isoformat()}/{days}"


def warned_of(status: MailStatus, stage: Stage, since: datetime, now: datetime) -> bool:
    """Return True if the last warning of that stage was sent, or its failure acknowledged, and its announced time has passed."""
    mail = status.mail(stage, last_warning(since))
    named = mail.time("at") if mail is not None else None
    return mail is not None and mail.state in WAS_TOLD and (named is None or named <= now)


class AuditStatus(Struct, frozen=True, kw_only=True):
    """The end of the user's chain of audit entries. Waiting lines of the history become the next entries.

    `alias` is the pseudonym in the entries; only the record links the pseudonym to the user. `audited` is the number of the
    last entry, `audit_digest` the SHA-256 of its bytes, and `audit_object` the name of the object that has the entry.
    """

    alias: str = ""
    audited: int = 0
    audit_digest: str = ""
    audit_object: str = ""
