"""The preview of an administrator's action: the plan before it and after it. Called by the page and the command line; reads only."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from shared.domain.intent.wanted import with_wanted
from shared.domain.plan.plan import Plan
from shared.domain.reconcile.planner import make_plan
from shared.domain.record.record import UserRecord
from shared.domain.things.errors import RefusedError
from shared.domain.things.identity import UserKey
from shared.engine.ports.deps import Deps
from shared.engine.reconcile.observer import with_snapshots_of
from shared.engine.reconcile.reconciler import Preview, preview

Change = Callable[[UserRecord], UserRecord]


class Foreseen(Struct, frozen=True, kw_only=True):
    """The plan now, and the plan after the action. `after` is None if the action is refused; `refused` is the reason.

    `changes` is False if the action would not change the wanted state.
    """

    found: Preview
    after: Plan | None
    changes: bool
    refused: str = ""


def preview_after(user_key: UserKey, change: Change, deps: Deps) -> Foreseen | None:
    """Return the present plan, and the plan after `change` was applied to the record. Reads only. Return None if there is no record.

    The cloud is observed once for both plans; only snapshots are read again. Resources that only the changed record
    names, such as a new account, are not observed, so the real plan may have one more step.
    """
    found = preview(user_key, deps)
    if found is None:
        return None
    now = deps.clock.now()
    current = with_wanted(found.record, deps.policy, now)
    try:
        changed = change(current)
    except RefusedError as error:
        return Foreseen(found=found, after=None, changes=False, refused=error.user_message)
    plan = make_plan(changed, with_snapshots_of(found.observed, changed, deps), deps.policy, now)
    return Foreseen(found=found, after=plan, changes=changed is not current)
