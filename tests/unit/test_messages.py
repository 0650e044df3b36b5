"""Untrusted bytes become news or a refusal that says why; nothing else ever comes out."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kit.reading import read, rules
from msgspec.structs import replace

from shared.domain.people.events import (
    AccountChanged,
    AccountState,
    GroupChanged,
    Joined,
    Left,
    Moved,
    Renamed,
    Woken,
    statements_of,
)
from shared.domain.people.groups import GroupEvent
from shared.domain.people.sources import DIRECTORY, HR
from shared.domain.things.errors import InvalidMessageError, Reason, UnsupportedMessageError
from shared.domain.things.identity import parse_email, user_key_for
from shared.messages.hr_strict import SCHEMA
from shared.messages.message import Message
from shared.messages.parse import WAKE_SCHEMA, parse_message, parse_tick, wake_message

EVENTS = Path(__file__).resolve().parents[1] / "events"
REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "events"
PUBLISHED = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
MAX_BYTES = 262_144
KOFI = "kofi.mensah@example.org"
ANALYSTS = "data-analysts@example.com"


def message(data: bytes, **changes) -> Message:
    return Message(**{"data": data, "attributes": {}, "message_id": "m-1", "publish_time": PUBLISHED, **changes})


def whole(body, **changes):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    source = DIRECTORY if b'"protoPayload"' in data else HR
    return parse_message(message(data, **changes), rules(source, max_bytes=MAX_BYTES))


def parse(body, **changes):
    """The news alone; what cannot be used at all raises."""
    parsed = whole(body, **changes)
    if parsed.faults and not parsed.news:
        raise parsed.faults[0].error
    return list(parsed.news)


_HOW = ("source", "says", "published_at", "explicit", "confirms", "also_known_as", "claimed_at", "undated")


def plain(news):
    """What a piece of news says, without how it came; ids of events in entries without their digest."""
    fields = {name: getattr(news, name) for name in news.__struct_fields__ if name not in _HOW}
    if "@" in fields["event_id"]:
        fields["event_id"] = fields["event_id"].partition("/")[0]
    return type(news), fields


def own(name: str):
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def hr(**changes):
    body = {**own("hr-joiner"), **changes}
    return {k: v for k, v in body.items() if v is not ...}


def when(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


OCCURRED = when(2026, 11, 20, 11, 22, 33, 123456)

FIXTURES = {
    "hr-renamed": [
        Renamed(
            event_id="hr-000050",
            user=KOFI,
            occurred_at=when(2026, 11, 19, 9),
            effective_at=when(2026, 11, 19, 9),
            new_user="kofi@example.org",
            confirmed=False,
        )
    ],
    "workspace-rename-user": [
        Renamed(
            event_id="example0workspace@2026-11-20T11:22:33.123456789Z/0",
            user=KOFI,
            occurred_at=OCCURRED,
            effective_at=OCCURRED,
            new_user="kofi@example.org",
        )
    ],
    "hr-joiner": [
        Joined(
            event_id="hr-000001",
            user=KOFI,
            occurred_at=when(2026, 11, 16, 10, 2, 11),
            effective_at=when(2026, 11, 23, 7),
            groups=(ANALYSTS, "data-engineers@example.com"),
            attributes={"department": "treasury", "cost_center": "CC-1200", "manager": "r.lind@example.org"},
        )
    ],
    "hr-joiner-by-hand": [
        Joined(event_id="by-hand-1", user=KOFI, occurred_at=PUBLISHED, effective_at=PUBLISHED, profile="engineer")
    ],
    "hr-mover": [
        Moved(
            event_id="hr-000007",
            user=KOFI,
            occurred_at=when(2026, 11, 27, 14, 20),
            effective_at=when(2026, 12, 1, 8),
            groups=(ANALYSTS,),
            attributes={"cost_center": "CC-1300"},
        )
    ],
    "hr-mover-withdraws-request": [
        Moved(
            event_id="hr-000008",
            user=KOFI,
            occurred_at=when(2026, 11, 27, 14, 20),
            effective_at=when(2026, 11, 27, 14, 20),
            profile_said=True,
        )
    ],
    "hr-leaver": [
        Left(
            event_id="hr-000042",
            user=KOFI,
            occurred_at=when(2027, 1, 8, 9),
            effective_at=when(2027, 1, 8, 9),
            cause="resignation",
        )
    ],
    "hr-leaver-future-dated": [
        Left(
            event_id="hr-000043",
            user=KOFI,
            occurred_at=when(2027, 1, 8, 9),
            effective_at=when(2027, 2, 26, 17),
            cause="contract end",
        )
    ],
    **{
        f"workspace-{verb}-group-member": [
            GroupChanged(
                event_id="example0workspace@2026-11-20T11:22:33.123456789Z/0",
                user=KOFI,
                occurred_at=OCCURRED,
                effective_at=OCCURRED,
                group=ANALYSTS,
                member=verb == "add",
            )
        ]
        for verb in ("add", "remove")
    },
    **{
        f"workspace-{verb}-user": [
            AccountChanged(
                event_id="example0workspace@2026-11-20T11:22:33.123456789Z/0",
                user=KOFI,
                occurred_at=OCCURRED,
                effective_at=OCCURRED,
                state=state,
                holds=verb != "unsuspend",
            )
        ]
        for verb, state in (
            ("suspend", AccountState.SUSPENDED),
            ("unsuspend", AccountState.SUSPENDED),
            ("delete", AccountState.DELETED),
        )
    },
    "workspace-update-group-member": [],
    **{
        f"cloudidentity-membership-{verb}": [
            GroupChanged(
                event_id="ci9z8y@2026-11-20T11:22:33.9Z",
                user=KOFI,
                occurred_at=when(2026, 11, 20, 11, 22, 33, 900000),
                effective_at=when(2026, 11, 20, 11, 22, 33, 900000),
                group=ANALYSTS,
                member=verb == "add",
            )
        ]
        for verb in ("add", "remove")
    },
    "cloudidentity-owner-role-removed": [],
    "notebooks-create-last": [
        Woken(
            event_id="-nb1@2026-11-20T11:27:01.001Z",
            user_key="kofi-mensah-1f2e3d4c5b6a",
            occurred_at=when(2026, 11, 20, 11, 27, 1, 1000),
        )
    ],
    "notebooks-create-first": [],
    "notebooks-foreign-last": [],
}


@pytest.mark.parametrize("name", FIXTURES)
def test_each_shape_says_what_it_says(name):
    assert list(map(plain, parse(own(name)))) == list(map(plain, FIXTURES[name]))


def test_several_events_of_one_entry_are_several_pieces_of_news():
    first, second = parse(own("workspace-two-events"))
    assert (type(first), first.user) == (GroupChanged, KOFI)
    assert (type(second), second.user) == (AccountChanged, "r.lind@example.org")
    assert first.event_id != second.event_id


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("workspace-group-bulk-upload", "names nobody"),
        ("cloudidentity-nested-group", "nested groups"),
    ],
)
def test_what_is_understood_and_not_acted_on_is_refused_by_name(name, says):
    with pytest.raises(UnsupportedMessageError) as caught:
        parse(own(name))
    assert says in caught.value.user_message


# --- the reference shapes, where they are at hand ---

REFERENCES = {
    "hr-joiner": Joined,
    "hr-mover": Moved,
    "hr-leaver": Left,
    "hr-leaver-future-dated": Left,
    "workspace-add-group-member": GroupChanged,
    "workspace-remove-group-member": GroupChanged,
    "workspace-suspend-user": AccountChanged,
    "workspace-group-bulk-upload": UnsupportedMessageError,
    "cloudidentity-membership-add": GroupChanged,
    "cloudidentity-membership-remove": GroupChanged,
    "cloudidentity-owner-role-removed": None,
    "notebooks-audit-create-last.INFERRED": Woken,
    "okta-deactivate-and-group-remove": InvalidMessageError,
    "scim-patch-entra-default-deactivate": InvalidMessageError,
    "scim-patch-entra-group-remove": InvalidMessageError,
    "scim-patch-okta-deactivate": InvalidMessageError,
    "pubsub-push-envelope": InvalidMessageError,  # an envelope inside an envelope
    "pubsub-cloudevent-structured": InvalidMessageError,
}
_HAS_REFERENCE = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference events are not beside this clone")


@_HAS_REFERENCE
@pytest.mark.parametrize("name", REFERENCES)
def test_each_reference_shape_is_read_or_refused_as_it_should(name):
    expected, data = REFERENCES[name], (REFERENCE / f"{name}.json").read_bytes()
    if expected is not None and issubclass(expected, Exception):
        with pytest.raises(expected):
            parse(data)
    else:
        news = parse(data)
        assert [type(n) for n in news] == ([] if expected is None else [expected])


@_HAS_REFERENCE
def test_no_reference_shape_is_left_out():
    assert {p.stem for p in REFERENCE.glob("*.json")} == set(REFERENCES)


# --- the neutral schema ---


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "workbench.lifecycle/v2"}, "'workbench.lifecycle/v2' is not known"),
        ({"schema": None}, "'None' is not known"),
        ({"schema": ["x"]}, "is not known"),
        ({"event_id": ...}, "event_id"),
        ({"event_id": ""}, "event_id"),
        ({"event_id": "  "}, "event_id"),
        ({"event_id": 7}, "event_id"),
        ({"event_id": "x" * 257}, "event_id"),
        ({"type": "rejoiner"}, "type"),
        ({"type": ...}, "type"),
        ({"user": ...}, "user"),
        ({"user": None}, "user"),
        ({"user": "nobody"}, "address"),
        ({"user": "a@b@example.com"}, "address"),
        ({"occurred_at": "2026-11-16T10:02:11"}, "occurred_at"),  # naive
        ({"effective_time": "2026-11-16T10:02:11"}, "effective_time"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": "2026-13-45T00:00:00Z"}, "occurred_at"),
        ({"occurred_at": {}}, "occurred_at"),
        ({"effective_time": "0001-01-01T00:00:00+14:00"}, "time"),  # before the first of all times
        ({"effective_time": "9999-12-31T23:59:59-12:00"}, "time"),  # after the last
        ({"effective_time": "9999-12-31T23:59:59.999999Z"}, "time"),
        ({"attributes": []}, "attributes"),
        ({"attributes": "x"}, "attributes"),
        ({"attributes": {f"a{n}": n for n in range(65)}}, "attributes"),
        ({"attributes": {"groups": "data-analysts@example.com"}}, "groups"),
        ({"attributes": {"groups": {"a": 1}}}, "groups"),
        ({"attributes": {"groups": ["not an address"]}}, "address"),
        ({"attributes": {"groups": [None]}}, "address"),
        ({"attributes": {"profile": 7}}, "profile"),
        ({"attributes": {"profile": ["analyst"]}}, "profile"),
        ({"reason": 7}, "reason"),
        ({"new_user": "kofi@example.org"}, "new_user is only valid with type 'renamed'"),
        ({"new_user": 7}, "new_user"),
        ({"type": "renamed"}, "needs new_user"),
        ({"type": "renamed", "new_user": "kofi@example.org"}, "takes no attributes"),
        ({"type": "renamed", "new_user": None, "attributes": {}}, "needs new_user"),
        ({"type": "renamed", "new_user": "", "attributes": {}}, "new_user: The address has no name before an @"),
        ({"type": "renamed", "new_user": "kofi", "attributes": {}}, "new_user: The address has no name"),
        ({"type": "renamed", "new_user": f"{KOFI}\u202e", "attributes": {}}, "new_user: The address holds control"),
        ({"type": "renamed", "new_user": f"x@{KOFI}", "attributes": {}}, "new_user: The address holds commercial at"),
        ({"type": "renamed", "new_user": "k" * 250 + "@x.org", "attributes": {}}, "new_user: The address is longer"),
        (
            {
                "type": "renamed",
                "new_user": "kofi@example.org",
                "attributes": {},
                "effective_time": "2027-04-01T00:00:00Z",
            },
            "no future effective_time",
        ),
    ],
)
def test_what_breaks_the_neutral_schema_is_named(change, says):
    with pytest.raises(InvalidMessageError) as caught:
        parse(hr(**change))
    assert says in caught.value.user_message
    assert KOFI not in caught.value.detail


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("profile", "analyst", '{"attributes": {"profile": …}}'),
        ("profile", "analist", '{"attributes": {"profile": …}}'),
        ("Profile", "analyst", '{"attributes": {"profile": …}}'),
        ("groups", ["data-analysts@example.com"], '{"attributes": {"groups": …}}'),
        ("addGroups", [], '{"attributes": {"add_groups": …}}'),
        ("remove-groups", [], '{"attributes": {"remove_groups": …}}'),
        ("costCenter", "7", '{"attributes": {"cost_center": …}}'),
        ("cost center", "7", '{"attributes": {"cost_center": …}}'),
        ("effectiveTime", "2027-03-02T00:00:00Z", "no field effectiveTime; did you mean effective_time?"),
        ("effective_tme", "2027-03-02T00:00:00Z", "no field effective_tme; did you mean effective_time?"),
        ("atributes", {"groups": []}, "no field atributes; did you mean attributes?"),
        ("personID", "7", "no field personID; did you mean person_id?"),
        ("access_untill", "2027-03-02", "did you mean access_until?"),
    ],
)
@pytest.mark.parametrize("kind", ["joiner", "mover"])
def test_a_field_in_the_wrong_place_or_with_a_misspelled_name_is_refused(kind, name, value, says):
    with pytest.raises(InvalidMessageError) as caught:
        parse(hr(type=kind, **{name: value}))
    assert says in caught.value.user_message


@pytest.mark.parametrize("name", ["profile", "effectiveTime", "atributes", "groups"])
def test_a_leaver_is_cut_whatever_stands_beside_it(name):
    (news,) = parse(hr(type="leaver", **{name: ["x"]}))
    assert isinstance(news, Left)


@pytest.mark.parametrize("name", ["group", "department", "source_system", "userName", "event_type", "manager", "事業"])
def test_a_feeds_own_field_is_ignored(name):
    (news,) = parse(hr(**{name: "x"}))
    assert news.user == parse_email(KOFI)


def test_unknown_fields_are_ignored_and_unknown_attributes_kept():
    (news,) = parse(hr(planet="earth", attributes={"shoe_size": 44, "tags": ["a", 1], "no": None}))
    assert news.attributes == {"shoe_size": 44, "tags": ("a", "1"), "no": None}
    assert (news.groups, news.profile) == (None, None)


def test_a_time_that_is_not_said_is_when_the_message_was_published():
    (news,) = parse(hr(occurred_at=..., effective_time=...))
    assert (news.occurred_at, news.effective_at) == (PUBLISHED, PUBLISHED)


def test_what_is_not_said_to_hold_later_holds_when_it_was_said():
    (news,) = parse(hr(effective_time=...))
    assert news.effective_at == news.occurred_at == when(2026, 11, 16, 10, 2, 11)


def test_the_last_day_of_all_calendars_is_a_date():
    (news,) = parse(hr(type="leaver", effective_time="9999-12-31T00:00:00Z", attributes={}))
    assert news.effective_at == when(9999, 12, 31)


@pytest.mark.parametrize(
    ("attributes", "request_said"),
    [
        ({}, ("default", "")),
        ({"profile": None}, ("default", "")),
        ({"profile": ""}, ("request", "")),
        ({"profile": "analyst"}, ("request", "analyst")),
        ({"groups": []}, ("default", None)),
        ({"groups": [], "profile": "analyst"}, ("request", "analyst")),
    ],
)
def test_a_joiner_without_groups_asks_for_the_default_profile(attributes, request_said):
    """One that only confirms takes no request back: it asks for the default where nobody asked for anything."""
    (news,) = parse(hr(attributes=attributes))
    said = {name: s.value for name, s in statements_of(news) if name in {"request", "default"}}
    assert said == dict([request_said])


@pytest.mark.parametrize("new_user", [KOFI, "KOFI.Mensah@example.org ", " kofi.mensah@EXAMPLE.ORG"])
def test_an_address_that_only_looks_different_has_not_changed(new_user):
    assert parse(own("hr-renamed") | {"new_user": new_user}) == []
    entry = own("workspace-rename-user")
    _event(entry)["parameter"][1]["value"] = new_user
    assert parse(entry) == []


def test_a_change_of_address_that_has_begun_is_read():
    (news,) = parse(own("hr-renamed") | {"effective_time": "2026-11-20T07:00:00Z"})
    assert (news.new_user, news.occurred_at) == ("kofi@example.org", when(2026, 11, 19, 9))


def test_a_new_user_that_is_null_is_not_said():
    (news,) = parse(hr(new_user=None))
    assert isinstance(news, Joined)


# --- log entries ---


def entry(name: str, change):
    body = copy.deepcopy(own(name))
    change(body)
    return body


def _event(body):
    return body["protoPayload"]["metadata"]["event"][0]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("workspace-add-group-member", lambda b: b["protoPayload"].pop("metadata")),
        ("workspace-add-group-member", lambda b: b["protoPayload"].update(metadata=7)),
        ("workspace-add-group-member", lambda b: b["protoPayload"]["metadata"].update(event=[])),
        ("workspace-add-group-member", lambda b: b["protoPayload"]["metadata"].update(event={})),
        ("workspace-add-group-member", lambda b: _event(b).pop("parameter")),
        ("workspace-add-group-member", lambda b: _event(b).update(parameter=7)),
        ("workspace-add-group-member", lambda b: _event(b).update(parameter=[7, None, {}])),
        ("workspace-add-group-member", lambda b: _event(b)["parameter"].pop(0)),
        ("workspace-add-group-member", lambda b: _event(b)["parameter"][0].update(value=None)),
        ("workspace-add-group-member", lambda b: b.update(timestamp="noon")),
        ("workspace-rename-user", lambda b: _event(b)["parameter"].pop(1)),
        ("workspace-rename-user", lambda b: _event(b)["parameter"][1].update(value=None)),
        ("workspace-rename-user", lambda b: _event(b)["parameter"][1].update(value="kofi\n@example.org")),
        ("workspace-rename-user", lambda b: _event(b)["parameter"][0].update(value="kofi")),
        ("workspace-add-group-member", lambda b: b.update(timestamp="2026-11-20T11:22:33")),
        ("workspace-add-group-member", lambda b: b.update(timestamp="0001-01-01T00:00:00+14:00")),
        ("workspace-add-group-member", lambda b: b.update(timestamp=7)),
        ("cloudidentity-membership-add", lambda b: b["protoPayload"].pop("metadata")),
        ("cloudidentity-membership-add", lambda b: b["protoPayload"]["metadata"].update(membershipDelta=[])),
        ("cloudidentity-membership-add", lambda b: b["protoPayload"]["metadata"].pop("group")),
        (
            "cloudidentity-membership-add",
            lambda b: b["protoPayload"]["metadata"]["membershipDelta"].update(
                roleDeltas=[{"action": "TOGGLE", "role": "MEMBER"}]
            ),
        ),
        (
            "cloudidentity-membership-add",
            lambda b: b["protoPayload"]["metadata"]["membershipDelta"].update(member="user:"),
        ),
    ],
)
def test_a_broken_log_entry_is_refused(name, change):
    with pytest.raises(InvalidMessageError):
        parse(entry(name, change))


def _delta(body):
    return body["protoPayload"]["metadata"]["membershipDelta"]


def removal(**changes):
    return entry(
        "cloudidentity-membership-add",
        lambda b: _delta(b).update(**{"roleDeltas": [{"action": "REMOVE", "role": "MEMBER"}], **changes}),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"member": f"deleted:user:{KOFI}?uid=1"}, {"member": KOFI}, {"member": f"USER:{KOFI}"},
        {"roleDeltas": [{"action": "REMOVE", "role": "member"}]}, {"roleDeltas": {"action": "remove", "role": "MEMBER"}},
    ],
)  # fmt: skip
def test_a_removal_from_a_group_is_read_in_any_spelling_and_an_addition_is_not(changes):
    (gone,) = parse(removal(**changes))
    assert (type(gone), gone.user, gone.member) == (GroupChanged, KOFI, False)
    grant = json.loads(json.dumps(removal(**changes)).replace("REMOVE", "ADD").replace("remove", "ADD"))
    with pytest.raises((InvalidMessageError, UnsupportedMessageError)):
        parse(grant)


@pytest.mark.parametrize("deltas", [None, 7, "x", ["x"]])
def test_a_change_of_roles_that_cannot_be_read_is_said(deltas):
    with pytest.raises(InvalidMessageError, match="roleDeltas"):
        parse(removal(roleDeltas=deltas))


def test_a_group_that_is_removed_from_a_group_is_no_person():
    with pytest.raises(UnsupportedMessageError, match="kind"):
        parse(removal(member=f"deleted:group:{KOFI}?uid=1"))


def test_a_cut_is_read_in_an_event_that_stands_alone_and_in_a_list_of_one_value_and_a_grant_is_not():
    def alone(body):
        body["protoPayload"]["metadata"]["event"] = _event(body)

    def listed(body):
        for parameter in _event(body)["parameter"]:
            if parameter["name"] == "USER_EMAIL":
                parameter["multiStrValue"] = [parameter.pop("value")]

    for change in (alone, listed):
        assert parse(entry("workspace-suspend-user", change)) == [
            replaced(own_news, news)
            for own_news, news in zip(
                parse(own("workspace-suspend-user")), parse(entry("workspace-suspend-user", change)), strict=True
            )
        ]
        with pytest.raises(InvalidMessageError):
            parse(entry("workspace-add-group-member", change))


def replaced(news, other):
    """The news with the id of the other: ids hold a digest of how the event was written."""
    return replace(news, event_id=other.event_id)


@pytest.mark.parametrize("value", ["TOUCH_USER", "", None, 7])
def test_a_workspace_event_that_is_not_known_is_named(value):
    with pytest.raises(UnsupportedMessageError, match=repr(str(value))):
        parse(entry("workspace-suspend-user", lambda b: _event(b).update(eventName=value)))


def test_one_event_that_is_not_understood_holds_up_no_other_and_is_kept_alone():
    body = entry("workspace-two-events", lambda b: b["protoPayload"]["metadata"]["event"][1].update(eventName="X"))
    parsed = whole(body)
    assert [type(piece) for piece in parsed.news] == [GroupChanged]
    (fault,) = parsed.faults
    assert isinstance(fault.error, UnsupportedMessageError)
    kept = json.loads(fault.body)
    assert [e["eventName"] for e in kept["protoPayload"]["metadata"]["event"]] == ["X"]
    assert kept["insertId"] == body["insertId"]


def test_parameters_are_found_whatever_their_order():
    body = entry("workspace-add-group-member", lambda b: _event(b)["parameter"].reverse())
    assert parse(body) == parse(own("workspace-add-group-member"))


def test_an_entry_without_its_own_id_is_known_by_the_messages():
    (news,) = parse(entry("cloudidentity-membership-add", lambda b: b.pop("insertId")))
    assert news.event_id == "m-1"


def test_an_entry_without_a_time_is_as_old_as_its_message():
    (news,) = parse(entry("cloudidentity-membership-add", lambda b: b.pop("timestamp")))
    assert news.occurred_at == PUBLISHED


def test_a_log_of_another_service_is_not_supported():
    with pytest.raises(UnsupportedMessageError, match=r"storage\.googleapis\.com"):
        parse({"protoPayload": {"serviceName": "storage.googleapis.com"}})


# --- what is no message at all ---


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "only attributes"),
        (b"joiner ana", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "Infinity is not JSON"),
        (b'{"a": 1e999}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"schema": "\xed\xa0\x80"}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 50_000, "not JSON"),
        (b"1" * 5_000, "not JSON"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'"x"', "not an object"),
        (b"{}", "unknown shape"),
        (b'{"hello": 1}', "hello"),
        (b'{"protoPayload": []}', "unknown shape"),
    ],
)
def test_what_is_no_message_says_why(data, says):
    with pytest.raises(InvalidMessageError) as caught:
        parse(data, attributes={"origin": "hr"})
    assert says in caught.value.user_message


def test_attributes_without_data_are_named_in_the_log_by_name_only():
    with pytest.raises(InvalidMessageError, match="origin") as caught:
        parse(b"", attributes={"origin": "kofi@example.org"})
    assert "kofi" not in caught.value.detail


def test_a_message_of_the_largest_size_is_read_and_one_byte_more_is_refused():
    body = json.dumps(own("hr-joiner")).encode()
    parse_message(message(body), rules(HR, max_bytes=len(body)))
    with pytest.raises(InvalidMessageError, match=str(len(body))):
        parse_message(message(body), rules(HR, max_bytes=len(body) - 1))


# --- what is nearly JSON: cuts count, grants do not ---

ODD = [
    b'"reason": "left \\ud83d"', b'"x": 1e999', b'"x": ' + b"1" * 5_000, b'"x": NaN', b'"x": -Infinity', b'"reason": "d\xe9part"',
    b'"reason": "one\ntwo"', b'"attributes": {"\\udc00": [NaN, {"a": "\xff"}]}',
]  # fmt: skip


def nearly(kind: str, odd: bytes, user: bytes = KOFI.encode()) -> bytes:
    fields = f'{{"schema": "{SCHEMA}", "event_id": "e-{kind}", "type": "{kind}", '.encode()
    return fields + b'"user": "' + user + b'", ' + odd + b"}"


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_value_beside_a_leaver_does_not_save_access(odd):
    parsed = whole(nearly("leaver", odd))
    (left,) = parsed.news
    assert (type(left), left.user, left.effective_at) == (Left, KOFI, PUBLISHED)
    (fault,) = parsed.faults
    assert "not JSON" in fault.error.user_message
    fault.error.user_message.encode()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["joiner", "mover", "leave_cancelled"])
def test_one_odd_value_beside_a_grant_refuses_it(kind, odd):
    for body in (nearly(kind, odd), b"[" + nearly(kind, odd) + b"]"):
        with pytest.raises(InvalidMessageError, match="not JSON"):
            parse(body)


@pytest.mark.parametrize(
    "body",
    [
        nearly("leaver", b'"x": 1', user=b"kofi.m\xe9nsah@example.org"),
        nearly("leaver", b'"x": 1', user=b"kofi.mensah\\ud83d@example.org"),
        nearly("leaver", b'"reason": "cut sh')[:-1],
        nearly("leaver", b'"x": 1,'),
        b'{"eventType": "user.lifecycle.deactivate", "x": NaN}',
    ],
)
def test_a_leaver_in_what_is_no_json_is_said_to_be_one(body):
    with pytest.raises(InvalidMessageError) as caught:
        parse(body)
    assert caught.value.reason is Reason.LEAVER_NOT_UNDERSTOOD


@pytest.mark.parametrize("odd", ODD)
def test_of_a_list_and_of_lines_each_counts_by_itself(odd):
    ana = nearly("joiner", b'"x": 1', user=b"ana@example.org")
    broken = nearly("joiner", odd, user=b"bo@example.org")
    leaver = nearly("leaver", odd)
    listed = whole(b" [ " + ana + b" ,\n" + broken + b"," + leaver + b" ] ")
    assert [part.body for part in listed.parts] == [ana, broken, leaver]
    if b"\n" not in odd:
        lines = whole(ana + b"\r\n" + broken + b"\n\n" + leaver + b"\n" + b'{"cut sh')
        assert [part.body for part in lines.parts] == [ana, broken, leaver, b'{"cut sh']


def test_a_broken_line_of_one_person_is_a_fault_beside_the_good_one():
    broken = nearly("joiner", b'"x": NaN')
    parsed = whole(nearly("leaver", b'"x": 1') + b"\n" + broken)
    assert [type(piece) for piece in parsed.news] == [Left]
    assert [fault.body for fault in parsed.faults] == [broken]


def test_a_key_that_stands_twice_in_an_element_of_a_list_is_seen():
    twice = nearly("leaver", b'"user": "ana@example.org"')
    with pytest.raises(InvalidMessageError, match="duplicate JSON key"):
        parse(b"[" + twice + b"]")


@pytest.mark.parametrize(
    "change",
    [
        {"user": ..., "email": KOFI}, {"user": [KOFI]}, {"user": {"email": KOFI}}, {"user": f"{KOFI}, ana@example.org"},
        {"user": f"Mensah, Kofi ({KOFI})"}, {"user": ..., "type": ..., "events": [{"type": "leaver", "user": KOFI}]},
        {"schema": "workbench.lifecycle/v2"}, {"user": f"ana@example.org <{KOFI}>"},
    ],
)  # fmt: skip
def test_a_leaver_of_nobody_plain_is_said_to_be_one(change):
    with pytest.raises(InvalidMessageError) as caught:
        parse(hr(**{"type": "leaver", **change}))
    assert caught.value.reason is Reason.LEAVER_NOT_UNDERSTOOD


@pytest.mark.parametrize("user", [f"SMTP:{KOFI}", f"smtp:{KOFI}", f"mailto:{KOFI}?subject=x"])
def test_a_leaver_under_a_mail_program_s_spelling_is_cut(user):
    (left,) = parse(hr(type="leaver", user=user))
    assert left.user == KOFI


@pytest.mark.parametrize("said", ["9999-12-31T00:00:00Z", "2027-04-01T10:00:00Z", "2027-04-01"])
def test_a_leaver_said_to_have_happened_in_the_future_has_left(said):
    (left,) = parse(hr(type="leaver", occurred_at=said, effective_time=...))
    assert left.effective_at == left.occurred_at == PUBLISHED
    ((_, statement),) = statements_of(left)
    assert statement.happened_at == PUBLISHED


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_effective_times_of_a_leaver_the_earlier_counts(order):
    first, second = ["2027-05-01T00:00:00Z", "2027-04-01T00:00:00Z"][::order]
    body = nearly("leaver", f'"effective_time": "{first}", "effective_time": "{second}"'.encode())
    (left,) = parse(body)
    assert left.effective_at == when(2027, 4, 1)


@pytest.mark.parametrize(
    ("said", "like"),
    [
        ("20270401", "2027-04-01"),
        ("30.04.2027", "2027-04-30"),
        ("4/30/2027", "2027-04-30"),
        ("04.04.2027", "2027-04-04"),
    ],
)
def test_a_leaver_s_last_day_in_another_spelling_is_that_day(said, like):
    (left,), (same,) = (parse(hr(type="leaver", effective_time=each)) for each in (said, like))
    assert left.effective_at == same.effective_at > PUBLISHED


def test_a_leaver_s_time_without_a_zone_is_read_where_the_people_are_and_said():
    parsed = whole(hr(type="leaver", effective_time="2027-04-01T00:00:00"))
    zone = ZoneInfo(rules(HR, max_bytes=1).people.time_zone)
    assert parsed.news[0].effective_at == datetime(2027, 4, 1, tzinfo=zone)
    assert "has no zone" in parsed.faults[0].error.user_message


@pytest.mark.parametrize("said", ["01.04.2027", "31.31.2027", "30.02.2027", "20271340", "2027-13-01T00:00", "soon", 7])
def test_a_leaver_s_time_that_may_be_two_or_none_holds_at_once(said):
    parsed = whole(hr(type="leaver", effective_time=said, occurred_at=...))
    assert parsed.news[0].effective_at == PUBLISHED
    assert parsed.faults


@pytest.mark.parametrize("number", [" P-10034", "P-10034\u200b", "P-\uff11\uff10\uff10\uff13\uff14", "\ufeffP-10034\n"])
def test_a_leaver_s_number_is_read_in_any_spelling_that_looks_the_same(number):
    (left,) = parse(hr(type="leaver", user=..., person_id=number))
    assert left.person_id == "P-10034"


def test_a_joiner_s_number_in_full_width_digits_is_the_same_and_with_hidden_characters_refused():
    (joined,) = parse(hr(person_id="P-\uff11\uff10\uff10\uff13\uff14"))
    assert joined.person_id == "P-10034"
    with pytest.raises(InvalidMessageError, match="person_id"):
        parse(hr(person_id="P-10034\u200b"))


# --- fuzz: news or one of the two refusals, whatever comes ---

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "user:", "\ud800", KOFI]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def news_or_refusal(data: bytes) -> None:
    try:
        news = parse(data)
    except (InvalidMessageError, UnsupportedMessageError) as error:
        error.user_message.encode()
        error.detail.encode()
        return
    for piece in news:
        json.dumps([repr(piece)], ensure_ascii=False).encode()
        for _, statement in () if isinstance(piece, Woken | GroupEvent) else statements_of(piece):
            assert statement.occurred_at.utcoffset() == timedelta(0)
            json.dumps([statement.value, statement.event_id], ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_news_or_a_refusal(data):
    news_or_refusal(data)


def places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


SHAPES = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(EVENTS.glob("*.json"))}
PLACES = [(name, place) for name, body in SHAPES.items() for place in places(body) if place]


@given(st.sampled_from(PLACES), _JSON)
@example(("hr-joiner", ("effective_time",)), "0001-01-01T00:00:00+14:00")
@example(("hr-joiner", ("attributes", "cost_center")), "\ud800")
@example(("hr-joiner", ("attributes", "cost_center")), float("inf"))
@example(("workspace-add-group-member", ("timestamp",)), "0001-01-01T00:00:00+14:00")
def test_any_value_in_any_place_of_any_shape_is_news_or_a_refusal(place, value):
    name, path = place
    body = copy.deepcopy(SHAPES[name])
    target = body
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    news_or_refusal(json.dumps(body).encode())


@given(_JSON)
def test_any_json_is_news_or_a_refusal(body):
    news_or_refusal(json.dumps(body).encode())


# --- ticks ---


@pytest.mark.parametrize("kind", ["due", "idle", "drift"])
def test_a_tick_names_its_sweep(kind):
    assert parse_tick(message(json.dumps({"sweep": kind, "more": 1}).encode())) == kind


@pytest.mark.parametrize(
    "data", [b"", b"due", b"{}", b'{"sweep": "all"}', b'{"sweep": ["due"]}', b'{"sweep": null}', b'"due"']
)
def test_what_is_no_tick_is_refused(data):
    with pytest.raises(InvalidMessageError):
        parse_tick(message(data))


def test_a_byte_order_mark_is_not_in_the_way():
    data = json.dumps(own("hr-leaver"))
    for written in (b"\xef\xbb\xbf" + data.encode(), data.encode("utf-16"), data.encode("utf-16-le")):
        assert list(map(plain, parse(written))) == list(map(plain, FIXTURES["hr-leaver"]))


def test_the_schema_is_the_one_of_the_documentation():
    assert own("hr-joiner")["schema"] == SCHEMA


# --- wake-ups

KOFIS_KEY = user_key_for(parse_email(KOFI))


def test_a_wake_up_says_whom_to_look_at_and_nothing_else():
    data = wake_message(KOFIS_KEY)
    assert parse(data) == [Woken(event_id="m-1", user_key=KOFIS_KEY, occurred_at=PUBLISHED)]
    assert b"@" not in data  # it goes through topics and logs
    assert json.loads(data) == {"schema": WAKE_SCHEMA, "user_key": KOFIS_KEY}


@pytest.mark.parametrize(
    "body",
    [
        {"schema": WAKE_SCHEMA},
        {"schema": WAKE_SCHEMA, "user_key": None},
        {"schema": WAKE_SCHEMA, "user_key": 7},
        {"schema": WAKE_SCHEMA, "user_key": [KOFIS_KEY]},
        {"schema": WAKE_SCHEMA, "user_key": KOFIS_KEY, "power": "STOPPED"},
        {"schema": WAKE_SCHEMA, "user_key": KOFIS_KEY, "type": "leaver", "user": KOFI},
    ],
)
def test_a_wake_up_with_less_or_more_is_refused(body):
    with pytest.raises(InvalidMessageError) as caught:
        parse(body)
    assert WAKE_SCHEMA in caught.value.user_message
    assert KOFI not in caught.value.detail


@pytest.mark.parametrize(
    "key", ["", KOFI, "../records/x", "kofi", "Kofi-0123456789ab", "kofi-0123456789ab/../x", "kofi-0123"]
)
def test_a_wake_up_for_what_is_no_key_is_refused(key):
    with pytest.raises(InvalidMessageError):
        parse({"schema": WAKE_SCHEMA, "user_key": key})


@pytest.mark.parametrize("schema", ["workbench.wake/v2", "workbench.wake", "WORKBENCH.WAKE/V1", None, 1, [WAKE_SCHEMA]])
def test_another_version_of_it_is_none(schema):
    with pytest.raises(InvalidMessageError):
        parse({"schema": schema, "user_key": KOFIS_KEY})


@given(
    st.dictionaries(st.sampled_from(["user_key", "user", "type", "x"]), st.text(max_size=40) | st.none(), max_size=4)
)
def test_a_wake_up_wakes_or_is_refused(fields):
    try:
        (woken,) = parse({**fields, "schema": WAKE_SCHEMA})
    except InvalidMessageError:
        return
    assert isinstance(woken, Woken)
    assert set(fields) == {"user_key"}


@pytest.mark.parametrize(
    ("source", "said", "urgent", "fault"),
    [
        ("operator", True, True, ""),
        ("operator", False, False, ""),
        ("hr", True, False, "may not state this"),
        ("operator", "yes", False, "must be true or false"),
        ("operator", 1, False, "must be true or false"),
    ],
)
def test_a_leave_is_urgent_only_where_the_source_may_say_so_and_counts_in_any_case(source, said, urgent, fault):
    body = {
        "schema": "workbench.lifecycle/v1", "event_id": "e1", "type": "leaver", "user": "ana.silva@example.com",
        "occurred_at": "2026-11-23T08:00:00Z", "urgent": said,
    }  # fmt: skip
    taken = read(json.dumps(body).encode(), source=source, published=datetime(2026, 11, 23, 8, 0, tzinfo=UTC))
    (left,) = taken.news
    assert isinstance(left, Left)
    assert left.urgent is urgent
    assert [fault in each.error.user_message for each in taken.faults] == ([True] if fault else [])
