"""The row of a record as texts by name: the custom metadata of its object, and a line of the fleet's index."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec.json import Decoder, encode

from shared.domain.people.entitlement import Cause
from shared.domain.record.record import LimitRow, Power, Presence, RecordRow
from shared.domain.record.status import Notice, Regret, RegretKind
from shared.domain.record.waves import Turn
from shared.domain.things.identity import AccountId, InstanceId, UserKey
from shared.domain.things.power import Usage

AUDIT = "audit"  # the text that stays with the record: the fleet index has none
_PRESENCES = {word.value: word for word in Presence}
_POWERS = {word.value: word for word in Power}
_CAUSES = {word.value: word for word in Cause}
_NOTHING: Mapping[str, Any] = {}  # one shared object, because rows are never changed
_MAPPING = Decoder(dict[str, str])
_NO_LIMITS, _LIMITS = LimitRow(), Decoder(LimitRow)
_USAGES = Decoder(dict[str, tuple[str, float, str]])


def to_texts(row: RecordRow) -> dict[str, str]:
    """Return the row as an object's custom metadata; keys unknown to older programs are left out if empty."""
    texts = {
        "presence": row.presence.value,
        "power": row.power.value,
        "power-settled": str(row.power_settled),
        "profile": row.profile or "",
        "cost-center": row.cost_center,
        "instance": row.instance_id or "",
        "zone": row.zone or "",
        "busy": str(row.busy),
        "next-attempt": _iso(row.next_attempt_at),
        "settled": str(row.settled),
        "entitling": row.entitling_digest,
        "reason": row.reason,
        "email": row.email,
        "proxy-uri": row.proxy_uri,
        "ready-since": _iso(row.ready_since),
        "idle-warned": _iso(row.idle_warned_at),
        "waiting-since": _iso(row.waiting_since),
        "summary": row.summary,
        "former": "/".join(row.former) if row.former is not None else "",
        "snapshots": ",".join(row.snapshots),
        "account": row.account_id or "",
        "built-from": json.dumps(dict(row.built_from), separators=(",", ":")),
        "hold": str(row.on_hold),
    }
    later = {
        "keep-on-until": _iso(row.keep_on_until),
        "usage": _usage_text(row.usage),
        "ready-took": "" if row.ready_took_s is None else str(row.ready_took_s),
        "ready-at": _iso(row.ready_at),
        "unknown-since": _iso(row.unknown_since),
        "clusters": json.dumps(dict(row.clusters), separators=(",", ":")) if row.clusters else "",
        "notices": ",".join(row.notices),
        "cause": "" if row.cause is Cause.UNKNOWN else row.cause.value,
        "entitled-by": row.entitled_by,
        "marked": "True" if row.marked else "",
        "absent-since": _iso(row.absent_since),
        "turn": _turn_text(row.turn),
        "refused": row.refused,
        "copies": _copies_text(row.copies),
        "copy-from": _iso(row.copy_from),
        "regrets": ",".join(f"{each.kind.value} {_iso(each.at)}" for each in row.regrets),
        "meter": row.meter,
        AUDIT: row.audit,
        "access-until": _iso(row.access_until),
        "hold-reason": row.hold_reason,
        "proved-at": _iso(row.proved_at),
        "sold-out": ",".join(row.sold_out),
        "sold-out-since": _iso(row.sold_out_since),
        "limits": "" if row.limits == _NO_LIMITS else encode(row.limits).decode(),
    }
    return texts | {name: text for name, text in later.items() if text}


