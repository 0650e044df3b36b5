"""The update of a leaver's proof of leaving after each pass: which ways to access are proven closed, and since when. Pure.

The ways (`LeavingPath`) are the notebook's proxy, the VM, the account and its bindings, clusters, sessions, templates and
the page. A way counts as closed if an observation of the cloud shows that, or if the record shows that the user never had it.
For the page, the stored record must show that access has ended. The call that closed a way is no evidence, and a failed read
proves nothing. A way that is open again does not count as closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.domain.account.actions import DeleteAccount, DisableAccount, LeaveGroup, ShareAccount
from shared.domain.notebook.actions import DeleteInstance, StopInstance
from shared.domain.plan.plan import AccountSeen, Action, ClustersSeen, Observed, SparkSessionsSeen, TemplatesSeen
from shared.domain.reconcile.outcome import Failed, Outcome
from shared.domain.record.parts import Leaving, LeavingPath, PathCut, PathState
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.spark.actions import DeleteCluster, EndSession
from shared.domain.template.wanted import RemoveTemplate
from shared.domain.things.notebook import RESTING, Absent, NotebookSight, NotLooked, ObservedNotebook, Unreadable

_CUTS: dict[LeavingPath, tuple[type[Action], ...]] = {
    LeavingPath.PROXY: (StopInstance, DeleteInstance),
    LeavingPath.VM: (StopInstance, DeleteInstance),
    LeavingPath.ACCOUNT: (DisableAccount, DeleteAccount),
    LeavingPath.BINDINGS: (ShareAccount, LeaveGroup, DeleteAccount),
    LeavingPath.CLUSTERS: (DeleteCluster,),
    LeavingPath.SESSIONS: (EndSession,),
    LeavingPath.TEMPLATES: (RemoveTemplate,),
    LeavingPath.PAGE: (),
}
Look = tuple[PathState, str]
_GONE: Look = (PathState.GONE, "")
_THERE: Look = (PathState.THERE, "")
_NONE: Look = (PathState.NONE, "")
_NOT_LOOKED: Look = (PathState.NOT_LOOKED, "")


def with_leaving(
    loaded: UserRecord,
    after: UserRecord,
    seen: Observed,
    outcomes: Sequence[tuple[Action, Outcome]],
    now: datetime,
    *,
    poll: timedelta,
) -> UserRecord:
    """Return the record after a pass with its proof of leaving; without a proof if the user is entitled.

    `loaded` is the record as the pass read it. While a way was closed without an error but is not verified yet, the next pass
    comes after `poll` at the latest. A record without an address does not change.
    """
    known = after.status.leaving
    if not after.email:
        return after  # erased, or only a number: there is nobody to certify anything for
    if after.spec.presence is Presence.PRESENT:
        return after if known is None else after.with_status(leaving=None)
    since = known.since if known is not None else _since(loaded, after, now)
    paths = tuple(_path(path, known, _look(path, loaded, after, seen), outcomes, now) for path in LeavingPath)
    complete = all(path.is_verified for path in paths)
    first = known.complete_at if known is not None and known.complete_at is not None else now
    keys = seen.account.keys if isinstance(seen.account, AccountSeen) else None
    if keys is None and known is not None:
        keys = known.keys
    leaving = Leaving(since=since, paths=paths, complete_at=first if complete else None, keys=keys)
    after = after if leaving == known else after.with_status(leaving=leaving)
    if any(_is_to_be_seen(path) for path in paths):
        next_at = after.status.next_attempt_at
        soon = now + poll
        after = after.with_status(next_attempt_at=soon if next_at is None else min(next_at, soon))
    return after


def is_verified_gone(record: UserRecord) -> bool:
    """Return True if the proof of leaving is complete: each way to access was verified as closed."""
    return record.status.leaving is not None and record.status.leaving.complete_at is not None


def _since(loaded: UserRecord, after: UserRecord, now: datetime) -> datetime:
    """Return the time of the message that ended access. The `waiting_since` of an earlier joiner is not used."""
    waits = loaded if loaded.spec.presence is Presence.ABSENT else after
    return waits.status.waiting_since or after.spec.absent_since or now


def _is_to_be_seen(path: PathCut) -> bool:
    return path.cut_at is not None and not path.is_verified and not path.reason


def _path(
    path: LeavingPath,
    known: Leaving | None,
    look: Look,
    outcomes: Sequence[tuple[Action, Outcome]],
    now: datetime,
) -> PathCut:
    before = known.path(path) if known is not None else None
    state, reason = look
    cut_at = before.cut_at if before is not None else None
    gone_at = before.gone_at if before is not None else None
    if state is PathState.NOT_LOOKED:
        return before or PathCut(path=path, state=state)
    if state in {PathState.GONE, PathState.NONE}:
        return PathCut(path=path, state=state, cut_at=cut_at or now, gone_at=gone_at or now)
    if state is PathState.UNREADABLE:
        return PathCut(path=path, state=state, cut_at=cut_at, gone_at=None, reason=reason)
    if gone_at is not None:
        cut_at = None  # it is there again
    answers = [outcome for action, outcome in outcomes if isinstance(action, _CUTS[path])]
    failed = next((outcome.error.reason.value for outcome in answers if isinstance(outcome, Failed)), "")
    if path is LeavingPath.PAGE or (answers and not failed):
        cut_at = cut_at or now
    return PathCut(path=path, state=state, cut_at=cut_at, gone_at=None, reason=failed or reason)


def _look(path: LeavingPath, loaded: UserRecord, after: UserRecord, seen: Observed) -> Look:
    match path:
        case LeavingPath.PROXY:
            return _notebook(seen.notebook)
        case LeavingPath.VM:
            return _worst(_notebook(seen.notebook), _notebook(seen.former))
        case LeavingPath.ACCOUNT:
            return _account(seen)
        case LeavingPath.BINDINGS:
            return _bindings(loaded, after, seen)
        case LeavingPath.CLUSTERS:
            return _clusters(after, seen)
        case LeavingPath.SESSIONS:
            return _sessions(after, seen)
        case LeavingPath.TEMPLATES:
            return _templates(seen)
        case LeavingPath.PAGE:
            # The page reads the record: it is shut once the record, read again, says so.
            is_shut = loaded.spec.presence is Presence.ABSENT and loaded.status.leaving is not None
            return _GONE if is_shut else _THERE


def _worst(*looks: Look) -> Look:
    order = [PathState.UNREADABLE, PathState.THERE, PathState.NOT_LOOKED, PathState.GONE, PathState.NONE]
    return min(looks, key=lambda look: order.index(look[0]))


def _notebook(sight: NotebookSight) -> Look:
    match sight:
        case NotLooked():
            return _NONE  # the record names none
        case Absent():
            return _GONE
        case ObservedNotebook(state=state):
            return _GONE if state in RESTING else _THERE
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value


def _account(seen: Observed) -> Look:
    match seen.account:
        case NotLooked():
            return _NONE
        case Absent():
            return _GONE
        case AccountSeen(disabled=disabled):
            return _GONE if disabled else _THERE
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value


def _bindings(loaded: UserRecord, after: UserRecord, seen: Observed) -> Look:
    """Return the state of the account's bindings: its users, its groups, and its keys, which work only while it is enabled."""
    groups = set(loaded.status.account.data_groups) | set(after.status.account.data_groups)
    match seen.account:
        case NotLooked():
            return _NONE
        case Absent():
            return _THERE if after.status.account.data_groups else _GONE
        case AccountSeen() as account:
            if any(account.shared_with.values()) or any(account.in_groups.values()) or not account.disabled:
                return _THERE
            if not groups <= set(account.in_groups):
                return PathState.UNREADABLE, "Groups"
            if account.keys is None and not is_verified_gone(loaded):
                return PathState.UNREADABLE, "Keys"
            return _GONE
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value


