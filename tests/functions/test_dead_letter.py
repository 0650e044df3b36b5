"""Messages that cannot succeed are kept with a reason, once each, and mark the people whom they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.official import storage_bucket
from msgspec.structs import replace

from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.identity import parse_email, user_key_for
from tests.functions.conftest import SUBSCRIPTION

ACK, NACK = 200, 500
SOURCE = "CloudPubSubDeadLetterSourceSubscription"
SENT = "CloudPubSubDeadLetterSourceTopicPublishTime"
EVENTS = Path(__file__).resolve().parents[1] / "events"
KOFI = "kofi.mensah@example.org"
KEY = user_key_for(parse_email(KOFI))
UNKNOWN = {"reason": "UnknownProfile", "detail": "There is no profile 'x'.", "source-message-id": "5"}


def hr(event_id, **more):
    return {"schema": "workbench.lifecycle/v1", "event_id": event_id, "type": "joiner", "user": KOFI, **more}


def stored(functions):
    return functions.bench.deps.records.load(KEY)


def mark(functions):
    return stored(functions).record.status.condition(ConditionType.NEWS_UNDERSTOOD)


def poison(functions, message_id):
    """A message that names a profile that does not exist, all the way: lifecycle, topic, dead_letter."""
    body = hr(f"e{message_id}", attributes={"profile": "pilot"})
    functions.letters.published.clear()
    assert functions.deliver("lifecycle", body, message_id=message_id, attributes={"origin": "hr"}) == ACK
    ((data, attributes),) = functions.letters.published
    assert functions.deliver("dead_letter", data, attributes=attributes, message_id=f"9{message_id}") == ACK


def test_a_letter_is_kept_with_all_that_replay_needs(functions):
    poison(functions, "7")
    (letter,) = functions.letters.kept()
    assert (letter.row.letter_id, letter.row.reason, letter.row.function) == ("7", "UnknownProfile", "lifecycle")
    assert "pilot" in letter.row.detail
    assert letter.source == SUBSCRIPTION
    assert json.loads(letter.body) == hr("e7", attributes={"profile": "pilot"})
    assert letter.row.sent_at.isoformat() == "2026-11-23T07:59:58.500000+00:00"
    assert letter.attributes["origin"] == "hr"
    assert not letter.is_cut
    (line,) = functions.lines("Stored dead letter")
    assert (line["severity"], line["reason"], line["users"]) == ("ERROR", "UnknownProfile", [KEY])


def test_one_that_pubsub_forwarded_after_its_last_attempt_says_so(functions):
    sent = "2026-11-23T06:00:00.25Z"
    spoof = {"reason": "Ready", "detail": "all is well", "source-message-id": "1", "source-publish-time": "no time"}
    attributes = {SOURCE: "workbench-lifecycle-push", SENT: sent, **spoof}
    assert functions.deliver("dead_letter", b"{}", attributes=attributes, message_id="8") == ACK
    (letter,) = functions.letters.kept()
    assert (letter.row.letter_id, letter.row.reason) == ("8", "DeliveryAttemptsExhausted")
    assert letter.source == "workbench-lifecycle-push"
    assert letter.row.sent_at.isoformat() == "2026-11-23T06:00:00.250000+00:00"


def test_a_message_cannot_pass_for_one_that_pubsub_forwarded(functions):
    attributes = {SOURCE: "mine", "reason": "Ready", "origin": "hr"}
    assert functions.deliver("lifecycle", b"joiner kofi", attributes=attributes, message_id="7") == ACK
    ((_, carried),) = functions.letters.published
    assert SOURCE not in carried
    assert (carried["reason"], carried["origin"]) == ("InvalidMessage", "hr")


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"kofi", b"x" * 300_000])
def test_anything_is_kept_byte_for_byte(functions, body):
    assert functions.deliver("dead_letter", body, attributes={"why": "?"}) == ACK
    (letter,) = functions.letters.kept()
    assert (letter.row.reason, letter.body, letter.is_cut) == ("InvalidMessage", body, False)


def test_a_message_that_was_too_large_is_kept_as_far_as_it_fits_and_says_so(functions):
    limit = functions.bench.settings.max_message_bytes
    assert functions.deliver("lifecycle", b"x" * (limit + 1), message_id="7") == ACK
    ((body, attributes),) = functions.letters.published
    functions.deliver("dead_letter", body, attributes=attributes, message_id="8")
    (letter,) = functions.letters.kept()
    assert (len(letter.body), letter.size, letter.is_cut) == (limit, limit + 1, True)


def test_a_message_without_data_stays_without_data(functions):
    assert functions.deliver("lifecycle", b"", message_id="7", attributes={"a": "b"}) == ACK
    ((_, attributes),) = functions.letters.published
    functions.deliver("dead_letter", b"{}", attributes=attributes, message_id="8")  # what stands for it on the topic
    (letter,) = functions.letters.kept()
    assert (letter.body, letter.size, letter.is_cut) == (b"", 0, False)


@pytest.mark.parametrize("size", ["-3", "many", "\u00b2"])
def test_attributes_that_somebody_made_up_do_not_harm(functions, size):
    attributes = {"reason": "Own\u0007Goal", "source-bytes": size, "source-publish-time": "noon"}
    assert functions.deliver("dead_letter", b"{}", attributes=attributes) == ACK
    (letter,) = functions.letters.kept()
    assert (letter.row.reason, letter.body) == ("InvalidMessage", b"{}")


def test_the_same_letter_again_is_kept_once_also_when_its_function_published_it_twice(functions):
    for message_id in ("770011", "770011", "770012"):
        assert functions.deliver("dead_letter", b"{}", attributes=UNKNOWN | {"source-publish-time": "2026-11-23T07:00:00Z"}, message_id=message_id) == ACK  # fmt: skip
    assert [letter.row.letter_id for letter in functions.letters.kept()] == ["5"]


def test_a_letter_that_cannot_be_kept_comes_again(functions):
    functions.bench.fault(call="storage.objects.insert", error={"code": "ABORTED", "message": "later"})
    assert functions.deliver("dead_letter", b"{}", attributes={"reason": "X"}) == NACK
    assert functions.letters.kept() == []
    assert functions.deliver("dead_letter", b"{}", attributes={"reason": "X"}, attempt=2) == ACK
    assert len(functions.letters.kept()) == 1


# --- the mark


def test_who_is_known_is_marked_and_nothing_else_of_the_record_changes(functions):
    functions.deliver("lifecycle", hr("e1"))
    before = stored(functions).record
    poison(functions, "7")
    after = stored(functions).record
    found = mark(functions)
    assert (found.status, found.reason.value) == (ConditionStatus.FALSE, "UnknownProfile")
    assert "pilot" in found.message
    assert found.message.endswith("benchkeeper messages show 7")
    kept = {"conditions": before.status.conditions, "last_letter_id": "", "last_letter_at": None}
    assert after.with_status(**kept) == before


def test_who_is_not_known_gets_no_record(functions):
    poison(functions, "7")
    assert stored(functions) is None
    assert functions.lines("Stored dead letter")[0]["marked"] == 0


def test_a_mark_is_not_lost_when_the_person_is_reconciled_and_ends_with_later_news(functions):
    functions.deliver("lifecycle", hr("e1"))
    poison(functions, "7")
    for _ in range(6):
        functions.bench.advance(minutes=1)
        functions.deliver("tick", {"sweep": "due"})
    assert mark(functions).status is ConditionStatus.FALSE
    functions.deliver("lifecycle", hr("e1"))  # a duplicate is no news
    assert mark(functions).status is ConditionStatus.FALSE
    functions.deliver("lifecycle", hr("e2", attributes={"cost_center": "CC-1"}))
    assert mark(functions).status is ConditionStatus.TRUE
    assert "7" in mark(functions).message


def test_a_letter_that_is_delivered_again_marks_once_also_after_later_news(functions):
    functions.deliver("lifecycle", hr("e1"))
    poison(functions, "7")
    (body, attributes), marked = functions.letters.published[0], stored(functions)
    assert functions.deliver("dead_letter", body, attributes=attributes, message_id="97") == ACK
    assert stored(functions) == marked
    functions.deliver("lifecycle", hr("e2", attributes={"cost_center": "CC-1"}))
    ended = stored(functions)
    assert functions.deliver("dead_letter", body, attributes=attributes, message_id="97") == ACK
    assert stored(functions) == ended


@pytest.mark.parametrize("call", ["storage.objects.insert", "storage.objects.get"])
def test_a_letter_that_is_stored_is_acked_whatever_becomes_of_the_mark_and_the_sweep_writes_it(functions, call):
    functions.deliver("lifecycle", hr("e1"))
    functions.deliver("lifecycle", hr("e7", attributes={"profile": "pilot"}), message_id="7")
    ((body, attributes),) = functions.letters.published
    error = {"code": "PERMISSION_DENIED", "message": "no"}
    functions.bench.fault(call=call, resource="*/records/*", error=error)
    assert functions.deliver("dead_letter", body, attributes=attributes, message_id="8") == ACK
    assert [letter.row.marks_pending for letter in functions.letters.kept()] == [True]
    assert mark(functions) is None
    (left,) = functions.lines("Mark of a dead letter was not saved")
    assert (left["letter"], left["reason"]) == ("7", "AccessDenied")
    functions.bench.advance(minutes=6)
    functions.deliver("tick", {"sweep": "idle"})
    assert mark(functions).status is ConditionStatus.FALSE
    assert [letter.row.marks_pending for letter in functions.letters.kept()] == [False]
    assert functions.lines("Swept dead letters")[-1]["marked"] == 1


def test_a_damaged_or_newer_record_does_not_bring_the_letter_again(functions):
    functions.deliver("lifecycle", hr("e1"))
    storage_bucket(functions.bench.clients).blob(f"records/{KEY}.json").upload_from_string('{"version": 99}')
    assert functions.deliver("dead_letter", hr("e7"), attributes=UNKNOWN, message_id="8") == ACK
    assert [letter.row.marks_pending for letter in functions.letters.kept()] == [True]


def test_a_letter_that_cannot_be_stored_comes_again(functions):
    error = {"code": "PERMISSION_DENIED", "message": "no"}
    functions.bench.fault(call="storage.objects.insert", resource="*/dead-letters/*", error=error)
    assert functions.deliver("dead_letter", hr("e7"), attributes=UNKNOWN, message_id="8") == NACK
    assert functions.letters.kept() == []


def test_somebody_who_writes_at_the_same_time_loses_nothing(functions):
    functions.deliver("lifecycle", hr("e1"))
    functions.deliver("lifecycle", hr("e7", attributes={"profile": "pilot"}), message_id="7")
    ((body, attributes),) = functions.letters.published
    bench, calls = functions.bench, [0]

    def neighbour():
        calls[0] += 1
        if (
            calls[0] == 4
        ):  # before the fourth half of a call: the letter is stored, the record read, the mark not written
            bench.adapter.around = lambda: None
            found = bench.deps.records.load(KEY)
            bench.deps.records.save(replace(found.record, cost_center="CC-9"), expected=found)

    bench.adapter.around = neighbour
    assert functions.deliver("dead_letter", body, attributes=attributes, message_id="8") == ACK
    assert calls[0] == 4
    assert (stored(functions).record.cost_center, mark(functions).status) == ("CC-9", ConditionStatus.FALSE)


def test_poison_that_names_a_person_only_in_its_shape_marks_them(functions):
    functions.deliver("lifecycle", hr("e1"))
    entry = json.loads((EVENTS / "workspace-suspend-user.json").read_text(encoding="utf-8"))
    entry["protoPayload"]["metadata"]["event"][0]["eventName"] = "CHANGE_PASSWORD"
    functions.deliver("dead_letter", entry, attributes={"reason": "UnsupportedMessage", "source-message-id": "7"})
    assert mark(functions).reason.value == "UnsupportedMessage"


def test_a_delivery_that_is_no_message_is_one_letter_however_often_it_comes(functions):
    """Its id and time are the event's: there is no message to ask."""
    for attempt in (1, 2):
        functions.bench.advance(minutes=attempt)
        assert functions.binary("lifecycle", b'{"message": null}', **{"ce-time": "2026-11-23T07:00:00Z"}) == ACK
    for number, (body, attributes) in enumerate(functions.letters.published):
        functions.deliver("dead_letter", body, attributes=attributes, message_id=str(number))
    (letter,) = functions.letters.kept()
    assert (letter.row.letter_id, letter.row.function) == ("770011", "lifecycle")
    assert json.loads(letter.body) == {"message": None}


def test_a_letter_is_kept_even_if_its_names_cannot_be_found(functions, monkeypatch):
    def broken(*_):
        raise TypeError("unhashable type: 'list'")

    monkeypatch.setattr("functions.dead_letter.people_named", broken)
    assert functions.deliver("dead_letter", hr("e7"), attributes=UNKNOWN, message_id="8") == ACK
    (letter,) = functions.letters.kept()
    assert (letter.row.letter_id, letter.row.users) == ("5", ())
    (line,) = functions.lines("Names in a dead letter could not be read")
    assert line["severity"] == "ERROR"
