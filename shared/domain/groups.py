"""Google groups over time: a group keeps its identity when its address changes, and loses it when it is deleted. Pure.

Memberships are stated by address. `GroupBook` tells which group an address meant at a moment, from the news of groups that were
renamed, created and deleted. It is kept with the policy, not with each person: nothing is fanned out when a group changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MAX_EVENTS = 1000


class GroupEventKind(StrEnum):
    """What happened to a group."""

    DELETED = "deleted"
    ADDRESS_CHANGED = "address-changed"
    CREATED = "created"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvent:
    """One thing that happened to a group. `new_group` is there for a changed address.

    `waits`: it would take something from more than one person and nobody has agreed yet, so that nothing is judged by it.
    """

    kind: GroupEventKind
    group: str
    occurred_at: datetime
    event_id: str
    source: str
    new_group: str = ""
    says: str = ""
    waits: bool = False

    def order(self) -> tuple[datetime, str, str]:
        """When it happened; the same for every order of arrival."""
        return (self.occurred_at, self.kind.value, self.event_id)

    def is_same(self, other: GroupEvent) -> bool:
        """Return True for a duplicate."""
        return (self.source, self.event_id, self.kind, self.group) == (
            other.source,
            other.event_id,
            other.kind,
            other.group,
        )


_GroupId = tuple[str, str]  # the first address, and the event that made it ("" for the group that was always there)


@dataclass(frozen=True, slots=True)
class GroupBook:
    """What happened to the groups that count, oldest first."""

    events: tuple[GroupEvent, ...] = ()

    def with_event(self, event: GroupEvent) -> GroupBook:
        """Return the book with one more event; the same object when it is known."""
        if any(known.is_same(event) for known in self.events):
            return self
        return GroupBook(tuple(sorted([*self.events, event], key=GroupEvent.order))[-MAX_EVENTS:])

    def identity(self, group: str, at: datetime) -> _GroupId | None:
        """Return which group that address meant at a moment; None if that group is deleted by now or was given up."""
        if not self.events:
            return (group, "")
        holders: dict[str, _GroupId] = {}
        found: _GroupId | None = None
        deleted: set[_GroupId] = set()

        def holder(address: str) -> _GroupId:
            return holders.get(address, (address, ""))

        for event in self.events:
            if event.waits:
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

    def concerns(self, group: str, assigned: frozenset[str]) -> bool:
        """Return True if an address is that of an assigned group, or was or became one by a change of address."""
        reached = set(assigned)
        changes = [e for e in self.events if e.kind is GroupEventKind.ADDRESS_CHANGED]
        for _ in changes:
            before = len(reached)
            for change in changes:
                if {change.group, change.new_group} & reached:
                    reached |= {change.group, change.new_group}
            if len(reached) == before:
                break
        return group in reached

    def digest_text(self) -> str:
        """Return what changes whenever the same memberships could mean something else."""
        return "|".join(f"{e.kind}:{e.group}:{e.new_group}:{e.occurred_at.isoformat()}:{e.waits}" for e in self.events)


def to_json(book: GroupBook) -> dict[str, Any]:
    """Return the JSON-able form, for the object `policy/groups`."""
    return {
        "version": 1,
        "events": [
            {
                "kind": e.kind.value,
                "group": e.group,
                "occurred_at": e.occurred_at.isoformat(),
                "event_id": e.event_id,
                "source": e.source,
                "new_group": e.new_group,
                "says": e.says,
                "waits": e.waits,
            }
            for e in book.events
        ],
    }


def from_json(raw: Mapping[str, Any]) -> GroupBook:
    """Return the book that `to_json` gave; raise KeyError, TypeError or ValueError for anything else."""
    if raw["version"] != 1:
        raise ValueError(f"version {raw['version']!r}")
    return GroupBook(
        tuple(
            GroupEvent(
                kind=GroupEventKind(e["kind"]),
                group=str(e["group"]),
                occurred_at=datetime.fromisoformat(e["occurred_at"]).astimezone(UTC),
                event_id=str(e["event_id"]),
                source=str(e["source"]),
                new_group=str(e["new_group"]),
                says=str(e["says"]),
                waits=bool(e["waits"]),
            )
            for e in raw["events"]
        )
    )
