"""The target of a deployment: the project, the names in it, and reads that are retried."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from cli.deploy.archive import Archive
from cli.deploy.data import AGENTS, Deployment
from cli.deploy.failures import NotYetError
from cli.deploy.gcloud import PATIENCE_S, Call, Gcloud

OURS = "managed-by"
BENCHKEEPER = "benchkeeper"
_BRIEF = 2


class _Kept:
    """A cache of answers by question, so that several kinds of resource share one read. Errors are cached, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, ...], Future[Any]] = {}

    def once(self, words: tuple[str, ...], ask: Callable[[], Any]) -> Any:
        """Return the answer to the question `words`, which the first caller gets by `ask`; other callers wait for that answer."""
        with self._lock:
            first = words not in self._answers
            answer = self._answers.setdefault(words, Future())
        if first:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001 - raised for every caller, this one too
                answer.set_exception(error)
        return answer.result()


class Target(Struct, frozen=True, kw_only=True):
    """A project and its wanted state.

    `off` are the services that are still to be turned on; their resources are not read, because the services cannot
    answer. With `patient` (this run turned services on), a read is retried for two minutes until the new services
    answer. `deployer` is the account that deploys.
    """

    deployment: Deployment
    gcloud: Gcloud
    number: str
    archive: Archive
    now: datetime
    off: frozenset[str] = frozenset()
    patient: bool = False
    deployer: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    _kept: _Kept = field(default_factory=_Kept)

    @property
    def project(self) -> str:
        """The project's id."""
        return self.deployment.settings.project

    @property
    def region(self) -> str:
        """The region of functions and jobs."""
        return self.deployment.settings.region

    def account(self, key: str) -> str:
        """Return the e-mail address of a service account of the deployment, by its short name."""
        return f"{self.deployment.accounts[key].id}@{self.project}.iam.gserviceaccount.com"

    def agent(self, name: str) -> str:
        """Return the address of one of Google's service agents for this project."""
        return AGENTS[name].format(number=self.number)

    def member(self, to: str) -> str:
        """Return a short name such as `account/tick` or `agent/pubsub` as an IAM member."""
        kind, _, name = to.partition("/")
        return f"serviceAccount:{self.account(name) if kind == 'account' else self.agent(name)}"

    def topic(self, name: str) -> str:
        """Return a topic's full name."""
        return f"projects/{self.project}/topics/{name}"

    def read(self, api: str, *words: str, otherwise: Any, project: bool = True) -> Any:
        """Return the result of a read-only gcloud command, which runs once for each plan.

        Return `otherwise` if the service is off or the result is empty.
        """
        if api in self.off:
            return otherwise
        found = self._kept.once(words, lambda: self._patiently(lambda: self.gcloud.read(*words, project=project)))
        return otherwise if found is None else found

    def ask(self, api: str, call: Call, otherwise: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the result of a read-only REST call. Return `otherwise` if the service is off."""
        if api in self.off:
            return otherwise
        answer: Mapping[str, Any] = self._patiently(lambda: self.gcloud.call(call))
        return answer

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        for pause_s in PATIENCE_S if self.patient else PATIENCE_S[:_BRIEF]:
            try:
                return ask()
            except NotYetError:
                if self.stop.wait(pause_s):
                    raise
        return ask()
