"""A wish as bytes: what is written is read back, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.intent.wish import (
    ADMINISTRATORS,
    MAX_BYTES,
    OWN,
    Asked,
    Wish,
    WishKind,
    from_json,
    may_ask,
    to_json,
    to_text,
    wish_id_of,
)
from shared.domain.things.errors import InvalidMessageError
from shared.domain.things.identity import parse_email, user_key_for

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
KEY = user_key_for(parse_email("ana.silva@example.com"))
FIELDS: dict[WishKind, dict[str, Any]] = {
    WishKind.KEEP_ON: {"until": NOW + timedelta(hours=1)},
    WishKind.START_CLUSTER: {"template": "single-node"},
    WishKind.DELETE_CLUSTER: {"template": "single-node"},
    WishKind.RESTORE: {"snapshot": "nb-ana-0123456789ab-d7"},
    WishKind.UNDO_RESTORE: {"snapshot": "nb-ana-0123456789ab-b8"},
    WishKind.HOLD: {"reason": "case 4711: ñandú"},
    WishKind.BLOCK: {"reason": "case 4711: ñandú"},
    WishKind.LIFT: {"reason": "case 4711 is closed"},
}


def wish(kind: WishKind = WishKind.STOP, **changes: Any) -> Wish:
    made = {
        "wish_id": "0123456789abcdef",
        "user_key": KEY,
        "asked": Asked(kind=kind, **FIELDS.get(kind, {})),
        "as_administrator": False,
        "asked_at": NOW,
        "assertion": "a.b.c",
    }
    return Wish(**{**made, **changes})


@pytest.mark.parametrize("kind", WishKind)
@pytest.mark.parametrize("as_administrator", [False, True])
def test_what_is_written_is_read_back(kind: WishKind, as_administrator: bool) -> None:
    made = wish(kind, as_administrator=as_administrator)
    assert from_json(to_json(made)) == made
    assert from_json(to_text(made)) == wish(kind, as_administrator=as_administrator, assertion="")
    assert "a.b.c" not in to_text(made)


def test_names_sort_by_time_and_carry_the_id() -> None:
    early, late = wish(), wish(asked_at=NOW + timedelta(microseconds=1))
    assert early.name < late.name
    assert wish_id_of(early.name) == early.wish_id
    for other in ("", "x", "20261123T080000.000000Z-", "20261123T080000.000000Z-XYZ", "a-0123"):
        assert wish_id_of(other) is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"id": "../x"},
        {"id": 7},
        {"user_key": "ana.silva@example.com"},
        {"asked_at": "2026-11-23T08:00:00"},
        {"asked_at": None},
        {"asked": None},
        {"asked": {"kind": "DELETE_INSTANCE", "until": None, "template": "", "reason": ""}},
        {"asked": {"kind": "STOP", "until": NOW.isoformat(), "template": "", "reason": ""}},
        {"asked": {"kind": "STOP", "until": None, "template": "x", "reason": ""}},
        {"asked": {"kind": "STOP", "until": None, "template": "", "reason": "x"}},
        {"asked": {"kind": "KEEP_ON", "until": None, "template": "", "reason": ""}},
        {"asked": {"kind": "START_CLUSTER", "until": None, "template": "../x", "reason": ""}},
        {"asked": {"kind": "HOLD", "until": None, "template": "", "reason": "x" * 201}},
        {"asked": {"kind": "HOLD", "until": None, "template": "", "reason": "a\x1bb"}},
        {"asked": {"kind": "STOP"}},
        {"asked": {"kind": "RESTORE", "until": None, "template": "", "reason": ""}},
        {"asked": {"kind": "RESTORE", "until": None, "template": "", "reason": "", "snapshot": "../x"}},
        {"asked": {"kind": "RESTORE", "until": None, "template": "", "reason": "", "snapshot": 7}},
        {"asked": {"kind": "STOP", "until": None, "template": "", "reason": "", "snapshot": "nb-x-d1"}},
        {"assertion": 7},
    ],
)
def test_anything_else_is_no_wish(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError):
        from_json(json.dumps({**json.loads(to_json(wish())), **change}))


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"null", b"\xff", b"{}", b"[" * 5_000, b" " * (MAX_BYTES + 1)])
def test_garbage_is_no_wish(raw: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        from_json(raw)


def test_as_administrator_is_nothing_but_true() -> None:
    for raw in ("true", 1, [True], None):
        changed = {**json.loads(to_json(wish())), "as_administrator": raw}
        assert not from_json(json.dumps(changed)).as_administrator


def test_each_page_has_its_own_kinds() -> None:
    assert frozenset(WishKind) == OWN | ADMINISTRATORS
    for kind in (WishKind.HOLD, WishKind.RELEASE, WishKind.LOOK_AGAIN):
        assert not may_ask(kind, as_administrator=False)
    for kind in (WishKind.KEEP_ON, WishKind.END_KEEP_ON, WishKind.START_CLUSTER):
        assert not may_ask(kind, as_administrator=True)
