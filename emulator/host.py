"""The function host: it runs Python functions as real functions-framework processes and feeds them from Pub/Sub.

Every function is a process group of its own (gunicorn's master and its worker). The group holds the read end of a pipe whose
only write end belongs to this process. When this process ends in any way, the pipe breaks and the group kills itself (on every POSIX system).
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.bridge import PATH, Bridge, Destination
from emulator.errors import ApiError
from emulator.host_process import FunctionProcess, Heard, Launch
from emulator.model.pubsub_names import check_name
from emulator.wire.http import Call, Handler, Route, route
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.token import ProcessToken
    from emulator.wire.pubsub import PubSubRuntime

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS: dict[str, type] = {
    "name": str, "source": str, "entry_point": str, "topic": str, "environment": dict, "signature": str, "retry": bool,
    "threads": int, "max_instances": int, "dead_letter_topic": str, "max_delivery_attempts": int, "ack_deadline": int,
    "minimum_backoff": str, "maximum_backoff": str, "retention": str,
}  # fmt: skip
_SIGNATURES = {"cloudevent", "http"}
# The default settings of a new subscription, and their names in an update mask.
_FIRST: dict[str, Any] = {
    "ackDeadlineSeconds": 600,
    "messageRetentionDuration": "86400s",
    "expirationPolicy": {},
    "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
    "labels": {"goog-eventarc": ""},
}
_MASKS = {
    "ackDeadlineSeconds": "ack_deadline_seconds",
    "messageRetentionDuration": "message_retention_duration",
    "retryPolicy": "retry_policy",
    "deadLetterPolicy": "dead_letter_policy",
    "pushConfig": "push_config",
}
_MOST_THREADS = 1000
_MOST_INSTANCES = 100


@dataclass(frozen=True, slots=True)
class Deployment:
    """The request to deploy a function.

    Times are written as in the API: `ack_deadline` in seconds, backoffs and `retention` as `10s`. Settings of the
    subscription that are None get the default when the subscription is created. If the subscription exists, they stay
    unchanged: like Eventarc, a redeployment does not undo changes to the subscription. An empty `dead_letter_topic`
    removes the policy.
    """

    name: str
    source: str
    entry_point: str
    topic: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    signature: str = "cloudevent"
    retry: bool = True
    threads: int = 8
    max_instances: int = 1
    dead_letter_topic: str | None = None
    max_delivery_attempts: int | None = None
    ack_deadline: int | None = None
    minimum_backoff: str | None = None
    maximum_backoff: str | None = None
    retention: str | None = None

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Deployment:
        """Return a deployment from JSON. Raise `ApiError` (400), which names the fault, for an invalid request."""
        for key, value in raw.items():
            if key not in _KINDS:
                raise _bad(f"unknown field {key!r}; known: {', '.join(_KINDS)}")
            if not isinstance(value, _KINDS[key]) or (isinstance(value, bool) and _KINDS[key] is int):
                raise _bad(f"{key!r} is a {_KINDS[key].__name__}, not {value!r}")
        for key in ("name", "source", "entry_point"):
            if not raw.get(key):
                raise _bad(f"{key!r} is needed")
        made = cls(**raw)
        made.check()
        return made

    def check(self) -> None:
        """Raise `ApiError` (400) for values that are invalid for a function."""
        if not _NAME.fullmatch(self.name):
            raise _bad(f"name {self.name!r}: small letters, digits and hyphens, at most 63, a letter first")
        if not _IDENTIFIER.fullmatch(self.entry_point):
            raise _bad(f"entry_point {self.entry_point!r} is no Python name")
        if self.signature not in _SIGNATURES:
            raise _bad(f"signature is one of {sorted(_SIGNATURES)}, not {self.signature!r}")
        if not (Path(self.source) / "main.py").is_file():
            raise _bad(f"source {self.source!r} has no main.py")
        if not all(isinstance(value, str) for value in self.environment.values()):
            raise _bad("the values of environment are texts")
        if not 1 <= self.threads <= _MOST_THREADS or not 1 <= self.max_instances <= _MOST_INSTANCES:
            raise _bad(f"threads is 1 to {_MOST_THREADS}, max_instances 1 to {_MOST_INSTANCES}")
        if self.topic:
            check_name(self.topic, "topics")

    def launch(self) -> Launch:
        """Return the start parameters of the function's process.

        The environment has Cloud Run's variables, overridden by the function's own.
        """
        environment = {
            "K_SERVICE": self.name,
            "K_CONFIGURATION": self.name,
            "K_REVISION": f"{self.name}-00001-emu",
            "FUNCTION_TARGET": self.entry_point,
            "FUNCTION_SIGNATURE_TYPE": self.signature,
            "WORKERS": str(self.max_instances),
            "THREADS": str(self.threads),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }
        source = str(Path(self.source).resolve())
        return Launch(self.name, source, self.entry_point, self.signature, environment)


@dataclass(slots=True)
class _Function:
    deployment: Deployment
    process: FunctionProcess


class FunctionHost:
    """A host of functions, each in a process group of its own.

    `log_folder` gets `<name>.log` with each function's output unchanged; without a folder, output goes to stderr.
    `heard` is called with each line of output. `/_emulator/functions` starts and stops processes only for callers with
    the `token`; each process's own port only accepts calls of this host. `stop` ends every process. A function's
    subscription stays when the host stops, and is deleted with the function.
    """

    def __init__(
        self,
        world: World,
        pubsub: PubSubRuntime,
        token: ProcessToken,
        *,
        log_folder: Path | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._world = world
        self._token = token
        self._pubsub = pubsub
        self._log_folder = log_folder
        self._heard = heard
        self._lock = threading.Lock()
        self._functions: dict[str, _Function] = {}
        self._bridge = Bridge(self.destination)
        self._stopped = True

    def start(self) -> None:
        """Take over the pushes to functions; `deploy` starts the functions themselves."""
        self._stopped = False
        if self._bridge.rewrite not in self._pubsub.rewrites:
            self._pubsub.rewrites.append(self._bridge.rewrite)

    def stop(self) -> None:
        """Stop all processes in parallel and wait until they have ended; safe to call twice."""
        with self._lock:
            self._stopped = True
            processes = [function.process for function in self._functions.values()]
            self._functions.clear()
        _all_at_once([process.stop for process in processes])

    def routes(self) -> list[Route]:
        """Return the routes of `/_emulator/functions` and of the bridge."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/_emulator/functions", self._post),
            ("GET", "/_emulator/functions", self._list),
            ("DELETE", "/_emulator/functions/{name}", self._delete),
        ]
        return [*(route(verb, path, None, handler) for verb, path, handler in table), *self._bridge.routes()]

    def deploy(self, deployment: Deployment, *, base_url: str) -> dict[str, Any]:
        """Start a function and subscribe it. A function of the same name is replaced once the new function listens.

        `base_url` is the URL of this cloud, for the endpoint of the subscription. Raise FAILED_PRECONDITION with the
        last lines of the process's output if it ends before it listens, and UNAVAILABLE if the host is stopped. After
        any other `ApiError`, the earlier function of that name still runs.
        """
        process = FunctionProcess(deployment.launch(), log_folder=self._log_folder, heard=self._heard)
        process.start()
        function, before = _Function(deployment, process), None
        try:
            # The new function is registered first, so that a push finds it and need not wait for a backoff.
            before = self._swap(deployment.name, function)
            if deployment.topic:
                self._subscribe(deployment, base_url)
        except ApiError:
            self._swap(deployment.name, before, instead_of=function)
            process.stop()
            raise
        if before is not None:
            before.process.stop()
            if before.deployment.topic and not deployment.topic:
                self._unsubscribe(before.deployment)
        return self._describe(deployment, process)

    def _swap(self, name: str, function: _Function | None, *, instead_of: _Function | None = None) -> _Function | None:
        """Register `function` under `name` (None removes the entry), and return the previous entry.

        With `instead_of`, the entry is only changed if that function is the present one. Raise UNAVAILABLE for a
        function that comes after the host is stopped.
        """
        with self._lock:
            if self._stopped and function is not None:
                raise ApiError("UNAVAILABLE", "The function host is stopped")
            before = self._functions.get(name)
            if instead_of is not None and before is not instead_of:
                return before
            if function is None:
                self._functions.pop(name, None)
            else:
                self._functions[name] = function
        return before

    def delete(self, name: str) -> None:
        """Stop the function and remove its subscription; raise 404 if there is no such function."""
        with self._lock:
            function = self._functions.pop(name, None)
        if function is None:
            raise ApiError("NOT_FOUND", f"There is no function {name}")
        function.process.stop()
        if function.deployment.topic:
            self._unsubscribe(function.deployment)

    def listing(self) -> list[dict[str, Any]]:
        """Return a description of each function: name, topic, entry point, source, url, pid, restarts, state, and last lines of output."""
        with self._lock:
            functions = list(self._functions.values())
        return [self._describe(function.deployment, function.process) for function in functions]

    @staticmethod
    def _describe(deployment: Deployment, process: FunctionProcess) -> dict[str, Any]:
        return {
            "name": deployment.name,
            "topic": deployment.topic,
            "entry_point": deployment.entry_point,
            "source": deployment.source,
            **process.describe(),
        }

    def destination(self, name: str) -> Destination | None:
        """Return the function's URL and required headers, or None if there is no such function."""
        with self._lock:
            function = self._functions.get(name)
        if function is None:
            return None
        process, wanted = function.process, function.deployment
        return Destination(process.url, wanted.topic, wanted.retry, process.headers)

    # ---- the subscription, as Eventarc makes it

    def _subscription(self, deployment: Deployment) -> str:
        project = deployment.topic.split("/")[1]
        return f"projects/{project}/subscriptions/eventarc-{deployment.name}"

    def _subscribe(self, deployment: Deployment, base_url: str) -> None:
        name = self._subscription(deployment)
        settings = _asked_settings(deployment)
        push = {"pushConfig": {"pushEndpoint": f"{base_url.rstrip('/')}{PATH}{deployment.name}"}}
        self._perform("CreateSubscription", name, lambda: self._put_subscription(deployment, settings | push))

    def _unsubscribe(self, deployment: Deployment) -> None:
        subscription = self._subscription(deployment)
        self._perform("DeleteSubscription", subscription, lambda: self._forget(subscription))

    def _put_subscription(self, deployment: Deployment, settings: dict[str, Any]) -> None:
        model, name = self._pubsub.model, self._subscription(deployment)
        old = model.subscriptions.get(name)
        if old is not None and old.config["topic"] != deployment.topic:
            model.delete_subscription(name)
            old = None
        if old is None:
            retry = {"retryPolicy": _FIRST["retryPolicy"] | settings.get("retryPolicy", {})}
            given = {key: value for key, value in settings.items() if value is not None}
            model.create_subscription({**_FIRST, **given, **retry, "name": name, "topic": deployment.topic})
            return
        if "retryPolicy" in settings:
            settings["retryPolicy"] = old.config.get("retryPolicy", {}) | settings["retryPolicy"]
        changed = {key: value for key, value in settings.items() if value is not None}
        model.update_subscription({**changed, "name": name}, [_MASKS[key] for key in settings])

    def _forget(self, subscription: str) -> None:
        if subscription in self._pubsub.model.subscriptions:
            self._pubsub.model.delete_subscription(subscription)

    def _perform(self, method: str, resource: str, work: Callable[[], None]) -> None:
        agent = f"service-{self._world.project_number}@gcp-sa-eventarc.iam.gserviceaccount.com"
        self._world.perform(CallSpec("pubsub", method, mutates=True), resource, agent, work)

    # ---- control API

    def _post(self, call: Call) -> Any:
        self._token.check(call.request)
        return self.deploy(Deployment.parse(call.json()), base_url=call.request.host_url)

    def _list(self, call: Call) -> Any:
        del call
        return {"functions": self.listing()}

    def _delete(self, call: Call) -> Any:
        self._token.check(call.request)
        self.delete(call.params["name"])
        return {}


def _asked_settings(deployment: Deployment) -> dict[str, Any]:
    """Return the deployment's settings for its subscription in the API's form; None removes a setting."""
    asked: dict[str, Any] = {}
    if deployment.ack_deadline is not None:
        asked["ackDeadlineSeconds"] = deployment.ack_deadline
    if deployment.retention is not None:
        asked["messageRetentionDuration"] = deployment.retention
    backoffs = {"minimumBackoff": deployment.minimum_backoff, "maximumBackoff": deployment.maximum_backoff}
    if any(backoffs.values()):
        asked["retryPolicy"] = {name: backoff for name, backoff in backoffs.items() if backoff is not None}
    if deployment.dead_letter_topic is not None:
        attempts = (
            {}
            if deployment.max_delivery_attempts is None
            else {"maxDeliveryAttempts": deployment.max_delivery_attempts}
        )
        policy = {"deadLetterTopic": deployment.dead_letter_topic, **attempts}
        asked["deadLetterPolicy"] = policy if deployment.dead_letter_topic else None
    return asked


def _bad(message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Function: {message}")


def _all_at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
