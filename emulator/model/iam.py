"""The model of IAM v1 service accounts: create, disable, delete, and the allow policy of each account.

All methods take and return the REST API's JSON. IAM is eventually consistent. Here the delay is scripted by a fault on
`iam.serviceAccounts.create` with `payload: {"lag": {"read_seconds": 7, "member_seconds": 60}}`, or for all accounts by
`read_lag` and `member_lag`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.iam_policy import ACCOUNT, Policy, invalid, tombstone
from emulator.model.notebooks_fresh import digest
from emulator.model.pages import listed

if TYPE_CHECKING:
    from emulator.world import World

DEFAULT_QUOTA = 100  # service accounts in a project, unless Google grants more
_ACCOUNT_ID = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_MIN_ID, _MAX_ID = 6, 30
_MAX_DISPLAY_NAME, _MAX_DESCRIPTION = 100, 256  # bytes in UTF-8
_DEFAULT_PAGE, _MAX_PAGE = 20, 100
_NO_END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_KEY_TYPES = ("KEY_TYPE_UNSPECIFIED", "USER_MANAGED", "SYSTEM_MANAGED")
_KEY_LIFE = timedelta(days=14)  # of a key that Google manages and replaces
_ACCOUNT_ETAG = "MDEwMjE5MjA="  # every real account has this etag
_WRITABLE = {"displayName": "displayName", "display_name": "displayName", "description": "description"}
_FIELDS = {*_WRITABLE, "name", "projectId", "uniqueId", "email", "etag", "oauth2ClientId", "disabled"}


@dataclass(slots=True)
class Account:
    """A service account. `policy` is its IAM policy, which lists the members that may act as it.

    From `readable` on, reads find the account; from `known` on, it can be a member of policies.
    """

    project: str
    email: str
    unique_id: str
    serial: int
    display_name: str
    description: str
    readable: datetime
    known: datetime
    disabled: bool = False
    user_keys: int = 0  # keys that somebody made; a test plants them, since keys.create is not served
    policy: Policy = field(default_factory=Policy)

    @property
    def name(self) -> str:
        """The resource's full name."""
        return f"projects/{self.project}/serviceAccounts/{self.email}"


