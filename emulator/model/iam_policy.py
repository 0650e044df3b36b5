"""The allow policies: the checks of a new policy, its stored form, and the renaming of members whose account is deleted."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulator.errors import ApiError

CONFLICT = "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
NO_POLICY_ETAG = "ACAB"  # the etag of a resource without a policy
_ROLE = re.compile(r"(?:(?:projects|organizations)/[^/]+/)?roles/[A-Za-z0-9_.]+")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_POLICY_FIELDS = {"version", "bindings", "etag", "auditConfigs"}
_BINDING_FIELDS = {"role", "members", "condition"}
_CONDITION_FIELDS = {"title", "expression", "description", "location"}
_CONDITIONAL_VERSION = 3
_VERSIONS = (0, 1, _CONDITIONAL_VERSION)
_MAX_PRINCIPALS = 1500
ACCOUNT = "serviceAccount:"

Bindings = list[dict[str, Any]]


def invalid(text: str) -> ApiError:
    """Return the error 400 INVALID_ARGUMENT."""
    return ApiError("INVALID_ARGUMENT", text)


def etag_of(serial: int) -> str:
    """Return an etag that differs for every write: bytes in base64, because gcloud decodes it."""
    return base64.b64encode(b"\x07\x05" + serial.to_bytes(6, "big")).decode() if serial else NO_POLICY_ETAG


def read_etag(sent: Any) -> str:
    """Return an etag from a request in the form in which it was issued.

    gcloud decodes an etag and encodes it again, with `-_` for `+/`.
    """
    return str(sent).replace("-", "+").replace("_", "/")


@dataclass(slots=True)
class Policy:
    """The policy of a resource: its last content, and the number of writes."""

    bindings: Bindings = field(default_factory=list)
    version: int = 1
    serial: int = 0

    def view(self, version: int = 0) -> dict[str, Any]:
        """Return the policy in the form for a caller who requests this version.

        Below version 3, a condition only appears as a suffix of its role.
        """
        shown: dict[str, Any] = {"etag": etag_of(self.serial)}
        if self.serial:
            shown["version"] = self.version
        if self.bindings:
            shown["bindings"] = self.bindings
        return below_three(shown, version)

    def put(self, policy: Any, *, check_account: Callable[[str], None] = lambda _email: None) -> dict[str, Any]:
        """Replace the policy. A stale etag gives 409 ABORTED; without an etag, the policy is overwritten.

        `check_account` is as in `read_policy`.
        """
        version, bindings = read_policy(policy, check_account=check_account)
        if policy.get("etag") and read_etag(policy["etag"]) != etag_of(self.serial):
            raise ApiError("ABORTED", CONFLICT)
        if policy.get("etag"):  # without an etag, conditions are lost silently
            check_not_below(policy.get("version", 0), self.version)
        self.serial += 1
        self.version, self.bindings = version, bindings
        return self.view(_CONDITIONAL_VERSION)

    def grant(self, role: str, member: str) -> None:
        """Add a binding of `role` to `member`, without a condition."""
        self.put({"version": self.version, "bindings": [*self.bindings, {"role": role, "members": [member]}]})

    def rename(self, old: str, new: str) -> None:
        """Rename a member in all bindings of the policy."""
        if any(old in each["members"] for each in self.bindings):
            self.bindings = [
                {**each, "members": sorted({new if member == old else member for member in each["members"]})}
                for each in self.bindings
            ]
            self.serial += 1


def read_policy(policy: Any, *, check_account: Callable[[str], None]) -> tuple[int, Bindings]:
    """Return the version and the bindings of a new policy; raise 400 for an invalid policy.

    Bindings of the same role and condition are joined, members are unique and sorted, and empty bindings are dropped.
    `check_account` raises an error for the address of a service account that cannot be a member.
    """
    if not isinstance(policy, dict) or set(policy) - _POLICY_FIELDS:
        raise invalid("Invalid value at 'policy' (google.iam.v1.Policy).")
    version = policy.get("version", 0)
    if version not in _VERSIONS:
        raise invalid(f"Invalid policy version: {version}. Supported versions are 0, 1 and 3.")
    joined: dict[str, dict[str, Any]] = {}
    for binding in policy.get("bindings", []):
        role, members, condition = _read_binding(binding)
        if condition is not None and version != _CONDITIONAL_VERSION:
            raise invalid("Policy version must be 3 for a policy with conditional role bindings.")
        for member in members:
            _check_member(member, check_account)
        held = joined.setdefault(f"{role}\0{condition}", {"role": role, "members": set()})
        held["members"].update(members)
        if condition is not None:
            held["condition"] = condition
    bindings = [{**held, "members": sorted(held["members"])} for _, held in sorted(joined.items()) if held["members"]]
    if sum(len(held["members"]) for held in bindings) > _MAX_PRINCIPALS:
        raise invalid(f"The number of members in the policy is larger than the maximum allowed size {_MAX_PRINCIPALS}.")
    return _CONDITIONAL_VERSION if any("condition" in held for held in bindings) else 1, bindings


def below_three(policy: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a policy as a caller below version 3 sees it: `roles/x_withcond_<hash>` replaces the condition."""
    if version >= _CONDITIONAL_VERSION or policy.get("version") != _CONDITIONAL_VERSION:
        return policy
    bindings = []
    for held in policy["bindings"]:
        shown = {key: value for key, value in held.items() if key != "condition"}
        if "condition" in held:
            mark = hashlib.sha256(str(sorted(held["condition"].items())).encode()).hexdigest()[:20]
            shown["role"] = f"{held['role']}_withcond_{mark}"
        bindings.append(shown)
    return {**policy, "version": 1, "bindings": bindings}


