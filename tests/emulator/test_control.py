"""The control API over real HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.api_core import exceptions
from kit.inprocess import make_bench

from emulator.clock import parse_rfc3339
from emulator.errors import ApiError
from shared.domain.things.errors import BenchkeeperError


@pytest.fixture
def control(storage_cloud, http):
    def call(method: str, path: str, body: object = None, expect: int = 200):
        answer = http.request(method, f"{storage_cloud.url}/_emulator/{path}", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    return call


def test_the_clock_moves_and_changes_its_speed(control):
    before = control("GET", "clock")
    assert before["speed"] == 0
    after = control("POST", "clock", {"advance_seconds": 90.5})
    assert parse_rfc3339(after["now"]) - parse_rfc3339(before["now"]) == timedelta(seconds=90.5)
    assert control("POST", "clock", {"speed": 60, "advance_seconds": 1})["speed"] == 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"advance": 1},
        {"advance_seconds": -1},
        {"advance_seconds": "1"},
        {"speed": True},
        {"speed": -1},
        {"advance_seconds": 1e18},
    ],
)
def test_a_wrong_clock_is_refused_with_what_is_valid(body, control, storage_cloud):
    before = storage_cloud.world.clock.now()
    answer = control("POST", "clock", body, expect=400)
    assert "Valid: " in answer["error"]["message"]
    assert storage_cloud.world.clock.now() == before


def test_mutations_from_an_index(control, bucket):
    first = control("GET", "mutations")
    assert [row["method"] for row in first["mutations"]] == ["buckets.insert"]
    assert set(first["mutations"][0]) == {"time", "service", "method", "resource", "principal", "status"}
    bucket.blob("x").upload_from_string(b"x")
    bucket.reload()
    more = control("GET", f"mutations?since={first['next']}")["mutations"]
    assert [(row["service"], row["method"], row["resource"], row["status"]) for row in more] == [
        ("storage", "objects.insert", f"{bucket.name}/x", 200)
    ]
    control("GET", "mutations?since=last", expect=400)


def test_calls_hold_refused_ones_and_can_be_forgotten(control, bucket):
    bucket.get_blob("missing")
    rows = control("GET", "calls")["calls"]
    assert [(row["method"], row["status"]) for row in rows] == [("buckets.insert", 200), ("objects.get", 404)]
    control("DELETE", "calls")
    assert control("GET", "calls") == {"calls": []}


def test_a_fault_fires_as_scripted_and_is_accounted_for(control, bucket):
    control(
        "POST",
        "faults",
        {"call": "storage.objects.get", "skip": 1, "error": {"code": "PERMISSION_DENIED", "message": "no"}},
    )
    assert [f["fired"] for f in control("GET", "faults/unfired")["faults"]] == [0]
    assert bucket.get_blob("x") is None
    with pytest.raises(exceptions.Forbidden, match="no"):
        bucket.get_blob("x")
    assert bucket.get_blob("x") is None
    assert control("GET", "faults/unfired") == {"faults": []}
    assert [(f["seen"], f["fired"]) for f in control("GET", "faults")["faults"]] == [(2, 1)]
    control("DELETE", "faults")
    assert control("GET", "faults") == {"faults": []}


def test_an_answer_that_is_lost_after_the_work_was_done(control, bucket):
    error = {"code": "PERMISSION_DENIED", "message": "lost"}
    control("POST", "faults", {"call": "storage.objects.delete", "phase": "after", "error": error})
    bucket.blob("x").upload_from_string(b"x")
    with pytest.raises(exceptions.Forbidden):
        bucket.blob("x").delete()
    assert bucket.get_blob("x") is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"call": "storage.*"},
        {"call": 5, "unreachable": True},
        {"call": "storage.*", "error": {"code": "NOPE"}},
        {"call": "storage.*", "error": "text"},
        {"call": "storage.*", "unreachable": True, "times": -1},
        {"call": "storage.*", "unreachable": True, "times": True},
        {"call": "storage.*", "unreachable": True, "phase": "during"},
        {"call": "storage.*", "unreachable": True, "nonsense": 1},
    ],
)
def test_a_wrong_fault_is_refused(body, control):
    control("POST", "faults", body, expect=400)
    assert control("GET", "faults") == {"faults": []}


def test_a_world_is_taken_away_and_put_back(control, bucket):
    bucket.blob("x").upload_from_string(b"\x00\xff")
    generation = bucket.get_blob("x").generation
    saved = control("GET", "world")
    bucket.delete(force=True)
    control("POST", "clock", {"advance_seconds": 3600})
    assert control("PUT", "world", saved)["now"] == saved["now"]
    read = bucket.get_blob("x")
    assert (read.generation, read.download_as_bytes()) == (generation, b"\x00\xff")


@pytest.mark.parametrize("state", [{}, {"version": 2}, {"version": 1}, {"version": 1, "now": "x", "models": {}}])
def test_a_world_that_cannot_be_read_changes_nothing(state, control, bucket):
    before = control("GET", "world")
    control("PUT", "world", state, expect=400)
    assert control("GET", "world") == before


def test_a_half_good_world_changes_nothing(control, bucket):
    saved = control("GET", "world")
    broken = {**saved, "now": "2030-01-01T00:00:00Z", "models": {"storage": {"buckets": []}}}
    control("PUT", "world", broken, expect=400)
    assert control("GET", "world") == saved


class Refusing:
    """A model that refuses what it is given, as Pub/Sub refuses a malformed filter; it takes back what it had."""

    def dump(self) -> str:
        return "what it had"

    def load(self, state: str) -> None:
        if state != "what it had":
            raise ApiError("INVALID_ARGUMENT", "refused")


def test_a_world_that_its_last_model_refuses_changes_nothing():
    bench = make_bench()
    world = bench.cloud.world
    world.models["refusing"] = Refusing()
    saved = world.save()
    broken = {**saved, "now": "2030-01-01T00:00:00Z", "models": {**saved["models"], "refusing": "other"}}
    with pytest.raises(BenchkeeperError, match="refused"):
        bench.clients.json("control").call("PUT", "/_emulator/world", body=broken)
    assert world.save() == saved


def test_the_index_is_for_people(storage_cloud, http):
    answer = http.get(f"{storage_cloud.url}/_emulator/")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "/_emulator/faults" in answer.text


def test_its_own_calls_are_not_in_the_journal(control):
    control("GET", "clock")
    assert control("GET", "calls") == {"calls": []}
