"""What an act of an administrator would do before anybody does it, and the one act that is no wish: look again now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.domain.errors import RefusedError
from shared.domain.identity import UserKey
from shared.domain.plan import Plan
from shared.domain.planner import make_plan
from shared.domain.record import UserRecord
from shared.domain.story import StoryKind, StoryLine, told
from shared.domain.wanted import with_wanted
from shared.engine.intake import Accepted, change_record
from shared.engine.ports import Deps
from shared.engine.reconciler import Preview, preview

Change = Callable[[UserRecord], UserRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """The plan as it is, and as it would be after the act. `after` None: the act is refused, and `refused` says why.

    `changes` False: that is wanted already, so the act would do nothing.
    """

    found: Preview
    after: Plan | None
    changes: bool
    refused: str = ""


def preview_after(user_key: UserKey, change: Change, deps: Deps) -> Foreseen | None:
    """What `change` of the record would lead to, by what is seen now. Reads only; None: no record.

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


def look_again(user_key: UserKey, deps: Deps, *, by: UserKey) -> Accepted | None:
    """Ask for a pass now, and say in the story who did. None: no record. A pass follows even if nobody can be woken."""

    def asked(record: UserRecord) -> UserRecord:
        because = "asked for by the person" if by == record.user_key else f"asked for by {by}"
        line = StoryLine(at=deps.clock.now(), kind=StoryKind.WISH, text="Look again now", because=because)
        return record.with_status(story=told(record.status.story, [line]))

    accepted = change_record(user_key, asked, deps, wakes=True)
    if accepted is not None:
        deps.log.info("Asked to look again", user=accepted.stored.record.user_key, by=by)
    return accepted
