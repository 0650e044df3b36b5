"""The limits by group and how much of each is used, from the rows of the list of all users. Pure; pages and commands show it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from shared.domain.record.record import RecordRow
from shared.domain.things.catalog import Catalog


class LimitUse(Struct, frozen=True, kw_only=True):
    """A group with a limit: `used` of `room` notebooks, and how many people wait for one, the first since `waiting_since`.

    `room` None: the number of notebooks is not limited. `used` may be more than `room`: nobody loses a notebook to a limit.
    """

    group: str
    room: int | None
    used: int
    waiting: int
    waiting_since: datetime | None

    @property
    def over(self) -> int:
        """The notebooks beyond the limit: those that were there before it, or came with people of other groups."""
        return 0 if self.room is None else max(0, self.used - self.room)


def limits_used(rows: Iterable[RecordRow], catalog: Catalog) -> tuple[LimitUse, ...]:
    """Return all limited groups in the order of the configuration."""
    groups = [each.group for each in catalog.limited]
    used, waits = dict.fromkeys(groups, 0), {group: list[datetime]() for group in groups}
    for row in rows if groups else ():
        for group in row.seats:
            if group in used:
                used[group] += 1
        for group in row.seat_wait.groups if row.seat_wait is not None else ():
            if group in waits and row.seat_wait is not None:
                waits[group].append(row.seat_wait.since)
    return tuple(
        LimitUse(
            group=group,
            room=catalog.room_of(group),
            used=used[group],
            waiting=len(waits[group]),
            waiting_since=min(waits[group], default=None),
        )
        for group in groups
    )
