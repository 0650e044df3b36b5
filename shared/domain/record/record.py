"""The record of one user: the wanted state (`spec`, from the facts) and the remembered state (`status`).

The status has only data that cannot be read back from the cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Unpack

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.people.entitlement import Cause
from shared.domain.people.facts import PERSON_ID, Facts
from shared.domain.people.unknown_leaver import states_only_a_leave
from shared.domain.record.copies import next_copy_at
from shared.domain.record.cuts import SeatWait
from shared.domain.record.status import ConditionStatus, ConditionType, Notice, Regret, Status, StatusChanges
from shared.domain.record.waves import Turn
from shared.domain.things.clusters import ClusterWish
from shared.domain.things.errors import Reason
from shared.domain.things.identity import AccountId, InstanceId, UserEmail, UserKey
from shared.domain.things.meter import meter_text
from shared.domain.things.power import PowerReason, Usage
from shared.domain.things.snapshots import RestoreWish

_AT_LAST = datetime.max.replace(tzinfo=UTC)  # what holds once every statement has taken effect


class Presence(StrEnum):
    """The wanted presence of the environment."""

    PRESENT = "PRESENT"
    ABSENT = "ABSENT"


class Power(StrEnum):
    """The wanted power of the environment: running or stopped."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"


class Spec(Struct, frozen=True, kw_only=True):
    """The wanted state. `power` is a request that is fulfilled once; `power_reason` is its cause.

    `absent_since` is the time at which entitlement ended, from which the retention counts. Before `keep_on_until` there is no
    idle stop, at the user's request. `restart_at` is the time at which the user requested a restart. `restore` is the request
    to replace the files by a copy. `clusters` are the Spark clusters that the user requests, at most one for each template.
    `cause` is the reason why the user is entitled or not. `entitled_by` is the assigned group that entitles, "" if no group
    entitles. `limited_by` are the user's groups with a limit of environments, and `paid_by` the groups with a limit of
    cost; a leaver's `paid_by` does not change.
    """

    presence: Presence
    power: Power
    power_reason: PowerReason
    profile: str | None
    because: str
    absent_since: datetime | None = None
    keep_on_until: datetime | None = None
    restart_at: datetime | None = None
    restore: RestoreWish | None = None
    clusters: tuple[ClusterWish, ...] = ()
    cause: Cause = Cause.UNKNOWN
    entitled_by: str = ""
    limited_by: tuple[str, ...] = ()
    paid_by: tuple[str, ...] = ()

    def wish(self, template: str) -> ClusterWish | None:
        """Return the request for a cluster of that template, None if there is none."""
        return next((w for w in self.clusters if w.template == template), None)


class Hold(Struct, frozen=True, kw_only=True):
    """A legal hold: nothing that may hold the user's data is deleted until the hold is released."""

    reason: str
    since: datetime


class WaitingRename(Struct, frozen=True, kw_only=True):
    """A changed address that no source with authority has confirmed yet: `new_email` may become the user's address."""

    new_email: UserEmail
    event_id: str
    source: str
    occurred_at: datetime


class Claim(Struct, frozen=True, kw_only=True):
    """A possible change of owner: the address of this record may become the address of the user with the key `owner`.

    A new user under this address gets no environment before `until`.
    """

    owner: UserKey
    until: datetime


class Handover(Struct, frozen=True, kw_only=True):
    """A handover of the address to a new account, hence to another user, whose record has the key `to`.

    Later messages are about that record. `at` is the time at which the old account was deleted.
    """

    to: UserKey
    at: datetime


class Rejected(Struct, frozen=True, kw_only=True):
    """An operator's statement that a claim about this user is not true (`shared.domain.intent.question`).

    `ref` identifies the claim, and `event` the event that made the claim, "" if there is none. `by` are the operators' keys.
    `digest` is the digest of the question.
    """

    ref: str
    event: str
    by: str
    digest: str
    at: datetime


