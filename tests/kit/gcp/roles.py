"""IAM's custom roles of the project: kept for seven days after their deletion, and not to be made anew in that time."""

from __future__ import annotations

import base64
import re

from emulator.errors import ApiError
from tests.kit.gcp.ground import Ask, Ground, Handler, Json
from tests.kit.gcp.policy import read_etag

_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")
_PERMISSION = re.compile(r"(?P<service>[a-z][a-z0-9]*)\.[a-z][a-zA-Z0-9]*\.[a-z][a-zA-Z]*")
_SERVICES = {
    "artifactregistry", "bigquery", "cloudbuild", "cloudfunctions", "cloudkms", "cloudscheduler", "compute", "dataproc",
    "eventarc", "iam", "logging", "monitoring", "notebooks", "orgpolicy", "pubsub", "resourcemanager", "run", "secretmanager",
    "serviceusage", "storage",
}  # fmt: skip
_LONGEST = {"title": 100, "description": 300}


class Roles:
    """All custom roles, deleted ones too."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.by_name: dict[str, Json] = {}

    def handlers(self) -> dict[str, Handler]:
        """By method id."""
        roles = "iam.projects.roles"
        return {
            f"{roles}.create": self.create,
            f"{roles}.get": self.get,
            f"{roles}.list": self.list,
            f"{roles}.patch": self.patch,
            f"{roles}.delete": self.delete,
            f"{roles}.undelete": self.undelete,
            # gcloud asks which of the permissions of a new role are only being tested: none is.
            "iam.permissions.queryTestablePermissions": lambda _ask: {},
        }

    def known(self, role: str) -> bool:
        """True for a role that a binding can name: Google's own, or one of ours that is not deleted."""
        if role.startswith("roles/"):
            return True
        kept = self.by_name.get(role)
        return kept is not None and not kept.get("deleted")

    def create(self, ask: Ask) -> Json:
        """`roles.create`."""
        role_id, parent = str(ask.body.get("roleId", "")), ask.of("parent")
        if _ID.fullmatch(role_id) is None:
            raise ApiError(
                "INVALID_ARGUMENT",
                f"The role_id ({role_id}) is invalid. It must match the regular expression: {_ID.pattern}.",
            )
        name = f"{parent}/roles/{role_id}"
        old = self.by_name.get(name)
        if old is not None and old.get("deleted"):
            raise ApiError(
                "FAILED_PRECONDITION",
                f"You can't create a role with role_id ({role_id}) where there is an existing role with that role_id in a "
                "deleted state.",
            )
        if old is not None:
            raise ApiError("ALREADY_EXISTS", f"A role named {role_id} in {parent} already exists.")
        role = {"name": name, "stage": "ALPHA", **_checked(ask.body.get("role", {}))}
        self.by_name[name] = role | {"etag": self._etag()}
        return self.by_name[name]

    def get(self, ask: Ask) -> Json:
        """`roles.get`; a deleted role answers too, marked."""
        return self._find(ask.of("name"))

    def list(self, ask: Ask) -> Json:
        """`roles.list`."""
        deleted, full = ask.query.get("showDeleted") == "True", ask.query.get("view") == "FULL"
        roles = [role for _, role in sorted(self.by_name.items()) if deleted or not role.get("deleted")]
        if not full:
            roles = [{k: v for k, v in role.items() if k != "includedPermissions"} for role in roles]
        return {"roles": roles} if roles else {}

    def patch(self, ask: Ask) -> Json:
        """`roles.patch`; 409 on a stale etag."""
        role = self._alive(ask.of("name"))
        self._check_etag(role, str(ask.body.get("etag", "")))
        given = {key: value for key, value in ask.body.items() if key not in ("etag", "name")}
        mask = ask.query.get("updateMask")
        if mask:
            given = {_camel(key): given.get(_camel(key)) for key in mask.split(",") if key != "etag"}
        self.by_name[role["name"]] = role | _checked(given) | {"etag": self._etag()}
        return self.by_name[role["name"]]

    def delete(self, ask: Ask) -> Json:
        """`roles.delete`: marked, and gone for good only after seven days."""
        role = self._alive(ask.of("name"))
        self._check_etag(role, ask.query.get("etag", ""))
        role |= {"deleted": True, "etag": self._etag()}
        return role

    def undelete(self, ask: Ask) -> Json:
        """`roles.undelete`."""
        role = self._find(ask.of("name"))
        if not role.get("deleted"):
            raise ApiError("FAILED_PRECONDITION", "You can't undelete a role that is not deleted.")
        self._check_etag(role, str(ask.body.get("etag", "")))
        del role["deleted"]
        role["etag"] = self._etag()
        return role

    def _find(self, name: str) -> Json:
        if name not in self.by_name:
            raise ApiError("NOT_FOUND", f"The role named {name} was not found.")
        return self.by_name[name]

    def _alive(self, name: str) -> Json:
        role = self._find(name)
        if role.get("deleted"):
            raise ApiError("FAILED_PRECONDITION", f"You can't update or delete a role that is deleted: {name}.")
        return role

    def _etag(self) -> str:
        return base64.b64encode(b"\x07" + self._ground.next_id().to_bytes(8, "big")).decode()

    @staticmethod
    def _check_etag(role: Json, given: str) -> None:
        if given and read_etag(given) != role["etag"]:
            raise ApiError("ABORTED", "There were concurrent policy changes. Please retry the whole read-modify-write.")


def _checked(role: Json) -> Json:
    for key, longest in _LONGEST.items():
        if len(role.get(key) or "") > longest:
            raise ApiError("INVALID_ARGUMENT", f"The {key} of a role has at most {longest} characters.")
    for permission in role.get("includedPermissions") or []:
        found = _PERMISSION.fullmatch(permission)
        if found is None or found["service"] not in _SERVICES:
            raise ApiError("INVALID_ARGUMENT", f"Permission {permission} is not valid.")
    return {key: value for key, value in role.items() if value is not None}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)
