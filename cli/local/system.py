"""Starts and stops the embedded cloud and puts Benchkeeper into it: bucket, topics, functions, scheduled ticks."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from cli.deploy.data import Deployment, load_deployment
from cli.deploy.kinds.bucket import lifecycle
from cli.deploy.kinds.messaging import seconds
from cli.deploy.models import FunctionModel, JobModel, SubscriptionModel
from cli.deploy.target import BENCHKEEPER, OURS
from shared.settings import Settings, project_override_variables

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_LABELS = {OURS: BENCHKEEPER}
_CUSTOMER = "customers/C00000000"  # the embedded cloud has one directory, whatever it is called
_GOOGLE_GROUP = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


class LocalError(Exception):
    """The local system cannot start; the text says why and what to do."""


class LocalSystem:
    """The embedded cloud as a child process, and what runs in it."""

    def __init__(self, settings: Settings, *, port: int, speed: float, data: Path) -> None:
        self.settings = settings
        self.url = f"http://{HOST}:{port}"
        self.log_file = data / "logs" / "emulator.log"
        self._port, self._speed, self._data = port, speed, data
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._http.trust_env = False  # loopback: a proxy that the environment names must not see it
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the embedded cloud and wait until it answers."""
        _refuse_used_port(self._port)
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module with our own arguments
                [
                    sys.executable, "-m", "emulator", "--port", str(self._port), "--speed", str(self._speed),
                    "--data", str(self._data), "--project", self.settings.project, "--until-stdin-closes",
                ],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        waited = 0.0
        while not self._answers():
            if self._process.poll() is not None:
                raise LocalError(f"The embedded cloud ended at once. Its last words ({self.log_file}):\n{self.tail()}")
            if waited > _START_TIMEOUT_S:
                raise LocalError(f"The embedded cloud does not answer on {self.url}. See {self.log_file}.")
            self._stopping.wait(0.1)
            waited += 0.1

    def _answers(self) -> bool:
        try:
            return self._http.get(f"{self.url}/_emulator/clock", timeout=2).ok
        except requests.RequestException:
            return False

    def deploy(self) -> None:
        """Make what is missing of config/deploy/: bucket, data groups, topics, functions with subscriptions, jobs. Safe to repeat."""
        project, wanted = self.settings.project, load_deployment(self.settings)
        self._ensure("POST", f"/storage/v1/b?project={project}", self._bucket(wanted))
        for group in wanted.data_roles:  # an administrator's work elsewhere
            self._ensure(
                "POST", "/v1/groups", {"parent": _CUSTOMER, "groupKey": {"id": group}, "labels": _GOOGLE_GROUP}
            )
        for name, topic in wanted.topics.items():
            keeps = {"messageRetentionDuration": seconds(topic.retention), "labels": _LABELS}
            self._ensure("PUT", f"/v1/{self._topic(name)}", keeps)
        for name, subscription in wanted.subscriptions.items():
            self._ensure("PUT", f"/v1/projects/{project}/subscriptions/{name}", self._subscription(subscription))
        for name, function in wanted.functions.items():
            self._ensure("POST", "/_emulator/functions", self._function(name, function))
        for name, job in wanted.jobs.items():
            path = f"/v1/projects/{project}/locations/{self.settings.region}/jobs"
            self._ensure("POST", path, self._job(name, job))

    def _bucket(self, wanted: Deployment) -> dict[str, Any]:
        return {
            "name": self.settings.bucket,
            "location": self.settings.region.upper(),
            "versioning": {"enabled": wanted.bucket.versioning},
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
            "softDeletePolicy": {"retentionDurationSeconds": str(int(wanted.bucket.soft_delete.total_seconds()))},
            "lifecycle": lifecycle(wanted.bucket.keep_old_versions),
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
        delivery = wanted.delivery
        function: dict[str, Any] = {
            "name": name,
            "source": str(ROOT),
            "entry_point": wanted.entry_point,
            "topic": self._topic(wanted.topic),
            "environment": self.environment(),
            "threads": wanted.concurrency,
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
        """What the functions see of the outside."""
        return {**project_override_variables(self.settings), "PYTHONDONTWRITEBYTECODE": "1"}

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

    def _ensure(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        try:
            answer = self._http.request(method, self.url + path, json=body, timeout=_START_TIMEOUT_S)
        except requests.RequestException as error:
            raise LocalError(f"The embedded cloud did not answer {method} {path}. See {self.log_file}.") from error
        if answer.ok or answer.status_code == requests.codes.conflict:
            return
        raise LocalError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")

    def running(self) -> bool:
        """True while the embedded cloud is alive."""
        return self._process is not None and self._process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The last lines of the embedded cloud's log."""
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self) -> None:
        """End the embedded cloud and all functions; it saves its state first."""
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


def _refuse_used_port(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LocalError(
                f"Port {port} of {HOST} is in use. End what uses it, or choose another: ./deploy.sh local --port {port + 1}"
            ) from error
