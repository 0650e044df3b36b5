"""The model of Cloud Scheduler: jobs, their due times, and the outcomes of their attempts.

All methods run under the world's lock.

Runs follow the virtual clock. If the clock is moved past several runs of a job, they become one run: the real service also
starts no second run for a past time. A refused attempt is repeated according to the job's `retryConfig`. `cronsim` computes the next
run of a unix-cron schedule; this module refuses schedules that Cloud Scheduler does not accept.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError, not_served
from emulator.model.pages import listed
from emulator.model.pubsub_names import parse_duration

if TYPE_CHECKING:
    from emulator.world import World


_ITEM = r"(?:\*|[0-9]{1,2}|[A-Z]{3})(?:-(?:[0-9]{1,2}|[A-Z]{3}))?(?:/[0-9]{1,3})?"
_FIELD = re.compile(rf"{_ITEM}(?:,{_ITEM})*")
_FIELDS = 5


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime:
    """Return the first moment after `after` at which `schedule` fires in `time_zone`.

    Raise INVALID_ARGUMENT for an invalid schedule.
    """
    fields = schedule.upper().split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        raise _invalid()
    try:
        local = after.astimezone(ZoneInfo(time_zone or "Etc/UTC"))
        found: datetime = next(CronSim(" ".join(fields), local))
    except (CronSimError, StopIteration, ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _invalid() from error
    return found.astimezone(UTC)


def _invalid() -> ApiError:
    return ApiError("INVALID_ARGUMENT", "Schedule or time zone is invalid.")


Job = dict[str, Any]

_PARENT = re.compile(r"projects/[^/]+/locations/[a-z0-9-]+")
_NAME = re.compile(r"(projects/[^/]+/locations/[a-z0-9-]+)/jobs/([A-Za-z0-9_-]{1,500})")
_TOPIC = re.compile(r"projects/[^/]+/topics/[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}")
_METHODS = {"POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"}
_JOB_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "description": str, "pubsubTarget": dict, "appEngineHttpTarget": dict, "httpTarget": dict,
    "schedule": str, "timeZone": str, "userUpdateTime": str, "state": str, "status": dict, "scheduleTime": str,
    "lastAttemptTime": str, "retryConfig": dict, "attemptDeadline": str, "satisfiesPzs": bool,
}  # fmt: skip
_OUTPUT_ONLY = {"userUpdateTime", "state", "status", "scheduleTime", "lastAttemptTime", "satisfiesPzs"}
_PUBSUB_FIELDS: dict[str, type | tuple[type, ...]] = {"topicName": str, "data": str, "attributes": dict}
_HTTP_FIELDS: dict[str, type | tuple[type, ...]] = {
    "uri": str, "httpMethod": str, "headers": dict, "body": str, "oauthToken": dict, "oidcToken": dict,
}  # fmt: skip
_RETRY_FIELDS: dict[str, type | tuple[type, ...]] = {
    "retryCount": int, "maxRetryDuration": str, "minBackoffDuration": str, "maxBackoffDuration": str, "maxDoublings": int,
}  # fmt: skip
_RETRY_DEFAULTS = {
    "maxRetryDuration": "0s", "minBackoffDuration": "5s", "maxBackoffDuration": "3600s", "maxDoublings": 5,
}  # fmt: skip
_MAX_RETRIES = 5
_DEADLINES = (timedelta(seconds=15), timedelta(minutes=30))
_PAGE = 500


@dataclass(slots=True)
class Run:
    """The plan of a job: `at` (RFC 3339, virtual) is the next attempt, for the run that was due at `of`.

    `retries` counts the repeated attempts of that run. With `forced`, an attempt is due now.
    """

    at: str | None = None
    of: str | None = None
    retries: int = 0
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a job that is due now."""

    job: Job
    run_of: datetime


