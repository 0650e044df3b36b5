"""The adapters to Google groups over Cloud Identity: direct members of groups with data roles, and the roster of assigned groups.

Cloud Identity answers 403, "(or it may not exist)", both for a group that the caller may not see and for a missing group
(docs/traps.md). So a 403 never means that something is absent.

The roster lists all direct and indirect members. Cloud Identity searches nested groups itself in its Enterprise and
Premium editions, and answers 403 in all other editions. In these, the nested groups are listed one by one, each only once, so that
a group that contains itself causes no loop. An expired membership does not count. Sources: Cloud Identity's reference
of `searchTransitiveMemberships`, `checkTransitiveMembership` and `memberships.list`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from shared.cloud.http.clients import Clients
from shared.domain.fleet.roster import Reading, RosterKind
from shared.domain.people.domains import People
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    ConflictError,
    InvalidMessageError,
    InvalidSpecError,
)
from shared.domain.things.identity import UserEmail
from shared.domain.things.times import parse_time

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
    """Replace an access-denied error about the group by an error that says what an administrator must do. Other errors pass unchanged."""
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

    IAM documents such a delay; for Cloud Identity the delay is assumed.
    """
    return CloudUnavailableError(
        user_message="This user's new service account is not known everywhere yet in Google Cloud. Benchkeeper tries again in a moment.",
        detail=detail,
        retry_after=_SHOWS_SOON,
    )


_MEMBERS_PAGE = "1000"
_GROUP = "GROUP"


class CloudIdentityRoster:
    """The adapter of the port `RosterSource` for the roster of groups.

    `person` returns the form of an address that records use.
    """

    def __init__(
        self, clients: Clients, *, people: Callable[[], People], person: Callable[[object, People], UserEmail]
    ) -> None:
        self._clients = clients
        self._people = people
        self._person = person
        self._names: dict[str, str] = {}  # of the assigned groups, as the last reading found them
        self._walks: dict[
            str, tuple[str, ...]
        ] = {}  # by assigned group: the group and those inside it, as the last walk found them

    @property
    def kind(self) -> RosterKind:
        """The roster of groups."""
        return RosterKind.GROUPS

    def read(self, groups: frozenset[str], now: datetime) -> Reading | None:
        """Return the members of all assigned groups; None if no group is assigned.

        Raise an error if any group or page could not be read.
        """
        if not groups:
            return None
        found: dict[UserEmail, tuple[str, ...]] = {}
        others: set[str] = set()
        together: dict[tuple[str, ...], tuple[str, ...]] = {}
        people = self._people()
        for group in sorted(groups):
            for address in self._read(group, now):
                try:
                    email = self._person(address, people)
                except InvalidMessageError:
                    others.add(address)
                    continue
                held = found.get(email, ())
                if group not in held:
                    more = (*held, group)
                    found[email] = together.setdefault(more, more)  # one tuple for all who are in the same groups
        return Reading(kind=self.kind, as_of=now, people=found, covers=groups, others=len(others))

    def is_absent(self, email: UserEmail, group: str, reading: Reading) -> bool:  # noqa: ARG002 - the port's shape
        """Return True if a lookup of the person in the group confirms the absence."""
        name = self._names.get(group) or self._name(group)
        quote = '"' if "'" in email else "'"  # an address may have a single quote, and never a double one
        query = f"member_key_id == {quote}{email}{quote}"
        try:
            answer = self._get(f"/v1/{name}/memberships:checkTransitiveMembership", query=query)
        except (
            AccessDeniedError
        ):  # another edition: one look into the group and each group inside it, as the walk found them
            return all(self._direct(each, email) is None for each in self._walks.get(group, (name,)))
        return answer.get("hasMembership") is not True

    def _read(self, group: str, now: datetime) -> Iterator[str]:
        try:
            name = self._names[group] = self._name(group)
            try:
                yield from self._searched(name)
            except AccessDeniedError:
                yield from self._walked(name, group, now)
        except AccessDeniedError as error:
            if not error.is_forbidden:
                raise  # not logged in: another error text fits
            raise AccessDeniedError(
                user_message=f"Benchkeeper may not see all members of {group} and of the groups inside it, or one of them does not "
                "exist. Give the functions' service accounts the role Groups Reader, or take the group out of profiles.yaml.",
                detail=error.detail,
                is_forbidden=True,
            ) from error

    def _searched(self, name: str) -> Iterator[str]:
        """Yield the addresses of all transitive members that are not groups."""
        for row in self._pages(f"/v1/{name}/memberships:searchTransitiveMemberships"):
            if not str(row.get("member", "")).startswith("groups/"):
                yield from (str(key.get("id", "")) for key in row.get("preferredMemberKey", []))

    def _walked(self, name: str, group: str, now: datetime) -> Iterator[str]:
        """Yield the addresses of the members of this group and of each nested one; an address may come several times."""
        walked, to_walk = {name}, [name]
        while to_walk:
            for row in self._pages(f"/v1/{to_walk.pop()}/memberships", view="FULL"):
                address = _address(row)
                if not _lasts(row, now):
                    continue
                if row.get("type") != _GROUP:
                    yield address
                elif (nested := self._name(address)) not in walked:
                    walked.add(nested)
                    to_walk.append(nested)
        self._walks[group] = tuple(walked)

    def _direct(self, name: str, email: UserEmail) -> str | None:
        """Return the name of the user's direct membership; None if there is none. After a 403, which proves nothing, list the members."""
        try:
            found = self._clients.json("cloudidentity").call_or_none(
                "GET", f"/v1/{name}/memberships:lookup", params={"memberKey.id": email}
            )
        except AccessDeniedError:
            listed = self._pages(f"/v1/{name}/memberships")
            return next((str(row["name"]) for row in listed if _address(row) == email), None)
        return None if found is None else str(found["name"])

    def _name(self, group: str) -> str:
        return str(self._get("/v1/groups:lookup", **{"groupKey.id": group})["name"])

    def _pages(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._get(path, pageSize=_MEMBERS_PAGE, **query, **({"pageToken": token} if token else {}))
            yield from page.get("memberships", [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return self._clients.json("cloudidentity").call(
            "GET", path, params=query, what=f"roster: {path.rpartition('/')[2]}"
        )


def _address(row: dict[str, Any]) -> str:
    return str(row.get("preferredMemberKey", {}).get("id", "")).lower()


def _lasts(row: dict[str, Any], now: datetime) -> bool:
    """Return True unless the role MEMBER has expired."""
    for role in row.get("roles", []):
        ends = role.get("expiryDetail", {}).get("expireTime")
        if role.get("name") == "MEMBER" and ends and parse_time(str(ends)) <= now:
            return False
    return True
