"""The money of metered lines. Amounts are exact fractions, which are rounded only once, for display. Pure."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import assert_never

from shared.domain.things.catalog import Catalog
from shared.domain.things.meter import Line, MeterKind, What, bounds_of, charge_of, is_priced

_HOUR_S = 3600
_GIB = 2**30  # Google bills snapshots by GiB


def price_of(what: What, catalog: Catalog) -> str:
    """Return the configured price of a thing as a decimal text; "" if no price is configured.

    The price of a machine or cluster is per hour, of a disk per GB and month, and of snapshots per GiB and month.
    """
    match what.kind:
        case MeterKind.NOTEBOOK:
            profile = catalog.profiles.get(what.profile)
            return price_text(None if profile is None else profile.hourly_cost)
        case MeterKind.SPARK:
            return price_text(catalog.environment(what.profile).hourly_cost)
        case MeterKind.DISK | MeterKind.PREDECESSOR | MeterKind.LEAVER:
            return price_text(catalog.prices.disk_gb_month.get(what.disk_type))
        case MeterKind.SNAPSHOTS:
            return price_text(catalog.prices.snapshot_gb_month)
        case _:
            assert_never(what.kind)


def price_text(price: float | None) -> str:
    """Return a price as the shortest decimal text that is equal to it; empty for None."""
    return "" if price is None else repr(float(price))


def cost_of(line: Line, catalog: Catalog) -> Fraction | None:
    """Return the exact cost of a line by its own price, or by the present price if the line has no price.

    Return None if neither price exists.
    """
    if is_priced(line):
        charge = charge_of(line)
    elif price := price_of(line.what, catalog):
        charge = line.units * Fraction(price)
    else:
        return None
    return charge / _seconds_of_a_unit(line)


def _seconds_of_a_unit(line: Line) -> int:
    """Return the divisor from units to cost: the seconds of an hour or of the line's month; for snapshots, times 2^30 bytes."""
    if line.what.kind in {MeterKind.NOTEBOOK, MeterKind.SPARK}:
        return _HOUR_S
    start, end = bounds_of(line.month)
    month_s = (end - start) // timedelta(seconds=1)
    return month_s * _GIB if line.what.kind is MeterKind.SNAPSHOTS else month_s


def rounded(amount: Fraction, digits: int = 2) -> Decimal:
    """Return an amount rounded half up (away from zero).

    Round only displayed amounts, never those that are added up later.
    """
    scale = 10**digits
    scaled = (2 * abs(amount.numerator) * scale + amount.denominator) // (2 * amount.denominator)
    return Decimal(-scaled if amount < 0 else scaled).scaleb(-digits)
