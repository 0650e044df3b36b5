"""The REST API of Cloud Scheduler v1, and the thread that makes its attempts."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import requests

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.model.pubsub_config import camel
from emulator.model.pubsub_limits import Draft
from emulator.model.pubsub_names import parse_duration
from emulator.wire.http import Call, Handler, Route
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.scheduler import Attempt, SchedulerModel

Publish = Callable[[str, list[Draft]], list[str]]
Signer = Callable[[str, str], str]

_JOB = r"^/v1/(?P<name>projects/[^/]+/locations/[^/]+/jobs/[^/:]+)"
_JOBS = r"^/v1/(?P<parent>projects/[^/]+/locations/[^/]+)/jobs$"
_OK = range(200, 300)
# HTTP status -> google.rpc.Code of the attempt, as the service writes it into Job.status.
_OUTCOMES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def routes(model: SchedulerModel) -> list[Route]:
    """Return the service's routes."""

    def listing(call: Call) -> Any:
        size = call.query("pageSize", "0")
        if not size.isdigit():
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'page_size' (TYPE_INT32), \"{size}\"")
        return model.listing(call.params["parent"], size=int(size), token=call.query("pageToken"))

    def patch(call: Call) -> Any:
        paths = [camel(path.strip()) for path in call.query("updateMask").split(",") if path.strip()]
        return model.patch(call.params["name"], call.json(), paths)

    table: list[tuple[str, str, str, Handler]] = [
        ("POST", _JOBS, "CreateJob", lambda call: model.create(call.params["parent"], call.json())),
        ("GET", _JOBS, "ListJobs", listing),
        ("GET", f"{_JOB}$", "GetJob", lambda call: model.get(call.params["name"])),
        ("PATCH", f"{_JOB}$", "UpdateJob", patch),
        ("DELETE", f"{_JOB}$", "DeleteJob", lambda call: model.delete(call.params["name"])),
        ("POST", f"{_JOB}:run$", "RunJob", lambda call: model.force(call.params["name"])),
        ("POST", f"{_JOB}:pause$", "PauseJob", lambda call: model.pause(call.params["name"])),
        ("POST", f"{_JOB}:resume$", "ResumeJob", lambda call: model.resume(call.params["name"])),
    ]
    return [
        Route(verb, re.compile(path), _spec(method), handler, "{parent}" if path == _JOBS else "{name}")
        for verb, path, method, handler in table
    ]


def _spec(method: str) -> CallSpec:
    verb = method.removesuffix("s").removesuffix("Job").lower()
    permission = {"resume": "enable"}.get(verb, verb)
    return CallSpec(
        "scheduler", method, mutates=verb not in {"get", "list"}, permission=f"cloudscheduler.jobs.{permission}"
    )


class SchedulerRuntime:
    """The runner of due attempts. `publish(topic, drafts)` is the Pub/Sub model's; `signer` signs OIDC tokens."""

    def __init__(self, world: World, model: SchedulerModel, publish: Publish, *, signer: Signer | None = None) -> None:
        self._world = world
        self._model = model
        self._publish = publish
        self._signer = signer
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._http: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Start the thread."""
        self._stopping.clear()
        self._http = ThreadPoolExecutor(max_workers=4, thread_name_prefix="scheduler-http")
        self._thread = threading.Thread(target=self._watch, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; safe to call twice."""
        self._stopping.set()
        self._world.clock.poke()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        if self._http is not None:
            self._http.shutdown(wait=False, cancel_futures=True)
            self._http = None

    def _watch(self) -> None:
        clock = self._world.clock
        while not self._stopping.is_set():
            seen = clock.changes
            with self._world.lock:
                due = self._model.take_due()
                following = self._model.next_due()
            for attempt in due:
                if "httpTarget" in attempt.job and self._http is not None:
                    self._http.submit(self._make, attempt)
                else:
                    self._make(attempt)
            if not due:
                clock.wait_until(following, since=seen)

    def _make(self, attempt: Attempt) -> None:
        name = attempt.job["name"]
        spec = CallSpec("scheduler", "Attempt")
        error: ApiError | None = None
        try:
            failure = self._request(attempt) if "httpTarget" in attempt.job else None
            self._world.perform(spec, name, self._agent, lambda: self._conclude(attempt, failure))
        except ApiError as refused:
            error = refused
        with self._world.lock:
            self._model.finish(attempt, error)

    @property
    def _agent(self) -> str:
        return f"service-{self._world.project_number}@gcp-sa-cloudscheduler.iam.gserviceaccount.com"

    def _conclude(self, attempt: Attempt, failure: ApiError | None) -> None:
        """Publish the message of an attempt with a Pub/Sub target; raise the failure of an attempt with an HTTP target.

        This part of an attempt needs the world's lock.
        """
        if failure is not None:
            raise failure
        target = attempt.job.get("pubsubTarget")
        if target is None:
            return
        draft = Draft(_bytes(target.get("data", "")), dict(target.get("attributes", {})))
        topic = target["topicName"]
        spec = CallSpec("pubsub", "Publish", mutates=True, permission="pubsub.topics.publish")
        self._world.perform(spec, topic, self._agent, lambda: self._publish(topic, [draft]))

    def _request(self, attempt: Attempt) -> ApiError | None:
        """Call an HTTP target in real time. Return None if the target answers 2xx, else the error."""
        target = attempt.job["httpTarget"]
        headers = {
            "User-Agent": "Google-Cloud-Scheduler",
            "X-CloudScheduler": "true",
            "X-CloudScheduler-JobName": attempt.job["name"].rsplit("/", 1)[-1],
            "X-CloudScheduler-ScheduleTime": rfc3339(attempt.run_of),
            **target.get("headers", {}),
        }
        token = target.get("oidcToken")
        if token is not None and self._signer is not None:
            signed = self._signer(token["serviceAccountEmail"], token.get("audience") or target["uri"])
            headers["Authorization"] = f"Bearer {signed}"
        try:
            answer = requests.request(
                target["httpMethod"],
                target["uri"],
                headers=headers,
                data=_bytes(target.get("body", "")),
                timeout=parse_duration(attempt.job["attemptDeadline"], field="attempt_deadline").total_seconds(),
                allow_redirects=False,
            )
        except requests.Timeout:
            return ApiError("DEADLINE_EXCEEDED", "URL_TIMEOUT-TIMEOUT_WEB")
        except requests.RequestException:
            return ApiError("UNAVAILABLE", "URL_UNREACHABLE-UNREACHABLE_5xx")
        if answer.status_code in _OK:
            return None
        return ApiError(_OUTCOMES.get(answer.status_code, "UNKNOWN"), f"HTTP status {answer.status_code}")


def _bytes(text: str) -> bytes:
    """Return the bytes of a JSON bytes field, in either base64 alphabet."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))
