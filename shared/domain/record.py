"""One person's record: what is wanted (`spec`, from the facts) and what cannot be read back from the cloud (`status`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.cuts import Clearance, KeptIn, WaitingCut
from shared.domain.entitlement import Cause
from shared.domain.errors import Reason
from shared.domain.facts import PERSON_ID, Facts
from shared.domain.identity import AccountId, InstanceId, UserEmail, UserKey
from shared.domain.keeping import Former, Restoring, Snapshot
from shared.domain.power import PowerReason
from shared.domain.spark import ClusterStatus, ClusterWish
from shared.domain.story import StoryLine
from shared.domain.unknown_leaver import states_only_a_leave
from shared.domain.usage import Usage
from shared.domain.waves import Turn


class Presence(StrEnum):
    """Whether the person is to have an environment."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"


class Power(StrEnum):
    """Whether the environment is to run."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class ConditionType(StrEnum):
    """What a condition speaks about."""

    NOTEBOOK_READY = "NotebookReady"
    TEMPLATES_READY = "TemplatesReady"
    IDENTITY_READY = "IdentityReady"
    DATA_SAVED = "DataSaved"
    CLUSTERS_READY = "ClustersReady"
    CLUSTERS_REMOVED = "ClustersRemoved"
    SESSIONS_ENDED = "SessionsEnded"
    RECONCILED = "Reconciled"
    NEWS_UNDERSTOOD = "NewsUnderstood"


class ConditionStatus(StrEnum):
    """Kubernetes' three values; UNKNOWN when it could not be read."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Struct, frozen=True, kw_only=True):
    """One sentence about the present: `message` is for people, `reason` for machines; the time is of the last change of `status`."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str
    last_transition_time: datetime


class Notice(StrEnum):
    """Something about a person that a manager should know of, worked out from the facts at each pass."""

    STILL_LISTED = "StillListed"  # HR's feed repeats somebody whose leave stands
    TIE_WENT_TO_LEAVER = "TieWentToLeaver"  # joiner and leaver were said for the same moment
    DIRECTORY_OVERRULES = "DirectoryOverrules"  # HR's list of groups says otherwise than the directory
    DELETED_BUT_JOINED = "DeletedButJoined"  # HR says joined, the Google account is deleted
    SAME_PERSON = "SamePerson"  # the address was given to a new account; perhaps it is the same person
    RENAME_WAITS = "RenameWaits"  # an address change that nobody with authority has confirmed
    SUSPENDED_LONG = "SuspendedLong"  # the account has been suspended for longer than a leaver's things are kept
    ADDRESS_WAITS = "AddressWaits"  # new under an address that somebody else may be about to take
    GROUP_WAITS = (
        "GroupWaits"  # in by a group that is gone; others lose access too, so nobody does before it is agreed to
    )
    CUT_WAITS = "CutWaits"  # access is to end, and so it is for many others: it waits for room, or for an approval
    KEPT_IN = "KeptIn"  # access was to end, and somebody said that this is a mistake


# What a person has to decide; the others are only said.
NEEDS_ATTENTION = frozenset(
    {
        Notice.STILL_LISTED,
        Notice.DELETED_BUT_JOINED,
        Notice.SAME_PERSON,
        Notice.RENAME_WAITS,
        Notice.SUSPENDED_LONG,
        Notice.ADDRESS_WAITS,
        Notice.GROUP_WAITS,
        Notice.CUT_WAITS,
    }
)


class Verb(StrEnum):
    """What a long-running operation does."""

    CREATE = "create"
    DELETE = "delete"
    START = "start"
    STOP = "stop"
    UPDATE = "update"
    RESTORE = "restore"


class OperationRef(Struct, frozen=True, kw_only=True):
    """A long-running operation that was started: its full name, its verb, when."""

    name: str
    verb: Verb
    started_at: datetime


class TakenWish(Struct, frozen=True, kw_only=True):
    """A wish of the page that was folded into the record, and when: its object may still be there, and must not count twice."""

    wish_id: str
    at: datetime


class Spec(Struct, frozen=True, kw_only=True):
    """What is wanted. `power` is a request that is fulfilled once; `power_reason` says whose it is.

    `absent_since` is when entitlement ended; the retention counts from it. `keep_on_until`: the person asked not to be stopped
    for idleness before. `clusters` are the Spark clusters that the person wants, one for each template. `cause` is why the
    person is entitled or is not, `entitled_by` the assigned group that entitles, empty where something else does.
    """

    presence: Presence
    power: Power
    power_reason: PowerReason
    profile: str | None
    because: str
    absent_since: datetime | None = None
    keep_on_until: datetime | None = None
    clusters: tuple[ClusterWish, ...] = ()
    cause: Cause = Cause.UNKNOWN
    entitled_by: str = ""

    def wish(self, template: str) -> ClusterWish | None:
        """Return the wish for a cluster of that template, if there is one."""
        return next((w for w in self.clusters if w.template == template), None)


class Status(Struct, frozen=True, kw_only=True):
    """What cannot be read back.

    `generation` counts changes of what is wanted, `observed_generation` is the last one that a whole pass has seen.
    `power_settled` = the wanted power was reached once, so a later difference is somebody's will, not our debt; not before `settles_at`,
    while a pass that was planned when the person was not entitled may still stop the instance, or delete it.
    `tries` counts operations that were started (it makes request ids: the same try after a crash has the same id), `attempts`
    failures in a row; nothing is created or started before `not_before`.
    `was_active` = this instance was ACTIVE at least once, so it may hold data. `failed_zones` had no machines in this round.
    `waiting_since` = the moment of the news whose outcome is still awaited: to be ready for who joined, to be stopped for who left.
    `last_letter_id` and `last_letter_at` name the newest dead letter about this person, by when it was sent.
    `account_id` is the person's own service account, once one was wanted, `data_groups` the groups that it may be a member of
    through us. `naming` counts the names that the instance has had:
    a replacement exists beside what it replaces. `built_from` says what the present instance was created with, as far as that
    can never be changed (`shared.domain.differences`). `former` is what a replacement takes the place of.
    `snapshots` are all that may exist, oldest first; `saved_in` names the one that holds what is on the data disk, and is
    empty once the instance may have been used since. `restoring` is set before the cloud is asked to bring data back.
    `refused` is the digest of the change that the cloud refused (`shared.domain.differences`): it is not tried again until something else is wanted.
    `clusters` has what is known of the person's Spark clusters, by template. `usage` says how long this month the notebook
    (`shared.domain.usage.NOTEBOOK`) and each template's clusters ran. `ready_took_s` is how long the last joining took, in seconds.
    `acknowledged_at` is when an operator saw that this is a leaver of whom nothing is known (`shared.domain.unknown_leaver`).
    `story` is what happened lately, oldest first. `notices` are what a manager should know of, by name. `taken_wishes` are the
    page's wishes that were folded in lately.
    `waiting_cut` is a cut that there was no room for, `clearance` allows one, `kept_in` says which were mistakes.
    `waiting_listed` tells what the index of those who wait has of this person, "" for nothing.
    `urgent` names the leave that must not wait while many others leave (`ref` of a cut), "" for none. `turn` is when the person's change began in the last rollout that reached them.
    """

    generation: int = 1
    observed_generation: int = 0
    instance_id: InstanceId | None = None
    zone: str | None = None
    instance_uid: str = ""
    was_active: bool = False
    power_settled: bool = False
    settles_at: datetime | None = None
    operation: OperationRef | None = None
    failed_zones: tuple[str, ...] = ()
    attempts: int = 0
    tries: int = 0
    not_before: datetime | None = None
    next_attempt_at: datetime | None = None
    proxy_uri: str = ""
    idle_warned_at: datetime | None = None
    entitling_digest: str = ""
    last_event_id: str = ""
    waiting_since: datetime | None = None
    last_letter_id: str = ""
    last_letter_at: datetime | None = None
    account_id: AccountId | None = None
    data_groups: tuple[str, ...] = ()
    naming: int = 1
    built_from: Mapping[str, str] = field(default_factory=dict)
    former: Former | None = None
    snapshots: tuple[Snapshot, ...] = ()
    snapshots_taken: int = 0
    saved_in: str = ""
    restoring: Restoring | None = None
    refused: str = ""
    clusters: tuple[ClusterStatus, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    ready_took_s: float | None = None
    acknowledged_at: datetime | None = None
    story: tuple[StoryLine, ...] = ()
    notices: tuple[Notice, ...] = ()
    taken_wishes: tuple[TakenWish, ...] = ()
    waiting_cut: WaitingCut | None = None
    clearance: Clearance | None = None
    kept_in: tuple[KeptIn, ...] = ()
    waiting_listed: str = ""
    turn: Turn | None = None
    urgent: str = ""
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return the condition of that type, if there is one."""
        return next((c for c in self.conditions if c.type == kind), None)

    def snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot of that name, if the record has one."""
        return next((s for s in self.snapshots if s.name == name), None)

    def cluster(self, template: str) -> ClusterStatus | None:
        """Return what is remembered of that template's cluster, if anything."""
        return next((c for c in self.clusters if c.template == template), None)


