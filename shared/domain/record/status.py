"""The typed parts of a user's status: the data that cannot be read back from the cloud, with conditions and notices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypedDict, Unpack

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.record.cuts import Clearance, KeptIn, SeatWait, WaitingCut
from shared.domain.record.parts import AuditStatus, Leaving, Mail, MailStatus, PlannedChange
from shared.domain.record.waves import Turn
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.errors import Reason
from shared.domain.things.history import StoryLine
from shared.domain.things.identity import AccountId, InstanceId
from shared.domain.things.meter import NO_METER, Meter
from shared.domain.things.power import Usage
from shared.domain.things.snapshots import Dormancy, Former, Restored, Restoring, Rollback, Snapshot


class ConditionType(StrEnum):
    """The aspect of an environment that a condition describes."""

    NOTEBOOK_READY = "NotebookReady"
    TEMPLATES_READY = "TemplatesReady"
    IDENTITY_READY = "IdentityReady"
    DATA_SAVED = "DataSaved"
    CLUSTERS_READY = "ClustersReady"
    CLUSTERS_REMOVED = "ClustersRemoved"
    SESSIONS_ENDED = "SessionsEnded"
    COPIES_KEPT = "CopiesKept"
    RECONCILED = "Reconciled"
    NEWS_UNDERSTOOD = "NewsUnderstood"


class ConditionStatus(StrEnum):
    """The status of a condition, with the three values of Kubernetes. UNKNOWN: the wanted or the present state is not known."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Struct, frozen=True, kw_only=True):
    """The present state of one aspect of an environment. `last_transition_time` is the time of the last change of `status`."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str
    last_transition_time: datetime


class Notice(StrEnum):
    """A notice about a user for managers, computed from the record whenever its wanted state is derived."""

    STILL_LISTED = "StillListed"  # HR's feed repeats a user whose leave is still valid
    TIE_WENT_TO_LEAVER = "TieWentToLeaver"  # joiner and leaver were stated for the same moment
    DIRECTORY_OVERRULES = "DirectoryOverrules"  # HR's list of groups contradicts the directory
    DELETED_BUT_JOINED = "DeletedButJoined"  # HR states a joiner, but the Google account is deleted
    SAME_PERSON = "SamePerson"  # the address was given to a new account, perhaps of the same user
    RENAME_WAITS = "RenameWaits"  # an address change that no source with authority has confirmed
    SUSPENDED_LONG = "SuspendedLong"  # the account has been suspended for longer than a leaver's resources are kept
    ADDRESS_WAITS = "AddressWaits"  # new under an address that another user may be about to take
    GROUP_WAITS = "GroupWaits"  # entitled by a deleted group; others lose access, too, so that waits for an approval
    CUT_WAITS = "CutWaits"  # access is to end, as for many others: the cut waits for room, or for an approval
    BLOCKED = "Blocked"  # an operator ended access, and no message brings it back
    KEPT_IN = "KeptIn"  # access was to end, and an operator marked this as a mistake
    NOT_TOLD = "NotTold"  # a mail to this user, or about them, reached nobody


# Notices that need a decision: all but those that only inform.
NEEDS_ATTENTION = frozenset(Notice) - {
    Notice.TIE_WENT_TO_LEAVER,
    Notice.DIRECTORY_OVERRULES,
    Notice.BLOCKED,
    Notice.KEPT_IN,
}


class Verb(StrEnum):
    """The kind of a long-running operation."""

    CREATE = "create"
    DELETE = "delete"
    START = "start"
    STOP = "stop"
    UPDATE = "update"
    RESTORE = "restore"
    RESET = "reset"
    RESIZE = "resize_disk"


class OperationRef(Struct, frozen=True, kw_only=True):
    """A started long-running operation: its full name, its verb, its start."""

    name: str
    verb: Verb
    started_at: datetime


class RegretKind(StrEnum):
    """The kind of a sign that an idle stop or its warning disturbed a user at work."""

    EXTENDED = "Extended"  # within ten minutes of a warning
    STARTED = "Started"  # within ten minutes of an idle stop


class Regret(Struct, frozen=True, kw_only=True):
    """A sign that an idle stop or its warning disturbed a user at work, with its time."""

    kind: RegretKind
    at: datetime


class TakenWish(Struct, frozen=True, kw_only=True):
    """A request that was folded into the record at `at`, remembered so that it is not applied twice."""

    wish_id: str
    at: datetime


class StatusChanges(TypedDict, total=False):
    """The fields of a status and of its parts, so that `with_status` accepts no other names."""

    generation: int
    observed_generation: int
    instance_id: InstanceId | None
    zone: str | None
    instance_uid: str
    was_active: bool
    power_settled: bool
    settles_at: datetime | None
    operation: OperationRef | None
    failed_zones: tuple[str, ...]
    attempts: int
    tries: int
    not_before: datetime | None
    next_attempt_at: datetime | None
    proxy_uri: str
    idle_warned_at: datetime | None
    entitling_digest: str
    last_event_id: str
    waiting_since: datetime | None
    last_letter_id: str
    last_letter_at: datetime | None
    account_id: AccountId | None
    data_groups: tuple[str, ...]
    naming: int
    built_from: Mapping[str, str]
    former: Former | None
    snapshots: tuple[Snapshot, ...]
    snapshots_taken: int
    saved_in: str
    restoring: Restoring | None
    rollback: Rollback | None
    restored: Restored | None
    is_copied: bool
    copy_failures: int
    copy_after: datetime | None
    refused: str
    clusters: tuple[ClusterStatus, ...]
    usage: Mapping[str, Usage]
    meter: Meter
    ready_took_s: float | None
    ready_at: datetime | None
    acknowledged_at: datetime | None
    story: tuple[StoryLine, ...]
    notices: tuple[Notice, ...]
    taken_wishes: tuple[TakenWish, ...]
    waiting_cut: WaitingCut | None
    clearance: Clearance | None
    kept_in: tuple[KeptIn, ...]
    waiting_listed: str
    turn: Turn | None
    offered_zones: tuple[str, ...]
    wrong_zones: tuple[str, ...]
    refused_spec: str
    unsettled_since: datetime | None
    unwell_since: datetime | None
    restarted_for: datetime | None
    lost_at: datetime | None
    files_of: datetime | None
    dormancy: Dormancy | None
    regrets: tuple[Regret, ...]
    urgent: str
    seats: tuple[str, ...]
    asks_seat: bool
    seat_wait: SeatWait | None
    alias: str
    audited: int
    audit_digest: str
    audit_object: str
    leaving: Leaving | None
    mails: tuple[Mail, ...]
    mails_since: datetime | None
    change: PlannedChange | None
    conditions: tuple[Condition, ...]


class NotebookStatus(Struct, frozen=True, kw_only=True):
    """The remembered status of the instance.

    `power_settled` is True once the wanted power was reached; a later difference comes from outside and is adopted. It is not
    set before `settles_at`, because an older pass may still stop or delete the instance. `was_active` is True if this instance
    was ACTIVE at least once, so that it may hold data. `failed_zones` had no machines in this round. Nothing is created or
    started before `not_before`. `naming` counts the instance's names: a replacement exists beside its predecessor, `former`.
    `built_from` has the immutable values of the creation (`shared.domain.notebook.differences`). `refused` is the digest of a
    change that the cloud refused; the change is not tried again. `turn` is the user's turn in the last rollout.
    `offered_zones` are the zones that Google named as available at the last stockout. `wrong_zones` do not offer a value of
    the profile. `refused_spec` is the `config_digest` of a configuration that the cloud refused as invalid. `unsettled_since`
    is the time since which the instance is in transition, and `unwell_since` the time since which JupyterLab does not answer.
    `restarted_for` is the `Spec.restart_at` for which a restart was sent. `lost_at` is the time of a deletion from outside, and
    `files_of` the time at which the restored files were saved. `dormancy` is set before the notebook is put away.
    """

    instance_id: InstanceId | None = None
    zone: str | None = None
    instance_uid: str = ""
    was_active: bool = False
    power_settled: bool = False
    settles_at: datetime | None = None
    operation: OperationRef | None = None
    failed_zones: tuple[str, ...] = ()
    not_before: datetime | None = None
    proxy_uri: str = ""
    idle_warned_at: datetime | None = None
    naming: int = 1
    built_from: Mapping[str, str] = field(default_factory=dict)
    former: Former | None = None
    refused: str = ""
    turn: Turn | None = None
    offered_zones: tuple[str, ...] = ()
    wrong_zones: tuple[str, ...] = ()
    refused_spec: str = ""
    unsettled_since: datetime | None = None
    unwell_since: datetime | None = None
    restarted_for: datetime | None = None
    lost_at: datetime | None = None
    files_of: datetime | None = None
    dormancy: Dormancy | None = None
    regrets: tuple[Regret, ...] = ()


class DataStatus(Struct, frozen=True, kw_only=True):
    """The remembered status of saved files.

    `snapshots` are all snapshots that may exist, oldest first. `saved_in` names the snapshot with the present content of the
    data disk; "" once the instance may have been used since. `restoring` is set before a restore is requested from the cloud.
    `rollback` is a requested restore under way, and `restored` the outcome of the last one. `is_copied` is True if the newest copy
    has all files of a stopped machine. `copy_failures` counts failures in a row; no copy is taken before `copy_after`.
    """

    snapshots: tuple[Snapshot, ...] = ()
    snapshots_taken: int = 0
    saved_in: str = ""
    restoring: Restoring | None = None
    rollback: Rollback | None = None
    restored: Restored | None = None
    is_copied: bool = False
    copy_failures: int = 0
    copy_after: datetime | None = None


class AccountStatus(Struct, frozen=True, kw_only=True):
    """The id of the user's own service account, None before an account was wanted, and the groups that it may be a member of."""

    account_id: AccountId | None = None
    data_groups: tuple[str, ...] = ()


