"""The REST API of Secret Manager v1: the calls that functions and this machine's operator use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.wire.http import Call, Route, route
from emulator.world import CallSpec

if TYPE_CHECKING:
    from emulator.model.secrets import SecretsModel


def routes(model: SecretsModel) -> list[Route]:
    """Return the service's routes."""

    def create(call: Call) -> Any:
        return model.create(call.params["project"], call.request.args.get("secretId", ""), call.json())

    def add(call: Call) -> Any:
        return model.add(f"projects/{call.params['project']}/secrets/{call.params['secret']}", call.json())

    def access(call: Call) -> Any:
        return model.access(
            f"projects/{call.params['project']}/secrets/{call.params['secret']}", call.params["version"]
        )

    def spec(method: str, permission: str, *, mutates: bool = False) -> CallSpec:
        return CallSpec("secretmanager", method, mutates=mutates, permission=f"secretmanager.{permission}")

    path = "/v1/projects/{project}/secrets"
    return [
        route("POST", path, spec("secrets.create", "secrets.create", mutates=True), create,
              resource="projects/{project}"),
        route("POST", f"{path}/{{secret}}:addVersion", spec("secrets.addVersion", "versions.add", mutates=True), add,
              resource="projects/{project}/secrets/{secret}"),
        route("GET", f"{path}/{{secret}}/versions/{{version}}:access", spec("versions.access", "versions.access"), access,
              resource="projects/{project}/secrets/{secret}"),
    ]  # fmt: skip
