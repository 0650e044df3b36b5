"""The times at which a change may stop an environment that is perhaps in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain.things.catalog import Disruption, Profile, Window


def may_disrupt(profile: Profile, now: datetime) -> bool:
    """Return True if a running environment of this profile may be stopped for a change at `now`.

    A stopped environment may always be changed, so the question does not arise for it.
    """
    match profile.disruption:
        case Disruption.NOW:
            return True
        case Disruption.WHEN_IDLE:
            return False
        case Disruption.WINDOW:
            return profile.window is not None and _opened(profile.window, now) is not None


def next_chance(profile: Profile, now: datetime) -> datetime | None:
    """Return the next time at which a running environment may be stopped for a change.

    Return None if it must first stop for another reason.
    """
    if profile.disruption is Disruption.NOW:
        return now
    if profile.disruption is Disruption.WHEN_IDLE or profile.window is None:
        return None
    if _opened(profile.window, now) is not None:
        return now
    return min((start for start in _openings(profile.window, now) if start > now), default=None)


def say_when(profile: Profile, now: datetime) -> str:
    """Return the next chance in words, for people."""
    chance = next_chance(profile, now)
    if chance is None:
        return "when the notebook is stopped"
    return "now" if chance <= now else f"in the maintenance window that opens on {chance:%a %Y-%m-%d %H:%M} UTC"


def _opened(window: Window, now: datetime) -> datetime | None:
    return next((start for start in _openings(window, now) if start <= now < start + window.length), None)


def _openings(window: Window, now: datetime) -> list[datetime]:
    """Return the openings around `now`: from yesterday, because a window may still be open, to the same day of the next week."""
    today = now.astimezone(window.zone).date()
    days = [today + timedelta(days=offset) for offset in range(-1, 9)]
    return [
        datetime.combine(day, window.start, tzinfo=window.zone).astimezone(UTC)
        for day in days
        if day.weekday() in window.days
    ]
