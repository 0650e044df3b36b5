"""The meter of a user: the time for which each billed thing existed, in lines of one month, in whole seconds. Pure.

A line names the billed thing (`What`) and counts seconds. If the thing or its quantity changes, the line is closed and another
line is opened. Nothing is written while nothing changes: the seconds of an open line are computed when the line is read. The
meter is a part of the record; `shared.domain.things.money` computes the money. Months are calendar months in UTC.

`meter_text` writes the meter for the row that sweeps list: the digest of the prices, a space, and a JSON array of the
begin time (Unix seconds), the closed lines and the open lines. Closed lines are merged if the text exceeds 4,000 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder
from msgspec.structs import replace

from shared.domain.things.power import month_of

MOST_LINES = 12  # closed lines of a month, in a record; more are merged, which keeps seconds and money
VARIOUS = "various"  # what merged lines say where they differ
MONTHS = 13  # how many months can be read


class MeterKind(StrEnum):
    """The kind of a billed thing.

    `NOTEBOOK` is a running machine with its disks. `DISK` is a disk of a stopped notebook, `PREDECESSOR` a disk of a predecessor,
    and `LEAVER` a disk of a user without access. `SNAPSHOTS` are saved files. `SPARK` is a running cluster.
    """

    NOTEBOOK = "notebook"
    DISK = "disk"
    PREDECESSOR = "predecessor"
    LEAVER = "leaver"
    SNAPSHOTS = "snapshots"
    SPARK = "spark"


class What(Struct, frozen=True, kw_only=True):
    """A billed thing: its kind, profile (for `SPARK`, the template), machine, disk, payer and price.

    `price` is the price that was configured when the line was opened, as a decimal text; "" if there was no price.
    """

    kind: MeterKind
    profile: str = ""
    machine: str = ""
    disk_type: str = ""
    disk_gb: int = 0
    cost_center: str = ""
    department: str = ""
    price: str = ""


class Line(Struct, frozen=True, kw_only=True):
    """A closed line of one month. `units` are seconds times the quantity: GB of a disk, bytes of snapshots, 1 of all else.

    `charge` is the sum of units times price of merged lines, as an exact text; "" otherwise. `estimated` is True if the
    seconds are estimated, for the time before the meter began.
    """

    month: str
    what: What
    seconds: int
    units: int
    estimated: bool = False
    charge: str = ""


class Open(Struct, frozen=True, kw_only=True):
    """A line that still counts seconds.

    `group` names the resource that the line belongs to (such as `notebook`), so that one change closes all its lines.
    """

    group: str
    what: What
    quantity: int
    since: datetime


class Meter(Struct, frozen=True, kw_only=True):
    """The lines of the present and the last month, and the open lines. `began_at` is None before the first line.

    `asked_at` is the time at which the cloud accepted the create or start of a machine that does not run yet. `priced`
    is the digest of the prices of the open lines (`Catalog.price_digest`).
    """

    began_at: datetime | None = None
    lines: tuple[Line, ...] = ()
    open: tuple[Open, ...] = ()
    asked_at: datetime | None = None
    priced: str = ""


NO_METER = Meter()


def whole(moment: datetime) -> datetime:
    """Return the moment in UTC without fractions of a second, so that differences between moments add up exactly."""
    if moment.tzinfo is UTC and not moment.microsecond:
        return moment
    return moment.astimezone(UTC).replace(microsecond=0)


@lru_cache(64)  # sweeps ask about the same few months for each row
def month_before(month: str) -> str:
    """Return the month before `month` (`2026-01` gives `2025-12`)."""
    year, number = int(month[:4]), int(month[5:])
    return f"{year - 1:04}-12" if number == 1 else f"{year:04}-{number - 1:02}"


@lru_cache(64)
def bounds_of(month: str) -> tuple[datetime, datetime]:
    """Return the first moment of a month, and the first moment of the next month."""
    year, number = int(month[:4]), int(month[5:])
    start = datetime(year, number, 1, tzinfo=UTC)
    return start, start.replace(year=year + 1, month=1) if number == 12 else start.replace(month=number + 1)  # noqa: PLR2004


def by_month(since: datetime, until: datetime) -> Iterator[tuple[str, int]]:
    """Yield each month between two moments with its seconds; nothing unless `until` is after `since`."""
    while since < until:
        month = month_of(since)
        end = min(until, bounds_of(month)[1])
        yield month, int((end - since).total_seconds())
        since = end


def bare(what: What) -> What:
    """Return the thing without payer and price. A leaver's disk becomes a disk of a stopped notebook."""
    kind = MeterKind.DISK if what.kind is MeterKind.LEAVER else what.kind
    return replace(what, kind=kind, cost_center="", department="", price="")


