"""The rosters: a lost joiner or leaver is found by the next one, and a wrong roster cuts nobody."""

from __future__ import annotations

import pytest
from kit.rosters import ANALYSTS, Roster, address
from msgspec.structs import replace

from shared.domain.fleet.roster import Allowed, RosterKind
from shared.domain.people.events import AccountChanged, AccountState, GroupChanged, Moved, Renamed
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.sweeps.sweeps import sweep

FIVE = ("ana", "ben", "cleo", "dan", "eve")
SEARCH = "memberships.searchTransitiveMemberships"
DENIED = {"code": "PERMISSION_DENIED"}
CHECK = "memberships.checkTransitiveMembership"


@pytest.fixture(params=["searched", "walked"])
def roster(request) -> Roster:
    """Five settled people whom the roster has listed before: by Google's search, and in an edition without it."""
    made = Roster.build()
    made.add(*FIVE)
    made.joins(*FIVE)
    if request.param == "walked":
        for method in (SEARCH, CHECK):
            made.bench.fault(call=f"cloudidentity.{method}", error=DENIED, times=0)
    made.read()
    assert made.report().is_first
    return made


# --- lost news


def test_a_baseline_of_settled_people_states_nothing_and_writes_no_record(roster):
    assert (roster.report().people, roster.report().found, roster.report().refusal) == (5, {}, "")
    before = len(roster.bench.calls())
    roster.read()
    methods = [call["method"] for call in roster.bench.calls()[before:]]
    assert not [call for call in methods if call.startswith("notebooks") or "records" in call]


def test_the_first_roster_of_settled_people_reads_no_record():
    made = Roster.build()
    made.add(*FIVE)
    made.joins(*FIVE)
    before = len(made.bench.calls())
    made.read()
    assert made.report().is_first
    reads = [call["resource"] for call in made.bench.calls()[before:] if call["method"] == "objects.get"]
    assert not [name for name in reads if "/records/" in name]


def test_a_lost_joiner_is_found(roster):
    roster.add("fay")
    roster.read()
    assert roster.has_access("fay")
    assert roster.report().found == {"stated": 1}
    assert [row.stated for row in roster.report().rows] == [(f"+{ANALYSTS}",)]


def test_a_lost_leaver_is_found_and_stays_found(roster):
    roster.remove("ana")
    roster.read()
    assert not roster.has_access("ana")
    assert roster.with_access() == set(FIVE) - {"ana"}
    roster.read()
    assert roster.report().found == {}


def test_a_lost_mover_changes_the_profile(roster):
    other = next(a.group for a in roster.bench.deps.policy.catalog.assignments if a.group != ANALYSTS)
    roster.remove("ana")
    roster.add("ana", group=other)
    roster.read()
    record = roster.bench.deps.records.load(user_key_for(parse_email(address("ana")))).record
    assert record.spec.entitled_by == other


def test_who_left_and_is_listed_again_comes_back(roster):
    roster.remove("ana")
    roster.read()
    roster.add("ana")
    roster.read()
    assert roster.has_access("ana")


def test_the_first_roster_cuts_nobody():
    made = Roster.build()
    made.add("ben", "cleo")
    made.joins("ana", "ben", "cleo")  # nobody told that Ana left
    made.read()
    assert made.has_access("ana")
    made.read()
    assert made.has_access("ana")  # the roster never listed her: her absence says nothing


def test_members_of_nested_groups_count_once_through_a_cycle_until_their_time_is_over(roster):
    roster.group("team@example.com")
    roster.add("team@example.com")
    roster.add(ANALYSTS, group="team@example.com")
    roster.add("gil", group="team@example.com", until=roster.bench.now.replace(year=2027))
    roster.read()
    assert roster.has_access("gil")
    roster.bench.advance(days=400)
    roster.read()
    assert not roster.has_access("gil")
    assert roster.with_access() == set(FIVE)


def test_guests_and_service_accounts_are_counted_and_given_nothing(roster):
    roster.add("guest@elsewhere.example", "nb-x@benchkeeper-other.iam.gserviceaccount.com")
    roster.read()
    assert (roster.report().others, roster.report().people, roster.report().found) == (2, 5, {})


