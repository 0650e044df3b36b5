"""The conversion of a record to JSON and back.

The written version is the lowest that can express the content. Versions from 2 on have data that an older program must not
ignore, so an older program refuses to read them. Reading is strict: a damaged record is an error, and no value is guessed. A
record of a newer program is another error, because an older program must not replace the record. Such a record has an
unknown version, or a word that this program does not know.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import NODEFAULT, Struct, convert, defstruct, field
from msgspec.json import Decoder
from msgspec.structs import astuple, fields

from shared.domain.people import facts_json
from shared.domain.people.facts import TIMELINES
from shared.domain.record.parts import AuditStatus, Leaving, Mail, MailStatus, PlannedChange
from shared.domain.record.record import Spec, UserRecord
from shared.domain.record.status import (
    PARTS,
    AccountStatus,
    DataStatus,
    GuardStatus,
    InboxStatus,
    NotebookStatus,
    Status,
)
from shared.domain.record.unknown_word import UnknownWordError, unknown_word
from shared.domain.things.clusters import ClusterStatus
from shared.domain.things.errors import DamagedRecordError, NewerRecordError
from shared.domain.things.history import StoryLine
from shared.domain.things.meter import Line, Meter, Open, What
from shared.domain.things.power import as_once_kept
from shared.domain.things.snapshots import Former, Snapshot

VERSION = 1
# A record on hold: a program without holds must refuse it, or it would drop the hold and delete the data under hold.
VERSION_WITH_HOLD = 2
# A record that names an account, snapshots or a replacement: a program that does not know these would lose them.
VERSION_WITH_KEEPING = 3
# A pointer has version 4. A record whose facts name sources, or that waits for something: an older program would give access to
# a user whose account is archived, or hand one user's resources to another.
VERSION_WITH_SOURCES = 5
# A record whose cut waits, or was marked as a mistake: a program that does not know this would end access, or delete.
VERSION_WITH_GUARD = 6
# A record with copies of the files, or with a requested restore: a program that does not know these would delete the copies as
# old, or forget which of two states a disk holds.
VERSION_WITH_COPIES = 7
# A record whose access an operator ended: a program that does not know this would give it back.
VERSION_WITH_BLOCKS = 8
_VERSIONS = frozenset(
    {
        VERSION,
        VERSION_WITH_HOLD,
        VERSION_WITH_KEEPING,
        VERSION_WITH_SOURCES,
        VERSION_WITH_GUARD,
        VERSION_WITH_COPIES,
        VERSION_WITH_BLOCKS,
    }
)


def to_json(record: UserRecord) -> dict[str, Any]:
    """Return the record in JSON types."""
    forgotten = {"forgotten": list(record.facts.forgotten)} if record.facts.forgotten else {}
    return {
        "version": _version(record),
        "user_key": record.user_key,
        "email": record.email,
        "created_at": record.created_at.isoformat(),
        "cost_center": record.cost_center,
        "facts": facts_json.to_json(record.facts),
        **forgotten,
        # The words, too: a program of an earlier version requires them.
        "spec": {**_plain(record.spec), "power_because": str(record.spec.power_reason)},
        "status": _flat(_plain(record.status)),
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
    data = status.data
    if record.facts.blocks().timelines:
        return VERSION_WITH_BLOCKS
    if any(s.is_copy for s in data.snapshots) or record.spec.restore or data.rollback or data.restored:
        return VERSION_WITH_COPIES
    if status.guard.waiting_cut is not None or status.guard.kept_in:
        return VERSION_WITH_GUARD
    if facts_json.is_sourced(record.facts) or record.former_emails or record.rename or record.claim or record.handover:
        return VERSION_WITH_SOURCES
    if (
        record.email_since is not None
        or status.account.account_id is not None
        or status.notebook.former is not None
        or status.data.restoring is not None
        or status.data.snapshots
        or status.notebook.naming > 1
    ):
        return VERSION_WITH_KEEPING
    return VERSION if record.hold is None else VERSION_WITH_HOLD


def _plain(value: Any) -> Any:
    """Return the value in JSON types. msgspec is not used here, because times keep the form of earlier versions."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is datetime:
        return value.isoformat()
    if isinstance(value, Struct):
        later = _LATER[kind] if kind in _THIN else frozenset()
        # A leaf is decided here: a call for each of a hundred fields costs most of the time.
        return {
            name: item if type(item) in _LEAVES else _plain(item)
            for name, item in zip(kind.__struct_fields__, astuple(value), strict=True)
            if item or name not in later
        }
    if isinstance(value, str):  # one of a list of words
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()}


def from_json(raw: Any) -> UserRecord:
    """Return the record that `to_json` wrote. Raise `NewerRecordError` or `DamagedRecordError` for anything else."""
    try:
        version = raw["version"]
        if _is_newer(version):
            raise UnknownWordError(f"version {version!r}")
        if version not in _VERSIONS:
            raise ValueError(f"version {version!r}")
        raw = _in_parts(_with_power_reason(raw))
        stated = facts_json.from_json(raw["facts"], raw.get("forgotten", ()))
        rest = convert(raw, _Rest)
        _check(rest, raw)
        return UserRecord(facts=stated, **{name: getattr(rest, name) for name in rest.__struct_fields__})
    except UnknownWordError as error:
        raise _newer(error) from error
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        word = unknown_word(raw, _Rest) or unknown_word(raw.get("facts"), TIMELINES) if isinstance(raw, dict) else None
        if word is not None:
            raise _newer(word) from error
        raise DamagedRecordError(
            user_message="This person's record is damaged. An administrator can put the last good version back: "
            "benchkeeper repair USER",
            detail=f"unreadable record: {type(error).__name__}: {error}",
        ) from error


