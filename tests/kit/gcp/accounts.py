"""IAM's service accounts of the project and who may use them."""

from __future__ import annotations

import re

from emulator.errors import ApiError
from tests.kit.gcp.ground import Ask, Ground, Handler, Json
from tests.kit.gcp.policy import Policy, asked_version
from tests.kit.gcp.roles import Roles

_ID = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")
_MAX_NAME, _MAX_DESCRIPTION = 100, 256
_CHANGEABLE = {"displayName", "description"}


class Accounts:
    """All service accounts; their addresses are known to the whole ground."""

    def __init__(self, ground: Ground, roles: Roles) -> None:
        self._ground = ground
        self._roles = roles
        self.policies: dict[str, Policy] = {}
        self.deleted: dict[str, Json] = {}
        self.on_delete: list[Policy] = []

    def handlers(self) -> dict[str, Handler]:
        """By method id."""
        accounts = "iam.projects.serviceAccounts"
        return {
            f"{accounts}.create": self.create,
            f"{accounts}.get": lambda ask: self._find(ask.of("name")),
            f"{accounts}.list": self.list,
            f"{accounts}.delete": self.delete,
            f"{accounts}.undelete": self.undelete,
            f"{accounts}.patch": self.patch,
            f"{accounts}.disable": lambda ask: self._switch(ask, off=True),
            f"{accounts}.enable": lambda ask: self._switch(ask, off=False),
            f"{accounts}.getIamPolicy": self.get_policy,
            f"{accounts}.setIamPolicy": self.set_policy,
        }

    def create(self, ask: Ask) -> Json:
        """`serviceAccounts.create`."""
        ground, account_id = self._ground, str(ask.body.get("accountId", ""))
        if _ID.fullmatch(account_id) is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid service account ID: {account_id} (6 to 30 of [a-z0-9-]).")
        email = f"{account_id}@{ground.project}.iam.gserviceaccount.com"
        if email in ground.accounts:
            raise ApiError(
                "ALREADY_EXISTS",
                f"Service account {account_id} already exists within project projects/{ground.project}.",
            )
        number = f"{100000000000000000000 + ground.next_id()}"
        account = {
            "name": f"projects/{ground.project}/serviceAccounts/{email}",
            "projectId": ground.project,
            "uniqueId": number,
            "email": email,
            "etag": "MDEwMjE5MjA=",
            "oauth2ClientId": number,
        }
        given = {key: value for key, value in ask.body.get("serviceAccount", {}).items() if value}
        self._check_texts(given)
        ground.accounts[email] = account | {key: given[key] for key in _CHANGEABLE & set(given)}
        self.policies[email] = Policy(ground)
        ground.account_made(email)
        return ground.accounts[email]

    def list(self, ask: Ask) -> Json:
        """`serviceAccounts.list`, with the accounts that Google makes: the Compute default one, once its API is on."""
        del ask
        found = [account for _, account in sorted(self._ground.accounts.items())]
        return {"accounts": found} if found else {}

    def patch(self, ask: Ask) -> Json:
        """`serviceAccounts.patch`."""
        account = self._find(ask.of("name"))
        given = ask.body.get("serviceAccount", {})
        mask = {re.sub(r"_n", "N", part) for part in str(ask.body.get("updateMask", "")).split(",") if part}
        if not mask or mask - _CHANGEABLE:
            raise ApiError("INVALID_ARGUMENT", f"Invalid update mask: {sorted(mask - _CHANGEABLE)}")
        self._check_texts(given)
        account |= {key: given.get(key, "") for key in mask}
        return account

    def delete(self, ask: Ask) -> Json:
        """`serviceAccounts.delete`: what it was granted stays, under the name of its tombstone."""
        account = self._find(ask.of("name"))
        email = account["email"]
        for policy in [*self.on_delete, *self.policies.values()]:
            policy.forget(email, account["uniqueId"])
        self.deleted[account["uniqueId"]] = self._ground.accounts.pop(email)
        self.policies.pop(email)
        return {}

    def undelete(self, ask: Ask) -> Json:
        """`serviceAccounts.undelete`, by the account's number."""
        number = ask.of("name").rpartition("/")[2]
        if number not in self.deleted:
            raise ApiError("NOT_FOUND", f"Service account {number} does not exist or is not deleted.")
        account = self.deleted.pop(number)
        if account["email"] in self._ground.accounts:
            raise ApiError("FAILED_PRECONDITION", f"Service account {account['email']} was made anew.")
        self._ground.accounts[account["email"]] = account
        self.policies[account["email"]] = Policy(self._ground)
        return {"restoredAccount": account}

    def _switch(self, ask: Ask, *, off: bool) -> Json:
        account = self._find(ask.of("name"))
        account.pop("disabled", None)
        if off:
            account["disabled"] = True
        return {}

    def get_policy(self, ask: Ask) -> Json:
        """`serviceAccounts.getIamPolicy`."""
        return self._policy(ask).get(asked_version(ask.query))

    def set_policy(self, ask: Ask) -> Json:
        """`serviceAccounts.setIamPolicy`."""
        return self._policy(ask).put(ask.body.get("policy", {}), has_role=self._roles.known)

    def _policy(self, ask: Ask) -> Policy:
        """The account's policy. Google's own accounts have one too, once they exist."""
        email = ask.of("resource").rpartition("/")[2]
        if email not in self.policies:
            if not self._ground.exists(email) or email.endswith(f"@{self._ground.project}.iam.gserviceaccount.com"):
                raise _unknown(ask.of("resource"))
            self.policies[email] = Policy(self._ground)
        return self.policies[email]

    def _find(self, name: str) -> Json:
        key = name.rpartition("/")[2]
        for account in self._ground.accounts.values():
            if key in (account["email"], account["uniqueId"]):
                return account
        raise _unknown(name)

    @staticmethod
    def _check_texts(given: Json) -> None:
        if len(given.get("displayName", "")) > _MAX_NAME or len(given.get("description", "")) > _MAX_DESCRIPTION:
            raise ApiError("INVALID_ARGUMENT", "Display name (100) or description (256) is too long.")


def _unknown(name: str) -> ApiError:
    return ApiError("NOT_FOUND", f"Unknown service account: {name}")
