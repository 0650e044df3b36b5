"""Is there room for this cut? Each cut takes a slot; whoever finds none waits, visibly.

A slot is an object with a fixed name: there are as many names as people may be cut in a window, and a name can be taken again
only once its window is over, with the generation that was read. So at most so many stand in any hour, by construction, however
many processes claim at the same time and wherever one dies. A slot names its holder: a repeat finds its own.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from shared.domain.intent.batches import WaitingPerson
from shared.domain.intent.guard import (
    asks_for_room,
    cleared,
    is_out_of_patience,
    may_be_created,
    steps_of,
    waits_for_creation,
    without_patience,
)
from shared.domain.intent.wanted import with_wanted
from shared.domain.notebook.actions import CreateInstance, DeleteInstance
from shared.domain.people.entitlement import sources_that_end
from shared.domain.plan.guard_settings import DAY, HOUR, GuardSettings
from shared.domain.plan.plan import Action
from shared.domain.record.cuts import CREATE, CutClass, StepKind, WaitingCut
from shared.domain.record.record import Presence, RecordRow, UserRecord
from shared.domain.snapshot.actions import DeleteSnapshot
from shared.domain.things.errors import BenchkeeperError, ConflictError, GuardWaitsError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import FleetSizes, Slot

BY_SLOT = "slot"
NOTHING_TO_LOSE = "nothing to lose"
# Folders of slots that no source has: a source's name is a word.
_CREATIONS, _DELETIONS = "_creations", "_deletions"
_DAY = "-day"
_LISTED = 100  # a window of so many places is listed as soon as the first is taken: one call tells of all
_UNSEEN = 6  # places of a larger one that are tried by name; of ten people one lists when two thirds are taken
_TRIED_FOR = timedelta(minutes=10)
_SAID = {
    (False, False): "Cut waits",
    (True, False): "Stopped without approval",
    (False, True): "Creation waits",
}


class Window(Struct, frozen=True, kw_only=True):
    """So many slots that each stand for so long."""

    name: str
    room: int
    length: timedelta


def windows_of(record: UserRecord, guard: GuardSettings, sizes: FleetSizes) -> tuple[Window, ...]:
    """Return the windows in which a cut of this person takes a slot: the fleet's, and those of profile and group."""
    hour = guard.per_hour_of(sizes.everybody)
    found = list(_windows("fleet", hour, guard))
    shared_by = [
        ("profile", record.spec.profile or "", sizes.profiles.get(record.spec.profile or "", 0)),
        ("group", record.spec.entitled_by, sizes.groups.get(record.spec.entitled_by, 0)),
    ]
    for kind, name, size in shared_by:
        room = guard.per_hour_of_group(size)
        if name and room is not None and room < hour:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            found.append(Window(name=f"{kind}-{digest}-hour", room=room, length=HOUR))
    return tuple(found)


def with_room(record: UserRecord, deps: Deps, now: datetime) -> UserRecord:
    """Return the record with a clearance if its waiting cut may happen now; the same object if it waits on, or none waits.

    Claims slots. Safe to repeat after a crash: whoever holds a slot finds it again.
    """
    return _judged(record, deps, now, claims=True)


def wanted_in_a_pass(record: UserRecord, deps: Deps, now: datetime) -> UserRecord:
    """Return the record with what is wanted of it, as a pass that began now would find it. Claims nothing."""
    wanted = with_wanted(record, deps.policy, now)
    return with_wanted(with_foreseen_room(wanted, deps, now), deps.policy, now)


def with_foreseen_room(record: UserRecord, deps: Deps, now: datetime) -> UserRecord:
    """Do the same for a plan that is only looked at: nothing is claimed."""
    return _judged(record, deps, now, claims=False)


