"""Who may do what: the project's policy and custom roles, and the judgement of a call by the policies that this cloud holds.

Off for everybody who does not ask for it: only a caller whose bearer token is `as:ACCOUNT` is judged, as that account. So today's
programs, which send no token or one of their own, may do everything, and a test can attempt what a stolen account could do.

An allow policy counts where IAM has it: on the project, the bucket, the topic or subscription, the service account. A condition
counts only in the one form that the deployment writes; any other gives nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.iam_policy import CONFLICT, Bindings, below_three, etag_of, invalid, is_stale, read_policy

if TYPE_CHECKING:
    from emulator.model.cloudidentity import CloudIdentityModel
    from emulator.model.iam import IamModel
    from emulator.model.pubsub import PubSubModel
    from emulator.model.storage import StorageModel
    from emulator.world import CallSpec, World

# What the predefined roles hold that the deployment grants (cloud.google.com/iam/docs/roles-permissions); any other gives nothing.
PREDEFINED = {
    "roles/artifactregistry.writer": {"artifactregistry.repositories.uploadArtifacts"},
    "roles/bigquery.dataViewer": {"bigquery.tables.getData"},
    "roles/iam.serviceAccountUser": {"iam.serviceAccounts.actAs", "iam.serviceAccounts.get"},
    "roles/logging.logWriter": {"logging.logEntries.create"},
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/pubsub.subscriber": {"pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"},
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
}
_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_STARTS = re.compile(r'resource\.name\.startsWith\("([^"]+)"\)')
_ROLE_FIELDS = {"title", "description", "includedPermissions", "stage", "etag", "name", "deleted"}
_MANAGERS = {"OWNER", "MANAGER"}
_FREE = {"testIamPermissions", "TestIamPermissions"}  # whoever asks what he may do is told


class AccessModel:
    """The project's policy and custom roles; `require` is what `World.perform` asks."""

    def __init__(
        self, world: World, storage: StorageModel, pubsub: PubSubModel, iam: IamModel, groups: CloudIdentityModel
    ) -> None:
        self._world = world
        self._storage, self._pubsub, self._iam, self._groups = storage, pubsub, iam, groups
        self._bindings: Bindings = []
        self._version = 1
        self._serial = 0
        self._roles: dict[str, dict[str, Any]] = {}

    def dump(self) -> Any:
        """JSON-able state."""
        return {"bindings": self._bindings, "version": self._version, "serial": self._serial, "roles": self._roles}

    def load(self, state: Any) -> None:
        """Become what `dump` gave."""
        self._bindings, self._version = state["bindings"], state["version"]
        self._serial, self._roles = state["serial"], state["roles"]

    # --- the project's policy

    def policy(self, project: str, *, version: int = 0) -> dict[str, Any]:
        """projects.getIamPolicy."""
        self._check(project)
        shown: dict[str, Any] = {"version": self._version, "etag": etag_of(self._serial)}
        if self._bindings:
            shown["bindings"] = self._bindings
        return below_three(shown, version)

    def set_policy(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """projects.setIamPolicy: a stale etag is 409 ABORTED."""
        self._check(project)
        policy = body.get("policy")
        version, bindings = read_policy(policy, check_account=lambda _email: None)
        if is_stale(policy.get("etag") if isinstance(policy, dict) else None, self._serial):
            raise ApiError("ABORTED", CONFLICT)
        self._version, self._bindings = version, bindings
        self._serial += 1
        return self.policy(project, version=version)

    # --- custom roles

    def create_role(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """projects.roles.create."""
        self._check(project)
        role_id = str(body.get("roleId", ""))
        if not _ROLE_ID.fullmatch(role_id):
            raise invalid(f"The role ID {role_id!r} is not valid.")
        name = f"projects/{project}/roles/{role_id}"
        if name in self._roles:
            raise ApiError("ALREADY_EXISTS", f"A role named {role_id} in {project} already exists.")
        return self._put_role(name, body.get("role", {}))

    def change_role(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """projects.roles.patch: of a whole role."""
        return self._put_role(self.role(name)["name"], body)

    def role(self, name: str) -> dict[str, Any]:
        """projects.roles.get."""
        found = self._roles.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"The role named {name} was not found.")
        return {"name": name, **found}

    def roles(self, project: str) -> dict[str, Any]:
        """projects.roles.list."""
        self._check(project)
        return {"roles": [{"name": name, **role} for name, role in sorted(self._roles.items())]}

    def delete_role(self, name: str) -> dict[str, Any]:
        """projects.roles.delete: gone at once here."""
        gone = self.role(name)
        del self._roles[name]
        return {**gone, "deleted": True}

    def _put_role(self, name: str, raw: Any) -> dict[str, Any]:
        if not isinstance(raw, dict) or set(raw) - _ROLE_FIELDS:
            raise invalid("Invalid value at 'role' (google.iam.admin.v1.Role).")
        held = raw.get("includedPermissions", [])
        if not isinstance(held, list) or not all(isinstance(each, str) for each in held):
            raise invalid("Invalid value at 'role.included_permissions' (TYPE_STRING).")
        kept = {key: value for key, value in raw.items() if key in {"title", "description", "stage"}}
        self._roles[name] = {**kept, "includedPermissions": sorted(set(held))}
        return self.role(name)

    def _check(self, project: str) -> None:
        if project != self._world.project:
            raise ApiError("PERMISSION_DENIED", f"The caller does not have permission on project {project}.")

    # --- the judgement

    def judge(self, account: str, spec: CallSpec, resource: str) -> None:
        """Raise PERMISSION_DENIED unless the account may make this call. A call of which no permission is known is refused."""
        if spec.service == "cloudidentity":
            self._judge_group(account, spec, resource)
            return
        if spec.method.rpartition(".")[2] in _FREE:
            return
        permissions = [each for each in spec.permission.split(",") if each]
        if spec.service == "pubsub" and spec.method.endswith("IamPolicy"):  # what it is about, only the name tells
            kind = "subscriptions" if "/subscriptions/" in resource else "topics"
            permissions = [f"pubsub.{kind}.{spec.method[0].lower()}{spec.method[1:]}"]
        if not permissions:
            raise ApiError("PERMISSION_DENIED", f"{account} may not call {spec.name}.")
        for permission in permissions:
            self.require(account, permission, spec.service, resource)

    def require(self, account: str, permission: str, service: str, resource: str) -> None:
        """Raise PERMISSION_DENIED unless a policy gives the account this permission on the resource."""
        bindings = [*self._bindings, *self._bindings_of(service, resource)]
        if any(self._gives(each, account, permission, service, resource) for each in bindings):
            return
        if service == "storage":
            raise ApiError(
                "PERMISSION_DENIED",
                f"{account} does not have {permission} access to the Google Cloud Storage object. Permission '{permission}' "
                "denied on resource (or it may not exist).",
                reason="forbidden",
            )
        text = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
        raise ApiError("PERMISSION_DENIED", text)

    def _bindings_of(self, service: str, resource: str) -> Bindings:
        """Return the bindings on the thing itself; none where it is not there."""
        try:
            if service == "storage":
                found: Any = self._storage.buckets.policy(resource.partition("/")[0])
            elif service == "pubsub" and resource.count("/") == 3:  # noqa: PLR2004 - projects/P/topics/T
                found = self._pubsub.policy(resource)
            elif "/serviceAccounts/" in resource:
                found = self._iam.get_policy(resource, version=3)
            else:
                return []
        except ApiError:
            return []
        return list(found.get("bindings", []))

    def _gives(self, binding: dict[str, Any], account: str, permission: str, service: str, resource: str) -> bool:
        if f"serviceAccount:{account}" not in binding.get("members", []):
            return False
        condition = binding.get("condition")
        if condition is not None:
            starts = _STARTS.fullmatch(str(condition.get("expression", "")))
            bucket, _, name = resource.partition("/")
            full = f"projects/_/buckets/{bucket}" + (f"/objects/{name}" if name else "")
            if starts is None or service != "storage" or not full.startswith(starts[1]):
                return False
        role = str(binding.get("role", ""))
        held = self._roles.get(role, {}).get("includedPermissions", PREDEFINED.get(role, ()))
        return permission in held

    def _judge_group(self, account: str, spec: CallSpec, resource: str) -> None:
        """Members see a group and who is in it, managers and owners change that; nobody else may (Cloud Identity, roles in a group)."""
        roles = self._groups.roles_of(account, resource)
        if roles & _MANAGERS or (not spec.mutates and (roles or resource == "groups")):
            return
        raise ApiError(
            "PERMISSION_DENIED", f"Error(2028): Permission denied for resource {resource} (or it may not exist)."
        )
