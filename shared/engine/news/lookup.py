"""The lookup of records by address, person number or news, across renames, handed-over addresses and older forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from msgspec import Struct

from shared.domain.intent.handover import holder_since
from shared.domain.people.events import Left, LifecycleEvent, is_cut
from shared.domain.people.sources import DIRECTORY
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import PermanentError, PoisonError, Reason, UnsupportedMessageError
from shared.domain.things.identity import UserEmail, UserKey, user_key_for
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.repair import load_mended

_MAX_HOLDERS = 20


class KeyCollisionError(PoisonError):
    """The error for two addresses with the same user key. The record under the key belongs to one of them; an administrator must decide."""

    reason = Reason.KEY_COLLISION


class Target(Struct, frozen=True, kw_only=True):
    """A record that news is about. If `stored` is None, there is no record yet, and `email` is the address it will have.

    `email` is empty for the record that keeps statements about a person number until a user has the number.
    """

    user_key: UserKey
    email: UserEmail
    stored: Stored | None


def find(email: UserEmail, deps: Deps, *, others: Iterable[UserEmail] = ()) -> Stored | None:
    """Return the record of the address's current holder; None if there is no record under the address or a form in `others`."""
    for form in dict.fromkeys([email, *others]):
        stored = _load(form, deps)
        if stored is not None:
            return _holders(stored, deps)[-1]
    return None


def find_or_free(email: UserEmail, deps: Deps, *, others: Iterable[UserEmail] = ()) -> Stored | None:
    """Return what `find` returns; None means that the address's key is free. Raise `KeyCollisionError` if the key belongs to another user."""
    found = find(email, deps, others=others)
    if found is None and load_mended(user_key_for(email), deps, if_missing=True) is not None:
        raise collision(user_key_for(email))
    return found


def collision(user_key: UserKey) -> KeyCollisionError:
    """Return the error for a key whose record belongs to another user."""
    return KeyCollisionError(
        user_message="The address has the same user key as another user's address. Nothing was done for either address; an administrator must "
        "look: benchkeeper names ADDRESS.",
        detail=f"key {user_key} is another person's",
    )


def targets(event: LifecycleEvent, deps: Deps) -> list[Target]:
    """Return the records that news is about: one record for a grant; for a cut, every record under which the user may be known.

    Raise `KeyCollisionError` if the only record under the key belongs to another user. Raise `UnsupportedMessageError` for
    an unknown leaver of a domain that is not configured.
    """
    if not event.user:
        return _by_number(event, deps)
    cuts = is_cut(event)
    found: dict[UserKey, Target] = {}
    collided: list[UserEmail] = []
    free: list[UserEmail] = []
    for form in dict.fromkeys([event.user, *event.also_known_as]):
        stored = load_mended(user_key_for(form), deps, if_missing=True)
        if stored is None:
            free.append(form)
            continue
        if not stored.record.is_known_as(form):
            collided.append(form)
            continue
        for meant in _meant(event, stored, deps):
            found[meant.record.user_key] = Target(
                user_key=meant.record.user_key, email=meant.record.email, stored=meant
            )
        if not cuts:
            break
    if found:
        if isinstance(event, Left) and event.person_id:
            _check_number(event, list(found.values()), deps)
        return list(found.values())
    if isinstance(event, Left) and event.person_id:
        by_number = [t for t in _by_number(event, deps) if t.stored is not None]
        if by_number:
            return by_number
    if collided or not free:
        raise collision(user_key_for(collided[0] if collided else event.user))
    return [_first(event, free, deps)]


def _first(event: LifecycleEvent, free: list[UserEmail], deps: Deps) -> Target:
    """Return the target for a record that does not exist yet. A cut of a tagged address is about the address without the tag.

    Raise `UnsupportedMessageError` for a cut in a domain that is not configured.
    """
    email = event.user
    if is_cut(event):
        tagless = [form for form in free if "+" not in form.rpartition("@")[0]]
        email = tagless[0] if tagless else free[0]
        domain = email.rpartition("@")[2]
        if not deps.policy.people.knows_domain(domain):
            raise UnsupportedMessageError(
                user_message=f"No user of {domain} is known, and people of that domain cannot get access.",
                detail=f"a cut of an unknown person of {domain}",
            )
    return Target(user_key=user_key_for(email), email=email, stored=None)


