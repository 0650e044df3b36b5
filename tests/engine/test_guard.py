"""No flood of false leavers stops everybody: each cut takes a slot, whoever finds none waits, and two people decide."""

from __future__ import annotations

import itertools
import json
import random
import secrets
import threading
from collections import Counter
from datetime import timedelta

import pytest
from kit import making
from kit.activity import visit
from kit.hub import ADMINS, BEN, MIA, Hub, hub_settings, make_hub
from kit.inprocess import Bench, OneAfterAnother, make_bench
from kit.life import Life, settings_with
from kit.official import storage_bucket
from kit.oracle import instances, template_names
from msgspec.structs import replace

from shared.domain.intent.batches import Batch, announced, batches_of, to_json
from shared.domain.intent.decision import About, Decision, Verdict
from shared.domain.intent.guard import steps_of
from shared.domain.intent.wanted import with_event, with_wanted
from shared.domain.people.events import AccountChanged, AccountState, Joined, LeaveCancelled, Left, Moved, Renamed
from shared.domain.plan.guard_settings import DAY, HOUR, GuardSettings
from shared.domain.record.cuts import CutClass, StepKind
from shared.domain.record.record import Presence, row_of
from shared.domain.record.status import Notice
from shared.domain.things.identity import UserKey, account_id_for, parse_email, user_key_for
from shared.engine.decisions.decisions import take_up_decisions
from shared.engine.decisions.policy_change import note_deployed
from shared.engine.decisions.policy_change import waiting as policy_waiting
from shared.engine.news.deliver import deliver
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import FleetSizes
from shared.engine.reconcile import guard
from shared.engine.reconcile.guard import Window, sizes_of
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.wiring import wire

MANY = 40
SMALL = GuardSettings(per_hour=5, share=1e-9)  # so that few people are many
CROWDS: list[tuple[tuple, str, list]] = []  # what they were made of, the world, what was logged
OTHER_ADMIN = parse_email("otto.admin@example.com")


def crowd(bench: Bench, count: int = MANY, *, minutes: int = 7, **more) -> list[Life]:
    """Engineers and analysts at work, whom the sweeps have counted. Each such world comes to be once, and is copied from then on."""
    # A sweep over so many: eight threads that ask a cloud of this process wait for one another, and cost a seventh on top.
    bench.deps = replace(bench.deps, workers=OneAfterAnother())
    people = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(count)]
    world = bench.cloud.world
    made_of = (bench.settings, world.save(), count, minutes, more)
    for known, saved, lines in CROWDS:
        if known == made_of:
            world.load(json.loads(saved))
            bench.log.lines += lines
            bench.deps.guard.sizes()  # the sweep that counted them has it in its memory
            for person in people:
                person.serial = 1
            return people
    before = len(bench.log.lines)
    for person in people:
        person.tell(Joined, profile="analyst", **more)
    ticks(bench, minutes)
    sweep("drift", bench.deps)
    CROWDS.append((made_of, json.dumps(world.save()), bench.log.lines[before:]))
    return people


def ticks(bench: Bench, minutes: int) -> None:
    for _ in range(minutes):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def running(bench: Bench) -> int:
    return sum(i.state == "ACTIVE" for i in instances(bench.cloud).values())


def absent(bench: Bench) -> set[UserKey]:
    return {row.user_key for row in bench.deps.records.rows() if row.presence is Presence.ABSENT}


def waiting(bench: Bench) -> set[UserKey]:
    return {person.user_key for person in bench.deps.guard.waiting()}


@pytest.fixture
def bench() -> Bench:
    return make_bench(settings=settings_with(guard=SMALL))


@pytest.fixture
def hub() -> Hub:
    made = make_hub(settings=hub_settings(guard=SMALL))
    for admin in (OTHER_ADMIN, BEN):
        made.bench.deps.groups.join(ADMINS, admin)
    return made


# --- slots


def test_a_flood_stops_as_many_as_there_is_room_for_and_the_rest_goes_on_working(bench):
    people = crowd(bench)
    assert running(bench) == MANY
    for person in people:
        person.tell(Left)
    assert len(absent(bench)) == SMALL.per_hour
    ticks(bench, 5)
    assert running(bench) == MANY - SMALL.per_hour
    assert waiting(bench) == {person.key for person in people} - absent(bench)
    for person in people:
        is_cut = person.key in absent(bench)
        assert (Notice.CUT_WAITS in person.record.status.notices) is not is_cut
        names = template_names(bench.cloud, bench.settings.bucket, person.key)
        assert bool(names) is not is_cut, "a template is gone although the cut waits"
    waits = [facts for severity, said, facts in bench.log.lines if said == "Held back a cut" and severity == "WARNING"]
    assert len(waits) == MANY - SMALL.per_hour
    assert {(each["cause"], each["source"], each["profile"]) for each in waits} == {("Employment", "", "analyst")}


def test_a_single_leaver_is_cut_at_once_and_waits_for_nobody(bench):
    people = crowd(bench, 3)
    people[0].tell(Left)
    assert people[0].record.spec.presence is Presence.ABSENT
    assert waiting(bench) == set()
    assert people[0].record.status.guard.waiting_listed == ""


def test_the_flood_of_one_source_holds_up_no_leaver_of_another(bench):
    people = crowd(bench)
    for person in people[:-1]:
        person.tell(Left, source="hr")
    last = people[-1]
    last.tell(AccountChanged, state=AccountState.DELETED, holds=True, source="directory")
    assert last.record.spec.presence is Presence.ABSENT


def test_of_people_who_share_a_profile_half_go_in_an_hour(bench):
    people = crowd(bench, 8)
    for person in people:
        person.tell(Left)
    assert len(absent(bench)) == 4
    five = make_bench(settings=settings_with(guard=SMALL))
    few = crowd(five, 5)
    for person in few:
        person.tell(Left)
    assert len(absent(five)) == 5, "five people are no crowd"


