"""What an act of an administrator would do, before anybody does it."""

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
from shared.engine.reconcile.reconciler import Preview, preview

Change = Callable[[UserRecord], UserRecord]


class Foreseen(Struct, frozen=True, kw_only=True):
    """The plan as it is, and as it would be after the act. `after` None: the act is refused, and `refused` says why.

    `changes` False: that is wanted already, so the act would do nothing.
    """

    found: Preview
    after: Plan | None
    changes: bool
    refused: str = ""


def preview_after(user_key: UserKey, change: Change, deps: Deps) -> Foreseen | None:
    """Return what `change` of the record would lead to, by what is seen now. Reads only; None: no record.

    The cloud is looked at once, for both plans. What only the changed record would look at (an account that is not named yet) is
    not seen, so the plan after may hold a step more in truth.
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
    plan = make_plan(changed, found.observed, deps.policy, now)
    return Foreseen(found=found, after=plan, changes=changed is not current)
