"""The adapters to the guard's objects and to the seats of limited groups, in the bucket of records.

`guard/slots/<source>/<window>/<number>`   empty; metadata names the holder; the object's creation time is the time of the claim
`guard/waiting/<user_key>[.idle]`          empty; metadata describes the waiting cut, so that one listing shows all users
`guard/decided/<time>-<digest>`            empty; metadata has the decisions about a list that took effect, for pages
`guard/sizes`                              JSON; the size of the fleet, from the last sweep that counted
`guard/limits/<digest of the group>/…`     empty, one folder for each limited group:
`…/seats/<number>`                         metadata names the holder, if there is one
`…/waiting/<user_key>`                     metadata has the time since which the user waits
`…/counted/<mark>`                         all users who had an environment have been given a seat
`…/spending`                               metadata has the group's cost this month
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING

from shared.cloud.http.clients import Clients
from shared.cloud.http.objects import Listed
from shared.domain.fleet.spent import Spending
from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.decision import Verdict
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.things.errors import BenchkeeperError, InvalidMessageError
from shared.domain.things.identity import UserKey, parse_user_key
from shared.domain.things.late import late
from shared.engine.ports.guard import DecidedList, FleetSizes, GivenVote, Seat, Seats, SeatWaiter, Slot

if TYPE_CHECKING:
    from shared.engine.ports.deps import Clock


_SLOTS = "guard/slots/"
_WAITING = "guard/waiting/"
_IDLE = ".idle"
_SIZES = "guard/sizes"
_DECIDED = "guard/decided/"
_DECIDED_KEPT = timedelta(days=8)  # a little longer than the inbox keeps the lists themselves
_SLOT = late(lambda: re.compile(r"guard/slots/(?P<source>[^/]+)/(?P<window>[^/]+)/(?P<number>[0-9]+)"))
_NOBODY = "_"  # the folder's name for slots that earlier versions stored without a source
_FIELDS = "name,generation,timeCreated,metadata"
_EMPTY = "application/octet-stream"
_KEEP_S = 300.0


class StorageGuard:
    """The adapter of the port `Guard` over Cloud Storage."""

    def __init__(self, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, FleetSizes | None] | None = None

    def slots(self, source: str) -> tuple[Slot, ...]:
        """Return the slots by one listing; a slot without a readable holder counts as claimed by an unknown user."""
        return tuple(slot for _, slot in self._listed(f"{_SLOTS}{source or _NOBODY}/"))

    def all_slots(self) -> Iterator[tuple[str, Slot]]:
        """Yield the slots of all sources, each with the source's folder, by one listing."""
        yield from self._listed(_SLOTS)

    def _listed(self, prefix: str) -> Iterator[tuple[str, Slot]]:
        for listed in self._clients.bucket().objects(prefix=prefix, fields=_FIELDS, what="list slots"):
            found = _slot(listed)
            if found is not None:
                yield found

    def slot(self, source: str, window: str, number: int) -> Slot | None:
        """Return the slot by one read of its metadata; None if it is missing or its metadata cannot be read."""
        listed = self._clients.bucket().look(_slot_name(source, window, number), what="look at a slot")
        found = _slot(listed) if listed is not None else None
        return found[1] if found is not None else None

    def free(self, source: str, slot: Slot) -> None:
        """Remove the slot by one conditional delete."""
        name = _slot_name(source, slot.window, slot.number)
        self._clients.bucket().delete(name, expected=slot.generation, what="free a slot")

    def claim(self, source: str, window: str, number: int, holder: UserKey, *, expected: Slot | None) -> bool:
        """Claim the slot by one conditional write; return False if another process was quicker."""
        written = self._clients.bucket().write(
            _slot_name(source, window, number),
            b"",
            content_type=_EMPTY,
            metadata={"holder": holder},
            expected=expected.generation if expected is not None else 0,
            what=f"claim a slot for {holder}",
        )
        return written is not None

    def sizes(self) -> FleetSizes | None:
        """Return the sizes, cached for five minutes; None if the sizes are missing or damaged.

        If a read fails, return the last sizes that were read, or else raise the error.
        """
        now = self._clock.monotonic_s()
        with self._lock:
            kept = self._kept
        if kept is not None and now - kept[0] < _KEEP_S:
            return kept[1]
        try:
            return self._keep(self._read_sizes())
        except BenchkeeperError:
            if kept is None:
                raise
            return kept[1]

    def _read_sizes(self) -> FleetSizes | None:
        stored = self._clients.bucket().get(_SIZES, what="read the sizes of the fleet")
        if stored is None:
            return None
        try:
            found = json.loads(stored.content)
            return FleetSizes(
                everybody=int(found["everybody"]),
                profiles={str(name): int(count) for name, count in found["profiles"].items()},
                groups={str(name): int(count) for name, count in found["groups"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # the next sweep writes the object again

    def _keep(self, sizes: FleetSizes | None) -> FleetSizes | None:
        with self._lock:
            self._kept = (self._clock.monotonic_s(), sizes)
        return sizes

    def write_sizes(self, sizes: FleetSizes) -> None:
        """Write the sizes by one call; the last write wins, because every write counts all users."""
        content = {"everybody": sizes.everybody, "profiles": dict(sizes.profiles), "groups": dict(sizes.groups)}
        self._clients.bucket().write(
            _SIZES, json.dumps(content, ensure_ascii=False).encode(), what="write the sizes of the fleet"
        )
        self._keep(sizes)

    def note_waiting(self, waiting: WaitingPerson) -> None:
        """Write the waiting user's entry by one call. Idempotent."""
        self._clients.bucket().write(
            _waiting_name(waiting.user_key, idle=waiting.cause is CutClass.IDLE),
            b"",
            content_type=_EMPTY,
            metadata={
                "ref": waiting.ref,
                "steps": " ".join(step.value for step in waiting.steps),
                "cause": waiting.cause.value,
                "source": waiting.source,
                "since": waiting.since.isoformat(),
                "profile": waiting.profile,
                "undoable_done": str(waiting.undoable_done),
            },
            what=f"note that {waiting.user_key} waits",
        )

    def forget_waiting(self, user_key: UserKey, *, idle: bool = False) -> None:
        """Delete the user's entry by one call; a missing one is not an error."""
        self._clients.bucket().delete(_waiting_name(user_key, idle=idle), what=f"forget that {user_key} waits")

    def waiting(self) -> Iterator[WaitingPerson]:
        """Yield the entries by one listing; an unreadable entry is left out, and the user's next pass writes it again."""
        for listed in self._clients.bucket().objects(prefix=_WAITING, fields=_FIELDS, what="list who waits"):
            found = _waiting(listed.name.removeprefix(_WAITING).removesuffix(_IDLE), listed.metadata)
            if found is not None:
                yield found

    def note_decided(self, decided: DecidedList) -> None:
        """Write a note of the decided list by one call, and remove notes that are too old to be shown.

        The removal costs one listing, and one call for each old note.
        """
        bucket = self._clients.bucket()
        votes = " ".join(f"{vote.by}/{vote.verdict.value}/{vote.at.isoformat()}" for vote in decided.votes)
        about = {"verdict": decided.verdict.value, "cause": decided.cause.value, "source": decided.source}
        name = f"{_day(decided.at)}-{decided.digest}"
        bucket.write(
            f"{_DECIDED}{name}", b"", content_type=_EMPTY, what="note a decided list",
            metadata={**about, "at": decided.at.isoformat(), "votes": votes},
        )  # fmt: skip
        oldest = f"{_DECIDED}{_day(decided.at - _DECIDED_KEPT)}"
        for old in bucket.objects(prefix=_DECIDED, end_offset=oldest, what="list old decided lists"):
            bucket.delete(old.name, what="forget an old decided list")

    def decided(self, *, since: datetime) -> tuple[DecidedList, ...]:
        """Return the lists decided since that time, by one listing; an unreadable note is left out."""
        listed = self._clients.bucket().objects(
            prefix=_DECIDED, start_offset=f"{_DECIDED}{_day(since)}", fields=_FIELDS, what="list decided lists"
        )
        found = (_decided(each.name.removeprefix(_DECIDED), each.metadata) for each in listed)
        return tuple(sorted((each for each in found if each is not None), key=lambda each: each.at))


def _day(moment: datetime) -> str:
    return moment.strftime("%Y%m%d")


def _decided(name: str, metadata: Mapping[str, str]) -> DecidedList | None:
    try:
        votes = [vote.split("/") for vote in metadata["votes"].split()]
        return DecidedList(
            digest=name.partition("-")[2],
            verdict=Verdict(metadata["verdict"]),
            at=datetime.fromisoformat(metadata["at"]),
            cause=CutClass(metadata["cause"]),
            source=metadata["source"],
            votes=tuple(
                GivenVote(by=by, verdict=Verdict(verdict), at=datetime.fromisoformat(at)) for by, verdict, at in votes
            ),
        )
    except (KeyError, ValueError):
        return None


def _slot_name(source: str, window: str, number: int) -> str:
    return f"{_SLOTS}{source or _NOBODY}/{window}/{number:04}"


def _slot(listed: Listed) -> tuple[str, Slot] | None:
    """Return the source's folder and the slot; None if the object is not a slot."""
    match = _SLOT.fullmatch(listed.name)
    if match is None or listed.created_at is None:
        return None
    slot = Slot(
        window=match["window"],
        number=int(match["number"]),
        holder=UserKey(listed.metadata.get("holder", "")),
        at=listed.created_at,
        generation=listed.generation,
    )
    return match["source"], slot


def _waiting_name(user_key: UserKey, *, idle: bool) -> str:
    """Return the object's name.

    An idle stop and a cut of the same user have different names, so that neither replaces the other.
    """
    return f"{_WAITING}{user_key}{_IDLE if idle else ''}"


def _waiting(name: str, metadata: Mapping[str, str]) -> WaitingPerson | None:
    try:
        return WaitingPerson(
            user_key=parse_user_key(name),
            ref=metadata["ref"],
            steps=tuple(StepKind(word) for word in metadata["steps"].split()),
            cause=CutClass(metadata["cause"]),
            source=metadata["source"],
            since=datetime.fromisoformat(metadata["since"]),
            profile=metadata["profile"],
            undoable_done=metadata["undoable_done"] == str(True),
        )
    except (KeyError, ValueError, AttributeError, InvalidMessageError):
        return None


_SEATS_KEEP_S = 60.0
_FOLDER = "guard/limits/"
_NAME = late(
    lambda: re.compile(r"guard/limits/(?P<group>[0-9a-f]{16})/(?P<kind>seats|waiting|counted)/(?P<name>[^/]+)")
)


class StorageSeats:
    """The adapter of the port `SeatStore` over Cloud Storage."""

    def __init__(self, clients: Clients, *, clock: Clock) -> None:
        self._clients = clients
        self._clock = clock
        self._spending: dict[str, tuple[float, Spending | None]] = {}

    def look(self, group: str) -> Seats:
        """Return the seats, the waiting users and the marks by one listing; any other object is left out."""
        return _seats(self._objects(f"{_FOLDER}{_digest(group)}/"))

    def all(self, groups: tuple[str, ...]) -> Iterator[tuple[str, Seats]]:
        """Yield (group, its seats) for each of these groups, by one listing of the seats of all groups."""
        listed = self._objects(_FOLDER)
        found = {key: _seats(each) for key, each in groupby(listed, lambda one: one.name.split("/")[2])}
        yield from ((group, found.get(_digest(group), Seats())) for group in groups)

    def take(self, group: str, number: int, holder: UserKey, *, expected: Seat | None) -> int | None:
        """Take the seat by one conditional write and return its generation; None if another process was quicker."""
        return self._write(group, number, holder, 0 if expected is None else expected.generation)

    def free(self, group: str, seat: Seat) -> None:
        """Free the seat by one conditional write; a seat that changed since it was read stays as it is."""
        self._write(group, seat.number, UserKey(""), seat.generation)

    def _write(self, group: str, number: int, holder: UserKey, expected: int) -> int | None:
        return self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/seats/{number:06}",
            b"",
            content_type=_EMPTY,
            metadata={"holder": holder},
            expected=expected,
            what=f"change a seat of {holder or 'nobody'}",
        )

    def note_counted(self, group: str, mark: str) -> None:
        """Store, by one call, the mark that all members who had an environment have a seat."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/counted/{mark}", b"", content_type=_EMPTY, what="note that seats were counted"
        )

    def spending(self, group: str) -> Spending | None:
        """Return the group's cost by one read of its object's metadata, cached for a minute.

        Return None if it is missing or damaged; the next sweep writes it again.
        """
        now, known = self._clock.monotonic_s(), self._spending.get(group)
        if known is not None and now - known[0] < _SEATS_KEEP_S:
            return known[1]
        listed = self._clients.bucket().look(f"{_FOLDER}{_digest(group)}/spending", what="look at what a group cost")
        found = None if listed is None else _read_spending(listed.metadata)
        self._spending[group] = now, found
        return found

    def note_spending(self, group: str, spending: Spending) -> None:
        """Write the group's cost by one call."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/spending",
            b"",
            content_type=_EMPTY,
            metadata={
                "month": spending.month,
                "at": spending.at.isoformat(),
                "spent": str(spending.spent),
                "hourly": str(spending.hourly),
            },
            what="note what a group cost",
        )
        self._spending[group] = self._clock.monotonic_s(), spending

    def wait(self, group: str, waiter: SeatWaiter) -> None:
        """Write a note that the user waits for a seat, by one call."""
        self._clients.bucket().write(
            f"{_FOLDER}{_digest(group)}/waiting/{waiter.holder}",
            b"",
            content_type=_EMPTY,
            metadata={"since": waiter.since.isoformat()},
            what=f"note that {waiter.holder} waits for a seat",
        )

    def wait_no_more(self, group: str, holder: UserKey) -> None:
        """Delete the note that the user waits for a seat, by one call."""
        self._clients.bucket().delete(
            f"{_FOLDER}{_digest(group)}/waiting/{holder}", what=f"forget that {holder} waits for a seat"
        )

    def _objects(self, prefix: str) -> Iterator[Listed]:
        return self._clients.bucket().objects(prefix=prefix, fields=_FIELDS, what="list seats")


def _digest(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()[:16]


def _seats(listed: Iterable[Listed]) -> Seats:
    seats, waiters, counted = [], [], set()
    for each in listed:
        match = _NAME.fullmatch(each.name)
        if match is None or each.created_at is None:
            continue
        if match["kind"] == "seats" and match["name"].isdecimal():
            holder = UserKey(each.metadata.get("holder", ""))
            seats.append(Seat(number=int(match["name"]), holder=holder, at=each.created_at, generation=each.generation))
        elif match["kind"] == "waiting":
            since = _time(each.metadata.get("since", "")) or each.created_at
            waiters.append(SeatWaiter(holder=UserKey(match["name"]), since=since, at=each.created_at))
        elif match["kind"] == "counted":
            counted.add(match["name"])
    return Seats(seats=tuple(seats), waiters=tuple(waiters), counted=frozenset(counted))


def _read_spending(raw: Mapping[str, str]) -> Spending | None:
    try:
        at = datetime.fromisoformat(raw["at"])
        return Spending(month=raw["month"], at=at, spent=Fraction(raw["spent"]), hourly=Fraction(raw["hourly"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
