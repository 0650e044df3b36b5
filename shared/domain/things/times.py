"""The conversion of RFC 3339 texts to aware UTC times and back, and helpers for time zones and durations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def zone_of(name: str) -> tzinfo:
    """Return the time zone with a name of the IANA database, such as `Europe/Berlin`.

    Raise `ValueError`, `OSError` or `KeyError` for any other name. `zoneinfo` is imported late, because the import would cost
    each cold start 2 ms, and few messages need it.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - see above

    return ZoneInfo(name)


def parse_time(text: str) -> datetime:
    """Return the aware UTC time of an RFC 3339 text; nanoseconds are truncated to microseconds.

    Other ISO 8601 texts that `datetime.fromisoformat` reads are accepted, too. Raise `ValueError` for any other text, and
    for a time without a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.fromisoformat(_mended(text))
    if moment.tzinfo is None:
        raise ValueError(f"a time needs its zone: {text[:40]!r}")
    return to_utc(moment)


def _mended(text: str) -> str:
    """Return the text in a form that `fromisoformat` reads: trimmed, with a numeric zone, and with six digits after a point."""
    body = text.strip().replace("Z", "+00:00").replace("z", "+00:00")
    head, point, rest = body.partition(".")
    if not point:
        return body
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"


def to_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC. Raise `ValueError` if it is before year 1 or after 9999-12-31 23:59:59."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"a time outside the calendar: {moment.isoformat()}") from error
    if utc > _LAST:
        raise ValueError(f"a time outside the calendar: {moment.isoformat()}")
    return utc


def rfc3339(moment: datetime) -> str:
    """Return the time as RFC 3339 in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def duration_text(value: timedelta) -> str:
    """Return the duration in the form of the configuration, for example `30d`."""
    seconds = int(value.total_seconds())
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    return next(f"{seconds // size}{unit}" for unit, size in units if seconds % size == 0)
