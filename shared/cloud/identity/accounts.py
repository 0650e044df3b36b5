"""The adapter to the users' own service accounts in IAM, and to the policy that names each account's user. Plain REST (ADR 5).

IAM is eventually consistent: a new account may read as absent for a while. An account is known to be ours by the user key in its
description. No e-mail address of a user is in the description or the display name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.plan.plan import AccountSeen
from shared.domain.things.errors import (
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    NotOursError,
    QuotaExhaustedError,
)
from shared.domain.things.identity import AccountId, UserEmail, UserKey, account_email
from shared.domain.things.notebook import Absent

ACT_AS = "roles/iam.serviceAccountUser"
_TRIES = 5  # read-modify-write beside other writers; if all fail, the next pass tries again
_SHOWS_SOON = timedelta(seconds=10)
# Member kinds with addresses as names, compared without case; the names of principals are case-sensitive.
_ADDRESSES = frozenset({"user", "group", "serviceAccount", "domain"})
_WITH_CONDITIONS = 3  # policies below version 3 hide conditions, and must not be written over one that has some

Bindings = list[dict[str, Any]]


class IamAccounts:
    """The adapter of the port `Accounts`. Errors name a call by the account's id, because the path of the call contains an address."""

    def __init__(self, clients: Clients, *, project: str) -> None:
        self._clients = clients
        self._project = project

    def get(self, account_id: AccountId, user_key: UserKey) -> AccountSeen | Absent:
        """Return the account by two calls, one for the account and one for its policy. Deleted members are left out."""
        raw = self._read(account_id)
        policy = self._policy(account_id) if raw is not None else None
        if raw is None or policy is None:
            return Absent()
        return AccountSeen(
            is_ours=_is_ours(raw, user_key), disabled=bool(raw.get("disabled")), shared_with=_shared_with(policy)
        )

    def keys(self, account_id: AccountId) -> int:
        """Return the number of the account's keys by one call: an account has at most ten, on one page.

        A missing account has none.
        """
        answer = self._clients.json("iam").call_or_none(
            "GET",
            f"{self._path(account_id)}/keys",
            params={"keyTypes": "USER_MANAGED"},
            what=f"list keys of service account {account_id}",
        )
        return len((answer or {}).get("keys", []))

    def create(self, account_id: AccountId, user_key: UserKey) -> None:
        """Create the account. Idempotent: succeeds if it exists and is ours. Raise `NotOursError` if it is not ours.

        Raise `CloudUnavailableError` if the account exists but cannot be read yet: its owner is unknown until IAM shows it.
        """
        try:
            self._clients.json("iam").call(
                "POST",
                f"/v1/projects/{self._project}/serviceAccounts",
                body={
                    "accountId": account_id,
                    "serviceAccount": {
                        "displayName": f"Notebook of {user_key}",
                        "description": _mark(user_key),
                    },
                },
                what=f"create service account {account_id}",
            )
        except ConflictError as conflict:
            seen = self._read(account_id)
            if seen is None:
                raise _not_shown(account_id) from conflict
            if not _is_ours(seen, user_key):
                raise NotOursError(
                    user_message=f"A service account named {account_id} exists that Benchkeeper did not make. "
                    "An administrator must remove it.",
                    detail=f"service account {account_id} exists without our description",
                ) from conflict
        except QuotaExhaustedError as error:
            raise QuotaExhaustedError(
                user_message="The project has as many service accounts as its quota allows (IAM: service accounts per "
                "project, 100 unless Google raised it). Benchkeeper tries again every 30 minutes; an administrator can ask "
                "for more, or remove accounts that nobody uses.",
                detail=error.detail,
                quota=error.quota,
                is_zero=error.is_zero,
            ) from error

    def share(self, account_id: AccountId, user: UserEmail | None) -> None:
        """Set the policy: one binding with one member, or no binding for None. All other bindings are removed.

        An equal policy is not written. Raise `ConflictError` after several conflicting writes, and an error for a missing account unless
        `user` is None.
        """
        wanted: Bindings = [] if user is None else [{"role": ACT_AS, "members": [f"user:{user}"]}]
        conflict: ConflictError | None = None
        for _ in range(_TRIES):
            policy = self._policy(account_id)
            if policy is None:
                if user is None:
                    return
                raise _not_shown(account_id)
            if _plain(policy.get("bindings", [])) == wanted:
                return
            try:
                self._write(account_id, wanted, etag=str(policy.get("etag", "")))
            except ConflictError as error:
                conflict = error
            else:
                return
        raise ConflictError(
            user_message="Another program keeps changing who may use this person's service account; Benchkeeper tries again.",
            detail=f"share service account {account_id}: {_TRIES} conflicts in a row",
        ) from conflict

    def enable(self, account_id: AccountId) -> None:
        """Enable the account; an enabled one is not an error."""
        if self._post(account_id, "enable", {}) is None:
            raise _not_shown(account_id)

    def disable(self, account_id: AccountId) -> None:
        """Disable the account; a disabled or missing one is not an error."""
        self._post(account_id, "disable", {})

    def delete(self, account_id: AccountId) -> None:
        """Delete the account; a missing one is not an error."""
        self._clients.json("iam").call_or_none(
            "DELETE", self._path(account_id), what=f"delete service account {account_id}"
        )

    def _read(self, account_id: AccountId) -> dict[str, Any] | None:
        what = f"read service account {account_id}"
        return self._clients.json("iam").call_or_none("GET", self._path(account_id), what=what)

    def _policy(self, account_id: AccountId) -> dict[str, Any] | None:
        # Without the version, bindings with conditions have mangled names.
        version = {"options.requestedPolicyVersion": _WITH_CONDITIONS}
        return self._post(account_id, "getIamPolicy", None, params=version)

    def _write(self, account_id: AccountId, bindings: Bindings, *, etag: str) -> None:
        policy = {"version": _WITH_CONDITIONS, "bindings": bindings, "etag": etag}
        try:
            written = self._post(account_id, "setIamPolicy", {"policy": policy})
        except InvalidSpecError as error:
            if not bindings or not error.names_account:
                raise
            raise InvalidSpecError(
                user_message="Google knows no account with this person's address, so nobody can open a notebook with it. "
                "An administrator must create the account in Google Workspace or Cloud Identity, or correct the address "
                "in the source of the messages about this person.",
                detail=f"share service account {account_id}: the person's Google account does not exist",
            ) from error
        if written is None:
            raise _not_shown(account_id)

    def _post(
        self, account_id: AccountId, verb: str, body: dict[str, Any] | None, *, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        return self._clients.json("iam").call_or_none(
            "POST", f"{self._path(account_id)}:{verb}", params=params, body=body, what=f"{verb} of {account_id}"
        )

    def _path(self, account_id: AccountId) -> str:
        return f"/v1/projects/{self._project}/serviceAccounts/{account_email(account_id, self._project)}"


def _mark(user_key: UserKey) -> str:
    return f"Benchkeeper: {user_key}"


def _is_ours(raw: Mapping[str, Any], user_key: UserKey) -> bool:
    return str(raw.get("description", "")).strip() == _mark(user_key)


def _shared_with(policy: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the members by role, including members under a condition, because the condition may hold."""
    found: dict[str, set[str]] = {}
    for binding in _plain(policy.get("bindings", [])):
        members = {member for member in binding["members"] if not member.startswith("deleted:")}
        if members:
            found.setdefault(str(binding["role"]), set()).update(members)
    return {role: tuple(sorted(members)) for role, members in found.items()}


def _plain(bindings: Bindings) -> Bindings:
    """Return the bindings in a form that can be compared; conditions are part of the comparison."""
    return [{**binding, "members": sorted(map(_lower, binding.get("members", [])))} for binding in bindings]


def _lower(member: str) -> str:
    kind, _, name = member.partition(":")
    return f"{kind}:{name.lower()}" if kind in _ADDRESSES else member


def _not_shown(account_id: AccountId) -> CloudUnavailableError:
    return CloudUnavailableError(
        user_message="Google Cloud does not show this person's new service account yet; Benchkeeper tries again in a moment.",
        detail=f"service account {account_id} exists and cannot be read yet",
        retry_after=_SHOWS_SOON,
    )