def test_in_a_day_three_times_as_many_go_as_in_an_hour():
    bench = make_bench(settings=settings_with(guard=replace(SMALL, patience=None)))
    people = crowd(bench, MANY)
    for person in people:
        person.tell(Left)
    gone = []
    for _ in range(20 * 6):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
        gone.append(len(absent(bench)))
    assert gone[-1] == SMALL.per_hour * SMALL.day_factor
    bench.advance(hours=5)
    ticks(bench, 30)
    assert len(absent(bench)) > SMALL.per_hour * SMALL.day_factor


def test_who_is_urgent_is_cut_in_the_middle_of_a_flood_and_only_so_many_are(bench):
    people = crowd(bench)
    for person in people[:20]:
        person.tell(Left, source="operator")
    before = absent(bench)
    assert len(before) == SMALL.per_hour
    for person in people[20:]:
        person.tell(Left, source="operator", urgent=True)
    assert {person.key for person in people[20:25]} == absent(bench) - before
    ticks(bench, 3)
    assert len(absent(bench)) == SMALL.per_hour + SMALL.urgent


def test_whoever_waits_in_a_flood_goes_when_another_source_says_so_too(bench):
    people = crowd(bench)
    for person in people[:20]:
        person.tell(Left, source="hr")
    waits = next(person for person in people[:20] if person.key in waiting(bench))
    waits.tell(AccountChanged, source="directory", state=AccountState.DELETED, holds=True)
    assert waits.key in absent(bench)
    assert waits.key not in waiting(bench)
    assert len(absent(bench)) == SMALL.per_hour + 1


def test_an_urgent_leave_that_was_dated_ahead_is_urgent_when_it_begins(bench):
    people = crowd(bench)
    late = people[30]
    begins = bench.now + timedelta(minutes=30)
    said = Left(
        event_id="late", user=late.email, occurred_at=bench.now, effective_at=begins, source="operator", urgent=True
    )
    deliver(said, bench.deps)
    bench.advance(minutes=29)
    for person in people[:20]:
        person.tell(Left, source="operator")
    assert late.key not in absent(bench)
    ticks(bench, 3)
    assert late.key in absent(bench)


def test_one_person_who_comes_and_goes_takes_one_slot(bench):
    people = crowd(bench)
    for _ in range(10):
        people[0].tell(Left)
        assert people[0].record.spec.presence is Presence.ABSENT
        bench.advance(minutes=1)
        people[0].tell(LeaveCancelled)
        bench.advance(minutes=1)
        assert people[0].record.spec.presence is Presence.PRESENT
    hourly = [slot for slot in bench.deps.guard.slots("") if slot.window == "fleet-hour"]
    assert [slot.holder for slot in hourly] == [people[0].key]


def test_who_has_nothing_to_lose_takes_no_slot(bench):
    crowd(bench)
    bench.fault(call="notebooks.CreateInstance", error={"code": "PERMISSION_DENIED"}, times=0)
    new = [Life(bench, parse_email(f"new{number}@example.com")) for number in range(10)]
    for person in new:
        person.tell(Joined, profile="engineer")
        person.tell(Left)
        assert person.record.spec.presence is Presence.ABSENT
    assert bench.deps.guard.slots("") == ()


def test_a_plan_that_is_only_looked_at_says_what_the_pass_then_does_and_takes_no_slot(bench):
    people = crowd(bench, 12)
    for person in people[:-1]:
        person.tell(Left)
    before = bench.deps.guard.slots("")
    for person in people:
        foreseen = preview(person.key, bench.deps)
        assert foreseen is not None
        assert bench.deps.guard.slots("") == before
        result = reconcile(person.key, bench.deps)
        assert result is not None
        assert foreseen.plan.actions == result.plan.actions


def test_a_crash_between_the_slot_and_the_cut_costs_no_second_slot(bench):
    people = crowd(bench)

    class CrashError(BaseException):
        pass

    for after in range(30):
        left = [after]

        def around(left=left):
            left[0] -= 1
            if left[0] == -1:
                raise CrashError

        bench.adapter.around = around
        try:
            people[0].tell(Left)
        except CrashError:
            bench.adapter.around = lambda: None
            sweep("due", bench.deps)
            bench.advance(minutes=2)
            sweep("due", bench.deps)
        bench.adapter.around = lambda: None
    assert people[0].record.spec.presence is Presence.ABSENT
    assert Counter(slot.window for slot in bench.deps.guard.slots("") if slot.holder == people[0].key) == Counter(
        {"fleet-hour": 1, "fleet-day": 1}
    )


def test_exactly_as_many_pass_as_there_is_room_for_however_many_ask_at_once():
    """Sixty-four who ask at the same moment, room for twenty, fifty times."""
    bench = make_bench()
    window = (Window(name="fleet-hour", room=20, length=HOUR), Window(name="fleet-day", room=60, length=DAY))
    for round_number in range(50):
        passed: list[bool] = []
        start = threading.Barrier(64)
        source = f"r{round_number}"

        def ask(number: int, passed=passed, start=start, source=source) -> None:
            start.wait()
            holder = user_key_for(parse_email(f"user{number}@example.com"))
            passed.append(guard._has_room(holder, source, window, bench.deps, bench.now, claims=True))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(passed) == 64
        assert sum(passed) == 20, f"round {round_number}"


@pytest.mark.parametrize("seed", range(8))
def test_in_no_hour_more_pass_than_there_is_room_for(seed):
    """People ask at odd times around the full hours, for two days: any sixty minutes are looked at, not only those of the clock."""
    chance, bench = random.Random(seed), make_bench()  # noqa: S311 - no secret
    windows = (Window(name="fleet-hour", room=4, length=HOUR), Window(name="fleet-day", room=12, length=DAY))
    passed: list = []
    for number in range(160):
        bench.advance(minutes=chance.choice([0, 0, 0, 1, 7, 20, 59, 61]))
        holder = user_key_for(parse_email(f"user{number}@example.com"))
        if guard._has_room(holder, "hr", windows, bench.deps, bench.now, claims=True):
            passed.append(bench.now)
    assert len(passed) > 12
    for moment in passed:
        assert sum(moment - HOUR < other <= moment for other in passed) <= 4
        assert sum(moment - DAY < other <= moment for other in passed) <= 12


