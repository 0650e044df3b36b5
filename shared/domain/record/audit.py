"""The audit entries: each line of a user's history as an event of OCSF class 3001 (Account Change), chained by SHA-256. Pure.

`audit/<date>/<alias>-<number>.jsonl` has one or more entries of one user, one entry a line; `number` is the number of the
first entry. An object is created once and never changed, so only one of two processes that copy the same entries succeeds.
`manifests/<date>.json` lists all objects of a day. Entries name the user by a pseudonym only; only the record links the
pseudonym to the user.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.record.parts import AuditStatus
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.history import Call, CallState, StoryKind, StoryLine, with_times
from shared.domain.things.identity import UserKey, account_id_for

ENTRIES = "audit/"
MANIFESTS = "manifests/"
ALONE = "alone"  # the first part of the id of a call about a user who has no record to write
_NAME = re.compile(r"^audit/(\d{4}-\d\d-\d\d)/([0-9a-z]+)-(\d{8})\.jsonl$")
_ADDRESS = re.compile(r"[^\s@'\"<>()\[\],;:]+@[^\s@'\"<>()\[\],;:]+\.[^\s@'\"<>()\[\],;:]*[^\s@'\"<>()\[\],;:.]")
_CLASS, _CATEGORY, _OTHER = 3001, 3, 99
_NAMES = {1: "Create", 2: "Enable", 5: "Disable", 6: "Delete", _OTHER: "Other"}
# OCSF: 0 unknown, 1 success, 2 failure, 99 other
_STATUS = {CallState.DONE: 1, CallState.REFUSED: 2, CallState.HELD: _OTHER, CallState.UNKNOWN: 0, CallState.ASKED: 0}


class Entry(Struct, frozen=True, kw_only=True):
    """An entry as it was read. `digest` is the SHA-256 of its bytes, and `place` the name of the object that has the entry.

    `repeats` and `until` are those of `StoryLine`. `state` is None for a line that is not a call. `previous` is the digest of
    the user's previous entry, "" for the first entry.
    """

    alias: str
    number: int
    at: datetime
    kind: StoryKind
    text: str
    because: str
    ref: str
    by: str
    act: str
    call: str
    event: str
    activity: int
    state: CallState | None
    done_at: datetime | None
    policy: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    previous: str
    previous_object: str
    repeats: int = 0
    until: datetime | None = None
    digest: str = ""
    place: str = ""

    @property
    def words(self) -> str:
        """Return the text for display, with the number of occurrences if there are several."""
        return with_times(self.text, self.repeats, self.until)


class CutCall(Struct, frozen=True, kw_only=True):
    """A call about a user without a record: the action's `kind`, its resource `target`, and a `text` without names."""

    kind: str
    text: str
    activity: int
    state: CallState
    target: str = ""


class Place(Struct, frozen=True, kw_only=True):
    """The parts of the name of an audit object: the day, the pseudonym, and the number of the first entry."""

    day: date
    alias: str
    number: int


def name_of(alias: str, number: int, day: date) -> str:
    """Return the name of an audit object. `number` is the number of its first entry."""
    return f"{ENTRIES}{day.isoformat()}/{alias}-{number:08}.jsonl"


def manifest_name(day: date) -> str:
    """Return the object name of the day's manifest."""
    return f"{MANIFESTS}{day.isoformat()}.json"


def place_of(name: str) -> Place | None:
    """Return the parts of an audit object's name; None for any other name."""
    match = _NAME.match(name)
    if match is None:
        return None
    try:
        return Place(day=date.fromisoformat(match[1]), alias=match[2], number=int(match[3]))
    except ValueError:
        return None


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of the bytes in hex."""
    return hashlib.sha256(content).hexdigest()


def access_of(record: UserRecord) -> dict[str, str]:
    """Return the user's wanted state and its cause, in the form of an audit entry. Empty values are left out."""
    spec = record.spec
    told = {
        "presence": spec.presence.value,
        "power": spec.power.value,
        "profile": spec.profile or "",
        "cause": spec.cause.value,
        "group": spec.entitled_by,
    }
    return {name: text for name, text in told.items() if text}


def sealed(record: UserRecord, alias: str) -> UserRecord:
    """Return the record for saving. If lines wait, they get the wanted state, and a record without a pseudonym gets `alias`."""
    story = record.status.story
    if not any(line.waits for line in story):
        return record
    if any(line.waits and not line.after for line in story):
        after = access_of(record)
        told = tuple(replace(line, after=after) if line.waits and not line.after else line for line in story)
        record = record.with_status(story=told)
    return record if record.status.audit.alias else record.with_status(alias=alias)


