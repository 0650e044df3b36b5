"""News about people, whatever the source: `Joined`, `Moved`, `Left`, a group or account change, a new address, a mere wake-up.

`statements_of(event)` says which facts a piece of news states; nothing else in the product interprets a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import assert_never

from shared.domain.facts import (
    ACCOUNT,
    ATTRIBUTE,
    EMPLOYMENT,
    GROUP,
    REQUEST,
    ROSTER,
    Statement,
    Value,
)
from shared.domain.identity import UserEmail, UserKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """What all news has: an id, whom it is about, when it was said, from when it holds."""

    event_id: str
    user: UserEmail
    occurred_at: datetime
    effective_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(_News):
    """HR or a person says: works here. `groups` None = not said; `profile` None = not said, "" = the default one."""

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(_News):
    """Something about the person changed. Only what is said is changed; `profile_said` with None withdraws a request."""

    groups: tuple[str, ...] | None = None
    profile: str | None = None
    profile_said: bool = False
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left(_News):
    """HR or a person says: works here no longer."""

    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChanged(_News):
    """The person became, or is no longer, a member of one group."""

    group: str
    member: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanged(_News):
    """The Workspace account can be used again, or was suspended, archived or deleted (`what` says which)."""

    usable: bool
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed(_News):
    """The person's address is now `new_user`; nothing else about the person changed. See `shared.domain.renaming`."""

    new_user: UserEmail


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """Nothing new is wanted; something happened to this user's instance, so look now."""

    event_id: str
    user_key: UserKey
    occurred_at: datetime


LifecycleEvent = Joined | Moved | Left | GroupChanged | AccountChanged | Renamed


def statements_of(event: LifecycleEvent) -> Iterator[tuple[str, Statement]]:
    """(fact name, statement) for everything the event says. A new address is no fact: it says whose facts they are."""
    said = partial(_said, event)
    match event:
        case Joined():
            yield EMPLOYMENT, said(value=True, withdraws=False)
            if event.groups is not None:
                yield ROSTER, said(value=tuple(sorted(event.groups)), withdraws=False)
            # A joiner is a whole statement: one that names groups and no profile also ends an older request by hand, so
            # that somebody who returns does not come back with what they once asked for.
            asked = event.profile if event.profile is not None or event.groups is not None else ""
            yield REQUEST, said(value=asked, withdraws=asked is None)
        case Moved():
            if event.groups is not None:
                yield ROSTER, said(value=tuple(sorted(event.groups)), withdraws=False)
            if event.profile_said:
                yield REQUEST, said(value=event.profile, withdraws=event.profile is None)
        case Left():
            yield EMPLOYMENT, said(value=False, withdraws=True)
        case GroupChanged():
            yield f"{GROUP}{event.group}", said(value=event.member, withdraws=not event.member)
        case AccountChanged():
            yield ACCOUNT, said(value=event.usable, withdraws=not event.usable)
        case Renamed():
            pass
        case _:
            assert_never(event)
    if isinstance(event, Joined | Moved):
        for name, value in sorted(event.attributes.items()):
            yield f"{ATTRIBUTE}{name}", said(value=value, withdraws=False)


def _said(event: LifecycleEvent, value: Value, *, withdraws: bool) -> Statement:
    return Statement(
        event_id=event.event_id,
        occurred_at=event.occurred_at,
        effective_at=event.effective_at,
        value=value,
        withdraws=withdraws,
    )
