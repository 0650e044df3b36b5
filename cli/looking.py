"""The lookup before a message is sent by hand: the present state of its user, and what the message would change.

Nothing is sent or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from msgspec import Struct

from cli.users import did_you_mean, known_addresses, known_rows
from shared.domain.intent.changes import ChangeKind
from shared.domain.people.events import AccountUsable, Joined, LifecycleEvent, Moved
from shared.domain.people.facts import ACCOUNT, ACCOUNT_STATES, ARCHIVED, DELETED, DISABLED, SUSPENDED, Facts
from shared.domain.people.unknown_leaver import nearest_addresses
from shared.domain.record.record import Presence, UserRecord, unknown_leaver_since
from shared.domain.record.status import ConditionType
from shared.domain.things.errors import (
    BenchkeeperError,
    DamagedRecordError,
    NewerRecordError,
    NotSignedInError,
    PoisonError,
)
from shared.domain.things.identity import UserEmail, UserKey
from shared.engine.news.dead_letters import Change, foreseen
from shared.engine.news.lookup import find
from shared.engine.ports.deps import Deps
from shared.engine.views.words import CLUSTER, status_words

_READERS = 16
_STATES: Mapping[str, str] = {
    SUSPENDED: "suspended", ARCHIVED: "archived", DELETED: "deleted", DISABLED: "disabled by Google",
    ACCOUNT: "suspended, archived or deleted",
}  # fmt: skip


class NotLookedUp(Exception):  # noqa: N818 - an answer, not a fault: unknown is not absent
    """The error of records that could not be read, so that it is unknown if the user exists.

    The text gives the cause.
    """


class Looked(Struct, frozen=True, kw_only=True):
    """The result of the lookup before a message is sent.

    `record` is the user's record, None if the user is unknown or known only from a leave. `near` are the known
    addresses nearest to an unknown address. `unknown_groups` are groups with neither an assigned profile nor a known
    member, each with the nearest known groups. `ends` are the states of the account that the message ends. `changes`
    are the previewed changes, also for an unknown user. `error` is set instead if the intake would refuse the message.
    """

    event: LifecycleEvent
    record: UserRecord | None
    near: tuple[str, ...] = ()
    unknown_groups: Mapping[str, tuple[str, ...]]
    ends: tuple[str, ...] = ()
    changes: Sequence[Change] = ()
    error: PoisonError | None = None

    @property
    def is_known(self) -> bool:
        """Return True if the user is known, and not only from a leave."""
        return self.record is not None

    @property
    def says_nothing_new(self) -> bool:
        """Return True if the message would only repeat what is already in force."""
        return bool(self.changes) and all(change.kind is ChangeKind.NOTHING_NEW for change in self.changes)

    def refused(self, *, is_joiner: bool) -> list[str]:
        """Return the reasons why the message is not sent without `--new`; empty if no reason exists."""
        lines = []
        if self.record is None and not is_joiner:
            hint = f" {did_you_mean(self.near)}" if self.near else ""
            lines.append(f"No such person: {self.event.user}.{hint}")
        for group, near in self.unknown_groups.items():
            hint = f" {did_you_mean(near)}" if near else ""
            lines.append(f"The group {group} has no assigned profile and no known member.{hint}")
        return lines

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the user, the user's environment, and the changes: each as a heading, which may be empty, and a text."""
        if self.record is not None:
            yield "Who", f"{self.record.email} ({self.record.user_key})"
            yield from _under("Has", list(_has(self.record)))
        else:
            yield "Who", f"{self.event.user}, who is not known"
        if isinstance(self.event, AccountUsable):
            yield "Ends", f"account {', account '.join(self.ends)}" if self.ends else "the account is not denied access"
        for change in self.changes:
            about = "" if change.user == self.event.user else f"{change.user}: "
            nothing_new = change.kind is ChangeKind.NOTHING_NEW
            yield "Change", f"{about}{'none: this is already known' if nothing_new else change.text}"
            yield from _under("Plan", change.actions or ("nothing to do",))
            yield from _under("Why", change.because)


