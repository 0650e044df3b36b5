"""The reason why an environment should run or be stopped, and its running time in a calendar month (UTC). Pure.

Code decides by the cause; words are made only for display. Costs are estimated from the running time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from msgspec import Struct


class PowerCause(StrEnum):
    """The cause of the wanted power of an environment."""

    UNKNOWN = "Unknown"  # nothing is known of the user yet
    JOINED = "Joined"
    NOT_ENTITLED = "NotEntitled"
    STARTED_BY_PERSON = "StartedByPerson"
    STOPPED_BY_PERSON = "StoppedByPerson"
    STARTED_AHEAD = "StartedAhead"  # before its owner comes, by the working hours of the profile
    STARTED_BY_ADMINISTRATOR = "StartedByAdministrator"
    STOPPED_BY_ADMINISTRATOR = "StoppedByAdministrator"
    STARTED_OUTSIDE = "StartedOutside"  # in the console or by the API: adopted
    STOPPED_OUTSIDE = "StoppedOutside"  # likewise, or by the machine's own idle timer
    IDLE = "Idle"
    UNSEEN = "Unseen"  # stopped, because there was no activity data for as long as that is allowed
    OTHER = "Other"  # a record of an earlier version that kept words only


_WORDS = {
    PowerCause.UNKNOWN: "nothing known",
    PowerCause.JOINED: "joined",
    PowerCause.NOT_ENTITLED: "not entitled",
    PowerCause.STARTED_BY_PERSON: "started by the person",
    PowerCause.STOPPED_BY_PERSON: "stopped by the person",
    PowerCause.STARTED_AHEAD: "started in advance for the owner's working hours",
    PowerCause.STARTED_BY_ADMINISTRATOR: "started by an administrator",
    PowerCause.STOPPED_BY_ADMINISTRATOR: "stopped by an administrator",
    PowerCause.STARTED_OUTSIDE: "started from outside",
    PowerCause.STOPPED_OUTSIDE: "stopped from outside or by its own idle timer",
}


# Texts for the owner of a stopped notebook.
_STOPPED = {
    PowerCause.STOPPED_BY_PERSON: "You stopped your notebook.",
    PowerCause.STOPPED_BY_ADMINISTRATOR: "An administrator stopped your notebook.",
    PowerCause.STOPPED_OUTSIDE: "Your notebook was stopped by Workbench's own timer, or by hand outside of this page.",
}


class PowerReason(Struct, frozen=True, kw_only=True):
    """The reason for the wanted power. `since` is the beginning of the time without use or, for UNSEEN, without activity data.

    `words` is the text of a record of an earlier version, "" otherwise.
    """

    cause: PowerCause
    since: datetime | None = None
    words: str = ""

    @property
    def is_idle(self) -> bool:
        """Return True for an idle stop: no use of the notebook was observed."""
        return self.cause in {PowerCause.IDLE, PowerCause.UNSEEN}

    def stopped(self) -> str:
        """Return a sentence to the owner that says why the notebook is stopped."""
        if self.since is not None and self.is_idle:
            unseen = self.cause is PowerCause.UNSEEN
            why = "no activity data has been available since" if unseen else "nobody has used it since"
            return f"Your notebook was stopped: {why} {self.since:%Y-%m-%d %H:%M} UTC."
        return _STOPPED.get(self.cause, f"Your notebook is stopped: {self}.")

    def stopping(self) -> str:
        """Return a sentence to the owner that says why the notebook is being stopped."""
        return _STOPPED[self.cause] if self.cause is PowerCause.STOPPED_BY_PERSON else f"{self}"

    def __str__(self) -> str:
        """Return the reason in words, as a part of a sentence for people."""
        if self.words:
            return self.words
        since = f"{self.since:%Y-%m-%d %H:%M} UTC" if self.since is not None else "an unknown time"
        match self.cause:
            case PowerCause.IDLE:
                return f"idle since {since}"
            case PowerCause.UNSEEN:
                return f"idle: no activity data since {since}"
            case _:
                return _WORDS.get(self.cause, "")


# The words that records of earlier versions hold instead of a cause. They stay as they are, also if `_WORDS` changes.
_ONCE_KEPT = {
    "nothing known": PowerCause.UNKNOWN,
    "joined": PowerCause.JOINED,
    "not entitled": PowerCause.NOT_ENTITLED,
    "started by the person": PowerCause.STARTED_BY_PERSON,
    "stopped by the person": PowerCause.STOPPED_BY_PERSON,
    "started by an administrator": PowerCause.STARTED_BY_ADMINISTRATOR,
    "stopped by an administrator": PowerCause.STOPPED_BY_ADMINISTRATOR,
    "started from outside": PowerCause.STARTED_OUTSIDE,
    "stopped from outside or by its own idle timer": PowerCause.STOPPED_OUTSIDE,
}
_ONCE_IDLE = "idle since "
_ONCE_UNSEEN = "idle: nothing could be seen of it since "


def as_once_kept(words: str) -> PowerReason:
    """Return the reason for a text in a record of an earlier version, which had no causes."""
    known = _ONCE_KEPT.get(words)
    if known is not None:
        return PowerReason(cause=known)
    for start, cause in ((_ONCE_UNSEEN, PowerCause.UNSEEN), (_ONCE_IDLE, PowerCause.IDLE)):
        if words.startswith(start):
            since = _moment(words.removeprefix(start))
            if since is not None:
                return PowerReason(cause=cause, since=since)
    return PowerReason(cause=PowerCause.IDLE if words.startswith("idle") else PowerCause.OTHER, words=words)


def _moment(words: str) -> datetime | None:
    try:
        return datetime.strptime(words, "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    except ValueError:
        return None


NOTEBOOK = "notebook"


def cluster_usage(template: str) -> str:
    """Return the name under which the running time of a template's clusters is counted."""
    return f"spark:{template}"


class Usage(Struct, frozen=True, kw_only=True, gc=False):
    """The seconds of ended runs in `month` (`2026-11`), and the start of the present run (None: the resource does not run)."""

    month: str
    ran_s: int = 0
    since: datetime | None = None

    def in_month_of(self, now: datetime) -> timedelta:
        """Return the running time in the month of `now`, up to `now`."""
        ended = self.ran_s if self.month == month_of(now) else 0
        running = now - max(self.since, month_start(now)) if self.since is not None else timedelta(0)
        return timedelta(seconds=ended) + max(running, timedelta(0))


def month_of(now: datetime) -> str:
    """Return the month as `2026-11`."""
    return f"{now.year:04}-{now.month:02}"  # a twentieth of the time of strftime


def month_start(now: datetime) -> datetime:
    """Return the first moment of the month."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def with_running(usage: Mapping[str, Usage], name: str, now: datetime, *, runs: bool) -> Mapping[str, Usage]:
    """Return the usage after `name` was observed to run or not; the same object if nothing changes.

    A run counts from the first observation that the resource runs until the first observation that it does not. So start and
    end are each late by at most the time between two observations.
    """
    known = usage.get(name)
    if runs == (known is not None and known.since is not None):
        return usage
    if runs:
        kept = known.ran_s if known is not None and known.month == month_of(now) else 0
        return {**usage, name: Usage(month=month_of(now), ran_s=kept, since=now)}
    if known is None:
        return usage
    return {**usage, name: Usage(month=month_of(now), ran_s=int(known.in_month_of(now).total_seconds()))}
