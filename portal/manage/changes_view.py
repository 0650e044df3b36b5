"""What waits for administrators to decide, as pages and scripts show it: who waits, who decided, what either verdict will do.

Each kind of change (people whose cuts wait, a configuration, questions about one person or group) is a pair of functions in
`changes.KINDS` that return `Change`s.
Nothing here decides: the tick does, on the assertions that it verifies itself.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import flask
from msgspec import Struct, field

from portal.deps import current
from portal.visit import signed_in, visit
from shared.domain.batches import Batch, WaitingPerson, announced_until, batches_of
from shared.domain.batches import from_json as batch_from_json
from shared.domain.batches import to_json as batch_to_json
from shared.domain.cuts import IMPATIENT, CutClass, StepKind
from shared.domain.decision import About, Verdict
from shared.domain.errors import BenchkeeperError, InvalidMessageError
from shared.domain.guard_settings import GuardSettings
from shared.domain.identity import UserKey, user_key_for
from shared.domain.question import QUESTIONS
from shared.engine.ports.deps import Deps

_MOST_OLDER = 20  # lists that somebody decided about and that are no batch any more: read one by one
_KEPT_LISTS = 20
_STORED_S = 3600.0  # the inbox forgets old objects: after that a list is stored again as it is shown
_EXTENSION = "benchkeeper.changes"
NAV_S = 60.0  # how long the number beside "Changes" is shown without looking again

# What ends access, for people.
TITLES = {
    CutClass.EMPLOYMENT: "People are said to have left",
    CutClass.ACCOUNT: "Google accounts cannot be used any more",
    CutClass.GROUP: "People are in no group that gives access",
    CutClass.POLICY: "The configuration gives people no access any more",
    CutClass.CREATION: "Many environments are to be made",
    CutClass.IDLE: "Most of what runs looks idle",
    CutClass.ANNOUNCED: "People are announced to lose access",
}
STEPS = {
    StepKind.STOP: ("{} notebook is stopped, and deleted after its retention", "{} notebooks are stopped, and deleted after their retention"),
    StepKind.REVOKE: ("{} person's own service account is disabled", "{} people's own service accounts are disabled"),
    StepKind.CREATE: ("{} notebook is made", "{} notebooks are made"),
    StepKind.END_CLUSTERS: ("the Spark clusters of {} person are deleted", "the Spark clusters of {} people are deleted"),
}  # fmt: skip


class Unread(StrEnum):
    """What could not be read. The rest is shown without it."""

    INDEX = "who waits"
    DECISIONS = "what was decided"
    LISTS = "some of the lists"
    POLICIES = "whether a configuration waits"
    QUESTIONS = "whether somebody's word about a person or a group is waited for"


class Vote(Struct, frozen=True, kw_only=True):
    """A decision that waits to take effect, as the page noted it; nobody verified it yet."""

    by: str
    verdict: Verdict
    at: datetime
    is_own: bool
    about: About = About.CUTS


class Listed(Protocol):
    """One person of a list, of whatever kind the change is."""

    @property
    def user_key(self) -> UserKey:
        """Who it is."""

    @property
    def ref(self) -> str:
        """Which cut it is; empty for a configuration."""

    @property
    def steps(self) -> tuple[StrEnum, ...]:
        """What happens to the person."""


class Change(Struct, frozen=True, kw_only=True):
    """Something that waits for a decision. `entries` are the frozen list that the digest names.

    `still` is how many of them wait for just that now, None where it could not be read; `undone` how many of those are stopped
    already. `since` is None for a list that is no batch any more. `is_kept`: the list is stored, so it can be decided about.
    `author` is who deployed a configuration. `concerned` may not decide; None: everybody on the list. `cannot_approve` is why
    nobody can approve it. `needs_another`: however long nobody objects, somebody else than whoever asked must approve.
    """

    about: About
    digest: str
    title: str
    cause: str
    source: str
    entries: tuple[Listed, ...]
    still: int | None
    undone: int
    since: datetime | None
    patience_ends: datetime | None
    votes: tuple[Vote, ...]
    approving: tuple[str, ...]
    rejecting: tuple[str, ...]
    is_kept: bool
    takes_effect_at: datetime | None
    author: str = ""
    concerned: frozenset[UserKey] | None = None
    cannot_approve: str = ""
    needs_another: bool = False

    @property
    def is_question(self) -> bool:
        """Return True if it is about one person or group, not a list of people."""
        return self.about in QUESTIONS

    @property
    def people(self) -> int:
        """Return how many are on the list."""
        return len(self.entries)

    @property
    def is_current(self) -> bool:
        """Return True if the list is what waits now."""
        return self.since is not None

    @property
    def is_rejected(self) -> bool:
        """Return True if somebody rejected the list: one rejection is enough."""
        return any(vote.verdict is Verdict.REJECT for vote in self.votes)

    def own(self) -> Verdict | None:
        """Return what the reader decided last about the list."""
        return next((vote.verdict for vote in reversed(self.votes) if vote.is_own), None)


class Seen(Struct, kw_only=True):
    """What one request found. `waiting` is None where the index could not be read."""

    waiting: tuple[WaitingPerson, ...] | None = None
    votes: dict[str, list[Vote]] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)

    def by_key(self) -> Mapping[UserKey, WaitingPerson]:
        """Return those who wait, by key."""
        return {person.user_key: person for person in self.waiting or ()}


class Lists:
    """The lists that this process stored or read lately, and how many changes were seen last. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: OrderedDict[str, tuple[float, Batch | None]] = OrderedDict()
        self._count: tuple[float, int] = (float("-inf"), 0)

    def get(self, digest: str, at_s: float) -> Batch | None:
        """Return the list if it was stored or read lately."""
        with self._lock:
            known_at, batch = self._lists.get(digest, (float("-inf"), None))
        return batch if at_s - known_at <= _STORED_S else None

    def has(self, digest: str, at_s: float) -> bool:
        """Return True if what has this digest was stored or read lately."""
        with self._lock:
            known_at, _ = self._lists.get(digest, (float("-inf"), None))
        return at_s - known_at <= _STORED_S

    def keep(self, digest: str, batch: Batch | None, at_s: float) -> None:
        """Remember a list that is stored, or with None a question."""
        with self._lock:
            self._lists[digest] = at_s, batch
            self._lists.move_to_end(digest)
            while len(self._lists) > _KEPT_LISTS:
                self._lists.popitem(last=False)

    def counted(self, count: int, at_s: float) -> None:
        """Remember how many changes wait."""
        with self._lock:
            self._count = at_s, count

    def count(self, at_s: float) -> int:
        """Return how many changes waited when somebody looked in the last minute; 0 if nobody did."""
        with self._lock:
            looked_at, count = self._count
        return count if at_s - looked_at <= NAV_S else 0