def is_foreign_cut(event: LifecycleEvent, deps: Deps) -> bool:
    """Return True for a cut that the directory states about a guest: a user of a domain that is not configured."""
    domain = event.user.rpartition("@")[2]
    return is_cut(event) and event.source == DIRECTORY and not deps.policy.people.knows_domain(domain)


def _meant(event: LifecycleEvent, stored: Stored, deps: Deps) -> list[Stored]:
    """Return the holders of an address whom the news is about, by the time of the news.

    A leave that was published after the handover of the address is about the new holder. If its date lies before the handover, it is
    folded into both records; the old holder has no access any more.
    """
    holders = _holders(stored, deps)
    for index, holder in enumerate(holders):
        handover = holder.record.handover
        if handover is None or event.occurred_at <= handover.at:
            return [holder, *_later_holders(event, holders[index:])]
    return [holders[-1]]


def _later_holders(event: LifecycleEvent, holders: list[Stored]) -> Iterator[Stored]:
    """Yield the later holders whom a leave may be about: holders whose account existed when the leave was published."""
    for earlier, holder in pairwise(holders):
        handover, published = earlier.record.handover, event.published_at
        if not isinstance(event, Left) or handover is None or published is None:
            return
        if published <= holder_since(holder.record.facts, handover.at):
            return
        yield holder


def _holders(stored: Stored, deps: Deps) -> list[Stored]:
    """Return the successive holders of an address, beginning with this record. Raise `PermanentError` if a holder's record is missing."""
    holders = [stored]
    while (handover := holders[-1].record.handover) is not None and len(holders) < _MAX_HOLDERS:
        following = load_mended(handover.to, deps, if_missing=True)
        if following is None:
            raise PermanentError(
                user_message="The address of this person was given to a new account whose record is missing. An administrator must "
                "restore it.",
                detail=f"{holders[-1].record.user_key} leads to {handover.to}, which is not there",
            )
        holders.append(following)
    return holders


def _load(email: UserEmail, deps: Deps) -> Stored | None:
    """Return the record under the address's key; None if there is none, or if the record belongs to another address."""
    stored = load_mended(user_key_for(email), deps, if_missing=True)
    return stored if stored is not None and stored.record.is_known_as(email) else None


def number_key(person_id: str) -> UserKey:
    """Return the key of the record that keeps statements about a person number until a user has the number."""
    return user_key_for(UserEmail(f"#{person_id}"))


def _by_number(event: LifecycleEvent, deps: Deps) -> list[Target]:
    """Return the records with this person number, or else the record that keeps statements about the number until a user has it.

    A record that has another number by now counts only if no other record has this number, which may have been reassigned.
    """
    found: list[Target] = []
    for key in deps.persons.known(event.person_id):
        stored = load_mended(key, deps)
        if stored is not None and _has_number(stored.record, event.person_id):
            found.append(Target(user_key=stored.record.user_key, email=stored.record.email, stored=stored))
    if found:
        return [target for target in found if not _has_another(target, event.person_id, deps)] or found
    key = number_key(event.person_id)
    return [Target(user_key=key, email=UserEmail(""), stored=waiting_for_number(event.person_id, deps))]


def waiting_for_number(person_id: str, deps: Deps) -> Stored | None:
    """Return the record that keeps statements about a number; None if there is none.

    Raise `KeyCollisionError` if that key belongs to a user's record.
    """
    stored = load_mended(number_key(person_id), deps)
    if stored is not None and (stored.record.email or not _has_number(stored.record, person_id)):
        raise collision(stored.record.user_key)
    return stored


def _has_number(record: UserRecord, person_id: str) -> bool:
    return any(s.value == person_id for s in record.facts.timelines.get("person_id", ()))


def _has_another(target: Target, person_id: str, deps: Deps) -> bool:
    return target.stored is not None and _number(target.stored.record, deps) not in {"", person_id}


def _check_number(event: LifecycleEvent, found: list[Target], deps: Deps) -> None:
    """Log a sender fault if a leaver's address and number belong to different users; the address takes precedence."""
    numbers = {
        number for target in found if target.stored is not None and (number := _number(target.stored.record, deps))
    }
    if numbers and event.person_id not in numbers:
        deps.log.warning(
            "Found a fault of a sender",
            source=event.source,
            fault="AddressAndNumberDiffer",
            users=[t.user_key for t in found],
        )


def _number(record: UserRecord, deps: Deps) -> str:
    return record.facts.person_id(deps.clock.now())
