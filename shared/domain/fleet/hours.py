"""The rules of working hours. Pure.

Outside the working hours, unused notebooks are stopped sooner. Notebooks of users who come on most days are started in advance.

All rules use local time in the profile's time zone, so they follow daylight saving time. Holidays are not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from shared.domain.fleet.idle import Sample
from shared.domain.things.catalog import Hours
from shared.domain.things.identity import UserKey

AT_NIGHT = timedelta(hours=1)  # the idle timeout outside of working hours, at most
LEAD = timedelta(minutes=20)  # a start takes some minutes, and sweeps come every ten
_EVERY = timedelta(minutes=10)
_LATE = timedelta(minutes=30)  # after the usual arrival nobody is waited for
_LONGEST_LEAD = timedelta(hours=2)
_EARLY = timedelta(hours=3)  # before the working hours; an arrival sooner belongs to the night
_LAST, _OF_THESE = 5, 3  # working days, and on how many of them somebody has to have come
_KEPT = 10  # arrivals
_STEP = timedelta(minutes=5)  # a sample counts the requests of so long before it


def is_open(hours: Hours, now: datetime) -> bool:
    """Return True if `now` is within the working hours."""
    here = now.astimezone(hours.zone)
    return here.weekday() in hours.days and hours.start <= here.time() < hours.end


def day_of(hours: Hours, moment: datetime) -> date:
    """Return the date of a moment in the profile's time zone."""
    return moment.astimezone(hours.zone).date()


def arrival_of(requests: Iterable[Sample], hours: Hours, now: datetime) -> datetime | None:
    """Return the time at which the owner came today: the first request within the working hours or three hours before them.

    Return None if the owner did not come.

    Only requests count, because CPU use may be a job that was left running. An open tab sends requests, too.
    """
    today = day_of(hours, now)
    first = _at(hours, today, hours.start) - _EARLY
    last = _at(hours, today, hours.end)
    return min((s.at - _STEP for s in requests if s.value > 0 and first <= s.at - _STEP < last), default=None)


def with_arrival(known: tuple[datetime, ...], at: datetime, hours: Hours) -> tuple[datetime, ...]:
    """Return the arrivals with the new one: only the first of each day, and only the last ten days with an arrival."""
    by_day = {day_of(hours, each): each for each in sorted([*known, at], reverse=True)}
    return tuple(sorted(by_day.values()))[-_KEPT:]


def expected(known: tuple[datetime, ...], hours: Hours, now: datetime) -> datetime | None:
    """Return the time at which the owner is expected today.

    Return None on a day without working hours, and for an owner who seldom comes.

    The expected time is the earliest arrival on the last five working days, if the owner came on at least three of them.
    """
    today = day_of(hours, now)
    if today.weekday() not in hours.days:
        return None
    days: list[date] = []
    day = today
    while len(days) < _LAST:
        day -= timedelta(days=1)
        if day.weekday() in hours.days:
            days.append(day)
    came = [here for each in known if (here := each.astimezone(hours.zone)).date() in days]
    if len(came) < _OF_THESE:
        return None
    return _at(hours, today, min(here.time() for here in came))


def starts_now(waiting: Sequence[tuple[datetime, UserKey]], now: datetime, most: int) -> list[UserKey]:
    """Return at most `most` users whose notebook should be started now, the soonest expected first.

    `waiting` has pairs of expected time and user. A user counts from two hours before the expected time until half an hour
    after it. Each notebook is started as late as possible, but at most `most` notebooks in ten minutes. So if many users
    come at the same time, some notebooks start earlier.
    """
    due = sorted(each for each in waiting if now - _LATE <= each[0] <= now + _LONGEST_LEAD)
    places: dict[int, int] = {}
    chosen = []
    for at, key in reversed(due):
        step = max(0, int((at - LEAD - now) / _EVERY))
        while step > 0 and places.get(step, 0) >= most:
            step -= 1
        places[step] = places.get(step, 0) + 1
        if step == 0:
            chosen.append((at, key))
    return [key for _, key in sorted(chosen)[:most]]


def _at(hours: Hours, day: date, clock: time) -> datetime:
    """Return the moment, in UTC, of a local time of the day in the profile's time zone."""
    return datetime.combine(day, clock, tzinfo=hours.zone).astimezone(UTC)
