"""The domain mappings of Cloud Run (`domains.cloudrun.com/v1`, as gcloud's beta commands use them)."""

from __future__ import annotations

from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.admin.run import Run
from emulator.errors import ApiError

_CNAME = "ghs.googlehosted.com."  # Cloud Run, Mapping custom domains: the record of a subdomain


class Domains:
    """The mappings by domain. `verified` are the domains that belong to the caller."""

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
        """Answer `domainmappings.create`: the records are known at once; the mapping is ready once a test calls `be_ready`."""
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
        """Make a mapping ready, as if its records were set and the certificate existed."""
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
