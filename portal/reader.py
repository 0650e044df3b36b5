"""The reader's own settings, which the browser keeps in cookies: the time zone, and a mark that Google's consent is given."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

COOKIE = "tz"
CONSENT = "consent"
YEAR_S = 31_536_000  # the seconds for which a browser keeps a setting
_SHAPE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(/[A-Za-z0-9_+-]{1,30}){0,2}")


def zone_named(name: str) -> ZoneInfo | None:
    """Return the zone of an IANA name, or None for any other text.

    The form of the name is checked first, because `zoneinfo` opens a file of that name.
    """
    if not _SHAPE.fullmatch(name):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError; a folder's name is an OSError
        return None
    except KeyError:
        return None


def consent_for(instance_id: str) -> str:
    """Return the cookie's value for a notebook: a digest of its name.

    A replacement has another name and needs a new consent.
    """
    return hashlib.sha256(instance_id.encode()).hexdigest()[:16]


def has_consented(instance_id: str | None, cookies: Mapping[str, str]) -> bool:
    """Return True if the reader confirmed that Google's consent for this notebook is given."""
    return instance_id is not None and cookies.get(CONSENT) == consent_for(instance_id)


def zone_of(cookies: Mapping[str, str]) -> ZoneInfo | None:
    """Return the zone from the browser's cookie, or None if the cookie names no known zone."""
    return zone_named(cookies.get(COOKIE, "").replace("%2F", "/").replace("%2f", "/"))


def local(moment: datetime, zone: ZoneInfo | None) -> datetime:
    """Return the moment on the reader's clock, or in UTC if the zone is not known."""
    return moment.astimezone(zone or UTC)


def moment_text(moment: datetime, now: datetime, zone: ZoneInfo | None) -> str:
    """Return `14:05` for today, `tomorrow 14:05` or `yesterday 14:05`, else `Tue 24 Nov 14:05`.

    The year is added if it is another year. `UTC` follows if the zone is not known.
    """
    there, here = local(moment, zone), local(now, zone)
    clock = f"{there:%H:%M}" + ("" if zone is not None else " UTC")
    near = {0: "", 1: "tomorrow ", -1: "yesterday "}.get((there.date() - here.date()).days)
    if near is not None:
        return f"{near}{clock}"
    year = "" if there.year == here.year else f" {there.year}"
    return f"{there:%a} {there.day} {there:%b}{year} {clock}"


def relative_text(moment: datetime, now: datetime) -> str:
    """Return the distance from now: `in 2 h 10 min`, `5 min ago`, `now`."""
    apart = moment - now
    if abs(apart) < timedelta(minutes=1):
        return "now"
    text = duration_text(abs(apart))
    return f"in {text}" if apart > timedelta(0) else f"{text} ago"


def duration_text(length: timedelta) -> str:
    """Return a duration in its two largest units: `3 d 4 h`, `2 h 10 min`, `45 min`, `30 s`."""
    seconds = int(length.total_seconds())
    units = (("d", 86_400), ("h", 3_600), ("min", 60))
    for index, (name, size) in enumerate(units):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller = units[index + 1] if index + 1 < len(units) else None
            part = rest // smaller[1] if smaller is not None else 0
            return f"{whole} {name}" + (f" {part} {smaller[0]}" if smaller is not None and part else "")
    return f"{seconds} s"
