"""Messages that cannot succeed are kept where people find them, with a reason, once each."""

from __future__ import annotations

import pytest

ACK, NACK = 200, 500
SOURCE = "CloudPubSubDeadLetterSourceSubscription"


def kept(functions):
    return list(functions.letters.listing())


def test_a_letter_with_its_reason_is_kept(functions):
    attributes = {"reason": "UnknownProfile", "detail": "There is no profile 'x'.", "source-subscription": "s"}
    assert functions.deliver("dead_letter", b'{"a": 1}', attributes=attributes, message_id="5") == ACK
    (letter,) = kept(functions)
    assert (letter.letter_id, letter.reason, letter.detail, letter.source, letter.body) == (
        "5",
        "UnknownProfile",
        "There is no profile 'x'.",
        "s",
        '{"a": 1}',
    )
    assert letter.attributes == attributes
    (line,) = functions.lines("Stored dead letter")
    assert (line["severity"], line["reason"], line["forwarded"]) == ("ERROR", "UnknownProfile", False)


def test_one_that_pubsub_forwarded_after_its_last_attempt_says_so(functions):
    assert functions.deliver("dead_letter", b"{}", attributes={SOURCE: "workbench-lifecycle-push"}) == ACK
    (letter,) = kept(functions)
    assert (letter.reason, letter.source) == ("DeliveryAttemptsExhausted", "workbench-lifecycle-push")


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"kofi", b"x" * 300_000])
def test_anything_is_kept(functions, body):
    assert functions.deliver("dead_letter", body, attributes={"why": "?"}) == ACK
    (letter,) = kept(functions)
    assert letter.reason == "InvalidMessage"
    assert letter.body == body.decode(errors="replace")


def test_the_same_letter_again_is_kept_once(functions):
    for attempt in (1, 2):
        assert functions.deliver("dead_letter", b"{}", attributes={"reason": "X"}, attempt=attempt) == ACK
    assert len(kept(functions)) == 1


def test_a_letter_that_cannot_be_kept_comes_again(functions):
    functions.bench.fault(call="storage.objects.insert", error={"code": "ABORTED", "message": "later"})
    assert functions.deliver("dead_letter", b"{}", attributes={"reason": "X"}) == NACK
    assert kept(functions) == []
    assert functions.deliver("dead_letter", b"{}", attributes={"reason": "X"}, attempt=2) == ACK
    assert len(kept(functions)) == 1


def test_what_became_a_dead_letter_of_news_is_found_with_its_text(functions):
    functions.deliver("lifecycle", b"joiner kofi", message_id="7")
    ((body, attributes),) = functions.letters.published
    functions.deliver("dead_letter", body, attributes=attributes, message_id="8")
    (letter,) = kept(functions)
    assert letter.body == "joiner kofi"
    assert letter.reason == "InvalidMessage"
    assert letter.attributes["source-message-id"] == "7"
