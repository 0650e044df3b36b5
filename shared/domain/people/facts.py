"""The facts that were stated about a user, folded so that the order of arrival does not matter.

A *fact* is a question ("is employed?", "is a member of group G?", "cost centre?"). Its *timeline* has the statements that can
still decide the answer. A statement was made at `occurred_at`, which orders statements, and holds from `effective_at` on. The
answer at time T is the newest statement among those in effect at T; in a tie, the statement that withdraws wins. If a newer
statement about the same fact is made before an announced statement takes effect, the announced statement never takes effect:
a postponed leaving date replaces the first date. Employment has rules of its own: `shared.domain.people.employment`.

A statement can be forgotten once a newer statement has been in effect for an hour (the *horizon*): clocks differ, and no
question is about an earlier time. The number of facts and the length of each timeline are limited, so a record stays small
however often a user moves. If a limit is reached, statements that grant are dropped first; a statement that ends access is
always accepted. Statements about groups that entitle are kept longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from msgspec import Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from shared.domain.people.employment import (
    Employment,
    fold_employment,
    is_leave,
    judge_employment,
    lasting_leaves,
    leave_before_return,
    next_employment_change,
)
from shared.domain.people.groups import GroupBook
from shared.domain.people.sources import DIRECTORY, FROM_ROSTER
from shared.domain.people.statements import (
    BEFORE_EVERYTHING,
    Force,
    Scalar,
    Statement,
    Timeline,
    Value,
    answer,
    as_membership,
    bounded,
    fold,
    fold_briefly,
    in_effect,
    newest_guards,
    next_change,
)

__all__ = ["Force", "Scalar", "Statement", "Timeline", "Value", "answer", "fold", "in_effect", "next_change"]

EMPLOYMENT = "employment"  # True employed, False left
ACCOUNT = "account"  # of earlier versions: True usable, False suspended, archived or deleted
SUSPENDED, ARCHIVED, DELETED, DISABLED = "account:suspended", "account:archived", "account:deleted", "account:disabled"
CREATED = "account:created"  # True: the directory stated that an account with this address was created
# Each state is True while it holds; the end of one state does not end the others. If several hold, the first is the cause: a
# suspension is only a pause, and an account that was suspended before it was deleted must not count as paused for ever.
ACCOUNT_STATES = (DELETED, ARCHIVED, DISABLED, SUSPENDED)
ROSTER = "roster"  # tuple of groups: a statement about all groups at once
REQUEST = "request"  # profile name requested by hand, "" = the default profile, None = withdrawn
DEFAULT = "default"  # "" = a confirming joiner that named neither groups nor a profile, None = a confirming joiner that named groups
ACCESS_UNTIL = "access_until"  # RFC 3339 text: access ends then; None = no end
# The reason why an operator of the page ended access, None = an owner of the page lifted that. No source can state it, so no message
# can take it back; it goes wherever the facts of an address go.
BLOCKED = "blocked"
PERSON_ID = "person_id"  # HR's number for the user
GROUP = "group:"  # + address: True member, False not
ATTRIBUTE = "attribute:"  # + name: any scalar or list, as HR gives it

MAX_GROUPS = 100  # facts about single groups of one user
MAX_ATTRIBUTES = 100
_GIVING = frozenset({EMPLOYMENT, ROSTER, REQUEST, DEFAULT, ACCESS_UNTIL, *ACCOUNT_STATES})


TIMELINES = dict[str, tuple[Statement, ...]]
# msgspec must learn the types now: if two threads learn them at their first record, the process ends (docs/traps.md).
Decoder(TIMELINES)


class Facts(Struct, frozen=True):
    """All timelines of one user, by fact name. Immutable.

    `forgotten` are the digests of dropped statements that have no date and may give access. Such a statement looks newer each
    time it is sent, so a duplicate would overrule later statements. The digests identify such duplicates.
    """

    timelines: Mapping[str, Timeline]
    forgotten: tuple[str, ...] = ()

    @classmethod
    def none(cls) -> Facts:
        """Return facts without any statement."""
        return cls(MappingProxyType({}))

    def with_statement(
        self,
        name: str,
        statement: Statement,
        horizon: datetime = BEFORE_EVERYTHING,
        *,
        kept: frozenset[str] = frozenset(),
        people: int = 1,
    ) -> Facts:
        """Return the facts with one more statement about fact `name`; the same object if nothing changes.

        `kept` are the groups that entitle: facts about other groups are dropped first.
        The limits leave room for the facts of `people` users.
        """
        old = self.timelines.get(name, ())
        if self.forgotten and _may_look_newer(name, statement) and statement.guard(name) in self.forgotten:
            return self
        new = _fold_of(name)(old, statement, horizon)
        dropped = [s for s in (*old, statement) if not any(k is s or k.is_same(s) for k in new)]
        forgotten = with_guards(self.forgotten, name, dropped)
        if new is old:
            return self if forgotten == self.forgotten else replace(self, forgotten=forgotten)
        timelines = {**self.timelines, name: new}
        if not old and name.startswith(GROUP):
            _bound(timelines, GROUP, people * MAX_GROUPS, kept)
        if not old and name.startswith(ATTRIBUTE):
            _bound(timelines, ATTRIBUTE, people * MAX_ATTRIBUTES, frozenset())
        return Facts(MappingProxyType(timelines), forgotten)

    def merged(self, other: Facts, horizon: datetime = BEFORE_EVERYTHING) -> Facts:
        """Return the facts with all statements of `other`, as if all were about one user; the same object if nothing is new."""
        forgotten = newest_guards(self.forgotten, other.forgotten)
        facts = self if forgotten == self.forgotten else replace(self, forgotten=forgotten)
        for name, timeline in other.timelines.items():
            for statement in timeline:
                # The groups that entitle are not known here, so there is room for the facts of both users until the next statement.
                facts = facts.with_statement(name, statement, horizon, people=2)
        return facts

    def at(self, name: str, now: datetime) -> Statement | None:
        """Return the statement that decides fact `name` at `now`; None if no statement is in effect."""
        return answer(self.timelines.get(name, ()), now)

    def employment(self, now: datetime) -> Employment:
        """Return the employment at `now`, with the statement that decides."""
        return judge_employment(self.timelines.get(EMPLOYMENT, ()), now)

    def returned_from(self, now: datetime) -> Statement | None:
        """Return the newest leave after which the user was hired again; None if the user was never hired again."""
        return leave_before_return(self.timelines.get(EMPLOYMENT, ()), now)

    def account_states(self, now: datetime) -> Iterator[tuple[str, Statement]]:
        """Yield the states in which the account cannot be used, each with its statement; nothing if the account can be used."""
        for name in ACCOUNT_STATES:
            state = self.at(name, now)
            if state is not None and state.value is True:
                yield name, state
        older = self.at(ACCOUNT, now)
        if older is None or older.value is True:
            return
        # A record of an earlier version does not say which state it was: the later end of any state ends it.
        ways_out = [s for name in ACCOUNT_STATES for s in self.timelines.get(name, ()) if s.value is False]
        if not any(s.effective_at <= now and s.occurred_at > older.occurred_at for s in ways_out):
            yield ACCOUNT, older

    def access_until(self, now: datetime) -> tuple[datetime, Statement] | None:
        """Return the moment at which access ends by the newest statement, and that statement; None if access has no end."""
        said = self.at(ACCESS_UNTIL, now)
        if said is None or not isinstance(said.value, str):
            return None
        return datetime.fromisoformat(said.value).astimezone(UTC), said

    def blocked(self) -> Statement | None:
        """Return the statement by which an operator blocked the user; None if the user is not blocked now.

        Each such statement takes effect when it is made. So no `now` is needed, and a slow clock has no effect.
        """
        said = max(self.timelines.get(BLOCKED, ()), key=Statement.rank, default=None)
        return said if said is not None and said.value is not None else None

    def blocks(self) -> Facts:
        """Return facts with only the statements that block or unblock the user."""
        known = self.timelines.get(BLOCKED)
        return Facts(MappingProxyType({BLOCKED: known} if known else {}))

    def person_id(self, now: datetime) -> str:
        """Return HR's number for the user; empty if no statement of it is in effect at `now`."""
        said = self.at(PERSON_ID, now)
        return said.value if said is not None and isinstance(said.value, str) else ""

    def groups(self, now: datetime, book: GroupBook | None = None) -> dict[str, Statement]:
        """Return every group of which the user is a member at `now`, with the statement that decides.

        If the directory made a statement about a user and a group, the directory alone decides on that membership. For other groups a
        roster (HR's list of all groups) counts as a statement about every group, and a message about one group only about that group. The
        later statement wins for each group; in a tie, the statement that takes the membership away wins. Groups have the names that they
        had at the time of the statement.
        """
        book = book if book is not None else GroupBook()
        roster, listed = self._roster(now)
        # One group may have several addresses; a statement about any of them is about the group.
        said: dict[object, list[tuple[str, Statement]]] = {}
        for name, timeline in sorted(self.timelines.items()):
            if not name.startswith(GROUP):
                continue
            group = name[len(GROUP) :]
            for statement in in_effect(timeline, now):
                identity = book.identity(group, statement.occurred_at)
                if identity is not None:
                    said.setdefault(identity, []).append((group, statement))
        listed_groups: dict[object, str] = {}
        for group in sorted(listed):
            listed_as = None if roster is None else book.identity(group, roster.occurred_at)
            if listed_as is not None:
                listed_groups[listed_as] = group
        held: dict[str, Statement] = {}
        for one in dict.fromkeys([*said, *listed_groups]):
            statements = said.get(one, [])
            own = [pair for pair in statements if _is_directory(pair[1])]
            if own:
                statements = own
            elif roster is not None:
                listing = as_membership(roster, member=one in listed_groups)
                statements = [*statements, (listed_groups.get(one, ""), listing)]
            group, decides = max(statements, key=lambda pair: pair[1].rank())
            if decides.value is True:
                held[group] = decides
        return held

    def overruled_groups(self, now: datetime) -> tuple[str, ...]:
        """Return the groups for which HR's newest list contradicts the directory, which decides."""
        roster, listed = self._roster(now)
        if roster is None:
            return ()
        return tuple(
            sorted(
                group
                for group in {name[len(GROUP) :] for name in self.timelines if name.startswith(GROUP)}
                if (own := self.at(f"{GROUP}{group}", now)) is not None
                and _is_directory(own)
                and own.value is not (group in listed)
                and roster.occurred_at > own.occurred_at
            )
        )

    def _roster(self, now: datetime) -> tuple[Statement | None, frozenset[str]]:
        """Return the newest list of groups, None if there is none, and its groups.

        If there are several lists of the same moment, only the groups that all of them have are returned.
        """
        newest = self.at(ROSTER, now)
        if newest is None:
            return None, frozenset()
        same_moment = [
            frozenset(s.value)
            for s in in_effect(self.timelines[ROSTER], now)
            if s.occurred_at == newest.occurred_at and isinstance(s.value, tuple)
        ]
        return newest, frozenset.intersection(*same_moment) if same_moment else frozenset()

    def newest(self, now: datetime) -> datetime | None:
        """Return the latest time at which a statement in effect at `now` was made or took effect; None without statements."""
        return max(
            (
                max(s.occurred_at, s.effective_at)
                for timeline in self.timelines.values()
                for s in in_effect(timeline, now)
            ),
            default=None,
        )

    def attribute(self, name: str, now: datetime) -> Value:
        """Return an HR attribute's value at `now`, None if unknown."""
        statement = self.at(f"{ATTRIBUTE}{name}", now)
        return None if statement is None else statement.value

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next moment at which a statement takes effect or access ends; None if there is none."""
        others = [timeline for name, timeline in self.timelines.items() if name != EMPLOYMENT]
        ends = self.access_until(now)
        moments = [
            next_change(others, now),
            next_employment_change(self.timelines.get(EMPLOYMENT, ()), now),
            ends[0] if ends is not None and ends[0] > now else None,
        ]
        return min((moment for moment in moments if moment is not None), default=None)

    def cuts(self, *, groups_since: datetime | None = None) -> Facts:
        """Return facts with only the statements that end access, now or later, and are not overruled.

        These are leaves, states of the account, and removals from groups by the directory. All statements about a block are
        included, even if it was lifted. If `groups_since` is given, only removals stated at that time or later are returned.
        """
        since = groups_since if groups_since is not None else BEFORE_EVERYTHING
        found: dict[str, Timeline] = {}
        for name, timeline in self.timelines.items():
            if name == EMPLOYMENT:
                kept = lasting_leaves(timeline)
            elif name == BLOCKED:
                kept = timeline
            elif name in {ACCOUNT, *ACCOUNT_STATES}:
                kept = tuple(s for s in timeline if s.withdraws and _stands(s, timeline))
            elif name.startswith(GROUP):
                own = tuple(s for s in timeline if _is_directory(s) and s.occurred_at >= since)
                kept = tuple(s for s in own if s.withdraws and _stands(s, timeline))
            else:
                continue
            if kept:
                found[name] = kept
        return Facts(MappingProxyType(found))

    def split(self, after: datetime, *, leaves_since: datetime | None = None) -> tuple[Facts, Facts]:
        """Return the facts stated until `after`, and the facts stated later: those of two users who had one address in turn.

        A leave that is dated before that moment, but was published after `leaves_since`, may be about either user, so both get
        the leave. Both also get a block: a blocked address gives its next holder no access.
        """
        before: dict[str, Timeline] = {}
        later: dict[str, Timeline] = {}
        for name, timeline in self.timelines.items():
            if name == BLOCKED:
                before[name] = later[name] = timeline
                continue
            since = leaves_since if name == EMPLOYMENT else None
            eithers = [s for s in timeline if since is not None and is_leave(s) and s.said_at > since]
            for place, part in (
                (before, tuple(s for s in timeline if s.occurred_at <= after)),
                (later, tuple(s for s in timeline if s.occurred_at > after or s in eithers)),
            ):
                if part:
                    place[name] = part
        return Facts(MappingProxyType(before), self.forgotten), Facts(MappingProxyType(later), self.forgotten)


def _stands(statement: Statement, timeline: Timeline) -> bool:
    """Return True if no newer statement of the timeline gives access again."""
    return not any(other.rank() > statement.rank() and not other.withdraws for other in timeline)


def _fold_number(timeline: Timeline, statement: Statement, _horizon: datetime) -> Timeline:
    """Return the timeline with the new statement, reduced to the first and the last statement of each number.

    These suffice to compare the numbers before and after the deletion of an account: if they are equal, both accounts belong
    to one user.
    """
    if any(kept.is_same(statement) for kept in timeline):
        return timeline
    by_value: dict[Value, list[Statement]] = {}
    for each in sorted([*timeline, statement], key=Statement.rank):
        by_value.setdefault(each.value, []).append(each)
    kept = {id(each): each for same in by_value.values() for each in (same[0], same[-1])}
    new = tuple(bounded(sorted(kept.values(), key=Statement.rank)))
    return timeline if new == timeline else new


def _fold_of(name: str) -> Callable[[Timeline, Statement, datetime], Timeline]:
    """Return the function that folds a statement into the timeline of this fact.

    For groups and account states the source of a statement matters, too, so more than the last statements are kept.
    """
    return fold_briefly if name in _BRIEF or name.startswith(ATTRIBUTE) else _FOLDS.get(name, fold)


_BRIEF = frozenset({ROSTER, REQUEST, DEFAULT, ACCESS_UNTIL})
_FOLDS: Mapping[str, Callable[[Timeline, Statement, datetime], Timeline]] = {
    EMPLOYMENT: fold_employment,
    PERSON_ID: _fold_number,
}


def _bound(timelines: dict[str, Timeline], prefix: str, most: int, kept: frozenset[str]) -> None:
    """Drop facts of a kind until at most `most` are left: grants first, the oldest first. Facts in `kept` are dropped last."""
    names = [name for name in timelines if name.startswith(prefix)]
    if len(names) <= most:
        return

    def importance(name: str) -> tuple[bool, bool, datetime]:
        newest = timelines[name][-1]
        return (name[len(prefix) :] in kept, newest.withdraws, newest.occurred_at)

    for name in sorted(names, key=importance)[: len(names) - most]:
        del timelines[name]


def _may_look_newer(name: str, statement: Statement) -> bool:
    """Return True if the statement may give access and has no date of its own, so that it looks newer when it is sent again."""
    gives = name in _GIVING or name.startswith(GROUP)
    return gives and statement.undated and not statement.withdraws and statement.force is not Force.CONFIRMS


def with_guards(forgotten: tuple[str, ...], name: str, dropped: Iterable[Statement]) -> tuple[str, ...]:
    """Return the digests, extended by those of dropped statements about fact `name` that may look newer when sent again."""
    return newest_guards(forgotten, [s.guard(name) for s in dropped if _may_look_newer(name, s)])


def _is_directory(statement: Statement) -> bool:
    """Return True for a statement of the directory: from its log, or from its list of members.

    Records of earlier versions name no source; only the directory could then make statements about a single group.
    """
    return statement.source in {DIRECTORY, FROM_ROSTER, ""}
