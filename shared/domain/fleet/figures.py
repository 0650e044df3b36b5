"""The figures of the manager's overview. A sweep counts them row by row and stores them, so that the page reads no rows."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta

from msgspec import Struct, field

from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Standing, needs_person, standing
from shared.domain.fleet.spent import SpentCount
from shared.domain.record.record import Presence, RecordRow
from shared.domain.record.status import Notice
from shared.domain.things.clusters import ClusterState
from shared.domain.things.identity import UserKey
from shared.domain.things.meter import Line

MOST_ASKED = 100  # users with an open question; the page shows half of them at once
_ASKED = frozenset({Notice.RENAME_WAITS, Notice.SAME_PERSON})
_READY_DAYS = 30
_FEED_DAYS = 7
_BLIND = "Blind"


class Overview(Struct, frozen=True, kw_only=True):
    """The counts of all users. `matrix` counts by profile (empty for none) and standing, `states` by standing and reason.

    `needs` counts the users who need attention, by reason, the most frequent first.
    """

    people: int
    standings: Mapping[Standing, int]
    matrix: Mapping[str, Mapping[Standing, int]]
    states: Sequence[tuple[Standing, str, int]]
    needs: Mapping[str, int]
    clusters: int


class ReadyDay(Struct, frozen=True, kw_only=True):
    """The time that joining took for users whose environment became ready on that day (UTC): number, median, 95th percentile."""

    day: date
    count: int
    p50_s: float
    p95_s: float


class SoldOut(Struct, frozen=True, kw_only=True):
    """A zone without capacity for the requested machines: the start of the longest wait, and the number of waiting users."""

    zone: str
    since: datetime | None
    people: int


class Today(Struct, frozen=True, kw_only=True):
    """The figures at the top of the manager's page.

    `access` counts the users with access. `leavers` counts the users without access whose environment is not gone yet, and
    `unproved` those among them whose end of access is not verified yet. `left` counts by day (`2026-11-29`, UTC) the users
    whose access ended in the last week; unknown leavers are left out. `spent` are the metered lines of this month, added up.
    """

    access: int = 0
    leavers: int = 0
    unproved: int = 0
    left: Mapping[str, int] = field(default_factory=dict)
    sold_out: tuple[SoldOut, ...] = ()
    spent: tuple[Line, ...] = ()


class Figures(Struct, frozen=True, kw_only=True):
    """All figures of one fleet list. `ready` has the last thirty days, oldest first.

    `regrets` counts, by kind, extensions and starts within minutes of a warning or an idle stop, in the last thirty
    days. `notices` counts users by notice. `asked` are the users about whom a question may be open, in the order of the
    list; at most `MOST_ASKED` users. `today` is None in a list of an earlier version.
    """

    overview: Overview
    ready: tuple[ReadyDay, ...]
    notices: Mapping[str, int]
    asked: tuple[UserKey, ...]
    regrets: Mapping[str, int] = field(default_factory=dict)
    today: Today | None = None


class FigureCount:
    """A counter of rows for the fleet list of the time `taken_at`.

    `blind` are the users without activity data that are known before the first row.
    """

    def __init__(self, blind: AbstractSet[UserKey], taken_at: datetime) -> None:
        self._blind, self._taken_at = blind, taken_at
        self._first = taken_at.date() - timedelta(days=_READY_DAYS - 1)
        self._people = self._clusters = self._blind_people = 0
        self._states: Counter[tuple[str | None, Standing, str]] = Counter()
        self._needs: Counter[str] = Counter()
        self._needing: set[UserKey] = set()
        self._took: defaultdict[date, array[float]] = defaultdict(lambda: array("d"))
        self._notices: Counter[str] = Counter()
        self._asked: list[UserKey] = []
        self._regrets: Counter[str] = Counter()
        self._today = _TodayCount(taken_at)

    def add(self, row: RecordRow) -> None:
        """Count the user of one row in all figures."""
        where = standing(row)
        self._people += 1
        self._states[row.profile, where, row.reason] += 1
        self._today.add(row, where)
        why = needs_person(row, frozenset(), self._taken_at)
        if why is not None:
            self._needs[why] += 1
            self._needing.add(row.user_key)
        elif row.user_key in self._blind and row.presence is Presence.PRESENT:
            self._blind_people += 1
        if row.clusters:
            self._clusters += running_clusters(row)
        if row.ready_took_s is not None and row.ready_at is not None and row.ready_at.date() >= self._first:
            self._took[row.ready_at.date()].append(row.ready_took_s)  # also of who stopped or left since then
        if row.regrets:
            self._regrets.update(each.kind.value for each in row.regrets if each.at.date() >= self._first)
        if row.notices:
            self._notices.update(row.notices)
            if len(self._asked) < MOST_ASKED and _ASKED.intersection(row.notices):
                self._asked.append(row.user_key)

    def figures(self, blind: AbstractSet[UserKey] | None = None) -> Figures:
        """Return all figures.

        `blind` are the users without activity data in this sweep; all must be entitled and among the counted rows. If
        `blind` is None, the users that were given to the constructor are used, as far as they are entitled and counted.
        """
        unseen = self._blind_people if blind is None else len(blind - self._needing)
        needs = self._needs + Counter({_BLIND: unseen})
        standings: Counter[Standing] = Counter()
        matrix: defaultdict[str, Counter[Standing]] = defaultdict(Counter)
        states: Counter[tuple[Standing, str]] = Counter()
        for (profile, where, reason), count in self._states.items():
            standings[where] += count
            matrix[profile or ""][where] += count
            states[where, reason] += count
        order = list(Standing)
        return Figures(
            overview=Overview(
                people=self._people,
                standings={each: standings[each] for each in order},
                matrix={name: {each: matrix[name][each] for each in order} for name in sorted(matrix)},
                states=[
                    (where, reason, count)
                    for (where, reason), count in sorted(
                        states.items(), key=lambda item: (order.index(item[0][0]), item[0][1])
                    )
                ],
                needs=dict(needs.most_common()),
                clusters=self._clusters,
            ),
            ready=tuple(
                ReadyDay(day=day, count=len(took), p50_s=nearest_rank(took, 0.5), p95_s=nearest_rank(took, 0.95))
                for day, took in sorted(self._took.items())
            ),
            notices=dict(sorted(self._notices.items())),
            asked=tuple(self._asked),
            regrets=dict(self._regrets),
            today=self._today.today(),
        )

    def point(self) -> FleetPoint:
        """Return the counts for one point of the fleet's chart."""
        view = self.figures().overview
        return FleetPoint(
            at=self._taken_at,
            running=view.standings[Standing.RUNNING],
            resting=view.standings[Standing.RESTING],
            moving=view.standings[Standing.MOVING],
            attention=sum(view.needs.values()),
        )


