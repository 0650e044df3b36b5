"""The savings and the side effects of idle stops by day (UTC).

Sweeps count savings and side effects. Pages show rounded values (`about`), because the values are estimates. Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from shared.domain.record.record import Power, Presence, RecordRow
from shared.domain.things.errors import Reason

MOST_DAYS = 30
_LONGEST = timedelta(minutes=30)  # between two counts; what was longer ago was not seen
_AT_REST = frozenset({Reason.IDLE, Reason.DORMANT})


class IdleDay(Struct, frozen=True, kw_only=True):
    """The counts of a day: idle stops, the seconds stopped by them for each profile, and ended kernels.

    `kernels` counts only stops whose machine had reported lately. `unknown` is the number of all other stops.
    """

    stops: int = 0
    stopped_s: Mapping[str, int] = field(default_factory=dict)
    kernels: int = 0
    unknown: int = 0


class IdleSaving(Struct, frozen=True, kw_only=True):
    """The sum of the days since `since`.

    `hours` are all stopped hours. `cost` is the highest possible saving: the price of the stopped hours of profiles with a
    price. `unpriced_hours` are the stopped hours of all other profiles. `stops`, `kernels` and `unknown` are the sums of the
    counts of `IdleDay`.
    """

    since: date
    stops: int
    hours: float
    cost: float
    unpriced_hours: float
    kernels: int
    unknown: int


class IdleCount:
    """The counter of one sweep: notebooks that the idle rule stopped earlier, and stops made by this sweep.

    `add` counts a row of the listing, `add_stop` a stop.
    """

    def __init__(self) -> None:
        self._resting: Counter[str] = Counter()
        self._stops = self._kernels = self._unknown = 0

    def add(self, row: RecordRow) -> None:
        """Count the notebook of a row if the idle rule stopped it and it is still stopped."""
        if row.reason in _AT_REST and row.power is Power.STOPPED and row.presence is Presence.PRESENT:
            self._resting[row.profile or ""] += 1

    def add_stop(self, kernels: int | None) -> None:
        """Count a stop. `kernels` is the number of kernels on the stopped machine, None if unknown."""
        self._stops += 1
        self._kernels += kernels or 0
        self._unknown += kernels is None

    def days(self, before: Mapping[str, IdleDay], last: datetime, now: datetime) -> dict[str, IdleDay]:
        """Return the last thirty days with the counts of this sweep added to today.

        `last` is the time of the previous count. The stopped time since `last` counts for at most half an hour.
        """
        passed = int(min(max(now - last, timedelta(0)), _LONGEST).total_seconds())
        today = now.date().isoformat()
        day = before.get(today, IdleDay())
        stopped = Counter(day.stopped_s)
        stopped.update({profile: passed * count for profile, count in self._resting.items() if passed})
        added = replace(
            day,
            stops=day.stops + self._stops,
            stopped_s=dict(stopped),
            kernels=day.kernels + self._kernels,
            unknown=day.unknown + self._unknown,
        )
        return dict(sorted({**before, today: added}.items())[-MOST_DAYS:])


def saving_of(days: Mapping[str, IdleDay], prices: Mapping[str, float | None]) -> IdleSaving | None:
    """Return the sum of all days; None if there are no days. `prices` has the price of a running hour of each profile."""
    if not days:
        return None
    stopped: Counter[str] = Counter()
    for day in days.values():
        stopped.update(day.stopped_s)
    priced = {name: price for name in stopped if (price := prices.get(name)) is not None}
    return IdleSaving(
        since=date.fromisoformat(min(days)),
        stops=sum(day.stops for day in days.values()),
        hours=sum(stopped.values()) / 3600,
        cost=sum(stopped[name] / 3600 * price for name, price in priced.items()),
        unpriced_hours=sum(seconds for name, seconds in stopped.items() if name not in priced) / 3600,
        kernels=sum(day.kernels for day in days.values()),
        unknown=sum(day.unknown for day in days.values()),
    )


def about(value: float) -> int:
    """Return an estimate rounded to two significant digits; a value below 100 is rounded to a whole number."""
    if value < 100:  # noqa: PLR2004 - two digits
        return round(value)
    step: int = 10 ** (int(math.log10(value)) - 1)
    return round(value / step) * step