class UserRecord(Struct, frozen=True, kw_only=True):
    """All data about one user, stored in the object `records/<user_key>.json`.

    `user_key` is computed from the first address and stays when the address changes. `email_since` is the time at which
    the present address was announced, None for the first address. `former_emails` are all other addresses that the user
    had. `rename` and `claim` are the two sides of an address change that waits. `handover` names the present holder of
    the address, `predecessor` the record that had it before. `rejected` are claims about the user's identity that an
    operator rejected.
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
        """Return True if the record only keeps messages about a person number that no known user has yet."""
        return not self.email and PERSON_ID in self.facts.timelines

    @property
    def is_undecided(self) -> bool:
        """Return True if the user was stopped because no decision came in time.

        Nothing is deleted before the decision.
        """
        return self.spec.presence is Presence.ABSENT and self.status.guard.waiting_cut is not None

    @property
    def missing_seats(self) -> tuple[str, ...]:
        """Return the limited groups of the user in which the user has no seat yet."""
        return tuple(group for group in self.spec.limited_by if group not in self.status.guard.seats)

    @property
    def asks_for_seats(self) -> bool:
        """Return True if the user needs all seats before anything is created: after joining, or without an environment."""
        status = self.status
        is_away = status.notebook.dormancy is not None and status.notebook.dormancy.away_since is not None
        has_environment = is_away or bool(
            status.notebook.instance_uid
            or status.notebook.was_active
            or status.notebook.operation
            or status.notebook.former
            or status.data.restoring
        )
        return status.guard.asks_seat or not has_environment

    def is_known_as(self, email: UserEmail) -> bool:
        """Return True if the address is or was this user's. Two addresses may have the same key, but a record has one user.

        Any address counts as known for an erased record, which has no address, and for a record of an earlier version whose
        address changed, which has no former addresses. A record that only keeps messages about a person number knows none.
        """
        if not self.email:
            return not self.waits_for_number
        if self.email_since is not None and not self.former_emails:
            return True
        return email == self.email or email in self.former_emails

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next moment at which the wanted state may change without a new message; None if there is none."""
        moments = [self.facts.next_change(now)]
        if self.claim is not None and self.claim.until > now:
            moments.append(self.claim.until)
        return min((moment for moment in moments if moment is not None), default=None)

    def with_status(self, **changes: Unpack[StatusChanges]) -> UserRecord:
        """Return the record with some fields of its status changed. Each field may belong to any part of the status."""
        return replace(self, status=self.status.changed(**changes))

    def is_due(self, now: datetime) -> bool:
        """Return True if a pass is needed: its time has come, or no pass has seen the latest change of the wanted state."""
        if self.status.observed_generation != self.status.generation:
            return True
        return self.status.next_attempt_at is not None and self.status.next_attempt_at <= now


class LimitRow(Struct, frozen=True, kw_only=True):
    """The part of a record's row about limits by group.

    `seats` are the limited groups in which the user has a seat, `wait` is the user's wait for seats. `is_due` is True if
    the next pass takes a missing seat for the existing environment. `paid_by` are the groups with a monthly limit.
    """

    seats: tuple[str, ...] = ()
    wait: SeatWait | None = None
    is_due: bool = False
    paid_by: tuple[str, ...] = ()


