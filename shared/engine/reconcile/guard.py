"""The guard's slots: each cut of a user takes a slot, and a cut without a free slot waits visibly.

A slot is an object with a fixed name: a window has as many names as users may be cut in it. A name can be claimed again only after
its window is over, with the generation that was read. So the limit holds in any hour, however many processes claim at the same time and
wherever a process dies. A slot names its holder, so a repeated claim finds its own slot.
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
    with_wait_told,
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
# Folders of slots that belong to no source: a source's name is a word, so these cannot clash with one.
_CREATIONS, _DELETIONS, _DORMANT = "_creations", "_deletions", "_dormant"
_DAY = "-day"
_LISTED = 100  # up to this room, a window is listed as soon as the first place is taken: one call shows all places
# Places of a larger window that are tried by name; if two thirds are taken, one user in ten needs a listing.
_UNSEEN = 6
_TRIED_FOR = timedelta(minutes=10)
_SAID = {
    (False, False): "Held back a cut",
    (True, False): "Stopped a notebook without approval",
    (False, True): "Creation waits",
}


class Window(Struct, frozen=True, kw_only=True):
    """A limit: `room` slots, each held for `length`."""

    name: str
    room: int
    length: timedelta


def windows_of(record: UserRecord, guard: GuardSettings, sizes: FleetSizes) -> tuple[Window, ...]:
    """Return the windows in which a cut of this user needs a slot: the fleet's, the profile's and the group's."""
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
    """Return the record with a clearance if its waiting cut may happen now. A user with nothing to lose needs no slot.

    If the guard's patience is over, return the record with the reversible part of the cut allowed. Otherwise return the same object.
    Claims slots. Safe to repeat after a crash: a user who holds a slot finds it again. Raise the error of a slot that cannot be
    read or claimed while the wait is younger than ten minutes; later, log it.
    """
    return _judged(record, deps, now, claims=True)


def wanted_in_a_pass(record: UserRecord, deps: Deps, now: datetime) -> UserRecord:
    """Return the record with its wanted state, as a pass that began now would find it. Claims nothing."""
    wanted = with_wanted(record, deps.policy, now)
    roomy = _judged(wanted, deps, now, claims=False)
    return wanted if roomy is wanted else with_wanted(roomy, deps.policy, now)


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
        # Whether there is room is unknown: the cut waits visibly, and its patience ends like that of any other cut.
        deps.log.error(
            "Slots could not be read or claimed", user=record.user_key, reason=error.reason.value, detail=error.detail
        )
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
    # If one source reports a flood of leavers, another source may also say that this user leaves: its statement alone finds room.
    sources = dict.fromkeys((waiting.source, *sources_that_end(record.facts, now, mistakes)))
    return any(_has_room(record.user_key, source, windows, deps, now, claims=claims) for source in sources)


def sizes_now(deps: Deps) -> FleetSizes:
    """Return the size of the fleet by the last sweep's count, or else by the fleet index; all zero before the first sweep."""
    sizes = deps.guard.sizes()
    if sizes is not None:
        return sizes
    fleet = deps.fleet.fleet()
    return sizes_of(fleet.rows) if fleet is not None else FleetSizes()