def slots_there(bench: Bench) -> int:
    """Count the objects, without a call: a listing reads hundreds of slots, and the test asks two thousand times."""
    there = bench.cloud.storage.buckets.get(bench.settings.bucket).live
    return sum(name.startswith("guard/slots/hr/") for name in there)


@pytest.mark.parametrize("seed", range(4))
def test_in_a_large_window_who_asks_again_finds_the_own_slot_and_no_more_pass_than_there_is_room_for(seed):
    """People ask at odd times and ask again: nobody has two slots that stand, and any sixty minutes hold as many as there are places."""
    chance, bench = random.Random(seed), make_bench()  # noqa: S311 - no secret
    windows = (Window(name="fleet-hour", room=120, length=HOUR), Window(name="fleet-day", room=360, length=DAY))
    holders = [user_key_for(parse_email(f"user{number}@example.com")) for number in range(200)]
    passed: list = []
    for number in range(900):
        if number % 90 == 0:
            bench.advance(minutes=chance.choice([1, 20, 59, 61]))
            if chance.random() < 0.5:
                guard.tidy_slots(bench.deps, bench.now)
        before = slots_there(bench)
        if guard._has_room(chance.choice(holders), "hr", windows, bench.deps, bench.now, claims=True):
            passed.append(bench.now)
        assert slots_there(bench) - before <= 2
    for window in windows:
        standing = [
            s for s in bench.deps.guard.slots("hr") if s.window == window.name and bench.now - s.at < window.length
        ]
        assert len(standing) == len({slot.holder for slot in standing}) <= window.room
    assert len(passed) > 120


def test_a_crowd_in_a_large_window_lists_seldom():
    bench = make_bench()
    window = (Window(name="fleet-hour", room=600, length=HOUR),)
    bench.cloud.world.journal.clear()
    for number in range(300):
        holder = user_key_for(parse_email(f"user{number}@example.com"))
        assert guard._has_room(holder, "hr", window, bench.deps, bench.now, claims=True)
    calls = Counter(call["method"] for call in bench.calls())
    assert calls["objects.list"] == 0
    assert calls["objects.insert"] < 450


def test_in_a_large_window_that_is_full_there_is_a_listing_once_six_places_were_looked_at():
    bench, others = make_bench(), user_key_for(parse_email("user@example.com"))
    for number in range(120):
        assert bench.deps.guard.claim("hr", "fleet-hour", number, others, expected=None)
    window = (Window(name="fleet-hour", room=120, length=HOUR),)
    bench.cloud.world.journal.clear()
    late = user_key_for(parse_email("late@example.com"))
    assert not guard._has_room(late, "hr", window, bench.deps, bench.now, claims=True)
    calls = Counter(call["method"] for call in bench.calls())
    assert (calls["objects.insert"], calls["objects.list"]) == (6, 1)


def test_a_claim_that_cannot_be_written_leaves_the_person_as_they_are_and_is_tried_again(bench):
    people = crowd(bench, 3)
    bench.fault(call="storage.objects.insert", resource="*/guard/slots/*", error={"code": "PERMISSION_DENIED"}, times=0)
    people[0].tell(Left)
    assert people[0].record.spec.presence is Presence.PRESENT
    bench.cloud.world.faults.clear()
    ticks(bench, 2)
    assert people[0].record.spec.presence is Presence.ABSENT


def test_slots_that_are_long_over_are_removed_and_those_that_stand_are_not(bench):
    people = crowd(bench)
    for person in people[:3]:
        person.tell(Left)
    bench.advance(minutes=90)
    sweep("drift", bench.deps)
    people[3].tell(Left)
    assert len([s for s in bench.deps.guard.slots("") if s.window == "fleet-hour"]) >= 3
    bench.advance(minutes=45)
    sweep("drift", bench.deps)
    slots = bench.deps.guard.slots("")
    assert [slot.holder for slot in slots if slot.window == "fleet-hour"] == [people[3].key]
    assert len([slot for slot in slots if slot.window == "fleet-day"]) == 4


def test_a_leaver_who_is_alone_costs_a_slot_for_each_window_and_no_listing(bench):
    people = crowd(bench, 3)
    bench.cloud.world.journal.clear()
    people[0].tell(Left)
    guards = [call["method"] for call in bench.calls() if "/guard/" in call["resource"]]
    assert guards == ["objects.insert"] * 2


@pytest.mark.parametrize(("per_hour", "windows"), [(5, ["fleet", "fleet"]), (6, ["fleet", "fleet", "profile"])])
def test_only_a_profile_with_less_room_than_the_fleet_has_a_window_of_its_own(per_hour, windows):
    settings = replace(SMALL, per_hour=per_hour, group_share=0.5)
    sizes = FleetSizes(everybody=10, profiles={"analyst": 10}, groups={})
    found = guard.windows_of(making.person(), settings, sizes)
    assert [window.name.partition("-")[0] for window in found] == windows


def test_who_was_at_work_under_a_record_without_the_instances_id_has_a_notebook_to_lose():
    """A record of an earlier version names no instance; that it was in use is enough for a cut to wait."""
    assert steps_of(making.person()) == ()
    assert steps_of(making.person(was_active=True)) == (StepKind.STOP,)


