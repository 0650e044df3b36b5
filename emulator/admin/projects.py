"""The APIs Resource Manager (v1 and v3), Cloud Billing and Service Usage: the project itself and its enabled APIs."""

from __future__ import annotations

from typing import Any

from emulator.admin import errors
from emulator.admin.ground import Ask, Ground, Handler, Json
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy

_FREE = {
    "iam",
    "serviceusage",
    "cloudresourcemanager",
    "cloudbilling",
    "logging",
    "monitoring",
    "orgpolicy",
    "iamcredentials",
}
_MAX_BATCH = 20
# The roles that Google grants its own agents when their API is enabled (docs.cloud.google.com/iam/docs/service-agents).
_GRANTED = {
    "cloudfunctions": ("gcf-admin-robot", "roles/cloudfunctions.serviceAgent"),
    "cloudbuild": ("gcp-sa-cloudbuild", "roles/cloudbuild.serviceAgent"),
    "eventarc": ("gcp-sa-eventarc", "roles/eventarc.serviceAgent"),
    "notebooks": ("gcp-sa-notebooks", "roles/notebooks.serviceAgent"),
    "pubsub": ("gcp-sa-pubsub", "roles/pubsub.serviceAgent"),
    "run": ("serverless-robot-prod", "roles/run.serviceAgent"),
    "cloudscheduler": ("gcp-sa-cloudscheduler", "roles/cloudscheduler.serviceAgent"),
}


