"""How the fleet stands: every reason has its word, whoever needs a person is counted, points come once an hour."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW, person
from msgspec.structs import replace

from shared.domain.fleet.figures import FigureCount
from shared.domain.fleet.fleet import MAX_POINTS, FleetPoint, Standing, needs_person, standing, with_point
from shared.domain.record.record import Presence, row_of
from shared.domain.things.clusters import ClusterState, ClusterStatus, ClusterWish
from shared.domain.things.errors import Reason
from shared.domain.things.power import NOTEBOOK, Usage, month_of

ROW = row_of(person())
KEY = ROW.user_key


def row(reason=Reason.READY, **changes):
    return replace(ROW, reason=reason.value, **changes)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (Reason.READY, Standing.RUNNING),
        (Reason.UPDATE_PENDING, Standing.RUNNING),
        (Reason.DRIFTED, Standing.RUNNING),
        (Reason.STOPPED, Standing.RESTING),
        (Reason.IDLE, Standing.RESTING),
        (Reason.RETAINED, Standing.RESTING),
        (Reason.SAVED, Standing.RESTING),
        (Reason.ON_HOLD, Standing.RESTING),
        (Reason.REMOVED, Standing.GONE),
        (Reason.NOT_ENTITLED, Standing.GONE),
        (Reason.CREATING, Standing.MOVING),
        (Reason.STUCK, Standing.MOVING),
        (Reason.STOCKOUT, Standing.MOVING),
        (Reason.PENDING, Standing.MOVING),
    ],
)
def test_each_reason_has_its_word(reason, word):
    assert standing(row(reason)) is word


@pytest.mark.parametrize(
    ("changes", "blind", "why"),
    [
        ({}, False, None),
        ({"reason": Reason.STUCK}, False, "Stuck"),
        ({"reason": Reason.QUOTA_EXHAUSTED}, False, "QuotaExhausted"),
        ({"reason": Reason.STUCK, "on_hold": True}, True, "Stuck"),
        ({"on_hold": True}, False, None),  # a hold waits for nobody
        ({"on_hold": True}, True, "Blind"),
        ({}, True, "Blind"),
        ({"presence": Presence.ABSENT, "reason": Reason.RETAINED}, True, None),
        ({"reason": Reason.STOCKOUT}, False, None),  # mends itself
    ],
)
def test_who_needs_a_person_and_why(changes, blind, why):
    assert needs_person(row(**changes), frozenset({KEY} if blind else ())) == why


@given(st.lists(st.tuples(st.sampled_from(Reason), st.booleans()), max_size=30))
def test_the_counts_are_all_rows_but_the_gone(reasons):
    rows = [row(reason, on_hold=held) for reason, held in reasons]
    count = FigureCount(frozenset(), NOW)
    for each in rows:
        count.add(each)
    point = count.point()
    gone = sum(standing(r) is Standing.GONE for r in rows)
    assert point.running + point.resting + point.moving + gone == len(rows)
    assert point.attention == sum(needs_person(r, frozenset()) is not None for r in rows)
    assert point.at == NOW


def test_points_come_once_an_hour_and_the_oldest_go():
    points = ()
    for number in range(MAX_POINTS + 10):
        for minutes in (0, 10, 49):  # sweeps that come early add nothing
            at = NOW + timedelta(hours=number, minutes=minutes)
            points = with_point(points, FleetPoint(at=at, running=number, resting=0, moving=0, attention=0))
    assert len(points) == MAX_POINTS
    assert [p.running for p in points] == list(range(10, MAX_POINTS + 10))
    late = FleetPoint(at=points[-1].at + timedelta(minutes=50), running=0, resting=0, moving=0, attention=0)
    assert with_point(points, late)[-1] is late


def test_a_row_names_the_clusters_that_are_there_or_wanted_and_no_others():
    """What ended long ago keeps a count of its tries in the record, and is no cluster."""
    clusters = (
        ClusterStatus(template="ended", name="e", tries=3, diagnosis="quota"),
        ClusterStatus(template="going", name="g", asked_at=NOW, state=ClusterState.DELETING),
        ClusterStatus(template="wished", name="w"),
    )
    wishes = (ClusterWish(template="wished", since=NOW),)
    record = person(clusters=clusters)
    assert row_of(replace(record, spec=replace(record.spec, clusters=wishes))).clusters == {
        "going": "DELETING",
        "wished": "",
    }


def counted(*rows):
    count = FigureCount(frozenset(), NOW)
    for each in rows:
        count.add(each)
    today = count.figures().today
    assert today is not None
    return today


def test_today_counts_access_leavers_and_those_who_left_this_week():
    left = {"presence": Presence.ABSENT, "reason": Reason.RETAINED}
    found = counted(
        row(),
        row(Reason.STOPPED),
        row(**left, absent_since=NOW - timedelta(days=2)),
        row(**left, absent_since=NOW - timedelta(days=2), proved_at=NOW),
        row(**left, absent_since=NOW - timedelta(days=40), proved_at=NOW),
        row(Reason.REMOVED, presence=Presence.ABSENT, absent_since=NOW - timedelta(days=6)),
        row(Reason.NOT_ENTITLED, presence=Presence.ABSENT, absent_since=NOW, unknown_since=NOW),
    )
    assert (found.access, found.leavers, found.unproved) == (2, 3, 1)
    days = {(NOW - timedelta(days=ago)).date().isoformat(): count for ago, count in ((6, 1), (2, 2))}
    assert found.left == days


def test_a_zone_that_is_sold_out_says_since_when_and_for_how_many():
    waits = {"reason": Reason.STOCKOUT, "sold_out": ("z-b", "z-c")}
    found = counted(
        row(**waits, sold_out_since=NOW - timedelta(hours=1)),
        row(**waits, sold_out_since=NOW - timedelta(hours=3)),
        row(reason=Reason.CREATING, sold_out=("z-b",)),
        row(),
    )
    assert [(each.zone, each.since, each.people) for each in found.sold_out] == [
        ("z-b", NOW - timedelta(hours=3), 3),
        ("z-c", NOW - timedelta(hours=3), 2),
    ]


@given(st.lists(st.tuples(st.sampled_from(["analyst", "engineer", ""]), st.integers(0, 10**6)), max_size=20))
def test_what_ran_is_the_sum_of_all_rows(ran):
    rows = [row(profile=name or None, usage={NOTEBOOK: Usage(month=month_of(NOW), ran_s=s)}) for name, s in ran]
    found = counted(*rows)
    for name in ("analyst", "engineer", ""):
        assert sum(u.seconds for u in found.spent if u.what.profile == name) == sum(
            s for each, s in ran if each == name
        )
