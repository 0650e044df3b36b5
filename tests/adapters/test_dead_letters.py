"""Dead letters are kept once each, oldest first, whatever they hold; a listing tells what filters need."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.inprocess import make_bench
from kit.making import ANA, NOW
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.domain.things.errors import AccessDeniedError, PermanentError
from shared.domain.things.identity import user_key_for
from shared.engine.ports.inbox import DeadLetter, LetterRow

ROW = LetterRow(
    letter_id="770011",
    sent_at=NOW,
    reason="InvalidMessage",
    detail="The message is not JSON. \u00d1",
    function="lifecycle",
    users=(user_key_for(ANA),),
)
LETTER = DeadLetter(
    row=ROW,
    source="projects/p/subscriptions/s",
    received_at=NOW + timedelta(seconds=3),
    body="joiner \u00d1and\u00fa \U0001f600".encode(),
    size=17,
    attributes={"reason": "InvalidMessage"},
)


def as_row(**changes):
    return replace(LETTER, row=replace(ROW, **changes))


def letters_bucket(bench):
    return storage_bucket(bench.clients, bench.settings.letters_bucket)


def kept(bench, **between):
    letters = bench.deps.dead_letters
    found = [letters.read(row) for row in letters.rows(**between)]
    return [replace(letter, row=replace(letter.row, place="")) for letter in found]


def test_nothing_is_listed_where_nothing_is(bench):
    assert kept(bench) == []


def test_a_letter_is_read_as_it_was_stored(bench):
    bench.deps.dead_letters.store(LETTER)
    assert kept(bench) == [LETTER]


def test_a_listing_reads_no_letter(bench):
    for number in range(3):
        bench.deps.dead_letters.store(as_row(letter_id=str(number)))
    bench.cloud.world.journal.clear()
    rows = list(bench.deps.dead_letters.rows())
    assert [replace(row, place="", letter_id="") for row in rows] == [replace(ROW, letter_id="")] * 3
    assert [call["method"] for call in bench.calls()] == ["objects.list"] * 2  # an earlier version's letters too


def test_the_same_letter_again_is_kept_once_and_as_it_came_first(bench):
    bench.deps.dead_letters.store(LETTER)
    bench.deps.dead_letters.store(as_row(detail="again"))
    assert kept(bench) == [LETTER]


def test_letters_come_in_the_order_in_which_they_were_sent(bench):
    letters = [as_row(letter_id=str(n), sent_at=NOW + timedelta(milliseconds=700 - n)) for n in range(5)]
    for letter in letters:
        bench.deps.dead_letters.store(letter)
    assert kept(bench) == letters[::-1]


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(0, None, [0, 1, 2]), (0.5, None, [1, 2]), (1, 2, [1]), (None, 1, [0]), (1.1, 1.9, []), (None, None, [0, 1, 2])],
)
def test_only_what_was_sent_between_two_times_is_listed(bench, since, until, found):
    for number in range(3):
        bench.deps.dead_letters.store(as_row(letter_id=str(number), sent_at=NOW + timedelta(seconds=number)))
    between = {
        "since": None if since is None else NOW + timedelta(seconds=since),
        "until": None if until is None else NOW + timedelta(seconds=until),
    }
    assert [int(letter.row.letter_id) for letter in kept(bench, **between)] == found


def test_a_letter_of_the_first_version_is_still_listed_read_and_marked(bench):
    """As 0.1.0 stored it: no metadata, the time of receipt in the name, the body always as text."""
    raw = {
        "letter_id": "770011", "reason": "UnknownProfile", "detail": "There is no profile 'x'.", "source": "s",
        "received_at": NOW.isoformat(), "body": '{"a": 1}', "attributes": {"source-message-id": "5"},
    }  # fmt: skip
    blob = storage_bucket(bench.clients).blob("dead-letters/20261123T080000Z-770011.json")
    blob.upload_from_string(json.dumps(raw))
    (letter,) = kept(bench)
    assert (letter.row.letter_id, letter.row.reason, letter.row.sent_at) == ("770011", "UnknownProfile", NOW)
    assert (letter.body, letter.is_cut, letter.row.users) == (b'{"a": 1}', False, ())
    assert kept(bench, since=NOW, until=NOW + timedelta(seconds=1)) == [letter]
    assert kept(bench, since=NOW + timedelta(seconds=1)) == []
    (row,) = bench.deps.dead_letters.rows()
    bench.deps.dead_letters.mark_replayed(row, NOW, "ok")
    (marked,) = kept(bench)
    assert (marked.row.replayed_at, marked.row.outcome, marked.row.letter_id) == (NOW, "ok", "770011")


def test_a_replayed_letter_is_kept_and_says_when(bench):
    bench.deps.dead_letters.store(LETTER)
    (row,) = bench.deps.dead_letters.rows()
    for _ in range(2):
        bench.deps.dead_letters.mark_replayed(row, NOW + timedelta(hours=1), "joined: profile analyst")
    (found,) = kept(bench)
    assert found.row == replace(ROW, replayed_at=NOW + timedelta(hours=1), outcome="joined: profile analyst")
    assert found.body == LETTER.body
    bench.deps.dead_letters.store(LETTER)  # delivered once more
    assert kept(bench) == [found]


def test_marking_a_letter_that_somebody_removed_is_fine(bench):
    bench.deps.dead_letters.store(LETTER)
    (row,) = bench.deps.dead_letters.rows()
    letters_bucket(bench).blob(row.place.partition("-letters/")[2]).delete()
    bench.deps.dead_letters.mark_replayed(row, NOW, "ok")
    assert kept(bench) == []


def test_an_id_cannot_reach_another_folder_nor_hide_another(bench):
    ids = ["../../records/ana-silva-0123456789ab", "../..-records/ana-silva-0123456789ab", ""]
    for letter_id in ids:
        bench.deps.dead_letters.store(as_row(letter_id=letter_id))
    blobs = list(letters_bucket(bench).list_blobs())
    assert list(storage_bucket(bench.clients).list_blobs()) == []
    assert len(blobs) == len(ids)
    assert all(blob.name.startswith("dead-letters/") and blob.name.count("/") == 1 for blob in blobs)
    assert sorted(letter.row.letter_id for letter in kept(bench)) == sorted(ids)


def test_what_an_earlier_version_kept_in_the_bucket_of_records_is_read_marked_and_shown_once(bench):
    for number, sent_at in (("1", NOW), ("3", NOW + timedelta(seconds=2))):
        bench.deps.dead_letters.store(as_row(letter_id=number, sent_at=sent_at))
    old = storage_bucket(bench.clients)
    for blob in letters_bucket(bench).list_blobs():
        letters_bucket(bench).copy_blob(blob, old)
    letters_bucket(bench).delete_blobs(list(letters_bucket(bench).list_blobs()))
    bench.deps.dead_letters.store(as_row(letter_id="2", sent_at=NOW + timedelta(seconds=1)))
    bench.deps.dead_letters.store(as_row(letter_id="3", sent_at=NOW + timedelta(seconds=2)))  # delivered once more
    assert [letter.row.letter_id for letter in kept(bench)] == ["1", "2", "3"]
    for row in bench.deps.dead_letters.rows():
        bench.deps.dead_letters.mark_replayed(row, NOW, "ok")
    assert [row.outcome for row in bench.deps.dead_letters.rows()] == ["ok"] * 3


def test_an_installation_that_has_no_bucket_of_letters_yet_shows_those_that_it_has(bench):
    storage_bucket(bench.clients).blob("dead-letters/notes.txt").upload_from_string("buy milk")
    letters_bucket(bench).delete()
    assert [row.letter_id for row in bench.deps.dead_letters.rows()] == ["notes.txt"]


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.binary(max_size=200))
def test_any_letter_survives_byte_for_byte(letter_id, body):
    bench = make_bench()
    letter = replace(as_row(letter_id=letter_id), body=body, size=len(body))
    bench.deps.dead_letters.store(letter)
    assert kept(bench) == [letter]


def test_the_end_of_time_is_a_time(bench):
    bench.deps.dead_letters.store(LETTER)
    assert kept(bench, until=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) == [LETTER]


@pytest.mark.parametrize("content", ["buy milk", "[]", '{"letter_id": 7}', '{"letter_id": "7", "received_at": "noon"}'])
def test_something_else_in_the_folder_is_shown_in_its_place_and_hides_no_letter(bench, content):
    storage_bucket(bench.clients).blob("dead-letters/notes.txt").upload_from_string(content)
    bench.deps.dead_letters.store(LETTER)
    good, bad = bench.deps.dead_letters.rows()
    assert (good.letter_id, bad.letter_id, bad.sent_at) == ("770011", "notes.txt", NOW)
    assert "dead-letters/notes.txt" in bad.detail
    with pytest.raises(PermanentError) as caught:
        bench.deps.dead_letters.read(bad)
    assert caught.value.user_message == bad.detail


def test_a_listing_that_may_not_read_an_old_letter_says_so(bench):
    storage_bucket(bench.clients).blob("dead-letters/notes.txt").upload_from_string("buy milk")
    bench.fault(call="storage.objects.get", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(AccessDeniedError):
        list(bench.deps.dead_letters.rows())


def test_a_store_that_is_refused_is_an_error(bench):
    bench.fault(call="storage.objects.insert", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(AccessDeniedError):
        bench.deps.dead_letters.store(LETTER)
    assert kept(bench) == []