def _judged(record: UserRecord, deps: Deps, now: datetime, *, claims: bool) -> UserRecord:
    waiting = record.status.guard.waiting_cut
    if waiting is None or not asks_for_room(record):
        return record
    if not steps_of(record):
        return cleared(record, by=NOTHING_TO_LOSE, now=now)
    try:
        if _finds_room(record, waiting, deps, now, claims=claims):
            return cleared(record, by=BY_SLOT, now=now)
    except BenchkeeperError as error:
        if now - waiting.since < _TRIED_FOR:
            raise  # the tick tries again at once
        # Nobody can say whether there is room: the cut waits, is seen, and its patience ends like any other's.
        deps.log.error("Slots could not be used", user=record.user_key, reason=error.reason.value, detail=error.detail)
    if is_out_of_patience(waiting, deps.policy, now):
        return without_patience(record, now)
    return record


def _finds_room(record: UserRecord, waiting: WaitingCut, deps: Deps, now: datetime, *, claims: bool) -> bool:
    guard = deps.policy.guard
    urgent = (Window(name="urgent-hour", room=guard.urgent, length=HOUR),)
    if waiting.urgent and _has_room(record.user_key, waiting.source, urgent, deps, now, claims=claims):
        return True
    windows = windows_of(record, guard, sizes_now(deps))
    mistakes = [kept.ref for kept in record.status.guard.kept_in]
    # Whoever is in the flood of one source may be said to go by another one, too: its word alone would find room.
    sources = dict.fromkeys((waiting.source, *sources_that_end(record.facts, now, mistakes)))
    return any(_has_room(record.user_key, source, windows, deps, now, claims=claims) for source in sources)


def sizes_now(deps: Deps) -> FleetSizes:
    """Return how large the fleet is: by the last sweep's count, else by the index for the pages; nobody before the first sweep."""
    sizes = deps.guard.sizes()
    if sizes is not None:
        return sizes
    fleet = deps.fleet.fleet()
    return sizes_of(fleet.rows) if fleet is not None else FleetSizes()


def _has_room(
    holder: UserKey, source: str, windows: tuple[Window, ...], deps: Deps, now: datetime, *, claims: bool
) -> bool:
    """Return True if the person has a slot in every window, taken now or before.

    The smallest window comes first, so that a flood in one group takes no slots of the fleet's. A person's first places are tried
    unseen: mostly one is free, and nothing has to be listed. Once none is, nothing more is claimed while any window is full; what was
    claimed until then stays taken.
    """
    ordered = sorted(windows, key=lambda window: (window.room, window.name))
    slots: tuple[Slot, ...] | None = None if claims else deps.guard.slots(source)
    for index, window in enumerate(ordered):
        if slots is None:
            if window.room > 0 and _claimed_unseen(holder, source, window, deps):
                continue
            slots = deps.guard.slots(source)
        if any(_place(holder, each, slots, now) is None for each in ordered[index:]):
            return False
        if claims and not _claimed(holder, source, window, slots, deps):
            return False
    return True


def _claimed_unseen(holder: UserKey, source: str, window: Window, deps: Deps) -> bool:
    """Take or find one of the person's first places by name; False: only a listing can tell.

    A place that is over is never taken while the person could hold a later one, which a repeat must find: whoever holds one found all
    places before it taken, and a slot is removed no sooner than after two windows. So where a place is free, none after it is the person's.
    """
    over: Slot | None = None
    for number in _places(holder, window, most=_UNSEEN if window.room > _LISTED else 1):
        if over is None and deps.guard.claim(source, window.name, number, holder, expected=None):
            return True
        if window.room <= _LISTED:
            return False  # a listing costs no more than a look
        slot = deps.guard.slot(source, window.name, number)
        if slot is None:
            return over is not None and deps.guard.claim(source, window.name, over.number, holder, expected=over)
        if deps.clock.now() - slot.at >= window.length:
            over = over or slot
        elif slot.holder == holder:
            return True
    return False


