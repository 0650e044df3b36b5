"""The mark of a dead letter on a record: put once, in the order of sending, ended by news; it wakes nobody and changes nothing wanted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kit.making import ANA, NOW, joined, moved, policy, with_event
from msgspec.structs import replace

from shared.domain.intent.wanted import new_record, with_wanted
from shared.domain.record import codec
from shared.domain.record.marks import bounded, with_later_news, with_letter, with_letter_used
from shared.domain.record.record import row_of
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.things.errors import Reason

LATER = NOW + timedelta(hours=1)


def person():
    return with_wanted(with_event(new_record(ANA, NOW), joined()), policy(), NOW)


def marked(record=None, letter_id="7", sent=NOW, reason="UnknownProfile", detail="There is no profile 'x'.", now=NOW):
    return with_letter(record or person(), letter_id, sent, reason=reason, detail=detail, now=now)


def mark(record):
    return record.status.condition(ConditionType.NEWS_UNDERSTOOD)


def test_nobody_has_a_mark_who_had_no_letter():
    assert mark(person()) is None
    assert with_later_news(person(), NOW) == person()


def test_a_mark_says_what_and_where_to_look():
    found = mark(marked())
    assert (found.status, found.reason) == (ConditionStatus.FALSE, Reason.UNKNOWN_PROFILE)
    assert found.message == (
        "A message about this person could not be used: There is no profile 'x'. To see it: benchkeeper messages show 7"
    )


def test_only_the_mark_changes():
    before, after = person(), marked()
    assert after.with_status(conditions=before.status.conditions, last_letter_id="", last_letter_at=None) == before
    assert row_of(after) == replace(row_of(before), marked=True)


def test_the_same_letter_again_is_the_same_record():
    once = marked()
    assert marked(once, now=LATER) is once


def test_of_several_letters_the_one_sent_last_is_named_whatever_the_order():
    for order in ("ab", "ba"):
        record = person()
        for name in order:
            record = marked(record, letter_id=name, sent=NOW if name == "a" else LATER)
        assert record.status.inbox.last_letter_id == "b"
        assert mark(record).message.endswith("show b")


def test_an_ended_mark_does_not_come_back_with_the_same_or_an_older_letter():
    ended = with_later_news(marked(sent=LATER), LATER)
    assert mark(ended).status is ConditionStatus.TRUE
    assert marked(ended, sent=LATER) is ended
    assert marked(ended, letter_id="6", sent=NOW) is ended
    assert mark(marked(ended, letter_id="8", sent=LATER + timedelta(seconds=1))).status is ConditionStatus.FALSE


def test_news_that_is_used_ends_it_and_a_duplicate_does_not():
    record = marked()
    assert with_event(record, joined()) is record
    after = with_event(record, moved(attributes={"cost_center": "CC-1"}))
    assert (mark(after).status, mark(after).reason) == (ConditionStatus.TRUE, Reason.SETTLED)


def test_only_the_letter_that_it_names_ends_it_when_replayed():
    record = marked()
    assert with_letter_used(record, "6", NOW) is record
    after = with_letter_used(record, "7", NOW)
    assert mark(after).status is ConditionStatus.TRUE
    assert with_letter_used(after, "7", NOW) is after


def test_a_mark_survives_being_stored():
    record = marked()
    assert codec.from_json(codec.to_json(record)) == record


def test_a_record_from_before_marks_is_read():
    raw = codec.to_json(person())
    del raw["status"]["last_letter_id"], raw["status"]["last_letter_at"]
    assert codec.from_json(raw) == person()


@pytest.mark.parametrize("text", ["", "Own\u0007Goal", "invalidmessage", "x" * 5000])
def test_a_reason_that_is_none_of_ours_is_an_invalid_message(text):
    assert bounded(text) is Reason.INVALID_MESSAGE
    assert mark(marked(reason=text)).reason is Reason.INVALID_MESSAGE


def test_a_long_detail_is_cut():
    assert len(mark(marked(detail="x" * 5000)).message) < 500