def switched(meter: Meter, group: str, things: Sequence[tuple[What, int]], at: datetime) -> Meter:
    """Return the meter in which the group has exactly these pairs of thing and quantity from `at` on.

    The things have no payer and no price (`bare`). Return the same object if nothing changed. If `at` lies before the last
    change of the group, the time of that change is used instead, so that no second is counted twice.
    """
    wanted = list(things)
    kept: list[Open] = []
    ended: list[Open] = []
    for line in meter.open:
        if line.group != group:
            continue
        now = (bare(line.what), line.quantity)
        if now in wanted:
            wanted.remove(now)
            kept.append(line)
        else:
            ended.append(line)
    if not wanted and not ended:
        return meter
    at = max([whole(at), *(line.since for line in ended)])
    new = [Open(group=group, what=what, quantity=quantity, since=at) for what, quantity in wanted]
    others = [line for line in meter.open if line.group != group]
    return replace(meter, lines=with_ended(meter.lines, ended, at), open=(*others, *kept, *new))


def changed(meter: Meter, change: Callable[[What], What], at: datetime, known: Sequence[Open]) -> Meter:
    """Return the meter with `change` applied to each open line.

    For a line in `known`, the change applies from `at` on; for any other line, from the line's beginning.
    """
    ended: list[Open] = []
    lines: list[Open] = []
    for line in meter.open:
        what = change(line.what)
        if what == line.what:
            lines.append(line)
            continue
        if line not in known:
            lines.append(replace(line, what=what))
            continue
        ended.append(line)
        lines.append(replace(line, what=what, since=max(whole(at), line.since)))
    return (
        meter
        if tuple(lines) == meter.open
        else replace(meter, lines=with_ended(meter.lines, ended, whole(at)), open=tuple(lines))
    )


def with_ended(lines: tuple[Line, ...], ended: Sequence[Open], at: datetime) -> tuple[Line, ...]:
    """Return the closed lines of the present and the last month, including the given open lines, which end at `at`.

    If there are too many lines, some are merged.
    """
    month = month_of(at)
    kept = [*lines, *(each for line in ended for each in closed(line, at))]
    present = [line for line in kept if line.month >= month_before(month)]
    return tuple(
        line
        for each in sorted({line.month for line in present})
        for line in bounded([line for line in present if line.month == each])
    )


def closed(line: Open, at: datetime) -> Iterator[Line]:
    """Yield the closed lines, one for each month, of an open line that ends at `at`."""
    for month, seconds in by_month(line.since, at):
        yield Line(month=month, what=line.what, seconds=seconds, units=seconds * line.quantity)


@lru_cache(64)
def _oldest_with(month: str) -> str:
    """Return the first of the `MONTHS` months that end with this month."""
    for _ in range(MONTHS - 1):
        month = month_before(month)
    return month


def lines_until(meter: Meter, now: datetime) -> tuple[Line, ...]:
    """Return all lines of the last `MONTHS` months, with open lines counted up to `now`.

    Lines of the same month and thing are added up.
    """
    now = whole(now)
    oldest = _oldest_with(month_of(now))
    found = [*meter.lines, *(each for line in meter.open for each in closed(line, now))]
    return merged([line for line in found if line.month >= oldest], lambda line: line.what)


def bounded(lines: Sequence[Line], most: int = MOST_LINES) -> tuple[Line, ...]:
    """Return the lines of one month. More than `most` lines are merged, first by payer, then by kind.

    Seconds and money stay exact.
    """
    found = merged(lines, lambda line: line.what)
    for key in (_by_payer, _by_kind):
        if len(found) > most:
            found = merged(found, key)
    return found


def _by_payer(line: Line) -> object:
    what = line.what
    return what.kind, what.profile, what.cost_center, what.department, is_priced(line)


def _by_kind(line: Line) -> object:
    return line.what.kind, is_priced(line)


def is_priced(line: Line) -> bool:
    """Return True if the line has a price, or a sum of priced lines."""
    return bool(line.what.price or line.charge)


