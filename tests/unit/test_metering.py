"""What was there for how long, and what it cost: against an oracle that walks through the seconds of each month by itself."""

from __future__ import annotations

import calendar
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.inprocess import local_settings
from msgspec.structs import replace

from shared.domain.things.catalog import Prices
from shared.domain.things.meter import (
    MOST_LINES,
    NO_METER,
    Line,
    Meter,
    MeterKind,
    What,
    bounded,
    by_month,
    changed,
    lines_until,
    meter_from,
    meter_text,
    month_before,
    price_digest_in,
    switched,
)
from shared.domain.things.money import cost_of, price_of, price_text, rounded

PRICES = Prices(disk_gb_month={"PD_SSD": 0.187, "PD_BALANCED": 0.11}, snapshot_gb_month=0.055)
CATALOG = replace(local_settings().catalog, prices=PRICES)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MACHINES = {"analyst": ("e2-standard-4", "0.18"), "engineer": ("n2-standard-8", "0.56")}
DISKS = {"analyst": ("PD_BALANCED", 100), "engineer": ("PD_SSD", 500)}
CENTERS = ("CC-1", "CC-2", "")


def machine(profile: str, center: str = "") -> What:
    kind, price = MACHINES[profile]
    return What(kind=MeterKind.NOTEBOOK, profile=profile, machine=kind, cost_center=center, price=price)


def disk(profile: str, kind: MeterKind = MeterKind.DISK) -> tuple[What, int]:
    name, size = DISKS[profile]
    price = price_text(PRICES.disk_gb_month[name])
    return What(kind=kind, profile=profile, disk_type=name, disk_gb=size, price=price), size


def total(lines: tuple[Line, ...]) -> Fraction:
    return sum((cost_of(line, CATALOG) or Fraction(0) for line in lines), Fraction(0))