def check_not_below(asked: int, held: int) -> None:
    """Raise 400 for a read-modify-write that would lose conditions."""
    if held == _CONDITIONAL_VERSION and asked < held:
        raise invalid(
            f"Specified policy version ({asked}) cannot be less than the existing policy version ({held}) for this policy."
        )


def _read_binding(binding: Any) -> tuple[str, list[str], dict[str, Any] | None]:
    if not isinstance(binding, dict) or set(binding) - _BINDING_FIELDS:
        raise invalid("Invalid value at 'policy.bindings' (google.iam.v1.Binding).")
    role, members, condition = binding.get("role"), binding.get("members", []), binding.get("condition")
    if not isinstance(role, str) or not _ROLE.fullmatch(role):
        raise invalid(
            f"Invalid role: '{role}'. It must be roles/NAME, projects/P/roles/NAME or organizations/O/roles/NAME."
        )
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        raise invalid("Invalid value at 'policy.bindings.members' (TYPE_STRING).")
    if condition is not None and (
        not isinstance(condition, dict) or set(condition) - _CONDITION_FIELDS or not condition.get("expression")
    ):
        raise invalid("Invalid value at 'policy.bindings.condition' (google.type.Expr).")
    return role, members, condition


def _check_member(member: str, check_account: Callable[[str], None]) -> None:
    kind, _, value = member.partition(":")
    match kind:
        case "serviceAccount":
            if not _EMAIL.fullmatch(value):
                raise invalid(f"Invalid service account ({value}).")
            check_account(value)
        case "user" | "group":
            if not _EMAIL.fullmatch(value):
                raise invalid(f"Invalid {kind} ({value}).")
            if kind == "user" and value.endswith(".gserviceaccount.com"):
                raise invalid(
                    f'Account {value} is of type "serviceAccount". Please set the type prefix to be "serviceAccount:".'
                )
        case "domain" | "deleted" | "principal" | "principalSet":
            if not value:
                raise invalid(
                    f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
                )
        case _:
            if member not in ("allUsers", "allAuthenticatedUsers"):
                raise invalid(
                    f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
                )


def tombstone(email: str, unique_id: str) -> str:
    """Return the name by which a policy lists an account after its deletion."""
    return f"deleted:{ACCOUNT}{email}?uid={unique_id}"
