"""The model of jobs on Dataproc clusters: submit, get, list. Nothing runs: states follow from the times of a job and of the read.

A job is PENDING for five seconds, then RUNNING until it is DONE. If the cluster is deleted earlier, the job ends in
ERROR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.dataproc_config import check_cluster_labels, read_message, read_request_id, uuid_of
from emulator.model.filters import fields_filter, labels_of
from emulator.model.notebooks_fresh import digest
from emulator.model.notebooks_rules import invalid
from emulator.model.pages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emulator.model.dataproc_cluster import Cluster
    from emulator.world import World

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ACTIVE = ("PENDING", "RUNNING")
_MATCHERS = ("", "ALL", "ACTIVE", "NON_ACTIVE")
_PENDING = timedelta(seconds=5)
_TIMES = ("submitted", "ends", "lost")
TAKES = timedelta(minutes=5)  # how long a submitted job runs; a planted one says it itself
_KINDS = (
    "hadoopJob", "sparkJob", "pysparkJob", "hiveJob", "pigJob", "sparkRJob", "sparkSqlJob", "prestoJob", "trinoJob", "flinkJob",
)  # fmt: skip


@dataclass(slots=True)
class Job:
    """A job. It is PENDING from `submitted`, RUNNING five seconds later, and DONE at `ends` (None: never), or ERROR at `lost` if that is earlier."""

    parent: str
    job_id: str
    body: dict[str, Any]
    cluster: str
    submitted: datetime
    ends: datetime | None
    request_id: str = ""
    lost: datetime | None = None

    def history(self, now: datetime) -> list[tuple[str, datetime]]:
        """Return the states until now with their start times; the last is the present state."""
        states = [("PENDING", self.submitted), ("RUNNING", self.submitted + _PENDING)]
        if self.lost is not None and (self.ends is None or self.lost < self.ends):
            states.append(("ERROR", self.lost))
        elif self.ends is not None:
            states.append(("DONE", self.ends))
        return [state for state in states if state[1] <= now] or states[:1]

    def view(self, now: datetime) -> dict[str, Any]:
        """Return the REST JSON; `done` is only present if it is true."""
        rows = [{"state": state, "stateStartTime": rfc3339(at)} for state, at in self.history(now)]
        seen = self.body | {"status": rows[-1]} | ({"statusHistory": rows[:-1]} if len(rows) > 1 else {})
        return seen if rows[-1]["state"] in _ACTIVE else seen | {"done": True}


class ClusterJobs:
    """The model of all jobs of the project. The caller must look up and update the cluster itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: dict[str, Job] = {}

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return [_row(each) for each in self._jobs.values()]

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        jobs = [Job(**(row | {key: parse_rfc3339(row[key]) for key in _TIMES if row.get(key)})) for row in state]
        self._jobs = {f"{job.parent}/jobs/{job.job_id}": job for job in jobs}

    def submit(
        self,
        cluster: Cluster,
        body: dict[str, Any],
        *,
        request_id: str = "",
        submitted: datetime | None = None,
        ends: datetime | None = None,
    ) -> dict[str, Any]:
        """Answer `SubmitJob` for a running cluster. The job runs until `ends` (None: for ever)."""
        read_request_id(request_id)
        now = self._world.clock.now()
        same = (each for each in self._jobs.values() if request_id and each.request_id == request_id)
        earlier = next(same, None)
        if earlier is not None:
            return earlier.view(now)
        asked = read_message("Job", body)
        check_cluster_labels(asked.get("labels", {}))
        if not set(_KINDS) & set(asked):
            raise invalid("Must specify job type.")
        parent = cluster.name.rpartition("/clusters/")[0]
        project = parent.split("/")[1]
        mark = digest(cluster.name, len(self._jobs))
        job_id = asked.get("reference", {}).get("jobId", "") or mark[:32]
        if not _JOB_ID.fullmatch(job_id):
            raise invalid(f"Invalid job ID '{job_id}'. Must be a match of regex '{_JOB_ID.pattern}'.")
        name = f"{parent}/jobs/{job_id}"
        if name in self._jobs:
            raise ApiError("ALREADY_EXISTS", f"Already exists: Failed to submit job: Job {name}")
        made = asked | {
            "reference": {"projectId": project, "jobId": job_id},
            "placement": {
                "clusterName": cluster.body["clusterName"],
                "clusterUuid": cluster.body["clusterUuid"],
            },
            "jobUuid": uuid_of(digest(name, mark)),
        }
        job = self._jobs[name] = Job(parent, job_id, made, cluster.name, submitted or now, ends, request_id)
        return job.view(now)

    def get(self, parent: str, job_id: str) -> dict[str, Any]:
        """Answer `GetJob`."""
        found = self._jobs.get(f"{parent}/jobs/{job_id}")
        if found is None:
            raise ApiError("NOT_FOUND", f"Not found: Job {parent}/jobs/{job_id}")
        return found.view(self._world.clock.now())

    def listing(
        self,
        parent: str,
        *,
        cluster: str = "",
        matcher: str = "",
        filter_: str = "",
        size: int = 0,
        token: str = "",
    ) -> dict[str, Any]:
        """Answer `ListJobs`, ordered by id. With a filter the matcher is ignored (the client's `ListJobsRequest`)."""
        if matcher not in _MATCHERS:
            raise invalid(f"Invalid value at 'job_state_matcher': '{matcher}'.")
        passes = fields_filter(filter_, ("status.state", "labels."), _fields)
        now = self._world.clock.now()
        views = [each.view(now) for each in self._jobs.values() if each.parent == parent and each.submitted <= now]
        if not filter_ and matcher not in ("", "ALL"):
            views = [view for view in views if _group(view) == matcher]
        return listed(
            "jobs",
            [view for view in views if passes(view) and (not cluster or view["placement"]["clusterName"] == cluster)],
            size=size,
            token=token,
            scope=f"jobs {parent} {cluster} {matcher} {filter_}",
            key=lambda view: str(view["reference"]["jobId"]),
        )

    def lose(self, cluster: str, at: datetime) -> None:
        """End the jobs of a cluster that is being deleted, in the state ERROR."""
        for each in self._jobs.values():
            if each.cluster == cluster and each.lost is None and (each.ends is None or each.ends > at):
                each.lost = at


def _group(view: Mapping[str, Any]) -> str:
    return "ACTIVE" if view["status"]["state"] in _ACTIVE else "NON_ACTIVE"


def _fields(view: Mapping[str, Any]) -> dict[str, Any]:
    return {**labels_of(view), "status.state": view["status"]["state"], "status.state as": (_group(view),)}


def _row(each: Job) -> dict[str, Any]:
    row = {known.name: getattr(each, known.name) for known in fields(each)}
    return row | {key: rfc3339(row[key]) for key in _TIMES if row.get(key)}
