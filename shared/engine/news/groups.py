"""News about groups themselves: deleted, renamed, created. Kept in one object beside the policy; nothing is fanned out.

Whoever loses access by it loses it as a planned change. One that takes something from more than one person waits until
administrators decide (`shared.engine.decisions.questions`), and says whom it concerns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from shared.domain.people.entitlement import Cause, judge_entitlement
from shared.domain.people.groups import GroupBook, GroupEvent
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.errors import ConflictError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps

_TRIES = 8
# More people than this are not looked at one by one: the change waits anyway.
MOST_LOOKED_AT = 200


def accept_group_events(events: Sequence[GroupEvent], deps: Deps) -> tuple[UserKey, ...]:
    """Keep what a message says of groups, in one write; return whose entitlement is to be looked at now. Safe to repeat."""
    assigned = frozenset(each.group for each in deps.policy.catalog.assignments)
    for _ in range(_TRIES):
        stored = deps.books.load()
        book, concerned = _with_all(stored.book, events, assigned, deps)
        if book != stored.book:
            try:
                deps.books.save(book, expected=stored)
            except ConflictError:
                continue
        return tuple(concerned)
    raise ConflictError(
        user_message="The book of groups is being changed by somebody else just now; it is tried again.",
        detail=f"the book of groups changed under {_TRIES} attempts to write it",
    )


def _with_all(
    stored: GroupBook, events: Sequence[GroupEvent], assigned: frozenset[str], deps: Deps
) -> tuple[GroupBook, list[UserKey]]:
    """Return the book with all events, and who loses something by them. Only what concerns a group that entitles is judged."""
    keys = {each.key for each in (*stored.events, *stored.others)}
    known = [each for each in events if each.key in keys]
    new = sorted((each for each in events if each.key not in keys), key=GroupEvent.order)
    reached = GroupBook().with_events((*stored.events, *stored.others, *new), assigned).reached(assigned)
    unrelated = [each for each in new if not each.addresses & reached]
    if unrelated:
        deps.log.info("Only remembered news of groups that entitle nobody", events=len(unrelated))
    book = stored.with_events(unrelated, assigned)
    # Judged again: whoever was to be looked at may not have been.
    concerned = dict.fromkeys(_concerned(book.without(known, assigned), book, deps)[:MOST_LOOKED_AT] if known else [])
    for event in new:
        if not event.addresses & reached:
            continue
        after = book.with_events([event], assigned)
        lost = _concerned(book, after, deps)
        if len(lost) > 1:
            after = book.with_events([replace(event, waits=True)], assigned)
            deps.log.error(
                "Group change waits",
                event_id=event.event_id,
                kind=event.kind.value,
                people=len(lost),
                source=event.source,
            )
        book = after
        concerned |= dict.fromkeys(lost[:MOST_LOOKED_AT])
    return book, list(concerned)


def concerned_by(event: GroupEvent, book: GroupBook, deps: Deps, rows: Iterable[RecordRow]) -> list[UserKey]:
    """Return who of these rows loses access once an event that waits is agreed to."""
    return _concerned(book, book.decided(event, agreed=True), deps, rows)


def _concerned(
    before: GroupBook, after: GroupBook, deps: Deps, rows: Iterable[RecordRow] | None = None
) -> list[UserKey]:
    """Return who is entitled by the book as it was and not as it is to be; of all records, or of the rows given."""
    now, catalog = deps.clock.now(), deps.policy.catalog
    lost_groups = {
        each.group
        for each in catalog.assignments
        if before.identity(each.group, now) != after.identity(each.group, now)
    }
    if not lost_groups:
        return []
    profiles = {each.profile for each in catalog.assignments if each.group in lost_groups}
    suspects = [
        row.user_key
        for row in (deps.records.rows() if rows is None else rows)
        if row.presence is Presence.PRESENT
        # Rows of earlier versions do not say by what somebody is entitled.
        and (row.entitled_by in lost_groups or (row.cause is Cause.UNKNOWN and row.profile in profiles))
    ]
    if len(suspects) > MOST_LOOKED_AT:
        return suspects
    concerned = []
    for key in suspects:
        stored = deps.records.load(key)
        if stored is None:
            continue
        facts = stored.record.facts
        if (
            judge_entitlement(facts, catalog, now, before).entitled
            and not judge_entitlement(facts, catalog, now, after).entitled
        ):
            concerned.append(key)
    return concerned