def _has_room(
    holder: UserKey, source: str, windows: tuple[Window, ...], deps: Deps, now: datetime, *, claims: bool
) -> bool:
    """Return True if the user has a slot in every window, claimed now or before. Without `claims`, return True if there is room.

    The smallest window comes first, so that a flood in one group takes none of the fleet's slots. The user's first places are tried
    without a listing, because mostly one of them is free. Once none is free, nothing more is claimed while any window is full. Slots
    claimed until then stay claimed.
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
    """Claim or find one of the user's first places by name, without a listing. Return False if a listing is needed.

    A user who holds a place found all places before it taken, and a slot is removed no sooner than after two windows. So if a place is
    free, the user holds no later place. Only then is an expired place claimed, because a repeated call must find the user's own slot.
    """
    over: Slot | None = None
    for number in _places(holder, window, most=_UNSEEN if window.room > _LISTED else 1):
        if over is None and deps.guard.claim(source, window.name, number, holder, expected=None):
            return True
        if window.room <= _LISTED:
            return False  # a listing costs no more than a read
        slot = deps.guard.slot(source, window.name, number)
        if slot is None:
            return over is not None and deps.guard.claim(source, window.name, over.number, holder, expected=over)
        if deps.clock.now() - slot.at >= window.length:
            over = over or slot
        elif slot.holder == holder:
            return True
    return False


def _places(holder: UserKey, window: Window, *, most: int) -> Iterator[int]:
    """Yield the numbers that this user tries, in order: spread over the window, and the same for each delivery about the user."""
    digest = hashlib.sha256(f"{holder}|{window.name}".encode()).hexdigest()
    first, step = int(digest[:8], 16) % window.room, 1 + int(digest[8:16], 16) % window.room
    while math.gcd(step, window.room) != 1:  # otherwise some places would never be tried
        step += 1
    for number in range(min(most, window.room)):
        yield (first + number * step) % window.room


def _place(holder: UserKey, window: Window, slots: Iterable[Slot], now: datetime) -> Slot | int | None:
    """Return the place that the user could claim: their own slot, a free number, or an expired slot. Return None if the window is full."""
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
    """Claim a slot in the window unless the user has one; return False if it is full. Raise `ConflictError` if others win every claim."""
    for _ in range(2 * window.room + 10):  # each round another process took a place; their number is limited
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
        user_message="Many changes are under way just now; Benchkeeper tries again.",
        detail=f"window {window.name} of {source} changed under every claim of {holder}",
    )


def tidy_slots(deps: Deps, now: datetime) -> int:
    """Remove slots that were claimed at least two window lengths ago; return their number.

    This keeps first places free. A slot is not removed sooner: while a user holds a later place because the first was taken, the first
    place must not look free.
    """
    removed = 0
    for source, slot in deps.guard.all_slots():
        if now - slot.at >= 2 * (DAY if slot.window.endswith(_DAY) else HOUR):
            deps.guard.free(source, slot)
            removed += 1
    return removed


def check_room(action: Action, record: UserRecord, deps: Deps) -> None:
    """Claim slots for a creation or deletion that the guard limits. Raise `GuardWaitsError` if there is no free slot.

    The limits are for new environments, for instances and snapshots of leavers, and for unused notebooks that are saved and deleted.
    Creating a replacement and deleting the replaced instance are not counted. Also raise `GuardWaitsError` for a creation that
    an administrator rejected; an approved creation needs no slot. Do nothing if the policy switches the guard off.
    """
    guard, now, own = deps.policy.guard, deps.clock.now(), record.status.notebook.instance_id
    if not deps.policy.cuts_wait:
        return
    match action:
        case CreateInstance() if record.status.notebook.former is None:
            decided = may_be_created(record, now)
            if decided is None and not _may_create(record.user_key, guard, deps, now):
                raise GuardWaitsError(
                    user_message="Many notebooks are being created just now. This one is created when there is room; no action is needed.",
                    detail=f"more than {guard.creations} environments in an hour, or three times as many in a day",
                )
            if decided is False:
                raise GuardWaitsError(
                    user_message="An administrator decided not to create this notebook.",
                    detail="the creation was rejected",
                    retry_after=DAY,
                )
        case DeleteInstance() | DeleteSnapshot() if record.spec.presence is Presence.ABSENT:
            windows = _windows("delete", guard.per_hour_of(sizes_now(deps).everybody), guard)
            if not _has_room(record.user_key, _DELETIONS, windows, deps, now, claims=True):
                raise GuardWaitsError(
                    user_message="Many environments are being deleted just now. This one is deleted when there is room; until then it is kept.",
                    detail="more deletions than the guard lets through in an hour, or in a day",
                )
        case DeleteInstance(ref=ref) if record.status.notebook.dormancy is not None and ref.instance_id == own:
            windows = _windows("dormant", guard.per_hour_of(sizes_now(deps).everybody), guard)
            if not _has_room(record.user_key, _DORMANT, windows, deps, now, claims=True):
                raise GuardWaitsError(
                    user_message="Many notebooks are being put away just now. Yours is put away when there is room; its files are saved.",
                    detail="more dormant notebooks than the guard lets through in an hour, or in a day",
                )
        case _:
            pass


def _may_create(holder: UserKey, guard: GuardSettings, deps: Deps, now: datetime) -> bool:
    """Return True if the user has a slot of the hour for a creation, claimed now or before.

    A slot of the day is claimed only if the user's first place of the hour is taken: a single joiner then costs one write. So in a flood,
    the limit of the day is reached later than after exactly `day_factor` times the hour's room.
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
    """Return the record after its entry in the index of waiting users was brought up to date, so that each wait is visible.

    The index is written before the record. The record stores a digest of the entry, so after a crash between the two writes, the
    entry is only written again. If the entry cannot be written, log that; the next pass tries again.
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
    except BenchkeeperError as error:  # the next pass tries again
        deps.log.error(
            "Index of waiting users could not be updated",
            user=record.user_key,
            reason=error.reason.value,
            detail=error.detail,
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
        record = with_wait_told(record, deps.clock.now())
    return record.with_status(waiting_listed=told)


def entry_of(record: UserRecord) -> WaitingPerson | None:
    """Return the user's entry for the index of waiting users; None if the user does not wait."""
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
    """A counter of the users who are entitled to an environment, fed row by row."""

    def __init__(self) -> None:
        self._everybody = 0
        self._profiles: Counter[str] = Counter()
        self._groups: Counter[str] = Counter()

    def add(self, row: RecordRow) -> None:
        """Count one row."""
        if row.presence is Presence.PRESENT:
            self._everybody += 1
            self._profiles[row.profile or ""] += 1
            self._groups[row.entitled_by] += 1

    def sizes(self) -> FleetSizes:
        """Return the counts."""
        profiles, groups = ({k: n for k, n in found.items() if k} for found in (self._profiles, self._groups))
        return FleetSizes(everybody=self._everybody, profiles=profiles, groups=groups)


def sizes_of(rows: Iterable[RecordRow]) -> FleetSizes:
    """Return the numbers of users who are entitled to an environment."""
    count = SizeCount()
    for row in rows:
        count.add(row)
    return count.sizes()