class RecordRow(Struct, frozen=True, kw_only=True, gc=False):
    """The part of a record that a listing shows without reading the record (the object's custom metadata).

    `former` is the zone and the instance id of a predecessor. `snapshots` are the names of snapshots that are not known to
    be lost, without copies. `copies` are the names of the copies; a leaver's lost copies are left out. A copy with the
    present content of the disk is in both. `copy_from` is the earliest time of the next copy, None if no copy is needed.
    `clusters` are the states of Spark clusters by template, "" before the first observation. `audit` is the end of the
    user's chain of audit entries, "<pseudonym> <number> <digest>"; no other object may link these to the user. `meter` is
    the user's meter as a text (`shared.domain.things.meter`), "" before the first line. `marked` is True if a message about
    the user could not be used. `unknown_since` is set for an unknown leaver, until an operator acknowledges the leaver.
    `access_until` is the end of access by the newest statement, None for no end. `proved_at` is the time at which the last
    path of a leaver was verified to be cut, None before. `sold_out` are the zones that had no machine for a waiting user,
    and `sold_out_since` is the start of that wait. `reason` and `summary` are the reason and message of the condition
    NOTEBOOK_READY. `busy` is True while an operation is under way. `settled` is True if a whole pass saw the latest wanted
    state.
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
    ready_at: datetime | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    cause: Cause = Cause.UNKNOWN
    entitled_by: str = ""
    marked: bool = False
    unknown_since: datetime | None = None
    absent_since: datetime | None = None
    turn: Turn | None = None
    refused: str = ""
    copies: tuple[str, ...] = ()
    copy_from: datetime | None = None
    regrets: tuple[Regret, ...] = ()
    audit: str = ""
    access_until: datetime | None = None
    hold_reason: str = ""
    proved_at: datetime | None = None
    sold_out: tuple[str, ...] = ()
    sold_out_since: datetime | None = None
    meter: str = ""
    limits: LimitRow = LimitRow()


def unknown_leaver_since(record: UserRecord) -> datetime | None:
    """Return the time at which an unknown leaver was recorded; None for all other users, and after an acknowledgement.

    For an unknown leaver, only the end of access was ever stated. Once a statement gives access, or the address changes, the
    record is an ordinary record.
    """
    status = record.status
    is_ordinary = record.spec.presence is Presence.PRESENT or status.notebook.instance_id is not None
    if is_ordinary or status.inbox.acknowledged_at is not None or record.email_since is not None:
        return None
    return record.created_at if states_only_a_leave(record.facts) else None


def row_of(record: UserRecord) -> RecordRow:
    """Return the row of a record, as its object's metadata shows it in a listing."""
    is_absent, data = record.spec.presence is Presence.ABSENT, record.status.data
    ready = record.status.condition(ConditionType.NOTEBOOK_READY)
    sold_out = _sold_out(record)
    return RecordRow(
        user_key=record.user_key,
        presence=record.spec.presence,
        power=record.spec.power,
        power_settled=record.status.notebook.power_settled,
        profile=record.spec.profile,
        cost_center=record.cost_center,
        instance_id=record.status.notebook.instance_id,
        zone=record.status.notebook.zone,
        busy=record.status.notebook.operation is not None,
        next_attempt_at=record.status.next_attempt_at,
        settled=record.status.observed_generation == record.status.generation,
        entitling_digest=record.status.entitling_digest,
        reason=ready.reason.value if ready is not None else Reason.PENDING.value,
        email=record.email,
        proxy_uri=record.status.notebook.proxy_uri,
        ready_since=ready.last_transition_time if ready is not None and ready.status is ConditionStatus.TRUE else None,
        idle_warned_at=record.status.notebook.idle_warned_at,
        waiting_since=record.status.waiting_since,
        summary=ready.message if ready is not None else "",
        former=(former.zone, former.instance_id) if (former := record.status.notebook.former) is not None else None,
        snapshots=tuple(s.name for s in data.snapshots if not s.lost and (not s.is_copy or s.name == data.saved_in)),
        account_id=record.status.account.account_id,
        built_from=record.status.notebook.built_from,
        on_hold=record.hold is not None,
        keep_on_until=record.spec.keep_on_until,
        usage=record.status.usage,
        ready_took_s=record.status.ready_took_s,
        ready_at=record.status.ready_at,
        absent_since=record.spec.absent_since,
        clusters={
            c.template: c.state.value if c.state is not None else ""
            for c in record.status.clusters
            if c.is_there or record.spec.wish(c.template) is not None
        },
        notices=record.status.notices,
        cause=record.spec.cause,
        entitled_by=record.spec.entitled_by,
        marked=_is_marked(record),
        unknown_since=unknown_leaver_since(record),
        turn=record.status.notebook.turn,
        refused=record.status.notebook.refused if record.status.notebook.former is None else "",
        copies=tuple(s.name for s in record.status.data.snapshots if s.is_copy and not (s.lost and is_absent)),
        copy_from=next_copy_at(record.status, record.created_at) if not is_absent else None,
        regrets=record.status.notebook.regrets,
        audit=f"{audit.alias} {audit.audited} {audit.audit_digest}" if (audit := record.status.audit).audited else "",
        access_until=ends[0] if (ends := record.facts.access_until(_AT_LAST)) is not None else None,
        hold_reason=record.hold.reason if record.hold is not None else "",
        proved_at=leaving.complete_at if (leaving := record.status.leaving) is not None and is_absent else None,
        sold_out=sold_out,
        sold_out_since=ready.last_transition_time if sold_out and ready is not None else None,
        meter=meter_text(record.status.meter),
        limits=_limits_of(record),
    )


def _limits_of(record: UserRecord) -> LimitRow:
    guard, due = record.status.guard, bool(record.missing_seats) and not record.asks_for_seats
    return LimitRow(seats=guard.seats, wait=guard.seat_wait, is_due=due, paid_by=record.spec.paid_by)


def _is_marked(record: UserRecord) -> bool:
    news = record.status.condition(ConditionType.NEWS_UNDERSTOOD)
    return news is not None and news.status is ConditionStatus.FALSE


def _sold_out(record: UserRecord) -> tuple[str, ...]:
    """Return the zones without capacity for an entitled user who waits; the notebook's own zone only after a stockout."""
    notebook, ready = record.status.notebook, record.status.condition(ConditionType.NOTEBOOK_READY)
    if record.spec.presence is Presence.ABSENT or ready is None or ready.status is ConditionStatus.TRUE:
        return ()
    own = (notebook.zone,) if ready.reason is Reason.STOCKOUT and notebook.zone else ()
    return tuple(dict.fromkeys((*notebook.failed_zones, *own)))
