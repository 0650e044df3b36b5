"""The scheduled sweeps as functions: each kind does its work, and a tick is never delivered twice for a failure."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.activity import visit
from kit.joining import ACK, join, state

from shared.domain.things.notebook import NotebookState


def row(functions, key):
    return next(r for r in functions.bench.deps.records.rows() if r.user_key == key)


def test_a_due_tick_follows_what_was_started(functions):
    key, _ = join(functions)
    assert row(functions, key).reason == "Creating"
    functions.bench.advance(minutes=5)
    assert functions.deliver("tick", {"sweep": "due"}) == ACK
    assert row(functions, key).reason == "Ready"
    (swept,) = functions.lines("Finished a sweep")
    assert (swept["kind"], swept["looked_at"], swept["failed"]) == ("due", 1, {})
    (handled,) = functions.lines("Handled a delivery")
    assert (handled["sweep"], handled["outcome"]) == ("due", "ack")
    assert handled["logging.googleapis.com/labels"] == {"component": "tick"}


def test_an_idle_tick_stops_what_nobody_uses(functions):
    key, ref = join(functions)
    functions.bench.advance(minutes=5)
    functions.deliver("tick", {"sweep": "due"})
    functions.bench.control("POST", "/_emulator/activity", {"instance": ref.instance_id, "cpu": 0.0})
    visit(functions.bench)
    functions.bench.advance(minutes=120)
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert not functions.lines("Warned of an idle stop")
    functions.bench.advance(minutes=45)
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    assert functions.lines("Warned of an idle stop")
    assert state(functions, ref) is NotebookState.ACTIVE
    functions.bench.advance(minutes=30)
    assert functions.deliver("tick", {"sweep": "idle"}) == ACK
    functions.bench.advance(minutes=2)
    assert state(functions, ref) is NotebookState.STOPPED
    functions.deliver("tick", {"sweep": "due"})
    assert row(functions, key).reason in {"Idle", "Stopped"}


def test_a_drift_tick_mends_what_somebody_deleted(functions):
    key, ref = join(functions)
    functions.bench.advance(minutes=5)
    functions.deliver("tick", {"sweep": "due"})
    functions.bench.deps.notebooks.delete(ref, "")
    functions.bench.advance(minutes=5)
    assert functions.deliver("tick", {"sweep": "drift"}) == ACK
    functions.bench.advance(minutes=5)
    functions.deliver("tick", {"sweep": "due"})
    assert state(functions, ref) is NotebookState.ACTIVE
    assert row(functions, key).reason == "Ready"


@pytest.mark.parametrize("body", [b"", b"due", {}, {"sweep": "all"}, {"sweep": ["due"]}])
def test_a_tick_of_no_known_kind_is_a_dead_letter(functions, body):
    assert functions.deliver("tick", body) == ACK
    ((_, attributes),) = functions.letters.published
    assert attributes["reason"] == "InvalidMessage"


@pytest.mark.parametrize("kind", ["due", "drift", "idle"])
def test_a_sweep_that_cannot_list_is_logged_and_acked_since_the_next_tick_comes_by_itself(functions, kind):
    join(functions)
    functions.bench.advance(minutes=5)
    error = {"code": "ABORTED", "message": "later"}
    functions.bench.fault(call="storage.objects.list", times=0, error=error)
    assert functions.deliver("tick", {"sweep": kind}) == ACK
    (failed,) = functions.lines("Sweep failed")
    assert (failed["severity"], failed["kind"]) == ("ERROR", kind)
    assert functions.letters.published == []
    functions.bench.cloud.world.faults.clear()
    assert functions.deliver("tick", {"sweep": kind}) == ACK
    assert [line["kind"] for line in functions.lines("Finished a sweep")] == [kind]


def test_one_users_trouble_holds_up_nobody(functions):
    ana, _ = join(functions)
    ben, _ = join(functions, "ben@example.com")
    functions.bench.advance(minutes=5)
    functions.bench.fault(
        call="notebooks.GetInstance", resource=f"*{ana}*", error={"code": "PERMISSION_DENIED", "message": "no"}
    )
    assert functions.deliver("tick", {"sweep": "due"}) == ACK
    assert row(functions, ben).reason == "Ready"
    assert row(functions, ana).reason == "Unreadable"
    assert row(functions, ana).next_attempt_at > functions.bench.now + timedelta(minutes=1)


@pytest.mark.parametrize("hours", [-3, 3])
@pytest.mark.parametrize("kind", ["due", "idle", "drift"])
def test_a_sweep_whose_clock_is_not_the_publishers_does_nothing(functions, kind, hours):
    key, ref = join(functions)
    functions.bench.advance(minutes=5)
    functions.deliver("tick", {"sweep": "due"})
    functions.bench.deps.notebooks.delete(ref, "")
    functions.bench.advance(minutes=5)
    before = functions.bench.deps.records.load(key)
    functions.bench.cloud.world.journal.clear()
    published = functions.bench.now + timedelta(hours=hours)
    assert functions.deliver("tick", {"sweep": kind}, published=published.isoformat()) == ACK
    assert functions.bench.calls() == []
    assert functions.bench.deps.records.load(key) == before
    (skipped,) = functions.lines("Skipped a sweep")
    assert (skipped["severity"], skipped["kind"], skipped["reason"]) == ("ERROR", kind, "ClockDiffers")
    assert skipped["ahead_s"] == -hours * 3600
    assert functions.deliver("tick", {"sweep": kind}) == ACK
    assert functions.lines("Finished a sweep")[-1]["kind"] == kind


def test_an_idle_and_a_drift_tick_replay_what_no_delivery_could_bring_in(functions):
    leaver = {
        "schema": "workbench.lifecycle/v1", "event_id": "e9", "type": "leaver", "user": "ana.silva@example.com",
        "occurred_at": functions.bench.now.isoformat(),
    }  # fmt: skip
    for number, kind in enumerate(("idle", "drift")):
        attributes = {"CloudPubSubDeadLetterSourceSubscription": "workbench-lifecycle-push"}
        functions.deliver("dead_letter", leaver, attributes=attributes, message_id=str(number))
        functions.bench.advance(minutes=1)
        functions.deliver("tick", {"sweep": "due"})
        assert functions.letters.kept()[-1].row.replayed_at is None
        functions.deliver("tick", {"sweep": kind})
        assert functions.letters.kept()[-1].row.replayed_at == functions.bench.now
        assert functions.lines("Swept dead letters")[-1]["replayed"] == 1
