"""A leaver of whom nobody knows stands under what needs a person, until acknowledged or 30 days old; the record stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import make_bench

from shared.domain.fleet.fleet import needs_person
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Joined, Left, Moved, Renamed
from shared.domain.record.record import Presence
from shared.domain.things.errors import Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.news.dead_letters import acknowledge
from shared.engine.news.deliver import deliver
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.fleet import in_need, nearest_known

ANA, SLIP = parse_email("ana.silva@example.com"), parse_email("ana.slva@example.com")
KEY, SLIP_KEY = user_key_for(ANA), user_key_for(SLIP)
WHY = Reason.UNKNOWN_LEAVER.value


@pytest.fixture
def bench():
    made = make_bench()
    said(made, Joined, "1", ANA)
    made.advance(minutes=5)
    sweep("due", made.deps)
    return made


def said(bench, kind, number, user, **more):
    event = kind(event_id=f"e{number}", user=user, occurred_at=bench.now, effective_at=bench.now, **more)
    deliver(event, bench.deps)
    bench.advance(minutes=2)


def needs(bench):
    sweep("drift", bench.deps)
    return {need.row.user_key: need.why for need in in_need(bench.deps.fleet.fleet())}


@pytest.mark.parametrize(
    ("kind", "more"),
    [(Left, {}), (AccountChanged, {"state": AccountState.SUSPENDED, "holds": True})],
    ids=["left", "suspended"],
)
def test_it_is_shown_with_the_nearest_known_address_and_nobody_is_cut(bench, kind, more):
    said(bench, kind, "2", SLIP, **more)
    assert needs(bench) == {SLIP_KEY: WHY}
    fleet = bench.deps.fleet.fleet()
    (near,) = nearest_known(fleet, fleet.rows).values()
    assert [row.email for row in near] == [ANA]
    assert bench.deps.records.load(SLIP_KEY).record.spec.presence is Presence.ABSENT
    assert bench.deps.records.load(KEY).record.spec.presence is Presence.PRESENT


def test_a_leaver_who_was_known_is_none(bench):
    said(bench, Left, "2", ANA)
    assert needs(bench) == {}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (Joined, {}),
        (AccountChanged, {"state": AccountState.SUSPENDED, "holds": False}),
        (Moved, {"groups": ()}),
        (Renamed, {"new_user": parse_email("other@example.com")}),
    ],
)
def test_once_anything_else_is_said_it_is_an_ordinary_record(bench, kind, more):
    said(bench, Left, "2", SLIP)
    said(bench, kind, "3", SLIP, **more)
    assert WHY not in needs(bench).values()


def test_who_only_left_a_group_is_none(bench):
    said(bench, GroupChanged, "2", SLIP, group="data-analysts@example.com", member=False)
    assert needs(bench) == {}


def test_it_is_gone_once_acknowledged_and_after_thirty_days_and_the_tombstone_stays(bench):
    said(bench, Left, "2", SLIP)
    row = next(row for row in bench.deps.records.rows() if row.user_key == SLIP_KEY)
    assert needs_person(row, frozenset(), row.unknown_since + timedelta(days=30) - timedelta(seconds=1)) == WHY
    assert needs_person(row, frozenset(), row.unknown_since + timedelta(days=30)) is None
    assert acknowledge(SLIP_KEY, bench.deps, by="a test").changed
    assert not acknowledge(SLIP_KEY, bench.deps, by="a test").changed
    assert not acknowledge(KEY, bench.deps, by="a test").changed
    assert acknowledge(user_key_for(parse_email("nobody@example.com")), bench.deps, by="a test") is None
    assert needs(bench) == {}
    record = bench.deps.records.load(SLIP_KEY).record
    assert (record.spec.presence, record.status.story[-1].because) == (Presence.ABSENT, "a test")


def test_a_duplicate_of_the_leave_brings_nothing_back(bench):
    said(bench, Left, "2", SLIP)
    acknowledge(SLIP_KEY, bench.deps, by="a test")
    said(bench, Left, "3", SLIP)
    assert needs(bench) == {}
