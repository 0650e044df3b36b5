"""One piece of news, start to end: fold it, then reconcile the person. After the fold is saved, nothing is lost any more."""

from __future__ import annotations

from shared.domain.errors import BenchkeeperError, DamagedRecordError, NewerRecordError
from shared.domain.events import LifecycleEvent, Woken
from shared.domain.identity import UserKey
from shared.engine.fail_closed import fail_closed
from shared.engine.intake import accept
from shared.engine.ports import Deps, Stored
from shared.engine.reconciler import reconcile
from shared.engine.repair import load_mended


def deliver(news: LifecycleEvent | Woken, deps: Deps) -> UserKey:
    """Accept and reconcile; returns whose news it was: the key of the record, which an address that changed leads to.

    Raises only while the intent is not durable yet. A pass that fails after that is logged and left to the tick, which finds
    the wake-up that was saved with the intent. A record that cannot be used raises too, after the access of a leaver was ended
    without it.
    """
    if isinstance(news, Woken):
        _try_pass(news.user_key, deps, if_missing=True)  # something of that name moved, so there may have been a record
        return news.user_key
    try:
        accepted = accept(news, deps)
    except (DamagedRecordError, NewerRecordError) as error:
        fail_closed(news, error, deps)
        raise
    record = accepted.stored.record
    if accepted.changed or record.status.observed_generation != record.status.generation:
        _try_pass(record.user_key, deps, stored=accepted.stored)
    return record.user_key


def _try_pass(user_key: UserKey, deps: Deps, *, stored: Stored | None = None, if_missing: bool = False) -> None:
    try:
        if if_missing:
            stored = load_mended(user_key, deps, if_missing=True)
            if stored is None:
                return
        reconcile(user_key, deps, stored=stored)
    except BenchkeeperError as error:
        deps.log.warning("Left to the tick", user=user_key, reason=error.reason.value, detail=error.detail)
    except Exception as error:  # noqa: BLE001 - the intent is saved: the tick owns the retry, not Pub/Sub
        deps.log.error("Left to the tick", user=user_key, reason="Unexpected", detail=repr(error))