class GuardStatus(Struct, frozen=True, kw_only=True):
    """The state of the guard against mass changes for this user.

    `waiting_cut` is a cut that waits, `clearance` permits a cut, a creation or an idle stop, and `kept_in` are those marked
    as mistakes. `waiting_listed` is the user's entry in the index of waiting users, and `urgent` the `ref` of a leave that
    must not wait; each is "" for none. `seats` are the limited groups in which the user has a seat. `asks_seat` is True if
    nothing is created before the user has all seats.
    """

    waiting_cut: WaitingCut | None = None
    clearance: Clearance | None = None
    kept_in: tuple[KeptIn, ...] = ()
    waiting_listed: str = ""
    urgent: str = ""
    seats: tuple[str, ...] = ()
    asks_seat: bool = False
    seat_wait: SeatWait | None = None


class InboxStatus(Struct, frozen=True, kw_only=True):
    """The last messages about the user.

    `last_letter_id` and `last_letter_at` are the id and the send time of the newest dead letter. An operator acknowledged an unknown
    leaver at `acknowledged_at`. `taken_wishes` are the requests from the page that were folded in lately.
    """

    last_event_id: str = ""
    last_letter_id: str = ""
    last_letter_at: datetime | None = None
    acknowledged_at: datetime | None = None
    taken_wishes: tuple[TakenWish, ...] = ()