def _places(holder: UserKey, window: Window, *, most: int) -> Iterator[int]:
    """Yield the numbers that this person tries, in order: spread over the window, and the same for each delivery about the person."""
    digest = hashlib.sha256(f"{holder}|{window.name}".encode()).hexdigest()
    first, step = int(digest[:8], 16) % window.room, 1 + int(digest[8:16], 16) % window.room
    while math.gcd(step, window.room) != 1:  # else some places were never tried
        step += 1
    for number in range(min(most, window.room)):
        yield (first + number * step) % window.room


def _place(holder: UserKey, window: Window, slots: Iterable[Slot], now: datetime) -> Slot | int | None:
    """Return what the person could take in a window: the slot that is theirs already, or one that is free or over; None: none is."""
    there = {slot.number: slot for slot in slots if slot.window == window.name}
    standing = [slot for slot in there.values() if now - slot.at < window.length]
    own = [slot for slot in standing if slot.holder == holder]
    if own:
        return own[0]
    if len(standing) >= window.room:
        return None
    taken = {slot.number for slot in standing}
    free = next((number for number in _places(holder, window, most=window.room) if number not in taken), None)
    return None if free is None else there.get(free, free)


def _claimed(holder: UserKey, source: str, window: Window, slots: tuple[Slot, ...], deps: Deps) -> bool:
    """Take a place of the window; whoever loses one to somebody else looks again until none is left."""
    for _ in range(2 * window.room + 10):  # each time somebody else took a place, and there are so many
        place = _place(holder, window, slots, now := deps.clock.now())
        if place is None:
            return False
        if isinstance(place, Slot) and place.holder == holder and now - place.at < window.length:
            return True
        number, expected = (place.number, place) if isinstance(place, Slot) else (place, None)
        if deps.guard.claim(source, window.name, number, holder, expected=expected):
            return True
        slots = deps.guard.slots(source)
    raise ConflictError(
        user_message="Many changes are under way just now; it is tried again.",
        detail=f"window {window.name} of {source} changed under every claim of {holder}",
    )


def tidy_slots(deps: Deps, now: datetime) -> int:
    """Remove slots that have been over for as long as they stood: so a first try seldom finds its place taken. Return how many.

    Not sooner: whoever had to take another place because the first was taken must find that first place taken, not free, for as
    long as the own slot stands.
    """
    removed = 0
    for source, slot in deps.guard.all_slots():
        if now - slot.at >= 2 * (DAY if slot.window.endswith(_DAY) else HOUR):
            deps.guard.free(source, slot)
            removed += 1
    return removed


def check_room(action: Action, record: UserRecord, deps: Deps) -> None:
    """Raise `GuardWaitsError` while too many environments are being made, or too much of leavers is being deleted.

    What replaces an environment, and what is deleted after it was replaced, is not counted here.
    """
    guard, now = deps.policy.guard, deps.clock.now()
    if not deps.policy.cuts_wait:
        return
    match action:
        case CreateInstance() if record.status.notebook.former is None:
            decided = may_be_created(record, now)
            if decided is None and not _may_create(record.user_key, guard, deps, now):
                raise GuardWaitsError(
                    user_message="Many notebooks are being made just now. This one is made when there is room; nothing is to be done.",
                    detail=f"more than {guard.creations} environments in an hour, or three times as many in a day",
                )
            if decided is False:
                raise GuardWaitsError(
                    user_message="An administrator decided that this notebook is not made.",
                    detail="the creation was rejected",
                    retry_after=DAY,
                )
        case DeleteInstance() | DeleteSnapshot() if record.spec.presence is Presence.ABSENT:
            windows = _windows("delete", guard.per_hour_of(sizes_now(deps).everybody), guard)
            if not _has_room(record.user_key, _DELETIONS, windows, deps, now, claims=True):
                raise GuardWaitsError(
                    user_message="Much is being deleted just now. This is deleted when there is room; until then it is kept.",
                    detail="more deletions than the guard lets through in an hour, or in a day",
                )
        case _:
            pass


