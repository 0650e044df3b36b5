"""Wishes in Cloud Storage: created once, never changed, listed in their order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from kit.inprocess import Bench, make_bench
from kit.official import storage_bucket

from shared.domain.intent.wish import Asked, Wish, WishKind
from shared.domain.things.errors import AccessDeniedError
from shared.domain.things.identity import parse_email, user_key_for
from shared.engine.ports.inbox import WaitingWish

ANA, BEN = (user_key_for(parse_email(f"{name}@example.com")) for name in ("ana", "ben"))


@pytest.fixture
def bench() -> Bench:
    return make_bench()


def wish(bench: Bench, serial: int = 1, **changes: Any) -> Wish:
    made = {
        "wish_id": f"{serial:016x}",
        "user_key": ANA,
        "asked": Asked(kind=WishKind.HOLD, reason="ñandú"),
        "as_administrator": True,
        "asked_at": bench.now,
        "assertion": "a.b.c",
    }
    return Wish(**{**made, **changes})


def bucket(bench: Bench) -> Any:
    return storage_bucket(bench.clients, bench.settings.inbox_bucket)


def test_one_listing_tells_what_waits_without_reading_it(bench: Bench) -> None:
    made = wish(bench)
    bench.deps.inbox.put(made)
    bench.deps.inbox.put(wish(bench, user_key=BEN))
    bench.cloud.world.journal.clear()
    (found,) = bench.deps.inbox.waiting(ANA)
    assert [call["method"] for call in bench.calls()] == ["objects.list"]
    assert (found.user_key, found.name, found.created_at) == (ANA, made.name, bench.now)
    assert found.shown == wish(bench, assertion="")
    raw = bench.deps.inbox.read(found)
    assert raw is not None
    assert b"a.b.c" in raw


def test_they_come_in_the_order_of_creation(bench: Bench) -> None:
    for serial in (3, 1, 2):
        bench.deps.inbox.put(wish(bench, serial, asked_at=bench.now - timedelta(hours=serial)))
        bench.advance(seconds=1)
    assert [each.shown.wish_id[-1] for each in bench.deps.inbox.waiting(ANA) if each.shown] == ["3", "1", "2"]


def test_the_same_again_is_one_object_as_it_came_first(bench: Bench) -> None:
    made = wish(bench)
    bench.deps.inbox.put(made)
    bench.deps.inbox.put(wish(bench, asked=Asked(kind=WishKind.RELEASE)))
    (found,) = bench.deps.inbox.waiting(ANA)
    assert found.shown is not None
    assert found.shown.asked == made.asked


def test_a_refusal_for_an_object_that_is_there_is_the_answer_to_a_second_try(bench: Bench) -> None:
    """Without the right to delete the second write of the client is refused: the first one's answer was lost."""
    denied = {"code": "PERMISSION_DENIED"}
    bench.fault(call="storage.objects.insert", phase="after", error=denied)
    bench.deps.inbox.put(wish(bench))
    bench.fault(call="storage.objects.insert", error=denied)
    with pytest.raises(AccessDeniedError):
        bench.deps.inbox.put(wish(bench, 2))


def test_removed_twice_and_read_after_that(bench: Bench) -> None:
    bench.deps.inbox.put(wish(bench))
    (found,) = bench.deps.inbox.waiting(ANA)
    for _ in range(2):
        bench.deps.inbox.remove(found)
    assert bench.deps.inbox.read(found) is None
    assert bench.deps.inbox.waiting(ANA) == ()


def test_people_are_found_by_one_listing_however_many_wishes_they_have(bench: Bench) -> None:
    for serial in range(3):
        bench.deps.inbox.put(wish(bench, serial))
    bench.deps.inbox.put(wish(bench, user_key=BEN))
    for name in ("wishes/nobody/x.json", "wishes/stray.json", "other/ana-0123456789ab/x.json", "wishes/../x"):
        bucket(bench).blob(name).upload_from_string(b"x")
    bench.cloud.world.journal.clear()
    assert sorted(bench.deps.inbox.folders().people) == sorted([ANA, BEN])
    assert len(bench.calls()) == 1


def test_what_says_nothing_that_can_be_read_is_listed_all_the_same(bench: Bench) -> None:
    blob = bucket(bench).blob(f"wishes/{ANA}/x.json")
    blob.metadata = {"wish": "[]"}
    blob.upload_from_string(b"x")
    (found,) = bench.deps.inbox.waiting(ANA)
    assert isinstance(found, WaitingWish)
    assert (found.shown, found.size) == (None, 1)