class Scrub:
    """A callable that replaces the user's addresses and key by the pseudonym, and others, except `kept`, by `<address>`."""

    def __init__(self, record: UserRecord, kept: frozenset[str]) -> None:
        self._alias = record.status.audit.alias
        self._own = {address.lower() for address in (record.email, *record.former_emails) if address}
        self._kept = kept
        key = record.user_key
        # The account's id first: it has a part of the key, and the key's digits.
        self._names = (account_id_for(key).removeprefix("nb-"), key, key.rpartition("-")[2])

    def __call__(self, text: str) -> str:
        """Return the text without the user's addresses and key, and without other addresses except the kept ones."""
        for address in self._own:
            if text.isascii() and address.isascii() and address not in text.lower():
                continue  # most texts; an expression for each person's address takes longer than the rest of an entry
            text = re.sub(re.escape(address), self._alias, text, flags=re.IGNORECASE)
        if "@" in text:
            text = _ADDRESS.sub(lambda found: self._address(found[0]), text)
        for name in self._names:
            text = text.replace(name, self._alias)
        return text

    def _address(self, address: str) -> str:
        return address if address.lower() in self._kept or self._alias in address else "<address>"


def named_again(text: str, record: UserRecord) -> str:
    """Return an entry's text with the user's key in place of the pseudonym, for a reader who may see the record."""
    alias = record.status.audit.alias
    return text.replace(alias, record.user_key) if alias else text


def entry_of(
    line: StoryLine, *, alias: str, number: int, previous: str, previous_object: str, scrub: Callable[[str], str]
) -> dict[str, Any]:
    """Return the audit entry of a line of the history. The same arguments give the same bytes (`line_bytes`)."""
    call = line.call
    activity = call.activity if call is not None else _OTHER
    source, said = scrub(line.by), scrub(call.event if call is not None else line.ref)
    entry: dict[str, Any] = {
        "class_uid": _CLASS,
        "category_uid": _CATEGORY,
        "activity_id": activity,
        "activity_name": _NAMES[activity],
        "type_uid": _CLASS * 100 + activity,
        "severity_id": 1,
        "time": int(line.at.timestamp() * 1000),
        "status_id": _STATUS[call.state] if call is not None else 1,
        "metadata": {
            "version": "1.3.0",
            "uid": f"{alias}-{number}",
            "sequence": number,
            "product": {"name": "Benchkeeper", "vendor_name": "Benchkeeper"},
        },
        "user": {"uid": alias},
        "actor": {"app_name": source or "benchkeeper", **({"app_uid": said} if said else {})},
        "message": scrub(line.text),
        "unmapped": {
            "kind": line.kind.value,
            "at": line.at.isoformat(),
            "because": scrub(line.because),
            "ref": scrub(line.ref),
            "after": {name: scrub(text) for name, text in line.after.items()},
            "previous": previous,
            "previous_object": previous_object,
        },
    }
    if line.repeats and line.until is not None:
        started, ended = (int(each.timestamp() * 1000) for each in (line.at, line.until))
        entry |= {"count": line.repeats + 1, "start_time": started, "end_time": ended}
        entry["unmapped"]["until"] = line.until.isoformat()
    if call is not None:
        entry["status_detail"] = scrub(line.because) if line.refused else call.state.value
        entry["unmapped"] |= {
            "act": scrub(line.act),
            "call": call.id,
            "state": call.state.value,
            "done_at": call.done_at.isoformat() if call.done_at is not None else None,
            "policy": call.policy,
            "before": {name: scrub(text) for name, text in call.before.items()},
        }
    return entry


def alias_of_cuts(key: str, day: date) -> str:
    """Return the pseudonym for calls about a user without a record. It depends only on `key` and the day of the chain."""
    return digest_of(f"{ALONE} {key} {day.isoformat()}".encode())[:16]


def cut_entries(cuts: Iterable[tuple[str, CutCall]], key: str, chain: AuditStatus, because: str, at: datetime) -> Chain:
    """Return the entries of the calls (pairs of id and call), which continue the chain. Targets without the key are left out."""
    digits = key.rpartition("-")[2]
    names = (account_id_for(UserKey(key)).removeprefix("nb-"), key, digits) if digits != key else (key,)

    def scrub(text: str) -> str:
        for name in names:
            text = text.replace(name, chain.alias)
        return text

    lines = []
    for call_id, cut in cuts:
        target = cut.target if digits in cut.target else ""
        done_at = None if cut.state is CallState.ASKED else at
        call = Call(id=call_id, activity=cut.activity, state=cut.state, policy="", done_at=done_at)
        act = f"{cut.kind} {target}".strip()
        lines.append(StoryLine(at=at, kind=StoryKind.CALL, text=cut.text, because=because, act=act, call=call))
    return _chained(lines, chain, scrub)


