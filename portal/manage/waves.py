"""The progress of a rollout in waves, for `/manage/changes`, and a halted rollout as a kind of change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from portal.deps import current
from portal.manage.changes_meaning import Change, Seen, Unread, takes_effect_at
from portal.manage.changes_view import missing
from portal.manage.policy_changes import Row
from shared.domain.intent.decision import About
from shared.domain.policy.policy_change import PolicyInForce
from shared.domain.record.record import RecordRow
from shared.domain.record.waves import Counts, Rollout, RolloutState, Standing
from shared.domain.things.errors import BenchkeeperError
from shared.engine.decisions.decisions import author_of
from shared.engine.decisions.waves import halted

TITLE = "A change of notebooks has halted: too many were not ready in time"


class Wave(Struct, frozen=True, kw_only=True):
    """A wave of a rollout: `people` is the number of users up to and including this wave; `stands` is its state: `past`, `now` or `later`."""

    number: int
    people: int
    stands: str


class Progress(Struct, frozen=True, kw_only=True):
    """The progress of a rollout: `since` is the start of its present wave, `of` the number of all its users.

    `counts` are from the last drift sweep.
    """

    state: str
    since: datetime
    counts: Counts
    of: int
    waves: tuple[Wave, ...]


def progress() -> Progress | None:
    """Return the rollout under way; None if there is none, or if the policy cannot be read.

    The process caches the policy for up to a minute.
    """
    try:
        rollout = current().deps.engine.policy.rollout
    except BenchkeeperError:
        return None  # another part of the page reports that the policy cannot be read
    if rollout is None or rollout.state is RolloutState.DONE:
        return None
    waves = tuple(
        Wave(number=n + 1, people=size, stands="past" if n < rollout.wave else "now" if n == rollout.wave else "later")
        for n, size in enumerate(rollout.sizes)
    )
    return Progress(
        state=rollout.state.value, since=rollout.opened_at, counts=rollout.counts, of=rollout.sizes[-1], waves=waves
    )


def rollouts(found: Seen) -> list[Change]:
    """Return a list with the halted rollout; an empty list if none is halted. A failed read is noted in `unread`."""
    try:
        if current().deps.engine.policy.rollout is None:
            return []  # without a rollout nothing needs to be read
        stopped = halted(current().deps.engine)
        return [] if stopped is None else [_of(*stopped, found)]
    except BenchkeeperError as error:
        missing(found, Unread.POLICIES, error)
        return []


def rollout_of(digest: str, found: Seen) -> Change | None:
    """Return the halted rollout if it has that digest, else None."""
    return next((change for change in rollouts(found) if change.digest == digest), None)


def _of(policy: PolicyInForce, rollout: Rollout, found: Seen) -> Change:
    votes = tuple(found.votes.get(rollout.decided_by, ()))
    guard = current().deps.engine.policy.guard
    rows = tuple(_rows(rollout))
    return Change(
        about=About.WAVES,
        digest=rollout.decided_by,
        title=TITLE,
        cause="Rollout",
        source="",
        author=policy.by,
        entries=rows,
        still=len(rows) or None,
        undone=0,
        since=rollout.opened_at,
        patience_ends=None,
        votes=votes,
        approving=_approving(rollout),
        rejecting=_rejecting(rollout),
        is_kept=True,
        takes_effect_at=takes_effect_at(votes, guard, author_is_known=bool(policy.by)),
        concerned=author_of(policy),
    )


def _rows(rollout: Rollout) -> list[Row]:
    """Return the users whose turn has begun and not ended, according to the fleet index of the last sweep.

    Users who wait for a machine that Google does not have now are left out.
    """
    fleet = current().deps.engine.fleet.fleet()
    found = [row for row in (fleet.rows if fleet is not None else ()) if _is_open(row, rollout)]
    return [Row(user_key=row.user_key, steps=(Standing.FAILED,)) for row in found]


def _is_open(row: RecordRow, rollout: Rollout) -> bool:
    turn = row.turn
    return turn is not None and turn.rollout == rollout.rollout_id and turn.ended_at is None and not turn.sold_out


def _approving(rollout: Rollout) -> tuple[str, ...]:
    left = rollout.sizes[-1] - rollout.counts.verified
    return (
        f"The change continues in the same waves: {left:,} of {rollout.sizes[-1]:,} people do not have it yet.",
        "Notebooks that failed so far are tried again and counted from zero; the change halts again if too many fail.",
    )


def _rejecting(rollout: Rollout) -> tuple[str, ...]:
    changed = rollout.counts.verified
    back = f"{changed:,} {'person who has' if changed == 1 else 'people who have'} the new notebook already"
    return (
        "The whole previous configuration is put in force again.",
        f"{back} {'gets' if changed == 1 else 'get'} back the previous one, with the files.",
        "The deployed files are not proposed again until they change.",
    )


COUNTED: Mapping[str, str] = {
    "verified": "ready and verified",
    "under_way": "under way",
    "failed": "not ready in time",
    "waits": "wait until the notebook is stopped",
    "sold_out": "wait for a machine that Google does not have now",
}
