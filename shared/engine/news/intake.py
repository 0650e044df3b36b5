"""The fold of news into records, called for each delivery. One conditional write for each record saves what is wanted."""

from __future__ import annotations

from msgspec.structs import replace

from shared.domain.intent.guard import with_urgency
from shared.domain.intent.handover import handed_over, joined_again, split, with_earlier_holder, with_same_person
from shared.domain.intent.renaming import Renaming, confirmed, owns_something, renaming
from shared.domain.intent.wanted import HORIZON, new_record, with_event, with_wanted
from shared.domain.people.events import (
    Joined,
    LifecycleEvent,
    Moved,
    Renamed,
    is_cut,
    numbered,
    statements_of,
)
from shared.domain.people.facts import PERSON_ID
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import ConflictError
from shared.domain.things.identity import UserKey, user_key_for
from shared.engine.news.lookup import (
    Target,
    collision,
    find,
    find_or_free,
    is_foreign_cut,
    number_key,
    targets,
    waiting_for_number,
)
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.changing import Accepted, due_soon, lost_the_race, save
from shared.engine.reconcile.history import with_news
from shared.engine.reconcile.repair import load_mended

_TRIES = 8


def accept(event: LifecycleEvent, deps: Deps) -> tuple[Accepted, ...]:
    """Fold one event into the record of its user; a cut may be about several records. Return an empty tuple if no user is concerned.

    Raise `UnknownProfileError` for a profile that does not exist, and `KeyCollisionError` for a key that belongs to another
    user. Raise `ConflictError` if other processes keep changing a record. Also raise what `targets` raises.
    """
    if isinstance(event, Renamed):
        return _accept_renaming(event, deps)
    if isinstance(event, Joined | Moved) and event.profile:
        deps.policy.catalog.profile(event.profile)
    meant = targets(event, deps) if not is_foreign_cut(event, deps) else _known_targets(event, deps)
    accepted = [each for target in meant for each in _fold(event, target, deps)]
    if event.person_id and [target.user_key for target in meant] == [number_key(event.person_id)]:
        # No record had the number a moment ago. A record that got it meanwhile may lack this event, so fold it there too.
        accepted += [each for target in targets(event, deps) for each in _fold(event, target, deps)]
    return tuple(accepted)


def _known_targets(event: LifecycleEvent, deps: Deps) -> list[Target]:
    """Return the records that a guest's cut is about; empty if no record has the address. A guest's domain is not configured.

    A guest may have a record, for example if the domain was removed from the settings.
    """
    forms = (event.user, *event.also_known_as)
    if any(find(form, deps) is not None for form in forms):
        return targets(event, deps)
    deps.log.info("Ignored news of a guest", event_id=event.event_id, source=event.source)
    return []


def _fold(event: LifecycleEvent, target: Target, deps: Deps, *, alone: bool = False) -> list[Accepted]:
    """Fold the event into one record and, unless `alone`, into other records that the event concerns."""
    stored, changed = target.stored, False
    for attempt in range(_TRIES):
        now = deps.clock.now()
        if attempt:
            stored = load_mended(target.user_key, deps)
        before = stored.record if stored is not None else _begun(target, event, deps)
        folded = with_event(before, event, now, entitling=deps.policy.entitling_groups())
        if event.person_id and not is_cut(event) and before.facts.person_id(now) != event.person_id:
            folded = _with_number_news(folded, event.person_id, deps)
        _report_reused_ids(before, event, deps)
        if folded is before and stored is not None:
            deps.log.info("Ignored news that changed nothing", user=before.user_key, event_id=event.event_id)
            break
        joined = _joined(event, before, folded, stored, deps)
        if joined:
            return joined
        folded = with_same_person(with_urgency(folded, event), now)
        given_away = handed_over(folded, now)
        if given_away is not None:
            handed = _hand_over(folded, event, stored, deps)
            if handed is None:
                continue
            return handed
        wanted = with_wanted(with_news(folded, event, now), deps.policy, now)
        saved = save(due_soon(wanted, deps), stored, deps)
        if saved is not None:
            stored, changed = saved, True
            break
    else:
        raise lost_the_race(target.user_key)
    if stored is None:
        raise AssertionError("a record that was not there is a change")
    return [Accepted(stored=stored, changed=changed), *([] if alone else _concerned_too(event, stored, deps))]


def _begun(target: Target, event: LifecycleEvent, deps: Deps) -> UserRecord:
    made = new_record(target.email, deps.clock.now())
    if target.email:
        return made if made.user_key == target.user_key else replace(made, user_key=target.user_key)
    number = numbered(event)  # so that the record says which number it waits for
    return replace(made, user_key=target.user_key, facts=made.facts.with_statement(PERSON_ID, number))


