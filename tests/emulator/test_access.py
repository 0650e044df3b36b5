"""Grants that are enforced: a caller who asks to be judged as an account may do what this cloud's policies give, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock

PROJECT = "benchkeeper-local"
PAGE = f"page-account@{PROJECT}.iam.gserviceaccount.com"
TOPIC = f"projects/{PROJECT}/topics/news"


class Cloud:
    """A cloud, asked by nobody in particular and as an account."""

    def __init__(self) -> None:
        self.cloud = EmbeddedCloud.build(clock=VirtualClock(speed=0))
        self.client = Client(self.cloud.wsgi)
        self.free("POST", f"/storage/v1/b?project={PROJECT}", {"name": "records"})
        self.free("PUT", f"/v1/{TOPIC}", {})

    def free(self, verb: str, path: str, body: Any = None) -> TestResponse:
        answer = self.client.open(path, method=verb, json=body)
        assert answer.status_code == 200, answer.text
        return answer

    def page(self, verb: str, path: str, body: Any = None, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer as:{PAGE}", **more.pop("headers", {})}
        data = {"json": body} if body is not None else more
        return self.client.open(path, method=verb, headers=headers, **data)

    def role(self, *permissions: str, name: str = "some_role") -> str:
        self.free(
            "POST", f"/v1/projects/{PROJECT}/roles", {"roleId": name, "role": {"includedPermissions": permissions}}
        )
        return f"projects/{PROJECT}/roles/{name}"

    def on_project(self, role: str, **condition: Any) -> None:
        binding = {"role": role, "members": [f"serviceAccount:{PAGE}"], **condition}
        policy = {"version": 3 if condition else 1, "bindings": [binding]}
        self.free("POST", f"/v1/projects/{PROJECT}:setIamPolicy", {"policy": policy})

    def on_bucket(self, role: str) -> None:
        body = {"bindings": [{"role": role, "members": [f"serviceAccount:{PAGE}"]}]}
        self.free("PUT", "/storage/v1/b/records/iam", body)

    def upload(self, content: str, *, name: str = "x", free: bool = False, query: str = "") -> TestResponse:
        path = f"/upload/storage/v1/b/records/o?uploadType=media&name={name}{query}"
        if free:
            return self.client.post(path, data=content)
        return self.page("POST", path, data=content)


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_nobody_who_does_not_ask_for_it_is_judged(cloud: Cloud) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {PAGE}"}):
        assert cloud.client.get("/storage/v1/b/records/o", headers=headers).status_code == 200


def test_without_a_grant_nothing_may_be_done_and_the_refusal_is_googles(cloud: Cloud) -> None:
    answer = cloud.page("GET", "/storage/v1/b/records/o")
    assert answer.status_code == 403
    (error,) = answer.json["error"]["errors"]
    assert error["reason"] == "forbidden"
    assert f"{PAGE} does not have storage.objects.list access" in answer.json["error"]["message"]
    answer = cloud.page("POST", f"/v1/{TOPIC}:publish", {"messages": [{"data": "eA=="}]})
    assert (answer.status_code, answer.json["error"]["status"]) == (403, "PERMISSION_DENIED")
    (row, *_) = reversed(cloud.cloud.world.journal.listing(mutating_only=False))
    assert (row["principal"], row["status"]) == (PAGE, 403)


def test_a_grant_holds_where_it_was_given(cloud: Cloud) -> None:
    cloud.free("POST", f"/storage/v1/b?project={PROJECT}", {"name": "others"})
    cloud.on_bucket(cloud.role("storage.objects.list"))
    assert cloud.page("GET", "/storage/v1/b/records/o").status_code == 200
    assert cloud.page("GET", "/storage/v1/b/others/o").status_code == 403
    assert cloud.page("DELETE", "/storage/v1/b/records").status_code == 403


def test_without_delete_an_object_can_be_created_and_never_changed(cloud: Cloud) -> None:
    cloud.on_bucket(cloud.role("storage.objects.create"))
    assert cloud.upload("first").status_code == 200
    assert cloud.upload("second").status_code == 403
    assert cloud.page("PATCH", "/storage/v1/b/records/o/x", {"metadata": {"a": "b"}}).status_code == 403
    assert cloud.page("DELETE", "/storage/v1/b/records/o/x").status_code == 403
    assert cloud.client.get("/storage/v1/b/records/o/x?alt=media").data == b"first"


def test_an_upload_in_pieces_is_judged_like_any_other(cloud: Cloud) -> None:
    cloud.upload("first", free=True)
    cloud.on_bucket(cloud.role("storage.objects.create"))
    start = cloud.page("POST", "/upload/storage/v1/b/records/o?uploadType=resumable&name=x", {"name": "x"})
    assert start.status_code == 200
    place = start.headers["Location"].partition("localhost")[2] or start.headers["Location"]
    end = cloud.page("PUT", place, data=b"second", headers={"Content-Range": "bytes 0-5/6"})
    assert end.status_code == 403
    assert cloud.client.get("/storage/v1/b/records/o/x?alt=media").data == b"first"


def test_the_parts_of_a_batch_are_judged_too(cloud: Cloud) -> None:
    cloud.upload("first", free=True)
    part = b"--m\r\nContent-Type: application/http\r\n\r\nDELETE /storage/v1/b/records/o/x HTTP/1.1\r\n\r\n\r\n--m--"
    answer = cloud.page("POST", "/batch/storage/v1", data=part, headers={"Content-Type": "multipart/mixed; boundary=m"})
    assert b"HTTP/1.1 403" in answer.data
    assert cloud.client.get("/storage/v1/b/records/o/x").status_code == 200


def test_a_copy_needs_reading_where_it_comes_from(cloud: Cloud) -> None:
    cloud.free("POST", f"/storage/v1/b?project={PROJECT}", {"name": "others"})
    cloud.client.post("/upload/storage/v1/b/others/o?uploadType=media&name=secret", data="x")
    cloud.on_bucket(cloud.role("storage.objects.create", "storage.objects.get"))
    path = "/storage/v1/b/others/o/secret/copyTo/b/records/o/secret"
    assert cloud.page("POST", path, {}).status_code == 403
    assert cloud.client.get("/storage/v1/b/records/o/secret").status_code == 404


def test_a_condition_counts_in_the_form_that_the_deployment_writes(cloud: Cloud) -> None:
    for expression, status in (
        ('resource.name.startsWith("projects/_/buckets/records")', 200),
        ('resource.name.startsWith("projects/_/buckets/other")', 403),
        ('!resource.name.startsWith("projects/_/buckets/records")', 403),
        ('!resource.name.startsWith("projects/_/buckets/records/objects/rosters/")', 200),
        ("true", 403),
    ):
        cloud.on_project("roles/storage.objectViewer", condition={"title": "t", "expression": expression})
        assert cloud.page("GET", "/storage/v1/b/records/o").status_code == status, expression


def test_publishing_is_granted_on_the_topic(cloud: Cloud) -> None:
    cloud.free("PUT", f"/v1/projects/{PROJECT}/topics/other", {})
    body = {"policy": {"bindings": [{"role": "roles/pubsub.publisher", "members": [f"serviceAccount:{PAGE}"]}]}}
    cloud.free("POST", f"/v1/{TOPIC}:setIamPolicy", body)
    message = {"messages": [{"data": "eA=="}]}
    assert cloud.page("POST", f"/v1/{TOPIC}:publish", message).status_code == 200
    assert cloud.page("POST", f"/v1/projects/{PROJECT}/topics/other:publish", message).status_code == 403
    assert cloud.page("POST", f"/v1/{TOPIC}:setIamPolicy", body).status_code == 403


def test_a_role_that_changes_changes_what_is_allowed(cloud: Cloud) -> None:
    role = cloud.role("storage.objects.list")
    cloud.on_bucket(role)
    cloud.free("PATCH", f"/v1/{role}", {"includedPermissions": []})
    assert cloud.page("GET", "/storage/v1/b/records/o").status_code == 403
    cloud.free("PATCH", f"/v1/{role}", {"includedPermissions": ["storage.objects.list"]})
    assert cloud.page("GET", "/storage/v1/b/records/o").status_code == 200
    cloud.free("DELETE", f"/v1/{role}")
    assert cloud.client.get(f"/v1/{role}").json["deleted"] is True
    assert cloud.page("GET", "/storage/v1/b/records/o").status_code == 403


@pytest.mark.parametrize("mask", ["includedPermissions", "included_permissions,title"])
def test_a_mask_says_what_of_a_role_changes(cloud: Cloud, mask: str) -> None:
    role = cloud.role("storage.objects.list")
    body = {"includedPermissions": ["storage.objects.get"], "title": "T", "description": "not named"}
    changed = cloud.free("PATCH", f"/v1/{role}?updateMask={mask}", body).json
    assert changed["includedPermissions"] == ["storage.objects.get"]
    assert ("title" in changed, "description" in changed) == ("title" in mask, False)
    stale = cloud.client.patch(f"/v1/{role}", json={"title": "U", "etag": "BwAAAAAAAAA="})
    assert (stale.status_code, stale.json["error"]["status"]) == (409, "ABORTED")


def test_a_deleted_role_keeps_its_name_and_comes_back(cloud: Cloud) -> None:
    role = cloud.role("storage.objects.list")
    cloud.free("DELETE", f"/v1/{role}")
    again = {"roleId": "some_role", "role": {}}
    refused = cloud.client.post(f"/v1/projects/{PROJECT}/roles", json=again)
    assert (refused.status_code, refused.json["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert cloud.free("GET", f"/v1/projects/{PROJECT}/roles").json == {}
    assert len(cloud.free("GET", f"/v1/projects/{PROJECT}/roles?showDeleted=true").json["roles"]) == 1
    cloud.free("POST", f"/v1/{role}:undelete", {})
    cloud.on_project(role)
    assert cloud.page("GET", "/storage/v1/b/records/o").status_code == 200


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/_emulator/world"), ("PUT", "/_emulator/world"), ("POST", "/_emulator/clock"), ("GET", "/_emulator/calls"),
        ("POST", "/_emulator/functions"), ("POST", "/_emulator/people"), ("POST", "/_emulator/faults"),
        ("DELETE", "/_emulator/calls"), ("PUT", "/_emulator/disks/europe-west1-b/x"), ("POST", "/_emulator/iam"),
    ],
)  # fmt: skip
def test_an_account_of_the_cloud_has_no_key_to_the_machines_own_door(cloud: Cloud, verb: str, path: str) -> None:
    assert cloud.page(verb, path, {}).status_code == 403


def test_an_account_sees_the_time_and_the_proxys_public_keys(cloud: Cloud) -> None:
    assert cloud.page("GET", "/_emulator/clock").status_code == 200
    assert cloud.page("GET", "/_emulator/iap/public_key").status_code == 200


@pytest.mark.parametrize(("role", "sees", "changes"), [("", 403, 403), ("MEMBER", 200, 403), ("MANAGER", 200, 200)])
def test_a_group_is_seen_by_members_and_changed_by_managers(cloud: Cloud, role: str, sees: int, changes: int) -> None:
    labels = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}
    group = {"parent": "customers/C0", "groupKey": {"id": "admins@example.com"}, "labels": labels}
    name = cloud.free("POST", "/v1/groups", group).json["response"]["name"]
    if role:
        cloud.free("POST", f"/v1/projects/{PROJECT}/serviceAccounts", {"accountId": "page-account"})
        roles = [{"name": each} for each in dict.fromkeys(["MEMBER", role])]
        cloud.free("POST", f"/v1/{name}/memberships", {"preferredMemberKey": {"id": PAGE}, "roles": roles})
    assert cloud.page("GET", f"/v1/{name}/memberships").status_code == sees
    joining = {"preferredMemberKey": {"id": "x@example.com"}, "roles": [{"name": "MEMBER"}]}
    assert cloud.page("POST", f"/v1/{name}/memberships", joining).status_code == changes


def test_policies_and_roles_are_in_the_saved_world(cloud: Cloud) -> None:
    cloud.on_project(cloud.role("storage.objects.list"))
    other = Cloud()
    other.cloud.world.load(json.loads(json.dumps(cloud.cloud.world.save())))
    assert other.page("GET", "/storage/v1/b/records/o").status_code == 200


def test_a_policy_that_was_read_before_another_write_is_refused(cloud: Cloud) -> None:
    read = cloud.free("POST", f"/v1/projects/{PROJECT}:getIamPolicy", {}).json
    cloud.on_project("roles/storage.objectViewer")
    answer = cloud.client.post(f"/v1/projects/{PROJECT}:setIamPolicy", json={"policy": read})
    assert (answer.status_code, answer.json["error"]["status"]) == (409, "ABORTED")
