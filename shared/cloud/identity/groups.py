"""The adapter to Google groups that carry data roles: their direct members, over Cloud Identity's REST API.

Cloud Identity answers 403, "(or it may not exist)", both for a group that the caller may not see and for a missing group
(docs/traps.md). So a 403 never means that something is absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.things.errors import AccessDeniedError, CloudUnavailableError, ConflictError, InvalidSpecError

_PAGE = 1000
_SHOWS_SOON = timedelta(seconds=10)


class CloudIdentityGroups:
    """The adapter of the port `Groups`. Groups and members are named by their addresses."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def has(self, group: str, member: str) -> bool:
        """Return True if `member` is a direct member; a missing group has no members."""
        with _as_manager(group):
            name = self._name(group)
            return name is not None and self._membership(name, member) is not None

    def join(self, group: str, member: str) -> None:
        """Add `member` to the group; an existing member is not an error."""
        body = {"preferredMemberKey": {"id": member}, "roles": [{"name": "MEMBER"}]}
        with _as_manager(group):
            name = self._name(group)
            if name is None:
                raise _denied(group, "groups:lookup answered 404")
            try:
                made = self._call("POST", f"/v1/{name}/memberships", body=body)
            except ConflictError:
                # Another process was faster, or our own answer was lost. Any other conflict is tried again.
                if self._membership(name, member) is None:
                    raise
            except InvalidSpecError as error:
                if not error.names_account:
                    raise
                raise _not_known(error.detail) from error
            else:
                if made is None:
                    raise _not_known(f"POST /v1/{name}/memberships: 404")

    def leave(self, group: str, member: str) -> None:
        """Remove `member` from the group; a missing member or a missing group is not an error."""
        with _as_manager(group):
            name = self._name(group)
            membership = self._membership(name, member) if name is not None else None
            if membership is not None:
                self._call("DELETE", f"/v1/{membership}")

    def _name(self, group: str) -> str | None:
        """Return the name `groups/ID`; None if Google states that the group does not exist (404)."""
        found = self._call("GET", "/v1/groups:lookup", params={"groupKey.id": group})
        return str(found["name"]) if found is not None else None

    def _membership(self, name: str, member: str) -> str | None:
        """Return the name `groups/ID/memberships/ID` of a direct membership; None if there is none.

        Google's clients have seen both 404 and 403 for a missing membership. The list of members settles a 403, because a caller who may
        not see the group cannot list it either.
        """
        try:
            found = self._call("GET", f"/v1/{name}/memberships:lookup", params={"memberKey.id": member})
        except AccessDeniedError:
            return next((row for row, key in self._members(name) if key == member.lower()), None)
        return str(found["name"]) if found is not None else None

    def _members(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield (membership, address) of all direct members."""
        token = ""
        while True:
            query = {"pageSize": str(_PAGE), **({"pageToken": token} if token else {})}
            page = self._clients.json("cloudidentity").call("GET", f"/v1/{name}/memberships", params=query)
            for row in page.get("memberships", []):
                yield str(row["name"]), str(row.get("preferredMemberKey", {}).get("id", "")).lower()
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _call(
        self, method: str, path: str, *, params: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        return self._clients.json("cloudidentity").call_or_none(method, path, params=params, body=body)


@contextmanager
def _as_manager(group: str) -> Iterator[None]:
    """Replace the error of a group that refused access by one that says what an administrator must do; others pass unchanged."""
    try:
        yield
    except AccessDeniedError as error:
        if not error.is_forbidden:
            raise  # not logged in: another error text fits
        raise _denied(group, error.detail) from error


def _denied(group: str, detail: str) -> AccessDeniedError:
    return AccessDeniedError(
        user_message=f"Benchkeeper may not see or change the group {group}, or it does not exist. An administrator must make "
        "the functions' service accounts managers of it.",
        detail=detail,
    )


def _not_known(detail: str) -> CloudUnavailableError:
    """Return the error for a new account that has not propagated yet.

    IAM documents that; for Cloud Identity it is assumed.
    """
    return CloudUnavailableError(
        user_message="This user's new service account is not known everywhere yet in Google Cloud. Benchkeeper tries again in a moment.",
        detail=detail,
        retry_after=_SHOWS_SOON,
    )