def _flat(status: dict[str, Any]) -> dict[str, Any]:
    """Return the status with the fields of all parts in one flat mapping, as in records since the first version."""
    return {
        **{k: v for k, v in status.items() if k not in PARTS},
        **{k: v for part in PARTS for k, v in status[part].items()},
    }


def _in_parts(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the record's JSON with a nested status: every part gets all fields, and reads only its own."""
    status = raw["status"]
    return {**raw, "status": {**status, **dict.fromkeys(PARTS, status)}}


def _with_power_reason(raw: Any) -> Any:
    """Return the record's JSON with a cause for the wanted power. Records of earlier versions have only words for it."""
    spec = raw["spec"]
    if "power_reason" in spec:
        return raw
    return {**raw, "spec": {**spec, "power_reason": _plain(as_once_kept(spec["power_because"]))}}


def _newer(cause: object) -> NewerRecordError:
    return NewerRecordError(
        user_message="This person's record was written by a newer version of Benchkeeper. An administrator must deploy "
        "that version again.",
        detail=f"unreadable record: of a newer program: {cause}",
    )


def _is_newer(version: Any) -> bool:
    """Return True for a version number above all versions that this program and earlier ones wrote."""
    return isinstance(version, int) and not isinstance(version, bool) and version > VERSION_WITH_BLOCKS


def _check(value: Any, raw: Any) -> None:
    """Raise KeyError for a missing field that all versions wrote, and ValueError for a time that is not in UTC.

    `convert` accepts both faults.
    """
    kind = type(value)
    if isinstance(value, Struct):
        names = kind.__struct_fields__
        required = _REQUIRED.get(kind) or _REQUIRED.setdefault(kind, frozenset(names) - _LATER.get(kind, frozenset()))
        if not raw.keys() >= required:
            raise KeyError(f"{kind.__name__} without {sorted(required - raw.keys())}")
        for name, item in zip(names, astuple(value), strict=True):
            if item and type(item) not in _LEAVES and name in raw:
                _check(item, raw[name])
    elif kind is datetime:
        if value.tzinfo is not UTC:
            raise ValueError(f"a time that is not UTC: {value}")
    elif kind is tuple:
        for item, each in zip(value, raw or (), strict=True):
            _check(item, each)
    elif kind is dict:
        for name, item in value.items():
            _check(item, raw[name])


_LEAVES = frozenset({str, int, bool, float, type(None)})
_THIN = frozenset({StoryLine, What, Line, Open, Meter})  # a record holds many lines: empty later fields are left out
# Fields that records of earlier versions do not have. A field that is not named here must be present in what is read.
_LATER: dict[type, frozenset[str]] = {
    StoryLine: frozenset({"act", "refused", "by", "waits", "again", "after", "call", "repeats", "until"}),
    Spec: frozenset({"restart_at", "restore", "keep_on_until", "clusters", "cause", "entitled_by", "limited_by", "paid_by"}),
    Meter: frozenset({"began_at", "lines", "open", "asked_at", "priced"}),
    Line: frozenset({"estimated", "charge"}),
    Open: frozenset(),
    What: frozenset({"profile", "machine", "disk_type", "disk_gb", "cost_center", "department", "price"}),
    Former: frozenset({"built_from"}),
    Status: frozenset({"waiting_since", "clusters", "usage", "meter", "ready_took_s", "ready_at", "story", "notices", "leaving"}),
    NotebookStatus: frozenset({
        "naming", "built_from", "former", "refused", "turn", "settles_at",
        "offered_zones", "wrong_zones", "refused_spec", "unsettled_since", "unwell_since", "restarted_for", "lost_at", "files_of",
        "dormancy", "regrets",
    }),
    ClusterStatus: frozenset({"offered_zones"}),
    DataStatus: frozenset({
        "snapshots", "snapshots_taken", "saved_in", "restoring", "rollback", "restored", "is_copied", "copy_failures", "copy_after",
    }),
    Snapshot: frozenset({"kind"}),
    AccountStatus: frozenset({"account_id", "data_groups"}),
    GuardStatus: frozenset({
        "waiting_cut", "clearance", "kept_in", "waiting_listed", "urgent", "seats", "asks_seat", "seat_wait",
    }),
    InboxStatus: frozenset({"last_letter_id", "last_letter_at", "acknowledged_at", "taken_wishes"}),
    AuditStatus: frozenset({"alias", "audited", "audit_digest", "audit_object"}),
    Leaving: frozenset({"keys"}),
    MailStatus: frozenset({"mails", "mails_since", "change"}),
    Mail: frozenset({"facts", "tries", "not_before", "trouble", "refused"}),
    PlannedChange: frozenset({"replaces"}),
}  # fmt: skip
_REQUIRED: dict[type, frozenset[str]] = {}  # the fields that every writer of a type wrote, by type, as types are met
# A record without its facts, which are in two places of its JSON.
_Rest = defstruct(
    "_Rest",
    [
        (f.name, f.type, field(default=f.default)) if f.default is not NODEFAULT else (f.name, f.type)
        for f in fields(UserRecord)
        if f.name != "facts"
    ],
    frozen=True,
    kw_only=True,
)
# msgspec must learn the types now: if two threads learn them at their first record, the process ends (docs/traps.md).
Decoder(_Rest)
_LATER[_Rest] = frozenset(
    ["hold", "email_since", "former_emails", "rename", "claim", "handover", "predecessor", "rejected"]
)
