"""The Spark half of a plan: requested clusters are created, all other clusters of the user are deleted.

A template has one cluster name, so a user never has two clusters of a template. A cluster that Dataproc ended (idle, too old)
is not created before a new request. A failed cluster is removed, and its error kept for the user. A hold keeps used clusters.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from shared.domain.intent.wish import without_wish
from shared.domain.plan.plan import Action, ClustersSeen, request_id
from shared.domain.plan.step import Scene, Step, unreadable
from shared.domain.record.record import Presence, UserRecord
from shared.domain.record.status import ConditionStatus, Verb
from shared.domain.spark.actions import CreateCluster, DeleteCluster
from shared.domain.spark.failures import after_error
from shared.domain.spark.leaver import leaver_step, may_come
from shared.domain.things.clusters import (
    AUTO_ZONE,
    FAILED,
    JUPYTERLAB,
    USABLE,
    Cluster,
    ClusterState,
    ClusterStatus,
    cluster_name,
)
from shared.domain.things.errors import (
    BenchkeeperError,
    OperationFailedError,
    Reason,
)
from shared.domain.things.notebook import Absent, Unreadable
from shared.domain.things.power import cluster_usage, with_running

# A running cluster may end by itself; its owner sees that within this time, and at once after a click.
_LOOK_AT_RUNNING = timedelta(minutes=15)
_PATIENCE = timedelta(hours=1)  # how long a start is tried again; no user waits longer for a cluster
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ENDED_ITSELF = "A Spark cluster ended by itself; it is not made again."
_USABLE = {
    ClusterState.RUNNING: "Running.",
    ClusterState.UPDATING: "Running, and being changed just now.",
    ClusterState.ERROR_DUE_TO_UPDATE: "Running, but a change of it failed: it cannot grow or shrink any more.",
}
# In other states a change is under way, and Dataproc deletes nothing before its end.
_DELETABLE = frozenset(
    {ClusterState.RUNNING, ClusterState.ERROR_DUE_TO_UPDATE, ClusterState.STOPPED, ClusterState.UNKNOWN}
)


class _Look(Struct, frozen=True, kw_only=True):
    """The input of planning one template's cluster.

    It has the record, the remembered status, the observation, and the plan context.
    """

    record: UserRecord
    known: ClusterStatus
    seen: Cluster | None
    scene: Scene

    @property
    def now(self) -> datetime:
        return self.scene.now

    @property
    def poll(self) -> timedelta:
        return self.scene.policy.poll


class _Did(Struct, frozen=True, kw_only=True):
    """The result of planning one cluster: the record, an action, the reason. `again` is None if nothing is pending."""

    record: UserRecord
    action: Action | None = None
    again: timedelta | None = None
    because: str = ""


def spark_step(record: UserRecord, seen: ClustersSeen | Unreadable, scene: Scene) -> Step:
    """Return the step that creates and deletes the user's Spark clusters. `seen` are the clusters that were observed."""
    if isinstance(seen, Unreadable):
        return unreadable(
            record,
            seen.error,
            what="The person's Spark clusters",
            because="The Spark clusters could not be read, so none is made or deleted.",
            # A disabled API or a missing permission stays so until an administrator acts.
            otherwise=timedelta(hours=6) if record.spec.presence is Presence.ABSENT else timedelta(minutes=10),
        )
    if record.spec.presence is Presence.ABSENT:
        return leaver_step(record, seen, scene)
    return _wanted(record, seen, scene)


def _wanted(record: UserRecord, seen: ClustersSeen, scene: Scene) -> Step:
    by_name = {cluster.name: cluster for cluster in seen.clusters}
    templates = sorted({w.template for w in record.spec.clusters} | {c.template for c in record.status.clusters})
    done: list[_Did] = []
    for template in templates:
        known = record.status.cluster(template) or ClusterStatus(
            template=template, name=cluster_name(template, record.user_key)
        )
        look = _Look(record=record, known=known, seen=by_name.get(known.name), scene=scene)
        did = _one(look)
        record = did.record
        done.append(did)
    waits = [did.again for did in done if did.again is not None]
    moving = [c for c in record.status.clusters if _moves(record, c)]
    if moving:
        condition, reason, message = ConditionStatus.FALSE, moving[0].reason, moving[0].message
    else:
        number = sum(c.state in USABLE for c in record.status.clusters)
        condition, reason = ConditionStatus.TRUE, Reason.READY if number else Reason.REMOVED
        message = f"{number} Spark cluster{'s' if number > 1 else ''} running." if number else "No Spark cluster runs."
    return Step(
        record=record,
        actions=tuple(did.action for did in done if did.action is not None),
        condition=condition,
        reason=reason,
        message=message,
        requeue_after=min(waits, default=None),
        because=tuple(did.because for did in done if did.because),
    )


