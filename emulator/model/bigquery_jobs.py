"""BigQuery's `jobs.list` over jobs that a test adds. Nothing runs: a job's state follows from its times and the time of the read.

Fields and projections are those of the discovery document (JobList of bigquery.v2). A project that was not declared is
refused, like a project that the caller may not see.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.notebooks_fresh import digest
from emulator.model.pages import listed

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from emulator.world import World

STATES, PROJECTIONS = ("pending", "running", "done"), ("minimal", "full")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_KNOWN = {"project", "user", "job_id", "location", "labels", "from", "pending_seconds", "until"}
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")


@dataclass(slots=True)
class _Job:
    """A query of `user`: PENDING from `created`, RUNNING from `started`, DONE from `ended` on (None: never)."""

    project: str
    location: str
    job_id: str
    user: str
    created: str
    started: str
    ended: str | None
    labels: dict[str, str] = field(default_factory=dict)

    def state(self, now: datetime) -> str:
        if self.ended is not None and parse_rfc3339(self.ended) <= now:
            return "DONE"
        return "RUNNING" if parse_rfc3339(self.started) <= now else "PENDING"

    def view(self, now: datetime, *, full: bool) -> dict[str, Any]:
        state = self.state(now)
        statistics = {"creationTime": _milliseconds(self.created)}
        if state != "PENDING":
            statistics["startTime"] = _milliseconds(self.started)
        if state == "DONE" and self.ended is not None:
            statistics["endTime"] = _milliseconds(self.ended)
        found = {
            "kind": "bigquery#job",
            "id": f"{self.project}:{self.location}.{self.job_id}",
            "jobReference": {"projectId": self.project, "jobId": self.job_id, "location": self.location},
            "state": state,
            "statistics": statistics,
        }
        labels = {"labels": self.labels} if self.labels else {}
        configuration = {"jobType": "QUERY", "query": {"query": "SELECT 1", "useLegacySql": False}} | labels
        more = {"user_email": self.user, "status": {"state": state}, "configuration": configuration}
        return found | (more if full else {})


class BigQueryJobs:
    """The model of BigQuery's job lists: the added jobs of all projects.

    The caller may list the jobs of the world's own project and of declared projects.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: list[_Job] = []
        self._projects: set[str] = set()

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        return {"projects": sorted(self._projects), "jobs": [asdict(each) for each in self._jobs]}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self._projects = set(state["projects"])
        self._jobs = [_Job(**row) for row in state["jobs"]]

    def declare(self, projects: Any) -> None:
        """Declare projects whose jobs may be listed; raise 400 unless `projects` is a list of project ids."""
        if not isinstance(projects, list) or not all(isinstance(p, str) and _PROJECT.fullmatch(p) for p in projects):
            raise ApiError("INVALID_ARGUMENT", "`projects` are ids of projects")
        self._projects.update(projects)

    def plant(self, body: dict[str, Any]) -> None:
        """Add a job: `project`, `user`, and optionally `job_id`, `location`, `labels`, `from`, `pending_seconds`, `until`.

        The project is declared, too. Raise `ApiError` (400) for unknown fields and invalid values.
        """
        project, user = body.get("project"), body.get("user")
        if set(body) - _KNOWN or not isinstance(user, str) or not isinstance(project, str):
            raise ApiError("INVALID_ARGUMENT", f"a BigQuery job needs `project` and `user`; known: {sorted(_KNOWN)}")
        self.declare([project])
        job_id = body.get("job_id") or f"bquxjob_{digest(project, len(self._jobs))[:16]}"
        if not _JOB_ID.fullmatch(job_id):
            raise ApiError("INVALID_ARGUMENT", "`job_id` has letters, digits, _ and -")
        created, ended = times_of(body, self._world.clock.now())
        started = created + timedelta(seconds=float(body.get("pending_seconds", 0)))
        ended_text = None if ended is None else rfc3339(ended)
        self._jobs.append(
            _Job(
                project=project, location=body.get("location", "EU"), job_id=job_id, user=user, created=rfc3339(created),
                started=rfc3339(started), ended=ended_text, labels=body.get("labels", {}),
            )
        )  # fmt: skip

    def listing(
        self, project: str, query: dict[str, str], *, states: Collection[str], principal: str
    ) -> dict[str, Any]:
        """Answer `jobs.list`, newest first: the jobs of `principal` or, with `allUsers`, of all users.

        `states` are in lower case; if empty, jobs in all states are listed. With `parentJobId`, no job is listed.
        """
        if project != self._world.project and project not in self._projects:
            text = f"Access Denied: Project {project}: User does not have bigquery.jobs.list permission in project {project}."
            raise ApiError("PERMISSION_DENIED", text, reason="accessDenied")
        for name, known, given in (
            ("stateFilter", STATES, states),
            ("projection", PROJECTIONS, [query.get("projection", "minimal")]),
        ):
            wrong = sorted(set(given) - set(known))
            if wrong:
                raise ApiError("INVALID_ARGUMENT", f"Invalid value at '{name}': {wrong[0]}", reason="invalid")
        now, everybody = self._world.clock.now(), query.get("allUsers", "false") == "true"
        found = [
            each
            for each in self._jobs
            if each.project == project
            and parse_rfc3339(each.created) <= now
            and (everybody or each.user == principal)
            and (not states or each.state(now).lower() in states)
            and not query.get("parentJobId")
        ]
        size = query.get("maxResults", "0")
        if not size.isdecimal():
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'maxResults': {size}", reason="invalid")
        page = listed(
            "jobs",
            found,
            size=int(size),
            token=query.get("pageToken", ""),
            scope=f"jobs {project} {sorted(states)}",
            key=lambda each: f"{each.created} {each.job_id}",
            descending=True,
            view=lambda each: each.view(now, full=query.get("projection") == "full"),
        )
        return {"kind": "bigquery#jobList", "etag": digest(project, str(page))[:22], **page}


def times_of(body: dict[str, Any], now: datetime) -> tuple[datetime, datetime | None]:
    """Return the times `from` (default: now) and `until` (default: None) of an added job; raise 400 if they are invalid."""
    try:
        begun = parse_rfc3339(body["from"]) if body.get("from") else now
        ended = parse_rfc3339(body["until"]) if body.get("until") else None
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", "`from` and `until` are RFC 3339 times") from error
    if ended is not None and ended <= begun:
        raise ApiError("INVALID_ARGUMENT", "`until` is later than `from`")
    return begun, ended


def _milliseconds(text: str) -> str:
    return str(round(parse_rfc3339(text).timestamp() * 1000))