def _under(heading: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (heading, text) pairs in which only the first has the heading."""
    yield from ((heading if number == 0 else "", text) for number, text in enumerate(texts))


def _has(record: UserRecord) -> Iterator[str]:
    spec, status = record.spec, record.status
    yield f"profile {spec.profile}" if spec.presence is Presence.PRESENT else f"no entitlement: {spec.because}"
    ready = status.condition(ConditionType.NOTEBOOK_READY)
    if status.notebook.instance_id is not None:
        yield f"{status.notebook.instance_id}: {status_words(ready.reason.value) if ready is not None else 'not checked yet'}"
    clusters = [
        f"{each.name} ({CLUSTER.get(each.state.value, 'not known').lower()})"
        for each in status.clusters
        if each.is_there and each.state is not None
    ]
    if clusters:
        yield f"Spark clusters: {', '.join(clusters)}"
    if status.data.snapshots:
        yield f"{len(status.data.snapshots)} snapshot{'' if len(status.data.snapshots) == 1 else 's'}"
    if record.hold is not None:
        yield f"on hold: {record.hold.reason}"


def look_up(event: LifecycleEvent, deps: Deps, *, advance: Callable[[], None] = lambda: None) -> Looked:
    """Look up the user and the groups, and preview the event's changes. Raise `NotLookedUp` if records cannot be read.

    Without a login, raise `NotSignedInError`.
    """
    try:
        return _look_up(event, deps, advance)
    except NotSignedInError:
        raise
    except BenchkeeperError as error:
        raise NotLookedUp(f"{error.user_message} ({status_words(error.reason.value)})") from error


def _look_up(event: LifecycleEvent, deps: Deps, advance: Callable[[], None]) -> Looked:
    stored = find(event.user, deps, others=event.also_known_as)
    record = stored.record if stored is not None else None
    if record is not None and unknown_leaver_since(record) is not None:
        record = None
    near = nearest_addresses(event.user, known_addresses(deps)) if record is None else ()
    now = deps.clock.now()
    changes: list[Change] = []
    error: PoisonError | None = None
    try:
        changes = foreseen([event], deps)
    except PoisonError as poison:
        error = poison
    return Looked(
        event=event,
        record=record,
        near=near,
        unknown_groups=_unknown_groups(_groups_named(event), record, deps, advance),
        ends=_states_that_hold(record.facts, now) if isinstance(event, AccountUsable) and record is not None else (),
        changes=changes,
        error=error,
    )


def _states_that_hold(facts: Facts, now: datetime) -> tuple[str, ...]:
    holding = [
        _STATES[name] for name in ACCOUNT_STATES if (held := facts.at(name, now)) is not None and held.value is True
    ]
    state = next(facts.account_states(now), None)
    if state is not None and state[0] == ACCOUNT:
        holding.append(_STATES[ACCOUNT])
    return tuple(holding)


def _unknown_groups(
    groups: Sequence[str], record: UserRecord | None, deps: Deps, advance: Callable[[], None]
) -> dict[str, tuple[str, ...]]:
    """Return the unknown groups, each with the nearest known groups.

    All records are read only if a group is not assigned and not the user's own, because listings do not contain groups.
    """
    known: set[str] = {each.group for each in deps.policy.catalog.assignments}
    now = deps.clock.now()
    if record is not None:
        known |= record.facts.groups(now).keys()
    asked = [UserEmail(group) for group in dict.fromkeys(groups) if group not in known]
    if not asked:
        return {}
    missing = set(asked)
    with ThreadPoolExecutor(_READERS) as readers:
        for found in readers.map(lambda key: _groups_under(key, deps, now), [row.user_key for row in known_rows(deps)]):
            advance()
            known |= found
            missing -= found
    return {group: nearest_addresses(group, known) for group in asked if group in missing}


def _groups_under(key: UserKey, deps: Deps, now: datetime) -> set[str]:
    try:
        stored = deps.records.load(key)
    except (DamagedRecordError, NewerRecordError):
        return set()  # skip this record; the group may be found in another record
    return set() if stored is None else set(stored.record.facts.groups(now))


def _groups_named(event: LifecycleEvent) -> list[str]:
    if not isinstance(event, Joined | Moved):
        return []
    changed = event.group_changes if isinstance(event, Moved) else {}
    return [*(event.groups or ()), *changed]
