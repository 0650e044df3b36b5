"""News about people, whatever the source: `Joined`, `Moved`, `Left`, a group or account change, a new address, a mere wake-up.

`statements_of(event)` says which facts a piece of news states; nothing else in the product interprets a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import assert_never

from msgspec import Struct, field

from shared.domain.people.facts import (
    ACCESS_UNTIL,
    ACCOUNT_STATES,
    ARCHIVED,
    ATTRIBUTE,
    CREATED,
    DEFAULT,
    DELETED,
    DISABLED,
    EMPLOYMENT,
    GROUP,
    PERSON_ID,
    REQUEST,
    ROSTER,
    SUSPENDED,
    Force,
    Statement,
    Value,
)
from shared.domain.people.groups import GroupEvent
from shared.domain.things.identity import UserEmail, UserKey


class AccountState(StrEnum):
    """A state of a Google account. All but `CREATED` keep a person out until their own way out is said."""

    SUSPENDED = SUSPENDED
    ARCHIVED = ARCHIVED
    DELETED = DELETED
    DISABLED = DISABLED
    CREATED = CREATED


class _News(Struct, frozen=True, kw_only=True):
    """What all news has: an id, whom it is about, when it was said, from when it holds, who said it.

    `source` is the source's name ("" in code that has no sources), `says` the author that the message merely claims. See
    `shared.domain.people.statements.Statement` for the times. `also_known_as` are other normal forms of the address, under which a
    record of an earlier version may stand, or which a cut reaches.
    """

    event_id: str
    user: UserEmail
    occurred_at: datetime
    effective_at: datetime
    source: str = ""
    says: str = ""
    published_at: datetime | None = None
    claimed_at: datetime | None = None
    explicit: bool = False
    undated: bool = False
    person_id: str = ""
    also_known_as: tuple[UserEmail, ...] = ()


class AccessUntil(Struct, frozen=True, kw_only=True):
    """The end of somebody's access; `at` None: no end."""

    at: datetime | None


class Joined(_News, frozen=True, kw_only=True):
    """HR or a person says: works here. `groups` None = not said; `profile` None = not said, "" = the default one.

    `confirms`: the source repeats everybody who works here, so that this ends no leave.
    """

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    access_until: AccessUntil | None = None
    confirms: bool = False


class Moved(_News, frozen=True, kw_only=True):
    """Something about the person changed. Only what is said is changed; `profile_said` with None withdraws a request.

    `group_changes` are single groups that the person came into (True) or left.
    """

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    profile_said: bool = False
    attributes: Mapping[str, Value] = field(default_factory=dict)
    access_until: AccessUntil | None = None
    group_changes: Mapping[str, bool] = field(default_factory=dict)


class Left(_News, frozen=True, kw_only=True):
    """HR or a person says: works here no longer. Without an address (`user` empty) it is about whoever has the `person_id`.

    `urgent`: the source may say that it must not wait while many others leave, and does.
    """

    cause: str = ""
    urgent: bool = False


class LeaveCancelled(_News, frozen=True, kw_only=True):
    """HR or a person says: does not leave after all. What was so before the leave is so again."""


class GroupChanged(_News, frozen=True, kw_only=True):
    """The person became, or is no longer, a member of one group."""

    group: str
    member: bool


class AccountChanged(_News, frozen=True, kw_only=True):
    """The person's Google account came into a state (`holds`), or out of it."""

    state: AccountState
    holds: bool


class AccountUsable(_News, frozen=True, kw_only=True):
    """Somebody who may say so states that the account can be used: each state that kept the person out ends."""


class Renamed(_News, frozen=True, kw_only=True):
    """The person's address is now `new_user`; nothing else about the person changed. See `shared.domain.intent.renaming`.

    `confirmed`: the directory or an operator says so. Any other source's word waits where something is owned.
    """

    new_user: UserEmail
    confirmed: bool = True


class Woken(Struct, frozen=True, kw_only=True):
    """Nothing new is wanted; something happened to this user's instance, so look now."""

    event_id: str
    user_key: UserKey
    occurred_at: datetime