class Status(Struct, frozen=True, kw_only=True):
    """The state that cannot be read back from the cloud, in one part for each subject.

    `generation` counts changes of the wanted state; `observed_generation` is the last generation that a whole pass saw.
    `attempts` counts failures in a row. `tries` counts started operations, and is part of request ids. `waiting_since` is
    the time of a message until its effect is reached: a joiner's notebook is ready, or a leaver's is stopped. `ready_took_s`
    is the duration of the last joining in seconds, and `ready_at` its end. `clusters` are the user's known Spark clusters,
    by template. `usage` has this month's running time of the notebook (`shared.domain.things.power.NOTEBOOK`) and of each
    template's clusters. `meter` has the metered lines. `leaving` is the proof that a leaver has no access left, None for an
    entitled user. `story` is the latest history, oldest first. `notices` are for managers.

    Field names are unique over all parts, because a record's JSON has the fields of all parts in one mapping.
    """

    generation: int = 1
    observed_generation: int = 0
    attempts: int = 0
    tries: int = 0
    next_attempt_at: datetime | None = None
    entitling_digest: str = ""
    waiting_since: datetime | None = None
    clusters: tuple[ClusterStatus, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    meter: Meter = NO_METER
    ready_took_s: float | None = None
    ready_at: datetime | None = None
    story: tuple[StoryLine, ...] = ()
    notices: tuple[Notice, ...] = ()
    leaving: Leaving | None = None
    conditions: tuple[Condition, ...] = ()
    notebook: NotebookStatus = field(default_factory=NotebookStatus)
    data: DataStatus = field(default_factory=DataStatus)
    account: AccountStatus = field(default_factory=AccountStatus)
    guard: GuardStatus = field(default_factory=GuardStatus)
    inbox: InboxStatus = field(default_factory=InboxStatus)
    audit: AuditStatus = field(default_factory=AuditStatus)
    mail: MailStatus = field(default_factory=MailStatus)

    def changed(self, **changes: Unpack[StatusChanges]) -> Status:
        """Return the status with some fields changed. Each field may belong to any part of the status."""
        own, parts = dict[str, object](), dict[str, dict[str, object]]()
        for name, value in changes.items():
            part = PART_OF.get(name)
            if part is None:
                own[name] = value
            else:
                parts.setdefault(part, {})[name] = value
        return replace(self, **own, **{part: replace(getattr(self, part), **inner) for part, inner in parts.items()})

    def condition(self, kind: ConditionType) -> Condition | None:
        """Return the condition of that type; None if there is no such condition."""
        return next((c for c in self.conditions if c.type == kind), None)

    def snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot of that name, None if the record has none."""
        return next((s for s in self.data.snapshots if s.name == name), None)

    def cluster(self, template: str) -> ClusterStatus | None:
        """Return the remembered status of that template's cluster, None if there is none."""
        return next((c for c in self.clusters if c.template == template), None)


# The parts of a status, and for each field its part.
PARTS: Mapping[str, type[Struct]] = {
    "notebook": NotebookStatus,
    "data": DataStatus,
    "account": AccountStatus,
    "guard": GuardStatus,
    "inbox": InboxStatus,
    "audit": AuditStatus,
    "mail": MailStatus,
}
PART_OF: Mapping[str, str] = {name: part for part, kind in PARTS.items() for name in kind.__struct_fields__}


def set_condition(
    conditions: tuple[Condition, ...],
    kind: ConditionType,
    status: ConditionStatus,
    reason: Reason,
    message: str,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with the condition of type `kind` set, sorted by type.

    `last_transition_time` changes only if the status changes, so that a pass without changes writes nothing.
    """
    old = next((c for c in conditions if c.type == kind), None)
    since = old.last_transition_time if old is not None and old.status == status else now
    new = Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=since)
    return tuple(sorted([c for c in conditions if c.type != kind] + [new], key=lambda c: c.type.value))
