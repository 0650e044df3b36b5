"""RFC 3339 texts and aware UTC times."""

from __future__ import annotations

from datetime import UTC, datetime

_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def parse_time(text: str) -> datetime:
    """RFC 3339 -> aware UTC; nanoseconds are cut to microseconds. Raises `ValueError` for anything else, a missing zone too."""
    body = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    if "." in body:
        head, _, rest = body.partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        body = f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    moment = datetime.fromisoformat(body)
    if moment.tzinfo is None:
        raise ValueError(f"a time needs its zone: {text[:40]!r}")
    return to_utc(moment)


def to_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises `ValueError` outside the years that can be counted with (rounding up included)."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"a time outside the calendar: {moment.isoformat()}") from error
    if utc > _LAST:
        raise ValueError(f"a time outside the calendar: {moment.isoformat()}")
    return utc


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