def _report_reused_ids(before: UserRecord, event: LifecycleEvent, deps: Deps) -> None:
    """Log a sender fault if the event's id was used for another statement before; both statements count."""
    for name, statement in statements_of(event):
        if any(kept.reuses_id_of(statement) for kept in before.facts.timelines.get(name, ())):
            deps.log.warning(
                "Found a fault of a sender",
                source=event.source,
                fault="EventIdReused",
                users=[before.user_key],
                event_id=event.event_id,
            )
            return


def _with_number_news(record: UserRecord, person_id: str, deps: Deps) -> UserRecord:
    """Return the record with the statements about its person number that came before any record had the number.

    The number is stored first. A leave by number that arrives at the same moment either finds the number, or is found here.
    """
    key = number_key(person_id)
    if record.user_key == key:
        return record
    deps.persons.note(person_id, record.user_key)
    waiting = waiting_for_number(person_id, deps)
    if waiting is None:
        return record
    facts = record.facts.merged(waiting.record.facts, deps.clock.now() - HORIZON)
    return record if facts is record.facts else replace(record, facts=facts)


def _hand_over(record: UserRecord, event: LifecycleEvent, stored: Stored | None, deps: Deps) -> list[Accepted] | None:
    """Write the record of the address's new holder, then the old record, which leads to the new one.

    Return both; None if another process wrote first.

    The redelivery repairs a crash between the two writes, because the same split gives the same records. Raise `KeyCollisionError` if the
    new holder's key belongs to another user.
    """
    now = deps.clock.now()
    deleted = handed_over(record, now)
    if deleted is None:
        raise AssertionError("nothing was handed over")
    first = split(record, deleted, None, now)
    existing = load_mended(first.new.user_key, deps)
    if existing is not None and existing.record.predecessor != record.user_key:
        raise collision(first.new.user_key)
    halves = first if existing is None else split(record, deleted, existing.record, now)
    new = existing
    if existing is None or halves.new is not existing.record:
        told = with_wanted(with_news(halves.new, event, now), deps.policy, now)
        new = save(due_soon(told, deps), existing, deps)
    if new is None:
        return None
    old = save(due_soon(with_wanted(with_news(halves.old, event, now), deps.policy, now), deps), stored, deps)
    if old is None:
        return None
    deps.log.warning("Address was given to a new account", user=old.record.user_key, new=new.record.user_key)
    return [Accepted(stored=old, changed=True), Accepted(stored=new, changed=True)]


def _concerned_too(event: LifecycleEvent, stored: Stored, deps: Deps) -> list[Accepted]:
    """Apply the event to the change of address that waits for this record's address, if there is one. Return the records it reached.

    A cut is also folded into the record of the user who is to get the address. If both records have the same HR number by
    now, the change is confirmed, unless both own resources.
    """
    record = stored.record
    if record.claim is not None:
        owner = load_mended(record.claim.owner, deps)
        waits = owner.record.rename if owner is not None else None
        if owner is not None and waits is not None and record.is_known_as(waits.new_email):
            # This also holds if the new address has its own environment by now: until a decision, one user may have both.
            if is_cut(event):
                waiting = Target(user_key=owner.record.user_key, email=owner.record.email, stored=owner)
                return _fold(
                    event, waiting, deps, alone=True
                )  # if two users would swap addresses, each is the other's owner
            if owns_something(record) and owns_something(owner.record):
                return []  # a number cannot merge two environments; the notice asks
            number = owner.record.facts.person_id(deps.clock.now())
            if number and record.facts.person_id(deps.clock.now()) == number:
                change = confirmed(owner.record)
                return [] if change is None else list(_accept_renaming(change, deps))
    return []


def _joined(
    event: LifecycleEvent, before: UserRecord, folded: UserRecord, stored: Stored | None, deps: Deps
) -> list[Accepted]:
    """Merge the records of two holders of an address if the news shows that they are the same user. Return an empty list otherwise."""
    if stored is None:
        return []
    if before.predecessor is not None and not owns_something(before):
        joined = _join_again(event, folded, stored, deps)
        if joined:
            return joined
    return _join_later(event, folded, stored, deps) if before.handover is not None else []


def _join_again(event: LifecycleEvent, record: UserRecord, stored: Stored, deps: Deps) -> list[Accepted]:
    """Give the old environment back to a new account that belongs to the same user by HR's number. Return an empty list otherwise.

    `record` is the new account's record with the event folded in; it owns nothing yet.

    The old record is written first, then the new key becomes a pointer to it; the next message repairs a crash between the two.
    """
    old = load_mended(record.predecessor, deps) if record.predecessor is not None else None
    if old is None:
        return []
    now = deps.clock.now()
    joined = joined_again(old.record, record, now)
    if joined is None:
        return []
    saved = save(due_soon(with_wanted(with_news(joined, event, now), deps.policy, now), deps), old, deps)
    if saved is None or not _point(record.user_key, saved, stored, deps):
        raise lost_the_race(record.user_key)
    return [Accepted(stored=saved, changed=True)]


