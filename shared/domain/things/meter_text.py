"""The meter of a user as a short text: a part of the row that sweeps list, so at most 4,000 bytes. Pure.

The text is the digest of the prices, a space, and JSON: the moment of the beginning, closed lines and open lines as arrays.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder

from shared.domain.things.meter import NO_METER, Line, Meter, MeterKind, Open, What, bounded

_MOST_BYTES = 4000  # an object's custom metadata has 8 KiB for the whole row
_FEW = 4
_Flat = tuple[str, str, str, str, int, str, str, str]
_TEXT = Decoder(tuple[int, list[tuple[str, _Flat, int, int, int, str]], list[tuple[str, _Flat, int, int]]])
_KINDS = {kind.value: kind for kind in MeterKind}


def meter_text(meter: Meter) -> str:
    """Return the text; empty for a meter without a line. If it would be too long, closed lines are merged further."""
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
    """Return the digest of the prices of the open lines, without reading the rest; empty if there are none."""
    return text.partition(" ")[0]


def meter_from(text: str) -> Meter:
    """Return the meter of a row's text, without `asked_at`; the empty meter for an empty or unreadable text."""
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
