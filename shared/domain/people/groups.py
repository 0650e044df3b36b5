"""The Google groups over time: a group keeps its identity when its address changes, and loses it when it is deleted. Pure.

Memberships are stated by address. `GroupBook` finds the group that had an address at a moment, from the events of groups that
were renamed, created and deleted. The book is stored with the policy, not with each user, so a change of a group writes
no records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

MAX_EVENTS = 1000  # of groups that entitle; their deletions and creations are kept beyond this limit
MAX_LASTING = 4 * MAX_EVENTS
MAX_OTHERS = 1000  # deletions of other groups, and as many of their changes of address and creations


class GroupEventKind(StrEnum):
    """The kind of an event of a group."""

    DELETED = "deleted"
    ADDRESS_CHANGED = "address-changed"
    CREATED = "created"


class GroupEvent(Struct, frozen=True, kw_only=True):
    """An event of a group. `new_group` is set for a changed address.

    `waits` is True if the event would end access for several users and is not approved yet; it then has no effect.
    `rejected` is True if an operator marked the event as a mistake; it then never has an effect.
    """

    kind: GroupEventKind
    group: str
    occurred_at: datetime
    event_id: str
    source: str
    new_group: str = ""
    says: str = ""
    waits: bool = False
    rejected: bool = False

    def order(self) -> tuple[datetime, str, str]:
        """Return the sort key: the time of the event, then its kind and id, so that the order of arrival has no effect."""
        return (self.occurred_at, self.kind.value, self.event_id)

    @property
    def key(self) -> tuple[str, str, GroupEventKind, str]:
        """Return the identity of the event. A duplicate has the same identity."""
        return (self.source, self.event_id, self.kind, self.group)

    @property
    def addresses(self) -> frozenset[str]:
        """Return the one or two addresses of the group in this event."""
        return frozenset({self.group, self.new_group} - {""})


_GroupId = tuple[str, str]  # the first address, and the event that made it ("" for the group that was always there)


class GroupBook(Struct, frozen=True):
    """The events of groups that entitle, oldest first (`events`), and of all other groups (`others`).

    `others` have no effect. They are kept because the log may later deliver a change of address that links such a group to a
    group that entitles.
    """

    events: tuple[GroupEvent, ...] = ()
    others: tuple[GroupEvent, ...] = ()

    def with_events(self, events: Iterable[GroupEvent], assigned: frozenset[str]) -> GroupBook:
        """Return the book with more events, sorted into those of groups that entitle and others.

        A known event is not changed. If there are too many events, the oldest are dropped, deletions last.
        """
        together = {each.key: each for each in (*events, *self.events, *self.others)}
        ordered = sorted(together.values(), key=GroupEvent.order)
        reached = _reached(ordered, assigned)
        counting = [each for each in ordered if each.addresses & reached]
        others = [each for each in ordered if not each.addresses & reached]
        return GroupBook(_bounded(counting), _bounded_others(others))

    def sorted_for(self, assigned: frozenset[str]) -> GroupBook:
        """Return the book for the groups that are assigned now; the same object if none of `others` is about such a group."""
        reached = self.reached(assigned)
        if not any(each.addresses & reached for each in self.others):
            return self
        return self.with_events((), assigned)

    def without(self, events: Iterable[GroupEvent], assigned: frozenset[str]) -> GroupBook:
        """Return the book without the given events."""
        gone = {each.key for each in events}
        return GroupBook().with_events((e for e in (*self.events, *self.others) if e.key not in gone), assigned)

    def knows(self, event: GroupEvent) -> bool:
        """Return True if the book already has this event, so that the event is a duplicate."""
        return any(each.key == event.key for each in (*self.events, *self.others))

    def reached(self, assigned: frozenset[str]) -> frozenset[str]:
        """Return the addresses of the assigned groups, and all earlier or later addresses of these groups."""
        return _reached((*self.events, *self.others), assigned)

    def agreed(self) -> GroupBook:
        """Return the book as it will be once all waiting events are approved."""
        return replace(self, events=tuple(replace(each, waits=False) for each in self.events))

    def decided(self, event: GroupEvent, *, agreed: bool) -> GroupBook:
        """Return the book after a waiting event was approved (`agreed`) or rejected."""

        def one(each: GroupEvent) -> GroupEvent:
            return replace(each, waits=False, rejected=not agreed) if each.key == event.key else each

        return replace(self, events=tuple(map(one, self.events)))

    @property
    def waits(self) -> bool:
        """Return True if any event waits for an approval."""
        return any(each.waits for each in self.events)

    def identity(self, group: str, at: datetime) -> _GroupId | None:
        """Return the identity of the group that had the address at that moment; None if that group has been deleted."""
        if not self.events:
            return (group, "")
        holders: dict[str, _GroupId] = {}
        found: _GroupId | None = None
        deleted: set[_GroupId] = set()

        def holder(address: str) -> _GroupId:
            return holders.get(address, (address, ""))

        for event in self.events:
            if event.waits or event.rejected:
                continue
            if found is None and event.occurred_at > at:
                found = holder(group)
            match event.kind:
                case GroupEventKind.ADDRESS_CHANGED:
                    holders[event.new_group] = holder(event.group)
                case GroupEventKind.CREATED:
                    holders[event.group] = (event.group, event.event_id)
                case GroupEventKind.DELETED:
                    deleted.add(holder(event.group))
        if found is None:
            found = holder(group)
        return None if found in deleted else found

    def digest_text(self) -> str:
        """Return a text that changes whenever an address may belong to another group than before."""
        return "|".join(
            f"{e.kind}:{e.group}:{e.new_group}:{e.occurred_at.isoformat()}:{'rejected' if e.rejected else e.waits}"
            for e in self.events
        )


def _reached(events: Iterable[GroupEvent], assigned: frozenset[str]) -> frozenset[str]:
    linked: dict[str, set[str]] = {}
    for event in events:
        if event.kind is GroupEventKind.ADDRESS_CHANGED:
            linked.setdefault(event.group, set()).add(event.new_group)
            linked.setdefault(event.new_group, set()).add(event.group)
    reached, ahead = set(assigned), list(assigned)
    while ahead:
        new = linked.get(ahead.pop(), set()) - reached
        reached |= new
        ahead += new
    return frozenset(reached)


def _bounded(ordered: list[GroupEvent]) -> tuple[GroupEvent, ...]:
    """Return the events without the oldest changes of address, if there are too many.

    A change to an address that was deleted later is kept, because it identifies the deleted group. At most `MAX_LASTING`
    events are returned, the newest.
    """
    surplus = len(ordered) - MAX_EVENTS
    if surplus <= 0:
        return tuple(ordered)
    deleted = {each.group for each in ordered if each.kind is GroupEventKind.DELETED}
    changes = [e for e in ordered if e.kind is GroupEventKind.ADDRESS_CHANGED and e.new_group not in deleted]
    gone = {each.key for each in changes[:surplus]}
    return tuple(each for each in ordered if each.key not in gone)[-MAX_LASTING:]


def _bounded_others(ordered: list[GroupEvent]) -> tuple[GroupEvent, ...]:
    """Return the newest `MAX_OTHERS` deletions and the newest `MAX_OTHERS` other events, oldest first."""
    deletions = [each for each in ordered if each.kind is GroupEventKind.DELETED]
    rest = [each for each in ordered if each.kind is not GroupEventKind.DELETED]
    return tuple(sorted([*deletions[-MAX_OTHERS:], *rest[-MAX_OTHERS:]], key=GroupEvent.order))


def to_json(book: GroupBook) -> dict[str, Any]:
    """Return the book in JSON types, for the object `policy/groups`."""
    return {
        "version": 1,
        "events": [_event_to_json(each) for each in book.events],
        "others": [_event_to_json(each) for each in book.others],
    }


def _event_to_json(e: GroupEvent) -> dict[str, Any]:
    return {
        "kind": e.kind.value,
        "group": e.group,
        "occurred_at": e.occurred_at.isoformat(),
        "event_id": e.event_id,
        "source": e.source,
        "new_group": e.new_group,
        "says": e.says,
        "waits": e.waits or e.rejected,  # an earlier version knows no rejections: it must also ignore the event
        **({"rejected": True} if e.rejected else {}),
    }


def from_json(raw: Mapping[str, Any]) -> GroupBook:
    """Return the book that `to_json` wrote. Raise KeyError, TypeError or ValueError for anything else."""
    if raw["version"] != 1:
        raise ValueError(f"version {raw['version']!r}")
    return GroupBook(
        tuple(_event_from_json(each) for each in raw["events"]),
        tuple(_event_from_json(each) for each in raw.get("others", ())),
    )


def _event_from_json(e: Mapping[str, Any]) -> GroupEvent:
    return GroupEvent(
        kind=GroupEventKind(e["kind"]),
        group=str(e["group"]),
        occurred_at=datetime.fromisoformat(e["occurred_at"]).astimezone(UTC),
        event_id=str(e["event_id"]),
        source=str(e["source"]),
        new_group=str(e["new_group"]),
        says=str(e["says"]),
        waits=bool(e["waits"]) and not e.get("rejected", False),
        rejected=bool(e.get("rejected", False)),
    )
