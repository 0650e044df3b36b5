"""What has been stated about a person, folded so that the order of arrival does not matter.

A *fact* is one question ("is employed?", "is a member of group G?", "cost centre?"). Its *timeline* keeps the statements that
can still decide it. A statement has `occurred_at` (when it was said; orders statements) and `effective_at` (from when it
holds). The answer at time T is the statement said last among those in effect at T; a tie goes to the one that withdraws.
What was still to come when something newer was said about the same fact never comes: a postponed leaving date replaces the
first one.

A statement can be forgotten once a newer one has been in effect for a day (the *horizon*: clocks differ, and nothing is asked
about the time before it). So a record stays small however often somebody moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

Scalar = str | int | float | bool | None
Value = Scalar | tuple[str, ...]

EMPLOYMENT = "employment"  # True employed, False left
ACCOUNT = "account"  # True usable, False suspended, archived or deleted
ROSTER = "roster"  # tuple of groups: a statement about all groups at once
REQUEST = "request"  # profile name asked for by hand, "" = the default profile, None = withdrawn
GROUP = "group:"  # + address: True member, False not
ATTRIBUTE = "attribute:"  # + name: any scalar or list, as HR gives it


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One thing somebody said: `withdraws` marks the side that wins a tie (the leaver's)."""

    event_id: str
    occurred_at: datetime
    effective_at: datetime
    value: Value
    withdraws: bool

    def rank(self) -> tuple[datetime, bool, str, str]:
        """Later wins; at the same moment the withdrawing one; then the id and the value, so that a tie is never open."""
        return (self.occurred_at, self.withdraws, self.event_id, repr(self.value))

    def ends(self, other: Statement, horizon: datetime) -> bool:
        """True when `other` can decide nothing from `horizon` on, because this one does.

        Two lists said at the same moment are both kept: for each group the one that leaves it out wins the tie.
        """
        if isinstance(self.value, tuple) and isinstance(other.value, tuple) and self.occurred_at == other.occurred_at:
            return False
        return self.rank() > other.rank() and self.effective_at <= horizon

    def forestalls(self, other: Statement) -> bool:
        """True when this was said while `other`, older, was still to come: then `other` never comes."""
        return other.occurred_at < self.occurred_at < other.effective_at


Timeline = tuple[Statement, ...]


_BEFORE_EVERYTHING = datetime.min.replace(tzinfo=UTC)


def fold(timeline: Timeline, statement: Statement, horizon: datetime = _BEFORE_EVERYTHING) -> Timeline:
    """The timeline with one more statement; the same object when nothing changes (a duplicate, or long overruled)."""
    if any(kept.event_id == statement.event_id or kept.ends(statement, horizon) for kept in timeline):
        return timeline
    together = [*timeline, statement]
    kept = [s for s in together if not any(other.ends(s, horizon) for other in together)]
    return tuple(sorted(kept, key=Statement.rank))


def in_effect(timeline: Timeline, now: datetime) -> list[Statement]:
    """The statements that hold at `now`: begun, and not forestalled by a newer one."""
    return [s for s in timeline if s.effective_at <= now and not any(other.forestalls(s) for other in timeline)]


def answer(timeline: Timeline, now: datetime) -> Statement | None:
    """The statement that decides at `now`; None when none is in effect."""
    return max(in_effect(timeline, now), key=Statement.rank, default=None)


def next_change(timelines: Iterable[Timeline], now: datetime) -> datetime | None:
    """The next moment at which an answer may differ because something takes effect."""
    return min((s.effective_at for timeline in timelines for s in timeline if s.effective_at > now), default=None)