def _moves(record: UserRecord, known: ClusterStatus) -> bool:
    """Return True while the cluster is not in the wanted state."""
    if record.spec.wish(known.template) is None:
        return known.is_there
    return known.state not in USABLE


def _one(look: _Look) -> _Did:
    known, seen = look.known, look.seen
    wanted = look.record.spec.wish(known.template) is not None
    if seen is not None and not seen.is_ours:
        return _ended(
            look,
            Reason.NOT_OURS,
            f"There is a cluster '{known.name}' that Benchkeeper did not create; ask an administrator.",
        )
    if seen is None:
        return _absent(look, wanted=wanted)
    look = replace(look, known=_seen(known, seen, look))
    match seen.state:
        case ClusterState.DELETING:
            return _deleting(look, wanted=wanted)
        case _ if _is_held(look) and (not wanted or seen.state in FAILED):
            text = "Kept because of the hold, but its own idle timeout may still end it."
            known = replace(look.known, reason=Reason.ON_HOLD, message=text)
            return _Did(record=_with(look, known), again=_LOOK_AT_RUNNING)
        case _ if seen.state in FAILED:
            return _failed(look, wanted=wanted)
        case _ if not wanted and seen.state in _DELETABLE:
            return _delete(look, "It is not wanted any more.")
        case _ if seen.state in USABLE:
            kept = replace(
                look.known,
                reason=Reason.READY,
                message=_USABLE[seen.state],
                diagnosis="",
                tried_zones=(),
                offered_zones=(),
                not_before=None,
            )
            return _Did(record=_with(look, kept), again=_LOOK_AT_RUNNING)
        case ClusterState.STOPPED:
            text = "The cluster was stopped outside Benchkeeper; delete it and start it again."
            return _Did(
                record=_with(look, replace(look.known, reason=Reason.STOPPED, message=text)), again=_LOOK_AT_RUNNING
            )
        case _:
            return _Did(record=_with(look, _on_the_way(look, wanted=wanted)), again=look.poll)


def _seen(known: ClusterStatus, seen: Cluster, look: _Look) -> ClusterStatus:
    """Return the remembered status, updated by the observation.

    If the time of the request is unknown, the present time is noted, but not for a cluster that is being deleted.
    """
    runs, goes = seen.state in USABLE, seen.state is ClusterState.DELETING
    is_news = known.seen_running_at is None or _asked_again(look)
    confirmed = look.now if runs and is_news else known.seen_running_at
    return replace(
        known,
        uuid=seen.uuid,
        state=seen.state,
        zone=seen.zone,
        asked_at=known.asked_at or (None if goes else look.now),
        seen_running_at=confirmed,
        operation="" if runs else known.operation,
        deleting=known.deleting and not runs,  # a running cluster was not deleted: the deletion is requested again
        jupyter_url=seen.ports.get(JUPYTERLAB, "") if runs else "",
    )


def _on_the_way(look: _Look, *, wanted: bool) -> ClusterStatus:
    """Return the status of a cluster that is being created or changed.

    Dataproc does not delete a cluster before its creation or change has ended.
    """
    known = look.known
    late = known.asked_at is not None and look.now - known.asked_at > look.scene.policy.stuck_after
    if late and known.seen_running_at is None:
        return replace(
            known, reason=Reason.STUCK, message="The cluster takes too long to start; an administrator should look."
        )
    if not wanted:
        return replace(
            known, reason=Reason.DELETING, message="The cluster is deleted as soon as its creation has ended."
        )
    return replace(known, reason=Reason.CREATING, message="Being created; this takes about two minutes.")