LifecycleEvent = Joined | Moved | Left | LeaveCancelled | GroupChanged | AccountChanged | AccountUsable | Renamed
# What a message may say: news about people, a wake-up, or something that happened to a group.
News = LifecycleEvent | Woken | GroupEvent


def is_cut(event: LifecycleEvent) -> bool:
    """Return True if the news plainly ends something for the person: it is read leniently and never refused for its address."""
    match event:
        case Left():
            return True
        case GroupChanged(member=member):
            return not member
        case AccountChanged(state=state, holds=holds):
            return holds and state is not AccountState.CREATED
        case _:
            return False


def statements_of(event: LifecycleEvent) -> Iterator[tuple[str, Statement]]:
    """(fact name, statement) for everything the event says. A new address is no fact: it says whose facts they are."""
    yield from _stated(event)
    if isinstance(event, Joined | Moved):
        if event.access_until is not None:
            until = event.access_until.at
            text = None if until is None else until.isoformat()
            yield ACCESS_UNTIL, _said(event, value=text, withdraws=until is not None)
        for name, value in sorted(event.attributes.items()):
            yield f"{ATTRIBUTE}{name}", _said(event, value=value, withdraws=False)
    if event.person_id and not isinstance(event, Left):
        yield PERSON_ID, numbered(event)


def _stated(event: LifecycleEvent) -> Iterator[tuple[str, Statement]]:
    said = partial(_said, event)
    match event:
        case Joined():
            yield from _joined(event)
        case Moved():
            yield from _moved(event)
        case Left():
            yield EMPLOYMENT, said(value=False, withdraws=True)
        case LeaveCancelled():
            yield EMPLOYMENT, said(value=True, withdraws=False, force=Force.CANCELS)
        case GroupChanged():
            yield f"{GROUP}{event.group}", said(value=event.member, withdraws=not event.member)
        case AccountChanged():
            withdraws = event.holds and event.state is not AccountState.CREATED
            yield event.state.value, said(value=event.holds, withdraws=withdraws)
        case AccountUsable():
            for state in ACCOUNT_STATES:
                yield state, said(value=False, withdraws=False)
        case Renamed():
            pass
        case _:
            assert_never(event)


def _moved(event: Moved) -> Iterator[tuple[str, Statement]]:
    if event.groups is not None:
        yield ROSTER, _said(event, value=tuple(sorted(event.groups)), withdraws=False)
    if event.profile_said:
        yield REQUEST, _said(event, value=event.profile, withdraws=event.profile is None)
    for group, member in sorted(event.group_changes.items()):
        yield f"{GROUP}{group}", _said(event, value=member, withdraws=not member)


def _joined(event: Joined) -> Iterator[tuple[str, Statement]]:
    said = partial(_said, event)
    force = Force.CONFIRMS if event.confirms else Force.SAYS
    yield EMPLOYMENT, said(value=True, withdraws=False, force=force)
    if event.groups is not None:
        yield ROSTER, said(value=tuple(sorted(event.groups)), withdraws=False)
    if event.profile is not None:
        yield REQUEST, said(value=event.profile, withdraws=False)
    elif event.confirms:
        # It repeats what holds, so it takes no request back: a profile that was asked for stays.
        yield DEFAULT, said(value=None if event.groups is not None else "", withdraws=event.groups is not None)
    else:
        # A joiner that is an event is a whole statement: one that names groups and no profile also ends an older request by
        # hand, so that somebody who returns does not come back with what they once asked for.
        asked = None if event.groups is not None else ""
        yield REQUEST, said(value=asked, withdraws=asked is None)


def numbered(event: LifecycleEvent) -> Statement:
    """Return the statement that the person has the number that the event names."""
    return _said(event, value=event.person_id, withdraws=False)


def _said(event: LifecycleEvent, value: Value, *, withdraws: bool, force: Force = Force.SAYS) -> Statement:
    return Statement(
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        effective_at=event.effective_at,
        value=value,
        withdraws=withdraws,
        source=event.source,
        says=event.says,
        published_at=event.published_at,
        claimed_at=event.claimed_at,
        explicit=event.explicit,
        undated=event.undated,
        force=force,
    )
