"""The events about users, from any source: `Joined`, `Moved`, `Left`, a group or account change, a new address, a wake.

`statements_of(event)` yields the facts that an event states; no other code interprets a message.
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
    """A state of a Google account. Every state but `CREATED` denies access until the end of that state is stated."""

    SUSPENDED = SUSPENDED
    ARCHIVED = ARCHIVED
    DELETED = DELETED
    DISABLED = DISABLED
    CREATED = CREATED


class _News(Struct, frozen=True, kw_only=True):
    """The common fields of all events: an id, the user, the time of the statement, the time from which it holds, the source.

    `source` is the name of the source, and `says` the author named in the message, who is not verified. See
    `shared.domain.people.statements.Statement` for the times. `also_known_as` are other normal forms of the address, under
    which a record of an earlier version may exist. A cut applies to these records, too.
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
    """The end of a user's access; `at` is None if there is no end."""

    at: datetime | None


class Joined(_News, frozen=True, kw_only=True):
    """A statement, by HR or by hand, that the user works here.

    `groups` and `profile` are None if they are not stated; the profile "" is the default profile. `confirms` is True if the
    source repeats all employees, so that this event ends no leave.
    """

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    access_until: AccessUntil | None = None
    confirms: bool = False


class Moved(_News, frozen=True, kw_only=True):
    """A change of facts about the user. Only stated fields change.

    `profile_said` is True if the message states a profile; `profile` None then withdraws the earlier request for a profile.
    `group_changes` are single groups that the user joined (True) or left.
    """

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    profile_said: bool = False
    attributes: Mapping[str, Value] = field(default_factory=dict)
    access_until: AccessUntil | None = None
    group_changes: Mapping[str, bool] = field(default_factory=dict)


class Left(_News, frozen=True, kw_only=True):
    """A statement, by HR or by hand, that the user works here no longer.

    If `user` is empty, the event is about the user with the `person_id`. `urgent` is True if the source states, with the
    right to do so, that the leave must not wait while many others leave.
    """

    cause: str = ""
    urgent: bool = False


class LeaveCancelled(_News, frozen=True, kw_only=True):
    """A statement, by HR or by hand, that a leave is cancelled. The state before the leave holds again."""


class GroupChanged(_News, frozen=True, kw_only=True):
    """A change of one group: the user became a member, or is no longer a member."""

    group: str
    member: bool


class AccountChanged(_News, frozen=True, kw_only=True):
    """A change of the user's Google account: a state of the account begins (`holds`) or ends."""

    state: AccountState
    holds: bool


class AccountUsable(_News, frozen=True, kw_only=True):
    """A statement, by a source with the right to make it, that the account can be used: no state denies access any more."""


class Renamed(_News, frozen=True, kw_only=True):
    """A new address: the user's address is now `new_user`; nothing else changed. See `shared.domain.intent.renaming`.

    `confirmed` is True if the directory or an operator states the change. A change stated by another source may have to wait
    for a confirmation.
    """

    new_user: UserEmail
    confirmed: bool = True


class Woken(Struct, frozen=True, kw_only=True):
    """A wake: it states no fact, but requests a pass, because the user's instance changed or the page stored a request."""

    event_id: str
    user_key: UserKey
    occurred_at: datetime


LifecycleEvent = Joined | Moved | Left | LeaveCancelled | GroupChanged | AccountChanged | AccountUsable | Renamed
# The content of a message: an event about a user, a wake, or an event of a group.
News = LifecycleEvent | Woken | GroupEvent


def is_cut(event: LifecycleEvent) -> bool:
    """Return True for a leave, one removed membership, or an account that becomes unusable; False for every `Moved`.

    A message of such an event is read leniently and never refused for its address.
    """
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
    """Yield the name of the fact and the statement for each fact that the event states.

    A new address is not a fact, so a rename yields only the person number, if it names one.
    """
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
        # A confirming joiner repeats what holds, so it withdraws no request: a requested profile stays.
        yield DEFAULT, said(value=None if event.groups is not None else "", withdraws=event.groups is not None)
    else:
        # A joiner that is an event is complete: if it names groups and no profile, it also ends an older request by hand.
        # A user who returns then does not get the profile that was once requested.
        asked = None if event.groups is not None else ""
        yield REQUEST, said(value=asked, withdraws=asked is None)


def numbered(event: LifecycleEvent) -> Statement:
    """Return the statement that the user has the event's person number."""
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