@pytest.mark.parametrize("person", ["zoë.o'neil@example.com", "ñandú@sub.example.co", "łukasz@münchen.example"])
def test_names_of_all_kinds_come_and_go(roster, person):
    roster.add(person)
    roster.read()
    assert roster.has_access(person)
    roster.remove(person)
    roster.read()
    assert not roster.has_access(person)


def test_of_many_all_is_stated_first_and_the_tick_makes_the_passes():
    made = Roster.build()
    people = [f"p{number:02}" for number in range(60)]
    made.add(*people)
    made.read()
    assert made.report().found == {"stated": 60}
    assert not [call for call in made.bench.calls() if call["method"] == "CreateInstance"]
    made.bench.advance(minutes=1)
    sweep("due", made.bench.deps)
    created = [call for call in made.bench.calls() if call["method"] == "CreateInstance"]
    assert len(created) == 60


# --- a wrong roster


def test_a_page_that_fails_refuses_the_whole(roster):
    roster.remove("ana")
    for method in (SEARCH, "memberships.list"):
        roster.bench.fault(call=f"cloudidentity.{method}", error={"code": "UNAVAILABLE"}, times=0)
    roster.read()
    assert roster.report().refusal == "Unreadable"
    assert roster.has_access("ana")


def test_a_nested_group_that_may_not_be_seen_refuses_the_whole_and_names_the_group(roster):
    for method in (SEARCH, "memberships.list"):
        roster.bench.fault(call=f"cloudidentity.{method}", error=DENIED, times=0)
    roster.read()
    assert roster.report().refusal == "Unreadable"
    assert "Groups Reader" in roster.report().faults[0]


def test_an_empty_roster_is_refused(roster):
    roster.remove(*FIVE)
    roster.read()
    assert (roster.report().refusal, roster.with_access()) == ("Empty", set(FIVE))


def test_one_that_shrank_is_refused_until_an_operator_allows_its_size():
    made = Roster.build()
    people = [f"p{number:02}" for number in range(20)]
    made.add(*people)
    made.joins(*people)
    made.read()
    made.remove(*people[:3])
    made.read()
    assert (made.report().refusal, made.report().smallest) == ("Shrunk", 18)
    assert made.with_access() == set(people)
    allowed = Allowed(people=17, by="mia", at=made.bench.now)
    made.bench.deps.rosters.allow(RosterKind.GROUPS, allowed)
    made.read()
    assert made.with_access() == set(people[3:])
    made.read()  # the week's highest still counts, and the word of the operator holds for a day
    assert made.report().refusal == ""
    made.read(hours=30)
    assert made.report().refusal == "Shrunk"
    made.read(hours=24 * 8)
    assert made.report().refusal == ""


def test_several_small_steps_do_not_pass_where_a_large_one_would_not():
    made = Roster.build()
    people = [f"p{number:02}" for number in range(20)]
    made.add(*people)
    made.joins(*people)
    made.read()
    refused = []
    for person in people[:6]:
        made.remove(person)
        made.read()
        refused.append(made.report().refusal)
    assert refused == ["", "", *["Shrunk"] * 4]
    assert len(made.with_access()) == 18


def test_the_guard_holds_back_whoever_is_too_many_in_an_hour():
    made = Roster.build()
    people = [f"p{number:03}" for number in range(60)]
    made.add(*people)
    made.joins(*people)
    made.read()
    base = made.bench.deps.base_policy
    tight = replace(made.bench.deps, base_policy=replace(base, guard=replace(base.guard, per_hour=2, share=0.01)))
    made.remove(*people[:5])
    made.bench.advance(hours=1)
    sweep("roster", tight)
    report = made.report()
    assert (report.refusal, report.found) == ("", {"stated": 5})
    assert len(made.with_access()) == 60 - 2
    waiting = [row.user_key for row in made.bench.deps.records.rows() if "CutWaits" in row.notices]
    assert len(waiting) == 3