def _may_create(holder: UserKey, guard: GuardSettings, deps: Deps, now: datetime) -> bool:
    """Take a slot of the hour; one of the day only once the hour is so busy that the person's first place is taken.

    So whoever joins alone costs one write. In a flood the day's slots are taken by the part that met others: it ends after a few
    times `day_factor`, not after exactly as many.
    """
    hour, day = _windows("create", guard.creations, guard)
    if hour.room > 0 and deps.guard.claim(
        _CREATIONS, hour.name, next(_places(holder, hour, most=1)), holder, expected=None
    ):
        return True
    return _has_room(holder, _CREATIONS, (hour, day), deps, now, claims=True)


def _windows(name: str, room: int, guard: GuardSettings) -> tuple[Window, ...]:
    return (
        Window(name=f"{name}-hour", room=room, length=HOUR),
        Window(name=f"{name}{_DAY}", room=room * guard.day_factor, length=DAY),
    )


def with_listing(record: UserRecord, deps: Deps) -> UserRecord:
    """Return the record once the index of those who wait says of it what is true: nobody waits unseen.

    The index is written first. The record remembers what it was told, so that a crash between the two only tells it again.
    """
    entry = entry_of(record)
    told = "" if entry is None else hashlib.sha256(repr(entry).encode()).hexdigest()[:16]
    if told == record.status.guard.waiting_listed:
        return record
    if entry is None:
        deps.guard.forget_waiting(record.user_key)
        return record.with_status(waiting_listed="")
    try:
        deps.guard.note_waiting(entry)
    except BenchkeeperError as error:  # the next pass tells it again
        deps.log.error(
            "Who waits could not be noted", user=record.user_key, reason=error.reason.value, detail=error.detail
        )
        return record.with_status(waiting_listed="")
    if not record.status.guard.waiting_listed or entry.undoable_done:
        deps.log.warning(
            _SAID[entry.undoable_done, entry.cause is CutClass.CREATION],
            user=record.user_key,
            cause=entry.cause.value,
            source=entry.source,
            profile=entry.profile,
        )
    return record.with_status(waiting_listed=told)


def entry_of(record: UserRecord) -> WaitingPerson | None:
    """Return what the index of those who wait has to say of a person; None for whoever does not wait."""
    waiting = record.status.guard.waiting_cut
    return _entry(record, waiting) if waiting is not None else _creation_entry(record)


def _entry(record: UserRecord, waiting: WaitingCut) -> WaitingPerson:
    return WaitingPerson(
        user_key=record.user_key,
        ref=waiting.ref,
        steps=steps_of(record),
        cause=waiting.cause,
        source=waiting.source,
        since=waiting.since,
        profile=record.spec.profile or "",
        undoable_done=waiting.undoable_at is not None,
    )


def _creation_entry(record: UserRecord) -> WaitingPerson | None:
    since = waits_for_creation(record)
    if since is None:
        return None
    return WaitingPerson(
        user_key=record.user_key,
        ref=CREATE,
        steps=(StepKind.CREATE,),
        cause=CutClass.CREATION,
        source="",
        since=since,
        profile=record.spec.profile or "",
    )


class SizeCount:
    """Counts who is to have an environment, row by row."""

    def __init__(self) -> None:
        self._everybody = 0
        self._profiles: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()

    def add(self, row: RecordRow) -> None:
        """Count one."""
        if row.presence is Presence.PRESENT:
            self._everybody += 1
            self._profiles[row.profile or ""] += 1
            self._groups[row.entitled_by] += 1

    def sizes(self) -> FleetSizes:
        """Return the counts."""
        profiles, groups = ({k: n for k, n in found.items() if k} for found in (self._profiles, self._groups))
        return FleetSizes(everybody=self._everybody, profiles=profiles, groups=groups)


def sizes_of(rows: Iterable[RecordRow]) -> FleetSizes:
    """Count who is to have an environment."""
    count = SizeCount()
    for row in rows:
        count.add(row)
    return count.sizes()
