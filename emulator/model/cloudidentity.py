"""The model of Cloud Identity v1: groups, and direct and transitive memberships, with the calls that an account with a role in a group uses.

All methods take and return the REST API's JSON. A missing group and a group that the caller may not see get the same response,
403 "(or it may not exist)", as recorded in Google's own tests (jit-groups, ITestCloudIdentityGroupsClient).
`emulator.model.access` decides who may see or manage a group, for callers with a token `as:ACCOUNT`. Google's error numbers appear
only if one was observed.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339
from emulator.errors import ApiError
from emulator.model.notebooks_fresh import digest
from emulator.model.pages import listed, read_token

if TYPE_CHECKING:
    from emulator.model.iam import IamModel
    from emulator.world import World

_FORUM = "cloudidentity.googleapis.com/groups.discussion_forum"  # the label that makes a group a Google group
_LABELS = {_FORUM, "cloudidentity.googleapis.com/groups.security"}
_GROUP_FIELDS = {"parent", "groupKey", "displayName", "description", "labels"}
_MEMBERSHIP_FIELDS = {"preferredMemberKey", "roles"}
_ROLE_FIELDS = {"name", "expiryDetail"}
_QUERY = re.compile(r"""member_key_id\s*==\s*(?:'([^']+)'|"([^"]+)")""")
_ROLES = ("OWNER", "MANAGER", "MEMBER")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_GROUP = re.compile(r"groups/[a-z0-9]{15}")
_BASIC = ("name", "preferredMemberKey", "roles")
_DEFAULT_PAGE, _MAX_PAGE = 200, 1000


@dataclass(slots=True)
class Group:
    """A group; `members` are its direct memberships by address, as JSON bodies in the order in which they came.

    `accounts` has the unique ids of the members that are service accounts of this project, because a membership ends with its
    account.
    """

    name: str
    email: str
    display_name: str
    description: str
    labels: dict[str, str]
    created: str
    parent: str = "customers/C046psxkn"  # of saved worlds of older versions, which do not say
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Relations:
    """The transitive members of a group: by address, and as rows ordered by their names, with these names as `keys`."""

    found: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    keys: list[str]


def _member_of(row: dict[str, Any]) -> str:
    return str(row["member"])


