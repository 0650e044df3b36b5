"""IAM policies as every service keeps them: an etag, a version, bindings with or without conditions."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from emulator.errors import ApiError
from tests.kit.gcp import errors
from tests.kit.gcp.ground import Ground, Json

_MEMBER = re.compile(
    r"allUsers|allAuthenticatedUsers|(user|group|serviceAccount):[^\s@]+@[^\s@]+|domain:\S+\.\S+|(principal|principalSet):\S+"
    r"|deleted:\S+|project(Owner|Editor|Viewer):\S+"
)
_ROLE = re.compile(r"(roles|(projects|organizations)/[^/]+/roles)/[\w.]+")
_CONDITIONS_NEED = 3


class Policy:
    """One resource's policy."""

    def __init__(self, ground: Ground, bindings: Iterable[Json] = ()) -> None:
        self._ground = ground
        self._bindings: list[Json] = list(bindings)
        self._version = 0

    @property
    def etag(self) -> str:
        """Changes with every change; valid base64, as clients decode it."""
        return base64.b64encode(b"\x07" + self._version.to_bytes(8, "big")).decode()

    def get(self, asked_version: int = 1) -> Json:
        """The policy. A caller that does not ask for version 3 sees a conditional binding's role with a suffix, not its condition."""
        bindings = [_shown(binding, asked_version) for binding in self._bindings]
        conditional = any("condition" in binding for binding in bindings)
        answer: Json = {"version": _CONDITIONS_NEED if conditional else 1, "etag": self.etag}
        return answer | ({"bindings": bindings} if bindings else {})

    def put(self, policy: Json, *, has_role: Callable[[str], bool]) -> Json:
        """Replace it; 409 ABORTED on a stale etag, 400 for what no policy can hold or for whom it cannot name."""
        given = read_etag(policy.get("etag", ""))
        if given and given != self.etag:
            raise errors.concurrent_change()
        bindings = [binding for binding in policy.get("bindings", []) if binding.get("members")]
        conditional = any("condition" in binding for binding in bindings)
        if conditional and policy.get("version") != _CONDITIONS_NEED:
            raise _bad("Invalid policy version: a policy with conditions needs version 3.")
        if any("condition" in mine for mine in self._bindings) and policy.get("version") != _CONDITIONS_NEED:
            raise _bad("Policy version 3 is needed to change a policy that has conditions.")
        for binding in bindings:
            _check_binding(binding, has_role)
        self._ground.check_members(bindings)
        self._bindings = [
            {key: binding[key] for key in ("role", "members", "condition") if binding.get(key)} for binding in bindings
        ]
        for binding in self._bindings:
            binding["members"] = sorted(set(binding["members"]))
        self._version = self._ground.next_id()
        return self.get(_CONDITIONS_NEED)

    def grant(self, role: str, member: str) -> None:
        """What Google itself grants (a service agent's role)."""
        for binding in self._bindings:
            if binding["role"] == role and "condition" not in binding:
                binding["members"] = sorted({*binding["members"], member})
                break
        else:
            self._bindings.append({"role": role, "members": [member]})
        self._version = self._ground.next_id()

    def forget(self, email: str, number: str) -> None:
        """A deleted service account stays in the policy, under its tombstone's name."""
        for binding in self._bindings:
            binding["members"] = sorted(
                f"deleted:{member}?uid={number}" if member == f"serviceAccount:{email}" else member
                for member in binding["members"]
            )

    def plain(self) -> list[Json]:
        """The bindings in an order of their own, to compare two worlds."""
        return sorted(self._bindings, key=lambda binding: (binding["role"], str(binding.get("condition", ""))))


def _shown(binding: Json, asked_version: int) -> Json:
    if "condition" in binding and asked_version < _CONDITIONS_NEED:
        suffix = hashlib.sha256(str(binding["condition"]).encode()).hexdigest()[:20]
        return {"role": f"{binding['role']}_withcond_{suffix}", "members": binding["members"]}
    return binding


def _check_binding(binding: Json, has_role: Callable[[str], bool]) -> None:
    role = str(binding.get("role", ""))
    if _ROLE.fullmatch(role) is None:
        raise _bad(f"Role {role} is not supported for this resource.")
    if not has_role(role):
        raise _bad(f"Role ({role}) does not exist in the resource's hierarchy.")
    for member in binding["members"]:
        if _MEMBER.fullmatch(member) is None:
            raise _bad(f"The member {member} is of an unknown type. Please set a valid type prefix for the member.")
        if member.startswith("user:") and member.endswith(".gserviceaccount.com"):
            email = member.removeprefix("user:")
            raise _bad(
                f'Account {email} is of type "serviceAccount". Please set the type prefix to be "serviceAccount:".'
            )
    condition = binding.get("condition")
    if condition is not None and not (condition.get("title") and condition.get("expression")):
        raise _bad("Invalid condition: an expression and a title are needed.")


def _bad(text: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", text)


def read_etag(given: object) -> str:
    """An etag as it was given out: gcloud decodes it and writes it again, with `-` and `_` for `+` and `/`."""
    return str(given).replace("-", "+").replace("_", "/")


def asked_version(query: Any) -> int:
    """The policy version that a caller understands."""
    return int(query.get("options.requestedPolicyVersion", "1"))
