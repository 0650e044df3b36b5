"""The notes of an idle sweep: its observations of the examined machines, and earlier observations of the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from shared.domain.fleet.fleet import Notes
from shared.domain.fleet.hours import arrival_of, with_arrival
from shared.domain.fleet.report import Reported
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.catalog import Hours
from shared.domain.things.identity import UserKey
from shared.engine.sweeps.idle_look import Judged


class Use:
    """The notes of one sweep: its observations of the examined machines, and earlier observations of the others."""

    def __init__(self, before: Notes, hours: Mapping[str, Hours]) -> None:
        self.before = before
        self.left_alone: frozenset[UserKey] = frozenset()
        self._last_used: dict[UserKey, datetime] = {}
        self._looked: dict[UserKey, datetime] = {}
        self._stops: dict[UserKey, datetime] = {}
        self._counter = dict(before.counter_seen)
        self._hours = hours
        self._arrivals: dict[UserKey, tuple[datetime, ...]] = {}
        self._ahead: dict[UserKey, datetime] = {}

    def know(self, row: RecordRow) -> None:
        """Keep the notes about this user; notes about people without a record are dropped.

        Arrivals are kept only while the user's profile has working hours.
        """
        user_key, before = row.user_key, self.before
        if user_key in before.last_used:
            self._last_used[user_key] = before.last_used[user_key]
        if row.presence is Presence.PRESENT and (row.profile or "") in self._hours:
            if user_key in before.arrivals:
                self._arrivals[user_key] = before.arrivals[user_key]
            if user_key in before.started_ahead:
                self._ahead[user_key] = before.started_ahead[user_key]

    def leave_alone(self, keys: Collection[UserKey]) -> None:
        """Keep the notes about running machines that this sweep does not examine."""
        self.left_alone = frozenset(keys)
        self._looked |= {key: at for key, at in self.before.looked.items() if key in self.left_alone}
        self._stops |= {key: at for key, at in self.before.idle_stops.items() if key in self.left_alone}

    def add(self, judged: Judged, now: datetime) -> None:
        """Add the observations of a machine."""
        key, last = judged.machine.user_key, judged.last_used
        if last is not None:
            self._last_used[key] = max(last, self._last_used.get(key, last))
        self._looked[key] = now
        if judged.stops_at is not None:
            self._stops[key] = judged.stops_at
        requests = judged.activity.requests
        if requests:
            profile, at = judged.machine.profile, requests[-1].at
            self._counter[profile] = max(at, self._counter.get(profile, at))
        hours = self._hours.get(judged.machine.profile)
        came = arrival_of(requests or (), hours, now) if hours is not None else None
        if hours is not None and came is not None:
            self._arrivals[key] = with_arrival(self._arrivals.get(key, ()), came, hours)

    def notes(self, reports: Mapping[UserKey, Reported]) -> Notes:
        """Return the notes to keep, without costs. `reports` is the memory of the machines' own reports."""
        return Notes(
            taken_at=self.before.taken_at,
            idle_stops=self._stops,
            last_used=self._last_used,
            looked=self._looked,
            counter_seen=self._counter,
            reports=reports,
            arrivals=self._arrivals,
            started_ahead=self._ahead,
        )