def from_texts(user_key: UserKey, raw: Mapping[str, str]) -> RecordRow | None:
    """Return the row in an object's custom metadata; None if the metadata holds no valid row.

    A sweep calls this for each of a hundred thousand users. For speed, words are looked up in tables, and fields that
    most rows lack are skipped.
    """
    try:
        get = raw.get
        return RecordRow(
            user_key=user_key,
            presence=_PRESENCES[raw["presence"]],
            power=_POWERS[raw["power"]],
            power_settled=raw["power-settled"] == "True",
            profile=raw["profile"] or None,
            cost_center=raw["cost-center"],
            instance_id=InstanceId(raw["instance"]) if raw["instance"] else None,
            zone=raw["zone"] or None,
            busy=raw["busy"] == "True",
            next_attempt_at=_time(raw["next-attempt"]),
            settled=raw["settled"] == "True",
            entitling_digest=raw["entitling"],
            reason=raw["reason"],
            email=get("email", ""),
            proxy_uri=get("proxy-uri", ""),
            ready_since=_time(get("ready-since")),
            idle_warned_at=_time(get("idle-warned")),
            waiting_since=_time(get("waiting-since")),
            summary=get("summary", ""),
            former=_former(text) if (text := get("former")) else None,
            snapshots=tuple(name for name in text.split(",") if name) if (text := get("snapshots")) else (),
            account_id=AccountId(text) if (text := get("account")) else None,
            built_from=_MAPPING.decode(text) if (text := get("built-from")) else _NOTHING,
            on_hold=get("hold") == "True",
            keep_on_until=_time(get("keep-on-until")),
            usage=_usage(text) if (text := get("usage")) else _NOTHING,
            ready_took_s=float(text) if (text := get("ready-took")) else None,
            ready_at=_time(get("ready-at")),
            clusters=_MAPPING.decode(text) if (text := get("clusters")) else _NOTHING,
            notices=tuple(Notice(each) for each in text.split(",") if each) if (text := get("notices")) else (),
            cause=_CAUSES[text] if (text := get("cause")) else Cause.UNKNOWN,
            entitled_by=get("entitled-by", ""),
            marked=get("marked") == "True",
            unknown_since=_time(get("unknown-since")),
            absent_since=_time(get("absent-since")),
            turn=_turn(text) if (text := get("turn")) else None,
            refused=get("refused", ""),
            meter=get("meter", ""),
            copies=_copies(text) if (text := get("copies")) else (),
            copy_from=_time(get("copy-from")),
            regrets=tuple(_regret(each) for each in text.split(",")) if (text := get("regrets")) else (),
            audit=get(AUDIT, ""),
            access_until=_time(get("access-until")),
            hold_reason=get("hold-reason", ""),
            proved_at=_time(get("proved-at")),
            sold_out=tuple(text.split(",")) if (text := get("sold-out")) else (),
            sold_out_since=_time(get("sold-out-since")),
            limits=_LIMITS.decode(text) if (text := get("limits")) else _NO_LIMITS,
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _former(text: str) -> tuple[str, str] | None:
    zone, _, instance_id = text.partition("/")
    return (zone, instance_id) if instance_id else None


def _regret(text: str) -> Regret:
    kind, _, at = text.partition(" ")
    return Regret(kind=RegretKind(kind), at=datetime.fromisoformat(at))


def _turn_text(turn: Turn | None) -> str:
    return (
        ""
        if turn is None
        else f"{turn.rollout} {_iso(turn.began_at)} {_iso(turn.ended_at)} {turn.refused} {turn.sold_out}"
    )


def _turn(text: str) -> Turn:
    rollout, began, ended, refused, sold_out = text.split(" ")
    return Turn(
        rollout=rollout,
        began_at=datetime.fromisoformat(began),
        ended_at=_time(ended),
        refused=refused == "True",
        sold_out=sold_out == "True",
    )


def _copies_text(names: tuple[str, ...]) -> str:
    """Return the names by their common beginning, with consecutive numbers joined: `nb-x-d:3-9,11;nb-x-b:10`.

    Custom metadata is limited to 8 KiB.
    """
    runs: dict[str, list[list[int]]] = {}
    for name in names:
        begin = name.rstrip("0123456789")
        number = int(name[len(begin) :])
        found = runs.setdefault(begin, [])
        if found and found[-1][1] + 1 == number:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ";".join(
        f"{begin}:{','.join(str(a) if a == b else f'{a}-{b}' for a, b in found)}" for begin, found in runs.items()
    )


def _copies(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for part in text.split(";"):
        begin, _, runs = part.rpartition(":")
        for run in runs.split(","):
            first, _, last = run.partition("-")
            names += [f"{begin}{number}" for number in range(int(first), int(last or first) + 1)]
    return tuple(names)


def _usage_text(usage: Mapping[str, Usage]) -> str:
    if not usage:
        return ""
    return json.dumps({name: [u.month, u.ran_s, _iso(u.since)] for name, u in usage.items()}, separators=(",", ":"))


class _OnlyUsage(Mapping[str, Usage]):
    """A mapping with a single entry, for the usage of most users.

    The mapping needs less than half of a dict's memory, which matters for a hundred thousand users.
    """

    __slots__ = ("_name", "_usage")

    def __init__(self, name: str, usage: Usage) -> None:
        self._name, self._usage = name, usage

    def __getitem__(self, name: str) -> Usage:
        if name != self._name:
            raise KeyError(name)
        return self._usage

    def __iter__(self) -> Iterator[str]:
        yield self._name

    def __len__(self) -> int:
        return 1


def _usage(text: str) -> Mapping[str, Usage]:
    found = {
        sys.intern(name): Usage(month=sys.intern(month), ran_s=int(ran_s), since=_time(since))
        for name, (month, ran_s, since) in _USAGES.decode(text).items()
    }
    return _OnlyUsage(*found.popitem()) if len(found) == 1 else found


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