def test_a_flood_in_one_profile_takes_no_slot_from_another():
    bench = make_bench(settings=settings_with(guard=replace(SMALL, per_hour=10)))
    people = crowd(bench, 12)
    others = [Life(bench, parse_email(f"eng{number}@example.com")) for number in range(12)]
    for person in others:
        person.tell(Joined, profile="engineer")
    ticks(bench, 7)
    sweep("drift", bench.deps)
    for person in (*people, *others):
        person.tell(Left)
    assert len(absent(bench) & {person.key for person in people}) == 6
    assert len(absent(bench) & {person.key for person in others}) == 4


# --- waiting


def test_after_the_guards_patience_leavers_are_stopped_as_far_as_it_can_be_undone(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Left)
    for _ in range(26):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
    ticks(bench, 10)
    assert running(bench) == 0
    stopped = [person for person in people if person.record.is_undecided]
    assert len(stopped) >= MANY - SMALL.per_hour * SMALL.day_factor
    for person in stopped:
        assert template_names(bench.cloud, bench.settings.bucket, person.key), "a template is gone without an approval"
        assert person.key in waiting(bench)
    for _ in range(14):
        bench.advance(days=10)
        ticks(bench, 4)
    for person in stopped:
        if person.record.is_undecided:
            assert set(person.states().values()) == {"STOPPED"}, "something is deleted without an approval"


def test_patience_may_be_without_end():
    bench = make_bench(settings=settings_with(guard=replace(SMALL, patience=None)))
    people = crowd(bench)
    for person in people:
        person.tell(Left)
    for _ in range(60):
        bench.advance(minutes=7)
        sweep("due", bench.deps)
    assert running(bench) == MANY - len(absent(bench)) > MANY / 2


def test_who_lost_a_group_waits_without_end(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Moved, groups=(), profile=None, profile_said=True)
    for _ in range(40):
        bench.advance(minutes=20)
        sweep("due", bench.deps)
    soft = [person for person in people if person.record.is_undecided]
    assert soft == []
    assert {person.cause for person in bench.deps.guard.waiting()} == {CutClass.GROUP}


def test_who_is_let_back_in_while_waiting_waits_no_more_and_was_never_stopped(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Left)
    waits = [person for person in people if person.key in waiting(bench)]
    bench.advance(minutes=3)
    for person in waits:
        person.tell(LeaveCancelled)
    ticks(bench, 3)
    assert waiting(bench) == set()
    assert all(set(person.states().values()) == {"ACTIVE"} for person in waits)


# --- decisions


def flood(hub: Hub, count: int = MANY) -> tuple[list[Life], Batch]:
    people = crowd(hub.bench, count)
    for person in people:
        person.tell(Left, source="hr")
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    hub.bench.deps.decisions.put_list(to_json(batch))
    return people, batch


def decide(hub: Hub, batch: Batch, verdict: Verdict, *, by, digest: str = "", assertion: str | None = None) -> None:
    hub.bench.deps.decisions.put(
        Decision(
            decision_id=secrets.token_hex(8),
            about=About.CUTS,
            verdict=verdict,
            digest=digest or batch.digest,
            asked_at=hub.bench.now,
            assertion=hub.token(by) if assertion is None else assertion,
        )
    )


def left_waiting(hub: Hub, batch: Batch) -> set[UserKey]:
    return {key for key in batch.people if key not in absent(hub.bench)}


def test_two_who_agree_let_a_true_change_of_any_size_pass(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    ticks(hub.bench, 2)
    assert left_waiting(hub, batch) == set(batch.people)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 8)
    assert absent(hub.bench) == {person.key for person in people}
    assert running(hub.bench) == 0
    assert waiting(hub.bench) == set()
    assert hub.bench.deps.decisions.waiting() == ()
    (line,) = hub.lines("Approved list")
    assert (line["people"], line["done"], line["different"]) == (len(batch.entries),) * 2 + (0,)
    assert line["by"] == sorted([user_key_for(MIA), user_key_for(OTHER_ADMIN)])


def test_one_who_approves_twice_is_one_and_waits_until_nobody_objected(hub):
    _, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    ticks(hub.bench, 14)
    assert left_waiting(hub, batch) == set(batch.people)
    ticks(hub.bench, 5)
    assert left_waiting(hub, batch) == set()


def test_a_rejected_person_stays_whatever_is_said_again_and_a_new_cut_counts(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    decide(hub, batch, Verdict.REJECT, by=OTHER_ADMIN)
    ticks(hub.bench, 3)
    stay = [person for person in people if person.key in batch.people]
    for _ in range(30):
        hub.bench.advance(hours=1)
        sweep("due", hub.bench.deps)
    sweep("drift", hub.bench.deps)
    assert left_waiting(hub, batch) == set(batch.people)
    assert all(set(person.states().values()) == {"ACTIVE"} for person in stay)
    assert all(Notice.KEPT_IN in person.record.status.notices for person in stay)
    assert waiting(hub.bench) == set()
    truly = stay[0]
    truly.tell(AccountChanged, state=AccountState.DELETED, holds=True, source="directory")
    assert truly.record.spec.presence is Presence.ABSENT


def test_who_was_stopped_without_approval_runs_again_once_it_is_rejected(hub):
    people, _ = flood(hub)
    for _ in range(26):
        hub.bench.advance(minutes=10)
        sweep("due", hub.bench.deps)
    (later,) = batches_of(hub.bench.deps.guard.waiting())
    hub.bench.deps.decisions.put_list(to_json(later))
    undone = [person for person in people if person.record.is_undecided]
    assert undone
    decide(hub, later, Verdict.REJECT, by=MIA)
    ticks(hub.bench, 10)
    for person in undone:
        assert person.record.spec.presence is Presence.PRESENT
        assert set(person.states().values()) == {"ACTIVE"}


@pytest.mark.parametrize("who", ["on the list", "no administrator", "forged", "of another list", "yesterday"])
def test_an_approval_that_does_not_count_changes_nothing(hub, who):
    people, batch = flood(hub)
    hub.bench.deps.groups.join(ADMINS, people[-1].email)
    assert people[-1].key in batch.people
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    match who:
        case "on the list":
            decide(hub, batch, Verdict.APPROVE, by=people[-1].email)
        case "no administrator":
            decide(hub, batch, Verdict.APPROVE, by=parse_email("norah.stranger@example.com"))
        case "forged":
            decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN, assertion=hub.token(OTHER_ADMIN)[:-4] + "AAAA")
        case "of another list":
            decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN, digest="0" * 32)
        case "yesterday":
            decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN, assertion=hub.token(OTHER_ADMIN, exp=1, iat=0))
    ticks(hub.bench, 5)
    assert left_waiting(hub, batch) == set(batch.people)
    assert [line["reason"] for line in hub.lines("Dropped a decision")] == [
        {
            "on the list": "Concerned",
            "no administrator": "NotAdministrator",
            "forged": "NotSigned",
            "of another list": "NoList",
            "yesterday": "NotSigned",
        }[who]
    ]