class CloudIdentityModel:
    """The model of Cloud Identity: all groups of the customer. `iam` knows the project's service accounts."""

    def __init__(self, world: World, iam: IamModel) -> None:
        self._world = world
        self._iam = iam
        self._groups: dict[str, Group] = {}
        self._serial = 0
        self._walked: tuple[tuple[str, int, int], _Relations] | None = None
        self._expiring: set[str] = set()  # the groups of which a member's time ends

    def dump(self) -> Any:
        """Return the state as JSON-able data."""
        rows = [{each.name: getattr(group, each.name) for each in fields(Group)} for group in self._groups.values()]
        return {"serial": self._serial, "groups": rows}

    def load(self, state: Any) -> None:
        """Restore the state from a result of `dump`."""
        self._serial = state["serial"]
        self._groups = {row["name"]: Group(**row) for row in state["groups"]}
        self._expiring = set(self._groups)

    # --- groups

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `groups.create` with a finished operation."""
        _only(body, _GROUP_FIELDS, "group")
        email = _key(body.get("groupKey"), "group.group_key")
        labels = body.get("labels", {})
        if not isinstance(labels, dict) or _FORUM not in labels or set(labels) - _LABELS:
            raise _invalid(f'A group needs the label "{_FORUM}", and has no others but the one for security.')
        if not re.fullmatch(r"customers/[A-Za-z0-9]+", str(body.get("parent", ""))):
            raise _invalid("Invalid group parent; it looks like customers/C046psxkn.")
        if self._by_email(email) is not None:
            raise ApiError("ALREADY_EXISTS", "The group already exists.")
        name = f"groups/{self._fresh(email)}"
        self._groups[name] = Group(
            name=name,
            email=email,
            display_name=str(body.get("displayName", "")),
            description=str(body.get("description", "")),
            labels={str(key): str(value) for key, value in labels.items()},
            created=rfc3339(self._world.clock.now()),
            parent=str(body["parent"]),
        )
        return _done("Group", self.get(name))

    def roles_of(self, email: str, resource: str) -> set[str]:
        """Return the roles of an address in the group that a resource's name begins with; empty if the address is not a member."""
        group = self._groups.get("/".join(resource.split("/")[:2]))
        held = group.members.get(email, {}) if group is not None else {}
        return {str(each.get("name")) for each in held.get("roles", [])}

    def get(self, name: str) -> dict[str, Any]:
        """Answer `groups.get`."""
        group = self._find(name)
        body = {
            "name": group.name,
            "parent": group.parent,
            "groupKey": {"id": group.email},
            "additionalGroupKeys": [{"id": f"{group.email}.test-google-a.com"}],  # every Google group has this alias
            "displayName": group.display_name,
            "description": group.description,
            "createTime": group.created,
            "updateTime": group.created,
            "labels": group.labels,
        }
        return {key: value for key, value in body.items() if value}

    def delete(self, name: str) -> dict[str, Any]:
        """Answer `groups.delete`: the group and its memberships are removed."""
        del self._groups[self._find(name).name]
        return {"done": True}

    def lookup(self, email: str) -> dict[str, Any]:
        """Answer `groups.lookup` with the name of the group that has this address."""
        if not email:
            raise _invalid("group_key.id is required.")
        found = self._by_email(email.lower())
        if found is None:
            raise _hidden("groups")
        return {"name": found.name}

    # --- memberships

    def join(self, parent: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `groups.memberships.create` with a finished operation."""
        group = self._find(parent)
        _only(body, _MEMBERSHIP_FIELDS, "membership")
        email = _key(body.get("preferredMemberKey"), "membership.preferred_member_key")
        roles = body.get("roles", [])
        names = _roles(roles)
        if email in group.members:
            raise ApiError("ALREADY_EXISTS", "Cannot create membership; it already exists.")
        self._iam.check_member(email)
        if self._is_account(email):
            group.accounts[email] = self._unique_id(email)
        now = rfc3339(self._world.clock.now())
        if any("expiryDetail" in role for role in roles):
            self._expiring.add(group.name)
        group.members[email] = {
            "name": f"{group.name}/memberships/{int(digest(group.name, email, self._next())[:16], 16)}",
            "preferredMemberKey": {"id": email},
            "createTime": now,
            "updateTime": now,
            "roles": [{"name": name, **_expiry(roles, name)} for name in names],
            "type": self._type_of(email),
        }
        return _done("Membership", group.members[email])

    def members(self, parent: str, *, size: int, token: str, view: str = "") -> dict[str, Any]:
        """Answer `groups.memberships.list`: names, keys and roles, or all fields in the view FULL."""
        if view not in {"", "VIEW_UNSPECIFIED", "BASIC", "FULL"}:
            raise _invalid(f"Invalid value at 'view': {view[:40]}")
        group = self._find(parent)
        return listed(
            "memberships",
            list(group.members.values()),
            size=min(size or _DEFAULT_PAGE, _MAX_PAGE),
            token=token,
            scope=f"memberships {group.name}",
            key=lambda row: str(row["name"]),
            view=lambda row: row if view == "FULL" else {key: row[key] for key in _BASIC},
        )

    def search_transitive(self, parent: str, *, size: int, token: str) -> dict[str, Any]:
        """Answer `groups.memberships.searchTransitiveMemberships`: every direct and indirect member once, nested groups too.

        Google serves this call to some editions only; a test of another edition scripts a 403.
        """
        group = self._find(parent)
        scope, count = f"transitive {group.name}", min(size or _DEFAULT_PAGE, _MAX_PAGE)
        rows = self._transitive(group)
        begin = bisect.bisect_right(rows.keys, str(read_token(token, scope))) if token else 0
        items = rows.rows[begin : begin + count + 1] if size >= 0 else []
        return listed("memberships", items, size=size if size < 0 else count, token=token, scope=scope, key=_member_of)

    def check_transitive(self, parent: str, query: str) -> dict[str, Any]:
        """Answer `groups.memberships.checkTransitiveMembership`. The answer False is an empty object: Google's JSON leaves out False."""
        group = self._find(parent)
        asked = _QUERY.fullmatch(query.strip())
        if asked is None:
            raise _invalid("Invalid query: it looks like member_key_id == 'ana@example.com'.")
        return {"hasMembership": True} if (asked[1] or asked[2]).lower() in self._transitive(group).found else {}

    def _transitive(self, group: Group) -> _Relations:
        """Return the relations of all members; a group that contains itself is visited once.

        The pages of one search come from one walk, unless something changed meanwhile.
        """
        for name in self._expiring & self._groups.keys():
            self._expire(self._groups[name])
        state = (group.name, sum(len(each.members) for each in self._groups.values()), self._serial)
        if self._walked is not None and self._walked[0] == state:
            return self._walked[1]
        found: dict[str, dict[str, Any]] = {}
        walked: set[str] = set()

        def walk(each: Group, *, direct: bool) -> None:
            walked.add(each.name)
            for email, row in self._find(each.name).members.items():
                known, nested = found.get(email), self._by_email(email)
                if known is None:
                    number = nested.name if nested is not None else f"users/{int(digest('user', email)[:16], 16)}"
                    found[email] = {
                        "member": number,
                        "preferredMemberKey": [{"id": email}],
                        "roles": [{"role": each["name"]} for each in row["roles"]],
                        "relationType": "DIRECT" if direct else "INDIRECT",
                    }
                elif not direct and known["relationType"] == "DIRECT":
                    known["relationType"] = "DIRECT_AND_INDIRECT"
                if nested is not None and nested.name not in walked:
                    walk(nested, direct=False)

        walk(group, direct=True)
        rows = sorted(found.values(), key=_member_of)
        self._walked = (state, _Relations(found=found, rows=rows, keys=[_member_of(row) for row in rows]))
        return self._walked[1]

    def lookup_member(self, parent: str, email: str) -> dict[str, Any]:
        """Answer `groups.memberships.lookup` with the name of a direct membership."""
        group = self._find(parent)
        if not email:
            raise _invalid("member_key.id is required.")
        found = group.members.get(email.lower())
        if found is None:
            raise ApiError("NOT_FOUND", "The membership does not exist.")
        return {"name": found["name"]}

    def get_member(self, name: str) -> dict[str, Any]:
        """Answer `groups.memberships.get`, in the FULL view."""
        return self._member(name)

    def modify_roles(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer `groups.memberships.modifyMembershipRoles`. The role MEMBER cannot be removed; an expiry of the membership is lost."""
        _only(body, {"addRoles", "removeRoles", "updateRolesParams"}, "request")
        row = self._member(name)
        add, remove = body.get("addRoles", []), body.get("removeRoles", [])
        if bool(add) == bool(remove) or body.get("updateRolesParams"):
            raise _invalid("Exactly one of add_roles and remove_roles is needed.")
        held = [each["name"] for each in row["roles"]]
        if remove:
            if not isinstance(remove, list) or any(each not in held for each in remove):
                raise _invalid("A role to be removed is not held.")
            held = [each for each in held if each not in remove]
        row["roles"] = [{"name": each} for each in _roles([{"name": each} for each in held] + (add or []))]
        row["updateTime"] = rfc3339(self._world.clock.now())
        self._next()
        return {"membership": row}

    def _member(self, name: str) -> dict[str, Any]:
        group = self._find(name.partition("/memberships/")[0])
        found = next((row for row in group.members.values() if row["name"] == name), None)
        if found is None:
            raise ApiError("NOT_FOUND", "The membership does not exist.")
        return found

    def leave(self, name: str) -> dict[str, Any]:
        """Answer `groups.memberships.delete` with a finished operation."""
        parent, _, _ = name.partition("/memberships/")
        group = self._find(parent)
        email = next((email for email, row in group.members.items() if row["name"] == name), None)
        if email is None:
            raise ApiError("NOT_FOUND", "The membership does not exist.")
        del group.members[email]
        group.accounts.pop(email, None)
        return {"done": True}

    # --- parts

    def _by_email(self, email: str) -> Group | None:
        return next((group for group in self._groups.values() if group.email == email), None)

    def _find(self, name: str) -> Group:
        if not _GROUP.fullmatch(name):
            raise _invalid(
                "Error(2033): Group resource name has the correct format of `groups/{group_id}`, but it contains an invalid "
                "`{groupd_id}`."  # Google's own spelling
            )
        found = self._groups.get(name)
        if found is None:
            raise _hidden(name)
        for email, unique_id in list(found.accounts.items()):
            if self._unique_id(email) != unique_id:  # the account was deleted, or deleted and created again
                del found.accounts[email], found.members[email]
        if found.name in self._expiring:
            self._expire(found)
        return found

    def _expire(self, group: Group) -> None:
        """Remove the members whose membership has expired."""
        now = self._world.clock.now()
        for email, row in list(group.members.items()):
            ends = [each["expiryDetail"]["expireTime"] for each in row["roles"] if "expiryDetail" in each]
            if any(parse_rfc3339(end) <= now for end in ends):
                del group.members[email]

    def _type_of(self, email: str) -> str:
        if email.endswith(".gserviceaccount.com"):
            return "SERVICE_ACCOUNT"
        return "GROUP" if self._by_email(email) is not None else "USER"

    def _is_account(self, email: str) -> bool:
        return email.endswith(f"@{self._world.project}.iam.gserviceaccount.com")

    def _unique_id(self, email: str) -> str:
        try:
            return str(self._iam.get(f"projects/-/serviceAccounts/{email}")["uniqueId"])
        except ApiError:
            return ""

    def _fresh(self, email: str) -> str:
        return f"0{digest('group', email, self._next())[:14]}"

    def _next(self) -> int:
        self._serial += 1
        return self._serial


def _roles(roles: Any) -> list[str]:
    """Return the names of a membership's roles; raise 400 for unknown or repeated roles, without MEMBER, or with another role's expiry."""
    names = [each.get("name") if isinstance(each, dict) else None for each in roles] if isinstance(roles, list) else []
    if "MEMBER" not in names or any(name not in _ROLES for name in names) or len(set(names)) != len(names):
        raise _invalid("A membership has the role MEMBER, and OWNER or MANAGER beside it or not.")
    for role in roles:
        _only(role, _ROLE_FIELDS, "membership.roles")
        if "expiryDetail" in role and role["name"] != "MEMBER":
            raise _invalid("Only the role MEMBER may have an expiry.")
    return [str(name) for name in names]


def _expiry(roles: Any, name: str) -> dict[str, Any]:
    """Return the role's `expiryDetail` as a mapping; {} if the request has none. A time that cannot be read is refused."""
    detail = next((each.get("expiryDetail") for each in roles if each["name"] == name), None)
    if detail is None:
        return {}
    try:
        return {"expiryDetail": {"expireTime": rfc3339(parse_rfc3339(str(detail["expireTime"])))}}
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid("Invalid 'membership.roles.expiry_detail.expire_time': an RFC 3339 time is needed.") from error


def _hidden(name: str) -> ApiError:
    return ApiError("PERMISSION_DENIED", f"Error(2028): Permission denied for resource {name} (or it may not exist).")


def _invalid(text: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", text)


def _only(body: dict[str, Any], known: set[str], what: str) -> None:
    for key in body:
        if key not in known:
            raise _invalid(f"Invalid JSON payload received. Unknown name \"{key}\" at '{what}': Cannot find field.")


def _key(raw: Any, where: str) -> str:
    """Return the address in an EntityKey; raise 400 for other keys: those with a namespace belong to other directories."""
    if not isinstance(raw, dict) or set(raw) - {"id"} or not _EMAIL.fullmatch(str(raw.get("id", ""))):
        raise _invalid(f"Invalid '{where}': an address is needed.")
    return str(raw["id"]).lower()


def _done(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "done": True,
        "response": {"@type": f"type.googleapis.com/google.apps.cloudidentity.groups.v1.{kind}", **body},
    }
