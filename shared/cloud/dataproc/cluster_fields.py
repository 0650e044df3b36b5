"""The fields of a cluster template that Benchkeeper sets or leaves out. Used by the check of masters and by the rendering."""

from __future__ import annotations

from shared.faults import Loc

GROUPS = ("masterConfig", "workerConfig", "secondaryWorkerConfig")
PERSONAL_AUTH_USER = "dataproc:dataproc.personal-auth.user"
JUPYTER = "JUPYTER"
# The fields that Benchkeeper sets for each user, or that only the API writes; old hub files and exports have them.
SET_HERE = ("clusterName", "projectId", "labels", "clusterUuid", "status", "statusHistory", "metrics")
# Within `config`: written by the API alone ("Output only" in its messages), as a describe of a cluster shows them.
_OUTPUT = ("instanceNames", "instanceReferences", "isPreemptible", "managedGroupConfig")
OUTPUT_ONLY: tuple[Loc, ...] = (
    ("endpointConfig", "httpPorts"),
    ("lifecycleConfig", "idleStartTime"),
    *((group, field) for group in GROUPS for field in _OUTPUT),
)
