"""The permissions: the project's policy and custom roles, and the check of a call against the policies that this cloud holds.

By default every caller may do everything. Only a caller whose bearer token is `as:ACCOUNT` is checked, with the rights
of that account. So programs that send no token, or a token of their own, are not restricted, and a test can try calls
of a stolen account.

Allow policies of the project, buckets, topics, subscriptions, secrets and service accounts are checked; for groups, the
account's role in the group counts. The only supported condition is the form that the deployment writes; a binding with
any other condition grants nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from emulator.errors import ApiError
from emulator.model.iam_policy import CONFLICT, Bindings, Policy, invalid, read_etag

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.model.cloudidentity import CloudIdentityModel
    from emulator.model.iam import IamModel
    from emulator.model.pubsub import PubSubModel
    from emulator.model.storage import StorageModel
    from emulator.world import CallSpec, World

# The permissions of the predefined roles that the deployment grants (cloud.google.com/iam/docs/roles-permissions). Other roles
# grant nothing.
PREDEFINED = {
    "roles/artifactregistry.writer": {"artifactregistry.repositories.uploadArtifacts"},
    "roles/bigquery.dataViewer": {"bigquery.tables.getData"},
    "roles/iam.serviceAccountUser": {"iam.serviceAccounts.actAs", "iam.serviceAccounts.get"},
    "roles/logging.logWriter": {"logging.logEntries.create"},
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/secretmanager.secretAccessor": {"secretmanager.versions.access"},
    "roles/pubsub.subscriber": {"pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"},
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
}
_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_PERMISSION = re.compile(r"(?P<service>[a-z][a-z0-9]*)\.[a-z][a-zA-Z0-9]*\.[a-z][a-zA-Z]*")
_SERVICES = {
    "artifactregistry", "bigquery", "cloudbuild", "cloudfunctions", "cloudkms", "cloudscheduler", "compute", "dataproc",
    "eventarc", "iam", "logging", "monitoring", "notebooks", "orgpolicy", "pubsub", "resourcemanager", "run", "secretmanager",
    "serviceusage", "storage",
}  # fmt: skip
_LONGEST = {"title": 100, "description": 300}
_ROLE_KEPT = {"title", "description", "stage", "includedPermissions"}
_STARTS = re.compile(r'(?P<none>!?)resource\.name\.startsWith\("(?P<start>[^"]+)"\)')
_ROLE_FIELDS = {"title", "description", "includedPermissions", "stage", "etag", "name", "deleted"}
_MANAGERS = {"OWNER", "MANAGER"}
_FREE = {"testIamPermissions", "TestIamPermissions"}  # every caller may ask for its own permissions


class AccessModel:
    """The model of the project's policy and custom roles. `World.perform` calls `judge`, and `World.need` calls `require`."""

    def __init__(
        self,
        world: World,
        storage: StorageModel,
        pubsub: PubSubModel,
        iam: IamModel,
        groups: CloudIdentityModel,
        of_secret: Callable[[str], Bindings],
    ) -> None:
        self._world = world
        self._storage, self._pubsub, self._iam, self._groups = storage, pubsub, iam, groups
        self._of_secret = of_secret
        self.project_policy = Policy()
        iam.further.append(self.project_policy)
        self._roles: dict[str, dict[str, Any]] = {}

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        policy = self.project_policy
        return {
            "bindings": policy.bindings,
            "version": policy.version,
            "serial": policy.serial,
            "roles": self._roles,
        }

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        policy = self.project_policy
        policy.bindings, policy.version, policy.serial = state["bindings"], state["version"], state["serial"]
        self._roles = state["roles"]

    # --- the project's policy

    def policy(self, project: str, *, version: int = 0) -> dict[str, Any]:
        """Answer `projects.getIamPolicy`."""
        self._check(project)
        return self.project_policy.view(version)

    def set_policy(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `projects.setIamPolicy`. A stale etag gives 409 ABORTED."""
        self._check(project)
        return self.project_policy.put(body.get("policy"))

    # --- custom roles

    def knows_role(self, role: str) -> bool:
        """Return True if a binding may name the role: a role of Google's, or a custom role that is not deleted."""
        return role.startswith("roles/") or (role in self._roles and not self._roles[role].get("deleted"))

    def create_role(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `projects.roles.create`."""
        self._check(project)
        role_id = str(body.get("roleId", ""))
        if not _ROLE_ID.fullmatch(role_id):
            raise invalid(f"The role ID {role_id!r} is not valid. It must match {_ROLE_ID.pattern}.")
        name = f"projects/{project}/roles/{role_id}"
        if self._roles.get(name, {}).get("deleted"):
            raise ApiError(
                "FAILED_PRECONDITION",
                f"You can't create a role with role_id ({role_id}) where there is an existing role with that role_id in a "
                "deleted state.",
            )
        if name in self._roles:
            raise ApiError("ALREADY_EXISTS", f"A role named {role_id} in {project} already exists.")
        return self._put_role(name, {"stage": "ALPHA"}, body.get("role", {}))

    def change_role(self, name: str, body: dict[str, Any], *, mask: str = "") -> dict[str, Any]:
        """Answer `projects.roles.patch`: change the fields in the mask, or without a mask those in the body."""
        held = self._living_role(name, body.get("etag"))
        named = [re.sub("_([a-z])", lambda found: found[1].upper(), part) for part in mask.split(",") if part]
        given = {key: body.get(key) for key in named if key != "etag"} if named else body
        return self._put_role(name, held, given)

    def role(self, name: str) -> dict[str, Any]:
        """Answer `projects.roles.get`. A deleted role is returned too, marked as deleted."""
        found = self._roles.get(name)
        if found is None:
            raise ApiError("NOT_FOUND", f"The role named {name} was not found.")
        return {"name": name, "etag": _etag(found), **found}

    def roles(self, project: str, *, deleted: bool = False, full: bool = False) -> dict[str, Any]:
        """Answer `projects.roles.list`. Only the full view has permissions."""
        self._check(project)
        names = [name for name, role in sorted(self._roles.items()) if deleted or not role.get("deleted")]
        left_out = () if full else ("includedPermissions",)
        rows = [{key: value for key, value in self.role(name).items() if key not in left_out} for name in names]
        return {"roles": rows} if rows else {}

    def delete_role(self, name: str, *, etag: str = "", back: bool = False) -> dict[str, Any]:
        """Answer `projects.roles.delete` and, with `back`, `projects.roles.undelete`.

        A deleted role stays stored, but grants nothing. Google stores deleted roles for seven days, and their names for
        37.
        """
        if back:
            if not self.role(name).get("deleted"):
                raise ApiError("FAILED_PRECONDITION", "You can't undelete a role that is not deleted.")
            self._roles[name].pop("deleted")
        else:
            self._living_role(name, etag)["deleted"] = True
        return self.role(name)

    def _living_role(self, name: str, etag: Any) -> dict[str, Any]:
        role = self.role(name)
        if role.get("deleted"):
            raise ApiError("FAILED_PRECONDITION", f"You can't update or delete a role that is deleted: {name}.")
        if etag and read_etag(etag) != role["etag"]:
            raise ApiError("ABORTED", CONFLICT)
        return self._roles[name]

    def _put_role(self, name: str, held: dict[str, Any], raw: Any) -> dict[str, Any]:
        if not isinstance(raw, dict) or set(raw) - _ROLE_FIELDS:
            raise invalid("Invalid value at 'role' (google.iam.admin.v1.Role).")
        permissions = raw.get("includedPermissions") or []
        if not isinstance(permissions, list) or not all(isinstance(each, str) for each in permissions):
            raise invalid("Invalid value at 'role.included_permissions' (TYPE_STRING).")
        for key, most in _LONGEST.items():
            if len(str(raw.get(key) or "")) > most:
                raise invalid(f"The {key} of a role has at most {most} characters.")
        for permission in permissions:
            found = _PERMISSION.fullmatch(permission)
            if found is None or found["service"] not in _SERVICES:
                raise invalid(f"Permission {permission} is not valid.")
        given = {key: value for key, value in raw.items() if key in _ROLE_KEPT}
        if "includedPermissions" in given:
            given["includedPermissions"] = sorted(set(permissions))
        self._roles[name] = {key: value for key, value in {**held, **given}.items() if value is not None}
        return self.role(name)

    def _check(self, project: str) -> None:
        if project != self._world.project:
            raise ApiError("PERMISSION_DENIED", f"The caller does not have permission on project {project}.")

    # --- the judgement

    def judge(self, account: str, spec: CallSpec, resource: str) -> None:
        """Raise PERMISSION_DENIED unless the account may make this call. A call without a known permission is refused.

        Every account may call `testIamPermissions`.
        """
        if spec.service == "cloudidentity":
            self._judge_group(account, spec, resource)
            return
        if spec.method.rpartition(".")[2] in _FREE:
            return
        permissions = [each for each in spec.permission.split(",") if each]
        if spec.service == "pubsub" and spec.method.endswith("IamPolicy"):  # only the resource's name tells its kind
            kind = "subscriptions" if "/subscriptions/" in resource else "topics"
            permissions = [f"pubsub.{kind}.{spec.method[0].lower()}{spec.method[1:]}"]
        if not permissions:
            raise ApiError("PERMISSION_DENIED", f"{account} may not call {spec.name}.")
        for permission in permissions:
            self.require(account, permission, spec.service, resource)

    def require(self, account: str, permission: str, service: str, resource: str) -> None:
        """Raise PERMISSION_DENIED unless a policy gives the account this permission on the resource."""
        bindings = [*self.project_policy.bindings, *self._bindings_of(service, resource)]
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
        """Return the bindings on the resource itself; none if the resource does not exist."""
        try:
            if service == "storage":
                found: Any = self._storage.buckets.policy(resource.partition("/")[0])
            elif service == "pubsub" and resource.count("/") == 3:  # noqa: PLR2004 - projects/P/topics/T
                found = self._pubsub.policy(resource)
            elif service == "secretmanager":
                return list(self._of_secret(resource))
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
            if starts is None or service != "storage" or full.startswith(starts["start"]) is bool(starts["none"]):
                return False
        role = str(binding.get("role", ""))
        held = self._roles.get(role, {})
        given = () if held.get("deleted") else held.get("includedPermissions", PREDEFINED.get(role, ()))
        return permission in given

    def _judge_group(self, account: str, spec: CallSpec, resource: str) -> None:
        """Raise PERMISSION_DENIED unless the account's role in the group allows the call (Cloud Identity, roles in a group).

        Members may read the group and its members; managers and owners may change them. Every account may make reading
        calls on `groups` as a whole.
        """
        roles = self._groups.roles_of(account, resource)
        if roles & _MANAGERS or (not spec.mutates and (roles or resource == "groups")):
            return
        raise ApiError(
            "PERMISSION_DENIED", f"Error(2028): Permission denied for resource {resource} (or it may not exist)."
        )


def _etag(role: dict[str, Any]) -> str:
    """Return an etag that differs for each content, in the shape of IAM's."""
    digest = hashlib.sha256(json.dumps(role, sort_keys=True).encode()).digest()
    return base64.b64encode(b"\x07" + digest[:8]).decode()
