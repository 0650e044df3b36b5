"""What a piece of news did, in words, from the record before and after."""

from __future__ import annotations

import pytest
from kit.making import ANA, ANALYSTS, ENGINEERS, NOW, STRANGERS, at, group, joined, left, moved, policy, with_event

from shared.domain.intent.changes import ChangeKind, kind_of, what_changed
from shared.domain.intent.renaming import renaming
from shared.domain.intent.wanted import new_record, with_wanted
from shared.domain.people.events import Renamed
from shared.domain.things.identity import parse_email


def renamed(name, hours=-1):
    return Renamed(
        event_id=name,
        user=ANA,
        occurred_at=at(hours),
        effective_at=at(hours),
        new_user=parse_email(f"{name}@example.com"),
    )


CC = {"cost_center": "CC-1"}


def after(*events, start=None):
    record = start or new_record(ANA, NOW)
    for event in events:
        told = renaming(event, record, None, NOW).record if isinstance(event, Renamed) else with_event(record, event)
        record = with_wanted(told, policy(), NOW)
    return record


@pytest.mark.parametrize(
    ("before", "event", "says"),
    [
        ([], joined(), "joined: profile analyst"),
        ([], left(), "noted; still not entitled (left (event l))"),
        ([], group("g", STRANGERS, -1, member=True), "noted; still not entitled (member of 1 group, none of which"),
        ([left(hours=-20)], joined(hours=-2), "joined: profile analyst"),
        ([joined()], left(), "loses access: left (event l)"),
        ([joined()], group("g", ENGINEERS, -1, member=True), "moved: profile analyst to engineer"),
        ([joined()], moved(attributes=CC), "cost centre none to CC-1"),
        (
            [joined()],
            moved(groups=(ENGINEERS,), attributes=CC),
            "moved: profile analyst to engineer; cost centre none to CC-1",
        ),
        ([joined()], joined(), "unchanged (known already)"),
        ([joined(hours=-72), left(hours=-48)], left("old", hours=-60), "unchanged (a newer message of 2026-11-21 08:00 UTC holds)"),
        ([joined(), left(hours=-1)], joined("old", hours=-2), "noted; a newer message of 2026-11-23 07:00 UTC holds"),
        ([joined()], left(hours=-1, effective=48), "noted; takes effect on 2026-11-25 08:00 UTC"),
        ([joined(groups=(ANALYSTS,))], group("g", STRANGERS, -1, member=True), "noted; the wanted state does not change"),
        ([], renamed("b"), "address changed"),
        ([joined()], renamed("b"), "address changed"),
        ([joined(), renamed("b")], renamed("b"), "unchanged (known already)"),
        ([joined(), renamed("c", -2)], renamed("b", -3), "unchanged (a newer message of 2026-11-23 06:00 UTC holds)"),
    ],
)  # fmt: skip
def test_it_says_what_changed_or_why_nothing_did(before, event, says):
    old = after(*before) if before else None
    new = after(event, start=old)
    assert what_changed(old, new, event, NOW).startswith(says)


@pytest.mark.parametrize(
    ("before", "event", "kind"),
    [
        ([], joined(), ChangeKind.JOINS),
        ([], left(), ChangeKind.NOTED),
        ([], left(hours=-1, effective=48), ChangeKind.LATER),
        ([left(hours=-20)], joined(hours=-2), ChangeKind.JOINS),
        ([joined()], left(), ChangeKind.LEAVES),
        ([joined()], left(hours=-1, effective=48), ChangeKind.LATER),
        ([joined()], group("g", ENGINEERS, -1, member=True), ChangeKind.MOVES),
        ([joined()], group("g", STRANGERS, -1, member=True), ChangeKind.NOTED),
        ([joined()], group("g", STRANGERS, -1, member=False), ChangeKind.NOTHING_NEW),
        ([joined()], moved(attributes=CC), ChangeKind.MOVES),
        ([joined(), moved(attributes=CC)], moved("again", hours=-1, attributes=CC), ChangeKind.NOTHING_NEW),
        ([joined()], joined(), ChangeKind.NOTHING_NEW),
        ([joined(hours=-5)], joined("again", hours=-1), ChangeKind.NOTHING_NEW),
        ([joined(hours=-9), left(hours=-5)], left("again", hours=-1), ChangeKind.NOTHING_NEW),
        # It says that the person stays: the leave that was to come never comes.
        ([joined(hours=-9), left(hours=-5, effective=48)], joined("again", hours=-1), ChangeKind.NOTED),
        ([joined(hours=-9), left(hours=-5, effective=48)], left("again", hours=-1, effective=48), ChangeKind.NOTHING_NEW),
        ([joined(hours=-9), left(hours=-5, effective=48)], left("again", hours=-1, effective=72), ChangeKind.LATER),
        ([joined()], renamed("b"), ChangeKind.MOVES),
        ([joined(), renamed("b")], renamed("b"), ChangeKind.NOTHING_NEW),
    ],
)  # fmt: skip
def test_each_change_is_of_a_kind(before, event, kind):
    was = after(*before) if before else None
    told = renaming(event, was, None, NOW).record if isinstance(event, Renamed) and was else None
    base = was if was is not None else new_record(ANA, NOW)
    now = told if told is not None else with_event(base, event)
    then = now if now is was else with_wanted(now, policy(), NOW)
    assert kind_of(was, then, event, NOW) is kind