def test_one_that_is_still_there_at_a_second_look_is_not_cut(roster):
    """The list left Ana out; the look at her says that she is a member."""
    shown = roster.bench.deps.roster_sources[0].read

    def without_ana(groups, now):
        found = shown(groups, now)
        left = {email: held for email, held in found.people.items() if email != address("ana")}
        return replace(found, people=left)

    class Short(type(roster.bench.deps.roster_sources[0].read.__self__)):
        def __init__(self, real):
            self._real = real

        def read(self, groups, now):
            return without_ana(groups, now)

        def is_absent(self, email, group, reading):
            return self._real.is_absent(email, group, reading)

    short = replace(roster.bench.deps, roster_sources=(Short(roster.bench.deps.roster_sources[0]),))
    roster.bench.advance(hours=1)
    allowed = Allowed(people=4, by="mia", at=roster.bench.now)
    roster.bench.deps.rosters.allow(RosterKind.GROUPS, allowed)
    sweep("roster", short)
    assert (roster.report().found, roster.has_access("ana")) == ({"still there": 1}, True)
    roster.read()
    assert roster.report().found == {}


def test_news_during_the_read_is_newer_than_the_roster(roster):
    """Ana is removed, the roster is read, and she joins again while it is compared: the joiner stands."""
    roster.remove("ana")
    source = roster.bench.deps.roster_sources[0].read.__self__  # the adapter, not its stand-in

    class Slow(type(source)):
        def __init__(self):
            pass

        def read(self, groups, now):
            found = source.read(groups, now)
            roster.bench.advance(minutes=1)
            roster.joins("ana")
            return found

        def is_absent(self, email, group, reading):
            return source.is_absent(email, group, reading)

    roster.bench.advance(hours=1)
    roster.bench.deps.rosters.allow(RosterKind.GROUPS, Allowed(people=4, by="mia", at=roster.bench.now))
    sweep("roster", replace(roster.bench.deps, roster_sources=(Slow(),)))
    assert roster.has_access("ana")


# --- beside other news


def test_a_membership_gives_nothing_to_who_left_or_is_suspended(roster):
    roster.leaves("ana")
    roster.says(AccountChanged, "ben", state=AccountState.SUSPENDED, holds=True, source="directory")
    roster.read()
    assert roster.with_access() == {"cleo", "dan", "eve"}


def test_an_exception_by_hand_is_not_touched(roster):
    roster.says(Moved, "ana", profile="analyst", profile_said=True, source="operator")
    roster.remove("ana")
    roster.read()
    assert roster.has_access("ana")


def test_a_person_listed_under_the_former_address_is_no_leaver(roster):
    roster.says(Renamed, "ana", new_user=parse_email("ana.silva@example.com"), source="directory")
    roster.read()
    assert roster.report().found == {}
    roster.remove("ana")
    roster.add("ana.silva")
    roster.read()
    assert roster.report().found == {}
    assert roster.has_access("ana.silva")


def test_a_crash_before_each_call_leaves_nobody_out_and_cuts_nobody_else(roster):
    roster.remove("ana")
    roster.add("fay")
    roster.bench.advance(hours=1)

    class Crash(BaseException):
        pass

    for calls in range(200):
        left = [2 * calls]

        def around(left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        roster.bench.adapter.around = around
        try:
            sweep("roster", roster.bench.deps)
        except (Crash, BenchkeeperError):
            continue
        finally:
            roster.bench.adapter.around = lambda: None
        if left[0] >= 0:
            break
    sweep("due", roster.bench.deps)  # a message that was folded before a crash is the tick's
    assert roster.with_access() == {*FIVE, "fay"} - {"ana"}


def test_a_dry_run_changes_nothing(roster):
    roster.remove("ana")
    roster.add("fay")
    summary = roster.read(dry_run=True)
    assert summary.found == {"groups: would be stated": 2}
    assert roster.with_access() == set(FIVE)
    assert roster.report().found == {}


def test_without_a_roster_in_the_settings_the_sweep_makes_no_call():
    made = Roster.build(groups=False)
    before = len(made.bench.calls())
    made.read()
    assert made.bench.calls()[before:] == []


def test_a_group_that_hr_listed_follows_the_directory_once_the_roster_knows_the_person(roster):
    roster.says(GroupChanged, "ana", group=ANALYSTS, member=True, source="operator")
    roster.remove("ana")
    roster.read()
    assert not roster.has_access("ana")