def test_whoever_is_different_by_then_is_left_out_and_what_runs_is_a_subset(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    waits = [person for person in people if person.key in batch.people]
    hub.bench.advance(minutes=1)
    back, other = waits[0], waits[1]
    back.tell(LeaveCancelled)
    other.tell(LeaveCancelled)
    hub.bench.advance(minutes=1)
    other.tell(
        AccountChanged, state=AccountState.ARCHIVED, holds=True, source="hr2"
    )  # another reason: not what was approved
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 8)
    assert back.record.spec.presence is Presence.PRESENT
    (line,) = hub.lines("Approved list")
    assert line["different"] == 2
    assert line["done"] == len(batch.entries) - 2


def test_a_team_of_one_decides_alone_and_it_is_marked(hub):
    hub = make_hub(settings=hub_settings(guard=replace(SMALL, approvers=1)))
    people = crowd(hub.bench, 14)
    mine = Life(hub.bench, MIA)
    mine.tell(Joined, profile="analyst")
    ticks(hub.bench, 7)
    for person in (*people, mine):
        person.tell(Left, source="hr")
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    hub.bench.deps.decisions.put_list(to_json(batch))
    assert mine.key in batch.people
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    ticks(hub.bench, 6)
    assert running(hub.bench) == 0
    (line,) = hub.lines("Approved list")
    assert line["own"] is True


def test_an_approval_is_taken_up_to_its_end_after_a_crash_in_its_middle(hub):
    _, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    hub.bench.advance(minutes=1)
    hub.bench.fault(
        call="storage.objects.insert", resource="*/records/user2*", error={"code": "PERMISSION_DENIED"}, times=0
    )
    take_up_decisions(hub.bench.deps)
    assert len(hub.bench.deps.decisions.waiting()) == 2, "who could not be told yet is told by the next tick"
    hub.bench.cloud.world.faults.clear()
    ticks(hub.bench, 8)
    assert left_waiting(hub, batch) == set()
    assert hub.bench.deps.decisions.waiting() == ()


def test_an_approval_that_is_never_enough_lapses():
    hub = make_hub(settings=hub_settings(guard=replace(SMALL, wait_alone=timedelta(days=9), patience=None)))
    _, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    hub.bench.advance(hours=25)
    ticks(hub.bench, 1)
    assert hub.bench.deps.decisions.waiting() == ()
    assert [line["reason"] for line in hub.lines("Dropped a decision")] == ["Lapsed"]


# --- many at once of other kinds


def test_all_employees_in_a_group_do_not_start_a_machine_each(hub):
    hub = make_hub(settings=hub_settings(guard=replace(SMALL, creations=6)))
    hub.bench.deps.groups.join(ADMINS, OTHER_ADMIN)
    people = crowd(hub.bench, 30, minutes=9)
    assert len(instances(hub.bench.cloud)) == 6
    waits = [person for person in people if person.key in waiting(hub.bench)]
    assert len(waits) == 24
    assert {person.cause for person in hub.bench.deps.guard.waiting()} == {CutClass.CREATION}
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    hub.bench.deps.decisions.put_list(to_json(batch))
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 12)
    assert running(hub.bench) == 30
    assert waiting(hub.bench) == set()


def test_a_creation_that_is_rejected_does_not_happen_and_one_that_waits_comes_in_turn(hub):
    hub = make_hub(settings=hub_settings(guard=replace(SMALL, creations=6)))
    people = crowd(hub.bench, 14, minutes=9)
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    few = replace(batch, entries=batch.entries[:3])
    hub.bench.deps.decisions.put_list(to_json(few))
    decide(hub, few, Verdict.REJECT, by=MIA)
    for _ in range(30):
        hub.bench.advance(minutes=10)
        sweep("due", hub.bench.deps)
    rejected = [person for person in people if person.key in few.people]
    assert len(instances(hub.bench.cloud)) == 11
    assert all(person.mine() == {} for person in rejected)


def test_of_what_leavers_left_so_much_is_deleted_in_an_hour():
    bench = make_bench(settings=settings_with(guard=replace(SMALL, group_from=1000)))
    people = crowd(bench, 15)
    for person in people:
        person.tell(Left)
    for _ in range(10):
        bench.advance(minutes=20)
        sweep("due", bench.deps)
    assert len(absent(bench)) == 15
    ticks(bench, 8)
    bench.advance(days=31)
    gone = []
    for _ in range(14):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
        gone.append(15 - len(instances(bench.cloud)))
    assert gone[4] == SMALL.per_hour
    assert gone[-1] > SMALL.per_hour
    assert all(later - earlier <= SMALL.per_hour for earlier, later in itertools.pairwise(gone[::6]))


