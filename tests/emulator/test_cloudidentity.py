"""Cloud Identity groups and memberships: shapes as the API's pages and Google's own clients have them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock, rfc3339
from tests.emulator.data_kit import ID, DataCloud

READERS = "scientists-data@example.com"
ANN = f"nb-ann-0001@{ID}.iam.gserviceaccount.com"
FORUM = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}


@pytest.fixture
def cloud() -> DataCloud:
    made = DataCloud.build()
    account(made)
    return made


def account(cloud: DataCloud, ident: str = "nb-ann-0001") -> None:
    cloud.call("POST", f"/v1/projects/{ID}/serviceAccounts", {"accountId": ident})


def group(cloud: DataCloud, email: str = READERS) -> str:
    body = {"parent": "customers/C046psxkn", "groupKey": {"id": email}, "labels": FORUM, "displayName": "Readers"}
    made = cloud.call("POST", "/v1/groups", body, initialGroupConfig="EMPTY")
    assert made["done"] is True
    name: str = made["response"]["name"]
    return name


def join(cloud: DataCloud, name: str, member: str = ANN, *roles: str) -> dict[str, Any]:
    body = {"preferredMemberKey": {"id": member}, "roles": [{"name": role} for role in ("MEMBER", *roles)]}
    made: dict[str, Any] = cloud.call("POST", f"/v1/{name}/memberships", body)
    return made


def members(cloud: DataCloud, name: str, **query: str) -> list[str]:
    listed = cloud.call("GET", f"/v1/{name}/memberships", **query).get("memberships", [])
    return [row["preferredMemberKey"]["id"] for row in listed]


# --- groups


def test_a_group_is_found_by_its_address_in_any_case(cloud: DataCloud):
    name = group(cloud)
    assert re.fullmatch(r"groups/[0-9a-z]{15}", name)
    for email in (READERS, READERS.title()):
        assert cloud.call("GET", "/v1/groups:lookup", **{"groupKey.id": email}) == {"name": name}
    found = cloud.call("GET", f"/v1/{name}")
    assert (found["groupKey"], found["displayName"], found["labels"]) == ({"id": READERS}, "Readers", FORUM)


def test_one_that_does_not_exist_is_answered_like_one_that_may_not_be_seen(cloud: DataCloud):
    absent = cloud.refused("GET", "/v1/groups:lookup", status=403, **{"groupKey.id": "nobody@example.com"})
    assert absent["message"] == "Error(2028): Permission denied for resource groups (or it may not exist)."
    assert absent["status"] == "PERMISSION_DENIED"
    for path in ("groups/012345678901234", "groups/012345678901234/memberships"):
        assert "(or it may not exist)" in cloud.refused("GET", f"/v1/{path}", status=403)["message"]
    assert "Error(2033)" in cloud.refused("GET", f"/v1/groups/{READERS}", status=400)["message"]


def test_an_address_has_one_group(cloud: DataCloud):
    name = group(cloud)
    again = {"parent": "customers/C1", "groupKey": {"id": READERS.upper()}, "labels": FORUM}
    assert cloud.refused("POST", "/v1/groups", again, status=409)["status"] == "ALREADY_EXISTS"
    cloud.call("DELETE", f"/v1/{name}")
    assert group(cloud) != name


@pytest.mark.parametrize(
    "change",
    [
        {"groupKey": {"id": "readers"}},
        {"groupKey": {}},
        {"groupKey": {"id": READERS, "namespace": "identitysources/1"}},
        {"labels": {}},
        {"labels": {**FORUM, "team": "x"}},
        {"parent": "organizations/1"},
        {"name": "groups/1"},
    ],
)
def test_what_is_no_group_is_refused(cloud: DataCloud, change: dict[str, Any]):
    body = {"parent": "customers/C046psxkn", "groupKey": {"id": READERS}, "labels": FORUM, **change}
    cloud.refused("POST", "/v1/groups", body, status=400)
    cloud.refused("GET", "/v1/groups:lookup", status=403, **{"groupKey.id": READERS})


# --- memberships


def test_a_member_comes_and_goes(cloud: DataCloud):
    name = group(cloud)
    cloud.refused("GET", f"/v1/{name}/memberships:lookup", status=404, **{"memberKey.id": ANN})
    made = join(cloud, name)
    assert made["done"] is True
    assert made["response"]["roles"] == [{"name": "MEMBER"}]
    assert made["response"]["type"] == "SERVICE_ACCOUNT"
    found = cloud.call("GET", f"/v1/{name}/memberships:lookup", **{"memberKey.id": ANN.upper()})
    assert found == {"name": made["response"]["name"]}
    assert members(cloud, name) == [ANN]
    assert cloud.call("DELETE", f"/v1/{found['name']}") == {"done": True}
    assert members(cloud, name) == []
    cloud.refused("DELETE", f"/v1/{found['name']}", status=404)


def test_who_is_a_member_cannot_become_one(cloud: DataCloud):
    name = group(cloud)
    join(cloud, name)
    body = {"preferredMemberKey": {"id": ANN.upper()}, "roles": [{"name": "MEMBER"}]}
    assert cloud.refused("POST", f"/v1/{name}/memberships", body, status=409)["status"] == "ALREADY_EXISTS"
    assert members(cloud, name) == [ANN]


@pytest.mark.parametrize(
    "body",
    [
        {"preferredMemberKey": {"id": ANN}},
        {"preferredMemberKey": {"id": ANN}, "roles": [{"name": "OWNER"}]},
        {"preferredMemberKey": {"id": ANN}, "roles": [{"name": "MEMBER"}, {"name": "MEMBER"}]},
        {"preferredMemberKey": {"id": ANN}, "roles": [{"name": "MEMBER"}, {"name": "READER"}]},
        {"preferredMemberKey": {"id": "ann"}, "roles": [{"name": "MEMBER"}]},
        {"roles": [{"name": "MEMBER"}]},
        {"memberKey": {"id": ANN}, "roles": [{"name": "MEMBER"}]},
        {"preferredMemberKey": {"id": f"nb-nobody@{ID}.iam.gserviceaccount.com"}, "roles": [{"name": "MEMBER"}]},
    ],
)
def test_what_is_no_membership_is_refused(cloud: DataCloud, body: dict[str, Any]):
    name = group(cloud)
    cloud.refused("POST", f"/v1/{name}/memberships", body, status=400)
    assert members(cloud, name) == []


def test_a_group_of_another_name_has_not_this_member(cloud: DataCloud):
    readers, writers = group(cloud), group(cloud, "writers@example.com")
    made = join(cloud, readers)["response"]["name"]
    cloud.refused("DELETE", f"/v1/{made.replace(readers, writers)}", status=404)
    assert (members(cloud, readers), members(cloud, writers)) == ([ANN], [])


def test_a_membership_ends_with_its_account(cloud: DataCloud):
    name = group(cloud)
    join(cloud, name)
    join(cloud, name, "ann@example.com", "MANAGER")
    cloud.call("DELETE", f"/v1/projects/{ID}/serviceAccounts/{ANN}")
    account(cloud)  # another account of the same address
    assert members(cloud, name) == ["ann@example.com"]
    cloud.refused("GET", f"/v1/{name}/memberships:lookup", status=404, **{"memberKey.id": ANN})


def test_members_are_listed_by_page(cloud: DataCloud):
    name = group(cloud)
    wanted = {f"person{number}@example.com" for number in range(5)}
    for email in wanted:
        join(cloud, name, email)
    found, token = [], ""
    while True:
        query = {"pageSize": "2", "view": "BASIC"} | ({"pageToken": token} if token else {})
        page = cloud.call("GET", f"/v1/{name}/memberships", **query)
        found += [row["preferredMemberKey"]["id"] for row in page["memberships"]]
        assert len(page["memberships"]) <= 2
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert len(found) == 5
    assert set(found) == wanted


# --- the cloud around it


def test_a_fault_stands_for_a_caller_who_is_no_manager(cloud: DataCloud):
    name = group(cloud)
    error = {"code": "PERMISSION_DENIED", "message": "Error(2028): Permission denied (or it may not exist)."}
    cloud.fault(call="cloudidentity.memberships.*", resource=name, error=error)
    body = {"preferredMemberKey": {"id": ANN}, "roles": [{"name": "MEMBER"}]}
    cloud.refused("POST", f"/v1/{name}/memberships", body, status=403)
    assert members(cloud, name) == []
    assert cloud.cloud.world.faults.unfired() == []


def test_the_journal_tells_what_changed_and_names_no_permission_of_iam(cloud: DataCloud):
    cloud.cloud.world.journal.clear()
    name = group(cloud)
    membership = join(cloud, name)["response"]["name"]
    members(cloud, name)
    cloud.call("DELETE", f"/v1/{membership}")
    rows = cloud.cloud.world.journal.listing(mutating_only=False)
    assert [(row["service"], row["method"], row["resource"], row["mutates"]) for row in rows] == [
        ("cloudidentity", "groups.create", "groups", True),
        ("cloudidentity", "memberships.create", name, True),
        ("cloudidentity", "memberships.list", name, False),
        ("cloudidentity", "memberships.delete", membership, True),
    ]
    assert {row["permission"] for row in rows} == {""}


def test_groups_are_kept_with_the_world(cloud: DataCloud):
    name = group(cloud)
    join(cloud, name)
    saved = cloud.cloud.world.save()
    other = DataCloud(EmbeddedCloud.build(clock=VirtualClock(start=cloud.cloud.world.clock.now(), speed=0)))
    other.cloud.world.load(saved)
    assert members(other, name) == [ANN]
    assert other.cloud.world.save()["models"]["cloudidentity"] == saved["models"]["cloudidentity"]
    assert group(other, "writers@example.com") != name


def test_a_membership_is_read_and_its_roles_change(cloud: DataCloud):
    group_ = group(cloud)
    body = {"preferredMemberKey": {"id": "ann@example.com"}, "roles": [{"name": "MEMBER"}]}
    member = cloud.call("POST", f"/v1/{group_}/memberships", body)["response"]["name"]
    assert cloud.call("GET", f"/v1/{member}")["roles"] == [{"name": "MEMBER"}]
    path = f"/v1/{member}:modifyMembershipRoles"
    added = cloud.call("POST", path, {"addRoles": [{"name": "MANAGER"}]})["membership"]
    assert added["roles"] == [{"name": "MEMBER"}, {"name": "MANAGER"}]
    assert cloud.call("POST", path, {"removeRoles": ["MANAGER"]})["membership"]["roles"] == [{"name": "MEMBER"}]
    for wrong in (
        {},
        {"removeRoles": ["MEMBER"]},
        {"removeRoles": ["OWNER"]},
        {"addRoles": [{"name": "MEMBER"}]},
        {"addRoles": [{"name": "KING"}]},
    ):
        cloud.refused("POST", path, wrong, status=400)
    assert cloud.call("GET", f"/v1/{member}")["roles"] == [{"name": "MEMBER"}]
    cloud.refused("GET", f"/v1/{group_}/memberships/1", status=404)


# --- nested groups and members whose time ends

STAFF, TEAM = "staff@example.com", "team@example.com"
SEARCH = "memberships:searchTransitiveMemberships"


def relations(cloud: DataCloud, name: str, **query: str) -> dict[str, str]:
    listed = cloud.call("GET", f"/v1/{name}/{SEARCH}", **query).get("memberships", [])
    return {row["preferredMemberKey"][0]["id"]: row["relationType"] for row in listed}


def test_a_search_finds_direct_and_indirect_members_once_through_a_cycle(cloud: DataCloud):
    staff, team = group(cloud, STAFF), group(cloud, TEAM)
    for name, member in (
        (staff, "ana@example.com"), (staff, TEAM), (team, "ana@example.com"), (team, "ben@example.com"), (team, STAFF),
    ):  # fmt: skip
        join(cloud, name, member)
    assert relations(cloud, staff) == {
        "ana@example.com": "DIRECT_AND_INDIRECT",
        TEAM: "DIRECT",
        "ben@example.com": "INDIRECT",
        STAFF: "INDIRECT",
    }
    first = cloud.call("GET", f"/v1/{staff}/{SEARCH}", pageSize="3")
    rest = cloud.call("GET", f"/v1/{staff}/{SEARCH}", pageSize="3", pageToken=first["nextPageToken"])
    assert len(first["memberships"]) + len(rest["memberships"]) == len(relations(cloud, staff))
    check = f"/v1/{staff}/memberships:checkTransitiveMembership"
    assert cloud.call("GET", check, query="member_key_id == 'BEN@example.com'") == {"hasMembership": True}
    assert cloud.call("GET", check, query="member_key_id == 'cleo@example.com'") == {}
    assert "Invalid query" in cloud.refused("GET", check, status=400, query="ben@example.com")["message"]


def test_the_full_view_says_what_kind_a_member_is_and_when_its_time_ends(cloud: DataCloud):
    staff, _ = group(cloud, STAFF), group(cloud, TEAM)
    ends = rfc3339(cloud.cloud.world.clock.now() + timedelta(hours=2))
    temporary = {"name": "MEMBER", "expiryDetail": {"expireTime": ends}}
    body = {"preferredMemberKey": {"id": "ana@example.com"}, "roles": [temporary]}
    cloud.call("POST", f"/v1/{staff}/memberships", body)
    join(cloud, staff, TEAM)
    rows = cloud.call("GET", f"/v1/{staff}/memberships", view="FULL")["memberships"]
    assert {row["preferredMemberKey"]["id"]: row["type"] for row in rows} == {"ana@example.com": "USER", TEAM: "GROUP"}
    assert [row["roles"] for row in rows if row["type"] == "USER"] == [[temporary]]
    cloud.refused("GET", f"/v1/{staff}/memberships", status=400, view="WHOLE")
    cloud.wait(2 * 3600)
    assert members(cloud, staff) == [TEAM]


@pytest.mark.parametrize("detail", [{}, {"expireTime": "soon"}, "2027-01-01T00:00:00Z"])
def test_an_expiry_that_is_no_time_is_refused(cloud: DataCloud, detail: Any):
    role = {"name": "MEMBER", "expiryDetail": detail}
    body = {"preferredMemberKey": {"id": "ana@example.com"}, "roles": [role]}
    assert "expire_time" in cloud.refused("POST", f"/v1/{group(cloud)}/memberships", body, status=400)["message"]


def test_only_the_role_member_expires(cloud: DataCloud):
    owner = {"name": "OWNER", "expiryDetail": {"expireTime": "2027-01-01T00:00:00Z"}}
    body = {"preferredMemberKey": {"id": "ana@example.com"}, "roles": [{"name": "MEMBER"}, owner]}
    assert "expiry" in cloud.refused("POST", f"/v1/{group(cloud)}/memberships", body, status=400)["message"]