class IamModel:
    """The model of all service accounts of the project. Tests may set `quota`, `read_lag` and `member_lag`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.quota = DEFAULT_QUOTA
        self.read_lag = timedelta(0)
        self.member_lag = timedelta(0)
        self._accounts: dict[str, Account] = {}  # by unique id
        self._living: dict[str, Account] = {}  # by e-mail address
        self.further: list[Policy] = []  # policies of other services, which name accounts too
        self._naming: set[str] = set()  # unique ids of the accounts whose policy names a service account
        self._serial = 0

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        rows = []
        for account in self._accounts.values():
            row = {each.name: getattr(account, each.name) for each in fields(Account) if each.name != "policy"}
            policy = account.policy
            row |= {"version": policy.version, "policy_serial": policy.serial, "bindings": policy.bindings}
            times = {key: rfc3339(row[key]) for key in ("readable", "known")}
            rows.append(row | times)
        return {"quota": self.quota, "serial": self._serial, "accounts": rows}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self.quota, self._serial, self._accounts = state["quota"], state["serial"], {}
        for row in state["accounts"]:
            if row.get("deleted"):  # saved worlds of older versions keep deleted accounts for 30 days
                continue
            times = {key: parse_rfc3339(row[key]) for key in ("readable", "known")}
            other = ("version", "policy_serial", "bindings", "deleted")
            kept = {key: value for key, value in row.items() if key not in other}
            policy = Policy(row["bindings"], row["version"], row["policy_serial"])
            self._accounts[row["unique_id"]] = Account(**{**kept, **times}, policy=policy)
        held = self._accounts.values()
        self._living = {account.email: account for account in held}
        self._naming = {account.unique_id for account in held if _names_accounts(account)}

    # --- the accounts

    def create(self, project: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `serviceAccounts.create`."""
        now = self._check_project(project, "create")
        _only(body, {"accountId", "serviceAccount"})
        account_id, asked = body.get("accountId"), _read_account(body.get("serviceAccount", {}))
        _check_account_id(account_id)
        email = f"{account_id}@{project}.iam.gserviceaccount.com"
        if email in self._living:
            raise ApiError(
                "ALREADY_EXISTS", f"Service account {account_id} already exists within project projects/{project}."
            )
        if len(self._living) >= self.quota:
            raise ApiError("RESOURCE_EXHAUSTED", "Maximum number of service accounts on project reached.")
        self._serial += 1
        lag = self._lag(f"projects/{project}/serviceAccounts/{email}")
        account = Account(
            project=project,
            email=email,
            unique_id=str(10**20 + int(digest(email, self._serial)[:18], 16) % 10**20),
            serial=self._serial,
            display_name=asked.get("displayName", ""),
            description=asked.get("description", ""),
            readable=now + lag[0],
            known=now + lag[1],
        )
        self._accounts[account.unique_id] = self._living[email] = account
        return _view(account)

    def get(self, name: str) -> dict[str, Any]:
        """Answer `serviceAccounts.get`, by e-mail address or unique id; the project may be `-`."""
        return _view(self._find(name, "get"))

    def listing(self, project: str, *, size: int, token: str) -> dict[str, Any]:
        """Answer `serviceAccounts.list`."""
        now = self._check_project(project, "list")
        return listed(
            "accounts",
            [account for account in self._living.values() if account.readable <= now],
            size=min(size or _DEFAULT_PAGE, _MAX_PAGE),
            token=token,
            scope=f"serviceAccounts {project}",
            key=lambda account: account.serial,
            view=_view,
        )

    def patch(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `serviceAccounts.patch` with the name and the changed fields only, as recorded."""
        account = self._find(name, "update")
        _only(body, {"serviceAccount", "updateMask"})
        asked, mask = _read_account(body.get("serviceAccount", {})), body.get("updateMask", "")
        paths = [path.strip() for path in str(mask).split(",") if path.strip()]
        if not paths:
            raise invalid("The update_mask must name at least one of display_name, description.")
        changed: dict[str, Any] = {"name": account.name}
        for path in paths:
            if path not in _WRITABLE:
                raise invalid(f"Invalid update_mask path: '{path}'. Only display_name and description can be updated.")
            key = _WRITABLE[path]
            changed[key] = asked.get(key, "")
        account.display_name = changed.get("displayName", account.display_name)
        account.description = changed.get("description", account.description)
        return {key: value for key, value in changed.items() if value}

    def keys(self, name: str, kinds: list[str]) -> dict[str, Any]:
        """Answer `serviceAccounts.keys.list`: one key that Google manages, and the keys that users made."""
        account = self._find(name, "get")
        unknown = [kind for kind in kinds if kind not in _KEY_TYPES]
        if unknown:
            raise invalid(
                f"Invalid value at 'key_types' (type.googleapis.com/google.iam.admin.v1.KeyType), \"{unknown[0]}\""
            )
        asked = set(_KEY_TYPES[1:]) if not kinds or "KEY_TYPE_UNSPECIFIED" in kinds else set(kinds)
        made = ["SYSTEM_MANAGED", *["USER_MANAGED"] * account.user_keys]
        found = [self._key(account, number, kind) for number, kind in enumerate(made) if kind in asked]
        return {"keys": found} if found else {}

    def _key(self, account: Account, number: int, kind: str) -> dict[str, Any]:
        name = digest(account.unique_id, f"key{number or ''}")[:40]
        until = account.readable + _KEY_LIFE if kind == "SYSTEM_MANAGED" else _NO_END
        return {
            "name": f"{account.name}/keys/{name}",
            "validAfterTime": f"{account.readable:%Y-%m-%dT%H:%M:%SZ}",
            "validBeforeTime": f"{until:%Y-%m-%dT%H:%M:%SZ}",
            "keyAlgorithm": "KEY_ALG_RSA_2048",
            "keyOrigin": "GOOGLE_PROVIDED",
            "keyType": kind,
        }

    def switch(self, name: str, *, disabled: bool) -> dict[str, Any]:
        """Answer `serviceAccounts.disable` and `enable`; nothing changes if the account is already in that state."""
        self._find(name, "disable" if disabled else "enable").disabled = disabled
        return {}

    def delete(self, name: str) -> dict[str, Any]:
        """Answer `serviceAccounts.delete`. The account is permanently deleted at once.

        It becomes a `deleted:` member in the policies of accounts and in those in `further`.
        """
        account = self._find(name, "delete")
        del self._living[account.email], self._accounts[account.unique_id]
        self._rename(ACCOUNT + account.email, tombstone(account.email, account.unique_id))
        return {}

    # --- their policies

    def get_policy(self, name: str, *, version: int = 0) -> dict[str, Any]:
        """Answer `serviceAccounts.getIamPolicy`.

        Below version 3, a conditional binding has no condition, and the condition's hash is part of its role.
        """
        return self._find(name, "getIamPolicy").policy.view(version)

    def set_policy(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `serviceAccounts.setIamPolicy`. A stale etag gives 409 ABORTED; without an etag, the policy is overwritten."""
        account = self._find(name, "setIamPolicy")
        _only(body, {"policy", "updateMask"})
        written = account.policy.put(body.get("policy"), check_account=self.check_member)
        if _names_accounts(account):
            self._naming.add(account.unique_id)
        return written

    def account(self, email: str) -> dict[str, Any] | None:
        """Return the account with this address and all its fields; None if no account has the address."""
        held = self._living.get(email)
        return _view(held) if held is not None else None

    def check_member(self, email: str) -> None:
        """Raise 400 for an address of this project if no such account exists, or if it is too new for policies."""
        if not email.endswith(f"@{self.world.project}.iam.gserviceaccount.com"):
            return
        held, now = self._living.get(email), self.world.clock.now()
        if held is None or held.known > now:
            raise invalid(f"Service account {email} does not exist.")

    # --- inner

    def _lag(self, name: str) -> tuple[timedelta, timedelta]:
        fault = self.world.faults.take("iam.serviceAccounts.create", name, wanted="lag")
        told = fault.payload["lag"] if fault is not None else {}
        read, member = told.get("read_seconds"), told.get("member_seconds")
        return (
            self.read_lag if read is None else timedelta(seconds=read),
            self.member_lag if member is None else timedelta(seconds=member),
        )

    def _check_project(self, project: str, verb: str) -> datetime:
        if project != self.world.project:
            text = f"Permission 'iam.serviceAccounts.{verb}' denied on resource (or it may not exist)."
            raise ApiError("PERMISSION_DENIED", text)
        return self.world.clock.now()

    def _find(self, name: str, verb: str) -> Account:
        *_, project, _, key = name.split("/")
        now = self.world.clock.now() if project == "-" else self._check_project(project, verb)
        found = self._accounts.get(key) if key.isdigit() else self._living.get(key)
        if found is not None and found.readable <= now:
            return found
        raise ApiError("NOT_FOUND", "Unknown service account", reason="notFound", both=True)

    def _rename(self, old: str, new: str) -> None:
        for policy in [self._accounts[each].policy for each in sorted(self._naming) if each in self._accounts]:
            policy.rename(old, new)
        for policy in self.further:
            policy.rename(old, new)


def _names_accounts(account: Account) -> bool:
    return any(ACCOUNT in member for binding in account.policy.bindings for member in binding["members"])


def _only(body: dict[str, Any], known: set[str]) -> None:
    for key in body:
        if key not in known:
            raise invalid(f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.')


def _read_account(asked: Any) -> dict[str, str]:
    if not isinstance(asked, dict):
        raise invalid("Invalid value at 'service_account' (google.iam.admin.v1.ServiceAccount).")
    found: dict[str, str] = {}
    for key, value in asked.items():
        if key not in _FIELDS:
            raise invalid(
                f"Invalid JSON payload received. Unknown name \"{key}\" at 'service_account': Cannot find field."
            )
        if key in _WRITABLE:
            if not isinstance(value, str):
                raise invalid(f"Invalid value at 'service_account.{key}' (TYPE_STRING), {value}")
            found[_WRITABLE[key]] = value
    for key, limit in (("displayName", _MAX_DISPLAY_NAME), ("description", _MAX_DESCRIPTION)):
        if len(found.get(key, "").encode()) > limit:
            raise invalid(f"The {key} of a service account has at most {limit} UTF-8 bytes.")
    return found


def _check_account_id(account_id: Any) -> None:
    if not isinstance(account_id, str) or not _MIN_ID <= len(account_id) <= _MAX_ID:
        raise invalid(f'The account ID "{account_id}" does not have a length between {_MIN_ID} and {_MAX_ID}.')
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise invalid(f'The account ID "{account_id}" must match [a-z]([-a-z0-9]*[a-z0-9]).')


def _view(account: Account) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": account.name,
        "projectId": account.project,
        "uniqueId": account.unique_id,
        "email": account.email,
        "displayName": account.display_name,
        "etag": _ACCOUNT_ETAG,
        "description": account.description,
        "oauth2ClientId": account.unique_id,
        "disabled": account.disabled,
    }
    return {key: value for key, value in body.items() if value}
