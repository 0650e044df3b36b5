"""The delivery of one message: fold its news into records, then reconcile the users concerned.

If a reconciliation fails after the news is saved in the records, the next tick repeats the reconciliation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from shared.domain.people.events import GroupChanged, LifecycleEvent, News, Woken
from shared.domain.people.groups import GroupEvent
from shared.domain.things.errors import (
    BenchkeeperError,
    DamagedRecordError,
    NewerRecordError,
    PoisonError,
    RetryableError,
)
from shared.domain.things.identity import UserKey
from shared.engine.news.fail_closed import fail_closed
from shared.engine.news.groups import accept_group_events
from shared.engine.news.intake import accept
from shared.engine.news.requests import try_take_up
from shared.engine.ports.deps import Deps
from shared.engine.ports.records import Stored
from shared.engine.reconcile.reconciler import reconcile
from shared.engine.reconcile.repair import load_mended


class Delivered(Struct, frozen=True, kw_only=True):
    """The result of a delivery: the keys of the users concerned, and the news that could not be used, each with its error."""

    users: tuple[UserKey, ...]
    refused: tuple[tuple[News, PoisonError], ...] = ()


def deliver_all(news: Sequence[News], deps: Deps, *, passes_now: bool = True) -> Delivered:
    """Fold all news of a message, then reconcile each user once, so that two pieces about one user are judged together.

    A piece that cannot be used, or cannot be written now, does not stop the other pieces. Raise an error, after all other
    work, if a piece could not be saved; the message is then delivered again. A pass that fails is only logged, because each
    changed record has a time for a pass, and the tick makes the failed pass again. News of a group changes no record: if a
    pass after it fails for now, the error is raised. An error is also raised for an unusable record,
    after a leaver's access was ended without the record. Without `passes_now` all passes are left to the tick; a sweep with
    news of hundreds of users needs that.
    """
    passes: dict[UserKey, Stored | None] = {}
    users: dict[UserKey, None] = {}
    refused: list[tuple[News, PoisonError]] = []
    failed: Exception | None = None
    of_groups = [piece for piece in news if isinstance(piece, GroupEvent)]
    try:
        if of_groups:
            passes.update(dict.fromkeys(accept_group_events(of_groups, deps)))
        elif any(_may_be_renamed(piece, deps) for piece in news):
            deps.books.current(fresh=True)
    except Exception as error:  # noqa: BLE001 - raised below, after the rest of the message
        failed = error
    judged_by_group = frozenset(passes)
    users |= dict.fromkeys(passes)
    for piece in news:
        if isinstance(piece, GroupEvent):
            continue
        try:
            for key, stored, is_due in _accepted(piece, deps):
                users[key] = None
                if is_due:
                    passes[key] = stored
        except PoisonError as error:
            refused.append((piece, error))
        except Exception as error:  # noqa: BLE001 - raised below, after the rest of the message
            failed = failed or error
    woken = {piece.user_key for piece in news if isinstance(piece, Woken)}
    if passes_now:
        after_group = _make_passes(passes, deps, woken=woken, by_group=judged_by_group)
        failed = failed or after_group
    if failed is not None:
        raise failed
    return Delivered(users=tuple(users), refused=tuple(refused))


def deliver(news: News, deps: Deps) -> UserKey | None:
    """Fold one piece of news and reconcile its user; return the user's key, or None if no user is concerned.

    Raise `PoisonError` if the news cannot be used.
    """
    delivered = deliver_all([news], deps)
    for _, error in delivered.refused:
        raise error
    return delivered.users[0] if delivered.users else None


def _accepted(piece: Woken | LifecycleEvent, deps: Deps) -> list[tuple[UserKey, Stored | None, bool]]:
    """Fold one piece of news. Return (user key, record as written or None, True if a pass is due) for each user concerned."""
    match piece:
        case Woken():
            wishes = try_take_up(piece.user_key, deps)
            return [(piece.user_key, wishes.stored if wishes is not None else None, True)]
        case _:
            return _folded(piece, deps)


def _may_be_renamed(piece: News, deps: Deps) -> bool:
    """Return True for news of a membership in a group without an assignment: the group may be an assigned one with a new address."""
    return isinstance(piece, GroupChanged) and deps.policy.catalog.assignment_for(piece.group) is None


def _folded(piece: LifecycleEvent, deps: Deps) -> list[tuple[UserKey, Stored | None, bool]]:
    try:
        accepted = accept(piece, deps)
    except (DamagedRecordError, NewerRecordError) as error:
        fail_closed(piece, error, deps)
        raise
    found: list[tuple[UserKey, Stored | None, bool]] = []
    for each in accepted:
        status = each.stored.record.status
        is_due = each.changed or status.observed_generation != status.generation
        found.append((each.stored.record.user_key, each.stored, is_due))
    return found


def _make_passes(
    passes: Mapping[UserKey, Stored | None], deps: Deps, *, woken: Collection[UserKey], by_group: Collection[UserKey]
) -> RetryableError | None:
    """Make a pass for each user. Return the first retryable failure of a pass that news of a group called for.

    News of a group writes no record, so no tick knows of such a user: the message must come again, and is judged again.
    """
    found: RetryableError | None = None
    for key, stored in passes.items():
        error = _try_pass(key, deps, stored=stored, if_missing=key in woken)
        if found is None and key in by_group and isinstance(error, RetryableError):
            found = error
    return found


def _try_pass(user_key: UserKey, deps: Deps, *, stored: Stored | None, if_missing: bool) -> BenchkeeperError | None:
    """Make a pass. Log a failure and leave it to the tick; return it if its kind is known.

    With `if_missing`, a missing record is restored if the bucket has older versions of it. A wake-up needs this, because a
    resource of a user without a record has changed.
    """
    try:
        if if_missing and stored is None:
            stored = load_mended(user_key, deps, if_missing=True)
            if stored is None:
                return None
        reconcile(user_key, deps, stored=stored)
    except BenchkeeperError as error:
        deps.log.warning("Pass failed after a message", user=user_key, reason=error.reason.value, detail=error.detail)
        return error
    except Exception as error:  # noqa: BLE001 - the intent is saved: the tick owns the retry, not Pub/Sub
        deps.log.error("Pass failed after a message", user=user_key, reason="Unexpected", detail=repr(error))
    return None
