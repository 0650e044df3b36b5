"""News as Pub/Sub brings it: what is acked, what comes again, what goes to the dead letters, and one line for each."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from kit.official import storage_bucket
from msgspec.structs import replace

from shared import wiring
from shared.domain.people.entitlement import Cause
from shared.domain.record.record import Presence
from shared.domain.things.identity import parse_email, user_key_for
from shared.domain.things.notebook import NotebookState
from tests.functions.conftest import SUBSCRIPTION, TYPE, envelope

EVENTS = Path(__file__).resolve().parents[1] / "events"
KOFI = parse_email("kofi.mensah@example.org")
KEY = user_key_for(KOFI)
ACK, NACK = 200, 500
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def own(name: str):
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


JOINER = {**own("hr-joiner"), "effective_time": "2026-11-23T08:00:00Z"}
LEAVER = {**own("hr-leaver"), "occurred_at": "2026-11-23T08:00:00Z"}


def record_of(functions, key=KEY):
    stored = functions.bench.deps.records.load(key)
    return None if stored is None else stored.record


def instance_of(functions, key=KEY):
    record = record_of(functions, key)
    return next(
        (
            n
            for n in functions.bench.deps.notebooks.listing().notebooks
            if n.ref.instance_id == record.status.notebook.instance_id
        ),
        None,
    )


def the_line(functions):
    (line,) = functions.lines("Handled a delivery")
    return line


def the_letter(functions):
    ((body, attributes),) = functions.letters.published
    return body, attributes


# --- the forms in which a message may come ---


def structured(body):
    event = own("pubsub-cloudevent-structured")
    event["data"]["message"]["data"] = base64.b64encode(json.dumps(body).encode()).decode()
    return {"content-type": "application/cloudevents+json"}, json.dumps(event).encode()


def raw_push(body):
    return {"content-type": "application/json"}, json.dumps(envelope(body)).encode()


def binary(body):
    headers = {
        "ce-id": "770011",
        "ce-source": "//pubsub.googleapis.com/projects/p/topics/workbench-lifecycle",
        "ce-specversion": "1.0",
        "ce-type": TYPE,
        "content-type": "application/json",
    }
    return headers, json.dumps(envelope(body)).encode()


@pytest.mark.parametrize("form", [binary, structured])
def test_a_joiner_in_any_form_gets_an_instance_and_templates(functions, form):
    assert functions.post("lifecycle", *form(JOINER)) == ACK
    functions.bench.advance(minutes=5)
    record = record_of(functions)
    assert (record.spec.presence, record.spec.profile) == (Presence.PRESENT, "engineer")
    assert instance_of(functions).state is NotebookState.ACTIVE
    templates = {"large-cluster", "personal-auth-cluster", "single-node"}
    assert set(functions.bench.deps.templates.seen(KEY).digests) == templates
    assert functions.letters.published == []


@pytest.mark.parametrize("source", ["", "//pubsub.googleapis.com/projects/p/topics/workbench-news"])
def test_a_message_of_no_known_topic_is_nacked_with_an_alarm(functions, source):
    """Nobody knows whose word it is: a raw push says no topic, a new topic has no deployment yet. Nothing of it is lost."""
    headers, data = binary(JOINER) if source else raw_push(JOINER)
    assert functions.post("lifecycle", {**headers, **({"ce-source": source} if source else {})}, data) == NACK
    assert record_of(functions) is None
    assert functions.letters.published == []
    (line,) = functions.lines("Received a message on an unknown topic")
    assert line["severity"] == "ERROR"
    assert the_line(functions)["reason"] == "UnknownTopic"


@pytest.mark.parametrize("form", [binary, structured])
def test_poison_in_any_form_goes_to_the_dead_letters_and_is_acked(functions, form):
    assert functions.post("lifecycle", *form({"schema": "workbench.lifecycle/v9"})) == ACK
    body, attributes = the_letter(functions)
    assert json.loads(body) == {"schema": "workbench.lifecycle/v9"}
    assert attributes["reason"] == "InvalidMessage"
    assert "workbench.lifecycle/v9" in attributes["detail"]
    assert attributes["source-message-id"] == "770011"


def test_the_envelope_tells_where_a_dead_letter_came_from(functions):
    functions.deliver("lifecycle", {"schema": "x"}, attempt=3, message_id="99")
    assert the_letter(functions)[1]["source-subscription"] == SUBSCRIPTION
    assert (the_line(functions)["attempt"], the_line(functions)["message_id"]) == (3, "99")


def test_the_same_news_again_changes_nothing(functions):
    functions.deliver("lifecycle", JOINER)
    before = functions.bench.deps.records.load(KEY)
    functions.bench.cloud.world.journal.clear()
    assert functions.deliver("lifecycle", JOINER, attempt=2) == ACK
    assert [c for c in functions.bench.calls() if c["mutates"]] == []
    assert functions.bench.deps.records.load(KEY) == before


def test_a_leaver_is_stopped(functions):
    functions.deliver("lifecycle", JOINER)
    functions.bench.advance(minutes=5)
    assert functions.deliver("lifecycle", LEAVER) == ACK
    functions.bench.advance(minutes=2)
    assert instance_of(functions).state is NotebookState.STOPPED
    assert record_of(functions).spec.presence is Presence.ABSENT
    assert functions.bench.deps.templates.seen(KEY).digests == {}


def test_every_event_of_one_entry_is_taken_in(functions):
    assert functions.deliver("lifecycle", own("workspace-two-events")) == ACK
    assert record_of(functions).spec.presence is Presence.PRESENT
    assert record_of(functions, user_key_for(parse_email("r.lind@example.org"))) is not None
    assert the_line(functions)["news"] == ["GroupChanged", "AccountChanged"]


def test_what_concerns_nobody_is_acked_without_a_trace(functions):
    assert functions.deliver("lifecycle", own("cloudidentity-owner-role-removed")) == ACK
    assert functions.letters.published == []
    assert list(functions.bench.deps.records.rows()) == []
    assert the_line(functions)["users"] == []


def test_a_completion_only_wakes_and_somebody_unknown_is_nobody(functions):
    assert functions.deliver("lifecycle", own("notebooks-create-last")) == ACK
    assert list(functions.bench.deps.records.rows()) == []


def test_a_completion_lets_the_record_say_ready_before_the_tick(functions):
    functions.deliver("lifecycle", JOINER)
    functions.bench.advance(minutes=5)
    done = own("notebooks-create-last")
    done["protoPayload"]["resourceName"] = f"projects/p/locations/z/instances/nb-{KEY}"
    assert functions.deliver("lifecycle", done) == ACK
    (row,) = functions.bench.deps.records.rows()
    assert row.reason == "Ready"


# --- poison ---

POISON = [
    (b"", "InvalidMessage", "only attributes"),
    (b"joiner kofi", "InvalidMessage", "not JSON"),
    (b'{"a": NaN}', "InvalidMessage", "NaN"),
    (b'{"schema": "\\ud800"}', "InvalidMessage", "not JSON"),
    (b"\xff\xfe", "InvalidMessage", "not JSON"),
    (b"[]", "InvalidMessage", "not an object"),
    ({"hello": 1}, "InvalidMessage", "unknown shape"),
    ({**JOINER, "user": "nobody"}, "InvalidMessage", "address"),
    ({**JOINER, "attributes": {"profile": "sultan"}}, "UnknownProfile", "analyst, engineer"),
    ({**JOINER, "attributes": {"profile": "me@example.com"}}, "UnknownProfile", "There is no profile"),
    ({**JOINER, "occurred_at": "2026-11-16T10:02:11"}, "InvalidMessage", "occurred_at"),
    ({**JOINER, "occurred_at": "0001-01-01T00:00:00+14:00"}, "InvalidMessage", "calendar"),
    (own("workspace-group-bulk-upload"), "UnsupportedMessage", "names nobody"),
    ({**JOINER, "type": "renamed"}, "InvalidMessage", "needs new_user"),
    (own("cloudidentity-nested-group"), "UnsupportedMessage", "nested"),
    (b'{"x": "' + b"a" * 300_000 + b'"}', "InvalidMessage", "bytes"),
]


@pytest.mark.parametrize("name", ["workspace-rename-user", "hr-renamed"])
def test_a_changed_address_keeps_the_environment_and_is_in_no_log(functions, name):
    functions.deliver("lifecycle", JOINER)
    functions.bench.advance(minutes=6)  # a listing lags a create
    before = instance_of(functions)
    by = {"topic": "workbench-operator"} if name == "hr-renamed" else {}
    assert functions.deliver("lifecycle", own(name), **by) == ACK
    functions.deliver("lifecycle", {**LEAVER, "user": "kofi@example.org", "type": "mover", "event_id": "m"})
    lines = functions.lines("Handled a delivery")
    assert [line["users"] for line in lines] == [[KEY]] * 3
    assert "@example.org" not in json.dumps(lines)
    record = record_of(functions)
    assert (record.email, record.user_key) == ("kofi@example.org", KEY)
    assert instance_of(functions).ref == before.ref
    assert len(functions.bench.deps.notebooks.listing().notebooks) == 1


def test_a_changed_address_that_hr_alone_announces_waits_and_a_cut_under_it_is_the_owners(functions):
    functions.deliver("lifecycle", JOINER)
    assert functions.deliver("lifecycle", own("hr-renamed")) == ACK
    record = record_of(functions)
    assert (record.email, record.rename.new_email) == (KOFI, "kofi@example.org")
    functions.deliver("lifecycle", {**JOINER, "user": "kofi@example.org", "event_id": "new"})
    new = record_of(functions, user_key_for(parse_email("kofi@example.org")))
    assert (new.spec.presence, new.spec.cause) == (Presence.ABSENT, Cause.ADDRESS_WAITS)
    assert functions.deliver("lifecycle", {**LEAVER, "user": "kofi@example.org", "event_id": "cut"}) == ACK
    assert record_of(functions).spec.presence is Presence.ABSENT
    assert functions.letters.published == []


def test_a_changed_address_between_two_environments_is_a_dead_letter(functions):
    functions.deliver("lifecycle", JOINER)
    functions.deliver("lifecycle", {**JOINER, "user": "kofi@example.org", "event_id": "other"})
    assert functions.deliver("lifecycle", own("hr-renamed"), topic="workbench-operator") == ACK
    _, attributes = the_letter(functions)
    assert attributes["reason"] == "UnsupportedMessage"
    assert "An administrator decides" in attributes["detail"]
    assert record_of(functions).email == KOFI


@pytest.mark.parametrize(("body", "reason", "says"), POISON)
def test_what_can_never_succeed_is_a_dead_letter_with_its_reason_and_is_acked(functions, body, reason, says):
    assert functions.deliver("lifecycle", body, attributes={"origin": "hr"}) == ACK
    arrived, attributes = the_letter(functions)
    whole = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert arrived == whole[: functions.bench.settings.max_message_bytes]
    assert attributes["reason"] == reason
    assert says in attributes["detail"]
    assert all(len(value.encode()) <= 1024 for value in attributes.values())
    assert list(functions.bench.deps.records.rows()) == []
    line = the_line(functions)
    assert (line["severity"], line["outcome"], line["reason"]) == ("WARNING", "dead-letter", reason)
    assert line["detail"]


@pytest.mark.parametrize(
    "data",
    [
        b"{broken",
        b"",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"message": null}',
        b'{"message": []}',
        b'{"message": {"data": "%%%"}}',
        b'{"message": {"data": 7, "attributes": []}}',
        b'{"message": {"data": "e30", "publishTime": "noon"}}',
        b'"\\ud800"',
    ],
)
def test_a_delivery_that_is_no_envelope_is_a_dead_letter_and_is_acked(functions, data):
    assert functions.binary("lifecycle", data) == ACK
    assert the_letter(functions)[1]["reason"] == "InvalidMessage"
    assert the_line(functions)["outcome"] == "dead-letter"


def test_when_the_dead_letters_cannot_take_it_the_message_comes_again(functions):
    functions.letters.down = True
    assert functions.deliver("lifecycle", {"hello": 1}) == NACK
    assert the_line(functions)["outcome"] == "nack"
    functions.letters.down = False
    assert functions.deliver("lifecycle", {"hello": 1}, attempt=2) == ACK
    assert the_letter(functions)[1]["reason"] == "InvalidMessage"


def test_what_is_no_event_at_all_is_refused_by_the_framework(functions):
    assert functions.post("lifecycle", {"content-type": "application/json"}, b"{broken") == 400
    assert functions.letters.published == []


# --- nack before the intent is durable, ack after ---


@pytest.mark.parametrize("call", ["storage.objects.get", "storage.objects.insert"])
def test_a_record_that_cannot_be_read_or_written_comes_again(functions, call):
    functions.bench.fault(
        call=call, times=0, error={"code": "RESOURCE_EXHAUSTED", "message": "slow", "http_status": 409}
    )
    assert functions.deliver("lifecycle", JOINER) == NACK
    line = the_line(functions)
    assert (line["outcome"], line["reason"], line["severity"]) == ("nack", "Conflict", "WARNING")
    assert functions.letters.published == []
    functions.bench.cloud.world.faults.clear()
    assert functions.deliver("lifecycle", JOINER, attempt=2) == ACK
    functions.bench.advance(minutes=5)
    assert instance_of(functions).state is NotebookState.ACTIVE


@pytest.mark.parametrize("call", ["storage.objects.get", "storage.objects.insert"])
def test_a_permission_that_is_missing_is_no_fault_of_the_message_so_it_comes_again(functions, call):
    functions.bench.fault(call=call, error={"code": "PERMISSION_DENIED", "message": "denied"})
    assert functions.deliver("lifecycle", JOINER) == NACK
    assert functions.letters.published == []
    assert (the_line(functions)["outcome"], the_line(functions)["reason"]) == ("nack", "AccessDenied")
    assert functions.deliver("lifecycle", JOINER, attempt=2) == ACK
    assert record_of(functions).spec.presence is Presence.PRESENT


def test_a_damaged_record_of_which_no_version_can_be_read_loses_no_news(functions):
    bucket = storage_bucket(functions.bench.clients)
    bucket.blob(f"records/{KEY}.json").upload_from_string("{")
    assert functions.deliver("lifecycle", JOINER) == NACK
    assert functions.letters.published == []
    (unusable,) = functions.lines("Record could not be used")
    assert (unusable["severity"], unusable["reason"], unusable["user"]) == ("ERROR", "Damaged", KEY)
    for version in list(bucket.list_blobs(prefix=f"records/{KEY}.json", versions=True)):
        version.delete()  # an administrator gives it up
    assert functions.deliver("lifecycle", JOINER, attempt=2) == ACK
    assert record_of(functions).spec.presence is Presence.PRESENT


class BrokenRecords:
    """Fails in a way that nobody foresaw."""

    def load(self, user_key):  # noqa: ARG002 - the port's signature
        raise ZeroDivisionError(f"{KOFI} and nothing")


def test_what_nobody_foresaw_comes_again(functions, monkeypatch):
    settings, deps = wiring._CACHED["lifecycle"]
    monkeypatch.setitem(wiring._CACHED, "lifecycle", (settings, replace(deps, records=BrokenRecords())))
    assert functions.deliver("lifecycle", JOINER) == NACK
    line = the_line(functions)
    assert (line["outcome"], line["reason"]) == ("nack", "Unexpected")
    assert "ZeroDivisionError" in line["detail"]


@pytest.mark.parametrize(
    "error",
    [
        {"code": "UNAVAILABLE", "message": "down"},
        {"code": "PERMISSION_DENIED", "message": "denied"},
        {"code": "RESOURCE_EXHAUSTED", "message": "Quota 'CPUS' exceeded."},
        {"code": "INVALID_ARGUMENT", "message": "wrong"},
    ],
)
def test_once_the_intent_is_saved_the_tick_owns_the_rest(functions, error):
    functions.bench.fault(call="notebooks.CreateInstance", error=error)
    assert functions.deliver("lifecycle", JOINER) == ACK
    assert the_line(functions)["outcome"] == "ack"
    assert functions.letters.published == []
    record = record_of(functions)
    assert record.spec.presence is Presence.PRESENT
    for _ in range(2):
        functions.bench.advance(hours=25)  # an answer that nobody can interpret is tried again after a day
        assert functions.deliver("tick", {"sweep": "due"}) == ACK
    functions.bench.advance(minutes=5)
    assert instance_of(functions).state is NotebookState.ACTIVE


class OutOfOrder:
    """A port of which every call fails as nobody foresaw."""

    def __getattr__(self, name):
        raise ZeroDivisionError(name)


def test_a_pass_that_fails_as_nobody_foresaw_is_left_to_the_tick(functions, monkeypatch):
    settings, deps = wiring._CACHED["lifecycle"]
    monkeypatch.setitem(wiring._CACHED, "lifecycle", (settings, replace(deps, notebooks=OutOfOrder())))
    assert functions.deliver("lifecycle", JOINER) == ACK
    (left,) = functions.lines("Pass failed after a message")
    assert (left["severity"], left["user"]) == ("ERROR", KEY)
    functions.bench.advance(minutes=2)
    functions.deliver("tick", {"sweep": "due"})
    functions.bench.advance(minutes=5)
    assert instance_of(functions).state is NotebookState.ACTIVE


# --- the one line ---


def test_one_delivery_is_one_canonical_line(functions):
    functions.binary(
        "lifecycle", json.dumps(envelope(JOINER)).encode(), traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01"
    )
    line = the_line(functions)
    assert line["severity"] == "INFO"
    assert line["outcome"] == "ack"
    assert line["users"] == [KEY]
    assert line["news"] == ["Joined"]
    assert line["duration_ms"] >= 0
    project = functions.bench.settings.project
    assert line["logging.googleapis.com/trace"] == f"projects/{project}/traces/{TRACE_ID}"
    assert line["logging.googleapis.com/labels"] == {"component": "lifecycle"}
    assert all(x["logging.googleapis.com/trace"] == line["logging.googleapis.com/trace"] for x in functions.lines())


def test_a_trace_of_the_older_header_is_kept_too(functions):
    functions.binary(
        "lifecycle", json.dumps(envelope(JOINER)).encode(), **{"X-Cloud-Trace-Context": f"{TRACE_ID}/1;o=1"}
    )
    assert the_line(functions)["logging.googleapis.com/trace"].endswith(TRACE_ID)


@pytest.mark.parametrize(
    "body",
    [
        JOINER,
        {"schema": "kofi@example.com"},
        {"kofi@example.com": 1},
        {**JOINER, "user": "kofi@ben@example.com"},
        {**JOINER, "event_id": "kofi@example.com"},
        {**JOINER, "type": "kofi@example.com"},
        {**JOINER, "attributes": {"profile": "kofi@example.com"}},
        {"protoPayload": {"serviceName": "kofi@example.com"}},
        b"kofi@example.com",
    ],
)
def test_no_address_gets_into_any_line(functions, body):
    assert functions.deliver("lifecycle", body, attributes={"by": "kofi@example.com"}) == ACK
    assert functions.deliver("lifecycle", body) == ACK
    text = json.dumps(functions.lines())
    assert "kofi@" not in text
    assert "kofi.mensah@" not in text