def attach(extensions: dict[str, Any]) -> None:
    """Give an application its own lists: two of them share nothing."""
    extensions[_EXTENSION] = Lists()


def lists() -> Lists:
    """Return the present application's."""
    found: Lists = flask.current_app.extensions[_EXTENSION]
    return found


# ---- reading


def seen() -> Seen:
    """Look who waits and what was decided: two listings. What cannot be read is named, and takes nothing else from the page."""
    found, deps = Seen(), _engine()
    try:
        found.waiting = tuple(deps.guard.waiting())
    except BenchkeeperError as error:
        missing(found, Unread.INDEX, error)
    _, own = signed_in()
    try:
        for each in deps.decisions.waiting():
            if each.shown is not None:
                vote = Vote(
                    by=each.shown.by,
                    verdict=each.shown.verdict,
                    at=each.created_at,
                    is_own=each.shown.by == own,
                    about=each.shown.about,
                )
                found.votes.setdefault(each.shown.digest, []).append(vote)
    except BenchkeeperError as error:
        missing(found, Unread.DECISIONS, error)
    return found


def cuts(found: Seen) -> list[Change]:
    """People whose cuts wait: the batches of now, then the lists of before that somebody decided about.

    Each batch is stored as it is shown, so that a click is about just what was on the page.
    """
    changes = [_of_batch(batch, found, is_kept=_is_stored(batch, found)) for batch in batches_of(found.waiting or ())]
    current_ones = {change.digest for change in changes}
    older = [
        digest for digest, votes in found.votes.items() if digest not in current_ones and votes[0].about is About.CUTS
    ]
    for digest in older[:_MOST_OLDER]:
        try:
            batch = stored_list(digest)
        except BenchkeeperError as error:
            missing(found, Unread.LISTS, error)
            continue
        if batch is not None:
            changes.append(_of_batch(batch, found, is_kept=True, digest=digest))
    return changes


