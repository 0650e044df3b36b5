"""Evidence over the embedded cloud: whole, safe for spreadsheets, and one changed byte is found; who had what on a past day."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import date, timedelta

import pytest
from kit.inprocess import impatient, make_bench
from kit.life import Life
from kit.official import storage_bucket

from shared.domain.people.events import Joined, Left
from shared.domain.record.record import Power
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import parse_email
from shared.domain.things.power import PowerCause, PowerReason
from shared.engine.news.deliver import deliver
from shared.engine.reconcile.changing import want_power
from shared.engine.views.evidence import TABLES, Period, all_records, as_of, gather, one_record
from shared.evidence import DIGEST, MANIFEST, digest_of, faults_of, package, read_package, zipped

FORMULA = "=HYPERLINK(1)"


@pytest.fixture(autouse=True)
def _no_waiting():
    with impatient():
        yield


@pytest.fixture(scope="module")
def world():
    """Ana came on the first day and left on the third; Ñandú came on the second, by a message whose id is a formula."""
    with impatient():
        bench = make_bench()
        ana = Life(bench, parse_email("ana.silva@example.com"))
        other = Life(bench, parse_email("Ñandú O'Neil+test@sub.example.co"))
        ana.join()
        bench.advance(days=1)
        now = bench.now
        deliver(Joined(event_id=FORMULA, user=other.email, occurred_at=now, effective_at=now), bench.deps)
        other.minutes(8)
        bench.advance(days=1)
        ana.tell(Left)
        ana.minutes(8)
    return bench, ana, other


def everything(bench):
    period = Period(first=bench.now.date() - timedelta(days=9), last=bench.now.date())
    found = gather(all_records(bench.deps), period, bench.deps)
    return package(found, period, about="everybody", asked_by="a test", at=bench.now, policy="p", commit="c")


def rows(files, name):
    return list(csv.DictReader(io.StringIO(files[f"{name}.csv"].decode())))


def test_it_has_everybody_and_everything(world):
    bench, ana, other = world
    files = everything(bench)
    manifest = json.loads(files[MANIFEST])
    assert manifest["population"] == 2
    assert {row["user"] for row in rows(files, "population")} == {ana.email, other.email}
    assert {row["access"] for row in rows(files, "population")} == {"true", "false"}
    assert all(row["source"] is not None for row in rows(files, "facts"))
    assert any(
        "StopInstance" in row["text"] or row["text"].startswith("stop instance") for row in rows(files, "changes")
    )
    assert all(row["because"] for row in rows(files, "changes"))
    spans = [(row["user_key"], bool(row["to"])) for row in rows(files, "access")]
    assert sorted(spans) == sorted([(ana.key, True), (other.key, False)])
    assert {row["result"] for row in rows(files, "certificates")} == {"verified"}
    assert [row["lost"] for row in rows(files, "snapshots")] == ["false"]
    for name in TABLES:
        assert len(json.loads(files[f"{name}.json"])) == len(rows(files, name)) == manifest["rows"][name]
    assert (manifest["asked_by"], manifest["commit"]) == ("a test", "c")


def test_no_cell_is_a_formula(world):
    files = everything(world[0])
    assert FORMULA in files["facts.json"].decode()
    cells = [cell for name in TABLES for row in rows(files, name) for cell in row.values()]
    assert f"'{FORMULA}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_one_changed_byte_a_missing_and_an_added_file_are_found(world, tmp_path):
    files = everything(world[0])
    assert faults_of(files) == []
    assert faults_of(files, digest=digest_of(files)) == []
    assert faults_of(files, digest="0" * 64)
    for name, content in files.items():
        for place in (0, len(content) // 2, len(content) - 1):
            altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            assert faults_of({**files, name: altered}), (name, place)
        assert faults_of({other: data for other, data in files.items() if other != name}), name
    assert faults_of({**files, "more.csv": b""})
    archive = tmp_path / "evidence.zip"
    archive.write_bytes(zipped(files))
    assert read_package(archive) == files
    assert zipped(files) == zipped(dict(reversed(files.items())))
    assert DIGEST in files


def is_right(path):
    try:
        return faults_of(read_package(path)) == []
    except (OSError, zipfile.BadZipFile):
        return False


def test_one_changed_byte_of_the_archive_is_found_wherever_it_is(world, tmp_path):
    content, archive = zipped(everything(world[0])), tmp_path / "evidence.zip"
    archive.write_bytes(content)
    assert is_right(archive)
    for place in {*range(0, len(content), 29), *range(len(content) - 90, len(content))}:
        archive.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
        assert not is_right(archive), place
    for length in (0, 30, len(content) - 64, len(content) - 1):
        archive.write_bytes(content[:length])
        assert not is_right(archive), length


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_package_that_was_packed_anew_is_judged_by_its_files(world, tmp_path):
    files, archive, folder = everything(world[0]), tmp_path / "other.zip", tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(archive, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
            (folder / name).write_bytes(content)
    assert is_right(archive)
    with zipfile.ZipFile(archive, "a") as made:
        made.writestr("facts.csv", files["facts.csv"])
    assert not is_right(archive)
    assert is_right(folder)
    (folder / "more").mkdir()
    assert faults_of(read_package(folder)) == ["more was added"]


def test_a_page_that_fails_or_a_record_that_cannot_be_read_is_no_evidence(world):
    bench, ana, _ = world
    bench.fault(call="storage.objects.list", error={"code": "PERMISSION_DENIED"})
    with pytest.raises(BenchkeeperError):
        everything(bench)
    bucket = storage_bucket(bench.clients)
    name = f"records/{ana.key}.json"
    content, metadata = bucket.get_blob(name).download_as_bytes(), bucket.get_blob(name).metadata
    bucket.blob(name).upload_from_string(b"{broken")
    with pytest.raises(BenchkeeperError):
        everything(bench)
    blob = bucket.blob(name)
    blob.metadata = metadata
    blob.upload_from_string(content)
    assert faults_of(everything(bench)) == []


def test_an_audit_object_that_is_missing_is_no_evidence(world):
    bench, ana, _ = world
    bucket = storage_bucket(bench.clients, bench.settings.audit_bucket)
    name = ana.record.status.audit.audit_object
    content = bucket.blob(name).download_as_bytes()
    bucket.blob(name).delete()
    with pytest.raises(BenchkeeperError):
        gather([one_record(ana.key, bench.deps)], Period(first=bench.now.date(), last=bench.now.date()), bench.deps)
    bucket.blob(name).upload_from_string(content)


def test_who_had_what_on_a_day(world):
    bench, ana, other = world
    today = bench.now.date()

    def then(days):
        found = as_of(today - timedelta(days=days), all_records(bench.deps), bench.deps)
        return {each.user: (each.known, each.access, each.profile) for each in found}

    assert then(3) == {}
    assert then(2) == {ana.email: (True, True, "analyst")}
    assert then(1) == {ana.email: (True, True, "analyst"), other.email: (True, True, "analyst")}
    assert then(0) == {ana.email: (True, False, ""), other.email: (True, True, "analyst")}
    why = {each.user: each.why for each in as_of(today, all_records(bench.deps), bench.deps)}
    assert {user: text.partition(".")[0] for user, text in why.items()} == {ana.email: "Left", other.email: "Joined"}
    assert len(list(as_of(date.max, all_records(bench.deps), bench.deps))) == 2


def test_the_reason_on_a_day_is_the_news_that_it_followed_from_however_early_it_came():
    bench = make_bench()
    ana = Life(bench, parse_email("ana.silva@example.com"))
    ana.join()
    end = (bench.now + timedelta(days=3)).replace(hour=0, minute=0)
    deliver(Left(event_id="end", user=ana.email, occurred_at=bench.now, effective_at=end, cause="contract"), bench.deps)
    bench.advance(days=1)
    want_power(ana.key, Power.STOPPED, PowerReason(cause=PowerCause.STOPPED_BY_ADMINISTRATOR), bench.deps)
    bench.advance(seconds=(end - bench.now).total_seconds())
    ana.minutes(4)

    def then(day):
        (found,) = as_of(day, all_records(bench.deps), bench.deps)
        return found.access, found.since, found.why.partition(".")[0]

    assert then(end.date() - timedelta(days=1))[::2] == (True, "Joined")
    has_access, since, why = then(end.date())
    assert (has_access, why) == (False, "Left: contract")
    assert end <= since <= end + timedelta(minutes=1)