def _join_later(event: LifecycleEvent, record: UserRecord, stored: Stored, deps: Deps) -> list[Accepted]:
    """Merge two holders if late news gives the earlier holder the later holder's HR number. Return an empty list otherwise.

    `record` is the earlier holder's record with the event folded in. The record that owns resources stays, and the key of the other
    record becomes a pointer. If both own resources, nothing is merged, and a notice asks an administrator. The record that stays is written first, so that the
    redelivery repairs a crash.
    """
    new = load_mended(record.handover.to, deps) if record.handover is not None else None
    if new is None or new.record.handover is not None or new.record.predecessor not in {None, record.user_key}:
        return []
    now = deps.clock.now()
    joined = joined_again(record, replace(new.record, predecessor=record.user_key), now)
    if joined is None or (owns_something(new.record) and owns_something(record)):
        return []
    kept, gone, whole = (stored, new, joined)
    if owns_something(new.record):
        kept, gone, whole = (new, stored, with_earlier_holder(new.record, joined))
    saved = save(due_soon(with_wanted(with_news(whole, event, now), deps.policy, now), deps), kept, deps)
    if saved is None or not _point(gone.record.user_key, saved, gone, deps):
        raise lost_the_race(record.user_key)
    return [Accepted(stored=saved, changed=True)]


def _accept_renaming(event: Renamed, deps: Deps) -> tuple[Accepted, ...]:
    """Give the user's record the new address and make the other key a pointer to that record; or let the change wait for a confirmation.

    The record is written first, so that it has all statements made under the other address before the pointer replaces
    the other record. If the other key has a record, the user's record is written even if it is unchanged. Of two simultaneous
    renames that would make each key a pointer to the other, one then fails on the generation. The redelivery repairs a crash
    between the two writes.
    """
    changed = False
    for _ in range(_TRIES):
        now = deps.clock.now()
        old = find_or_free(event.user, deps, others=event.also_known_as)
        new = find_or_free(event.new_user, deps)
        asked = renaming(event, old.record if old else None, new.record if new else None, now)
        kept = next((s for s in (old, new) if s is not None and s.record is asked.before), None)
        replaced = next((s for s in (old, new) if s is not None and s.record is asked.replaced), None)
        if asked.claimed is not None:
            waiting = _wait(event, asked, kept, replaced, deps)
            if waiting is None:
                continue
            if waiting.changed:
                # A cut under the new address between the two writes did not find the waiting change: check again.
                changed = True
                continue
            return (replace(waiting, changed=changed),)
        if asked.record is not asked.before or replaced is not None:
            news = with_news(asked.record, event, now)
            kept = save(due_soon(with_wanted(news, deps.policy, now), deps), kept, deps)
            if kept is None:
                continue
            changed = True
        if kept is None:
            raise AssertionError("a record that was not there is a change")
        if asked.pointer is not None and not _point(asked.pointer, kept, replaced, deps):
            continue
        _log_renaming(event, asked, deps, changed=changed)
        return (Accepted(stored=kept, changed=changed),)
    raise lost_the_race(user_key_for(event.user))


def _wait(event: Renamed, asked: Renaming, kept: Stored | None, claimed: Stored | None, deps: Deps) -> Accepted | None:
    """Write both records of a waiting change of address, and return the accepted record of the owner.

    The new address's record is written first, so that a cut under the new address reaches the owner. Return None if another process wrote in between; the caller tries again.
    """
    now = deps.clock.now()
    if asked.claimed is None or kept is None:
        raise AssertionError("a change that waits has two sides")
    if claimed is None or asked.claimed is not claimed.record:
        side = with_wanted(with_news(asked.claimed, event, now), deps.policy, now)
        if save(due_soon(side, deps), claimed, deps) is None:
            return None
    if asked.record is asked.before:
        return Accepted(stored=kept, changed=False)
    saved = save(due_soon(with_wanted(with_news(asked.record, event, now), deps.policy, now), deps), kept, deps)
    if saved is None:
        return None
    deps.log.warning(
        "Left a change of address to administrators",
        user=saved.record.user_key,
        event_id=event.event_id,
        source=event.source,
    )
    return Accepted(stored=saved, changed=True)


def _point(user_key: UserKey, to: Stored, replaced: Stored | None, deps: Deps) -> bool:
    try:
        deps.records.point(user_key, to.record.user_key, expected=replaced)
    except ConflictError:
        return False
    return True


def _log_renaming(event: Renamed, asked: Renaming, deps: Deps, *, changed: bool) -> None:
    if not changed:
        deps.log.info("Ignored news that changed nothing", user=asked.record.user_key, event_id=event.event_id)
        return
    took_over = asked.replaced.user_key if asked.replaced is not None else ""
    deps.log.info("Changed a user's address", user=asked.record.user_key, event_id=event.event_id, took_over=took_over)
