"""The entitlement of a user, and the statement that decides it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from shared.domain.people.facts import (
    ACCOUNT,
    ARCHIVED,
    DEFAULT,
    DELETED,
    DISABLED,
    REQUEST,
    SUSPENDED,
    Facts,
    Statement,
)
from shared.domain.people.groups import GroupBook
from shared.domain.things.catalog import Catalog


class Cause(StrEnum):
    """The cause of an entitlement, or of its absence. The record stores the value; words are made only for display."""

    UNKNOWN = "Unknown"
    BLOCKED = "Blocked"
    LEFT = "Left"
    ACCESS_ENDED = "AccessEnded"
    ACCOUNT_SUSPENDED = "AccountSuspended"
    ACCOUNT_ARCHIVED = "AccountArchived"
    ACCOUNT_DELETED = "AccountDeleted"
    ACCOUNT_DISABLED = "AccountDisabled"
    ACCOUNT_UNUSABLE = "AccountUnusable"
    ADDRESS_WAITS = "AddressWaits"
    NO_GROUP = "NoGroup"
    NO_PROFILE = "NoProfile"
    UNKNOWN_PROFILE = "UnknownProfile"
    REQUEST = "Request"
    DEFAULT = "Default"
    GROUP = "Group"
    KEPT_IN = "KeptIn"
    CUT_WAITS = "CutWaits"


_ACCOUNT_CAUSES = {
    SUSPENDED: (Cause.ACCOUNT_SUSPENDED, "account suspended"),
    ARCHIVED: (Cause.ACCOUNT_ARCHIVED, "account archived"),
    DELETED: (Cause.ACCOUNT_DELETED, "account deleted"),
    DISABLED: (Cause.ACCOUNT_DISABLED, "account disabled by Google"),
    ACCOUNT: (Cause.ACCOUNT_UNUSABLE, "account suspended or deleted"),
}


class Entitlement(Struct, frozen=True, kw_only=True):
    """The result of judging the facts. `profile` is None if the user is entitled to nothing; `because` names the fact that decides.

    `unknown_profile` is a requested profile that the catalog does not have. `group` is the assigned group that entitles, "" if
    no group entitles. If a single statement ends access, `source` is the source of that statement, and `ref` identifies the
    statement. A repetition of the statement has the same `ref`.
    """

    profile: str | None
    because: str
    cause: Cause
    unknown_profile: str | None = None
    group: str = ""
    source: str = ""
    ref: str = ""

    @property
    def entitled(self) -> bool:
        """Return True if the user should have an environment."""
        return self.profile is not None


def judge_entitlement(
    facts: Facts,
    catalog: Catalog,
    now: datetime,
    book: GroupBook | None = None,
    *,
    mistakes: frozenset[str] = frozenset(),
) -> Entitlement:
    """Return the entitlement that the facts give at `now`.

    A statement that ends access (a block, a leave, the end of access, an unusable account) decides first. Then a requested
    profile decides; a request for the default profile decides only if no group entitles. Otherwise the user's group with the
    highest priority decides (ties by name). Without such a group, the user is entitled to nothing. `mistakes` are the `ref`s
    of ends of access that an operator marked as mistakes; these ends are ignored.
    """
    for ended in _ends_of_access(facts, now):
        if ended.ref not in mistakes:
            return ended
    request = _request(facts, now)
    if request is not None and isinstance(request.value, str):
        return _requested(request.value, request.event_id, catalog, facts, now, book)
    return _by_group(facts, catalog, now, book)


def sources_that_end(facts: Facts, now: datetime, mistakes: Collection[str]) -> tuple[str, ...]:
    """Return the sources that state an end of access, without duplicates, in the order in which their statements decide."""
    return tuple(dict.fromkeys(each.source for each in _ends_of_access(facts, now) if each.ref not in mistakes))


def _ends_of_access(facts: Facts, now: datetime) -> Iterator[Entitlement]:
    """Yield an entitlement to nothing for each statement that ends access: blocks, leaves, ends of access, then accounts."""
    blocked = facts.blocked()
    if blocked is not None:
        yield _nothing(Cause.BLOCKED, "access ended by an operator", blocked)
    employment = facts.employment(now)
    if employment.employed is False and employment.decides is not None:
        yield _nothing(Cause.LEFT, "left", employment.decides)
    ends = facts.access_until(now)
    if ends is not None and ends[0] <= now:
        yield _nothing(Cause.ACCESS_ENDED, f"access ended on {ends[0]:%Y-%m-%d}", ends[1])
    for state, statement in facts.account_states(now):
        cause, words = _ACCOUNT_CAUSES[state]
        yield _nothing(cause, words, statement)


def ref_of(*parts: str) -> str:
    """Return 16 hex digits that identify the parts, for example those of a reason for which access ends."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def ref_of_leave(statement: Statement) -> str:
    """Return the digest that identifies a leave as the end of access."""
    return ref_of(Cause.LEFT.value, statement.source, _which(statement))


