"""The common state of all administrative services: the project, its APIs and the known accounts.

The module also defines the form of a call (`Ask`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.admin import errors
from emulator.clock import rfc3339
from emulator.errors import ApiError

if TYPE_CHECKING:
    from emulator.app import EmbeddedCloud

Json = dict[str, Any]

# The APIs of a new project. (Real new projects also have BigQuery, Logging and Monitoring, depending on how they were created: a
# deployment must not count on it.)
FIRST_APIS = (
    "cloudapis.googleapis.com", "servicemanagement.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com",
    "storage-api.googleapis.com", "storage-component.googleapis.com",
)  # fmt: skip
# Google's own accounts, by the middle of their address, and the API that creates them. Other accounts (Identity-Aware Proxy's)
# exist once they are requested.
_AGENTS = {
    "gcp-sa-artifactregistry": "artifactregistry", "gcp-sa-bigquerydatatransfer": "bigquerydatatransfer",
    "gcp-sa-cloudbuild": "cloudbuild", "gcp-sa-cloudscheduler": "cloudscheduler", "gcp-sa-eventarc": "eventarc",
    "gcp-sa-logging": "logging", "gcp-sa-monitoring-notification": "monitoring", "gcp-sa-notebooks": "notebooks",
    "gcp-sa-notebooks-vm": "notebooks", "gcp-sa-pubsub": "pubsub", "gcp-sa-cloudkms": "cloudkms",
    "gcf-admin-robot": "cloudfunctions", "serverless-robot-prod": "run", "compute-system": "compute",
    "dataproc-accounts": "dataproc", "containerregistry": "containerregistry",
}  # fmt: skip
_AGENT = re.compile(r"service-(?P<number>\d+)@(?P<kind>[a-z0-9-]+)\.iam\.gserviceaccount\.com")


@dataclass(slots=True)
class Ask:
    """A call that was matched to a method.

    `params` are its decoded path parameters; projects appear by their id, never by number.
    """

    method: str
    params: dict[str, str]
    query: Mapping[str, str]
    body: Json
    base_url: str

    def of(self, *names: str) -> str:
        """Return the value of the first of these path parameters that is present in the call."""
        return next(self.params[name] for name in names if name in self.params)

    def policy_version(self) -> int:
        """Return the version of an allow policy that the caller requests."""
        asked = self.body.get("options", {}).get("requestedPolicyVersion")
        return int(asked or self.query.get("options.requestedPolicyVersion", "1"))


Handler = Callable[[Ask], Any]


@dataclass
class Ground:
    """The project and its state, common to all services. State only changes while the world's lock is held.

    `propagation` is the number of first uses of a new account or API that are refused.
    """

    embedded: EmbeddedCloud
    project: str
    number: str
    organization: str | None
    billing: bool = True
    propagation: int = 0
    apis: set[str] = field(default_factory=lambda: set(FIRST_APIS))
    identities: set[str] = field(default_factory=set)
    _accounts_late: dict[str, int] = field(default_factory=dict)
    _apis_late: dict[str, int] = field(default_factory=dict)
    _versions: int = 0

    @property
    def lock(self) -> Any:
        """The world's lock."""
        return self.embedded.world.lock

    def now(self) -> str:
        """Return the embedded cloud's time as the APIs write it."""
        return rfc3339(self.embedded.world.clock.now())

    def next_id(self) -> int:
        """Return a number that was not returned before."""
        with self.lock:
            self._versions += 1
            return self._versions

    # ---- the project

    def check_project(self, name: str) -> None:
        """Raise 403 for another project.

        A project that does not exist gets the same error as one that the caller may not see.
        """
        if name not in (self.project, self.number):
            raise errors.no_such_project(name)

    def canonical(self, name: str) -> str:
        """Return a resource name with the project's id in place of its number; raise 403 for another project.

        The number alone becomes the id, too. `projects/-` and names that do not begin with a project are returned
        unchanged.
        """
        head, slash, rest = name.partition("/")
        if head not in ("projects", "namespaces") or not slash:
            return self.project if name == self.number else name
        project, slash, rest = rest.partition("/")
        if project != "-":
            self.check_project(project)
            project = self.project
        return f"{head}/{project}{slash}{rest}"

    # ---- APIs

    def enable(self, api: str) -> None:
        """Enable an API; its first `propagation` calls are still refused."""
        if api not in self.apis:
            self.apis.add(api)
            self._apis_late[api] = self.propagation

    def check_enabled(self, api: str) -> None:
        """Raise 403 SERVICE_DISABLED while the API is off or not yet enabled everywhere."""
        with self.lock:
            late = self._apis_late.get(api, 0)
            if late:
                self._apis_late[api] = late - 1
            if api not in self.apis or late:
                raise errors.api_disabled(api, self.project)

    # ---- accounts

    def exists(self, email: str) -> bool:
        """Return False for a missing service account of the project, and for Google's agent of an API that is off.

        An agent that was requested exists even then. Accounts of other projects are assumed to exist.
        """
        if self.is_own(email):
            return self.embedded.iam.account(email) is not None
        if email in self.identities:
            return True
        if email == f"{self.number}-compute@developer.gserviceaccount.com":
            return "compute.googleapis.com" in self.apis
        if email == f"{self.number}@cloudbuild.gserviceaccount.com":
            return "cloudbuild.googleapis.com" in self.apis
        agent = _AGENT.fullmatch(email)
        if agent and agent["number"] == self.number:
            needs = _AGENTS.get(agent["kind"])
            return agent["kind"] == "gs-project-accounts" or f"{needs}.googleapis.com" in self.apis
        return True  # an account of another project or of Google: assumed to exist

    def check_members(self, bindings: list[Json]) -> None:
        """Raise 400 for a service account that does not exist, and for the first `propagation` grants to a new one."""
        for binding in bindings:
            for member in binding.get("members", []):
                kind, _, email = member.partition(":")
                if kind == "serviceAccount":
                    self._check_account(email)

    def is_own(self, email: str) -> bool:
        """Return True for the address of a service account that the project can create."""
        return email.endswith(f"@{self.project}.iam.gserviceaccount.com")

    def _check_account(self, email: str) -> None:
        with self.lock:
            found = self.exists(email)
            if found and self.is_own(email):
                late = self._accounts_late.setdefault(email, self.propagation)
                self._accounts_late[email] = max(0, late - 1)
                found = not late
            if not found:
                raise ApiError("INVALID_ARGUMENT", f"Service account {email} does not exist.")