def line_bytes(entry: Mapping[str, Any]) -> bytes:
    """Return the bytes of an entry: one line of JSON without a newline."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8", "replace")


class Chain(Struct, frozen=True, kw_only=True):
    """Consecutive entries of one user: the bytes of their object, and the number and digest of the last entry."""

    content: bytes
    audited: int
    digest: str


def chained(lines: Iterable[StoryLine], record: UserRecord, kept: frozenset[str]) -> Chain:
    """Return the entries of these lines, which continue the chain of the record."""
    return _chained(lines, record.status.audit, Scrub(record, kept))


def _chained(lines: Iterable[StoryLine], end: AuditStatus, scrub: Callable[[str], str]) -> Chain:
    number, previous = end.audited, end.audit_digest
    rows: list[bytes] = []
    for line in lines:
        number += 1
        before = end.audit_object if not rows else ""
        raw = entry_of(line, alias=end.alias, number=number, previous=previous, previous_object=before, scrub=scrub)
        rows.append(line_bytes(raw))
        previous = digest_of(rows[-1])
    return Chain(content=b"\n".join(rows) + b"\n", audited=number, digest=previous)


def entries_in(content: bytes, place: str = "") -> Iterator[Entry]:
    """Yield the entries of an object. Raise `InvalidMessageError` for a line that is not an entry."""
    for row in content.removesuffix(b"\n").split(b"\n"):
        try:
            yield _entry(json.loads(row), digest_of(row), place)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidMessageError(
                user_message=f"The audit object {place} has a line that is not an entry.",
                detail=f"audit object {place}: {type(error).__name__}",
            ) from error


def _entry(raw: Mapping[str, Any], digest: str, place: str) -> Entry:
    more = raw["unmapped"]
    state = more.get("state")
    return Entry(
        alias=str(raw["user"]["uid"]),
        number=int(raw["metadata"]["sequence"]),
        at=datetime.fromisoformat(more["at"]).astimezone(UTC),
        kind=StoryKind(more["kind"]),
        text=str(raw["message"]),
        because=str(more["because"]),
        ref=str(more["ref"]),
        by=str(raw["actor"]["app_name"]),
        act=str(more.get("act", "")),
        call=str(more.get("call", "")),
        event=str(raw["actor"].get("app_uid", "")),
        activity=int(raw["activity_id"]),
        state=CallState(state) if state is not None else None,
        done_at=datetime.fromisoformat(more["done_at"]).astimezone(UTC) if more.get("done_at") else None,
        policy=str(more.get("policy", "")),
        before=dict(more.get("before", {})),
        after=dict(more["after"]),
        previous=str(more["previous"]),
        previous_object=str(more["previous_object"]),
        repeats=int(raw.get("count", 1)) - 1,
        until=datetime.fromisoformat(more["until"]).astimezone(UTC) if more.get("until") else None,
        digest=digest,
        place=place,
    )


def without_known(
    lines: Iterable[StoryLine], known: Iterable[Entry], record: UserRecord, kept: frozenset[str], now: datetime
) -> tuple[StoryLine, ...]:
    """Return the lines that are not among the known entries.

    A call is compared by its id, and any other line by time, kind and text. A decision of the present pass is also compared
    without its time, because an earlier pass may have written the entry without saving the record. If a line stands for
    several occurrences, the known occurrences are subtracted from its count.
    """
    scrub, known = Scrub(record, kept), tuple(known)
    calls, told, decided = set(), set(), set()
    for entry in known:
        calls.add(entry.call)
        told.add((entry.at, entry.kind, entry.text))
        if entry.kind is StoryKind.DECISION:
            decided.add((entry.text, entry.because))

    def is_known(line: StoryLine) -> bool:
        if line.call is not None:
            return line.call.id in calls
        text = scrub(line.text)
        if (line.at, line.kind, text) in told:
            return True
        return line.kind is StoryKind.DECISION and line.at == now and (text, scrub(line.because)) in decided

    def rest(line: StoryLine) -> StoryLine | None:
        if not line.repeats:
            return None if is_known(line) or _times(line, known, scrub) else line
        left = line.repeats + 1 - _times(line, known, scrub)
        return replace(line, repeats=left - 1) if left > 0 else None

    return tuple(left for line in lines if (left := rest(line)) is not None)


def _times(line: StoryLine, known: Iterable[Entry], scrub: Scrub) -> int:
    """Return the number of known occurrences of the line. Entries count only if the entry or the line is a repeated one."""
    first, last = line.at, line.until or line.at
    state = line.call.state if line.call is not None else None
    told = (line.kind, scrub(line.act if line.call is not None else line.text), scrub(line.ref), state)
    return sum(
        entry.repeats + 1
        for entry in known
        if (line.repeats or entry.repeats)
        and (entry.kind, entry.act if entry.state is not None else entry.text, entry.ref, entry.state) == told
        and entry.at <= last
        and first <= (entry.until or entry.at)
    )


def as_line(entry: Entry, record: UserRecord) -> StoryLine:
    """Return an audit entry as a line of the history, for a reader who may see the user's record."""
    return StoryLine(
        at=entry.at,
        kind=entry.kind,
        text=named_again(entry.text, record),
        because=named_again(entry.because, record),
        ref=named_again(entry.ref, record),
        act=named_again(entry.act, record),
        refused=entry.state is CallState.REFUSED,
        by=named_again(entry.by, record),
        after=entry.after,
        repeats=entry.repeats,
        until=entry.until,
        call=Call(
            id=entry.call,
            activity=entry.activity,
            state=entry.state,
            policy=entry.policy,
            event=named_again(entry.event, record),
            done_at=entry.done_at,
            before=entry.before,
        )
        if entry.state is not None
        else None,
    )