def _deleting(look: _Look, *, wanted: bool) -> _Did:
    if wanted and look.known.is_there and not look.known.deleting and not _asked_again(look):
        # We did not request the deletion: the idle time or age of the cluster ended it, and it is not created again.
        return _Did(record=_with(look, _going(look.known), drop=True), again=look.poll, because=_ENDED_ITSELF)
    # The deletion is observed until its end, even if we did not request it; a later request of the user waits for that.
    known = replace(look.known, deleting=True, asked_at=look.known.asked_at or look.now)
    if not known.diagnosis:
        text = "The old cluster is being deleted; the new cluster follows." if wanted else "Being deleted."
        known = replace(known, reason=Reason.DELETING, message=text)
    return _Did(record=_with(look, known), again=look.poll)


def _going(known: ClusterStatus) -> ClusterStatus:
    return replace(
        known, reason=Reason.DELETING, message="The cluster ended: it was idle too long, or reached its maximum age."
    )


def _is_held(look: _Look) -> bool:
    """Return True if a hold keeps the cluster: it ran, so it may hold the owner's work."""
    return look.record.hold is not None and look.known.seen_running_at is not None


def _failed(look: _Look, *, wanted: bool) -> _Did:
    """Return the result of removing a failed cluster. The error of a wanted cluster is read first: it decides if another zone is tried."""
    if not wanted or look.known.deleting:
        return _delete(look, "It failed and is removed.")
    error = _operation_error(look) or (look.seen.error if look.seen is not None else None)
    if error is None and _is_unread(look):  # the error decides between another zone and the end of the request
        return _Did(record=_with(look, _on_the_way(look, wanted=wanted)), again=look.poll)
    if error is None:
        error = OperationFailedError(
            user_message="The Spark cluster failed, and Google Cloud does not say why. Start it again; if it fails again, ask an "
            "administrator.",
            detail=f"cluster {look.known.name} failed without a detail",
        )
    record, known = after_error(look.record, look.known, error, look.scene.policy)
    return _delete(replace(look, record=record, known=known), f"It failed and is removed: {error.reason.value}.")


def _delete(look: _Look, because: str) -> _Did:
    known = replace(look.known, deleting=True)
    if not known.diagnosis:  # the user should read the diagnosis meanwhile
        known = replace(known, reason=Reason.DELETING, message="Being deleted.")
    return _Did(
        record=_with(look, known),
        action=DeleteCluster(name=known.name),
        again=look.poll,
        because=f"Spark cluster {known.name}: {because}",
    )


def _absent(look: _Look, *, wanted: bool) -> _Did:
    known = look.known
    if known.deleting or (not known.is_there and not wanted):
        known = _fresh(known)  # deleted as wanted
        if not wanted:
            return _Did(record=_forget(look, known))
        return _start(replace(look, known=known))
    if not known.is_there or (wanted and not known.operation and known.seen_running_at is None):
        return _start(look)  # nothing was requested yet, or the answer was lost: a repeated request counts once
    if known.seen_running_at is not None:
        if wanted and _asked_again(look):
            return _start(replace(look, known=_fresh(known)))
        return _Did(record=_forget(look, _fresh(known), drop=True), because=_ENDED_ITSELF)
    error = _operation_error(look)
    if error is not None:
        return _after_failed_create(look, error, wanted=wanted)
    if not may_come(known, look.scene):
        return _Did(record=_forget(look, _fresh(known), drop=True), because="The Spark cluster no longer exists.")
    return _Did(record=_with(look, _on_the_way(look, wanted=wanted)), again=look.poll)


def _asked_again(look: _Look) -> bool:
    """Return True if the user's request is newer than the cluster: than its last start, or its create if it never ran."""
    wish, last = look.record.spec.wish(look.known.template), look.known.seen_running_at
    return wish is not None and wish.since > (last or look.known.asked_at or _LONG_AGO)


def _is_unread(look: _Look) -> bool:
    """Return True while the result of the create cannot be read: unknown does not mean finished.

    The wait is limited, because a failed cluster costs money.
    """
    sight = look.scene.seen.cluster_operations.get(look.known.operation, Absent())
    return isinstance(sight, Unreadable) and look.now - (look.known.asked_at or look.now) <= _PATIENCE


