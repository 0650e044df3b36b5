"""A record as JSON, and back.

The version is the lowest that says all of it: 2 and 3 hold what an older program must not overlook, so that it refuses them.
Strict when reading: a damaged record is an error, never a guess. A record of a newer program is another error, since it must
not be replaced by an older version: its version is unknown, or it uses a word that this program does not know.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from shared.domain import facts as facts_module
from shared.domain.cuts import Clearance, CutClass, KeptIn, WaitingCut
from shared.domain.entitlement import Cause
from shared.domain.errors import DamagedRecordError, NewerRecordError, Reason
from shared.domain.facts import UnknownWordError
from shared.domain.identity import AccountId, InstanceId, UserEmail, UserKey
from shared.domain.keeping import Former, Restoring, Snapshot
from shared.domain.record import (
    Claim,
    Condition,
    ConditionStatus,
    ConditionType,
    Handover,
    Hold,
    Notice,
    OperationRef,
    Power,
    Presence,
    Rejected,
    Spec,
    Status,
    TakenWish,
    UserRecord,
    Verb,
    WaitingRename,
)
from shared.domain.spark import ClusterState, ClusterStatus, ClusterWish
from shared.domain.story import StoryKind, StoryLine
from shared.domain.usage import Usage
from shared.domain.waves import Turn

VERSION = 1
# A record on hold: a program that does not know holds must refuse it, or it would drop the hold and delete what it keeps.
VERSION_WITH_HOLD = 2
# A record that names an account, snapshots or a replacement: a program that does not know them would forget what it must keep.
VERSION_WITH_KEEPING = 3
# 4 is a pointer's. A record whose facts name sources, or that waits for something: a program that does not know them would give
# access to somebody whose account is archived, or hand one person's things to another.
VERSION_WITH_SOURCES = 5
# A record whose cut waits, or was said to be a mistake: a program that does not know that would end access, or delete.
VERSION_WITH_GUARD = 6
_VERSIONS = frozenset({VERSION, VERSION_WITH_HOLD, VERSION_WITH_KEEPING, VERSION_WITH_SOURCES, VERSION_WITH_GUARD})

Word = TypeVar("Word", bound=StrEnum)


def to_json(record: UserRecord) -> dict[str, Any]:
    """JSON-able form of a record."""
    forgotten = {"forgotten": list(record.facts.forgotten)} if record.facts.forgotten else {}
    return {
        "version": _version(record),
        "user_key": record.user_key,
        "email": record.email,
        "created_at": record.created_at.isoformat(),
        "cost_center": record.cost_center,
        "facts": facts_module.to_json(record.facts),
        **forgotten,
        "spec": _plain(record.spec),
        "status": _plain(record.status),
        "hold": None if record.hold is None else {"reason": record.hold.reason, "since": record.hold.since.isoformat()},
        "email_since": None if record.email_since is None else record.email_since.isoformat(),
        "former_emails": list(record.former_emails),
        "rename": None if record.rename is None else _plain(record.rename),
        "claim": None if record.claim is None else _plain(record.claim),
        "handover": None if record.handover is None else _plain(record.handover),
        "predecessor": record.predecessor,
        "rejected": [_plain(each) for each in record.rejected],
    }


def _version(record: UserRecord) -> int:
    status = record.status
    if status.waiting_cut is not None or status.kept_in:
        return VERSION_WITH_GUARD
    if (
        facts_module.is_sourced(record.facts)
        or record.former_emails
        or record.rename
        or record.claim
        or record.handover
    ):
        return VERSION_WITH_SOURCES
    if (
        record.email_since is not None
        or status.account_id is not None
        or status.former is not None
        or status.restoring is not None
        or status.snapshots
        or status.naming > 1
    ):
        return VERSION_WITH_KEEPING
    return VERSION if record.hold is None else VERSION_WITH_HOLD


def _plain(value: Any) -> Any:
    """What JSON can say of it. By hand: times have the form of earlier versions."""
    match value:
        case None | str() | int() | float():
            return value
        case datetime():
            return value.isoformat()
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}


def from_json(raw: Any) -> UserRecord:
    """Return the record that `to_json` gave. Raise `NewerRecordError` or `DamagedRecordError` for anything else."""
    try:
        version = raw["version"]
        if _is_newer(version):
            raise UnknownWordError(f"version {version!r}")
        if version not in _VERSIONS:
            raise ValueError(f"version {version!r}")
        return UserRecord(
            user_key=UserKey(raw["user_key"]),
            email=UserEmail(raw["email"]),
            created_at=_time(raw["created_at"]),
            cost_center=raw["cost_center"],
            facts=facts_module.from_json(raw["facts"], raw.get("forgotten", ())),
            spec=_spec(raw["spec"]),
            status=_status(raw["status"]),
            hold=_hold(raw.get("hold")),
            email_since=_maybe_time(raw.get("email_since")),
            former_emails=tuple(UserEmail(each) for each in raw.get("former_emails", ())),
            rename=_rename(raw.get("rename")),
            claim=_claim(raw.get("claim")),
            handover=_handover(raw.get("handover")),
            predecessor=None if raw.get("predecessor") is None else UserKey(raw["predecessor"]),
            rejected=tuple(_rejected(each) for each in raw.get("rejected", ())),
        )
    except UnknownWordError as error:
        raise NewerRecordError(
            user_message="This person's record was written by a newer version of Benchkeeper. An administrator must deploy "
            "that version again.",
            detail=f"unreadable record: of a newer program: {error}",
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedRecordError(
            user_message="This person's record is damaged. An administrator can put the last good version back: "
            "benchkeeper repair USER",
            detail=f"unreadable record: {type(error).__name__}: {error}",
        ) from error


def _is_newer(version: Any) -> bool:
    """Return True for a version above all that this program and its forerunners wrote; 4 marks a pointer."""
    return isinstance(version, int) and not isinstance(version, bool) and version > VERSION_WITH_GUARD


def _word(kind: type[Word], text: Any) -> Word:
    """Return the member of a closed list. A text that is none comes from a newer program; anything else is damage."""
    try:
        return kind(text)
    except ValueError:
        if isinstance(text, str):
            raise UnknownWordError(f"{kind.__name__} {text[:80]!r}") from None
        raise


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _maybe_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _hold(raw: dict[str, Any] | None) -> Hold | None:
    return None if raw is None else Hold(reason=str(raw["reason"]), since=_time(raw["since"]))


def _rename(raw: dict[str, Any] | None) -> WaitingRename | None:
    if raw is None:
        return None
    return WaitingRename(
        new_email=UserEmail(raw["new_email"]),
        event_id=raw["event_id"],
        source=raw["source"],
        occurred_at=_time(raw["occurred_at"]),
    )


def _claim(raw: dict[str, Any] | None) -> Claim | None:
    return None if raw is None else Claim(owner=UserKey(raw["owner"]), until=_time(raw["until"]))


def _handover(raw: dict[str, Any] | None) -> Handover | None:
    return None if raw is None else Handover(to=UserKey(raw["to"]), at=_time(raw["at"]))


def _rejected(raw: dict[str, Any]) -> Rejected:
    return Rejected(ref=raw["ref"], event=raw["event"], by=raw["by"], digest=raw["digest"], at=_time(raw["at"]))


def _waiting_cut(raw: dict[str, Any] | None) -> WaitingCut | None:
    if raw is None:
        return None
    return WaitingCut(
        ref=raw["ref"],
        cause=_word(CutClass, raw["cause"]),
        source=raw["source"],
        since=_time(raw["since"]),
        undoable_at=_maybe_time(raw["undoable_at"]),
        urgent=bool(raw["urgent"]),
    )


def _clearance(raw: dict[str, Any] | None) -> Clearance | None:
    return None if raw is None else Clearance(ref=raw["ref"], by=raw["by"], until=_time(raw["until"]))


def _kept_in(raw: dict[str, Any]) -> KeptIn:
    return KeptIn(ref=raw["ref"], by=raw["by"], digest=raw["digest"], at=_time(raw["at"]))


def _turn(raw: dict[str, Any] | None) -> Turn | None:
    if raw is None:
        return None
    return Turn(
        rollout=raw["rollout"],
        began_at=_time(raw["began_at"]),
        ended_at=_maybe_time(raw["ended_at"]),
        refused=bool(raw["refused"]),
        sold_out=bool(raw["sold_out"]),
    )


def _former(raw: dict[str, Any] | None) -> Former | None:
    if raw is None:
        return None
    return Former(
        instance_id=InstanceId(raw["instance_id"]),
        zone=raw["zone"],
        uid=raw["uid"],
        touched=bool(raw["touched"]),
        is_remnant=bool(raw["is_remnant"]),
        built_from={str(name): str(value) for name, value in raw.get("built_from", {}).items()},
    )


def _snapshot(raw: dict[str, Any]) -> Snapshot:
    return Snapshot(
        name=raw["name"],
        instance_id=InstanceId(raw["instance_id"]),
        zone=raw["zone"],
        instance_uid=raw["instance_uid"],
        asked_at=_time(raw["asked_at"]),
        ready_at=_maybe_time(raw["ready_at"]),
        size_bytes=int(raw["size_bytes"]),
        disk_size_gb=int(raw["disk_size_gb"]),
        snapshot_id=raw["snapshot_id"],
        spec={str(name): str(value) for name, value in raw["spec"].items()},
        manifest=bool(raw["manifest"]),
        lost=bool(raw["lost"]),
    )


def _restoring(raw: dict[str, Any] | None) -> Restoring | None:
    if raw is None:
        return None
    return Restoring(snapshot=raw["snapshot"], instance_uid=raw["instance_uid"], asked_at=_time(raw["asked_at"]))


def _cluster(raw: dict[str, Any]) -> ClusterStatus:
    return ClusterStatus(
        template=raw["template"],
        name=raw["name"],
        uuid=raw["uuid"],
        state=None if raw["state"] is None else _word(ClusterState, raw["state"]),
        zone=raw["zone"],
        operation=raw["operation"],
        asked_at=_maybe_time(raw["asked_at"]),
        tries=int(raw["tries"]),
        tried_zones=tuple(raw["tried_zones"]),
        not_before=_maybe_time(raw["not_before"]),
        seen_running_at=_maybe_time(raw["seen_running_at"]),
        deleting=bool(raw["deleting"]),
        jupyter_url=raw["jupyter_url"],
        reason=_word(Reason, raw["reason"]),
        message=raw["message"],
        diagnosis=raw["diagnosis"],
    )


def _usage(raw: dict[str, Any]) -> Usage:
    return Usage(month=raw["month"], ran_s=int(raw["ran_s"]), since=_maybe_time(raw["since"]))


def _line(raw: dict[str, Any]) -> StoryLine:
    return StoryLine(
        at=_time(raw["at"]),
        kind=_word(StoryKind, raw["kind"]),
        text=raw["text"],
        because=raw["because"],
        ref=raw["ref"],
    )


def _spec(raw: dict[str, Any]) -> Spec:
    return Spec(
        presence=_word(Presence, raw["presence"]),
        power=_word(Power, raw["power"]),
        power_because=raw["power_because"],
        profile=raw["profile"],
        because=raw["because"],
        absent_since=_maybe_time(raw["absent_since"]),
        keep_on_until=_maybe_time(raw.get("keep_on_until")),
        clusters=tuple(ClusterWish(template=w["template"], since=_time(w["since"])) for w in raw.get("clusters", ())),
        cause=_word(Cause, raw.get("cause", Cause.UNKNOWN.value)),
        entitled_by=raw.get("entitled_by", ""),
    )


def _status(raw: dict[str, Any]) -> Status:
    operation = raw["operation"]
    return Status(
        generation=int(raw["generation"]),
        observed_generation=int(raw["observed_generation"]),
        instance_id=None if raw["instance_id"] is None else InstanceId(raw["instance_id"]),
        zone=raw["zone"],
        instance_uid=raw["instance_uid"],
        was_active=bool(raw["was_active"]),
        power_settled=bool(raw["power_settled"]),
        settles_at=_maybe_time(raw.get("settles_at")),
        operation=None
        if operation is None
        else OperationRef(
            name=operation["name"], verb=_word(Verb, operation["verb"]), started_at=_time(operation["started_at"])
        ),
        failed_zones=tuple(raw["failed_zones"]),
        attempts=int(raw["attempts"]),
        tries=int(raw["tries"]),
        not_before=_maybe_time(raw["not_before"]),
        next_attempt_at=_maybe_time(raw["next_attempt_at"]),
        proxy_uri=raw["proxy_uri"],
        idle_warned_at=_maybe_time(raw["idle_warned_at"]),
        entitling_digest=raw["entitling_digest"],
        last_event_id=raw["last_event_id"],
        waiting_since=_maybe_time(raw.get("waiting_since")),
        last_letter_id=raw.get("last_letter_id", ""),  # records of 0.1.0 have none of these
        last_letter_at=_maybe_time(raw.get("last_letter_at")),
        account_id=None if raw.get("account_id") is None else AccountId(raw["account_id"]),
        data_groups=tuple(raw.get("data_groups", ())),
        naming=int(raw.get("naming", 1)),
        built_from={str(name): str(value) for name, value in raw.get("built_from", {}).items()},
        former=_former(raw.get("former")),
        snapshots=tuple(_snapshot(each) for each in raw.get("snapshots", ())),
        snapshots_taken=int(raw.get("snapshots_taken", 0)),
        saved_in=raw.get("saved_in", ""),
        restoring=_restoring(raw.get("restoring")),
        refused=raw.get("refused", ""),
        clusters=tuple(_cluster(each) for each in raw.get("clusters", ())),
        usage={str(name): _usage(each) for name, each in raw.get("usage", {}).items()},
        ready_took_s=None if raw.get("ready_took_s") is None else float(raw["ready_took_s"]),
        acknowledged_at=_maybe_time(raw.get("acknowledged_at")),
        story=tuple(_line(each) for each in raw.get("story", ())),
        notices=tuple(_word(Notice, each) for each in raw.get("notices", ())),
        taken_wishes=tuple(
            TakenWish(wish_id=str(each["wish_id"]), at=_time(each["at"])) for each in raw.get("taken_wishes", ())
        ),
        waiting_cut=_waiting_cut(raw.get("waiting_cut")),
        clearance=_clearance(raw.get("clearance")),
        kept_in=tuple(_kept_in(each) for each in raw.get("kept_in", ())),
        waiting_listed=raw.get("waiting_listed", ""),
        turn=_turn(raw.get("turn")),
        urgent=raw.get("urgent", ""),
        conditions=tuple(
            Condition(
                type=_word(ConditionType, c["type"]),
                status=_word(ConditionStatus, c["status"]),
                reason=_word(Reason, c["reason"]),
                message=c["message"],
                last_transition_time=_time(c["last_transition_time"]),
            )
            for c in raw["conditions"]
        ),
    )
