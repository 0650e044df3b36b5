"""Dead letters are kept once each, oldest first, whatever they hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.inprocess import make_bench
from kit.making import NOW

from shared.domain.errors import AccessDeniedError
from shared.engine.ports import DeadLetter

LETTER = DeadLetter(
    letter_id="770011",
    reason="InvalidMessage",
    detail="The message is not JSON.",
    source="projects/p/subscriptions/s",
    received_at=NOW,
    body="joiner \u00d1and\u00fa \U0001f600",
    attributes={"reason": "InvalidMessage"},
)


def test_nothing_is_listed_where_nothing_is(bench):
    assert list(bench.deps.dead_letters.listing()) == []


def test_a_letter_is_read_as_it_was_stored(bench):
    bench.deps.dead_letters.store(LETTER)
    assert list(bench.deps.dead_letters.listing()) == [LETTER]


def test_the_same_letter_again_is_kept_once_and_as_it_came_first(bench):
    bench.deps.dead_letters.store(LETTER)
    bench.deps.dead_letters.store(replace(LETTER, detail="again"))
    assert list(bench.deps.dead_letters.listing()) == [LETTER]


def test_letters_come_oldest_first(bench):
    letters = [replace(LETTER, letter_id=str(n), received_at=NOW + timedelta(minutes=7 - n)) for n in range(5)]
    for letter in letters:
        bench.deps.dead_letters.store(letter)
    assert list(bench.deps.dead_letters.listing()) == letters[::-1]


def test_an_id_cannot_reach_another_folder(bench):
    bench.deps.dead_letters.store(replace(LETTER, letter_id="../../records/ana-silva-0123456789ab"))
    (blob,) = bench.clients.storage_bucket().list_blobs()
    assert blob.name.startswith("dead-letters/")
    assert blob.name.count("/") == 1


@settings(max_examples=20)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_any_letter_survives(letter_id, body):
    bench = make_bench()
    letter = replace(LETTER, letter_id=letter_id, body=body)
    bench.deps.dead_letters.store(letter)
    assert list(bench.deps.dead_letters.listing()) == [letter]


def test_a_store_that_is_refused_is_an_error(bench):
    bench.fault(call="storage.objects.insert", error={"code": "PERMISSION_DENIED", "message": "no"})
    with pytest.raises(AccessDeniedError):
        bench.deps.dead_letters.store(LETTER)
    assert list(bench.deps.dead_letters.listing()) == []
