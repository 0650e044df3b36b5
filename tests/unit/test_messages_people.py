"""Whom a message names that could not be used: only where the known shapes carry an address, only valid ones, never an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.making import NOW
from kit.reading import PEOPLE

from shared.domain.people.sources import DIRECTORY, HR, SHIPPED
from shared.domain.things.identity import parse_email, user_key_for
from shared.messages.message import Message
from shared.messages.people import people_named

EVENTS = Path(__file__).resolve().parents[1] / "events"
KOFI = user_key_for(parse_email("kofi.mensah@example.org"))


def named(body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    source = SHIPPED[DIRECTORY if b'"protoPayload"' in data else HR]
    return tuple(people_named(Message(data=data, attributes={}, message_id="1", publish_time=NOW), source, PEOPLE))


def entry(service, metadata):
    return {"protoPayload": {"serviceName": service, "metadata": metadata}}


def admin(*parameters):
    return entry("admin.googleapis.com", {"event": [{"eventName": "X", "parameter": list(parameters)}]})


@pytest.mark.parametrize(
    "name",
    [
        "hr-joiner", "hr-leaver", "workspace-add-group-member", "workspace-suspend-user", "cloudidentity-membership-add",
    ],
)  # fmt: skip
def test_every_shape_that_names_a_person_is_read(name):
    assert named((EVENTS / f"{name}.json").read_bytes()) == (KOFI,)


def test_a_changed_address_names_two():
    assert named((EVENTS / "workspace-rename-user.json").read_bytes()) == (
        KOFI,
        user_key_for(parse_email("kofi@example.org")),
    )


@pytest.mark.parametrize(
    "name", ["workspace-group-bulk-upload", "cloudidentity-nested-group", "notebooks-foreign-last"]
)
def test_a_shape_that_names_nobody_gives_nobody(name):
    assert named((EVENTS / f"{name}.json").read_bytes()) == ()


@pytest.mark.parametrize(
    "body",
    [
        {"schema": "workbench.lifecycle/v1", "type": "promoted", "user": "Kofi.Mensah@Example.org"},
        {"user": "kofi.mensah@example.org"},
        {"schema": "choir.lifecycle/v1", "user": "kofi.mensah@example.org"},
        {"id": 7, "events": [{"name": "SUSPEND_USER", "parameters": [{"name": "x", "value": "kofi.mensah@example.org"}]}]},
        {"schema": "workbench.lifecycle/v2", "who": 1, "user": "kofi.mensah@example.org"},
        admin({"name": "USER_EMAIL", "value": 7}, {"name": "USER_EMAIL", "value": "kofi.mensah@example.org"}),
        entry(
            "cloudidentity.googleapis.com", {"membershipDelta": {"member": "user:kofi.mensah@example.org", "roleDeltas": [{"role": "MEMBER", "action": "X"}]}},
        ),
    ],
)  # fmt: skip
def test_what_does_not_parse_is_looked_up_in_its_place(body):
    assert named(body) == (KOFI,)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"kofi.mensah@example.org", b"\xff\xfe", b"[" * 100_000, b'"kofi.mensah@example.org"',
        {"schema": "workbench.lifecycle/v2", "user": "nobody", "note": "kofi.mensah@example.org"},
        {"schema": "workbench.lifecycle/v2", "user": ["kofi.mensah@example.org"]},
        {"eventType": "user.lifecycle.deactivate", "actor": {"alternateId": "kofi.mensah@example.org"}},
        admin({"name": "NEW_VALUE", "value": "kofi.mensah@example.org"}, "kofi.mensah@example.org"),
        entry("admin.googleapis.com", {"event": {"parameter": 1}}),
        entry("cloudidentity.googleapis.com", {"membershipDelta": {"member": "group:kofi.mensah@example.org"}}),
        entry("compute.googleapis.com", {"event": [{"parameter": [{"name": "USER_EMAIL", "value": "kofi.mensah@example.org"}]}]}),
    ],
)  # fmt: skip
def test_an_address_anywhere_else_is_not_guessed_at(body):
    assert named(body) == ()


@pytest.mark.parametrize(
    "member",
    ["deleted:user:kofi.mensah@example.org?uid=1", "kofi.mensah@example.org", "USER:kofi.mensah@example.org"],
)
def test_the_member_of_a_group_is_named_in_any_spelling(member):
    assert named(entry("cloudidentity.googleapis.com", {"membershipDelta": {"member": member}})) == (KOFI,)


def test_a_person_in_a_list_of_values_and_in_an_event_alone_is_named():
    assert named(admin({"name": "USER_EMAIL", "multiStrValue": ["x", "kofi.mensah@example.org"]})) == (KOFI,)
    event = {"eventName": "X", "parameter": [{"name": "USER_EMAIL", "value": "kofi.mensah@example.org"}]}
    assert named(entry("admin.googleapis.com", {"event": event})) == (KOFI,)


@pytest.mark.parametrize(
    "changed",
    [
        {"email": "kofi.mensah@example.org"}, {"user": ["kofi.mensah@example.org"]}, {"user": {"email": "kofi.mensah@example.org"}},
        {"user": "Mensah, Kofi (kofi.mensah@example.org)"}, {"user": "kofi.mensah@example.org (left)"},
        {"user": "SMTP:kofi.mensah@example.org"}, {"user": "kofi.mensah@example.org?subject=x"},
        {"type": None, "events": [{"type": "leaver", "user": "kofi.mensah@example.org"}]},
    ],
)  # fmt: skip
def test_a_leaver_without_a_plain_user_names_every_address_in_it(changed):
    assert KOFI in named({"schema": "workbench.lifecycle/v1", "type": "leaver", **changed})


@pytest.mark.parametrize(
    "fields",
    [
        b'"user": "kofi.mensah@example.org", "user": "ana@example.org"',
        b'"user": "ana@example.org, kofi.mensah@example.org"',
        b'"user": "Ana ana@example.org <kofi.mensah@example.org>"',
    ],
)
def test_two_people_in_one_leaver_are_both_named(fields):
    ana = user_key_for(parse_email("ana@example.org"))
    assert {KOFI, ana} <= set(named(b'{"schema": "workbench.lifecycle/v1", "type": "leaver", ' + fields + b"}"))


@pytest.mark.parametrize(
    "rest", [b'"reason": "\\ud83d"}', b'"x": NaN}', b'"x": "\xe9"}', b'"x": "a\nb"}', b'"x": "cut sh']
)
@pytest.mark.parametrize("kind", [b"joiner", b"leaver"])
def test_what_is_nearly_json_names_people(kind, rest):
    body = b'{"schema": "workbench.lifecycle/v1", "user": "kofi.mensah@example.org", "type": "' + kind + b'", '
    assert named(body + rest) == (KOFI,)


@pytest.mark.parametrize("odd", [["x"], {"x": 1}, [], {}, 7, 1.5, None, True, [["x"]]])
@pytest.mark.parametrize("place", ["service", "events", "name", "parameters", "called", "value"])
def test_no_shape_in_any_place_hides_the_people_beside_it(place, odd):
    bad = {"name": odd if place == "called" else "USER_EMAIL", "value": odd if place == "value" else "x"}
    broken = {"eventName": odd if place == "name" else "X", "parameter": odd if place == "parameters" else [bad]}
    good = {"eventName": "X", "parameter": [{"name": "USER_EMAIL", "value": "kofi.mensah@example.org"}]}
    body = entry("admin.googleapis.com", {"event": [odd if place == "events" else broken, good]})
    if place == "service":
        body["protoPayload"]["status"] = {"code": odd}
    assert named(body) == (KOFI,)
    assert isinstance(named({"protoPayload": {"serviceName": odd, "metadata": {"event": [good]}}}), tuple)


def test_each_person_is_named_once_and_not_without_end():
    many = [{"name": "USER_EMAIL", "value": f"p{number}@example.com"} for number in range(200)]
    found = named(admin(*many, *many))
    assert len(found) == len(set(found)) == 50
    assert found[0] == user_key_for(parse_email("p0@example.com"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["a@b.co", "admin.googleapis.com"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["schema", "user", "protoPayload", "serviceName", "metadata", "event", "parameter", "name", "value", "membershipDelta", "member"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_JSON | st.binary(max_size=40))
def test_nothing_makes_it_fail(body):
    assert isinstance(named(body), tuple)
