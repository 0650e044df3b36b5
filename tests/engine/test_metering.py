"""The meter against the embedded cloud's own journal: what it was asked for, and when, is what was metered, to the second."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from kit.inprocess import make_bench
from kit.life import ANA, Life, settings_with
from msgspec.structs import replace

from shared.domain.record.record import Power
from shared.domain.things.catalog import Prices
from shared.domain.things.meter import Line, MeterKind, bounds_of, lines_until
from shared.domain.things.money import cost_of, rounded
from shared.domain.things.power import PowerCause, PowerReason, month_of
from shared.engine.reconcile.changing import want_power
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.costs import month, past_month
from shared.engine.views.months import compare, thirteen

PRICES = Prices(disk_gb_month={"PD_SSD": 0.187, "PD_BALANCED": 0.11}, snapshot_gb_month=0.055)
BEGINS, ENDS = ("CreateInstance", "StartInstance"), ("StopInstance", "DeleteInstance")


def lived(**profiles) -> Life:
    settings = settings_with(profiles)
    settings = replace(settings, catalog=replace(settings.catalog, prices=PRICES))
    return Life(make_bench(settings=settings), ANA)


def asks(person: Life, power: Power) -> None:
    want_power(
        person.key,
        power,
        PowerReason(cause=PowerCause.STOPPED_BY_PERSON if power is Power.STOPPED else PowerCause.STARTED_BY_PERSON),
        person.bench.deps,
    )
    reconcile(person.key, person.bench.deps)


def lines(person: Life) -> list[Line]:
    return list(lines_until(person.record.status.meter, person.bench.now))


def seconds(person: Life, kind: MeterKind) -> int:
    return sum(line.seconds for line in lines(person) if line.what.kind is kind)


def journal_seconds(person: Life) -> int:
    """How long machines were asked to run: from each create or start to the stop or deletion that follows, of each instance."""
    since: dict[str, datetime] = {}
    total = timedelta(0)
    for call in person.bench.cloud.world.journal.listing(mutating_only=True):
        if call["service"] != "notebooks" or call["status"] != 200:
            continue
        at, name = datetime.fromisoformat(call["time"]), call["resource"].rpartition("/")[2]
        if call["method"] in BEGINS:
            since.setdefault(name, at)
        elif call["method"] in ENDS and name in since:
            total += at - since.pop(name)
    return int(sum((person.bench.now - at for at in since.values()), start=total).total_seconds())


def test_each_second_that_the_journal_has_is_metered_and_no_other():
    person = lived(engineer={"disruption": "now"})
    person.join(profile="analyst")
    person.minutes(41)
    asks(person, Power.STOPPED)
    person.minutes(33)
    asks(person, Power.RUNNING)
    person.minutes(15)
    person.move(profile="engineer", minutes=50)
    asks(person, Power.STOPPED)
    person.minutes(7)
    asks(person, Power.RUNNING)
    person.minutes(10)
    person.leave(minutes=20)
    assert seconds(person, MeterKind.NOTEBOOK) == journal_seconds(person) > 2 * 3600
    assert {line.what.kind for line in lines(person)} >= {MeterKind.NOTEBOOK, MeterKind.DISK, MeterKind.LEAVER}
    person.bench.advance(days=31)
    person.minutes(15)
    assert not person.mine()
    assert [line for line in person.record.status.meter.open if line.group == "notebook"] == []


def test_a_move_prices_the_hours_of_each_machine_by_its_own_price():
    """The whole month was priced by the last profile: 16.33 where 5.25 is true."""
    person = lived(engineer={"disruption": "when-idle"})
    person.join(profile="analyst")
    person.bench.advance(hours=29)
    person.move(profile="engineer", minutes=3)
    found = lines(person)
    assert {line.what.machine for line in found if line.what.kind is MeterKind.NOTEBOOK} == {"e2-standard-4"}
    catalog = person.bench.deps.policy.catalog
    total = sum((cost_of(line, catalog) or Fraction(0) for line in found), Fraction(0))
    assert rounded(total) == rounded(Fraction(seconds(person, MeterKind.NOTEBOOK), 3600) * Fraction("0.18"))


def test_a_stopped_disk_costs_until_it_is_gone():
    person = lived()
    person.join(profile="engineer")
    asks(person, Power.STOPPED)
    person.minutes(5)
    start = person.bench.now
    person.bench.advance(days=3)
    sizes = {line.what.disk_gb for line in lines(person) if line.what.kind is MeterKind.DISK}
    assert sizes == {150, 500}
    rested = person.bench.now - start
    first, end = bounds_of(month_of(start))
    catalog = person.bench.deps.policy.catalog
    owed = Fraction(rested / (end - first)) * 500 * Fraction("0.187")
    ssd = [line for line in lines(person) if line.what.disk_type == "PD_SSD" and not line.what.machine]
    cost = sum((cost_of(line, catalog) or Fraction(0) for line in ssd), Fraction(0))
    assert 0 <= cost - owed < Fraction("0.02")  # the minutes before `start`


def test_a_steady_person_costs_no_write_and_goes_on_being_metered():
    person = lived()
    person.join(profile="analyst")
    kept = person.record
    person.bench.cloud.world.journal.clear()
    person.bench.advance(hours=30)
    reconcile(person.key, person.bench.deps)
    assert person.record == kept
    assert [call["method"] for call in person.bench.calls() if call["mutates"]] == []
    assert seconds(person, MeterKind.NOTEBOOK) == 30 * 3600 + 8 * 60


def test_a_changed_payer_or_price_begins_a_new_line():
    person = lived()
    person.join(profile="analyst", attributes={"cost_center": "CC-1", "department": "risk"})
    person.bench.advance(hours=2)
    person.move(attributes={"cost_center": "CC-2", "department": "treasury"})
    person.bench.advance(hours=1)
    found = {(line.what.cost_center, line.what.department): line.seconds for line in lines(person)}
    assert found == {("CC-1", "risk"): 2 * 3600 + 8 * 60, ("CC-2", "treasury"): 3600}


def test_a_dearer_price_holds_from_the_sweep_that_finds_it():
    person = lived()
    person.join(profile="analyst")
    person.bench.advance(hours=10)
    catalog = person.bench.deps.base_policy.catalog
    dear = replace(catalog.profiles["analyst"], hourly_cost=1.0)
    policy = replace(
        person.bench.deps.base_policy, catalog=replace(catalog, profiles={**catalog.profiles, "analyst": dear})
    )
    later = replace(person.bench.deps, base_policy=policy)
    sweep("drift", later)
    person.bench.advance(hours=1)
    found = {line.what.price: line.seconds for line in lines(person)}
    assert found == {"0.18": 10 * 3600 + 8 * 60, "1.0": 3600}


def test_the_month_before_is_stored_and_compared():
    person = lived()
    person.join(profile="analyst")
    deps = person.bench.deps
    person.bench.advance(days=(datetime(2026, 12, 1).day - 23) % 30)  # noqa: DTZ001 - a day's number
    sweep("drift", deps)
    fleet, catalog = deps.fleet.fleet(), deps.policy.catalog
    kept = deps.fleet.month("2026-11")
    now, before = month(fleet, catalog, None), past_month(kept, fleet, catalog)
    assert (before.name, now.name) == ("2026-11", "2026-12")
    first = datetime.fromisoformat("2026-12-01T00:00:00+00:00")
    assert before.total.notebook_s == (first - datetime.fromisoformat("2026-11-23T08:00:00+00:00")).total_seconds()
    assert before.by_person[0][0].email == ANA
    months = thirteen(now, deps.fleet.month_totals(), catalog)
    assert [each.month for each in months][:2] == ["2026-12", "2026-11"]
    assert months[1].sums.estimate == before.total.estimate
    assert (len(months), months[2].sums) == (13, None)
    assert compare(before, now).by_person[0].label == ANA


def test_hours_from_before_the_meter_are_marked_as_an_estimate():
    person = lived()
    person.join(profile="analyst")
    person.bench.advance(hours=5)
    from shared.domain.things.meter import NO_METER  # noqa: PLC0415

    stored = person.bench.deps.records.load(person.key)
    person.bench.deps.records.save(stored.record.with_status(meter=NO_METER), expected=stored)
    reconcile(person.key, person.bench.deps)
    person.bench.advance(hours=1)
    found = {line.estimated: line.seconds for line in lines(person)}
    assert found == {True: 5 * 3600 + 4 * 60, False: 3600}
    seen = person.bench.deps
    sweep("drift", seen)
    assert month(seen.fleet.fleet(), seen.policy.catalog, None).total.estimated


@pytest.mark.parametrize("call", ["StopInstance", "StartInstance"])
def test_a_refused_call_ends_and_begins_no_line(call):
    person = lived()
    person.join(profile="analyst")
    if call == "StartInstance":
        asks(person, Power.STOPPED)
        person.minutes(5)
    person.bench.fault(call=f"notebooks.{call}", error={"code": "PERMISSION_DENIED"}, times=0)
    asks(person, Power.RUNNING if call == "StartInstance" else Power.STOPPED)
    person.minutes(10)
    assert seconds(person, MeterKind.NOTEBOOK) == journal_seconds(person)
