"""Choosing, sorting, counting and adding up over a snapshot of the fleet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.life import settings_with
from msgspec.structs import replace

from shared.domain.fleet.figures import FigureCount, figures_of, nearest_rank
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes, Standing
from shared.domain.fleet.spent import MonthTotal
from shared.domain.people.entitlement import Cause
from shared.domain.record.record import Power, Presence, RecordRow
from shared.domain.things.catalog import Environment
from shared.domain.things.identity import UserKey, instance_id_for, parse_email, user_key_for
from shared.domain.things.meter import Line, Meter, MeterKind, What, bare, meter_text, switched
from shared.domain.things.power import NOTEBOOK, Usage
from shared.engine.views.costs import RowCosts, month
from shared.engine.views.fleet import (
    ANY_NEED,
    NO_VALUE,
    Choice,
    Column,
    Extra,
    View,
    chosen,
    in_need,
    key_of_address,
    offered,
    ordered,
    point_days,
    searched,
)
from shared.engine.views.months import sums_of
from shared.engine.views.words import access_words, exception_words

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def row(address: str, reason: str = "Ready", **more) -> RecordRow:
    email = parse_email(address)
    fields = {
        "user_key": user_key_for(email),
        "email": email,
        "presence": Presence.PRESENT,
        "power": Power.RUNNING,
        "power_settled": True,
        "profile": "analyst",
        "cost_center": "CC-1",
        "instance_id": instance_id_for(email),
        "zone": "europe-west1-b",
        "busy": False,
        "next_attempt_at": None,
        "settled": True,
        "entitling_digest": "",
        "reason": reason,
        **more,
    }
    return RecordRow(**fields)


def snapshot(*rows: RecordRow, **more) -> FleetSnapshot:
    return FleetSnapshot(taken_at=NOW, rows=rows, **more)


ANA = row("ana.silva@example.com", ready_since=NOW - timedelta(hours=2))
BEN = row("ben.okafor@example.com", "Stuck", profile="engineer", cost_center="")
JOSE = row("josé.gonçalves@example.com", "Stopped", cost_center="CC-2", power=Power.STOPPED)
EVA = row("eva@example.com", "Removed", presence=Presence.ABSENT, profile=None)
MUSTAFA = row("محمد@example.com", on_hold=True, cost_center="CC-2", clusters={"single-node": "RUNNING"})
ALL = snapshot(ANA, BEN, JOSE, EVA, MUSTAFA, blind=frozenset({ANA.user_key, EVA.user_key}))


def names(rows) -> list[str]:
    return [each.email.partition("@")[0] for each in rows]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ["ana.silva", "ben.okafor", "josé.gonçalves", "eva", "محمد"]),
        (Choice(text="SILVA"), ["ana.silva"]),
        (Choice(text="gonc\u0327alves"), ["josé.gonçalves"]),  # decomposed, as some keyboards send it
        (Choice(text=f"nb-{BEN.user_key}"), ["ben.okafor"]),
        (Choice(text=ANA.user_key), ["ana.silva"]),
        (Choice(standing=Standing.MOVING), ["ben.okafor"]),
        (Choice(standing=Standing.GONE), ["eva"]),
        (Choice(state="Stopped"), ["josé.gonçalves"]),
        (Choice(profile="engineer"), ["ben.okafor"]),
        (Choice(profile=NO_VALUE), ["eva"]),
        (Choice(cost_center="CC-2"), ["josé.gonçalves", "محمد"]),
        (Choice(cost_center=NO_VALUE), ["ben.okafor"]),
        (Choice(presence=Presence.ABSENT), ["eva"]),
        (Choice(needs=ANY_NEED), ["ana.silva", "ben.okafor"]),
        (Choice(needs="Stuck"), ["ben.okafor"]),
        (Choice(needs="Blind"), ["ana.silva"]),  # whoever left is not looked at
        (Choice(text="example.com", state="Ready", cost_center="CC-1"), ["ana.silva"]),
        (Choice(state="Nonsense"), []),
    ],
)
def test_filters(choice, expected):
    assert names(chosen(ALL, choice)) == expected


def test_what_has_no_value_stands_last_either_way():
    for descending in (False, True):
        assert names(ordered(ALL, ALL.rows, Column.SINCE, descending=descending))[0] == "ana.silva"
        assert names(ordered(ALL, ALL.rows, Column.COST_CENTER, descending=descending))[-1] == "ben.okafor"
        assert names(ordered(ALL, ALL.rows, Column.NEEDS, descending=descending))[-1] == "محمد"


def test_people_of_one_value_stand_by_address_either_way():
    same = snapshot(*(row(f"{name}@example.com") for name in ("c", "a", "b")))
    for descending in (False, True):
        assert names(ordered(same, same.rows, Column.PROFILE, descending=descending)) == ["a", "b", "c"]
    assert names(ordered(same, same.rows, Column.PERSON, descending=True)) == ["c", "b", "a"]


def test_hours_are_sorted_as_numbers():
    hours = {"a": 9, "b": 100, "c": 20}
    fleet = snapshot(
        *(row(f"{n}@example.com", usage={NOTEBOOK: Usage(month="2026-11", ran_s=h * 3600)}) for n, h in hours.items())
    )
    assert names(ordered(fleet, fleet.rows, Column.HOURS, descending=True)) == ["b", "c", "a"]


ROWS = st.builds(
    row,
    address=st.from_regex(r"[a-z]{1,6}@example\.com", fullmatch=True),
    reason=st.sampled_from(["Ready", "Stopped", "Stuck", "Creating", "Removed", "QuotaExhausted"]),
    profile=st.sampled_from(["analyst", "engineer", None]),
    cost_center=st.sampled_from(["", "CC-1", "CC-2"]),
    on_hold=st.booleans(),
    ready_since=st.sampled_from([None, NOW, NOW - timedelta(days=3)]),
    ready_took_s=st.one_of(st.none(), st.floats(1, 5000)),
    ready_at=st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))),
)


@given(st.lists(ROWS, max_size=30), st.sampled_from(Column), st.booleans())
def test_sorting_loses_nobody_and_counts_agree_with_filters(rows, column, descending):
    fleet = snapshot(*rows)
    assert sorted(map(id, ordered(fleet, rows, column, descending=descending))) == sorted(map(id, rows))
    view = figures_of(fleet).overview
    assert sum(view.standings.values()) == view.people == len(rows)
    for where, count in view.standings.items():
        assert count == len(chosen(fleet, Choice(standing=where)))
    for profile, counts in view.matrix.items():
        for where, count in counts.items():
            assert count == len(chosen(fleet, Choice(profile=profile or NO_VALUE, standing=where)))
    for _, state, count in view.states:
        assert count == len(chosen(fleet, Choice(state=state)))
    for need, count in view.needs.items():
        assert count == len(chosen(fleet, Choice(needs=need))) == len(in_need(fleet, need))
    assert sum(view.needs.values()) == len(chosen(fleet, Choice(needs=ANY_NEED)))


@given(st.lists(ROWS, max_size=20, unique_by=lambda row: row.user_key), st.data())
def test_whom_a_sweep_could_not_see_may_be_known_after_the_rows(rows, data):
    keys = st.sets(st.sampled_from([row.user_key for row in rows])) if rows else st.just(set())
    before, blind = frozenset(data.draw(keys)), frozenset(data.draw(keys))
    count = FigureCount(before, NOW)
    for each in rows:
        count.add(each)
    assert count.figures() == figures_of(replace(snapshot(*rows), blind=before))
    assert count.figures(blind) == figures_of(replace(snapshot(*rows), blind=blind))


def test_what_is_offered_is_what_occurs():
    found = offered(ALL)
    assert found.profiles == (NO_VALUE, "analyst", "engineer")
    assert found.cost_centers == (NO_VALUE, "CC-1", "CC-2")
    assert found.states == ("Ready", "Removed", "Stopped", "Stuck")
    assert found.needs == ("Blind", "Stuck")


def test_the_key_of_an_address_is_that_of_who_has_it_now():
    renamed = replace(ANA, email="ana.souza@example.com")
    fleet = snapshot(renamed)
    assert key_of_address(fleet, "ana.souza@example.com") == ANA.user_key
    assert key_of_address(fleet, "ana.silva@example.com") is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_the_nearest_rank_covers_its_share(values, share):
    found = nearest_rank(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    smaller = [value for value in values if value < found]
    assert len(smaller) < share * len(values) + 1e-9


def test_time_to_ready_by_day():
    day = timedelta(days=1)
    took = [(0, 60.0), (0, 120.0), (0, 600.0), (1, 90.0), (40, 1.0)]
    rows = [row(f"p{n}@example.com", ready_at=NOW - back * day, ready_took_s=s) for n, (back, s) in enumerate(took)]
    rows.append(row("still@example.com", "Creating", ready_took_s=5.0))
    rows.append(row("again@example.com", ready_since=NOW, ready_at=NOW - 60 * day, ready_took_s=5.0))  # started anew
    rows[0] = replace(rows[0], reason="Stopped", ready_since=None)  # stopped since: it was ready all the same
    found = figures_of(snapshot(*rows)).ready
    assert [(each.day.isoformat(), each.count, each.p50_s, each.p95_s) for each in found] == [
        ("2026-11-22", 1, 90.0, 90.0),
        ("2026-11-23", 3, 120.0, 600.0),
    ]


def test_the_last_count_of_each_day():
    points = [
        FleetPoint(at=NOW - timedelta(hours=hours), running=hours, resting=0, moving=0, attention=0)
        for hours in (30, 20, 12, 3, 0)
    ]
    # 09:30 on the 23rd: 30 h, 20 h and 12 h before it are the 22nd
    assert [(point.at.day, point.running) for point in point_days(points)] == [(23, 0), (22, 12)]


class TestCosts:
    """What this month cost."""

    CATALOG = settings_with(
        {
            "analyst": {"hourly_cost": 0.5},
            "engineer": {"hourly_cost": 2.0},
            "student": {"hourly_cost": None},
        }
    ).catalog
    CATALOG = replace(CATALOG, environments={"single-node": Environment(title="Small", hourly_cost=4.0)})

    def used(self, address: str, hours: float, *, spark: str = "", spark_hours: float = 0, **more) -> RecordRow:
        usage = {NOTEBOOK: Usage(month="2026-11", ran_s=int(hours * 3600))} if hours else {}
        if spark:
            usage[f"spark:{spark}"] = Usage(month="2026-11", ran_s=int(spark_hours * 3600))
        return row(address, usage=usage, **more)

    def test_hours_by_price_are_added_up_by_profile_and_cost_centre(self):
        fleet = snapshot(
            self.used("a@example.com", 10),
            self.used("b@example.com", 4, profile="engineer", spark="single-node", spark_hours=2),
            self.used("c@example.com", 6, cost_center=""),
            row("d@example.com"),
        )
        found = month(fleet, self.CATALOG, None)
        assert [(name, sums.people, sums.estimate) for name, sums in found.by_profile] == [
            ("engineer", 1, 16.0),
            ("analyst", 2, 8.0),
        ]
        assert {name: sums.estimate for name, sums in found.by_cost_center} == {"CC-1": 21.0, "": 3.0}
        assert [each.email for each, _ in found.by_person] == ["b@example.com", "a@example.com", "c@example.com"]
        assert (found.total.estimate, found.total.notebook_s, found.total.spark_s) == (24.0, 20 * 3600, 2 * 3600)
        assert found.billed_at is None
        assert found.total.billed is None

    def test_what_has_no_price_is_unknown_and_never_nothing(self):
        fleet = snapshot(
            self.used("a@example.com", 3, profile="student"),
            self.used("b@example.com", 1, spark="other-cluster", spark_hours=5),
            self.used("c@example.com", 7, profile="lost-from-the-configuration"),
        )
        found = month(fleet, self.CATALOG, None)
        by_person = {each.email: sums for each, sums in found.by_person}
        assert by_person["a@example.com"].estimate is None
        assert by_person["c@example.com"].estimate is None
        assert by_person["b@example.com"].estimate == 0.5
        assert found.total.unpriced_s == (3 + 5 + 7) * 3600

    def test_the_bill_stands_beside_the_estimate_and_only_in_its_month(self):
        stranger = UserKey("gone-0123456789ab")
        fleet = snapshot(self.used("a@example.com", 2), self.used("b@example.com", 0))
        a, b = (each.user_key for each in fleet.rows)
        notes = Notes(taken_at=NOW, costs={a: 7.5, b: 1.25, stranger: 3.0}, costs_month="2026-11", costs_at=NOW)
        found = month(fleet, self.CATALOG, notes)
        assert [(each.email, sums.billed, sums.estimate) for each, sums in found.by_person] == [
            ("a@example.com", 7.5, 1.0),
            ("b@example.com", 1.25, None),
        ]
        assert (found.total.billed, found.stray_bill, found.billed_at) == (8.75, 3.0, NOW)
        last = month(fleet, self.CATALOG, replace(notes, costs_month="2026-10"))
        assert (last.total.billed, last.stray_bill, last.billed_at) == (None, 0, None)

    def test_what_runs_is_counted_up_to_the_snapshot(self):
        since = NOW - timedelta(hours=3)
        fleet = snapshot(row("a@example.com", usage={NOTEBOOK: Usage(month="2026-11", ran_s=3600, since=since)}))
        assert month(fleet, self.CATALOG, None).total.notebook_s == 4 * 3600

    @given(st.lists(ROWS, max_size=20))
    def test_groups_and_people_add_up_to_all(self, rows):
        used = [
            replace(each, usage={NOTEBOOK: Usage(month="2026-11", ran_s=index * 600)})
            for index, each in enumerate(rows)
        ]
        found = month(snapshot(*used), self.CATALOG, None)
        for groups in (found.by_profile, found.by_cost_center, found.by_person):
            assert sum(sums.notebook_s for _, sums in groups) == found.total.notebook_s
            assert sum(sums.people for _, sums in groups) == found.total.people
            estimates = sum(sums.estimate or 0 for _, sums in groups)
            assert estimates == pytest.approx(found.total.estimate or 0)


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("ñandu", "Ñandú.O'Neil+test@sub.example.co"), ("NANDU", "ñandú"), ("ZOE", "zoë@example.com"), ("zoë", "zoe@example.com"),
        ("lodz", "Łódź"), ("soren", "søren"), ("strasse", "Straße"), ("αθηνα", "Αθήνα"), ("ελενης", "Ελένης"), ("алена", "Алёна"),
        ("thuy", "Thủy"), ("istanbul", "İstanbul"), ("محمد", "مُحَمَّد"), ("김", "김민수"),
    ],
)  # fmt: skip
def test_a_search_does_not_tell_marks_or_case_apart(typed, written):
    assert searched(typed) in searched(written)


class TestViews:
    """The views of the table of people."""

    EXTRA = Extra(
        last_used={
            ANA.user_key: NOW - timedelta(days=60, seconds=1),
            BEN.user_key: NOW - timedelta(days=60),
            EVA.user_key: NOW - timedelta(days=90),
        },
        cost=lambda row: {ANA.user_key: 2.5, BEN.user_key: 10.0}.get(row.user_key),
        retention=timedelta(days=90),
    )

    @pytest.mark.parametrize(
        ("view", "expected"),
        [
            (View.ACCESS, ["ana.silva", "ben.okafor", "josé.gonçalves", "محمد"]),
            (View.RUNNING, ["ana.silva", "محمد"]),
            (View.UNUSED, ["ana.silva"]),  # not BEN by a second, not EVA who left, not who was never seen
            (View.LEAVERS, []),
            (View.EXCEPTIONS, ["محمد"]),
        ],
    )
    def test_who_is_in_it(self, view, expected):
        assert names(chosen(ALL, Choice(view=view), self.EXTRA)) == expected

    def test_leavers_are_those_whose_access_ended(self):
        left = row("leo@example.com", "Retained", presence=Presence.ABSENT, absent_since=NOW - timedelta(days=3))
        assert names(chosen(snapshot(ANA, EVA, left), Choice(view=View.LEAVERS))) == ["leo"]

    @pytest.mark.parametrize(
        ("changes", "until"),
        [
            ({}, None),
            ({"access_until": NOW}, NOW),
            ({"presence": Presence.ABSENT, "absent_since": NOW}, NOW + timedelta(days=90)),
            ({"presence": Presence.ABSENT, "absent_since": NOW, "on_hold": True}, None),
            ({"presence": Presence.ABSENT, "absent_since": NOW, "reason": "Removed"}, None),
            ({"presence": Presence.ABSENT}, None),
        ],
    )
    def test_until_when(self, changes, until):
        assert self.EXTRA.until(row("a@example.com", **{"reason": "Retained", **changes})) == until

    @pytest.mark.parametrize("column", [Column.USED, Column.COST, Column.UNTIL])
    def test_unknown_values_come_last_either_way(self, column):
        rows = [*ALL.rows, row("z@example.com", access_until=NOW)]
        for descending in (False, True):
            found = ordered(ALL, rows, column, descending=descending, extra=self.EXTRA)
            known = [r.user_key in {**self.EXTRA.last_used} if column is Column.USED
                     else self.EXTRA.cost(r) is not None if column is Column.COST
                     else r.access_until is not None for r in found]  # fmt: skip
            assert known == sorted(known, reverse=True)

    def test_an_exception_says_why(self):
        asked = row("a@example.com", cause=Cause.REQUEST, profile="engineer")
        assert exception_words(asked) == "Profile engineer requested by name"
        both = row("a@example.com", cause=Cause.KEPT_IN, on_hold=True, hold_reason="case 4711")
        assert exception_words(both) == "End of access marked as a mistake; Data on hold: case 4711"
        assert exception_words(ANA) == ""

    def test_access_by_a_group_is_the_group(self):
        assert access_words(row("a@example.com", cause=Cause.GROUP, entitled_by="g@example.com")) == "g@example.com"
        assert access_words(row("a@example.com", cause=Cause.LEFT, entitled_by="g@example.com")) == "Left the company"


WHATS = st.builds(
    What,
    kind=st.sampled_from(MeterKind),
    profile=st.sampled_from(["analyst", "lost", ""]),
    disk_type=st.sampled_from(["", "PD_SSD", "PD_BALANCED"]),
    cost_center=st.sampled_from(["", "CC-1"]),
    price=st.sampled_from(["", "0.18", "1e-05", "93.5"]),
)
METERS = st.builds(
    lambda lines, opened: meter_text(
        switched(Meter(began_at=NOW, lines=tuple(lines)), "x", opened, NOW - timedelta(1))
    ),
    st.lists(
        st.builds(
            lambda month, what, s, q: Line(month=month, what=what, seconds=s, units=s * q),
            st.sampled_from(["2026-10", "2026-11"]),
            WHATS,
            st.integers(1, 2_600_000),
            st.integers(1, 500),
        ),
        max_size=6,
    ),
    st.lists(st.tuples(WHATS.map(bare), st.integers(1, 500)), max_size=2, unique=True),
)


@given(st.lists(st.tuples(METERS, st.integers(0, 7200)), max_size=12))
def test_today_and_costs_show_the_same_number(people):
    """By meter where there is one, else by the hours that an earlier version counted; what has no price is missing in both alike."""
    catalog = settings_with({}).catalog
    rows = [
        row(f"user{n}@example.com", meter=meter, usage={NOTEBOOK: Usage(month="2026-11", ran_s=s)} if s else {})
        for n, (meter, s) in enumerate(people)
    ]
    total = month(snapshot(*rows), catalog, None).total
    today = figures_of(snapshot(*rows)).today
    assert today is not None
    found = sums_of(MonthTotal(month="2026-11", people=0, lines=today.spent), catalog)
    assert (found.estimate or 0, found.unpriced_s, found.unpriced_storage_s) == (
        total.estimate or 0,
        total.unpriced_s,
        total.unpriced_storage_s,
    )
    assert found.storage == total.storage


@given(
    st.lists(st.tuples(METERS, st.integers(0, 7200), st.none() | st.sampled_from([0.0, 7.5])), max_size=8),
    st.booleans(),
)
def test_the_table_and_costs_show_the_same_of_each_user(people, is_billed):
    catalog = settings_with({}).catalog
    rows = [
        row(f"user{n}@example.com", meter=meter, usage={NOTEBOOK: Usage(month="2026-11", ran_s=s)} if s else {})
        for n, (meter, s, _) in enumerate(people)
    ]
    bill = {each.user_key: cost for each, (_, _, cost) in zip(rows, people, strict=True) if cost is not None}
    notes = Notes(taken_at=NOW, costs=bill, costs_month="2026-11", costs_at=NOW) if is_billed else None
    seen = snapshot(*rows)
    costs = RowCosts(catalog, notes, seen.taken_at)
    shown = {each.user_key: sums for each, sums in month(seen, catalog, notes).by_person}
    assert costs.is_billed is is_billed
    for each in rows:
        sums = shown.get(each.user_key)
        wanted = None if sums is None else sums.billed if is_billed else sums.estimate
        assert costs(each) == (None if wanted is None else pytest.approx(float(wanted)))
