"""Records in Cloud Storage through the official client: conditional writes, rows from a listing, the due index."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from kit.inprocess import ENDPOINT
from kit.making import ANALYSTS, NOW, after, joined, operation, person
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.cloud.http.clients import Clients, CloudConfig
from shared.cloud.storage.records import StorageRecords
from shared.domain.intent.wanted import new_record
from shared.domain.record import codec
from shared.domain.record.record import Hold, Power, Presence, Reason, row_of
from shared.domain.record.status import Condition, ConditionStatus, ConditionType, Verb, set_condition
from shared.domain.things.clusters import ClusterState, ClusterStatus, ClusterWish
from shared.domain.things.errors import CloudUnavailableError, ConflictError, PermanentError, RateLimitedError
from shared.domain.things.identity import InstanceId, parse_email, user_key_for
from shared.domain.things.power import Usage
from shared.domain.things.snapshots import Former, Snapshot
from shared.engine.ports.records import DueHint, Stored


@pytest.fixture
def records(bench) -> StorageRecords:
    return bench.deps.records


def bucket(bench):
    return storage_bucket(bench.clients)


def names(bench, prefix: str = "") -> list[str]:
    return [blob.name for blob in bucket(bench).list_blobs(prefix=prefix)]


def due_at(moment, record=None):
    return (record or person()).with_status(next_attempt_at=moment)


def test_there_is_no_record_before_one_is_saved(records):
    assert records.load(person().user_key) is None


def test_what_is_saved_is_loaded(records):
    record = after(joined(groups=(ANALYSTS,), attributes={"cost_center": "CC-1", "name": "\u00d1and\u00fa \U0001f600"}))
    saved = records.save(record, expected=None)
    loaded = records.load(record.user_key)
    assert loaded == saved
    assert loaded.record == record


def test_the_first_write_is_create_only(records):
    first = records.save(person(), expected=None)
    with pytest.raises(ConflictError):
        records.save(person(attempts=7), expected=None)
    assert records.load(person().user_key) == first


def test_a_stale_writer_loses_and_changes_nothing(records):
    first = records.save(person(), expected=None)
    second = records.save(person(attempts=1), expected=first)
    with pytest.raises(ConflictError):
        records.save(person(attempts=2), expected=first)
    assert records.load(person().user_key) == second
    third = records.save(person(attempts=3), expected=second)
    assert third.generation != second.generation
    assert records.load(person().user_key).record.status.attempts == 3


def test_writing_over_what_is_gone_is_a_conflict(bench, records):
    first = records.save(person(), expected=None)
    bucket(bench).blob(f"records/{person().user_key}.json").delete()
    with pytest.raises(ConflictError):
        records.save(person(), expected=first)
    assert records.load(person().user_key) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"version": 99}'])
def test_a_damaged_record_is_an_error_and_not_no_record(bench, records, content):
    bucket(bench).blob(f"records/{person().user_key}.json").upload_from_string(content)
    with pytest.raises(PermanentError, match="unreadable record"):
        records.load(person().user_key)


def test_a_row_tells_of_the_listing_what_the_record_says(records):
    ready = set_condition(
        (), ConditionType.NOTEBOOK_READY, ConditionStatus.TRUE, Reason.READY, "Ready \u2713.", NOW
    )  # fmt: skip
    snapshots = tuple(
        Snapshot(name=name, instance_id=InstanceId("nb-1"), zone="z", instance_uid="u", asked_at=NOW)
        for name in ("s-1", "s-2")
    )
    people = [
        replace(
            person(
                former=Former(instance_id=InstanceId("nb-old"), zone="europe-west1-b", uid="7"), snapshots=snapshots
            ),
            user_key=user_key_for(parse_email("c@x.com")),
        ),
        person(operation=operation(Verb.STOP), next_attempt_at=NOW, proxy_uri="x.example", conditions=ready),
        replace(
            new_record(parse_email("\u00d1and\u00fa O'Neil+test@sub.example.co"), NOW), cost_center='R&D \U0001f600 "x"'
        ),
        replace(
            person(Presence.ABSENT, Power.STOPPED, settled=False, observed_generation=1, idle_warned_at=NOW),
            user_key=user_key_for(parse_email("b@x.com")),
        ),
    ]
    for record in people:
        records.save(record, expected=None)
    assert sorted(records.rows(), key=lambda r: r.user_key) == sorted(map(row_of, people), key=lambda r: r.user_key)


def test_listing_reads_no_record(bench, records):
    for number in range(25):
        records.save(new_record(parse_email(f"p{number}@example.com"), NOW), expected=None)
    bench.cloud.world.journal.clear()
    assert len(list(records.rows())) == 25
    assert [(c["method"], c["status"]) for c in bench.calls()] == [("objects.list", 200)]


def test_a_foreign_object_among_the_records_is_passed_over(bench, records):
    bucket(bench).blob("records/readme.json").upload_from_string("hello")
    odd = bucket(bench).blob("records/odd.json")
    odd.metadata = {"presence": "MAYBE"}
    odd.upload_from_string("{}")
    records.save(person(), expected=None)
    assert [row.user_key for row in records.rows()] == [person().user_key]


def odd_person():
    """Somebody with everything that came with the page."""
    clusters = (ClusterStatus(template="spark", name="s-1", asked_at=NOW, state=ClusterState.RUNNING),)
    usage = {
        "notebook": Usage(month="2026-11", ran_s=7200, since=NOW),
        "spark:a \U0001f600": Usage(month="2026-10", ran_s=0, since=None),
    }
    record = person(clusters=clusters, usage=usage, ready_took_s=181.5, ready_at=NOW)
    wishes = (ClusterWish(template="other", since=NOW), ClusterWish(template="spark", since=NOW))
    return replace(record, spec=replace(record.spec, keep_on_until=NOW, clusters=wishes))


def test_a_row_tells_of_clusters_hours_and_keeping_on(records):
    records.save(odd_person(), expected=None)
    (row,) = records.rows()
    assert row == row_of(odd_person())
    assert row.clusters == {"spark": "RUNNING"}
    assert row.keep_on_until == NOW


def test_a_row_tells_of_a_hold_an_end_a_proof_and_zones_without_machines(records):
    ready = Condition(
        type=ConditionType.NOTEBOOK_READY, status=ConditionStatus.FALSE, reason=Reason.STOCKOUT, message="", last_transition_time=NOW
    )  # fmt: skip
    waits = person(conditions=(ready,), failed_zones=("z-a", "z-b"), zone="z-c")
    held = replace(waits, hold=Hold(reason="تدقيق 4711, case=1", since=NOW))
    records.save(held, expected=None)
    (row,) = records.rows()
    assert row == row_of(held)
    assert row.sold_out == ("z-a", "z-b", "z-c")
    assert (row.hold_reason, row.on_hold) == ("تدقيق 4711, case=1", True)


LATER_TEXTS = {"keep-on-until", "usage", "ready-took", "ready-at", "clusters"}


def test_a_row_of_before_there_were_such_texts_is_still_read(bench, records):
    records.save(odd_person(), expected=None)
    blob = bucket(bench).get_blob(f"records/{person().user_key}.json")
    assert set(blob.metadata) >= LATER_TEXTS
    blob.metadata = {name: None if name in LATER_TEXTS else text for name, text in blob.metadata.items()}
    blob.patch()
    (row,) = records.rows()
    plain = row_of(odd_person())
    assert row == replace(plain, keep_on_until=None, usage={}, ready_took_s=None, ready_at=None, clusters={})


def test_who_has_none_of_it_carries_none_of_it(bench, records):
    records.save(person(), expected=None)
    blob = bucket(bench).get_blob(f"records/{person().user_key}.json")
    assert not LATER_TEXTS & set(blob.metadata)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("usage", "{"),
        ("usage", "[1]"),
        ("usage", '{"a": 5}'),
        ("clusters", "nothing"),
        ("ready-took", "long"),
        ("built-from", "{"),
    ],
)
def test_a_row_that_somebody_spoiled_is_passed_over_and_holds_up_nobody(bench, records, name, text):
    records.save(odd_person(), expected=None)
    records.save(new_record(parse_email("other@example.com"), NOW), expected=None)
    blob = bucket(bench).get_blob(f"records/{person().user_key}.json")
    blob.metadata = {**blob.metadata, name: text}
    blob.patch()
    assert [row.email for row in records.rows()] == ["other@example.com"]


# --- pointers ---

FIRST, SECOND, THIRD = (user_key_for(parse_email(f"{name}@example.com")) for name in ("first", "second", "third"))


def test_a_key_that_leads_to_a_record_loads_it(records):
    kept = records.save(person(), expected=None)
    records.point(FIRST, kept.record.user_key, expected=None)
    records.point(SECOND, FIRST, expected=None)
    assert records.load(SECOND) == records.load(FIRST) == kept
    saved = records.save(person(attempts=1), expected=records.load(SECOND))
    assert records.load(SECOND) == records.load(person().user_key) == saved


def test_a_pointer_is_no_row_and_an_older_program_refuses_it(bench, records):
    kept = records.save(person(), expected=None)
    gives_way = records.save(new_record(parse_email("first@example.com"), NOW), expected=None)
    records.point(FIRST, kept.record.user_key, expected=gives_way)
    assert list(records.rows()) == [row_of(person())]
    raw = bucket(bench).blob(f"records/{FIRST}.json").download_as_bytes()
    with pytest.raises(PermanentError, match="version 4"):
        codec.from_json(json.loads(raw))


def test_a_pointer_takes_the_place_of_what_was_read_only(records):
    kept = records.save(person(), expected=None)
    read = records.save(new_record(parse_email("first@example.com"), NOW), expected=None)
    for stale in (None, kept):
        with pytest.raises(ConflictError):
            records.point(FIRST, kept.record.user_key, expected=stale)
    assert records.load(FIRST) == read
    records.point(FIRST, kept.record.user_key, expected=read)
    with pytest.raises(ConflictError):
        records.save(read.record, expected=read)
    assert records.load(FIRST) == kept


@pytest.mark.parametrize(
    ("pointers", "leads"),
    [
        ({FIRST: SECOND, SECOND: THIRD}, f"{THIRD}, which is not there"),
        ({FIRST: FIRST}, "more than 8 others"),
        ({FIRST: SECOND, SECOND: THIRD, THIRD: SECOND}, "more than 8 others"),
        ({FIRST: "../templates/x"}, "no user key"),
        ({FIRST: None}, "no user key"),
    ],
)
def test_a_pointer_that_leads_to_no_record_is_an_error_and_not_no_record(records, pointers, leads):
    for key, to in pointers.items():
        records.point(key, to, expected=None)
    with pytest.raises(PermanentError, match=leads):
        records.load(FIRST)


def test_eight_pointers_in_a_row_are_followed(records):
    kept = records.save(person(), expected=None)
    keys = [user_key_for(parse_email(f"p{number}@example.com")) for number in range(9)]
    for key, to in zip(keys, [kept.record.user_key, *keys], strict=False):
        records.point(key, to, expected=None)
    assert records.load(keys[7]) == kept
    with pytest.raises(PermanentError, match="more than 8 others"):
        records.load(keys[8])


# --- the due index ---


def test_hints_come_oldest_first_up_to_the_second_that_is_asked_for(records):
    keys = {}
    for minutes in (30, 0, 10, 20, 10):
        record = new_record(parse_email(f"p{len(keys)}@example.com"), NOW)
        keys[record.user_key] = minutes
        records.save(due_at(NOW + timedelta(minutes=minutes), record), expected=None)
    found = list(records.due(NOW + timedelta(minutes=10)))
    assert [keys[hint.user_key] for hint in found] == [0, 10, 10]
    assert [hint.at for hint in found] == sorted(hint.at for hint in found)
    assert list(records.due(NOW - timedelta(seconds=1))) == []
    assert len(list(records.due(NOW + timedelta(days=900)))) == 5


@pytest.mark.parametrize("micros", [0, 1, 499_999, 999_999])
def test_a_hint_is_never_a_moment_early(records, micros):
    moment = NOW + timedelta(microseconds=micros)
    records.save(due_at(moment), expected=None)
    (hint,) = records.due(NOW + timedelta(seconds=1))
    assert moment <= hint.at < moment + timedelta(seconds=1)
    early = list(records.due(NOW))
    assert bool(early) == (micros == 0)


@pytest.mark.parametrize(
    "moment", [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2027, 12, 31, 23, 59, 59, 1, tzinfo=UTC)]
)
def test_a_hint_may_be_at_the_end_of_a_year_or_of_all(records, moment):
    records.save(due_at(moment), expected=None)
    (hint,) = records.due(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert hint.at == moment.replace(microsecond=0) + timedelta(seconds=1 if moment.microsecond else 0)


def test_a_tick_without_anybody_due_is_one_call(bench, records):
    for number in range(30):
        record = new_record(parse_email(f"p{number}@example.com"), NOW)
        records.save(due_at(NOW + timedelta(hours=1), record), expected=None)
    bench.cloud.world.journal.clear()
    assert list(records.due(NOW)) == []
    assert [c["method"] for c in bench.calls()] == ["objects.list"]


def test_the_hint_is_written_before_the_record(bench, records):
    bench.cloud.world.journal.clear()
    records.save(due_at(NOW), expected=None)
    written = [c["resource"] for c in bench.calls() if c["mutates"]]
    assert len(written) == 2
    assert "due" in written[0]
    assert "records" in written[1]


def test_when_the_hint_cannot_be_written_neither_is_the_record(bench, records):
    bench.fault(call="storage.objects.insert", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(PermanentError):
        records.save(due_at(NOW), expected=None)
    assert names(bench) == []


def test_a_record_that_cannot_be_written_leaves_at_worst_a_stale_hint(bench, records):
    bench.fault(call="storage.objects.insert", skip=1, error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(PermanentError):
        records.save(due_at(NOW), expected=None)
    assert [name.split("/")[0] for name in names(bench)] == ["due"]


def test_a_wake_up_that_is_planned_already_costs_no_second_hint(bench, records):
    stored = records.save(due_at(NOW), expected=None)
    bench.cloud.world.journal.clear()
    stored = records.save(due_at(NOW, person(attempts=1)), expected=stored)
    assert len([c for c in bench.calls() if c["mutates"]]) == 1
    records.save(due_at(NOW + timedelta(minutes=1)), expected=stored)
    assert len(names(bench, "due/")) == 2


def test_a_record_without_a_wake_up_has_no_hint(bench, records):
    records.save(person(), expected=None)
    assert names(bench, "due/") == []


def test_a_hint_is_dropped_once_and_dropping_it_again_is_fine(bench, records):
    records.save(due_at(NOW + timedelta(microseconds=1)), expected=None)
    (hint,) = records.due(NOW + timedelta(minutes=1))
    records.drop_hint(hint)
    assert names(bench, "due/") == []
    records.drop_hint(hint)
    records.drop_hint(DueHint(NOW, person().user_key))


@pytest.mark.parametrize(
    "name", ["due/readme", "due/20261123T080000Z", "due/soon/ana-silva-7bda2560ce1b", "due/20261123T080000Z/A B"]
)
def test_a_foreign_object_among_the_hints_is_passed_over(bench, records, name):
    bucket(bench).blob(name).upload_from_string(b"")
    assert list(records.due(NOW + timedelta(days=1))) == []


# --- trouble ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "PERMISSION_DENIED", "message": "storage.objects.get denied"}, PermanentError),
        ({"code": "INVALID_ARGUMENT", "message": "bad"}, PermanentError),
    ],
)
def test_a_record_that_cannot_be_read_is_not_an_absent_one(bench, records, error, kind):
    records.save(person(), expected=None)
    bench.fault(call="storage.objects.get", error=error)
    with pytest.raises(kind):
        records.load(person().user_key)


@pytest.mark.parametrize(
    ("code", "kind"), [("UNAVAILABLE", CloudUnavailableError), ("RESOURCE_EXHAUSTED", RateLimitedError)]
)
def test_one_refusal_in_passing_is_ridden_out_by_the_client_or_is_retryable(bench, records, code, kind):
    bench.fault(call="storage.objects.list", error={"code": code, "message": "later"})
    try:
        assert list(records.rows()) == []
    except kind:
        assert list(records.rows()) == []


def test_a_write_whose_answer_is_lost_is_a_conflict_at_worst_and_never_two_records(bench, records):
    bench.fault(
        call="storage.objects.insert",
        phase="after",
        resource="*records*",
        error={"code": "UNAVAILABLE", "message": "lost"},
    )
    try:
        stored = records.save(person(), expected=None)
    except (ConflictError, CloudUnavailableError):
        stored = records.load(person().user_key)
    assert isinstance(stored, Stored)
    assert stored.record == person()
    assert len(names(bench, "records/")) == 1


def test_a_process_without_patience_is_told_at_once(bench):
    """Whoever waits for a page is better told to come back than left for two minutes."""
    config = CloudConfig(project="p", bucket=bench.settings.bucket, api_endpoint=ENDPOINT, patience_s=0.0)
    hasty = StorageRecords(Clients(config, mount=bench.adapter, door=bench.adapter.answer))
    bench.fault(call="storage.objects.get", times=0, error={"code": "UNAVAILABLE", "message": "down"})
    before = len(bench.calls())
    with pytest.raises(CloudUnavailableError):
        hasty.load(user_key_for(parse_email("ana.silva@example.com")))
    assert len(bench.calls()) - before == 1