class Hold(Struct, frozen=True, kw_only=True):
    """A legal hold: nothing that may hold the person's data is deleted until it is released."""

    reason: str
    since: datetime


class WaitingRename(Struct, frozen=True, kw_only=True):
    """A changed address that nobody with authority has confirmed yet: `new_email` may become the person's."""

    new_email: UserEmail
    event_id: str
    source: str
    occurred_at: datetime


class Claim(Struct, frozen=True, kw_only=True):
    """The address of this record may become that of `owner`, another record's key; nothing is given to it before `until`."""

    owner: UserKey
    until: datetime


class Handover(Struct, frozen=True, kw_only=True):
    """The address was given to a new account, hence to another person: what is said later is about the record `to`.

    `at` is when the old account was deleted.
    """

    to: UserKey
    at: datetime


class Rejected(Struct, frozen=True, kw_only=True):
    """An operator's word that a claim about this person is not true (`shared.domain.question`).

    `ref` names the claim, `event` the event that made it, "" for none. `by` are the operators' keys, `digest` the question.
    """

    ref: str
    event: str
    by: str
    digest: str
    at: datetime


class UserRecord(Struct, frozen=True, kw_only=True):
    """Everything that is kept about one person. The object `records/<user_key>.json`.

    `user_key` is that of the first address and stays when the address changes; `email_since` is when the present one was
    announced, None for the first. `former_emails` are all others that were the person's. `rename` and `claim` are the two sides
    of a changed address that waits. `handover` says whose the address is now, `predecessor` is the record that had it before.
    `rejected` are claims about who the person is that an operator rejected.
    """

    user_key: UserKey
    email: UserEmail
    facts: Facts
    spec: Spec
    status: Status
    created_at: datetime
    cost_center: str = ""
    hold: Hold | None = None
    email_since: datetime | None = None
    former_emails: tuple[UserEmail, ...] = ()
    rename: WaitingRename | None = None
    claim: Claim | None = None
    handover: Handover | None = None
    predecessor: UserKey | None = None
    rejected: tuple[Rejected, ...] = ()

    @property
    def waits_for_number(self) -> bool:
        """True for the record that keeps what was said of a person number before anybody was known to have it."""
        return not self.email and PERSON_ID in self.facts.timelines

    @property
    def is_undecided(self) -> bool:
        """True for whoever was stopped because nobody decided for long: nothing is deleted before somebody does."""
        return self.spec.presence is Presence.ABSENT and self.status.waiting_cut is not None

    def is_known_as(self, email: UserEmail) -> bool:
        """Return True if the address is or was this person's. Two addresses may have one key: then the record is only one's.

        Records of earlier versions whose address changed did not keep the others, and a record that was erased has none left.
        """
        if not self.email:
            return not self.waits_for_number
        if self.email_since is not None and not self.former_emails:
            return True
        return email == self.email or email in self.former_emails

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next moment at which what is wanted may change by itself."""
        moments = [self.facts.next_change(now)]
        if self.claim is not None and self.claim.until > now:
            moments.append(self.claim.until)
        return min((moment for moment in moments if moment is not None), default=None)

    def with_status(self, **changes: Any) -> UserRecord:
        """Return the record with some status fields changed."""
        return replace(self, status=replace(self.status, **changes))

    def is_due(self, now: datetime) -> bool:
        """Return True when a pass is asked for: its time has come, or what is wanted has not been looked at yet."""
        if self.status.observed_generation != self.status.generation:
            return True
        return self.status.next_attempt_at is not None and self.status.next_attempt_at <= now


class RecordRow(Struct, frozen=True, kw_only=True):
    """What a listing tells of a record without reading it (the object's custom metadata).

    `former` is the (zone, instance id) that a replacement takes the place of, `snapshots` are names, without
    those that are known to be lost. `clusters` are the states of Spark clusters by template, "" before one was seen. `marked`: a
    message about the person could not be used.
    `unknown_since` is set for a leaver of whom nothing is known, until somebody acknowledges it.
    """

    user_key: UserKey
    presence: Presence
    power: Power
    power_settled: bool
    profile: str | None
    cost_center: str
    instance_id: InstanceId | None
    zone: str | None
    busy: bool
    next_attempt_at: datetime | None
    settled: bool
    entitling_digest: str
    reason: str
    email: str = ""
    proxy_uri: str = ""
    ready_since: datetime | None = None
    idle_warned_at: datetime | None = None
    waiting_since: datetime | None = None
    summary: str = ""
    former: tuple[str, str] | None = None
    snapshots: tuple[str, ...] = ()
    account_id: AccountId | None = None
    built_from: Mapping[str, str] = field(default_factory=dict)
    on_hold: bool = False
    keep_on_until: datetime | None = None
    usage: Mapping[str, Usage] = field(default_factory=dict)
    ready_took_s: float | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    cause: Cause = Cause.UNKNOWN
    entitled_by: str = ""
    marked: bool = False
    unknown_since: datetime | None = None
    absent_since: datetime | None = None
    turn: Turn | None = None
    refused: str = ""


def unknown_leaver_since(record: UserRecord) -> datetime | None:
    """Return since when a leave is known of somebody of whom nothing else ever was; None for everybody else.

    Once anything is stated that gives something, or the address changes, it is an ordinary record.
    """
    status = record.status
    is_ordinary = record.spec.presence is Presence.PRESENT or status.instance_id is not None
    if is_ordinary or status.acknowledged_at is not None or record.email_since is not None:
        return None
    return record.created_at if states_only_a_leave(record.facts) else None


def row_of(record: UserRecord) -> RecordRow:
    """Return the row of a record."""
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    news = record.status.condition(ConditionType.NEWS_UNDERSTOOD)
    return RecordRow(
        user_key=record.user_key,
        presence=record.spec.presence,
        power=record.spec.power,
        power_settled=record.status.power_settled,
        profile=record.spec.profile,
        cost_center=record.cost_center,
        instance_id=record.status.instance_id,
        zone=record.status.zone,
        busy=record.status.operation is not None,
        next_attempt_at=record.status.next_attempt_at,
        settled=record.status.observed_generation == record.status.generation,
        entitling_digest=record.status.entitling_digest,
        reason=ready.reason.value if ready is not None else Reason.PENDING.value,
        email=record.email,
        proxy_uri=record.status.proxy_uri,
        ready_since=ready.last_transition_time if ready is not None and ready.status is ConditionStatus.TRUE else None,
        idle_warned_at=record.status.idle_warned_at,
        waiting_since=record.status.waiting_since,
        summary=ready.message if ready is not None else "",
        former=(former.zone, former.instance_id) if (former := record.status.former) is not None else None,
        snapshots=tuple(s.name for s in record.status.snapshots if not s.lost),
        account_id=record.status.account_id,
        built_from=record.status.built_from,
        on_hold=record.hold is not None,
        keep_on_until=record.spec.keep_on_until,
        usage=record.status.usage,
        ready_took_s=record.status.ready_took_s,
        absent_since=record.spec.absent_since,
        clusters={
            c.template: c.state.value if c.state is not None else ""
            for c in record.status.clusters
            if c.is_there or record.spec.wish(c.template) is not None
        },
        notices=record.status.notices,
        cause=record.spec.cause,
        entitled_by=record.spec.entitled_by,
        marked=news is not None and news.status is ConditionStatus.FALSE,
        unknown_since=unknown_leaver_since(record),
        turn=record.status.turn,
        refused=record.status.refused if record.status.former is None else "",
    )


def set_condition(
    conditions: tuple[Condition, ...],
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with one set; its time moves only when its status does, so that a pass that changes nothing writes nothing."""
    old = next((c for c in conditions if c.type == kind), None)
    since = old.last_transition_time if old is not None and old.status == status else now
    new = Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)
    return tuple(sorted([c for c in conditions if c.type != kind] + [new], key=lambda c: c.type.value))