@dataclass(frozen=True, slots=True)
class Facts:
    """All timelines of one person, by fact name. Immutable."""

    timelines: Mapping[str, Timeline]

    @classmethod
    def none(cls) -> Facts:
        """Nothing is known."""
        return cls(MappingProxyType({}))

    def with_statement(self, name: str, statement: Statement, horizon: datetime = _BEFORE_EVERYTHING) -> Facts:
        """With one more statement about fact `name`; the same object when nothing changes."""
        old = self.timelines.get(name, ())
        new = fold(old, statement, horizon)
        if new is old:
            return self
        return Facts(MappingProxyType({**self.timelines, name: new}))

    def merged(self, other: Facts, horizon: datetime = _BEFORE_EVERYTHING) -> Facts:
        """With all that was stated in `other`; the same object when that adds nothing. As if all had been said of one person."""
        facts = self
        for name, timeline in other.timelines.items():
            for statement in timeline:
                facts = facts.with_statement(name, statement, horizon)
        return facts

    def at(self, name: str, now: datetime) -> Statement | None:
        """What decides fact `name` at `now`."""
        return answer(self.timelines.get(name, ()), now)

    def groups(self, now: datetime) -> dict[str, Statement]:
        """Every group whose membership is decided at `now` in favour, with the statement that decides.

        A roster (HR's list of all groups) speaks about every group; a message about one group only about that one; the later
        wins for each group, a tie goes to the one that takes the membership away.
        """
        roster, listed = self._roster(now)
        names = {name[len(GROUP) :] for name in self.timelines if name.startswith(GROUP)} | set(listed)
        held: dict[str, Statement] = {}
        for group in sorted(names):
            own = self.at(f"{GROUP}{group}", now)
            statements = [own] if own is not None else []
            if roster is not None:
                statements.append(_as_membership(roster, member=group in listed))
            decides = max(statements, key=Statement.rank, default=None)
            if decides is not None and decides.value is True:
                held[group] = decides
        return held

    def _roster(self, now: datetime) -> tuple[Statement | None, frozenset[str]]:
        """The newest list of groups and what it lists; of several said at the same moment, what all of them list."""
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
        """When the newest of what holds at `now` was said, or took effect if that was later."""
        return max(
            (
                max(s.occurred_at, s.effective_at)
                for timeline in self.timelines.values()
                for s in in_effect(timeline, now)
            ),
            default=None,
        )

    def attribute(self, name: str, now: datetime) -> Value:
        """An HR attribute's value at `now`, None when unknown."""
        statement = self.at(f"{ATTRIBUTE}{name}", now)
        return None if statement is None else statement.value

    def next_change(self, now: datetime) -> datetime | None:
        """When to look again because a statement takes effect."""
        return next_change(self.timelines.values(), now)


def _as_membership(roster: Statement, *, member: bool) -> Statement:
    return Statement(
        event_id=roster.event_id,
        occurred_at=roster.occurred_at,
        effective_at=roster.effective_at,
        value=member,
        withdraws=not member,
    )


def to_json(facts: Facts) -> dict[str, object]:
    """JSON-able form, for the record."""
    return {
        name: [
            {
                "event_id": s.event_id,
                "occurred_at": s.occurred_at.isoformat(),
                "effective_at": s.effective_at.isoformat(),
                "value": list(s.value) if isinstance(s.value, tuple) else s.value,
                "withdraws": s.withdraws,
            }
            for s in timeline
        ]
        for name, timeline in sorted(facts.timelines.items())
    }


def from_json(raw: Mapping[str, list[dict[str, object]]]) -> Facts:
    """The reverse of `to_json`; raises KeyError or ValueError on a damaged record."""
    return Facts(
        MappingProxyType(
            {
                name: tuple(
                    Statement(
                        event_id=str(s["event_id"]),
                        occurred_at=datetime.fromisoformat(str(s["occurred_at"])).astimezone(UTC),
                        effective_at=datetime.fromisoformat(str(s["effective_at"])).astimezone(UTC),
                        value=parse_value(s["value"]),
                        withdraws=bool(s["withdraws"]),
                    )
                    for s in statements
                )
                for name, statements in raw.items()
            }
        )
    )


def parse_value(raw: object) -> Value:
    """A JSON value as a fact's value: scalars stay, a list becomes a tuple of texts, anything else its text."""
    match raw:
        case None | bool() | int() | float() | str():
            return raw
        case list() | tuple():
            return tuple(str(item) for item in raw)
        case _:
            return repr(raw)
