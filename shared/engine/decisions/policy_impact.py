"""The impact of another policy, or of a file of news, on all users. Read only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

from msgspec import Struct

from shared.domain.intent.wanted import new_record, with_wanted
from shared.domain.people.events import News, Woken
from shared.domain.people.groups import GroupEvent
from shared.domain.plan.plan import Policy
from shared.domain.policy.effect import Effect, Part, changed_parts, effect_of
from shared.domain.policy.impact import Excess, Fleet, Impact, excesses, impact_of, policy_excesses
from shared.domain.record.record import RecordRow, UserRecord
from shared.domain.things.errors import (
    BenchkeeperError,
    DamagedRecordError,
    NewerRecordError,
    PoisonError,
)
from shared.domain.things.identity import UserKey
from shared.domain.things.notebook import ObservedNotebook
from shared.engine.news.dead_letters import fold_one
from shared.engine.ports.deps import Deps

# Changes of these parts alone only affect later events: no user with a record is judged differently.
_ABOUT_LATER = frozenset({Part.PEOPLE, Part.SOURCES, Part.ZONES, Part.GUARD})


_READERS = 16


_AT_ONCE = 500


class Judged(Struct, frozen=True, kw_only=True):
    """The impact of a policy on all users, the fleet it was measured by, and the limits it exceeds."""

    impact: Impact
    fleet: Fleet
    excesses: tuple[Excess, ...]


def impact_of_policy(
    proposed: Policy, deps: Deps, *, before: Policy | None = None, advance: Callable[[], None] = lambda: None
) -> Judged:
    """Return the impact of the proposed policy on all users, compared with the policy in force or with `before`.

    Reads every record, unless all changed parts affect only later events. Changes nothing.
    """
    before = deps.with_book(before) if before is not None else deps.policy
    after = deps.with_book(proposed)
    if changed_parts(before, after) <= _ABOUT_LATER:
        return _judged(impact_of([]), Fleet(), before, after)
    now, seen = deps.clock.now(), _instances(deps)
    fleet = Fleet()
    effects: list[Effect | None] = []
    for row, record in _records(deps):
        advance()
        fleet.add(with_wanted(record, before, now))
        notebook = seen.get((row.zone or "", row.instance_id or ""))
        effects.append(effect_of(record, before, after, now, seen=notebook))
    return _judged(impact_of(effects), fleet, before, after)


def impact_of_news(news: Sequence[News], deps: Deps) -> tuple[Judged, int]:
    """Return the impact of news on the users whom it is about, folded in order, and the number of unusable pieces of news.

    These users are judged by the policy in force, without and with the news. Changes nothing.
    """
    policy, now = deps.policy, deps.clock.now()
    before: dict[UserKey, UserRecord] = {}
    folded: dict[UserKey, UserRecord] = {}
    refused = 0
    for piece in news:
        if isinstance(piece, Woken | GroupEvent):
            continue
        try:
            for old, new in fold_one(piece, folded, deps, now):
                if new is not old:
                    before.setdefault(new.user_key, old if old is not None else new_record(new.email, now))
                    folded[new.user_key] = new
        except (PoisonError, DamagedRecordError, NewerRecordError):
            refused += 1
    fleet = Fleet()
    for row in deps.records.rows():
        fleet.add_row(row)
    impact = impact_of(effect_of(before[key], policy, policy, now, told=told) for key, told in folded.items())
    return Judged(impact=impact, fleet=fleet, excesses=excesses(impact, fleet, policy.guard)), refused


def _judged(impact: Impact, fleet: Fleet, before: Policy, after: Policy) -> Judged:
    return Judged(impact=impact, fleet=fleet, excesses=policy_excesses(impact, fleet, before, after))


def _instances(deps: Deps) -> dict[tuple[str, str], ObservedNotebook]:
    """Return the instances by zone and name.

    Return an empty mapping if they cannot be listed: the records have the values from which the instances were built.
    """
    try:
        return {(n.ref.zone, n.ref.instance_id): n for n in deps.notebooks.listing().notebooks}
    except BenchkeeperError as error:
        deps.log.warning("Instances could not be listed", reason=error.reason.value, detail=error.detail)
        return {}


def _records(deps: Deps) -> Iterator[tuple[RecordRow, UserRecord]]:
    """Yield each usable record with its row; skip records that are damaged or of a newer program. Raise an error if a record cannot be read."""

    def read(row: RecordRow) -> tuple[RecordRow, UserRecord] | None:
        try:
            stored = deps.records.load(row.user_key)
        except (DamagedRecordError, NewerRecordError):
            return None
        return None if stored is None or stored.record.user_key != row.user_key else (row, stored.record)

    rows = iter(deps.records.rows())
    while chunk := list(islice(rows, _AT_ONCE)):  # bounds the number of records in memory
        found = deps.workers.run([partial(read, row) for row in chunk], at_once=_READERS)
        yield from (each for each in found if each is not None)