def test_the_digest_is_of_people_causes_and_steps_and_of_nothing_else(hub):
    _, batch = flood(hub, 12)
    entries = batch.entries
    for order in itertools.islice(itertools.permutations(hub.bench.deps.guard.waiting()), 5):
        assert batches_of(order)[0].digest == batch.digest
    assert replace(batch, since=batch.since + DAY).digest == batch.digest
    changed = [
        replace(batch, entries=entries[1:]),
        replace(batch, source="directory"),
        replace(batch, cause=CutClass.ACCOUNT),
        replace(batch, entries=(replace(entries[0], ref="0" * 16), *entries[1:])),
        replace(batch, entries=(replace(entries[0], steps=(StepKind.STOP, StepKind.REVOKE)), *entries[1:])),
    ]
    assert len({each.digest for each in (batch, *changed)}) == 6


# --- a configuration that waits


def typo(hub: Hub) -> Deps:
    """A revision whose configuration has a letter wrong in a group, over the same world."""
    right = hub.bench.settings
    wrong = tuple(replace(each, group=f"x{each.group}") for each in right.catalog.assignments)
    files = replace(right, catalog=replace(right.catalog, assignments=wrong, default_profile=None))
    made = wire(files, log=hub.bench.log, clients=hub.bench.clients)
    return replace(made, clock=hub.bench.deps.clock)


def members(hub: Hub, count: int = 14) -> list[Life]:
    people = [Life(hub.bench, parse_email(f"user{number}@example.com")) for number in range(count)]
    for person in people:
        person.tell(Joined, groups=frozenset({"data-analysts@example.com"}))
    ticks(hub.bench, 7)
    sweep("drift", hub.bench.deps)
    return people


def decide_policy(hub: Hub, digest: str, verdict: Verdict, *, by: str) -> None:
    made = Decision(
        decision_id=secrets.token_hex(8),
        about=About.POLICY,
        verdict=verdict,
        digest=digest,
        asked_at=hub.bench.now,
        assertion=hub.token(by),
    )
    hub.bench.deps.decisions.put(made)


def policy_ticks(hub: Hub, deps: Deps, minutes: int) -> None:
    for _ in range(minutes):
        hub.bench.advance(minutes=1)
        sweep("due", deps)


def test_a_typo_acts_on_nobody_until_two_agree_and_then_on_exactly_those(hub):
    people = members(hub)
    wrong = typo(hub)
    sweep("drift", wrong)
    policy_ticks(hub, wrong, 5)
    assert running(hub.bench) == len(people)
    (proposal,) = policy_waiting(wrong)
    decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=MIA)
    policy_ticks(hub, wrong, 3)
    assert running(hub.bench) == len(people)
    decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=OTHER_ADMIN)
    policy_ticks(hub, wrong, 8)
    assert absent(hub.bench) == {person.key for person in people}
    assert running(hub.bench) == 0
    assert hub.bench.deps.decisions.waiting() == ()
    assert waiting(hub.bench) == set()


def test_sizes_are_of_whoever_is_to_have_an_environment(hub):
    rows = [person.record for person in members(hub)]
    gone = replace(rows[0], spec=replace(rows[0].spec, presence=Presence.ABSENT))
    assert sizes_of([row_of(record) for record in rows]).everybody == len(rows)
    assert sizes_of([row_of(record) for record in [gone, *rows[1:]]]).everybody == len(rows) - 1
    assert sizes_of([]).everybody == 0


def test_a_typo_that_is_rejected_never_acts_and_is_not_proposed_again(hub):
    people = members(hub)
    wrong = typo(hub)
    sweep("drift", wrong)
    (proposal,) = policy_waiting(wrong)
    decide_policy(hub, proposal.decided_by, Verdict.REJECT, by=MIA)
    policy_ticks(hub, wrong, 3)
    sweep("drift", wrong)
    assert policy_waiting(wrong) == ()
    assert running(hub.bench) == len(people)
    assert list(hub.bench.deps.decisions.waiting()) == []  # the word was taken, and is not taken again


def test_whoever_deployed_it_or_loses_by_it_decides_nothing(hub):
    people = members(hub)
    hub.bench.deps.groups.join(ADMINS, people[0].email)
    wrong = typo(hub)
    note_deployed(wrong.base_policy, wrong, by=str(MIA))
    sweep("drift", wrong)
    (proposal,) = policy_waiting(wrong)
    for by in (MIA, people[0].email):
        decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=by)
    policy_ticks(hub, wrong, 20)
    assert running(hub.bench) == len(people)
    assert [line["reason"] for line in hub.lines("Dropped a decision")] == ["Concerned", "Concerned"]
    decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=OTHER_ADMIN)  # with a known author one other is enough
    policy_ticks(hub, wrong, 8)
    assert running(hub.bench) == 0


def test_a_decision_about_a_list_that_is_another_one_by_now_changes_nothing(hub):
    people = members(hub)
    wrong = typo(hub)
    sweep("drift", wrong)
    (proposal,) = policy_waiting(wrong)
    for number in range(100, 114):
        person = Life(hub.bench, parse_email(f"late{number}@example.com"))
        person.tell(Joined, groups=frozenset({"data-analysts@example.com"}))
    policy_ticks(hub, wrong, 7)
    for by in (MIA, OTHER_ADMIN):
        decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=by)
    policy_ticks(hub, wrong, 3)
    assert running(hub.bench) == len(people) + 14
    (fresh,) = policy_waiting(wrong)
    assert len(fresh.impact.entries) == len(people) + 14
    assert fresh.decided_by != proposal.decided_by


def test_an_approved_configuration_reaches_everybody_after_a_crash_in_its_middle(hub):
    people = members(hub)
    wrong = typo(hub)
    sweep("drift", wrong)
    (proposal,) = policy_waiting(wrong)
    for by in (MIA, OTHER_ADMIN):
        decide_policy(hub, proposal.decided_by, Verdict.APPROVE, by=by)
    hub.bench.advance(minutes=1)
    hub.bench.fault(
        call="storage.objects.insert", resource="*/records/user1*", error={"code": "PERMISSION_DENIED"}, times=0
    )
    take_up_decisions(wrong)
    assert len(hub.bench.deps.decisions.waiting()) == 2
    hub.bench.cloud.world.faults.clear()
    policy_ticks(hub, wrong, 8)
    assert absent(hub.bench) == {person.key for person in people}
    assert hub.bench.deps.decisions.waiting() == ()


