"""A waiting configuration as a kind of change on the page: its effect on each user, and the effect of either verdict."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from portal.deps import current
from portal.manage.changes_meaning import Change, Seen, Unread, takes_effect_at
from portal.manage.changes_view import missing
from shared.domain.intent.decision import About
from shared.domain.policy.effect import StepKind
from shared.domain.policy.policy_change import Proposal
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey
from shared.engine.decisions import policy_change
from shared.engine.decisions.decisions import concerned_by

TITLE = "The deployed configuration affects many people"
STEPS: Mapping[StepKind, tuple[str, str]] = {
    StepKind.LOSES_ACCESS: ("{} person loses access", "{} people lose access"),
    StepKind.GAINS_ACCESS: ("{} person is given an environment", "{} people are given an environment"),
    StepKind.CHANGES_PROFILE: ("{} person gets another profile", "{} people get another profile"),
    StepKind.REPLACED: ("{} notebook is replaced, with its files", "{} notebooks are replaced, with their files"),
    StepKind.UPDATED: ("{} notebook is stopped and changed", "{} notebooks are stopped and changed"),
    StepKind.PATCHED: ("{} notebook is changed while it runs", "{} notebooks are changed while they run"),
    StepKind.DISK: ("{} person gets another disk", "{} people get another disk"),
    StepKind.TEMPLATES: ("the Spark templates of {} person change", "the Spark templates of {} people change"),
    StepKind.CLUSTERS_END: ("the Spark clusters of {} person are deleted", "the Spark clusters of {} people are deleted"),
    StepKind.DATA_ROLES: ("{} person reads data through another group", "{} people read data through another group"),
    StepKind.IDLE_SOONER: ("{} notebook counts as idle sooner", "{} notebooks count as idle sooner"),
    StepKind.DELETED_SOONER: ("{} leaver's notebook is deleted sooner", "{} leavers' notebooks are deleted sooner"),
    StepKind.DATA_DELETED_SOONER: ("{} leaver's files are deleted sooner", "{} leavers' files are deleted sooner"),
}  # fmt: skip


class Row(Struct, frozen=True, kw_only=True):
    """A user on a list, with the effects of a configuration on the user, or with the user's state in a rollout."""

    user_key: UserKey
    steps: tuple[StrEnum, ...]
    ref: str = ""


def policies(found: Seen) -> list[Change]:
    """Return all waiting configurations, oldest first. A failed read is noted in `unread` and gives an empty list."""
    try:
        waiting = policy_change.waiting(current().deps.engine)
    except BenchkeeperError as error:
        missing(found, Unread.POLICIES, error)
        return []
    return [_of(proposal, found) for proposal in waiting]


def policy_of(digest: str, found: Seen) -> Change | None:
    """Return the waiting configuration of this digest, or None."""
    return next((change for change in policies(found) if change.digest == digest), None)


def _of(proposal: Proposal, found: Seen) -> Change:
    votes = tuple(found.votes.get(proposal.decided_by, ()))
    guard = current().deps.engine.policy.guard
    rows = tuple(Row(user_key=each.user_key, steps=each.steps) for each in proposal.impact.entries)
    return Change(
        about=About.POLICY,
        digest=proposal.decided_by,
        title=TITLE,
        cause="Configuration",
        source="",
        author=proposal.author,
        entries=rows,
        still=len(rows),
        undone=0,
        since=proposal.at,
        patience_ends=None,
        votes=votes,
        approving=_approving(proposal),
        rejecting=(
            "The configuration in force stays, for everybody.",
            "The deployed files are not proposed again until they change.",
        ),
        is_kept=True,
        takes_effect_at=takes_effect_at(votes, guard, author_is_known=bool(proposal.author)),
        concerned=concerned_by(proposal),
    )


def _approving(proposal: Proposal) -> tuple[str, ...]:
    impact = proposal.impact
    lines = [
        words[count != 1].format(f"{count:,}") for kind, words in STEPS.items() if (count := impact.counts.get(kind, 0))
    ]
    if impact.interrupts:
        lines.append(f"{impact.interrupts:,} of these notebooks {'runs' if impact.interrupts == 1 else 'run'} now")
    before, after, unknown = impact.cost()
    if before != after:
        currency = current().deps.currency
        lines.append(
            f"for these people, a month costs about {after:,.0f} {currency} instead of {before:,.0f} {currency}, by hourly prices"
            + (f"; for {unknown:,} of them it is not known" if unknown else "")
        )
    return tuple(f"{line[0].upper()}{line[1:]}." for line in lines)
