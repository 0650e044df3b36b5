"""The running jobs of all users outside the instances. Plain REST.

The kinds are BigQuery jobs, jobs of Spark clusters, and serverless Spark sessions.

BigQuery documents `user_email` as "[Full-projection-only]" (bigquery.v2 discovery document, JobList), so the full projection is read, cut
to the needed fields. A caller without `bigquery.jobs.listAll` may get "redacted information for jobs they did not create" (same page).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.fleet.outside_jobs import OutsideJob
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, InvalidMessageError
from shared.domain.things.identity import UserEmail
from shared.domain.things.notebook import LABEL_USER
from shared.domain.things.times import parse_time

_PAGE = 1000
_FIELDS = (
    "nextPageToken,unreachable,jobs(jobReference,state,user_email,principal_subject,configuration/labels,"
    "statistics(creationTime,startTime))"
)
# The id of a scheduled query's job, as seen in logs of public repositories (`scheduled_query_6a8ab00a-0000-...`), and the label that
# BigQuery's transfer service puts on its jobs (from memory: to be settled on a live project). Such jobs run without their user.
_SCHEDULED_PREFIX, _TRANSFER_LABEL = "scheduled_query_", "data_source_id"
_OVER = frozenset({"CANCELLED", "DONE", "ERROR"})  # of a Dataproc job
_RUNNING = ("ACTIVE", "CREATING")  # of a session
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RestOutsideJobs:
    """The adapter of the port `OutsideJobs`.

    `canonical` returns the form of an address that records use, and raises an error for any other text.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        project: str,
        region: str,
        bigquery_projects: tuple[str, ...],
        canonical: Callable[[object], UserEmail],
    ) -> None:
        self._clients, self._canonical = clients, canonical
        self._project, self._region = project, region
        self._bigquery_projects = bigquery_projects

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects in the setting `idle.bigquery_projects`."""
        return self._bigquery_projects

    def queries(self, project: str) -> tuple[OutsideJob, ...]:
        """Return the running BigQuery jobs. Raise an error if the list lacks a location or the user of a job."""
        query = {
            "allUsers": "true",
            "stateFilter": "running",
            "projection": "full",
            "maxResults": _PAGE,
            "fields": _FIELDS,
        }
        found = []
        for page in self._pages("bigquery", f"/bigquery/v2/projects/{project}/jobs", query):
            if page.get("unreachable"):
                raise CloudUnavailableError(
                    user_message="BigQuery does not list the jobs of all locations just now.",
                    detail=f"jobs of {project}: unreachable {page['unreachable']}",
                )
            running = [raw for raw in page.get("jobs", []) if raw.get("state") == "RUNNING" and not _is_scheduled(raw)]
            if not all(raw.get("user_email") or raw.get("principal_subject") for raw in running):
                raise AccessDeniedError(
                    user_message="BigQuery does not say whose jobs are running, because Benchkeeper may not list all jobs of the project. "
                    "An administrator must grant it bigquery.jobs.listAll.",
                    detail=f"jobs of {project}: listed without user_email; bigquery.jobs.listAll is missing",
                    is_forbidden=True,
                )
            found += [self._query(raw, project) for raw in running]
        return tuple(found)

    def cluster_jobs(self) -> tuple[OutsideJob, ...]:
        """Return the active jobs of the region's clusters."""
        path = f"/v1/projects/{self._project}/regions/{self._region}/jobs"
        pages = self._pages("dataproc", path, {"filter": "status.state = ACTIVE", "pageSize": _PAGE})
        jobs = (raw for page in pages for raw in page.get("jobs", []))
        return tuple(_cluster_job(raw) for raw in jobs if raw.get("status", {}).get("state") not in _OVER)

    def sessions(self) -> tuple[OutsideJob, ...]:
        """Return the region's sessions that run or are being created. The list cannot be filtered by creator (the client's `ListSessionsRequest`)."""
        path = f"/v1/projects/{self._project}/locations/{self._region}/sessions"
        state = " OR ".join(f"state = {state}" for state in _RUNNING)
        pages = self._pages("dataproc", path, {"filter": state, "pageSize": _PAGE})
        sessions = (raw for page in pages for raw in page.get("sessions", []))
        return tuple(self._session(raw) for raw in sessions if raw.get("state") in _RUNNING)

    def _pages(self, service: str, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._clients.json(service).call(
                "GET", path, params={**query, **({"pageToken": token} if token else {})}
            )
            yield page
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _query(self, raw: Mapping[str, Any], project: str) -> OutsideJob:
        statistics = raw.get("statistics", {})
        return OutsideJob(
            name=f"BigQuery job {project}:{raw.get('jobReference', {}).get('jobId', '')}",
            created_at=_from_milliseconds(statistics.get("creationTime")),
            running_since=_from_milliseconds(statistics.get("startTime")),
            addresses=self._addresses(raw.get("user_email")),
        )

    def _session(self, raw: Mapping[str, Any]) -> OutsideJob:
        return OutsideJob(
            name=f"Spark session {str(raw.get('name', '')).rpartition('/')[2]}",
            created_at=_from_text(raw.get("createTime")),
            running_since=None,
            addresses=self._addresses(raw.get("creator"), raw.get("user")),
            user_key=str(raw.get("labels", {}).get(LABEL_USER, "")),
        )

    def _addresses(self, *told: object) -> frozenset[str]:
        """Return the canonical addresses; a text that is not an address, such as a principal of a workforce pool, belongs to no user."""
        found: set[str] = set()
        for text in told:
            try:
                found.add(self._canonical(text))
            except InvalidMessageError:
                continue
        return frozenset(found)


def _is_scheduled(raw: Mapping[str, Any]) -> bool:
    labels = raw.get("configuration", {}).get("labels", {})
    return _TRANSFER_LABEL in labels or str(raw.get("jobReference", {}).get("jobId", "")).startswith(_SCHEDULED_PREFIX)


def _cluster_job(raw: Mapping[str, Any]) -> OutsideJob:
    status = raw.get("status", {})
    first = next(iter(raw.get("statusHistory", [])), status)
    return OutsideJob(
        name=f"Spark job {raw.get('reference', {}).get('jobId', '')}",
        created_at=_from_text(first.get("stateStartTime")),
        running_since=_from_text(status.get("stateStartTime")),
        cluster=str(raw.get("placement", {}).get("clusterName", "")),
    )


def _from_milliseconds(told: object) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=int(told)) if isinstance(told, str) and told.isdecimal() else None


def _from_text(told: object) -> datetime | None:
    try:
        return parse_time(str(told))
    except ValueError:
        return None