class Projects:
    """A service with the project, its APIs, and its organization if there is one."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.agents: dict[str, Policy] = {}  # the policies of Google's own accounts
        self._policy = ground.embedded.access.project_policy
        self._policy.grant("roles/owner", "user:owner@acme.example")
        self.operations: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by method id."""
        manager = "cloudresourcemanager"
        return {
            f"{manager}.projects.get": self.get,
            f"{manager}.organizations.get": self.get_organization,
            "iam.projects.serviceAccounts.getIamPolicy": lambda ask: self._agent(ask).view(ask.policy_version()),
            "iam.projects.serviceAccounts.setIamPolicy": lambda ask: self._agent(ask).put(ask.body.get("policy", {})),
            # gcloud asks which permissions of a new role are only in testing: none.
            "iam.permissions.queryTestablePermissions": lambda _ask: {},
            "cloudbilling.projects.getBillingInfo": self.billing,
            "serviceusage.services.list": self.list_services,
            "serviceusage.services.get": self.get_service,
            "serviceusage.services.batchGet": self.batch_get,
            "serviceusage.services.enable": self.enable,
            "serviceusage.services.batchEnable": self.batch_enable,
            "serviceusage.services.generateServiceIdentity": self.identity,
            "serviceusage.operations.get": self.get_operation,
        }

    # ---- Resource Manager and billing

    def get(self, ask: Ask) -> Json:
        """Answer `projects.get` in the shape of the called version."""
        ground = self._ground
        name = ask.of("projectId", "name").removeprefix("projects/")
        ground.check_project(name)
        label = {"name": ground.project} if "projectId" in ask.params else {"name": f"projects/{ground.number}"}
        state = {"lifecycleState": "ACTIVE"} if "projectId" in ask.params else {"state": "ACTIVE"}
        parent: Json = {}
        if ground.organization:
            typed = {"type": "organization", "id": ground.organization}
            parent = {"parent": typed if "projectId" in ask.params else f"organizations/{ground.organization}"}
        number = {"projectNumber": ground.number} if "projectId" in ask.params else {"displayName": ground.project}
        return {
            "projectId": ground.project,
            **label,
            **number,
            **state,
            **parent,
            "createTime": "2026-01-05T09:00:00.000Z",
        }

    def _agent(self, ask: Ask) -> Policy:
        """Return the policy of one of Google's own accounts; raise 404 before the account's API is enabled."""
        email = ask.of("resource").rpartition("/")[2]
        if not self._ground.exists(email):
            raise ApiError("NOT_FOUND", f"Unknown service account: {ask.of('resource')}")
        return self.agents.setdefault(email, Policy())

    def get_organization(self, ask: Ask) -> Json:
        """Answer `organizations.get`."""
        number = ask.of("name", "organizationsId").removeprefix("organizations/")
        if number != self._ground.organization:
            raise errors.no_such_project(number)
        return {
            "name": f"organizations/{number}",
            "displayName": "acme.example",
            "lifecycleState": "ACTIVE",
            "owner": {"directoryCustomerId": "C0123abcd"},
        }

    def billing(self, ask: Ask) -> Json:
        """Answer `projects.getBillingInfo`."""
        self._ground.check_project(ask.of("name").removeprefix("projects/"))
        linked = {"billingAccountName": "billingAccounts/012345-567890-ABCDEF"} if self._ground.billing else {}
        name = f"projects/{self._ground.project}"
        return {"name": f"{name}/billingInfo", "projectId": self._ground.project, **linked} | (
            {"billingEnabled": True} if self._ground.billing else {}
        )

    # ---- Service Usage

    def _service(self, api: str) -> Json:
        return {
            "name": f"projects/{self._ground.number}/services/{api}",
            "config": {"name": api, "title": api.partition(".")[0]},
            "state": "ENABLED" if api in self._ground.apis else "DISABLED",
            "parent": f"projects/{self._ground.number}",
        }

    def list_services(self, ask: Ask) -> Json:
        """Answer `services.list`. Only enabled services are known, so every other filter is refused."""
        if ask.query.get("filter") != "state:ENABLED":
            raise ApiError("UNIMPLEMENTED", f"The embedded cloud lists no services by {ask.query.get('filter')!r}")
        return {"services": [self._service(api) for api in sorted(self._ground.apis)]}

    def get_service(self, ask: Ask) -> Json:
        """Answer `services.get`."""
        return self._service(_known_api(ask.of("name").rpartition("/")[2]))

    def batch_get(self, ask: Ask) -> Json:
        """Answer `services.batchGet`."""
        names = ask.query.getlist("names") if hasattr(ask.query, "getlist") else []
        return {"services": [self._service(_known_api(name.rpartition("/")[2])) for name in names]}

    def enable(self, ask: Ask) -> Json:
        """Answer `services.enable`."""
        return self._enable([ask.of("name").rpartition("/")[2]])

    def batch_enable(self, ask: Ask) -> Json:
        """Answer `services.batchEnable`."""
        names = list(ask.body.get("serviceIds", []))
        if not 0 < len(names) <= _MAX_BATCH:
            raise ApiError("INVALID_ARGUMENT", f"At most {_MAX_BATCH} services can be enabled in one call.")
        return self._enable(names)

    def _enable(self, apis: list[str]) -> Json:
        ground = self._ground
        costs = [_known_api(api) for api in apis if api.partition(".")[0] not in _FREE]
        if costs and not ground.billing:
            raise errors.billing_off(ground.number, *costs)
        for api in apis:
            if api in ground.apis:
                continue
            ground.enable(api)
            agent, role = _GRANTED.get(api.partition(".")[0], ("", ""))
            if role:
                self._policy.grant(role, f"serviceAccount:service-{ground.number}@{agent}.iam.gserviceaccount.com")
        kind = "EnableService" if len(apis) == 1 else "BatchEnableServices"
        services = [self._service(api) for api in apis]
        return self._operation(kind, {"service": services[0]} if len(apis) == 1 else {"services": services})

    def identity(self, ask: Ask) -> Json:
        """Answer `services.generateServiceIdentity` (v1beta1): the API's agent exists from now on, even if the API is off."""
        api = _known_api(ask.of("parent").rpartition("/")[2])
        kinds = {"cloudfunctions": "gcf-admin-robot", "run": "serverless-robot-prod", "compute": "compute-system"}
        kinds |= {"monitoring": "gcp-sa-monitoring-notification"}
        short = api.partition(".")[0]
        email = f"service-{self._ground.number}@{kinds.get(short, f'gcp-sa-{short}')}.iam.gserviceaccount.com"
        self._ground.identities.add(email)
        return self._operation("ServiceIdentity", {"email": email, "uniqueId": f"1{self._ground.number}00000000"})

    def _operation(self, kind: str, response: Json) -> Json:
        name = f"operations/acf.p2-{self._ground.number}-{self._ground.next_id():08x}"
        typed = {"@type": f"type.googleapis.com/google.api.serviceusage.v1.{kind}Response", **response}
        self.operations[name] = {"name": name, "done": True, "response": typed}
        return self.operations[name] if kind == "ServiceIdentity" else {"name": name}

    def get_operation(self, ask: Ask) -> Any:
        """Answer `operations.get`."""
        name = ask.of("name")
        if name not in self.operations:
            raise ApiError("NOT_FOUND", f"Operation {name} not found.")
        return self.operations[name]


def _known_api(api: str) -> str:
    """Return the name if it is the name of an API; otherwise raise 404."""
    if not api.endswith(".googleapis.com") or len(api.split(".")) != len(["NAME", "googleapis", "com"]):
        raise ApiError("NOT_FOUND", f"Service '{api}' not found or permission denied.")
    return api