def _operation_error(look: _Look) -> BenchkeeperError | None:
    sight = look.scene.seen.cluster_operations.get(look.known.operation, Absent())
    return None if isinstance(sight, Absent | Unreadable) else sight.error


def _after_failed_create(look: _Look, error: BenchkeeperError, *, wanted: bool) -> _Did:
    """Return the result for a failed create that left no cluster."""
    if not wanted:
        return _Did(record=_forget(look, _fresh(look.known)))
    record, known = after_error(look.record, look.known, error, look.scene.policy)
    look = replace(look, record=record, known=_fresh(known))
    if record.spec.wish(known.template) is None:
        return _Did(
            record=_forget(look, look.known), because=f"The Spark cluster could not be made: {error.reason.value}."
        )
    return _start(look)


def _start(look: _Look) -> _Did:
    known, policy = look.known, look.scene.policy
    wish = look.record.spec.wish(known.template)
    if known.not_before is not None and wish is not None and look.now - wish.since > _PATIENCE:
        text = "Google Cloud did not accept the request for an hour. Start it again later; if that fails too, ask an administrator."
        if may_come(known, look.scene):  # the answer to the last attempt may have been lost
            return _Did(record=_with(look, known), again=look.poll)
        return _ended(look, known.reason, text)
    if known.not_before is not None and known.not_before > look.now:
        waiting = replace(known, message=known.message or "Waiting before the next attempt.")
        return _Did(record=_with(look, waiting), again=known.not_before - look.now)
    if not look.scene.identity_ready:
        text = "Your own service account is being set up first."
        return _Did(record=_with(look, replace(known, reason=Reason.WAITING, message=text)), again=look.poll)
    order = policy.zones_by_offer(known.offered_zones)
    zone = next((z for z in order if z not in known.tried_zones), AUTO_ZONE) if known.tried_zones else AUTO_ZONE
    action = CreateCluster(
        template=known.template,
        name=known.name,
        zone=zone,
        request_id=request_id(look.record, Verb.CREATE, f"{known.name}:{known.tries}:{zone}"),
    )
    text = f"No machines elsewhere; trying {zone}." if zone else "Being created; this takes about two minutes."
    asked = replace(
        known,
        zone=zone,
        asked_at=look.now,
        state=None,
        reason=Reason.CREATING,
        message=text,
        diagnosis="",
        not_before=None,
    )
    because = f"The person wants a Spark cluster of '{known.template}'."
    return _Did(record=_with(look, asked), action=action, again=look.poll, because=because)


def _fresh(known: ClusterStatus) -> ClusterStatus:
    """Return the status of a cluster that no longer exists.

    The status keeps the cluster's name, the count of tries, the zones that failed, the wait and the diagnosis.
    """
    return ClusterStatus(
        template=known.template,
        name=known.name,
        tries=known.tries + known.is_there,  # a lost answer was not counted, and no request id may occur twice
        tried_zones=known.tried_zones,
        offered_zones=known.offered_zones,
        not_before=known.not_before,
        reason=known.reason if known.diagnosis else Reason.PENDING,
        message=known.message if known.diagnosis else "",
        diagnosis=known.diagnosis,
    )


def _ended(look: _Look, reason: Reason, text: str) -> _Did:
    known = replace(_fresh(look.known), not_before=None, reason=reason, message=text, diagnosis=text)
    return _Did(record=_with(look, known, drop=True), because=f"Spark cluster {known.name}: {text}")


def _forget(look: _Look, known: ClusterStatus, *, drop: bool = False) -> UserRecord:
    """Return the record without the status of a missing cluster, unless it has a diagnosis or a count of tries.

    The count stays so that no request id occurs twice.
    """
    return _with(look, known, drop=drop, keep=bool(known.diagnosis) or known.tries > 0)


def _with(look: _Look, known: ClusterStatus, *, drop: bool = False, keep: bool = True) -> UserRecord:
    record = without_wish(look.record, known.template) if drop else look.record
    others = [c for c in record.status.clusters if c.template != known.template]
    clusters = sorted([*others, *([known] if keep else [])], key=lambda c: c.template)
    usage = with_running(record.status.usage, cluster_usage(known.template), look.now, runs=known.state in USABLE)
    return record.with_status(clusters=tuple(clusters), usage=usage)