def cuts_of(digest: str, found: Seen) -> Change | None:
    """One list: the batch of now that has this digest, else the stored one; None for a digest that nobody ever saw."""
    for batch in batches_of(found.waiting or ()):
        if batch.digest == digest:
            return _of_batch(batch, found, is_kept=_is_stored(batch, found))
    stored = stored_list(digest)
    return None if stored is None else _of_batch(stored, found, is_kept=True, digest=digest)


def stored_list(digest: str) -> Batch | None:
    """Return the list of this digest, whose content is what its name says; None: there is none."""
    known = lists().get(digest, _now_s())
    if known is not None:
        return known
    content = _engine().decisions.read_list(digest)
    if content is None:
        return None
    try:
        batch = batch_from_json(content)
    except InvalidMessageError:
        return None
    lists().keep(digest, batch, _now_s())
    return batch


def _is_stored(batch: Batch, found: Seen) -> bool:
    """Store a batch's list; False if that did not work, so nobody can decide about it now."""
    return is_stored(batch.digest, batch_to_json(batch), found, batch=batch)


def is_stored(digest: str, content: bytes, found: Seen, *, batch: Batch | None = None) -> bool:
    """Store what a decision will name by its digest, unless that was done lately; False if it did not work."""
    if lists().has(digest, _now_s()):
        return True
    try:
        _engine().decisions.put_list(content)
    except BenchkeeperError as error:
        missing(found, Unread.LISTS, error)
        return False
    lists().keep(digest, batch, _now_s())
    return True


def missing(found: Seen, what: Unread, error: BenchkeeperError) -> None:
    """Note what could not be read: the page says so, and shows the rest."""
    if what not in found.unread:
        found.unread.append(what)
    visit().reason, visit().detail = error.reason.value, f"{what.value}: {error.detail}"


def _now_s() -> float:
    return visit().now().timestamp()


def _engine() -> Deps:
    return current().deps.engine


# ---- what it means


def _of_batch(batch: Batch, found: Seen, *, is_kept: bool, digest: str = "") -> Change:
    digest, guard, waiting = digest or batch.digest, _engine().policy.guard, found.by_key()
    wait = [e for e in batch.entries if waits_for(e, waiting.get(e.user_key))]
    still = [waiting[e.user_key] for e in wait if e.user_key in waiting]
    is_current = found.waiting is not None and any(each.digest == digest for each in batches_of(found.waiting))
    since = batch.since if is_current else None
    undone = sum(person.undoable_done for person in still)
    votes = tuple(found.votes.get(digest, ()))
    counted = Counter(step for entry in batch.entries for step in entry.steps)
    return Change(
        about=About.CUTS,
        digest=digest,
        title=TITLES[batch.cause],
        cause=batch.cause.value,
        source=batch.source,
        entries=batch.entries,
        still=None if found.waiting is None else len(wait),
        undone=undone,
        since=since,
        patience_ends=_patience_ends(batch.cause, since, guard),
        votes=votes,
        approving=_approving(counted, batch, _prices(still)),
        rejecting=_rejecting(batch, undone),
        is_kept=is_kept,
        takes_effect_at=takes_effect_at(votes, guard) if batch.cause is not CutClass.ANNOUNCED else None,
        needs_another=batch.cause is CutClass.ANNOUNCED and needs_another(votes, guard.approvers),
    )


def waits_for(entry: Listed, person: WaitingPerson | None) -> bool:
    """Return True if the person waits now for just what the list says. Of a configuration that waits everybody does."""
    if not entry.ref:
        return True
    until = announced_until(entry.ref)
    if until is not None:
        return visit().now() < until
    return person is not None and (person.ref, person.steps) == (entry.ref, entry.steps)


def _patience_ends(cause: CutClass, since: datetime | None, guard: GuardSettings) -> datetime | None:
    if since is None or guard.patience is None or cause not in IMPATIENT:
        return None
    return since + guard.patience


