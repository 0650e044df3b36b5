"""Once a group has used up its month, nothing new is made or started for its people; what runs goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from kit.inprocess import Bench, make_bench
from kit.life import Life, settings_with
from kit.life import limited as with_limits
from kit.oracle import instances
from kit.policies import in_force
from msgspec.structs import replace

from shared.cloud.storage.guard import StorageSeats
from shared.domain.fleet.spent import Spending
from shared.domain.people.events import Joined, Left
from shared.domain.record.record import Power, row_of
from shared.domain.things.errors import AccessDeniedError, Reason, RefusedError
from shared.domain.things.identity import parse_email
from shared.domain.things.limits import GroupLimits
from shared.engine.news.requests import ask_power, keep_on, want_cluster
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.costs import month
from shared.engine.views.limits import limits_used
from shared.settings import Settings
from shared.wiring import wire

ANALYSTS = "data-analysts@example.com"
PRICE = 0.18  # an hour of an analyst's machine


def money(limit: float | None, **changes) -> Settings:
    limits = {} if limit is None else {ANALYSTS: GroupLimits(max_monthly_cost=limit)}
    return with_limits(limits, settings_with({"analyst": changes}) if changes else None)


def analyst(bench: Bench, name: str) -> Life:
    person = Life(bench, parse_email(f"{name}@example.com"))
    person.tell(Joined, groups=(ANALYSTS,))
    return person


def hours(bench: Bench, count: int) -> None:
    """So many hours of work: people at the keyboard, and the sweeps that come every hour."""
    for _ in range(count):
        bench.advance(hours=1)
        sweep("drift", bench.deps)
    sweep("due", bench.deps)


def spent(bench: Bench) -> Fraction:
    found = bench.deps.seats.spending(ANALYSTS)
    assert found is not None
    return found.spent


@pytest.fixture
def used_up() -> tuple[Bench, Life]:
    """A month of one euro, of which ten hours have used 1.80."""
    bench = make_bench(settings=money(1.0))
    first = analyst(bench, "first")
    first.minutes(8)
    hours(bench, 10)
    assert spent(bench) > 1
    return bench, first


def test_what_runs_goes_on_and_may_be_extended(used_up):
    bench, first = used_up
    assert first.only().state == "ACTIVE"
    assert keep_on(first.key, bench.now.replace(hour=20), bench.deps, by="test") is not None
    hours(bench, 2)
    assert first.only().state == "ACTIVE"


def test_nothing_new_is_made_until_the_next_month(used_up):
    bench, _ = used_up
    late = analyst(bench, "late")
    late.minutes(40)
    row = row_of(late.record)
    assert row.reason == Reason.LIMIT_REACHED
    assert row.summary == (
        f"The monthly budget of {ANALYSTS} is used up. Your notebook is created next month, or when the budget is raised."
    )
    assert not late.mine()
    bench.cloud.world.clock.advance(datetime(2026, 12, 1, tzinfo=UTC) - bench.now)
    sweep("drift", bench.deps)
    late.minutes(40)
    assert late.only().state == "ACTIVE"
    assert late.record.status.guard.seat_wait is None


def test_a_raised_limit_lets_them_in(used_up):
    bench, _ = used_up
    late = analyst(bench, "late")
    bench.deps = in_force(replace(wire(money(100.0), log=bench.log, clients=bench.clients), clock=bench.deps.clock))
    sweep("drift", bench.deps)
    late.minutes(40)
    assert late.only().state == "ACTIVE"


def test_a_stopped_notebook_and_spark_are_not_started(used_up):
    bench, first = used_up
    with pytest.raises(RefusedError, match="monthly limits are used up") as refused:
        want_cluster(first.key, "single-node", bench.deps, by="test")
    assert refused.value.user_message == (
        f"The monthly budget of {ANALYSTS} is used up. You can start again next month, or when it is raised."
    )
    ask_power(first.key, Power.STOPPED, bench.deps, by="test")
    first.minutes(5)
    assert first.only().state == "STOPPED"
    with pytest.raises(RefusedError):
        ask_power(first.key, Power.RUNNING, bench.deps, by="test")
    first.minutes(5)
    assert first.only().state == "STOPPED"


def test_a_change_of_a_running_notebook_brings_it_back(used_up):
    """Benchkeeper's own restarts are no new starts: nobody at work is interrupted for good."""
    bench, first = used_up
    changed = money(1.0, machine_type="e2-standard-8", disruption="now")
    bench.deps = in_force(replace(wire(changed, log=bench.log, clients=bench.clients), clock=bench.deps.clock))
    sweep("drift", bench.deps)
    first.minutes(40)
    states = [i for i in first.mine().values() if i.state == "ACTIVE"]
    assert [i.body["gceSetup"]["machineType"].rpartition("/")[2] for i in states] == ["e2-standard-8"]


def test_a_leavers_month_stays_part_of_the_groups(used_up):
    bench, first = used_up
    before = spent(bench)
    first.tell(Left)
    first.minutes(5)
    hours(bench, 1)
    assert spent(bench) >= before
    late = analyst(bench, "late")
    late.minutes(5)
    assert not late.mine()


def test_the_sum_is_that_of_the_page_and_each_level_is_said_once():
    bench = make_bench(settings=money(2.0))
    for name in ("a", "b"):
        analyst(bench, name).minutes(8)
    for _ in range(8):
        hours(bench, 1)
        fleet, catalog = bench.deps.fleet.fleet(), bench.deps.policy.catalog
        assert fleet is not None
        (use,) = limits_used(fleet.rows, catalog, fleet.taken_at)
        assert use.spending is not None
        assert spent(bench) == use.spending.spent == month(fleet, catalog, None).total.estimate
        assert use.overshoot == 2 * Fraction(str(PRICE)) / 6
    said = [line[1] for line in bench.log.lines if line[1].startswith("Budget was")]
    assert said == ["Budget was nearly used up", "Budget was used up"]


class UnreadableSpending(StorageSeats):
    """Sums that nobody may read."""

    def spending(self, group: str) -> Spending | None:
        raise AccessDeniedError(user_message="A permission is missing.", detail=f"403 for {group}")


def test_a_sum_that_cannot_be_read_stops_nobody(used_up):
    bench, _ = used_up
    bench.deps = replace(bench.deps, seats=UnreadableSpending(bench.clients, clock=bench.deps.clock))
    late = analyst(bench, "late")
    late.minutes(8)
    assert late.only().state == "ACTIVE"


def test_others_are_not_held_up(used_up):
    bench, _ = used_up
    other = Life(bench, parse_email("other@example.com"))
    other.tell(Joined, groups=("data-engineers@example.com",))
    other.minutes(8)
    assert other.only().state == "ACTIVE"


def test_without_a_limit_there_is_no_call_about_money():
    bench = make_bench(settings=money(None))
    analyst(bench, "a").minutes(8)
    hours(bench, 1)
    assert len(instances(bench.cloud)) == 1
    assert not [call for call in bench.calls() if "limits" in str(call)]
