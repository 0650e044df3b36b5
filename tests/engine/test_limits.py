"""Of a limited group exactly so many people have an environment as the policy says; the others wait, and nobody loses one."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
from kit.inprocess import Bench, make_bench
from kit.life import Life
from kit.life import limited as with_limits
from kit.oracle import instances, object_names
from kit.policies import in_force
from msgspec.structs import replace

from cli.impact import limit_lines
from shared.cloud.storage.guard import StorageSeats
from shared.domain.people.events import Joined, Left, Moved
from shared.domain.record.cuts import SeatWait
from shared.domain.record.record import Presence, row_of
from shared.domain.things.errors import AccessDeniedError, Reason
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.limits import GroupLimits
from shared.engine.ports.deps import Deps
from shared.engine.ports.guard import Seats
from shared.engine.reconcile import seats
from shared.engine.reconcile.reconciler import preview, reconcile
from shared.engine.sweeps.sweeps import sweep
from shared.settings import Settings
from shared.wiring import wire

ANALYSTS, ENGINEERS = "data-analysts@example.com", "data-engineers@example.com"
_FOLDER = "guard/limits/"


def limited(analysts: int | None, engineers: int | None = None) -> Settings:
    """The local settings with so much room; None for no limit."""
    rooms = {ANALYSTS: analysts, ENGINEERS: engineers}
    return with_limits({g: GroupLimits(max_environments=room) for g, room in rooms.items() if room is not None})


def world(settings: Settings) -> Bench:
    return make_bench(settings=settings)


def redeployed(bench: Bench, settings: Settings) -> Deps:
    """The same world with other files in force, and the processes that know them."""
    deps = replace(wire(settings, log=bench.log, clients=bench.clients), clock=bench.deps.clock)
    bench.deps = in_force(deps)
    sweep("drift", bench.deps)
    return bench.deps


def people(
    bench: Bench, count: int, *, first: int = 0, minutes: int = 1, groups: tuple[str, ...] = (ANALYSTS,)
) -> list[Life]:
    """Members who join one after the other."""
    found = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(first, first + count)]
    for each in found:
        each.tell(Joined, groups=groups)
        bench.advance(minutes=minutes)
    return found


def ticks(bench: Bench, minutes: int = 32) -> None:
    for _ in range(minutes):
        bench.advance(minutes=1)
        sweep("due", bench.deps)


def have(bench: Bench) -> set[str]:
    """The keys of everybody of whom an instance is there."""
    return {i.body["labels"]["benchkeeper-user"] for i in instances(bench.cloud).values()}


def waits(person: Life) -> bool:
    return row_of(person.record).reason == Reason.LIMIT_REACHED


def waits_in(person: Life) -> tuple[str, ...]:
    wait = row_of(person.record).limits.wait
    return () if wait is None else wait.groups


def held(bench: Bench, group: str = ANALYSTS) -> set[str]:
    return {seat.holder for seat in bench.deps.seats.look(group).held}


def test_as_many_as_there_is_room_for_and_the_others_wait_visibly():
    bench = world(limited(2))
    everybody = people(bench, 4)
    ticks(bench)
    assert have(bench) == {each.key for each in everybody[:2]} == held(bench)
    assert [waits(each) for each in everybody] == [False, False, True, True]
    last = everybody[3].record
    assert waits_in(everybody[3]) == (ANALYSTS,)
    assert row_of(last).summary == (
        f"All 2 notebooks of {ANALYSTS} are taken. Your notebook is created when a place becomes free. You need to do nothing."
    )
    assert len([line for line in bench.log.lines if line[1] == "Held back a user at a limit"]) == 2
    shown = preview(everybody[3].key, bench.deps)
    assert shown is not None
    assert not shown.plan.actions


def test_a_wait_for_a_limit_is_no_late_notebook():
    """The alert on late joiners is about Benchkeeper; how long a limit stays is its owner's affair."""
    bench = world(limited(0))
    people(bench, 1)
    ticks(bench, 180)
    assert sweep("drift", bench.deps).measures["longest_wait_s"] == 0


def test_a_leaver_frees_the_place_and_who_waited_longest_comes():
    bench = world(limited(2))
    everybody = people(bench, 5)
    everybody[0].tell(Left)
    assert everybody[0].key not in held(bench)
    ticks(bench, 64)
    assert held(bench) == {everybody[1].key, everybody[2].key}
    assert everybody[2].key in have(bench)
    assert [waits(each) for each in everybody] == [False, False, False, True, True]
    assert everybody[2].record.status.guard.seat_wait is None
    assert {note.holder for note in bench.deps.seats.look(ANALYSTS).waiters} == {each.key for each in everybody[3:]}


def test_a_newcomer_does_not_overtake_who_waits():
    bench = world(limited(1))
    first, second = people(bench, 2)
    first.tell(Left)
    (third,) = people(bench, 1, first=7, minutes=0)
    assert waits(third)
    ticks(bench)
    assert held(bench) == {second.key}


