"""One person's story as it comes of a whole life: news, wishes, decisions and calls in time order, each once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.inprocess import impatient
from kit.machine import CrashError
from kit.official import storage_bucket
from kit.spark import SMALL, spark_life
from msgspec.structs import replace

from shared.domain.people.events import Joined, Left
from shared.domain.record.record import Power
from shared.domain.things.history import MAX_LINES, StoryKind
from shared.engine.news.deliver import deliver
from shared.engine.news.requests import ask_power, keep_on, want_cluster
from shared.engine.reconcile.changing import want_hold
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.sweeps.sweeps import sweep


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture
def someone():
    return spark_life()


def texts(someone, kind=None):
    return [text for k, text, _ in someone.story() if kind in {None, k}]


def test_a_life_reads_from_joining_to_leaving(someone):
    someone.want(minutes=4)
    ask_power(someone.key, Power.STOPPED, someone.bench.deps, by="admin-0123456789ab")
    someone.minutes(5)
    someone.leave(minutes=10)
    story = someone.record.status.story
    assert [line.at for line in story] == sorted(line.at for line in story)
    told = texts(someone)
    milestones = [
        "Joined",
        "Notebook: Creating",
        "Notebook: Ready",
        f"Start the Spark environment {SMALL}",
        "Spark: Ready",
        "Stop the notebook",
        "Notebook: Stopped",
        "Left",
    ]
    places = [told.index(text) for text in milestones]
    assert places == sorted(places), told
    calls = [line for line in story if line.kind is StoryKind.CALL]
    assert any(line.text.startswith("create Spark cluster") and "/operations/" in line.ref for line in calls)
    assert all(line.because for line in calls)
    (stop,) = [line for line in story if line.text == "Stop the notebook"]
    assert (stop.kind, stop.because) == (StoryKind.WISH, "asked for by admin-0123456789ab")


def test_a_message_that_comes_again_and_a_click_that_changes_nothing_add_nothing(someone):
    now = someone.bench.now
    event = Left(event_id="l-1", user=someone.email, occurred_at=now, effective_at=now)
    deliver(event, someone.bench.deps)
    someone.minutes(12)
    before = someone.record.status.story
    for _ in range(3):
        deliver(event, someone.bench.deps)
        older = Joined(event_id="old", user=someone.email, occurred_at=now - timedelta(days=2), effective_at=now)
        deliver(replace(older, effective_at=older.occurred_at), someone.bench.deps)
    assert [line.text for line in someone.record.status.story if line not in before] in ([], ["Joined"])
    assert sum(line.text == "Left" for line in someone.record.status.story) == 1


def test_a_second_click_on_start_is_no_second_line(someone):
    for _ in range(3):
        want_cluster(someone.key, SMALL, someone.bench.deps, by=someone.key)
    assert texts(someone, "wish") == [f"Start the Spark environment {SMALL}"]


def test_passes_that_change_nothing_add_nothing_and_write_nothing(someone):
    reconcile(someone.key, someone.bench.deps)
    before = someone.bench.deps.records.load(someone.key)
    for _ in range(4):
        someone.bench.advance(hours=3)
        reconcile(someone.key, someone.bench.deps)
        sweep("drift", someone.bench.deps)
    assert someone.bench.deps.records.load(someone.key) == before


def test_a_running_cluster_that_is_looked_at_adds_nothing(someone):
    someone.want(minutes=5)
    before = someone.record.status.story
    someone.minutes(50)
    assert someone.record.status.story == before


def test_trouble_that_lasts_is_told_once(someone):
    fault = {"code": "PERMISSION_DENIED", "message": "storage.objects.create denied"}
    someone.bench.fault(call="notebooks.StopInstance", error=fault, times=0)
    ask_power(someone.key, Power.STOPPED, someone.bench.deps, by=someone.key)
    reconcile(someone.key, someone.bench.deps)
    before = len(someone.record.status.story)
    for _ in range(6):
        someone.bench.advance(hours=2)
        someone.minutes(1)
    assert len(someone.record.status.story) == before
    assert [t for t in texts(someone, "call") if t.endswith(": refused")] == [texts(someone, "call")[-1]]


def test_a_crash_leaves_a_story_that_fits_what_is_there(someone):
    """The process dies right after the cloud said yes: the record has the intent, and the audit says later that its outcome is unknown."""
    want_cluster(someone.key, SMALL, someone.bench.deps, by=someone.key)

    def die():
        if someone.there():
            raise CrashError

    someone.bench.adapter.around = die
    with pytest.raises(CrashError):
        reconcile(someone.key, someone.bench.deps)
    someone.bench.adapter.around = lambda: None
    (intent,) = [line for line in someone.record.status.story if line.text.startswith("create Spark")]
    assert intent.is_under_way
    someone.minutes(5)
    assert someone.spark() == {SMALL: "RUNNING"}
    told = texts(someone)
    assert told.count(f"Start the Spark environment {SMALL}") == 1
    assert told.count("Spark: Ready") == 1


def test_years_of_it_are_bounded_and_the_record_stays_small(someone):
    for _ in range(30):
        someone.want(minutes=4)
        someone.drop(minutes=4)
    assert len(someone.record.status.story) == MAX_LINES
    blob = storage_bucket(someone.bench.clients).get_blob(f"records/{someone.key}.json")
    assert blob.size < 32_000


def test_nobody_elses_address_is_in_it_and_not_even_the_persons_own(someone):
    want_hold(someone.key, "asked for by boss.of.all@example.com", someone.bench.deps, by="admin-0123456789ab")
    keep_on(someone.key, someone.bench.now + timedelta(hours=1), someone.bench.deps, by=someone.key)
    cause = "replaced by new.person@example.com"
    someone.tell(Left, cause=cause)
    someone.minutes(10)
    told = "\n".join(f"{text} {because}" for _, text, because in someone.story())
    assert "@" not in told.replace("data-analysts@example.com", "")
    assert "replaced by" in told
    assert "Keep the notebook on until" in told


def test_the_page_log_names_people_by_key_only(someone):
    someone.want()
    asked = [facts for _, message, facts in someone.bench.log.lines if message == "Accepted a request"]
    assert [facts["user"] for facts in asked] == [someone.key]
    assert "@" not in repr(asked)