class _TodayCount:
    """A counter of rows for the figures of `Today`."""

    def __init__(self, taken_at: datetime) -> None:
        self._week = taken_at - timedelta(days=_FEED_DAYS)
        self._access = self._leavers = self._unproved = 0
        self._left: Counter[str] = Counter()
        self._sold_out: dict[str, tuple[datetime | None, int]] = {}
        self._spent = SpentCount(taken_at)

    def add(self, row: RecordRow, where: Standing) -> None:
        """Count the user of one row, whose environment has the standing `where`."""
        if row.presence is Presence.PRESENT:
            self._access += 1
        elif where is not Standing.GONE:
            self._leavers += 1
            self._unproved += row.proved_at is None
        if row.absent_since is not None and row.absent_since >= self._week and row.unknown_since is None:
            self._left[row.absent_since.date().isoformat()] += 1
        for zone in row.sold_out:
            since, people = self._sold_out.get(zone, (None, 0))
            waits = row.sold_out_since
            self._sold_out[zone] = min((each for each in (since, waits) if each), default=None), people + 1
        self._spent.add(row)

    def today(self) -> Today:
        """Return the figures of all counted rows."""
        return Today(
            access=self._access,
            leavers=self._leavers,
            unproved=self._unproved,
            left=dict(sorted(self._left.items())),
            sold_out=tuple(
                SoldOut(zone=zone, since=since, people=people)
                for zone, (since, people) in sorted(self._sold_out.items(), key=lambda item: (-item[1][1], item[0]))
            ),
            spent=self._spent.lines(),
        )


def figures_of(fleet: FleetSnapshot) -> Figures:
    """Return all figures of a fleet list whose rows are in memory."""
    count = FigureCount(fleet.blind, fleet.taken_at)
    for row in fleet.rows:
        count.add(row)
    return count.figures()


def running_clusters(row: RecordRow) -> int:
    """Return the number of the user's running Spark clusters."""
    return sum(state == ClusterState.RUNNING for state in row.clusters.values())


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
