"""Whose record stays when an address changes: what somebody owns never gives way."""

from __future__ import annotations

import pytest
from kit.making import ANA, NOW, after, at, joined, left, moved, operation, person
from msgspec.structs import replace

from shared.domain.intent.renaming import renaming
from shared.domain.people.events import Renamed
from shared.domain.record.record import Hold, Presence, Reason
from shared.domain.record.status import ConditionStatus, ConditionType, Verb, set_condition
from shared.domain.things.errors import UnsupportedMessageError
from shared.domain.things.identity import AccountId, InstanceId, parse_email, user_key_for
from shared.domain.things.snapshots import Former, Restoring, Snapshot

NEW = parse_email("new@example.com")
KEY, NEW_KEY = user_key_for(ANA), user_key_for(NEW)
RENAMED = Renamed(event_id="r", user=ANA, occurred_at=at(-1), effective_at=at(-1), new_user=NEW)
REMOVED = set_condition((), ConditionType.NOTEBOOK_READY, ConditionStatus.FALSE, Reason.REMOVED, "There is none.", NOW)
NO_ACCOUNT = set_condition(REMOVED, ConditionType.IDENTITY_READY, ConditionStatus.FALSE, Reason.REMOVED, "None.", NOW)
SNAPSHOT = Snapshot(name="s", instance_id=InstanceId("nb"), zone="z", instance_uid="u", asked_at=NOW)


def under_new(record):
    return replace(record, user_key=NEW_KEY, email=NEW)


def ended(**status):
    return person(Presence.ABSENT, **{"conditions": REMOVED, **status})


OWNERS = [
    person(),
    person(Presence.ABSENT),
    replace(after(moved(attributes={"desk": "7"})), hold=Hold(reason="case", since=NOW)),
    replace(ended(), hold=Hold(reason="case", since=NOW)),
    ended(operation=operation(Verb.DELETE)),
    ended(next_attempt_at=at(1)),
    ended(generation=4),
    ended(snapshots=(SNAPSHOT,)),
    ended(former=Former(instance_id=InstanceId("nb-2"), zone="z", uid="u")),
    ended(restoring=Restoring(snapshot="s", instance_uid="u", asked_at=NOW)),
    ended(account_id=AccountId("nb-ana")),
]


@pytest.mark.parametrize("owner", OWNERS)
def test_what_is_owned_does_not_give_way(owner):
    with pytest.raises(UnsupportedMessageError):
        renaming(RENAMED, person(), under_new(owner), NOW)
    kept = renaming(RENAMED, after(moved(attributes={"desk": "7"})), under_new(owner), NOW)
    assert (kept.record.user_key, kept.pointer, kept.record.hold) == (NEW_KEY, KEY, owner.hold)
    assert kept.record.facts.attribute("desk", NOW) == "7"


@pytest.mark.parametrize("over", [ended(), ended(account_id=AccountId("nb-ana"), conditions=NO_ACCOUNT)])
def test_what_is_over_gives_way_and_its_story_ends(over):
    kept = renaming(RENAMED, person(), under_new(over), NOW)
    assert (kept.record.user_key, kept.pointer) == (KEY, NEW_KEY)
    assert kept.record.facts == person().facts


def test_of_two_that_own_nothing_the_old_one_stays_with_what_was_said_of_both():
    kept = renaming(RENAMED, after(moved(attributes={"desk": "7"})), under_new(after(left("l", -2))), NOW)
    assert (kept.record.user_key, kept.pointer, kept.replaced.user_key) == (KEY, NEW_KEY, NEW_KEY)
    assert set(kept.record.facts.timelines) == {"employment", "attribute:desk"}


def test_a_change_is_a_change_of_what_is_wanted_and_the_same_again_is_none():
    before = person()
    once = renaming(RENAMED, before, None, NOW)
    assert (once.record.email, once.record.email_since) == (NEW, at(-1))
    assert once.record.status.generation == before.status.generation + 1
    again = renaming(RENAMED, once.record, once.record, NOW)
    assert again.record is once.record
    assert again.pointer is None


def test_two_addresses_of_the_same_moment_come_to_one_in_both_orders():
    other = replace(RENAMED, event_id="s", new_user=parse_email("zoe@example.com"))
    both = [
        renaming(second, renaming(first, person(), None, NOW).record, None, NOW).record.email
        for first, second in ((RENAMED, other), (other, RENAMED))
    ]
    assert both == ["zoe@example.com"] * 2


def test_somebody_unknown_is_entitled_to_nothing():
    made = renaming(RENAMED, None, None, NOW)
    assert (made.before, made.record.user_key, made.pointer) == (None, KEY, NEW_KEY)
    assert made.record.spec.presence is Presence.ABSENT
    joins = renaming(RENAMED, None, under_new(after(joined())), NOW)
    assert (joins.record.user_key, joins.pointer) == (NEW_KEY, KEY)


WAITS = replace(RENAMED, confirmed=False)


def test_a_change_that_waits_takes_the_cuts_over_and_nothing_else_and_once():
    told = after(left("l", -2), moved(attributes={"desk": "7"}))
    once = renaming(WAITS, person(), under_new(told), NOW)
    assert once.record.rename.new_email == NEW
    assert once.record.facts.employment(NOW).employed is False
    assert once.record.facts.attribute("desk", NOW) is None
    again = renaming(WAITS, once.record, once.claimed, NOW)
    assert (again.record, again.claimed) == (once.record, once.claimed)
    assert again.record is once.record


def test_a_change_that_waits_does_not_take_over_a_leaver_that_a_later_one_replaced():
    """A new contract begins as the old one ends; the earlier last day was replaced before it came."""
    stays = replace(joined("stays", -6, effective=20), explicit=True)
    sooner = left("sooner", -5, effective=10)
    as_agreed = replace(left("as-agreed", -4, effective=20), explicit=True)
    asked = renaming(WAITS, person(), under_new(after(stays, sooner, as_agreed)), NOW)
    assert asked.record.rename.new_email == NEW
    assert asked.record.facts == person().facts


def test_a_change_to_an_address_that_owns_something_waits():
    asked = renaming(WAITS, person(), under_new(person()), NOW)
    assert (asked.record.rename.new_email, asked.claimed.claim.owner) == (NEW, KEY)
    assert asked.record.facts == person().facts


def test_of_two_that_own_nothing_every_address_of_either_leads_to_the_one_that_stays():
    older = parse_email("older@example.com")
    replaced = replace(under_new(after(left("l", -2))), former_emails=(older,))
    kept = renaming(RENAMED, after(moved(attributes={"desk": "7"})), replaced, NOW)
    assert {address for address in (ANA, NEW, older) if kept.record.is_known_as(address)} == {ANA, NEW, older}