def test_who_comes_back_waits_for_a_place_and_keeps_the_files():
    bench = world(limited(1))
    first, second = people(bench, 2)
    ticks(bench)
    first.leave()
    ticks(bench, 64)
    assert held(bench) == {second.key}
    first.tell(Joined, groups=(ANALYSTS,))
    ticks(bench)
    assert waits(first)
    assert first.only().state == "STOPPED"
    second.leave()
    ticks(bench)
    assert first.only().state == "ACTIVE"
    assert held(bench) == {first.key}


def test_a_lower_limit_takes_nothing_and_a_higher_one_lets_the_oldest_in():
    bench = world(limited(3))
    everybody = people(bench, 6)
    ticks(bench)
    redeployed(bench, limited(1))
    ticks(bench, 90)
    assert have(bench) == {each.key for each in everybody[:3]} == held(bench)
    for each in everybody[:3]:
        assert each.only().state == "ACTIVE"
    redeployed(bench, limited(5))
    ticks(bench, 64)
    assert held(bench) == {each.key for each in everybody[:5]}
    assert waits(everybody[5])
    redeployed(bench, limited(None))
    ticks(bench)
    assert have(bench) == {each.key for each in everybody}
    assert held(bench) == set()


def test_a_new_limit_counts_who_is_there_before_anybody_else_comes():
    bench = world(limited(None))
    there = people(bench, 3)
    ticks(bench)
    assert not object_names(bench.cloud, bench.settings.bucket, _FOLDER)
    deps = replace(wire(limited(3), log=bench.log, clients=bench.clients), clock=bench.deps.clock)
    bench.deps = in_force(deps)
    (late,) = people(bench, 1, first=9)
    assert waits(late), "nobody knows yet how many there are"
    sweep("drift", bench.deps)
    ticks(bench)
    assert held(bench) == {each.key for each in there}
    assert waits(late)
    assert waits_in(late) == (ANALYSTS,)


@pytest.mark.parametrize("before", [None, 5])
def test_the_impact_of_a_lower_limit_says_that_nobody_loses_a_notebook(before):
    bench = world(limited(before))
    in_force(bench.deps)
    people(bench, 3)
    ticks(bench)
    sweep("drift", bench.deps)
    there = f"{ANALYSTS}: notebooks: 3"
    assert list(limit_lines(limited(2).policy(), bench.deps)) == [
        f"{there}; limit: 2. No one loses a notebook. No one else gets one until 2 members have left."
    ]
    assert list(limit_lines(limited(3).policy(), bench.deps)) == [
        f"{there}; limit: 3. No one loses a notebook. No one else gets one until one member has left."
    ]
    assert list(limit_lines(limited(9).policy(), bench.deps)) == [f"{there}; limit: 9. 6 more are possible."]
    assert list(limit_lines(limited(before).policy(), bench.deps)) == []


def test_two_limited_groups_need_a_place_in_both():
    bench = world(limited(3, 1))
    both = people(bench, 2, groups=(ANALYSTS, ENGINEERS))
    only = people(bench, 2, first=5)
    ticks(bench)
    assert held(bench, ENGINEERS) == {both[0].key}
    assert waits(both[1])
    assert held(bench) == {both[0].key, *(each.key for each in only)}, "who waits for the one keeps none of the other"
    assert ENGINEERS in waits_in(both[1])


def test_who_moves_to_another_group_gives_the_place_back_and_keeps_the_notebook():
    bench = world(limited(1, 1))
    (first,) = people(bench, 1)
    (other,) = people(bench, 1, first=5, groups=(ENGINEERS,))
    ticks(bench)
    first.tell(Moved, groups=(ENGINEERS,))
    assert held(bench) == set()
    assert held(bench, ENGINEERS) == {first.key, other.key}, "one more than the limit: nobody at work loses a notebook"
    (second,) = people(bench, 1, first=7)
    assert held(bench) == {second.key}
    (third,) = people(bench, 1, first=8, groups=(ENGINEERS,))
    assert waits(third)


def test_flapping_membership_ends_as_it_began():
    bench = world(limited(2))
    first, second = people(bench, 2)
    ticks(bench)
    for _ in range(5):
        first.tell(Moved, group_changes={ANALYSTS: False})
        bench.advance(minutes=1)
        first.tell(Moved, group_changes={ANALYSTS: True})
        bench.advance(minutes=1)
    ticks(bench)
    assert held(bench) == {first.key, second.key}
    assert not waits(first)


class UnreadableSeats(StorageSeats):
    """Seats that nobody may list."""

    def look(self, group: str) -> Seats:
        raise AccessDeniedError(user_message="A permission is missing.", detail=f"403 for {group}")


def test_seats_that_cannot_be_read_are_not_free_and_stop_nothing():
    bench = world(limited(5))
    (first,) = people(bench, 1)
    ticks(bench)
    whole = bench.deps
    bench.deps = replace(whole, seats=UnreadableSeats(bench.clients, clock=bench.deps.clock))
    (second,) = people(bench, 1, first=3)
    assert waits(second)
    assert row_of(second.record).limits.wait == SeatWait(
        groups=(ANALYSTS,), since=second.record.created_at, is_full=False
    )
    assert "could not be checked" in row_of(second.record).summary
    assert reconcile(first.key, bench.deps) is not None
    assert first.only().state == "ACTIVE"
    bench.deps = whole
    ticks(bench)
    assert held(bench) == {first.key, second.key}


