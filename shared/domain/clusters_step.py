"""A leaver's Spark clusters: deleted, unless a hold keeps everything."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.errors import Reason
from shared.domain.notebook import NotLooked, Unreadable
from shared.domain.plan import DeleteCluster
from shared.domain.record import ConditionStatus, UserRecord
from shared.domain.step import Scene, Step, unreadable

_GOING = "DELETING"


def clusters_step(record: UserRecord, scene: Scene) -> Step | None:
    """What to do about the clusters that carry the person's label; None when nobody looked for any."""
    seen = scene.seen.clusters
    if isinstance(seen, NotLooked):
        return None
    if isinstance(seen, Unreadable):
        return unreadable(
            record,
            seen.error,
            what="The person's Spark clusters",
            because="The Spark clusters could not be read, so none is deleted.",
            # An API that is off or a missing permission stays so until somebody acts.
            otherwise=timedelta(hours=6),
        )
    if not seen.clusters:
        return Step(
            record=record,
            condition=ConditionStatus.TRUE,
            reason=Reason.REMOVED,
            message="There are no Spark clusters of this person.",
        )
    number = f"{len(seen.clusters)} Spark cluster{'s' if len(seen.clusters) > 1 else ''}"
    if record.hold is not None:
        return Step(
            record=record,
            condition=ConditionStatus.FALSE,
            reason=Reason.ON_HOLD,
            message=f"{number} kept on hold; their own idle time may end them all the same.",
            requeue_after=timedelta(hours=6),
        )
    actions = tuple(DeleteCluster(name=c.name) for c in seen.clusters if c.state != _GOING)
    return Step(
        record=record,
        actions=actions,
        condition=ConditionStatus.FALSE,
        reason=Reason.DELETING,
        message=f"{number} being deleted.",
        requeue_after=scene.policy.poll,
        because=(f"Access has ended: {number} to delete.",) if actions else (),
    )
