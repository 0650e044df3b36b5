"""News about groups themselves: deleted, renamed, created. Kept in one object beside the policy; nothing is fanned out.

Whoever loses access by it loses it as a planned change. Until such changes can be approved, one that takes something from more
than one person waits, and says whom it concerns.
"""

from __future__ import annotations

from dataclasses import replace

from shared.domain.entitlement import Cause, judge_entitlement
from shared.domain.errors import ConflictError
from shared.domain.groups import GroupBook, GroupEvent, GroupEventKind
from shared.domain.identity import UserKey
from shared.domain.record import Presence
from shared.engine.ports import Deps

_TRIES = 8
# More people than this are not looked at one by one: the change waits anyway.
MOST_LOOKED_AT = 200


def accept_group_event(event: GroupEvent, deps: Deps) -> tuple[UserKey, ...]:
    """Keep what happened to a group if it counts; return whose entitlement is to be looked at now. Safe to repeat."""
    assigned = frozenset(each.group for each in deps.policy.catalog.assignments)
    for _ in range(_TRIES):
        stored = deps.books.load()
        known = next((each for each in stored.book.events if each.is_same(event)), None)
        book = stored.book.with_event(event)
        if known is None and not _counts(event, book, assigned):
            deps.log.info(
                "Ignored news of a group that entitles nobody", event_id=event.event_id, kind=event.kind.value
            )
            return ()
        concerned = _concerned(stored.book if known is None else _without(stored.book, known), book, deps)
        if known is None and len(concerned) > 1:
            book = stored.book.with_event(replace(event, waits=True))
            deps.log.error(
                "Group change waits",
                event_id=event.event_id,
                kind=event.kind.value,
                people=len(concerned),
                source=event.source,
            )
        if known is None:
            try:
                deps.books.save(book, expected=stored)
            except ConflictError:
                continue
        return tuple(concerned[:MOST_LOOKED_AT])
    raise ConflictError(
        user_message="The book of groups is being changed by somebody else just now; it is tried again.",
        detail=f"the book of groups changed under {_TRIES} attempts to write it",
    )


def _counts(event: GroupEvent, book: GroupBook, assigned: frozenset[str]) -> bool:
    """Return True if the event may change who is entitled. Changed addresses are all kept: the log may deliver out of order."""
    if event.kind is GroupEventKind.ADDRESS_CHANGED:
        return True
    return book.concerns(event.group, assigned)


def _without(book: GroupBook, event: GroupEvent) -> GroupBook:
    return GroupBook(tuple(each for each in book.events if each is not event))


def _concerned(before: GroupBook, after: GroupBook, deps: Deps) -> list[UserKey]:
    """Return who is entitled by the book as it was and not as it is to be."""
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
        for row in deps.records.rows()
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