def _nothing(cause: Cause, words: str, decides: Statement) -> Entitlement:
    return Entitlement(
        profile=None,
        because=f"{words} (event {decides.event_id})",
        cause=cause,
        source=decides.source,
        ref=ref_of(cause.value, decides.source, _which(decides)),
    )


def _which(statement: Statement) -> str:
    """Return the part that identifies a statement: the effective time if the message named a time, otherwise the event id.

    A feed repeats a dated leave under new ids, while each leave without a date is a new statement.
    """
    return statement.effective_at.isoformat() if statement.explicit else statement.event_id


def _request(facts: Facts, now: datetime) -> Statement | None:
    """Return the statement that decides the requested profile; None if no profile is requested.

    A joiner without a profile and without groups requests the default profile, unless there is another request. A request by
    hand from before the user left and was hired again does not count.
    """
    request = facts.at(REQUEST, now)
    left = facts.returned_from(now)
    if request is not None and left is not None and request.occurred_at < left.occurred_at:
        request = None  # requested before the user left and was hired again
    return request if request is not None else facts.at(DEFAULT, now)


def _requested(
    name: str, event_id: str, catalog: Catalog, facts: Facts, now: datetime, book: GroupBook | None
) -> Entitlement:
    if name == "":
        # A group is more specific than the default profile.
        by_group = _by_group(facts, catalog, now, book)
        if by_group.entitled:
            return by_group
        if catalog.default_profile is None:
            because = f"asked for no profile and there is no default (event {event_id})"
            return Entitlement(profile=None, because=because, cause=Cause.NO_PROFILE)
        because = f"default profile (event {event_id})"
        return Entitlement(profile=catalog.default_profile, because=because, cause=Cause.DEFAULT)
    if name not in catalog.profiles:
        return Entitlement(
            profile=None,
            because=f"asked for profile '{name}', which does not exist (event {event_id})",
            cause=Cause.UNKNOWN_PROFILE,
            unknown_profile=name,
        )
    return Entitlement(profile=name, because=f"asked for by hand (event {event_id})", cause=Cause.REQUEST)


def _by_group(facts: Facts, catalog: Catalog, now: datetime, book: GroupBook | None) -> Entitlement:
    book = book if book is not None else GroupBook()
    held = {
        identity: (group, statement)
        for group, statement in facts.groups(now, book).items()
        if (identity := book.identity(group, statement.occurred_at)) is not None
    }
    entitling = [a for a in catalog.assignments if book.identity(a.group, now) in held]
    if not entitling:
        groups = "no group" if not held else f"{len(held)} group{'s' if len(held) > 1 else ''}, none of which entitles"
        return Entitlement(profile=None, because=f"member of {groups}", cause=Cause.NO_GROUP)
    best = min(entitling, key=lambda a: (-a.priority, a.group))
    identity = book.identity(best.group, now)
    if identity is None:  # `entitling` holds only groups that are in `held`
        raise AssertionError("an entitling group is gone")
    event_id = held[identity][1].event_id
    because = f"member of {best.group} (event {event_id})"
    return Entitlement(profile=best.profile, because=because, cause=Cause.GROUP, group=best.group)