# --- most of what runs looks idle


def idle_for(bench: Bench, hours: float) -> None:
    for _ in range(int(hours * 6)):
        bench.advance(minutes=10)
        sweep("idle", bench.deps)
    ticks(bench, 3)


def test_when_most_of_what_runs_looks_idle_nobody_is_stopped_before_hours_have_passed(bench):
    people = crowd(bench, 8)
    visit(bench)
    idle_for(bench, 4)
    assert running(bench) == 8
    assert {person.cause for person in bench.deps.guard.waiting()} == {CutClass.IDLE}
    assert {facts["people"] for severity, said, facts in bench.log.lines if said == "Held back idle stops"} == {8}
    idle_for(bench, 4)
    assert running(bench) == 0, "what is truly idle bills on"
    assert waiting(bench) == set()
    assert all(person.record.spec.presence is Presence.PRESENT for person in people)


def test_a_few_who_are_idle_are_stopped_as_ever(bench):
    crowd(bench, 5)
    visit(bench)
    idle_for(bench, 4)
    assert running(bench) == 0


@pytest.mark.parametrize(("verdict", "left"), [(Verdict.APPROVE, 0), (Verdict.REJECT, 8)])
def test_a_mass_idle_stop_is_decided_about_like_any_other_list(hub, verdict, left):
    crowd(hub.bench, 8)
    visit(hub.bench)
    idle_for(hub.bench, 3.5)
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    assert {entry.steps for entry in batch.entries} == {(StepKind.STOP,)}
    hub.bench.deps.decisions.put_list(to_json(batch))
    decide(hub, batch, verdict, by=MIA)
    decide(hub, batch, verdict, by=OTHER_ADMIN)
    ticks(hub.bench, 2)
    idle_for(hub.bench, 1)
    assert running(hub.bench) == left
    idle_for(hub.bench, 5)
    assert running(hub.bench) == left


# --- announced beforehand


def announce(hub: Hub, people: list[Life], *, by: str, hours: float = 24) -> Batch:
    batch = announced([person.key for person in people], hub.bench.now + timedelta(hours=hours))
    hub.bench.deps.decisions.put_list(to_json(batch))
    decide(hub, batch, Verdict.APPROVE, by=by)
    return batch


def test_who_was_announced_and_approved_beforehand_takes_no_slot(hub):
    people = crowd(hub.bench)
    batch = announce(hub, people[:20], by=MIA)
    ticks(hub.bench, 2)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 2)
    for person in people:
        person.tell(Left, source="hr")
    assert absent(hub.bench) >= {person.key for person in people[:20]}
    assert len(absent(hub.bench)) == 20 + SMALL.per_hour, "the others are guarded as ever"
    holders = {slot.holder for slot in hub.bench.deps.guard.slots("hr")}
    assert not holders & {person.key for person in people[:20]}


def test_who_announces_cannot_agree_alone_however_long_nobody_objects(hub):
    people = crowd(hub.bench)
    batch = announce(hub, people[:20], by=MIA)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    ticks(hub.bench, 30)
    for person in people:
        person.tell(Left, source="hr")
    assert len(absent(hub.bench)) == SMALL.per_hour


def test_an_announcement_ends_at_its_moment(hub):
    people = crowd(hub.bench)
    batch = announce(hub, people[:20], by=MIA, hours=1)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 62)
    for person in people:
        person.tell(Left, source="hr")
    assert len(absent(hub.bench)) == SMALL.per_hour


# --- what holds in odd turns of events


def suspended(person: Life, *, holds: bool, source: str = "directory") -> None:
    person.tell(AccountChanged, state=AccountState.SUSPENDED, holds=holds, source=source)


def test_a_rejected_person_stays_after_another_cut_that_was_over_soon(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.REJECT, by=MIA)
    ticks(hub.bench, 3)
    one = next(person for person in people if person.key in batch.people)
    hub.bench.advance(hours=30)
    suspended(one, holds=True)
    assert one.record.spec.presence is Presence.ABSENT
    hub.bench.advance(hours=2)
    suspended(one, holds=False)
    ticks(hub.bench, 8)
    assert one.record.spec.presence is Presence.PRESENT
    assert set(one.states().values()) == {"ACTIVE"}


@pytest.mark.parametrize("verdict", Verdict)
def test_who_has_something_more_to_lose_by_then_is_kept_by_a_rejection_and_not_cut_by_an_approval(hub, verdict):
    people, batch = flood(hub)
    one = next(person for person in people if person.key in batch.people)
    hub.edit(one.email, account_id=account_id_for(one.key))
    decide(hub, batch, verdict, by=MIA)
    decide(hub, batch, verdict, by=OTHER_ADMIN)
    ticks(hub.bench, 6)
    assert one.record.spec.presence is Presence.PRESENT
    assert bool(one.record.status.guard.kept_in) is (verdict is Verdict.REJECT)


def test_the_age_of_one_sort_of_wait_is_not_the_patience_with_another(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Moved, groups=(), profile=None, profile_said=True)
    for _ in range(18):
        bench.advance(minutes=20)
        sweep("due", bench.deps)
    before = running(bench)
    waits = [person for person in people if person.key in waiting(bench)]
    for person in waits:
        person.tell(Left, source="hr")
    ticks(bench, 20)
    assert running(bench) >= before - SMALL.per_hour
    assert not [person for person in waits if person.record.is_undecided]


