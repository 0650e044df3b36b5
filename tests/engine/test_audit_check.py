"""`verify` over the embedded cloud: whatever somebody alters, removes or adds by hand is found, and what nobody touched is not."""

from __future__ import annotations

import json

import pytest
from kit import audit
from kit.inprocess import impatient, make_bench
from kit.life import Life
from kit.official import storage_bucket

from shared.domain.people.events import Left
from shared.domain.things.identity import parse_email
from shared.engine.sweeps.sweeps import sweep
from shared.engine.views.audit import verify


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture(scope="module")
def made():
    """Two users over three days, with the manifests of the first two."""
    with impatient():
        bench = make_bench()
        ana, ben = (Life(bench, parse_email(f"{name}@example.com")) for name in ("ana.silva", "ben"))
        ana.join()
        ben.join()
        for life in (ana, ben):
            bench.advance(days=1)
            life.tell(Left)
            life.minutes(4)
            sweep("drift", bench.deps)
        world = bench.cloud.world.save()
    return bench, world, list(bench.cloud.log_entries._entries)


@pytest.fixture
def bench(made):
    found, world, logged = made
    found.cloud.world.load(json.loads(json.dumps(world)))
    kept = found.cloud.log_entries._entries  # which is no part of a saved world
    kept.clear()
    kept.extend(logged)
    return found


def bucket_of(bench):
    return storage_bucket(bench.clients, bench.settings.audit_bucket)


def names(bench, prefix="audit/"):
    return sorted(blob.name for blob in bucket_of(bench).list_blobs(prefix=prefix))


def test_what_nobody_touched_is_right(bench):
    result = verify(bench.deps)
    assert result.faults == []
    assert result.entries == len(audit.entries(bench))
    assert (result.manifests, result.records) == (2, 2)
    assert result.logged == 2


def test_one_altered_byte_of_an_entry_is_found_in_each_object(bench):
    for name in names(bench):
        blob = bucket_of(bench).blob(name)
        content = blob.download_as_bytes()
        place = content.index(b'"message":"') + len(b'"message":"')
        altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        blob.upload_from_string(altered)
        assert verify(bench.deps).faults, name
        blob.upload_from_string(content)
    assert verify(bench.deps).faults == []


def test_each_entry_that_is_deleted_is_missed(bench):
    for name in names(bench):
        blob = bucket_of(bench).blob(name)
        content = blob.download_as_bytes()
        blob.delete()
        assert verify(bench.deps).faults, name
        blob.upload_from_string(content)


def test_one_altered_byte_of_a_manifest_is_found_by_the_log(bench):
    for name in names(bench, "manifests/"):
        blob = bucket_of(bench).blob(name)
        content = blob.download_as_bytes()
        blob.upload_from_string(content.replace(b'"version":1', b'"version":2'))
        assert any(fault.place == name and "log" in fault.says for fault in verify(bench.deps).faults)
        blob.delete()
        assert verify(bench.deps).faults
        blob.upload_from_string(content)


def test_the_newest_manifest_that_is_removed_is_missed_also_of_a_day_without_entries(bench):
    for _ in range(2):
        bench.advance(days=1)
        sweep("drift", bench.deps)
    newest = names(bench, "manifests/")[-1]
    assert not names(bench, f"audit/{newest.removeprefix('manifests/')[:10]}")
    bucket_of(bench).blob(newest).delete()
    assert [fault.place for fault in verify(bench.deps).faults] == [newest]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[" * 100_000, b"null", b'{"day": "0001-01-01", "previous": "", "objects": []}'],
    ids=["empty", "no text", "deep", "null", "the first day of all"],
)
def test_an_object_with_any_other_content_is_a_fault_and_no_crash(bench, content):
    for name in (names(bench)[0], names(bench, "manifests/")[0]):
        blob = bucket_of(bench).blob(name)
        kept = blob.download_as_bytes()
        blob.upload_from_string(content)
        assert any(fault.place == name for fault in verify(bench.deps).faults)
        blob.upload_from_string(kept)


def test_an_entry_that_was_added_is_found(bench):
    first = names(bench)[0]
    content = bucket_of(bench).blob(first).download_as_bytes()
    later = first.replace(first.rpartition("-")[2], "00000099.jsonl")
    bucket_of(bench).blob(later).upload_from_string(content)
    assert verify(bench.deps).faults


def test_a_manifest_whose_log_entry_was_lost_gets_one_with_the_next_sweep(bench):
    bench.fault(call="logging.entries.write", error={"code": "UNAVAILABLE"})
    bench.advance(days=1)
    sweep("drift", bench.deps)
    assert verify(bench.deps).logged == 2
    sweep("drift", bench.deps)
    sweep("drift", bench.deps)
    result = verify(bench.deps)
    assert (result.logged, result.manifests, result.faults) == (3, 3, [])


def test_days_in_which_no_sweep_ran_get_their_manifests_however_many(bench):
    bench.advance(days=40)
    ana = Life(bench, parse_email("ana.silva@example.com"))
    ana.join()
    bench.advance(days=40)
    sweep("drift", bench.deps)
    result = verify(bench.deps)
    assert result.faults == []
    assert result.manifests > 80


def test_without_any_manifest_the_first_day_is_that_of_the_first_entry(bench):
    for name in names(bench, "manifests/"):
        bucket_of(bench).blob(name).delete()
    bench.advance(days=20)
    sweep("drift", bench.deps)
    found = names(bench, "manifests/")
    assert found[0].removeprefix("manifests/")[:10] == names(bench)[0].removeprefix("audit/")[:10]
    assert audit.broken_manifests(bench) == []
