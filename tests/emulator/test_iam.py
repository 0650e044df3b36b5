"""IAM v1 service accounts: their life, their policies, and IAM's eventual consistency."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.emulator.data_kit import ID, PROJECT, DataCloud
from tests.emulator.kcc_logs import FOLDER, exchanges

ACCOUNTS = f"/v1/{PROJECT}/serviceAccounts"
ANN = f"bk-ann-0001@{ID}.iam.gserviceaccount.com"
USER = "roles/iam.serviceAccountUser"


@pytest.fixture
def cloud() -> DataCloud:
    return DataCloud.build()


def path_of(account: str = ANN, *, project: str = PROJECT) -> str:
    return f"/v1/{project}/serviceAccounts/{account}"


def create(cloud: DataCloud, ident: str = "bk-ann-0001", **account: str) -> dict[str, Any]:
    made: dict[str, Any] = cloud.call("POST", ACCOUNTS, {"accountId": ident, "serviceAccount": account})
    return made


def allow(cloud: DataCloud, *members: str, account: str = ANN, etag: str = "", **query: Any) -> dict[str, Any]:
    policy = {"bindings": [{"role": USER, "members": list(members)}]} | ({"etag": etag} if etag else {})
    found: dict[str, Any] = cloud.call("POST", f"{path_of(account)}:setIamPolicy", {"policy": policy}, **query)
    return found


def members(cloud: DataCloud, account: str = ANN) -> list[str]:
    bindings = cloud.call("POST", f"{path_of(account)}:getIamPolicy").get("bindings", [])
    return [member for binding in bindings for member in binding["members"]]


# --- as recorded


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded answers (../shared/golden) are not here")
def test_a_life_is_as_recorded(cloud: DataCloud):
    chosen = {"etag", "uniqueId", "oauth2ClientId"}  # what the recording has replaced by constants of the same kind
    ids = set()
    for each in exchanges("mockiam-serviceaccount-crud.log", uniqueId="abc123"):
        ours = cloud.call(each.verb, each.path, each.body, expect=each.status, **each.query)
        assert {k: v for k, v in ours.items() if k not in chosen} == {
            k: v for k, v in each.answer.items() if k not in chosen
        }, f"{each.verb} {each.path}"
        for key in chosen & set(each.answer):
            assert len(each.answer[key]) == len(ours[key])
            assert re.fullmatch(r"\d{21}" if key != "etag" else r"[A-Za-z0-9+/]{11}=", ours[key])
        ids.add(ours.get("uniqueId"))
    assert len(ids - {None}) == 1


# --- the accounts


def test_an_account_is_found_by_address_and_by_unique_id_in_its_project_or_any(cloud: DataCloud):
    made = create(cloud, displayName="Ann", description="Notebook of one person")
    assert made["name"] == f"{PROJECT}/serviceAccounts/{ANN}"
    for account in (ANN, made["uniqueId"]):
        for project in (PROJECT, "projects/-"):
            assert cloud.call("GET", path_of(account, project=project)) == made
    cloud.refused("GET", path_of(f"bk-ben-0001@{ID}.iam.gserviceaccount.com"), status=404)
    assert cloud.refused("GET", path_of(project="projects/other"), status=403)["status"] == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    ("ident", "good"),
    [
        ("bk-ann", True),
        ("b" * 30, True),
        ("bk-an", False),
        ("b" * 31, False),
        ("1bk-ann", False),
        ("bk-ann-", False),
        ("bk_ann", False),
        ("Bk-Ann", False),
        (None, False),
    ],
)
def test_account_ids_have_6_to_30_characters_of_rfc_1035(cloud: DataCloud, ident: Any, good: bool):
    answer = cloud.call("POST", ACCOUNTS, {"accountId": ident}, expect=200 if good else 400)
    assert good is ("uniqueId" in answer)
    assert len(cloud.call("GET", ACCOUNTS).get("accounts", [])) == int(good)


@pytest.mark.parametrize(
    "body",
    [
        {"accountId": "bk-ann", "account": {}},
        {"accountId": "bk-ann", "serviceAccount": {"colour": "red"}},
        {"accountId": "bk-ann", "serviceAccount": {"displayName": 7}},
        {"accountId": "bk-ann", "serviceAccount": {"displayName": "x" * 101}},
        {"accountId": "bk-ann", "serviceAccount": {"description": "x" * 257}},
        {"accountId": "bk-ann", "serviceAccount": "Ann"},
    ],
)
def test_a_wrong_account_is_refused(cloud: DataCloud, body: dict[str, Any]):
    assert cloud.refused("POST", ACCOUNTS, body, status=400)["status"] == "INVALID_ARGUMENT"


def test_an_account_that_is_there_already_is_409(cloud: DataCloud):
    create(cloud)
    error = cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0001"}, status=409)
    assert error["status"] == "ALREADY_EXISTS"


def test_a_project_has_a_quota_of_accounts_that_can_be_raised(cloud: DataCloud):
    for number in range(100):
        create(cloud, f"bk-user-{number:03}")
    error = cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0001"}, status=429)
    assert error["status"] == "RESOURCE_EXHAUSTED"
    cloud.call("POST", "/_emulator/iam", {"quota": 101})
    create(cloud)
    cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0002"}, status=429)
    cloud.call("DELETE", path_of())
    create(cloud, "bk-ann-0002")
    for wrong in ({}, {"quota": -1}, {"quota": "many"}, {"quota": True}, {"quota": 1, "lag": 1}):
        cloud.refused("POST", "/_emulator/iam", wrong, status=400)


def test_lists_come_in_pages(cloud: DataCloud):
    for number in range(45):
        create(cloud, f"bk-user-{number:03}")
    found: list[str] = []
    sizes, token = [], ""
    while True:
        page = cloud.call("GET", ACCOUNTS, pageToken=token)
        sizes.append(len(page["accounts"]))
        found += [account["email"] for account in page["accounts"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert sizes == [20, 20, 5]
    assert len(set(found)) == 45
    assert len(cloud.call("GET", ACCOUNTS, pageSize="1000")["accounts"]) == 45


def test_a_patch_changes_what_its_mask_names_and_answers_with_that(cloud: DataCloud):
    create(cloud, displayName="Ann", description="old")
    body = {"serviceAccount": {"displayName": "Ben", "description": "new"}, "updateMask": "display_name"}
    assert cloud.call("PATCH", path_of(), body) == {"name": f"{PROJECT}/serviceAccounts/{ANN}", "displayName": "Ben"}
    account = cloud.call("GET", path_of())
    assert (account["displayName"], account["description"]) == ("Ben", "old")
    cloud.call("PATCH", path_of(), {"serviceAccount": {}, "updateMask": "description,displayName"})
    assert {"displayName", "description"} & set(cloud.call("GET", path_of())) == set()
    for mask in ("", "email", "disabled"):
        cloud.refused("PATCH", path_of(), {"serviceAccount": {}, "updateMask": mask}, status=400)


def test_an_account_is_disabled_and_enabled_again_as_often_as_one_likes(cloud: DataCloud):
    create(cloud)
    for verb, disabled in (("disable", True), ("disable", True), ("enable", False), ("enable", False)):
        assert cloud.call("POST", f"{path_of()}:{verb}") == {}
        assert cloud.call("GET", path_of()).get("disabled", False) is disabled


def test_a_deleted_account_is_gone(cloud: DataCloud):
    unique = create(cloud, displayName="Ann")["uniqueId"]
    allow(cloud, "user:ann@example.com")
    cloud.call("POST", f"{path_of()}:disable")
    assert cloud.call("DELETE", path_of()) == {}
    cloud.refused("DELETE", path_of(), status=404)
    cloud.refused("GET", path_of(), status=404)
    cloud.refused("GET", path_of(unique), status=404)
    assert cloud.call("GET", ACCOUNTS) == {}


def test_a_new_account_of_the_same_address_is_another_one(cloud: DataCloud):
    unique = create(cloud)["uniqueId"]
    cloud.call("DELETE", path_of())
    second = create(cloud)["uniqueId"]
    assert second != unique
    cloud.refused("GET", path_of(unique), status=404)
    assert cloud.call("GET", path_of())["uniqueId"] == second


# --- policies


def test_a_policy_is_changed_by_read_modify_write(cloud: DataCloud):
    create(cloud)
    empty = cloud.call("POST", f"{path_of()}:getIamPolicy")
    assert empty == {"etag": "ACAB"}
    first = allow(cloud, "user:ann@example.com", etag=empty["etag"])
    assert first == cloud.call("POST", f"{path_of()}:getIamPolicy")
    assert first["bindings"] == [{"role": USER, "members": ["user:ann@example.com"]}]
    assert first["version"] == 1
    error = allow(cloud, "user:mallory@example.com", etag=empty["etag"], expect=409)["error"]
    assert error["status"] == "ABORTED"
    assert error["message"].startswith("There were concurrent policy changes. Please retry the whole read-modify-write")
    assert members(cloud) == ["user:ann@example.com"]
    second = allow(cloud, "group:analysts@example.com", etag=first["etag"].replace("+", "-").replace("/", "_"))
    assert second["etag"] != first["etag"]
    allow(cloud, "user:ben@example.com")  # without an etag it overwrites
    assert members(cloud) == ["user:ben@example.com"]


def test_bindings_are_kept_in_one_form(cloud: DataCloud):
    create(cloud)
    condition = {"title": "hours", "expression": "request.time.getHours() < 18"}
    bindings = [
        {"role": USER, "members": ["user:zoe@example.com", "user:ann@example.com"]},
        {"role": "roles/iam.serviceAccountTokenCreator", "members": []},
        {"role": USER, "members": ["user:ann@example.com"]},
        {"role": USER, "members": ["user:eve@example.com"], "condition": condition},
    ]
    policy = {"version": 3, "bindings": bindings}
    kept = cloud.call("POST", f"{path_of()}:setIamPolicy", {"policy": policy})
    assert kept["bindings"] == [
        {"role": USER, "members": ["user:ann@example.com", "user:zoe@example.com"]},
        {"role": USER, "members": ["user:eve@example.com"], "condition": condition},
    ]
    assert kept["version"] == 3
    policy["version"] = 1
    cloud.refused("POST", f"{path_of()}:setIamPolicy", {"policy": policy}, status=400)


def test_conditions_are_neither_shown_nor_lost_below_version_3(cloud: DataCloud):
    create(cloud)
    condition = {"title": "hours", "expression": "request.time.getHours() < 18"}
    binding = {"role": USER, "members": ["user:eve@example.com"], "condition": condition}
    policy = {"version": 3, "bindings": [binding]}
    cloud.call("POST", f"{path_of()}:setIamPolicy", {"policy": policy})
    seen = cloud.call("POST", f"{path_of()}:getIamPolicy")
    assert seen["version"] == 1
    (shown,) = seen["bindings"]
    assert shown["role"].startswith(f"{USER}_withcond_")
    assert (shown["members"], "condition" in shown) == (["user:eve@example.com"], False)
    whole = cloud.call("POST", f"{path_of()}:getIamPolicy", **{"options.requestedPolicyVersion": "3"})
    assert (whole["version"], whole["bindings"]) == (3, [binding])
    for version in ({}, {"version": 1}):
        less = {"policy": {"bindings": [], "etag": whole["etag"], **version}}
        error = cloud.refused("POST", f"{path_of()}:setIamPolicy", less, status=400)
        assert "cannot be less than the existing policy version" in error["message"]
    cloud.call("POST", f"{path_of()}:setIamPolicy", {"policy": {"version": 3, "bindings": [], "etag": whole["etag"]}})
    assert members(cloud) == []


@pytest.mark.parametrize(
    "member",
    [
        "ann@example.com",
        "person:ann@example.com",
        "user:ann",
        "user:",
        "serviceAccount:nobody",
        f"serviceAccount:bk-nobody@{ID}.iam.gserviceaccount.com",
        "domain:",
    ],
)
def test_a_member_that_cannot_be_is_refused_and_the_policy_stays(cloud: DataCloud, member: str):
    create(cloud)
    allow(cloud, "user:ann@example.com")
    assert allow(cloud, "user:ben@example.com", member, expect=400)["error"]["status"] == "INVALID_ARGUMENT"
    assert members(cloud) == ["user:ann@example.com"]


@pytest.mark.parametrize(
    "policy",
    [
        None,
        {"bindings": [{"role": "owner", "members": []}]},
        {"bindings": [{"role": USER, "members": "user:ann@example.com"}]},
        {"bindings": [{"role": USER, "member": "user:ann@example.com"}]},
        {"bindings": [{"role": USER, "members": [], "condition": {"title": "never"}}], "version": 3},
        {"bindings": [{"role": USER, "members": [f"user:u{n}@example.com" for n in range(1501)]}]},
        {"version": 2},
        {"rules": []},
    ],
)
def test_a_wrong_policy_is_refused(cloud: DataCloud, policy: Any):
    create(cloud)
    cloud.refused("POST", f"{path_of()}:setIamPolicy", {"policy": policy}, status=400)


def test_accounts_of_google_and_of_other_projects_are_members_unseen(cloud: DataCloud):
    create(cloud)
    others = [
        "serviceAccount:agent@other-project.iam.gserviceaccount.com",
        "serviceAccount:100000000001-compute@developer.gserviceaccount.com",
        "domain:example.com",
        "principalSet://iam.googleapis.com/locations/global/workforcePools/p/*",
    ]
    allow(cloud, *others)
    assert members(cloud) == sorted(others)


def test_a_deleted_member_keeps_its_place_under_its_tombstone(cloud: DataCloud):
    create(cloud)
    other = create(cloud, "bk-ben-0001")
    member = f"serviceAccount:{other['email']}"
    before = allow(cloud, member)
    cloud.call("DELETE", path_of(other["email"]))
    assert members(cloud) == [f"deleted:{member}?uid={other['uniqueId']}"]
    assert allow(cloud, member, etag=before["etag"], expect=400)  # it does not exist
    allow(cloud, "user:ann@example.com", etag=before["etag"], expect=409)  # and the policy has changed
    create(cloud, "bk-ben-0001")  # another account of the same name has no part in it
    assert members(cloud) == [f"deleted:{member}?uid={other['uniqueId']}"]


# --- eventual consistency, faults, journal, saved world


def test_a_new_account_may_be_unknown_for_a_while_when_that_is_scripted(cloud: DataCloud):
    create(cloud, "bk-ben-0001")
    ben = f"bk-ben-0001@{ID}.iam.gserviceaccount.com"
    lag = {"read_seconds": 7, "member_seconds": 60}
    cloud.fault(call="iam.serviceAccounts.create", resource=f"*/{ANN}", payload={"lag": lag})
    create(cloud)
    for method, path in (("GET", path_of()), ("POST", f"{path_of()}:getIamPolicy"), ("POST", f"{path_of()}:disable")):
        cloud.refused(method, path, status=404)
    cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0001"}, status=409)
    assert [account["email"] for account in cloud.call("GET", ACCOUNTS)["accounts"]] == [ben]
    cloud.wait(7)
    assert cloud.call("GET", path_of())["email"] == ANN
    member = f"serviceAccount:{ANN}"
    assert allow(cloud, member, account=ben, expect=400)["error"]["message"] == f"Service account {ANN} does not exist."
    cloud.wait(53)
    allow(cloud, member, account=ben)
    assert members(cloud, ben) == [member]
    assert cloud.cloud.world.faults.unfired() == []


def test_the_lag_of_all_accounts_is_a_setting(cloud: DataCloud):
    cloud.cloud.iam.read_lag = timedelta(seconds=5)
    create(cloud)
    cloud.refused("GET", path_of(), status=404)
    cloud.wait(5)
    assert cloud.call("GET", path_of())["email"] == ANN


def test_calls_can_be_made_to_fail_before_and_after_they_did_something(cloud: DataCloud):
    cloud.fault(call="iam.serviceAccounts.create", phase="after", error={"code": "UNAVAILABLE"})
    cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0001"}, status=503)
    cloud.refused("POST", ACCOUNTS, {"accountId": "bk-ann-0001"}, status=409)
    cloud.fault(call="iam.serviceAccounts.setIamPolicy", resource=f"*/{ANN}", error={"code": "ABORTED"})
    assert allow(cloud, "user:ann@example.com", expect=409)["error"]["status"] == "ABORTED"
    assert members(cloud) == []


def test_the_journal_names_the_permissions(cloud: DataCloud):
    create(cloud)
    cloud.call("GET", path_of(project="projects/-"))
    cloud.call("GET", ACCOUNTS)
    cloud.call("PATCH", path_of(), {"serviceAccount": {}, "updateMask": "description"})
    for verb in ("disable", "enable", "getIamPolicy"):
        cloud.call("POST", f"{path_of()}:{verb}")
    allow(cloud, "user:ann@example.com")
    cloud.call("DELETE", path_of())
    verbs = (
        "create",
        "get",
        "list",
        "update",
        "disable",
        "enable",
        "getIamPolicy",
        "setIamPolicy",
        "delete",
    )
    assert cloud.permissions() == [f"iam.serviceAccounts.{verb}" for verb in verbs]
    rows = cloud.cloud.world.journal.listing(mutating_only=False)
    assert rows[0]["resource"] == rows[1]["resource"] == f"{PROJECT}/serviceAccounts/{ANN}"
    assert [row["method"] for row in rows if not row["mutates"]] == [
        "serviceAccounts.get",
        "serviceAccounts.list",
        "serviceAccounts.getIamPolicy",
    ]


def test_a_saved_world_has_accounts_and_policies(cloud: DataCloud):
    create(cloud)
    gone = create(cloud, "bk-ben-0001")
    allow(cloud, f"serviceAccount:{gone['email']}")
    cloud.call("DELETE", path_of(gone["email"]))
    cloud.call("POST", "/_emulator/iam", {"quota": 7})
    other = DataCloud.build()
    other.call("PUT", "/_emulator/world", json.loads(json.dumps(cloud.call("GET", "/_emulator/world"))))
    assert other.call("POST", f"{path_of()}:getIamPolicy") == cloud.call("POST", f"{path_of()}:getIamPolicy")
    assert members(other) == [f"deleted:serviceAccount:{gone['email']}?uid={gone['uniqueId']}"]
    for number in range(6):
        create(other, f"bk-user-{number}")
    other.refused("POST", ACCOUNTS, {"accountId": "bk-user-6"}, status=429)
    unique = create(cloud, "bk-cat-0001")["uniqueId"]
    assert unique not in {account["uniqueId"] for account in other.call("GET", ACCOUNTS)["accounts"]}


def test_an_account_has_the_one_key_that_google_manages(cloud: DataCloud):
    create(cloud)
    (key,) = cloud.call("GET", f"{path_of()}/keys")["keys"]
    assert (key["keyType"], key["keyOrigin"]) == ("SYSTEM_MANAGED", "GOOGLE_PROVIDED")
    assert key["name"].startswith(f"{PROJECT}/serviceAccounts/{ANN}/keys/")
    assert cloud.call("GET", f"{path_of()}/keys", keyTypes="USER_MANAGED") == {}
    assert cloud.call("GET", f"{path_of()}/keys", keyTypes="SYSTEM_MANAGED") == {"keys": [key]}
    cloud.refused("GET", f"{path_of()}/keys", status=400, keyTypes="LOST")
    cloud.refused("GET", f"{path_of('none@x.iam.gserviceaccount.com')}/keys", status=404)
    assert cloud.permissions()[-1] == "iam.serviceAccountKeys.list"
