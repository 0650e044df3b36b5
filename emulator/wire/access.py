"""The REST API of the project's policy (Resource Manager v1) and custom roles (IAM v1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.access import AccessModel

_PROJECT = r"^/v1/projects/(?P<project>[^/:]+)"
_ROLE = r"^/v1/(?P<name>projects/[^/:]+/roles/[^/:]+)"


def routes(model: AccessModel) -> list[Route]:
    """Return the routes of the project's policy and of custom roles."""

    def get_policy(call: Call) -> Any:
        asked = call.json().get("options", {}).get("requestedPolicyVersion", 0)
        return model.policy(call.params["project"], version=int(asked))

    def listing(call: Call) -> Any:
        deleted, full = call.query("showDeleted").lower() == "true", call.query("view") == "FULL"
        return model.roles(call.params["project"], deleted=deleted, full=full)

    # verb, path, service, method, handler, permission
    table: list[tuple[str, str, str, str, Callable[[Call], Any], str]] = [
        ("POST", f"{_PROJECT}:getIamPolicy", "cloudresourcemanager", "projects.getIamPolicy", get_policy, "resourcemanager.projects.getIamPolicy"),
        ("POST", f"{_PROJECT}:setIamPolicy", "cloudresourcemanager", "projects.setIamPolicy",
         lambda call: model.set_policy(call.params["project"], call.json()), "resourcemanager.projects.setIamPolicy"),
        ("POST", f"{_PROJECT}/roles", "iam", "projects.roles.create",
         lambda call: model.create_role(call.params["project"], call.json()), "iam.roles.create"),
        ("GET", f"{_PROJECT}/roles", "iam", "projects.roles.list", listing, "iam.roles.list"),
        ("GET", _ROLE, "iam", "projects.roles.get", lambda call: model.role(call.params["name"]), "iam.roles.get"),
        ("PATCH", _ROLE, "iam", "projects.roles.patch",
         lambda call: model.change_role(call.params["name"], call.json(), mask=call.query("updateMask")), "iam.roles.update"),
        ("DELETE", _ROLE, "iam", "projects.roles.delete",
         lambda call: model.delete_role(call.params["name"], etag=call.query("etag")), "iam.roles.delete"),
        ("POST", f"{_ROLE}:undelete", "iam", "projects.roles.undelete",
         lambda call: model.delete_role(call.params["name"], back=True), "iam.roles.undelete"),
    ]  # fmt: skip
    return [
        Route(
            verb,
            re.compile(f"{path}$"),
            CallSpec(
                service, method, mutates=verb != "GET" and not method.endswith("getIamPolicy"), permission=permission
            ),
            handler,
            "{name}" if path.startswith(_ROLE) else "projects/{project}",
        )
        for verb, path, service, method, handler, permission in table
    ]
