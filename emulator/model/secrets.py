"""Secret Manager: secrets with automatic replication, their versions and policies."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.clock import rfc3339
from emulator.errors import ApiError
from emulator.model.iam_policy import Policy

if TYPE_CHECKING:
    from emulator.world import World

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_MOST_BYTES = 65_536
_FIELDS = {
    "replication",
    "labels",
    "annotations",
    "name",
    "etag",
    "topics",
    "tags",
    "versionAliases",
}  # gcloud sends empty ones


@dataclass(slots=True)
class _Secret:
    body: dict[str, Any]
    versions: list[str] = field(default_factory=list)  # base64, oldest first
    policy: Policy = field(default_factory=Policy)


class SecretsModel:
    """The model of all secrets, by full name, `projects/P/secrets/S`. A version is never changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._secrets: dict[str, _Secret] = {}

    def dump(self) -> Any:
        """Return the secrets and their versions, in JSON types."""
        return {
            name: {"body": each.body, "versions": each.versions, "bindings": each.policy.bindings}
            for name, each in self._secrets.items()
        }

    def load(self, state: Any) -> None:
        """Restore the secrets from a result of `dump`."""
        self._secrets = {
            name: _Secret(each["body"], list(each["versions"]), Policy(bindings=each["bindings"], serial=1))
            for name, each in state.items()
        }

    def create(self, project: str, secret: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `secrets.create`."""
        name = f"projects/{project}/secrets/{secret}"
        if not _ID.fullmatch(secret) or set(body) - _FIELDS:
            raise ApiError("INVALID_ARGUMENT", f"Invalid secret {secret} or fields not served here: {sorted(body)}.")
        if (body.get("replication") or {}).get("automatic") is None:
            raise ApiError("INVALID_ARGUMENT", "replication.automatic is the only policy that is served here.")
        if name in self._secrets:
            raise ApiError("ALREADY_EXISTS", f"Secret [{name}] already exists.")
        self._secrets[name] = _Secret({**body, "createTime": rfc3339(self._world.clock.now())})
        return self.get(name)

    def get(self, name: str) -> dict[str, Any]:
        """Answer `secrets.get`."""
        return {"name": name, **self._found(name).body}

    def listing(self, parent: str) -> dict[str, Any]:
        """Answer `secrets.list` with a single page."""
        mine = sorted(name for name in self._secrets if name.startswith(f"{parent}/secrets/"))
        return {"secrets": [self.get(name) for name in mine], "totalSize": len(mine)}

    def delete(self, name: str) -> dict[str, Any]:
        """Answer `secrets.delete`."""
        self._found(name)
        del self._secrets[name]
        return {}

    def add(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `secrets.addVersion`."""
        secret, data = self._found(name), (body.get("payload") or {}).get("data")
        try:
            content = base64.b64decode(str(data).replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error as error:
            raise ApiError("INVALID_ARGUMENT", "Invalid value at 'payload.data' (TYPE_BYTES).") from error
        if not data or len(content) > _MOST_BYTES:
            raise ApiError("INVALID_ARGUMENT", "The payload must have 1 to 65536 bytes.")
        secret.versions.append(base64.b64encode(content).decode())
        return self._version(name, len(secret.versions))

    def versions(self, name: str) -> dict[str, Any]:
        """Answer `secrets.versions.list`, newest first."""
        count = len(self._found(name).versions)
        return {"versions": [self._version(name, number) for number in range(count, 0, -1)], "totalSize": count}

    def access(self, name: str, version: str) -> dict[str, Any]:
        """Answer `secrets.versions.access`, for a number or `latest`."""
        versions = self._found(name).versions
        number = len(versions) if version == "latest" else int(version) if version.isdigit() else 0
        if not 1 <= number <= len(versions):
            raise ApiError("NOT_FOUND", f"Secret Version [{name}/versions/{version}] not found.")
        return {"name": f"{name}/versions/{number}", "payload": {"data": versions[number - 1]}}

    def policy(self, name: str) -> Policy:
        """Return the secret's policy."""
        return self._found(name).policy

    def _version(self, name: str, number: int) -> dict[str, Any]:
        return {"name": f"{name}/versions/{number}", "state": "ENABLED"}

    def _found(self, name: str) -> _Secret:
        if name not in self._secrets:
            raise ApiError("NOT_FOUND", f"Secret [{name}] not found.")
        return self._secrets[name]
