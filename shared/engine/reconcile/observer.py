"""The observation of everything that one user's plan depends on, for passes and previews. Nothing is changed.

A failed read gives `Unreadable` or leaves a value unknown; it never gives `Absent`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from msgspec.structs import replace

from shared.domain.notebook.replacement import may_be_restore
from shared.domain.plan.plan import (
    AccountSight,
    ClustersSeen,
    Observed,
    OperationSight,
    SnapshotSight,
    SparkSessionsSeen,
    TemplatesSeen,
)
from shared.domain.reconcile.leaving import is_verified_gone
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType, Verb
from shared.domain.snapshot.copies import to_look_at
from shared.domain.spark.leaver import session_owner, sessions_to_look_for
from shared.domain.things.clusters import FAILED, ClusterOperationSeen
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import account_email
from shared.domain.things.notebook import (
    RESTING,
    Absent,
    InstanceRef,
    NotebookSight,
    NotebookState,
    NotLooked,
    ObservedNotebook,
    Unreadable,
)
from shared.domain.things.snapshots import Restoring
from shared.engine.ports.deps import Deps


def observe(record: UserRecord, deps: Deps, *, thorough: bool = False) -> Observed:
    """Return the observation of this user's resources now.

    With `thorough`, the copies that the record lists as READY are read, too.

    Normally costs at most two reads for a user with end-user credentials whose environment is ready or being created:
    the instance, and its operation or the templates. Other resources are read only if the record names them, or for a
    leaver.
    """
    notebook = _notebook(record, deps)
    clusters = _clusters(record, deps)
    former = record.status.notebook.former
    return Observed(
        notebook=notebook,
        operation=_operation(record, notebook, deps),
        templates=_templates(record, deps),
        former=NotLooked()
        if former is None
        else _get(InstanceRef(instance_id=former.instance_id, zone=former.zone), deps),
        account=_account(record, deps),
        snapshots=_snapshots(record, notebook, {}, deps, thorough=thorough),
        clusters=clusters,
        cluster_operations=_cluster_operations(record, clusters, deps),
        sessions=_sessions(record, deps),
    )


def with_snapshots_of(seen: Observed, record: UserRecord, deps: Deps) -> Observed:
    """Return the observation with the snapshots that a pass over this record would also read."""
    return replace(seen, snapshots=_snapshots(record, seen.notebook, seen.snapshots, deps, thorough=False))


def _snapshots(
    record: UserRecord, notebook: NotebookSight, known: Mapping[str, SnapshotSight], deps: Deps, *, thorough: bool
) -> dict[str, SnapshotSight]:
    names = to_look_at(record, notebook, deps.policy, deps.clock.now(), thorough=thorough)
    return {**known, **{name: _snapshot(name, deps) for name in names if name not in known}}


def _account(record: UserRecord, deps: Deps) -> AccountSight:
    account_id = record.status.account.account_id
    if account_id is None:
        return NotLooked()
    try:
        seen = deps.accounts.get(account_id, record.user_key)
    except BenchkeeperError as error:
        return Unreadable(error)
    if isinstance(seen, Absent):
        return seen
    groups = {}
    for group in record.status.account.data_groups:
        with contextlib.suppress(BenchkeeperError):  # unknown membership: joining again is safe
            groups[group] = deps.groups.has(group, account_email(account_id, deps.policy.project))
    keys = None
    if record.spec.presence is Presence.ABSENT and seen.disabled and not is_verified_gone(record):
        with contextlib.suppress(BenchkeeperError):  # then the certificate says that they could not be checked
            keys = deps.accounts.keys(account_id)
    return replace(seen, in_groups=groups, keys=keys)


def _snapshot(name: str, deps: Deps) -> SnapshotSight:
    try:
        return deps.snapshots.get(name)
    except BenchkeeperError as error:
        return Unreadable(error)


def _clusters(record: UserRecord, deps: Deps) -> ClustersSeen | Unreadable | NotLooked:
    if record.spec.presence is Presence.PRESENT:
        if not record.spec.clusters and not any(known.is_there for known in record.status.clusters):
            return NotLooked()
    elif record.status.notebook.instance_id is None:
        return NotLooked()
    try:
        return ClustersSeen(deps.clusters.of(record.user_key))
    except BenchkeeperError as error:
        return Unreadable(error)


def _sessions(record: UserRecord, deps: Deps) -> SparkSessionsSeen | Unreadable | NotLooked:
    """Return a leaver's running sessions, by one listing; `NotLooked` for all other users, and once no session is left."""
    if not sessions_to_look_for(record):
        return NotLooked()
    try:
        return SparkSessionsSeen(deps.live_sessions.of(session_owner(record, deps.policy.project)))
    except BenchkeeperError as error:
        return Unreadable(error)