def takes_effect_at(votes: Sequence[Vote], guard: GuardSettings, *, author_is_known: bool = False) -> datetime | None:
    """Return when a list that was approved and not rejected takes effect by itself; None: nobody approved it, or no need to wait."""
    approvals = [vote for vote in votes if vote.verdict is Verdict.APPROVE]
    needed = 1 if author_is_known else guard.approvers
    if not approvals or len(approvals) != len(votes) or len({vote.by for vote in approvals}) >= needed:
        return None
    return min(vote.at for vote in approvals) + guard.wait_alone


def needs_another(votes: Sequence[Vote], needed: int) -> bool:
    """Return True if one more administrator must approve, where waiting is not enough."""
    return len({vote.by for vote in votes if vote.verdict is Verdict.APPROVE}) < needed


def _approving(counted: Mapping[StepKind, int], batch: Batch, prices: Mapping[str, float]) -> tuple[str, ...]:
    lines = [STEPS[kind][counted[kind] != 1].format(f"{counted[kind]:,}") for kind in StepKind if counted[kind]]
    count = len(batch.entries)
    match batch.cause:
        case CutClass.CREATION:
            if prices:
                hourly = sum(prices.values())
                lines.append(f"an hour in which all of them run costs about {hourly:,.2f} {current().deps.currency}")
        case CutClass.ANNOUNCED:
            until = announced_until(batch.entries[0].ref) if batch.entries else None
            if until is not None:
                lines = [
                    f"whoever of them loses access until {until:%Y-%m-%d %H:%M} UTC does so at once, and takes no slot"
                ]
        case CutClass.IDLE:
            lines = [f"{count:,} {'notebook is' if count == 1 else 'notebooks are'} stopped now; files are kept"]
        case _:
            lines.insert(0, f"{count:,} {'person loses' if count == 1 else 'people lose'} access")
    return tuple(f"{line[0].upper()}{line[1:]}." for line in lines)


def _rejecting(batch: Batch, undone: int) -> tuple[str, ...]:
    count = len(batch.entries)
    people = f"{count:,} {'person' if count == 1 else 'people'}"
    match batch.cause:
        case CutClass.CREATION:
            return (
                f"{people} get no environment, although they are entitled to one, until access ends and begins anew.",
            )
        case CutClass.ANNOUNCED:
            return (f"{people} take slots like everybody, if they lose access.",)
        case CutClass.IDLE:
            return (f"The notebooks of {people} are not stopped for idleness in the next twelve hours.",)
        case _:
            pass
    lines = [f"{people} {'keeps' if count == 1 else 'keep'} access. What was said of them so far no longer ends it."]
    if undone:
        lines.append(f"{undone:,} that {'was' if undone == 1 else 'were'} stopped already may work again.")
    lines.append("If anything else is said of one of them later, that counts.")
    return tuple(lines)


def _prices(people: Iterable[WaitingPerson]) -> Mapping[str, float]:
    """Return what an hour of each person's notebook costs, as far as the profiles say."""
    profiles = _engine().policy.catalog.profiles
    found = {person.user_key: profiles[person.profile].hourly_cost for person in people if person.profile in profiles}
    return {key: cost for key, cost in found.items() if cost is not None}


# ---- who may


def own_keys() -> frozenset[UserKey]:
    """Return the keys under which the reader may be on a list: their address's, and that of the record to which it leads."""
    email, key = signed_in()
    try:
        stored = _engine().records.load(key)
    except (
        BenchkeeperError
    ) as error:  # the tick looks again, and does not count the vote of somebody who is on the list
        visit().reason, visit().detail = error.reason.value, f"own record: {error.detail}"
        stored = None
    known = {key, user_key_for(email)}
    return frozenset(known if stored is None else {*known, stored.record.user_key})


def is_concerned(change: Change, keys: Iterable[UserKey]) -> bool:
    """Return True if the reader is on the list, or deployed it: nobody decides about themselves."""
    own = frozenset(keys)
    if change.concerned is not None:
        return bool(own & change.concerned)
    return any(entry.user_key in own for entry in change.entries)


def addresses() -> Mapping[str, str]:
    """Addresses by key, as a sweep saw them last; none where that cannot be read."""
    try:
        fleet = _engine().fleet.fleet()
    except BenchkeeperError as error:
        visit().reason, visit().detail = error.reason.value, f"addresses: {error.detail}"
        return {}
    return {} if fleet is None else {row.user_key: row.email for row in fleet.rows if row.email}
