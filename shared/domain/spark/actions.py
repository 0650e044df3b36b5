"""The actions on Spark clusters and sessions."""

from __future__ import annotations

from shared.domain.plan.plan import Action, Activity
from shared.domain.record.status import ConditionType


class CreateCluster(Action, frozen=True, kw_only=True):
    """The action that creates a Spark cluster of a template; if `zone` is "", Dataproc picks a zone that has machines."""

    condition = ConditionType.CLUSTERS_READY
    target = "name"
    activity = Activity.CREATE
    written_first = True

    template: str
    name: str
    zone: str
    request_id: str

    def describe(self) -> str:
        """Return the action in words."""
        where = f" in {self.zone}" if self.zone else ""
        return f"create Spark cluster {self.name}{where} from template {self.template}"


class DeleteCluster(Action, frozen=True, kw_only=True):
    """The action that deletes one of the user's Spark clusters."""

    condition = ConditionType.CLUSTERS_READY
    target = "name"
    activity = Activity.DELETE
    words = "delete Spark cluster {0.name}"
    written_first = True

    name: str


class EndSession(Action, frozen=True, kw_only=True):
    """The action that terminates one of a leaver's serverless Spark sessions."""

    condition = ConditionType.SESSIONS_ENDED
    target = "name"
    activity = Activity.DISABLE
    words = "end Spark session {0.name}"

    name: str
