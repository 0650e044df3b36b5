"""The statement of a source about a user, and timelines of statements. See `shared.domain.people.facts` for the rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

Scalar = str | int | float | bool | None
Value = Scalar | tuple[str, ...]

BEFORE_EVERYTHING = datetime.min.replace(tzinfo=UTC)
# The limit for a fact that decides access. No source makes so many statements within the horizon; the least decisive are dropped.
MAX_STATEMENTS = 48
MAX_FORGOTTEN = 64  # digests of dropped statements
MOST_LAST = 3  # the limit for other facts, which are long or many: the last statements, beside those that decide at the horizon and now


class Force(StrEnum):
    """The effect of a statement on a leave (`shared.domain.people.employment`).

    `SAYS`: an ordinary event. `CONFIRMS`: the feed repeats a present state, so the statement ends no leave. `CANCELS`: a leave
    was cancelled.
    """

    SAYS = "says"
    CONFIRMS = "confirms"
    CANCELS = "cancels"


class Statement(Struct, frozen=True, kw_only=True):
    """A statement about a user. `withdraws` is True if the statement takes something away; such a statement wins a tie.

    `source` is the name of the source ("" in records of earlier versions), and `says` the author named in the message, who is
    not verified. `published_at` is the time at which the message was first published. `claimed_at` is the time that the
    message named for `occurred_at`, if that time was not used: it was in the future, or a date without a time of day.
    `explicit` is True if the message named the moment from which the statement holds. `undated` is True if the message named
    no usable time of the statement, so that `occurred_at` is the publish time. `force` is the effect on a leave.
    """

    event_id: str
    occurred_at: datetime
    effective_at: datetime
    value: Value
    withdraws: bool
    source: str = ""
    says: str = ""
    published_at: datetime | None = None
    claimed_at: datetime | None = None
    explicit: bool = False
    undated: bool = False
    force: Force = Force.SAYS

    def rank(self) -> tuple[datetime, bool, str, str]:
        """Return the sort key of precedence: the later statement wins, then a statement that withdraws, then id and value decide."""
        return (self.occurred_at, self.withdraws, self.event_id, repr(self.value))

    @property
    def said_at(self) -> datetime:
        """Return the time at which the statement became known: the later of `occurred_at` and the publish time, if known."""
        return self.occurred_at if self.published_at is None else max(self.occurred_at, self.published_at)

    @property
    def happened_at(self) -> datetime:
        """Return the time of the event by the sender's own date. A date without a time of day counts as its first moment.

        Another statement about the same day then counts as later than this statement.
        """
        return self.claimed_at if self.undated and self.claimed_at is not None else self.occurred_at

    def is_same(self, other: Statement) -> bool:
        """Return True for a duplicate: the same source, id and content, regardless of the publish time."""
        return self.source == other.source and self.event_id == other.event_id and self._content() == other._content()

    def guard(self, fact: str) -> str:
        """Return a digest that identifies duplicates of this statement about a fact, once the statement is forgotten.

        The digest reveals nothing of the content.
        """
        text = repr((fact, self.source, self.event_id, self._content()))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def reuses_id_of(self, other: Statement) -> bool:
        """Return True if the sender used one id for two statements with different content."""
        return (
            self.source == other.source
            and self.event_id == other.event_id
            and (self.value, self.effective_at, self.force) != (other.value, other.effective_at, other.force)
        )

    def _content(self) -> tuple[object, ...]:
        effective = self.effective_at if self.explicit else None
        return (
            None if self.undated else self.claimed_at or self.occurred_at,
            effective,
            self.value,
            self.withdraws,
            self.force,
        )

    def ends(self, other: Statement, horizon: datetime) -> bool:
        """Return True if `other` can decide nothing from `horizon` on, because this statement overrules it.

        Lists of groups of the same moment do not overrule each other: a group counts only if all of these lists have it.
        """
        if isinstance(self.value, tuple) and isinstance(other.value, tuple) and self.occurred_at == other.occurred_at:
            return False
        return self.rank() > other.rank() and self.effective_at <= horizon

    def forestalls(self, other: Statement) -> bool:
        """Return True if this statement was made after `other` and before it took effect: then `other` never takes effect."""
        return other.occurred_at < self.occurred_at < other.effective_at


Timeline = tuple[Statement, ...]


def fold(timeline: Timeline, statement: Statement, horizon: datetime = BEFORE_EVERYTHING) -> Timeline:
    """Return the timeline with one more statement.

    Return the same object if the statement is a duplicate, or was overruled before the horizon.
    """
    decided = _decides(timeline, horizon)
    if any(kept.is_same(statement) for kept in timeline) or (decided is not None and decided.ends(statement, horizon)):
        return timeline
    together = (*timeline, statement)
    decides = _decides(together, horizon)
    kept = together if decides is None else [s for s in together if not decides.ends(s, horizon)]
    return tuple(bounded(sorted(kept, key=Statement.rank)))


def _decides(timeline: Timeline, horizon: datetime) -> Statement | None:
    """Return the statement that decides at the horizon and overrules all older statements; None if none is in effect.

    A statement that never takes effect (`Statement.forestalls`) never decides.
    """
    begun = sorted((s for s in timeline if s.effective_at <= horizon), key=Statement.rank, reverse=True)
    return next((s for s in begun if not any(other.forestalls(s) for other in timeline)), None)


def fold_briefly(timeline: Timeline, statement: Statement, horizon: datetime = BEFORE_EVERYTHING) -> Timeline:
    """Return the result of `fold`, reduced to the last three statements and those that decide at the horizon and at the end.

    The end is the time at which the newest statement was made. Lists of groups that were made at the same moment stay
    together. Nothing is dropped without a horizon. A statement with a future date is always among the last: a newer
    statement made before that date would have replaced it. A dropped statement no longer prevents older ones from taking
    effect. That matters only for an older statement that arrives later than three newer ones.
    """
    folded = fold(timeline, statement, horizon)
    if len(folded) <= MOST_LAST or horizon == BEFORE_EVERYTHING:  # without a horizon, any moment may be asked about
        return folded
    kept = [*folded[-MOST_LAST:], answer(folded, horizon), answer(folded, folded[-1].occurred_at)]
    # Lists of the same moment decide together: without one of them a user might wrongly get access.
    moments = {each.occurred_at for each in kept if each is not None and isinstance(each.value, tuple)}
    new = tuple(
        s
        for s in folded
        if any(s is each for each in kept) or (isinstance(s.value, tuple) and s.occurred_at in moments)
    )
    return timeline if new == timeline else new


def bounded(ordered: list[Statement]) -> list[Statement]:
    """Return at most `MAX_STATEMENTS` statements, oldest first. The oldest grants are dropped first, then the oldest other statements."""
    surplus = len(ordered) - MAX_STATEMENTS
    if surplus <= 0:
        return ordered
    grants = [s for s in ordered if not s.withdraws]
    gone = {id(s) for s in [*grants[:-1], *ordered][:surplus]}
    rest = [s for s in ordered if id(s) not in gone]
    return rest[-MAX_STATEMENTS:]


def in_effect(timeline: Timeline, now: datetime) -> list[Statement]:
    """Return the statements that hold at `now`: those that took effect before a newer statement could replace them."""
    return [s for s in timeline if s.effective_at <= now and not any(other.forestalls(s) for other in timeline)]


def answer(timeline: Timeline, now: datetime) -> Statement | None:
    """Return the statement that decides at `now`; None if no statement is in effect."""
    return max(in_effect(timeline, now), key=Statement.rank, default=None)


def next_change(timelines: Iterable[Timeline], now: datetime) -> datetime | None:
    """Return the next moment at which a statement takes effect, so that an answer may change; None if there is none."""
    return min((s.effective_at for timeline in timelines for s in timeline if s.effective_at > now), default=None)


def as_membership(roster: Statement, *, member: bool) -> Statement:
    """Return the statement about one group that follows from a list of groups (`roster`)."""
    return Statement(
        event_id=roster.event_id,
        occurred_at=roster.occurred_at,
        effective_at=roster.effective_at,
        value=member,
        withdraws=not member,
        source=roster.source,
    )


def newest_guards(forgotten: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    """Return the digests of dropped statements with the new digests added, at most the newest `MAX_FORGOTTEN`.

    Return the same tuple if no digest is new.
    """
    new = [guard for guard in dict.fromkeys(more) if guard not in forgotten]
    return (*forgotten, *new)[-MAX_FORGOTTEN:] if new else forgotten
