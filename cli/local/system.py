"""The start of the embedded cloud, and the deployment of Benchkeeper to it.

The deployment has buckets, topics, functions and scheduled ticks.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from cli.deploy.data import load_deployment
from cli.deploy.kinds.buckets import lifecycle
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import BucketModel, FunctionModel, JobModel, SubscriptionModel
from cli.deploy.target import BENCHKEEPER, OURS
from cli.local.errors import LocalError
from cli.local.people import WITH_ROLE
from cli.local.ports import HOST, Ports
from shared.settings import Settings, project_override_variables

ROOT = Path(__file__).resolve().parents[2]
AUDIENCE = "BENCHKEEPER_IAP_AUDIENCE"  # the audience of the signed header that the hub page accepts
_START_TIMEOUT_S = 60.0
_REFUSED = 2  # the embedded cloud's exit status for invalid arguments; its last line says why
_STOP_TIMEOUT_S = 20.0
_LABELS = {OURS: BENCHKEEPER}
_CUSTOMER = "customers/C00000000"  # the embedded cloud has one directory, under any name
_GOOGLE_GROUP = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


class LocalSystem:
    """The embedded cloud as a child process, and the deployment in it."""

    def __init__(
        self, settings: Settings, ports: Ports, *, speed: float | None, data: Path, jupyter: Path | None = None,
        allowed_hosts: Sequence[str] = (), command: str = "./deploy.sh local", told: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.url = f"http://{HOST}:{ports.cloud}"
        self.hub_url = f"http://localhost:{ports.hub}"
        self.log_file = data / "logs" / "emulator.log"
        self._ports, self._speed, self._data, self._jupyter = ports, speed, data, jupyter
        self._allowed_hosts, self._called = allowed_hosts, command
        self._told = dict(told or {})  # the variables of the mail sink
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._token_file = (
            data / "token"
        )  # needed to start processes in the embedded cloud; only the user can read the file
        self._http.trust_env = False  # loopback: the request must not go to a proxy that the environment names
        self._stopping = threading.Event()

    @property
    def has_page(self) -> bool:
        """Return True if the deployment has a hub page."""
        return load_deployment(self.settings).page is not None

    def start(self) -> None:
        """Start the embedded cloud and wait until it answers. Raise `LocalError` if a port is in use or the start fails."""
        self._ports.refuse_used(with_jupyter=self._jupyter is not None, command=self._called)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module with our own arguments
                self._command(),
                cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        waited = 0.0
        while not self._answers():
            if self._process.poll() == _REFUSED:
                raise LocalError(self.tail(1).removeprefix("error: "))
            if self._process.poll() is not None:
                raise LocalError(
                    f"The embedded cloud ended at once. The end of its log ({self.log_file}):\n{self.tail()}"
                )
            if waited > _START_TIMEOUT_S:
                raise LocalError(f"The embedded cloud does not answer on {self.url}. See {self.log_file}.")
            self._stopping.wait(0.1)
            waited += 0.1

    def _command(self) -> list[str]:
        command = [
            sys.executable, "-m", "emulator", "--port", str(self._ports.cloud),
            "--data", str(self._data), "--project", self.settings.project, "--until-stdin-closes",
            "--hub-port", str(self._ports.hub), "--hub-region", self.settings.region,
        ]  # fmt: skip
        if self._speed is not None:
            command += ["--speed", str(self._speed)]
        for name in self._allowed_hosts:
            command += ["--allow-host", name]
        if self._jupyter is not None:
            command += ["--jupyter", str(self._jupyter), "--jupyter-port", str(self._ports.jupyter)]
        return command

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/_emulator/clock", timeout=2).ok
        except requests.RequestException:
            return False

    def token(self) -> dict[str, str]:
        """Return the header that is needed to start processes in the embedded cloud, with this run's token.

        Raise `LocalError` if the token's file cannot be read.
        """
        try:
            return {"X-Emulator-Token": self._token_file.read_text(encoding="ascii")}
        except OSError as error:
            raise LocalError(
                f"The embedded cloud's token in {self._token_file} cannot be read: {error.strerror}."
            ) from error

    def deploy(self, people: Sequence[Mapping[str, str]] = ()) -> None:
        """Create every missing resource of config/deploy/: buckets, groups, topics, functions with subscriptions, jobs.

        Safe to repeat. The sign-in page offers the `people`. Raise `LocalError` if a call fails.
        """
        project, wanted = self.settings.project, load_deployment(self.settings)
        self._http.headers.update(self.token())
        for name, bucket in wanted.buckets.items():
            self._ensure("POST", f"/storage/v1/b?project={project}", self._bucket(name, bucket))
        self._ensure("POST", "/_emulator/people", {"people": list(people)})
        for group in wanted.data_roles:  # on Google Cloud, an administrator creates these groups
            self._ensure_group(group)
        for role, group in self.settings.roles.groups():
            self._ensure_group(group, members=WITH_ROLE[role])
        for name, topic in wanted.wanted(wanted.topics).items():
            keeps = {"messageRetentionDuration": seconds(topic.retention), "labels": _LABELS}
            self._ensure("PUT", f"/v1/{self._topic(name)}", keeps)
        for name, subscription in wanted.subscriptions.items():
            self._ensure("PUT", f"/v1/projects/{project}/subscriptions/{name}", self._subscription(subscription))
        for name, function in wanted.wanted(wanted.functions).items():
            self._ensure("POST", "/_emulator/functions", self._function(name, function))
        for name, job in wanted.jobs.items():
            path = f"/v1/projects/{project}/locations/{self.settings.region}/jobs"
            self._ensure("POST", path, self._job(name, job))

    def _bucket(self, name: str, wanted: BucketModel) -> dict[str, Any]:
        return {
            "name": name,
            "location": self.settings.region.upper(),
            "versioning": {"enabled": wanted.versioning},
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
            "softDeletePolicy": {"retentionDurationSeconds": str(int(wanted.soft_delete.total_seconds()))},
            "lifecycle": lifecycle(wanted),
            "labels": _LABELS,
        }

    def _subscription(self, wanted: SubscriptionModel) -> dict[str, Any]:
        return {
            "topic": self._topic(wanted.topic),
            "ackDeadlineSeconds": int(wanted.ack_deadline.total_seconds()),
            "messageRetentionDuration": seconds(wanted.retention),
            "expirationPolicy": {},
            "labels": _LABELS,
        }

    def _function(self, name: str, wanted: FunctionModel) -> dict[str, Any]:
        function: dict[str, Any] = {
            "name": name,
            "source": str(ROOT),
            "entry_point": wanted.entry_point,
            # The functions that take up the page's requests verify the audience of the proxy's signature, as the page does.
            "environment": self.environment() | {AUDIENCE: str(self._get("/_emulator/iap")["audience"])},
            "threads": wanted.concurrency,
        }
        if wanted.heard is None:
            function["signature"] = "http"
            return function
        delivery = wanted.heard.delivery
        function |= {
            "topic": self._topic(wanted.heard.topic),
            "ack_deadline": int(delivery.ack_deadline.total_seconds()),
            "minimum_backoff": seconds(delivery.min_backoff),
            "maximum_backoff": seconds(delivery.max_backoff),
            "retention": seconds(delivery.retention),
        }
        if delivery.dead_letter_topic is not None:
            function["dead_letter_topic"] = self._topic(delivery.dead_letter_topic)
            function["max_delivery_attempts"] = delivery.max_delivery_attempts
        return function

    def _topic(self, name: str) -> str:
        return f"projects/{self.settings.project}/topics/{name}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables that all functions share."""
        return {**project_override_variables(self.settings), **self._told, "PYTHONDONTWRITEBYTECODE": "1"}

    def _job(self, name: str, wanted: JobModel) -> dict[str, Any]:
        parent = f"projects/{self.settings.project}/locations/{self.settings.region}"
        return {
            "name": f"{parent}/jobs/{name}",
            "schedule": wanted.schedule,
            "timeZone": "Etc/UTC",
            "pubsubTarget": {
                "topicName": self._topic(wanted.topic),
                "data": base64.b64encode(json.dumps(wanted.body).encode()).decode(),
            },
        }

    def _ensure_group(self, email: str, *, members: Sequence[str] = ()) -> None:
        group = {"parent": _CUSTOMER, "groupKey": {"id": email}, "labels": _GOOGLE_GROUP}
        self._ensure("POST", "/v1/groups", group)
        if not members:
            return
        name = self._get(f"/v1/groups:lookup?{urlencode({'groupKey.id': email})}")["name"]
        for member in members:
            membership = {"preferredMemberKey": {"id": member}, "roles": [{"name": "MEMBER"}]}
            self._ensure("POST", f"/v1/{name}/memberships", membership)

    def _get(self, path: str) -> dict[str, Any]:
        return dict(self._call("GET", path, None).json())

    def _ensure(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        self._call(method, path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> requests.Response:
        """Return the response. A conflict is not an error: the resource already exists. Raise `LocalError` for other errors."""
        try:
            answer = self._http.request(method, self.url + path, json=body, timeout=_START_TIMEOUT_S)
        except requests.RequestException as error:
            raise LocalError(f"The embedded cloud did not answer {method} {path}. See {self.log_file}.") from error
        if answer.ok or answer.status_code == requests.codes.conflict:
            return answer
        raise LocalError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")

    def running(self) -> bool:
        """Return True while the embedded cloud is alive."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the embedded cloud's log; "" if the log cannot be read."""
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self) -> None:
        """Stop the embedded cloud and all functions. The cloud saves its state first; after twenty seconds it is killed."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self._http.close()
        self._process = None
