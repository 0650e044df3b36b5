"""One piece of news, start to end: fold it, then reconcile the person. After the fold is saved, nothing is lost any more."""

from __future__ import annotations

from shared.domain.errors import BenchkeeperError
from shared.domain.events import LifecycleEvent, Woken
from shared.domain.identity import UserKey
from shared.engine.intake import accept
from shared.engine.ports import Deps, Stored
from shared.engine.reconciler import reconcile
from shared.engine.wishes import try_take_up


def deliver(news: LifecycleEvent | Woken, deps: Deps) -> UserKey:
    """Accept and reconcile; returns whose news it was: the key of the record, which an address that changed leads to.

    Raises only while the intent is not durable yet. A pass that fails after that is logged and left to the tick, which finds
    the wake-up that was saved with the intent.
    """
    if isinstance(news, Woken):
        accepted_wishes = try_take_up(news.user_key, deps)
        _try_pass(news.user_key, deps, stored=accepted_wishes.stored if accepted_wishes is not None else None)
        return news.user_key
    accepted = accept(news, deps)
    record = accepted.stored.record
    if accepted.changed or record.status.observed_generation != record.status.generation:
        _try_pass(record.user_key, deps, stored=accepted.stored)
    return record.user_key


def _try_pass(user_key: UserKey, deps: Deps, *, stored: Stored | None = None) -> None:
    try:
        reconcile(user_key, deps, stored=stored)
    except BenchkeeperError as error:
        deps.log.warning("Left to the tick", user=user_key, reason=error.reason.value, detail=error.detail)
    except Exception as error:  # noqa: BLE001 - the intent is saved: the tick owns the retry, not Pub/Sub
        deps.log.error("Left to the tick", user=user_key, reason="Unexpected", detail=repr(error))
