"""The news about groups themselves (deleted, renamed, created), and the role that the groups in the settings give a user.

News of groups is stored in one object, the group book (`policy/groups`); this module writes no user's record. The intake
calls it, and decisions about waiting group changes do. A group change that takes access from more than one user waits until
administrators decide (`shared.engine.decisions.questions`). Any other change is in force once it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from shared.domain.intent.roles import Role
from shared.domain.people.entitlement import Cause, judge_entitlement
from shared.domain.people.groups import GroupBook, GroupEvent
from shared.domain.record.record import Presence, RecordRow
from shared.domain.things.errors import ConflictError
from shared.domain.things.identity import UserEmail, UserKey
from shared.engine.ports.deps import Deps

_TRIES = 8
# Above this number the users' records are not read one by one: the change waits anyway.
MOST_LOOKED_AT = 200


def accept_group_events(events: Sequence[GroupEvent], deps: Deps) -> tuple[UserKey, ...]:
    """Store a message's news about groups in one write; return the users whose entitlement must be judged now. Safe to repeat.

    For each event, at most `MOST_LOOKED_AT` users are returned. Raise `ConflictError` if other processes keep changing the
    group book.
    """
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
        user_message="The stored group changes are being updated by another process. Benchkeeper tries again.",
        detail=f"the group book changed during {_TRIES} attempts to write it",
    )


def _with_all(
    stored: GroupBook, events: Sequence[GroupEvent], assigned: frozenset[str], deps: Deps
) -> tuple[GroupBook, list[UserKey]]:
    """Return the book with all events, and the users who lose access by them or would if they were approved.

    An event that takes access from more than one user waits in the book. Events about groups that entitle no user are not
    judged. For each event, at most `MOST_LOOKED_AT` users are returned.
    """
    keys = {each.key for each in (*stored.events, *stored.others)}
    known = [each for each in events if each.key in keys]
    new = sorted((each for each in events if each.key not in keys), key=GroupEvent.order)
    reached = GroupBook().with_events((*stored.events, *stored.others, *new), assigned).reached(assigned)
    unrelated = [each for each in new if not each.addresses & reached]
    if unrelated:
        deps.log.info("Found news of groups that entitle no user", events=len(unrelated))
    book = stored.with_events(unrelated, assigned)
    # Known events are judged again: a crash may have prevented the passes that they called for.
    concerned = dict.fromkeys(_concerned(book.without(known, assigned), book, deps)[:MOST_LOOKED_AT] if known else [])
    for event in new:
        if not event.addresses & reached:
            continue
        after = book.with_events([event], assigned)
        lost = _concerned(book, after, deps)
        if len(lost) > 1:
            after = book.with_events([replace(event, waits=True)], assigned)
            deps.log.error(
                "Held back a group change",
                event_id=event.event_id,
                kind=event.kind.value,
                people=len(lost),
                source=event.source,
            )
        book = after
        concerned |= dict.fromkeys(lost[:MOST_LOOKED_AT])
    return book, list(concerned)


def concerned_by(event: GroupEvent, book: GroupBook, deps: Deps, rows: Iterable[RecordRow]) -> list[UserKey]:
    """Return the users of these rows who lose access if a waiting event is approved.

    Above `MOST_LOOKED_AT` candidates, return all candidates without reading their records: some may keep access.
    """
    return _concerned(book, book.decided(event, agreed=True), deps, rows)


def _concerned(
    before: GroupBook, after: GroupBook, deps: Deps, rows: Iterable[RecordRow] | None = None
) -> list[UserKey]:
    """Return the users entitled by the old book and not by the new one; of all records, or of the given rows.

    The candidates are found by their rows. Above `MOST_LOOKED_AT` candidates, return all of them without reading their
    records.
    """
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
        # Rows of earlier versions do not name the group that entitles the user.
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


def role_of(email: UserEmail, deps: Deps) -> Role | None:
    """Return the first role in whose group the user is a direct member; None if there is none.

    The groups are read in the order of the roles. Raise `BenchkeeperError` if one cannot be read before a role is found:
    the role is then unknown, and an unknown role gives no right.
    """
    return next((role for role, group in deps.roles.groups() if deps.groups.has(group, email)), None)
