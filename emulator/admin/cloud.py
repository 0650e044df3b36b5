"""The administrative APIs of Google around an embedded cloud, on a port of their own: the APIs that a deployment calls.

This module also has three small APIs. Cloud Run's domain mappings (`domains.cloudrun.com/v1`) are those that gcloud's
beta commands use. Identity-Aware Proxy has an access policy for each Cloud Run service; the proxy is switched on at the
service itself (`run`). Secret Manager serves secrets, their policies and the listing of versions, from the embedded
cloud's model.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from emulator.admin.door import Door
from emulator.admin.functions import Functions
from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.admin.keys import Keys
from emulator.admin.logs import Logs
from emulator.admin.projects import Projects
from emulator.admin.run import Run
from emulator.admin.tables import Tables
from emulator.admin.watch import Watch
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy
from emulator.model.machine_types import ZONES
from emulator.wire.http import HttpFront
from emulator.wire.server import Server

if TYPE_CHECKING:
    from types import TracebackType

    from emulator.app import EmbeddedCloud


_CNAME = "ghs.googlehosted.com."  # Cloud Run, Mapping custom domains: the record of a subdomain


class Domains:
    """A service with Cloud Run's domain mappings, stored by domain. `verified` are the domains that belong to the caller."""

    def __init__(self, ground: Ground, run: Run) -> None:
        self._ground = ground
        self._run = run
        self.verified: set[str] = set()
        self.mappings: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        mappings = "run.namespaces.domainmappings"
        return {
            f"{mappings}.create": self.create,
            f"{mappings}.get": lambda ask: self._find(ask.of("name")),
            f"{mappings}.list": self.list,
            f"{mappings}.delete": self.delete,
            "run.projects.authorizeddomains.list": self.list_verified,
        }

    def list_verified(self, ask: Ask) -> Json:
        """Answer `authorizeddomains.list`."""
        name = ask.of("parent")
        return {"domains": [{"id": each, "name": f"{name}/authorizedDomains/{each}"} for each in sorted(self.verified)]}

    def create(self, ask: Ask) -> Json:
        """Answer `domainmappings.create`. The DNS records are returned at once; the mapping becomes ready when a test calls `be_ready`."""
        domain, service = ask.body["metadata"]["name"], ask.body["spec"]["routeName"]
        if domain in self.mappings:
            raise ApiError("ALREADY_EXISTS", f"Resource '{domain}' already exists.")
        if not any(domain == each or domain.endswith(f".{each}") for each in self.verified):
            raise ApiError("PERMISSION_DENIED", f"Caller is not authorized to administer the domain '{domain}'.")
        if not any(name.endswith(f"/services/{service}") for name in self._run.services):
            raise ApiError("NOT_FOUND", f"Route '{service}' does not exist.")
        record = {"name": domain.partition(".")[0], "type": "CNAME", "rrdata": _CNAME}
        self.mappings[domain] = {
            **ask.body,
            "metadata": {**ask.body["metadata"], "namespace": self._ground.number, "generation": 1},
            "status": {"mappedRouteName": service, "observedGeneration": 1, "resourceRecords": [record]},
        }
        self._say(domain, "Unknown")
        return self.mappings[domain]

    def be_ready(self, domain: str) -> None:
        """Make a mapping ready, as if its DNS records were set and its certificate existed."""
        self._say(domain, "True")

    def _say(self, domain: str, status: str) -> None:
        self.mappings[domain]["status"]["conditions"] = [{"type": "Ready", "status": status}]

    def list(self, ask: Ask) -> Json:
        """Answer `domainmappings.list`."""
        del ask
        items = [mapping for _, mapping in sorted(self.mappings.items())]
        return {"apiVersion": "domains.cloudrun.com/v1", "kind": "DomainMappingList", "items": items}

    def delete(self, ask: Ask) -> Json:
        """Answer `domainmappings.delete`."""
        del self.mappings[self._find(ask.of("name"))["metadata"]["name"]]
        return {"status": "Success"}

    def _find(self, name: str) -> Json:
        domain = name.rpartition("/")[2]
        if domain not in self.mappings:
            raise ApiError("NOT_FOUND", f"Resource '{domain}' of kind 'DOMAIN_MAPPING' does not exist.")
        return self.mappings[domain]


# The resource's name as in gcloud 528 (api_lib/iap/util.py, CloudRun).
_SERVICE = re.compile(r"projects/(?P<project>[^/]+)/iap_web/cloud_run-(?P<region>[a-z0-9-]+)/services/(?P<name>[^/]+)")