def test_without_a_limit_there_is_no_call_about_seats():
    bench = world(limited(None))
    people(bench, 2)
    ticks(bench, 3)
    sweep("drift", bench.deps)
    assert not [call for call in bench.calls() if "limits" in str(call)]


def test_somebody_with_a_place_costs_no_call_about_seats():
    bench = world(limited(2))
    (first,) = people(bench, 1)
    ticks(bench)
    bench.cloud.world.journal.clear()
    reconcile(first.key, bench.deps)
    assert not [call for call in bench.calls() if "limits" in str(call)]


@pytest.mark.parametrize("dies_after", range(1, 12))
def test_a_crash_at_any_call_gives_no_place_twice_and_loses_none(dies_after):
    bench = world(limited(1))
    calls = iter(range(1000))

    def dies() -> None:
        if next(calls) == 2 * dies_after:
            raise KeyboardInterrupt

    bench.adapter.around = dies
    try:
        people(bench, 1)
    except KeyboardInterrupt:
        bench.adapter.around = lambda: None
        people(bench, 1)
    bench.adapter.around = lambda: None
    people(bench, 1, first=4)
    ticks(bench, 64)
    assert held(bench) == have(bench) == {user_key_for(parse_email("user0@example.com"))}


def test_the_sweep_frees_a_seat_that_no_record_names_and_takes_one_that_is_missing():
    bench = world(limited(2))
    (first,) = people(bench, 1)
    ticks(bench)
    bench.deps.seats.take(ANALYSTS, 1, user_key_for(parse_email("gone@example.com")), expected=None)
    (own,) = [seat for seat in bench.deps.seats.look(ANALYSTS).held if seat.holder == first.key]
    bench.deps.seats.free(ANALYSTS, own)
    sweep("drift", bench.deps)
    assert len(held(bench)) == 2, "a young seat may be of a pass that runs"
    bench.advance(hours=1)
    sweep("drift", bench.deps)
    assert held(bench) == {first.key}


def test_the_seat_of_a_record_that_cannot_be_read_stays():
    bench = world(limited(1))
    (first,) = people(bench, 1)
    ticks(bench)
    bucket = bench.clients.bucket()
    bucket.write(f"records/{first.key}.json", b"{", what="damage")
    bench.advance(hours=2)
    keeper = seats.SeatKeeper(bench.deps)
    keeper.keep(bench.now, [first.key])
    assert held(bench) == {first.key}


def test_exactly_as_many_as_there_is_room_for_however_many_ask_at_once():
    """Twenty-four processes at the same moment, room for five, ten times."""
    for room in (0, 1, 5, 23, 24, 30, 2, 3, 4, 8):
        bench = world(limited(room))
        found = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(24)]
        start, failed = threading.Barrier(len(found)), []

        def join(person: Life, start=start, failed=failed) -> None:
            start.wait()
            try:
                person.tell(Joined, groups=(ANALYSTS,))
            except Exception as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=join, args=(person,)) for person in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(have(bench)) <= room
        ticks(bench, 64)
        assert len(have(bench)) == len(held(bench)) == min(room, 24), f"room for {room}"


def _moves(chance: random.Random, everybody: list[Life], bench: Bench) -> Iterator[None]:
    for _ in range(60):
        person = chance.choice(everybody)
        match chance.randrange(6):
            case 0 | 1:
                person.tell(Joined, groups=(ANALYSTS,))
            case 2:
                person.tell(Left)
            case 3:
                person.tell(Moved, group_changes={ANALYSTS: chance.random() < 0.5})
            case 4:
                ticks(bench, chance.randrange(1, 20))
            case _:
                sweep("drift", bench.deps)
        yield


@pytest.mark.parametrize("seed", range(6))
def test_never_more_than_the_room_whatever_comes(seed):
    """Nobody moves in with a notebook here, so the count of those with access and an instance never passes the limit."""
    chance, bench = random.Random(seed), world(limited(3))  # noqa: S311 - no secret
    everybody = [Life(bench, parse_email(f"user{number}@example.com")) for number in range(7)]
    for _ in _moves(chance, everybody, bench):
        records = [stored.record for each in everybody if (stored := bench.deps.records.load(each.key)) is not None]
        counted = [r for r in records if r.spec.presence is Presence.PRESENT and r.status.guard.seats]
        assert len(counted) <= 3
        assert len(held(bench)) <= 3
        running = {i.body["labels"]["benchkeeper-user"] for i in instances(bench.cloud).values() if i.state == "ACTIVE"}
        present = {r.user_key for r in records if r.spec.presence is Presence.PRESENT}
        assert len(running & present) <= 3
    ticks(bench, 64)
    records = [stored.record for each in everybody if (stored := bench.deps.records.load(each.key)) is not None]
    wanted = [r for r in records if r.spec.presence is Presence.PRESENT]
    assert len(held(bench)) == min(3, len(wanted))