def _cluster_operations(
    record: UserRecord, clusters: ClustersSeen | Unreadable | NotLooked, deps: Deps
) -> dict[str, ClusterOperationSeen | Absent | Unreadable]:
    """Return the create operations whose outcome the cluster itself does not show, because it is missing or failed."""
    if not isinstance(clusters, ClustersSeen):
        return {}
    works = {c.name for c in clusters.clusters if c.state not in FAILED}
    sights: dict[str, ClusterOperationSeen | Absent | Unreadable] = {}
    for known in record.status.clusters:
        if known.operation and known.name not in works and known.seen_running_at is None:
            try:
                sights[known.operation] = deps.clusters.operation(known.operation)
            except BenchkeeperError as error:
                sights[known.operation] = Unreadable(error)
    return sights


def _notebook(record: UserRecord, deps: Deps) -> NotebookSight:
    status = record.status
    if status.notebook.instance_id is None or status.notebook.zone is None:
        return NotLooked()
    return _get(InstanceRef(instance_id=status.notebook.instance_id, zone=status.notebook.zone), deps)


def _get(ref: InstanceRef, deps: Deps) -> NotebookSight:
    try:
        return deps.notebooks.get(ref)
    except BenchkeeperError as error:
        return Unreadable(error)


def _operation(record: UserRecord, notebook: NotebookSight, deps: Deps) -> OperationSight:
    ref = record.status.notebook.operation
    try:
        if ref is not None and not _is_over(ref.verb, notebook):
            return deps.notebooks.operation(ref)
        is_on_its_way = isinstance(notebook, ObservedNotebook) and notebook.state not in {
            NotebookState.ACTIVE,
            *RESTING,
        }
        if ref is None and isinstance(notebook, ObservedNotebook) and is_on_its_way:
            # An operation is under way that the record does not know: a crash came between the cloud's answer and the save.
            found = deps.notebooks.latest_operation(notebook.ref)
            return NotLooked() if found is None else deps.notebooks.operation(found)
        restoring = record.status.data.restoring
        if isinstance(notebook, ObservedNotebook) and not is_on_its_way and restoring is not None:
            return _restoring(restoring, notebook.ref, deps)
    except BenchkeeperError as error:
        return Unreadable(error)
    return NotLooked()


def _restoring(asked: Restoring, ref: InstanceRef, deps: Deps) -> OperationSight:
    """Return the restore operation that may have been started before a crash; `NotLooked` if there is none.

    The pass needs it because a second restore would undo the user's later work.
    """
    found = deps.notebooks.latest_operation(ref)
    if found is None or not may_be_restore(found, asked):
        return NotLooked()
    return deps.notebooks.operation(found)


def _is_over(verb: Verb, notebook: NotebookSight) -> bool:
    """Return True if the instance's own state shows that the operation succeeded, so that reading the operation is unnecessary."""
    match verb, notebook:
        case ((Verb.CREATE | Verb.START), ObservedNotebook(state=NotebookState.ACTIVE)):
            return True
        case Verb.STOP, ObservedNotebook(state=state):
            return state in RESTING
        case Verb.DELETE, Absent():
            return True
        case _:
            return False


def _templates(record: UserRecord, deps: Deps) -> TemplatesSeen | Unreadable | NotLooked:
    status = record.status
    if _waits_for_the_cloud(record):
        return NotLooked()
    if record.spec.presence is Presence.PRESENT and not status.observed_generation and not status.tries:
        # For a new user nothing is listed: all templates are written, over existing ones too, and the next pass lists.
        return TemplatesSeen({})
    try:
        return deps.templates.seen(record.user_key)
    except BenchkeeperError as error:
        return Unreadable(error)


def _waits_for_the_cloud(record: UserRecord) -> bool:
    """Return True if this pass only polls an operation. The templates need no listing then, because they are known to be in order."""
    status = record.status
    ready = status.condition(ConditionType.TEMPLATES_READY)
    return (
        record.spec.presence is Presence.PRESENT
        and status.notebook.operation is not None
        and status.observed_generation == status.generation
        and ready is not None
        and ready.status is ConditionStatus.TRUE
    )