def _clusters(after: UserRecord, seen: Observed) -> Look:
    match seen.clusters:
        case NotLooked():
            return _NONE if after.status.notebook.instance_id is None else _NOT_LOOKED
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value
        case ClustersSeen(clusters=clusters):
            removed = after.status.condition(ConditionType.CLUSTERS_REMOVED)
            if removed is not None and removed.status is ConditionStatus.TRUE and not clusters:
                return _GONE
            held = after.hold is not None or after.is_undecided
            return PathState.THERE, removed.reason.value if held and removed is not None else ""


def _sessions(after: UserRecord, seen: Observed) -> Look:
    ended = after.status.condition(ConditionType.SESSIONS_ENDED)
    is_over = ended is not None and ended.status is ConditionStatus.TRUE
    match seen.sessions:
        case NotLooked():
            if is_over:  # none was left once the notebook had stopped: nothing of this user can start one
                return _GONE
            return _NONE if after.status.notebook.instance_id is None else _NOT_LOOKED
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value
        case SparkSessionsSeen(sessions=sessions):
            return _GONE if is_over and not sessions else _THERE


def _templates(seen: Observed) -> Look:
    match seen.templates:
        case NotLooked():
            return _NOT_LOOKED
        case Unreadable(error=error):
            return PathState.UNREADABLE, error.reason.value
        case TemplatesSeen(digests=digests):
            return _THERE if digests else _GONE
