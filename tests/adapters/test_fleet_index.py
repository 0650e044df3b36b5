"""The fleet in one object: read again only when it changed, newer stays, damage is mended, ten thousand rows survive."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.inprocess import impatient
from kit.making import NOW, person
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.cloud.storage.fleet_index import StorageFleetIndex
from shared.domain.fleet.drift import Stray
from shared.domain.fleet.figures import figures_of
from shared.domain.fleet.fleet import FleetPoint, FleetSnapshot, Notes
from shared.domain.record.record import Power, Presence, RecordRow, row_of
from shared.domain.things.errors import PermanentError, Reason
from shared.domain.things.identity import AccountId, InstanceId, UserKey, parse_email, user_key_for
from shared.domain.things.power import Usage
from shared.engine.ports.fleet import FleetAbout

FLEET, NOTES = "index/fleet.json.gz", "index/notes.json.gz"


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture
def index(bench):
    return bench.deps.fleet


def bucket(bench):
    return storage_bucket(bench.clients)


def rows_of(count):
    """All kinds of people; nobody has the same row as another."""
    for number in range(count):
        email = parse_email(f"person{number}.ñandú@example.com")
        odd, moment = number % 2 == 1, NOW + timedelta(seconds=number, microseconds=number % 7)
        yield RecordRow(
            user_key=user_key_for(email),
            presence=Presence.PRESENT if number % 5 else Presence.ABSENT,
            power=Power.RUNNING if odd else Power.STOPPED,
            power_settled=odd,
            profile=("analyst", "engineer", None)[number % 3],
            cost_center='R&D "x" 😀' if odd else "",
            instance_id=InstanceId(f"nb-{number}") if odd else None,
            zone="europe-west1-b" if odd else None,
            busy=not odd,
            next_attempt_at=moment if odd else None,
            settled=odd,
            entitling_digest=f"{number:016x}",
            reason=Reason.READY.value,
            email=str(email),
            ready_since=moment if odd else None,
            summary="Your notebook is ready." if odd else "",
            former=("z", "nb-old") if number % 11 == 0 else None,
            snapshots=("s-1", "s-2") if number % 13 == 0 else (),
            account_id=AccountId(f"nb-{number}") if number % 17 == 0 else None,
            on_hold=number % 19 == 0,
            keep_on_until=moment if number % 23 == 0 else None,
            usage={"notebook": Usage(month="2026-11", ran_s=number, since=moment if odd else None)}
            if number % 3
            else {},
            ready_took_s=number / 7 if odd else None,
            ready_at=NOW if odd else None,
            clusters={"spark": "RUNNING", "other": ""} if number % 29 == 0 else {},
        )


def snapshot(count=3, *, minutes=0, **changes):
    rows = tuple(rows_of(count))
    made = FleetSnapshot(
        taken_at=NOW + timedelta(minutes=minutes),
        rows=rows,
        strays=(Stray(name="nb-stray", zone="europe-west1-c", why="nobody's"),),
        blind=frozenset(row.user_key for row in rows[:2]),
        points=(FleetPoint(at=NOW, running=1, resting=2, moving=3, attention=4),),
    )
    return replace(made, **changes)


def notes(minutes=0, **changes):
    key = row_of(person()).user_key
    return replace(
        Notes(
            taken_at=NOW + timedelta(minutes=minutes),
            idle_stops={key: NOW},
            costs={key: 12.5},
            costs_month="2026-11",
            costs_at=NOW,
        ),
        **changes,
    )


def test_there_is_nothing_before_the_first_sweep(index):
    assert (index.fleet(), index.notes()) == (None, None)


def test_what_is_written_is_read_by_whoever_asks(bench, index):
    index.write_fleet(snapshot())
    index.write_notes(notes())
    for reader in (index, StorageFleetIndex(bench.clients)):
        assert reader.fleet() == snapshot()
        assert reader.notes() == notes()
    empty = notes(1, idle_stops={}, costs=None, costs_month="", costs_at=None)
    index.write_notes(empty)
    assert index.notes() == empty


def test_the_next_sweep_is_told_all_but_the_rows_whichever_version_wrote_the_list(bench, index):
    assert index.about() is None
    index.write_fleet(snapshot())
    counted = FleetAbout(snapshot(rows=()), figures_of(snapshot()))
    assert index.about() == StorageFleetIndex(bench.clients).about() == counted
    bucket(bench).blob("index/fleet-about.json.gz").delete()
    content = json.loads(gzip.decompress(bucket(bench).blob(FLEET).download_as_bytes(raw_download=True)))
    bucket(bench).blob(FLEET).upload_from_string(_gz({name: content[name] for name in ("version", *content)}))
    assert StorageFleetIndex(bench.clients).about() == FleetAbout(snapshot(rows=()), None)


def test_a_list_of_an_earlier_version_is_read_whole(bench, index):
    index.write_fleet(snapshot())
    content = json.loads(gzip.decompress(bucket(bench).blob(FLEET).download_as_bytes(raw_download=True)))
    for earlier in (content, {name: content[name] for name in ("version", *content)}):
        bucket(bench).blob(FLEET).upload_from_string(_gz(earlier))
        assert StorageFleetIndex(bench.clients).fleet() == snapshot()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=12), min_size=2, max_size=4))
def test_who_read_the_lists_before_reads_the_next_one_as_a_stranger_does(bench, lists):
    """Lists of any order, with people who come, go, change and stand twice."""
    index, reader, people = bench.deps.fleet, StorageFleetIndex(bench.clients), tuple(rows_of(10))
    at = reader.fleet().taken_at if reader.fleet() is not None else NOW
    for number, drawn in enumerate(lists, 1):
        rows = tuple(replace(people[who], cost_center=f"CC-{state}") for who, state in drawn)
        index.write_fleet(snapshot(rows=rows, taken_at=at + timedelta(minutes=number)))
        assert reader.fleet() == StorageFleetIndex(bench.clients).fleet()
        assert reader.fleet().rows == rows


def test_people_who_are_as_in_the_list_before_need_no_memory_again(bench, index):
    people = sorted(rows_of(30), key=lambda row: row.user_key)
    index.write_fleet(snapshot(rows=tuple(people)))
    reader = StorageFleetIndex(bench.clients)
    before = {row.user_key: row for row in reader.fleet().rows}
    newcomer, *others = people
    changed = replace(others[7], cost_center="other")
    others[7:9] = [changed]
    index.write_fleet(snapshot(minutes=1, rows=tuple(others)))
    index.write_fleet(snapshot(minutes=2, rows=(newcomer, *others)))
    read = reader.fleet().rows
    assert read == (newcomer, *others)
    anew = [row.user_key for row in read if row is not before[row.user_key]]
    assert anew == [changed.user_key, others[8].user_key]  # who follows somebody who is gone is read, too


def test_tables_are_told_last_uses_and_costs_alone_until_there_are_others(bench, index):
    key = user_key_for(parse_email("ana@example.com"))
    reader = StorageFleetIndex(bench.clients)
    assert reader.notes_for_tables() is None
    whole = notes(last_used={key: NOW}, looked={key: NOW}, started_ahead={key: NOW}, arrivals={key: (NOW,)})
    index.write_notes(whole)
    told = reader.notes_for_tables()
    assert told == notes(idle_stops={}, last_used={key: NOW})
    assert reader.notes_for_tables() is told
    assert reader.notes() == whole
    index.write_notes(notes(1, costs=None))
    assert reader.notes_for_tables() == notes(1, idle_stops={}, costs=None)


def test_notes_that_were_written_by_something_else_or_long_ago_are_read_whole(bench, index):
    index.write_notes(notes())
    content = json.loads(gzip.decompress(bucket(bench).blob(NOTES).download_as_bytes(raw_download=True)))
    short = {name: each for name, each in content.items() if each != {}}
    assert short.keys() < content.keys()
    for earlier in (content, short):
        bucket(bench).blob(NOTES).upload_from_string(gzip.compress(json.dumps(earlier).encode()))
        assert StorageFleetIndex(bench.clients).notes() == notes()


def test_a_list_has_no_space_between_rows_for_versions_before_cannot_take_it(bench, index):
    index.write_fleet(snapshot(300))
    text = gzip.decompress(bucket(bench).blob(FLEET).download_as_bytes(raw_download=True)).decode()
    place, keys = len('{"rows":['), []
    while text[place] != "]":
        row, place = json.JSONDecoder().raw_decode(text, place + (text[place] == ","))
        keys.append(row["key"])
    assert keys == [row.user_key for row in snapshot(300).rows]
    assert json.loads("{" + text[place + 1 :].removeprefix(","))["version"] == 1


def test_a_list_that_was_cut_off_is_damaged_and_not_short(bench, index):
    index.write_fleet(snapshot(50))
    whole = gzip.decompress(bucket(bench).blob(FLEET).download_as_bytes(raw_download=True))
    bucket(bench).blob(FLEET).upload_from_string(gzip.compress(whole[: whole.rindex(b"\n") + 1]))
    with pytest.raises(PermanentError) as caught:
        StorageFleetIndex(bench.clients).fleet()
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("costs", [None, {}, {"a-0123456789ab": 1.5, "ba-0123456789ab": 2.0}])
def test_the_notes_about_one_person_are_those_of_all_without_the_others(bench, index, costs):
    stops = {UserKey("ba-0123456789ab"): NOW, UserKey("a-0123456789ab"): NOW + timedelta(hours=1)}
    index.write_notes(notes(idle_stops=stops, costs=costs))
    reader = StorageFleetIndex(bench.clients)
    for key in (*stops, UserKey("aba-0123456789ab"), UserKey("a-0123456789a")):
        own_costs = None if costs is None else {k: cost for k, cost in costs.items() if k == key}
        own_stops = {k: at for k, at in stops.items() if k == key}
        assert reader.notes_about(key) == notes(idle_stops=own_stops, costs=own_costs)
    assert reader.notes() == notes(idle_stops=stops, costs=costs)


def test_a_list_of_nobody_is_read_as_one(bench, index):
    index.write_fleet(snapshot(0))
    assert StorageFleetIndex(bench.clients).fleet() == snapshot(0)


def test_ten_thousand_rows_survive_and_are_small(bench, index):
    big = snapshot(10_000)
    index.write_fleet(big)
    assert StorageFleetIndex(bench.clients).fleet() == big
    blob = bucket(bench).get_blob(FLEET)
    assert blob.size < 1_000_000


def test_what_did_not_change_is_one_call_without_a_download(bench, index):
    index.write_fleet(snapshot())
    first = index.fleet()
    bench.cloud.world.journal.clear()
    for _ in range(3):
        assert index.fleet() is first
    assert [(c["method"], c["status"]) for c in bench.calls()] == [("objects.get", 304)] * 3
    StorageFleetIndex(bench.clients).write_fleet(snapshot(minutes=1))
    assert index.fleet() == snapshot(minutes=1)


def test_one_that_is_taken_away_is_none_and_one_that_comes_back_is_read(bench, index):
    index.write_fleet(snapshot())
    assert index.fleet() is not None
    bucket(bench).blob(FLEET).delete()
    assert index.fleet() is None
    index.write_fleet(snapshot(minutes=1))
    assert index.fleet() == snapshot(minutes=1)


def test_a_newer_one_stays_and_one_of_the_same_moment_gives_way(bench, index):
    other = StorageFleetIndex(bench.clients)
    other.write_fleet(snapshot(minutes=9))
    index.write_fleet(snapshot(minutes=8))
    assert index.fleet() == other.fleet() == snapshot(minutes=9)
    index.write_fleet(snapshot(1, minutes=9))
    assert len(other.fleet().rows) == 1
    other.write_notes(notes(9))
    index.write_notes(notes(8, costs=None))
    assert index.notes() == notes(9)


def test_of_two_who_write_at_once_one_wins_whole(bench, index):
    index.write_fleet(snapshot())
    other, done = StorageFleetIndex(bench.clients), []

    def between():
        if not done and bench.calls():
            done.append(True)
            other.write_fleet(snapshot(2, minutes=5))

    bench.cloud.world.journal.clear()
    bench.adapter.around = between
    index.write_fleet(snapshot(1, minutes=4))
    bench.adapter.around = lambda: None
    assert done
    assert StorageFleetIndex(bench.clients).fleet() == snapshot(2, minutes=5)


def _gz(value):
    return gzip.compress(json.dumps(value).encode())


def _flipped():
    raw = bytearray(gzip.compress(b'{"version": 1, "x": "' + bytes(range(32, 127)) * 9 + b'"}'))
    for place in range(14, 40):
        raw[place] ^= 0xFF
    with pytest.raises((zlib.error, OSError, EOFError)):
        gzip.decompress(bytes(raw))
    return bytes(raw)


DAMAGED = {
    "empty": b"",
    "not compressed": b"{}",
    "cut": gzip.compress(b'{"version": 1}' * 99)[:-20],
    "flipped": _flipped(),
    "not JSON": gzip.compress(b"{"),
    "not UTF-8": gzip.compress(b"\xff\xfe\x00"),
    "a list": _gz([]),
    "null": _gz(None),
    "another version": _gz({"version": 2}),
    "fields missing": _gz({"version": 1}),
    "fields of another kind": _gz(
        {"version": 1, "taken_at": 7, "rows": 5, "idle_stops": [], "costs": 3, "costs_month": "", "costs_at": None}
    ),
    "rows of another kind": _gz({"version": 1, "taken_at": "2026-11-23T08:00:00+00:00", "rows": ["x"]}),
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_one_is_an_error_until_a_sweep_mends_it(bench, index, raw):
    for name in (FLEET, NOTES):
        bucket(bench).blob(name).upload_from_string(raw)
    with pytest.raises(PermanentError, match="unreadable index/fleet") as caught:
        index.fleet()
    assert "the next sweep writes it again" in caught.value.user_message
    with pytest.raises(PermanentError, match="unreadable index/notes"):
        index.notes()
    index.write_fleet(snapshot())
    index.write_notes(notes())
    assert (index.fleet(), index.notes()) == (snapshot(), notes())


def test_a_row_that_somebody_spoiled_is_left_out_and_the_rest_is_there(bench, index):
    index.write_fleet(snapshot())
    raw = json.loads(gzip.decompress(bucket(bench).blob(FLEET).download_as_bytes(raw_download=True)))
    raw["rows"][0]["presence"] = "MAYBE"
    raw["rows"][1]["usage"] = "[1]"
    bucket(bench).blob(FLEET).upload_from_string(_gz(raw))
    assert index.fleet().rows == snapshot().rows[2:]


def test_what_cannot_be_read_is_not_nothing(bench, index):
    index.write_fleet(snapshot())
    bench.fault(call="storage.objects.get", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(PermanentError):
        index.fleet()
    assert index.fleet() == snapshot()