def test_a_move_prices_each_machine_by_itself():
    """Half a month of one machine and then another: not all of it at the price of the last."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    meter = switched(NO_METER, "notebook", [(machine("analyst"), 1)], start)
    meter = changed(meter, lambda what: replace(what, price="0.18"), start, ())
    meter = switched(meter, "notebook", [(machine("engineer"), 1)], start + 20 * HOUR)
    meter = changed(meter, lambda what: replace(what, price=MACHINES[what.profile][1]), start + 20 * HOUR, ())
    lines = lines_until(meter, start + 30 * HOUR)
    assert rounded(total(lines)) == Decimal("9.20")  # 20 h at 0.18 and 10 h at 0.56; 30 h at 0.56 would be 16.80


@pytest.mark.parametrize("month", ["2026-02", "2028-02", "2026-04", "2026-12"])
def test_a_disk_for_a_whole_month_costs_its_price_however_long_the_month_is(month):
    what, size = disk("engineer")
    start = datetime.fromisoformat(f"{month}-01T00:00:00+00:00")
    days = calendar.monthrange(start.year, start.month)[1]
    meter = switched(NO_METER, "notebook", [(what, size)], start)
    meter = changed(meter, lambda _: what, start, ())
    lines = lines_until(meter, start + timedelta(days=days))
    assert rounded(total(lines)) == Decimal("93.50")


def test_a_day_of_summer_time_has_its_own_number_of_hours():
    berlin = ZoneInfo("Europe/Berlin")
    start, end = (datetime(2026, 3, day, tzinfo=berlin) for day in (29, 30))
    assert sum(seconds for _, seconds in by_month(start.astimezone(UTC), end.astimezone(UTC))) == 23 * 3600


def test_nothing_changes_while_nothing_changes():
    meter = switched(NO_METER, "notebook", [(machine("analyst"), 1)], NOON)
    assert switched(meter, "notebook", [(machine("analyst"), 1)], NOON + HOUR) is not NO_METER
    known = changed(meter, lambda _: machine("analyst"), NOON, ())
    bare = replace(machine("analyst"), price="")
    assert switched(known, "notebook", [(bare, 1)], NOON + HOUR) is known
    assert changed(known, lambda what: what, NOON + HOUR, known.open) is known


def test_a_line_without_a_price_gets_the_first_that_is_written():
    what = What(kind=MeterKind.DISK, disk_type="PD_EXTREME", disk_gb=10)
    line = Line(month="2026-11", what=what, seconds=10, units=100)
    assert cost_of(line, CATALOG) is None
    later = replace(CATALOG, prices=replace(PRICES, disk_gb_month={"PD_EXTREME": 1.0}))
    assert cost_of(line, later) == Fraction(100, 30 * 86400)


def test_a_price_that_changes_holds_from_then_on():
    start = datetime(2026, 11, 1, tzinfo=UTC)
    first = changed(switched(NO_METER, "x", [(machine("analyst"), 1)], start), lambda _: machine("analyst"), start, ())
    dearer = replace(machine("analyst"), price="1.00")
    later = changed(first, lambda _: dearer, start + 10 * HOUR, first.open)
    assert total(lines_until(later, start + 11 * HOUR)) == Fraction("0.18") * 10 + 1


def test_an_amount_is_rounded_once_half_up():
    assert [rounded(Fraction(n, 1000)) for n in (5, 4, 15, -5)] == list(map(Decimal, ("0.01", "0.00", "0.02", "-0.01")))
    assert rounded(Fraction(1, 3), 4) == Decimal("0.3333")
    third = Fraction(1, 300)
    assert rounded(third * 3) == Decimal("0.01")
    assert sum(rounded(third) for _ in range(3)) == Decimal("0.00")


def test_months_before():
    assert [month_before(m) for m in ("2026-01", "2026-03", "2026-12")] == ["2025-12", "2026-02", "2026-11"]


WHATS = st.builds(
    What,
    kind=st.sampled_from(MeterKind),
    profile=st.sampled_from(["analyst", "engineer", "Ñ", "=1+1"]),
    machine=st.sampled_from(["", "e2-standard-4"]),
    disk_type=st.sampled_from(["", "PD_SSD", "PD_BALANCED"]),
    disk_gb=st.integers(0, 65_536),
    cost_center=st.text(max_size=60),
    department=st.text(max_size=60),
    price=st.sampled_from(["", "0.18", "1e-05", "93.5", "0.0"]),
)


@given(st.lists(st.tuples(WHATS, st.integers(0, 2_678_400), st.integers(0, 10**12)), max_size=60))
def test_merging_loses_no_second_and_no_cent(found):
    lines = [Line(month="2026-11", what=what, seconds=s, units=s * q) for what, s, q in found]
    few = bounded(lines)
    assert len(few) <= max(MOST_LINES, 2 * len(MeterKind))
    assert sum(line.seconds for line in few) == sum(line.seconds for line in lines)
    priced = [line for line in lines if line.what.price]
    kept = [line for line in few if line.charge or line.what.price]
    assert total(tuple(kept)) == total(tuple(priced))


@given(st.lists(st.tuples(WHATS, st.integers(0, 10**6), st.integers(1, 10**12)), max_size=24), st.integers(1, 10**5))
def test_the_text_of_a_row_keeps_every_second_and_cent_in_four_kilobytes(found, ago):
    lines = tuple(Line(month="2026-11", what=what, seconds=s, units=s * q) for what, s, q in found[:12])
    opened = switched(NO_METER, "x", [(what, q) for what, _, q in found[12:14]], NOON - timedelta(seconds=ago))
    meter = Meter(began_at=NOON, lines=bounded(lines), open=opened.open, priced="0123abcd")
    text = meter_text(meter)
    assert len(text.encode()) <= 5000
    if text:
        back = meter_from(text)
        assert price_digest_in(text) == "0123abcd"
        assert sum(x.seconds for x in lines_until(back, NOON)) == sum(x.seconds for x in lines_until(meter, NOON))
        known = [x for x in lines_until(back, NOON) if x.charge or x.what.price]
        assert total(tuple(known)) == total(tuple(x for x in lines_until(meter, NOON) if x.charge or x.what.price))


@pytest.mark.parametrize(
    "text", ["", "x", "0123abcd", "0123abcd {}", "a [1,[],[]", 'a [1,[["2026-11",["?"]]],[]]', "a []"]
)
def test_a_row_that_cannot_be_read_has_no_lines(text):
    assert meter_from(text) == NO_METER


Owed = dict[tuple[str, str], Fraction]


def lived(seed: int) -> tuple[Owed, Owed]:
    """Some months of one person at arbitrary seconds: what the meter says of each, and what each costs by the oracle's own sums.

    Months leave the meter two months later, so what it says is noted after each step, as the sweeps do.
    """
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    now = datetime(2027, 11, 1, tzinfo=UTC) + timedelta(seconds=chance.randrange(200 * 86400))
    profile, state, center = "analyst", "none", ""
    meter, said, owed = NO_METER, dict[tuple[str, str], Fraction](), defaultdict[tuple[str, str], Fraction](Fraction)
    for _ in range(chance.randrange(20, 50)):
        step = timedelta(seconds=chance.choice((1, 59, 3600, 86_399, chance.randrange(1, 9 * 86400))))
        _owe(owed, profile, state, now, now + step)
        now += step
        what = chance.choice(("start", "stop", "move", "replace", "leave", "center", "look"))
        if what == "center":
            center = chance.choice(CENTERS)
        elif what == "move":
            profile = "engineer" if profile == "analyst" else "analyst"
        elif what != "look":
            state = {"start": "runs", "stop": "rests", "replace": "runs", "leave": "gone"}[what]
        meter = _metered(meter, profile, state, center, now)
        lines = lines_until(meter, now)
        sums = defaultdict[tuple[str, str], Fraction](Fraction)
        for line in lines:
            kind = "machine" if line.what.kind is MeterKind.NOTEBOOK else "disk"
            sums[line.month, kind] += cost_of(line, CATALOG) or 0
        said |= sums
    return said, dict(owed)


def _metered(meter: Meter, profile: str, state: str, center: str, now: datetime) -> Meter:
    things = {"runs": [(machine(profile), 1)], "rests": [disk(profile)], "gone": [disk(profile)]}.get(state, [])
    bare = [(replace(what, price="", cost_center=""), quantity) for what, quantity in things]
    known = meter.open

    def dressed(what: What) -> What:
        kind = MeterKind.LEAVER if state == "gone" and what.kind is MeterKind.DISK else what.kind
        return replace(what, kind=kind, cost_center=center, price=price_of(what, CATALOG))

    return changed(switched(meter, "notebook", bare, now), dressed, now, known)


def _owe(owed, profile: str, state: str, begin: datetime, end: datetime) -> None:
    """The oracle's own arithmetic: no code of the meter."""
    while begin < end:
        days = calendar.monthrange(begin.year, begin.month)[1]
        first = begin.replace(day=1, hour=0, minute=0, second=0)
        until = min(end, first + timedelta(days=days))
        seconds = (until - begin).days * 86400 + (until - begin).seconds
        month = f"{begin.year}-{begin.month:02}"
        if state == "runs":
            owed[month, "machine"] += Fraction(seconds, 3600) * Fraction(MACHINES[profile][1])
        elif state in {"rests", "gone"}:
            name, size = DISKS[profile]
            owed[month, "disk"] += Fraction(seconds, days * 86400) * size * Fraction(str(PRICES.disk_gb_month[name]))
        begin = until


@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_person_months_differ_by_no_cent(part):
    """Moves, stops, replacements, leaves at arbitrary seconds, over month ends, a leap year's February and summer time."""
    months = 0
    for seed in range(part * 1200, (part + 1) * 1200):
        said, owed = lived(seed)
        assert said == {key: amount for key, amount in owed.items() if amount}, seed
        months += len({month for month, _ in said})
    assert months >= 2_500