class SchedulerModel:
    """The model of all scheduled jobs, by full name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: dict[str, Job] = {}
        self._runs: dict[str, Run] = {}

    # ---- API

    def create(self, parent: str, job: Job) -> Job:
        """Return a new job; raise 409 if the name is taken."""
        if not _PARENT.fullmatch(parent):
            raise _bad(f"Invalid parent: {parent}")
        now = self._world.clock.now()
        kept = {"name": f"{parent}/jobs/{int(now.timestamp() * 1_000_000)}", **_input(job)}
        match = _NAME.fullmatch(kept["name"])
        if match is None or match[1] != parent:
            raise _bad(f"Job name must be formatted: {parent}/jobs/<JOB_ID>, with letters, digits, - and _ in the id.")
        if kept["name"] in self._jobs:
            raise ApiError("ALREADY_EXISTS", f"Job {kept['name']} already exists.")
        return self._keep(_checked(kept), now)

    def get(self, name: str) -> Job:
        """Return the job in its present state, or raise 404."""
        return dict(self._job(name))

    def _job(self, name: str) -> Job:
        if name not in self._jobs:
            raise ApiError("NOT_FOUND", f"Job {name} not found." if _NAME.fullmatch(name) else "Job not found.")
        return self._jobs[name]

    def listing(self, parent: str, *, size: int, token: str) -> Job:
        """Return a page of the jobs of a location, ordered by name."""
        return listed(
            "jobs",
            [job for name, job in self._jobs.items() if name.startswith(f"{parent}/jobs/")],
            size=min(size or _PAGE, _PAGE),
            token=token,
            scope=f"jobs {parent}",
            key=lambda job: str(job["name"]),
            view=dict,
        )

    def patch(self, name: str, job: Job, paths: list[str]) -> Job:
        """Replace the fields in `paths` by those of `job`, and return the job.

        `paths` are dotted names in camelCase; if there are none, all writable fields are replaced.
        """
        old = self.get(name)
        new = _input(job)
        kept = {key: value for key, value in old.items() if key not in _OUTPUT_ONLY}
        for path in paths or [key for key in _JOB_FIELDS if key not in _OUTPUT_ONLY and key != "name"]:
            _take(kept, new, path)
        return self._keep(
            _checked(kept), self._world.clock.now(), state=old["state"], attempt=old.get("lastAttemptTime")
        )

    def delete(self, name: str) -> dict[str, Any]:
        """Remove the job and return an empty object; raise 404 for a missing job."""
        self.get(name)
        del self._jobs[name], self._runs[name]
        return {}

    def pause(self, name: str) -> Job:
        """Pause the job until it is resumed, and return it."""
        job = self._job(name)
        job["state"] = "PAUSED"
        self._runs[name] = Run()
        return dict(job)

    def resume(self, name: str) -> Job:
        """Resume the job from its next scheduled time on, and return it."""
        job = self._job(name)
        job["state"] = "ENABLED"
        self._plan(job, self._world.clock.now())
        return dict(job)

    def force(self, name: str) -> Job:
        """Run the job now, even if it is paused, and return it. The schedule is not changed."""
        job = self._job(name)
        self._runs[name].forced = True
        self._world.clock.poke()
        return dict(job)

    # ---- runs

    def take_due(self) -> list[Attempt]:
        """Return the attempts to make now. Each is marked as begun, so it is returned only once."""
        now = self._world.clock.now()
        found: list[Attempt] = []
        for name, run in self._runs.items():
            job = self._jobs[name]
            due = run.at is not None and parse_rfc3339(run.at) <= now
            if not due and not run.forced:
                continue
            of = parse_rfc3339(run.of) if due and run.of else now
            run.forced = False
            job["lastAttemptTime"] = rfc3339(now)
            if due:
                retries = run.retries
                self._plan(job, now)
                self._runs[name].retries = retries
            found.append(Attempt(job, of))
        return found

    def next_due(self) -> datetime | None:
        """Return the virtual time of the next planned attempt, or None if none is planned. Forced attempts do not count."""
        moments = [run.at for run in self._runs.values() if run.at is not None]
        return parse_rfc3339(min(moments)) if moments else None

    def finish(self, attempt: Attempt, error: ApiError | None) -> None:
        """Store the outcome of an attempt.

        After a failure, the next attempt may be planned before the next scheduled run.
        """
        name = attempt.job["name"]
        job, run = self._jobs.get(name), self._runs.get(name)
        if job is None or run is None:
            return
        if error is None:
            job["status"] = {}
            run.retries = 0
            return
        job["status"] = {"code": error.number, "message": error.message}
        policy = {**_RETRY_DEFAULTS, **job.get("retryConfig", {})}
        now = self._world.clock.now()
        limit = parse_duration(policy["maxRetryDuration"], field="maxRetryDuration")
        late = limit > timedelta(0) and now - attempt.run_of > limit
        if run.retries >= policy.get("retryCount", 0) or late or job["state"] != "ENABLED":
            run.retries = 0
            return
        low = parse_duration(policy["minBackoffDuration"], field="minBackoffDuration")
        high = parse_duration(policy["maxBackoffDuration"], field="maxBackoffDuration")
        again = rfc3339(now + min(high, low * 2 ** min(run.retries, policy["maxDoublings"])))
        if run.at is not None and run.at <= again:
            run.retries = 0
        else:
            run.at, run.of = again, rfc3339(attempt.run_of)
            run.retries += 1
            job["scheduleTime"] = again
            self._world.clock.poke()

    def _keep(self, job: Job, now: datetime, *, state: str = "ENABLED", attempt: str | None = None) -> Job:
        job |= {"userUpdateTime": rfc3339(now), "state": state}
        if attempt is not None:
            job["lastAttemptTime"] = attempt
        self._plan(job, now)
        self._jobs[job["name"]] = job
        return dict(job)

    def _plan(self, job: Job, now: datetime) -> None:
        """Plan the next run. An invalid schedule gives 400, and nothing is changed."""
        moment = rfc3339(next_run(job.get("schedule", ""), job.get("timeZone", ""), now))
        job["scheduleTime"] = moment
        self._runs[job["name"]] = Run(at=moment, of=moment) if job["state"] == "ENABLED" else Run()
        self._world.clock.poke()

    # ---- persistence

    def dump(self) -> Any:
        """Return all jobs and their plans as JSON-able data."""
        return {"jobs": self._jobs, "runs": {name: asdict(run) for name, run in self._runs.items()}}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self._jobs = {name: dict(job) for name, job in state["jobs"].items()}
        self._runs = {name: Run(**run) for name, run in state["runs"].items()}
        self._world.clock.poke()


def _bad(message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", message)


def _input(job: Job) -> Job:
    """Return the fields that a caller may set. Unknown fields give 400; output-only fields are dropped, as the service does."""
    _known(job, _JOB_FIELDS, "job")
    return {key: value for key, value in job.items() if key not in _OUTPUT_ONLY}


def _known(value: Job, fields: dict[str, type | tuple[type, ...]], at: str) -> None:
    for key, content in value.items():
        if key not in fields:
            raise _bad(f"Invalid JSON payload received. Unknown name \"{key}\" at '{at}': Cannot find field.")
        if not isinstance(content, fields[key]) or (isinstance(content, bool) and fields[key] is int):
            raise _bad(f"Invalid value at '{at}.{key}', {content!r}")


def _take(kept: Job, new: Job, path: str) -> None:
    head, _, inner = path.partition(".")
    if head not in _JOB_FIELDS or head in _OUTPUT_ONLY or head == "name":
        raise _bad(f"Invalid update mask: {path}")
    if inner and isinstance(kept.get(head), dict):
        kept[head] = dict(kept[head])
        kept, new, head = kept[head], new.get(head, {}), inner
    if head in new:
        kept[head] = new[head]
    else:
        kept.pop(head, None)


def _checked(job: Job) -> Job:
    """Return the job with its defaults; raise 400 for values that the service refuses."""
    targets = [key for key in ("pubsubTarget", "httpTarget", "appEngineHttpTarget") if key in job]
    if len(targets) != 1:
        raise _bad("Job must have exactly one target.")
    match targets[0]:
        case "pubsubTarget":
            _check_pubsub(job["pubsubTarget"])
        case "httpTarget":
            _check_http(job["httpTarget"])
        case _:
            raise not_served("The embedded cloud does not serve App Engine targets.")
    if len(job.get("description", "")) > 500:  # noqa: PLR2004 - the documented limit
        raise _bad("Job description must not be longer than 500 characters.")
    retry = job.get("retryConfig", {})
    _known(retry, _RETRY_FIELDS, "job.retry_config")
    if not 0 <= retry.get("retryCount", 0) <= _MAX_RETRIES:
        raise _bad(f"RetryConfig.retry_count must be between 0 and {_MAX_RETRIES}.")
    for key in ("maxRetryDuration", "minBackoffDuration", "maxBackoffDuration"):
        if key in retry:
            parse_duration(retry[key], field=key)
    if "httpTarget" in job:
        low, high = _DEADLINES
        deadline = job.setdefault("attemptDeadline", "180s")
        if not low <= parse_duration(deadline, field="attempt_deadline") <= high:
            raise _bad("Job.attempt_deadline must be between 15 seconds and 30 minutes.")
    return {**job, "retryConfig": {**_RETRY_DEFAULTS, **retry}, "timeZone": job.get("timeZone") or "Etc/UTC"}


def _check_base64(text: str, *, field: str) -> None:
    try:
        base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _bad(f"Invalid value at '{field}' (TYPE_BYTES), Base64 decoding failed.") from error


def _check_pubsub(target: Job) -> None:
    _known(target, _PUBSUB_FIELDS, "job.pubsub_target")
    if not _TOPIC.fullmatch(target.get("topicName", "")):
        raise _bad("PubsubTarget.topic_name must be formatted: projects/<PROJECT_ID>/topics/<TOPIC_ID>.")
    if not target.get("data") and not target.get("attributes"):
        raise _bad("PubsubTarget must have data or attributes.")
    _check_base64(target.get("data", ""), field="job.pubsub_target.data")
    if not all(isinstance(value, str) for value in target.get("attributes", {}).values()):
        raise _bad("PubsubTarget.attributes must be strings.")


def _check_http(target: Job) -> None:
    _known(target, _HTTP_FIELDS, "job.http_target")
    url = urlsplit(target.get("uri", ""))
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise _bad("HttpTarget.uri must be a valid URL that begins with http:// or https://.")
    if target.setdefault("httpMethod", "POST") not in _METHODS:
        raise _bad(f"Invalid value at 'job.http_target.http_method', \"{target['httpMethod']}\"")
    _check_base64(target.get("body", ""), field="job.http_target.body")
    if "oauthToken" in target:
        raise not_served("The embedded cloud does not serve OAuth tokens of HTTP targets.")
