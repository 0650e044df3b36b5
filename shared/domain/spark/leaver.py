"""The steps for a leaver's Spark clusters and serverless interactive sessions. Pure.

All clusters are deleted, including those that the list does not show yet. A hold keeps them, and so does a missing decision
about the end of access. All sessions are ended, and
the search is repeated until none is left.

The product does not request sessions: a user who may use a session template starts a session from a notebook or with gcloud,
with the user's own identity. Sessions are therefore listed only once the user leaves. Ending a session keeps its history in
Dataproc and destroys no data, so sessions are ended even during a hold.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.plan.plan import ClustersSeen, SparkSessionsSeen
from shared.domain.plan.step import Scene, Step, unreadable
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, ConditionType
from shared.domain.spark.actions import DeleteCluster, EndSession
from shared.domain.things.clusters import USABLE, Cluster, ClusterState, ClusterStatus
from shared.domain.things.errors import Reason
from shared.domain.things.identity import account_email
from shared.domain.things.notebook import RESTING, Absent, NotebookSight, NotLooked, ObservedNotebook, Unreadable
from shared.domain.things.power import cluster_usage, with_running

# A create that the list does not show yet, or a missing operation: after this time the cluster counts as gone.
LAG = timedelta(minutes=10)


def may_come(known: ClusterStatus, scene: Scene) -> bool:
    """Return True while a requested cluster may still appear although it was not observed.

    This holds while the create is still running, and while its operation could not be read, because unknown does not mean
    finished. It also holds for ten minutes after the request, unless the create is known to have failed.
    """
    if known.asked_at is None or known.seen_running_at is not None or known.deleting:
        return False
    sight = scene.seen.cluster_operations.get(known.operation, Absent())
    if isinstance(sight, Unreadable) or (not isinstance(sight, Absent) and not sight.done):
        return True
    failed = not isinstance(sight, Absent) and sight.error is not None
    return not failed and scene.now - known.asked_at <= LAG


def leaver_step(record: UserRecord, seen: ClustersSeen, scene: Scene) -> Step:
    """Return the step that deletes all clusters, unless a hold keeps them, or the end of access is not approved yet.

    A cluster that is being created stays in the record until it is gone, in case the user returns.
    """
    record, coming = _remembered(record, seen, scene)
    count = len(seen.clusters) + coming
    if not count:
        return Step(
            record=record,
            condition=ConditionStatus.TRUE,
            reason=Reason.REMOVED,
            message="This person has no Spark clusters.",
        )
    number = f"{count} Spark cluster{'s' if count > 1 else ''}"
    if record.is_undecided:
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.WAITING,
            message=f"{number} kept until an administrator approves the end of access; their own idle timeout may still end them.",
            requeue_after=timedelta(hours=6),
        )
    if record.hold is not None:
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.ON_HOLD,
            message=f"{number} kept on hold; their own idle timeout may still end them.",
            requeue_after=timedelta(hours=6),
        )
    actions = tuple(DeleteCluster(name=c.name) for c in seen.clusters if c.state is not ClusterState.DELETING)
    return Step(
        record=record,
        actions=actions,
        condition=ConditionStatus.FALSE,
        reason=Reason.DELETING,
        message=f"{number} being deleted.",
        requeue_after=scene.policy.poll,
        because=(f"Access has ended: {number} to delete.",) if actions else (),
    )


def _remembered(record: UserRecord, seen: ClustersSeen, scene: Scene) -> tuple[UserRecord, int]:
    """Return the record with the clusters that exist or may appear, and the number of those that were not observed."""
    by_name = {cluster.name: cluster for cluster in seen.clusters}
    usage, kept, coming = record.status.usage, [], 0
    for known in record.status.clusters:
        cluster = by_name.get(known.name)
        runs = cluster is not None and cluster.state in USABLE
        usage = with_running(usage, cluster_usage(known.template), scene.now, runs=runs)
        if cluster is not None:
            kept.append(_as_seen(known, cluster, record, scene))
        elif may_come(known, scene):
            kept.append(known)
            coming += 1
    return record.with_status(clusters=tuple(kept), usage=usage), coming


def _as_seen(known: ClusterStatus, cluster: Cluster, record: UserRecord, scene: Scene) -> ClusterStatus:
    held = record.hold is not None or record.is_undecided
    return replace(
        known,
        state=cluster.state,
        asked_at=known.asked_at or scene.now,
        seen_running_at=known.seen_running_at or (scene.now if cluster.state in USABLE else None),
        deleting=known.deleting or not held,
        jupyter_url="",
        reason=Reason.ON_HOLD if held else Reason.DELETING,
        message="Kept." if held else "Being deleted.",
    )


class SessionOwner(Struct, frozen=True):
    """The values that identify one user's sessions: the user's addresses as creator or owner, or the user key in the label."""

    user_key: str
    addresses: frozenset[str]


def session_owner(record: UserRecord, project: str) -> SessionOwner:
    """Return the values that identify this user's sessions.

    The addresses are the user's present and former addresses, and the address of the user's own service account.
    """
    addresses = {str(email) for email in (record.email, *record.former_emails) if email}
    if record.status.account.account_id is not None:
        addresses.add(account_email(record.status.account.account_id, project))
    return SessionOwner(record.user_key, frozenset(addresses))


def sessions_to_look_for(record: UserRecord) -> bool:
    """Return True for a leaver whose sessions may still run.

    A user who never had an environment cannot have started one.
    """
    if record.spec.presence is Presence.PRESENT or record.status.notebook.instance_id is None:
        return False
    ended = record.status.condition(ConditionType.SESSIONS_ENDED)
    return ended is None or ended.status is not ConditionStatus.TRUE


def sessions_step(record: UserRecord, seen: SparkSessionsSeen | Unreadable, scene: Scene) -> Step:
    """Return the step that ends a leaver's sessions. `seen` are the sessions that were observed.

    The condition becomes true once the notebook has stopped and no session is observed. A kernel that still runs could
    start another session.
    """
    if isinstance(seen, Unreadable):
        return unreadable(
            record,
            seen.error,
            what="The person's serverless Spark sessions",
            because="The Spark sessions could not be read, so none is ended.",
            otherwise=timedelta(hours=1),  # a disabled API or a missing permission stays so until an administrator acts
        )
    if not seen.sessions:
        over = _is_over(scene.seen.notebook)
        return Step(
            record=record,
            condition=ConditionStatus.TRUE if over else ConditionStatus.FALSE,
            reason=Reason.REMOVED if over else Reason.WAITING,
            message="This user has no serverless Spark sessions."
            if over
            else "Benchkeeper looks for Spark sessions once more when the notebook has stopped.",
        )
    number = f"{len(seen.sessions)} serverless Spark session{'s' if len(seen.sessions) > 1 else ''}"
    return Step(
        record=record,
        actions=tuple(EndSession(name=name) for name in seen.sessions),
        condition=ConditionStatus.FALSE,
        reason=Reason.STOPPING,
        message=f"{number} being ended.",
        requeue_after=scene.policy.poll,
        because=(f"Access has ended: {number} to end.",),
    )


def _is_over(notebook: NotebookSight) -> bool:
    match notebook:
        case ObservedNotebook(state=state):
            return state in RESTING
        case Absent() | NotLooked():
            return True
        case Unreadable():
            return False