def test_who_was_stopped_for_a_leave_that_is_taken_back_runs_again_while_the_group_waits(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Left, source="hr")
    for _ in range(26):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
    undone = [person for person in people if person.record.is_undecided]
    assert len(undone) > 10
    for person in undone:
        person.tell(Moved, groups=(), profile=None, profile_said=True, source="hr")
        person.tell(LeaveCancelled, source="hr")
    ticks(bench, 12)
    left = [person for person in undone if person.record.status.guard.waiting_cut is not None]
    assert left
    assert all(set(person.states().values()) == {"ACTIVE"} for person in left)
    assert {person.record.status.guard.waiting_cut.cause for person in left} == {CutClass.GROUP}


def test_entries_of_the_index_that_are_lost_or_damaged_are_written_again(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Left)
    known = waiting(bench)
    bucket = storage_bucket(bench.clients)
    for number, blob in enumerate(bucket.list_blobs(prefix="guard/waiting/")):
        if number % 2:
            blob.delete()
        else:
            blob.metadata = {"since": "long ago"}
            blob.patch()
    assert waiting(bench) == set()
    sweep("drift", bench.deps)
    assert waiting(bench) == known


def test_a_cut_and_a_stop_for_idleness_wait_beside_each_other(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Moved, groups=(), profile=None, profile_said=True)
    cuts = waiting(bench)
    visit(bench)
    idle_for(bench, 3.5)
    causes = Counter(person.cause for person in bench.deps.guard.waiting())
    assert causes[CutClass.IDLE] > 6
    idle_for(bench, 5)
    still = {person.user_key for person in bench.deps.guard.waiting() if person.cause is CutClass.GROUP}
    assert still == {key for key in cuts if key not in absent(bench)}
    assert still


def test_slots_that_cannot_be_used_delay_a_leaver_and_lose_nobody(bench):
    people = crowd(bench, 3)
    bench.fault(call="storage.objects.insert", resource="*/guard/slots/*", error={"code": "PERMISSION_DENIED"}, times=0)
    people[0].tell(Left)
    ticks(bench, 15)
    assert waiting(bench) == {people[0].key}
    for _ in range(28):
        bench.advance(minutes=10)
        sweep("due", bench.deps)
    ticks(bench, 3)
    assert set(people[0].states().values()) == {"STOPPED"}
    assert people[0].record.is_undecided
    bench.cloud.world.faults.clear()


def test_a_vote_says_nothing_of_who_was_let_back_in_after_it(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    waits = [person for person in people if person.key in batch.people]
    hub.bench.advance(minutes=1)
    for person in waits:
        person.tell(LeaveCancelled, source="hr")
    hub.bench.advance(minutes=1)
    for person in waits:
        person.tell(Left, source="hr")
    hub.bench.advance(minutes=1)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    ticks(hub.bench, 6)
    assert left_waiting(hub, batch) == set(batch.people)


def test_a_feed_that_repeats_a_leave_under_new_ids_makes_no_approval_void(hub):
    people, batch = flood(hub)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    decide(hub, batch, Verdict.APPROVE, by=OTHER_ADMIN)
    hub.bench.advance(seconds=20)
    for person in people:
        person.tell(Left, source="hr")
    ticks(hub.bench, 6)
    assert left_waiting(hub, batch) == set()


def test_an_administrator_with_two_addresses_is_one(hub):
    _, batch = flood(hub)
    mia, new = Life(hub.bench, MIA), parse_email("mia.new@example.com")
    mia.tell(Joined, profile="engineer")
    ticks(hub.bench, 7)
    decide(hub, batch, Verdict.APPROVE, by=MIA)
    mia.tell(Renamed, new_user=new, source="operator", confirmed=True)
    hub.bench.deps.groups.join(ADMINS, new)
    decide(hub, batch, Verdict.APPROVE, by=new)
    ticks(hub.bench, 3)
    assert left_waiting(hub, batch) == set(batch.people)


def test_the_retention_of_who_was_stopped_without_approval_begins_with_the_approval(hub):
    people, _ = flood(hub)
    for _ in range(26):
        hub.bench.advance(minutes=10)
        sweep("due", hub.bench.deps)
    hub.bench.advance(days=100)
    ticks(hub.bench, 2)
    (batch,) = batches_of(hub.bench.deps.guard.waiting())
    hub.bench.deps.decisions.put_list(to_json(batch))
    for by in (MIA, OTHER_ADMIN):
        decide(hub, batch, Verdict.APPROVE, by=by)
    ticks(hub.bench, 20)
    mine = [person for person in people if person.key in batch.people]
    assert all(set(person.states().values()) == {"STOPPED"} for person in mine)
    assert not [person for person in mine if person.record.is_undecided]


def test_damaged_sizes_are_those_of_the_index_for_the_pages(bench):
    people = crowd(bench, 8)
    storage_bucket(bench.clients).blob("guard/sizes").upload_from_string(b"{")
    fresh = replace(wire(bench.settings, log=bench.log, clients=bench.clients), clock=bench.deps.clock)
    for person in people:
        event = Left(event_id=f"l{person.key}", user=person.email, occurred_at=bench.now, effective_at=bench.now)
        deliver(event, fresh)
    assert len(absent(bench)) == 4


def test_a_leave_that_is_taken_back_while_the_profile_is_gone_waits_no_more(bench):
    people = crowd(bench)
    for person in people:
        person.tell(Left)
    (one, *_) = [person for person in people if person.key in waiting(bench)]
    gone = replace(bench.deps.base_policy.catalog, profiles={})
    stored = bench.deps.records.load(one.key)
    assert stored is not None
    bench.advance(minutes=1)
    cancelled = LeaveCancelled(event_id="b", user=one.email, occurred_at=bench.now, effective_at=bench.now)
    back = with_event(stored.record, cancelled, bench.now)
    assert with_wanted(back, replace(bench.deps.policy, catalog=gone), bench.now).status.guard.waiting_cut is None