class Proxy:
    """A service with the access policies of Identity-Aware Proxy, stored by `projects/P/iap_web/cloud_run-R/services/S`."""

    def __init__(self, ground: Ground, run: Run) -> None:
        self._ground = ground
        self._run = run
        self.policies: dict[str, Policy] = {}
        self.gone: list[Policy] = []  # the last policies of deleted services
        run.on_forget.append(self._forget)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        return {"iap.getIamPolicy": self.get_policy, "iap.setIamPolicy": self.set_policy}

    def get_policy(self, ask: Ask) -> Json:
        """Answer `getIamPolicy`, a POST with the policy's version in its body."""
        return self._policy(ask).view(ask.policy_version())

    def set_policy(self, ask: Ask) -> Json:
        """Answer `setIamPolicy`."""
        return self._policy(ask).put(ask.body.get("policy", {}))

    def _policy(self, ask: Ask) -> Policy:
        resource = ask.of("resource")
        found = _SERVICE.fullmatch(resource)
        if found is None:
            raise ApiError(
                "INVALID_ARGUMENT", f"The embedded cloud has the proxy for Cloud Run services only, not {resource}."
            )
        if (
            f"projects/{found['project']}/locations/{found['region']}/services/{found['name']}"
            not in self._run.services
        ):
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return self.policies.setdefault(resource, Policy())

    def _forget(self, region: str, short: str) -> None:
        """Move the policy of a deleted service to `gone`. INFERRED: the fate of the policy is not documented."""
        gone = self.policies.pop(f"projects/{self._ground.project}/iap_web/cloud_run-{region}/services/{short}", None)
        if gone is not None:
            self.gone.append(gone)


class Secrets:
    """A service with the methods of Secret Manager, over the embedded cloud's model."""

    def __init__(self, ground: Ground) -> None:
        self._model = ground.embedded.secrets

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        secrets = "secretmanager.projects.secrets"
        return {
            f"{secrets}.create": self.create,
            f"{secrets}.list": lambda ask: self._model.listing(ask.of("parent")),
            f"{secrets}.get": lambda ask: self._model.get(ask.of("name")),
            f"{secrets}.delete": lambda ask: self._model.delete(ask.of("name")),
            f"{secrets}.addVersion": lambda ask: self._model.add(ask.of("parent"), ask.body),
            f"{secrets}.versions.list": lambda ask: self._model.versions(ask.of("parent")),
            f"{secrets}.versions.access": self.access,
            f"{secrets}.getIamPolicy": lambda ask: self._model.policy(ask.of("resource")).view(ask.policy_version()),
            f"{secrets}.setIamPolicy": self.set_policy,
        }

    def create(self, ask: Ask) -> Json:
        """Answer `secrets.create`."""
        return self._model.create(ask.of("parent").removeprefix("projects/"), ask.query.get("secretId", ""), ask.body)

    def access(self, ask: Ask) -> Json:
        """Answer `versions.access`."""
        secret, _, version = ask.of("name").rpartition("/versions/")
        return self._model.access(secret, version)

    def set_policy(self, ask: Ask) -> Json:
        """Answer `secrets.setIamPolicy`."""
        return self._model.policy(ask.of("resource")).put(ask.body.get("policy", {}))


class AdminServices:
    """The administrative services; the package's docstring is their manual.

    The caller starts `embedded` before these services, and stops it after them.
    """

    def __init__(
        self,
        embedded: EmbeddedCloud,
        *,
        project: str = "acme-analytics",
        number: str = "123456789012",
        organization: str | None = None,
        function_environment: dict[str, str] | None = None,
    ) -> None:
        self.embedded = embedded
        embedded.world.project = project
        embedded.world.project_number = number
        self.ground = Ground(embedded, project, number, organization)
        self.projects = Projects(self.ground)
        self.run = Run(self.ground)
        self.proxy = Proxy(self.ground, self.run)
        self.domains = Domains(self.ground, self.run)
        self._folder = tempfile.TemporaryDirectory(prefix="admin-cloud-")
        self.functions = Functions(
            self.ground, self.run, folder=Path(self._folder.name), environment=function_environment or {}
        )
        self.logs = Logs(self.ground)
        self.watch = Watch(self.ground, self.logs)
        self.tables = Tables(self.ground)
        self.keys = Keys(self.ground)
        self.secrets = Secrets(self.ground)
        services = (
            self.projects, self.run, self.functions, self.logs, self.watch, self.tables, self.keys, self.proxy, self.domains,
            self.secrets,
        )  # fmt: skip
        self.token = f"ya29.{secrets.token_urlsafe(24)}"
        handlers = {method: handler for service in services for method, handler in service.handlers().items()}
        door = Door(self.ground, keys=self.keys, handlers=handlers, uploads=self.functions.uploads, token=self.token)
        # `gcloud run` puts a region before the configured host.
        names = {f"{zone.rpartition('-')[0]}-127.0.0.1" for zone in ZONES}
        self._front = HttpFront(embedded.world, door.routes(), names=names)
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """The URL `http://127.0.0.1:PORT`."""
        if self._server is None:
            raise RuntimeError("the administrative services are not started")
        return f"http://127.0.0.1:{self._server.port}"

    def endpoint(self, service: str) -> str:
        """Return the base URL of a service, for REST calls with the token: `<endpoint>v3/projects/...`."""
        return f"{self.url}/storage/v1/" if service == "storage" else f"{self.url}/{service}/"

    def start(self) -> None:
        """Start to serve on a free port. Raise `RuntimeError` if the services are already started."""
        if self._server is not None:
            raise RuntimeError("the administrative services are already started")
        self._server = Server(self._front.respond)
        self._server.start()

    def stop(self) -> None:
        """Stop serving, and delete the unpacked archives; safe to call twice."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._folder.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