def merged(lines: Sequence[Line], key: Callable[[Line], object]) -> tuple[Line, ...]:
    """Return the lines with all lines of the same month and `key` added up. Estimated lines stay separate.

    A text field that differs becomes `VARIOUS` in the sum.
    """
    if len(lines) <= 1:  # of most people: a sweep asks for everybody's
        return tuple(lines)
    sums: dict[object, Line] = {}
    for line in lines:
        at = (line.month, line.estimated, key(line))
        known = sums.get(at)
        sums[at] = line if known is None else _added(known, line)
    return tuple(sums.values())


def _added(one: Line, other: Line) -> Line:
    seconds, units = one.seconds + other.seconds, one.units + other.units
    if one.what == other.what and not one.charge and not other.charge:
        return replace(one, seconds=seconds, units=units)
    charge = str(charge_of(one) + charge_of(other)) if is_priced(one) or is_priced(other) else ""
    return replace(one, what=_common(one.what, other.what), seconds=seconds, units=units, charge=charge)


def _common(one: What, other: What) -> What:
    texts = {
        name: getattr(one, name) if getattr(one, name) == getattr(other, name) else VARIOUS
        for name in ("profile", "machine", "disk_type", "cost_center", "department")
    }
    return What(kind=one.kind, disk_gb=one.disk_gb if one.disk_gb == other.disk_gb else 0, **texts)


def charge_of(line: Line) -> Fraction:
    """Return units times price of a line, or the stored charge of a merged line; 0 without a price."""
    return Fraction(line.charge) if line.charge else line.units * Fraction(line.what.price or 0)


_MOST_BYTES = 4000  # an object's custom metadata has 8 KiB for the whole row
_FEW = 4
_Flat = tuple[str, str, str, str, int, str, str, str]
_TEXT = Decoder(tuple[int, list[tuple[str, _Flat, int, int, int, str]], list[tuple[str, _Flat, int, int]]])
_KINDS = {kind.value: kind for kind in MeterKind}


def meter_text(meter: Meter) -> str:
    """Return the meter as a text; empty for a meter without a line. If the text exceeds 4,000 bytes, closed lines are merged."""
    if not meter.lines and not meter.open:
        return ""
    text = _text(meter, meter.lines)
    if len(text.encode()) <= _MOST_BYTES:
        return text
    months = sorted({line.month for line in meter.lines})
    lines = (bounded([line for line in meter.lines if line.month == month], _FEW) for month in months)
    return _text(meter, tuple(line for each in lines for line in each))


def _text(meter: Meter, lines: tuple[Line, ...]) -> str:
    began = int(meter.began_at.timestamp()) if meter.began_at is not None else 0
    content = [
        began,
        [[x.month, _flat(x.what), x.seconds, x.units, int(x.estimated), x.charge] for x in lines],
        [[x.group, _flat(x.what), x.quantity, int(x.since.timestamp())] for x in meter.open],
    ]
    return f"{meter.priced} {json.dumps(content, separators=(',', ':'), ensure_ascii=False)}"


def _flat(what: What) -> list[str | int]:
    kind = what.kind.value
    return [
        kind, what.profile, what.machine, what.disk_type, what.disk_gb, what.cost_center, what.department, what.price
    ]  # fmt: skip


def price_digest_in(text: str) -> str:
    """Return the digest of the prices in a meter's text, without reading the rest; "" if there are no open lines."""
    return text.partition(" ")[0]


def meter_from(text: str) -> Meter:
    """Return the meter that `meter_text` wrote, without `asked_at`; an empty meter for an empty or unreadable text."""
    priced, _, content = text.partition(" ")
    if not content:
        return NO_METER
    try:
        began, lines, opened = _TEXT.decode(content)
        return Meter(
            began_at=_moment(began),
            lines=tuple(
                Line(month=month, what=_what(what), seconds=seconds, units=units, estimated=bool(guess), charge=charge)
                for month, what, seconds, units, guess, charge in lines
            ),
            open=tuple(
                Open(group=group, what=_what(what), quantity=quantity, since=_moment(since))
                for group, what, quantity, since in opened
            ),
            priced=priced,
        )
    except (DecodeError, ValidationError, KeyError, ValueError, OverflowError, OSError):
        return NO_METER


def _what(flat: _Flat) -> What:
    kind, profile, machine, disk_type, disk_gb, cost_center, department, price = flat
    return What(
        kind=_KINDS[kind],
        profile=profile,
        machine=machine,
        disk_type=disk_type,
        disk_gb=disk_gb,
        cost_center=cost_center,
        department=department,
        price=price,
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
