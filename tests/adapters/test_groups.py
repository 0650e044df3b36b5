"""Membership in the groups that carry data roles: a 403 is never taken for absence, and asking twice is asking once."""

from __future__ import annotations

import pytest

from shared.cloud.identity.groups import CloudIdentityGroups
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    SetUpError,
)

READERS = "scientists-data@example.com"
FORUM = {"cloudidentity.googleapis.com/groups.discussion_forum": ""}
DENIED = {
    "code": "PERMISSION_DENIED",
    "message": "Error(2028): Permission denied for resource groups/x (or it may not exist).",
}
LOOKUP, CREATE = "cloudidentity.memberships.lookup", "cloudidentity.memberships.create"


@pytest.fixture
def groups(bench):
    return CloudIdentityGroups(bench.clients)


@pytest.fixture
def ann(bench):
    return account(bench, "nb-ann-0001")


@pytest.fixture
def readers(bench):
    return group(bench, READERS)


def account(bench, ident):
    project = bench.settings.project
    bench.control("POST", f"/v1/projects/{project}/serviceAccounts", {"accountId": ident})
    return f"{ident}@{project}.iam.gserviceaccount.com"


def group(bench, email):
    body = {"parent": "customers/C046psxkn", "groupKey": {"id": email}, "labels": FORUM}
    return bench.control("POST", "/v1/groups", body)["response"]["name"]


def members(bench, name):
    listed = bench.control("GET", f"/v1/{name}/memberships?pageSize=1000").get("memberships", [])
    return {row["preferredMemberKey"]["id"] for row in listed}


def made(bench):
    return [row["method"] for row in bench.calls() if row["service"] == "cloudidentity" and row["mutates"]]


@pytest.mark.usefixtures("readers")
def test_who_joins_is_a_member_until_leaving(groups, ann):
    assert groups.has(READERS, ann) is False
    groups.join(READERS, ann)
    assert groups.has(READERS, ann) is True
    groups.leave(READERS, ann)
    assert groups.has(READERS, ann) is False


def test_twice_is_once(bench, groups, ann, readers):
    groups.join(READERS, ann)
    groups.join(READERS, ann)
    assert members(bench, readers) == {ann}
    groups.leave(READERS, ann)
    groups.leave(READERS, ann)
    assert members(bench, readers) == set()


def test_others_stay(bench, groups, ann, readers):
    ben = account(bench, "nb-ben-0002")
    groups.join(READERS, ben)
    groups.join(READERS, ann)
    groups.leave(READERS, ann)
    assert members(bench, readers) == {ben}


def test_a_lost_answer_is_made_good_by_asking_again(bench, groups, ann, readers):
    bench.fault(call=CREATE, phase="after", error={"code": "UNAVAILABLE"})
    with pytest.raises(CloudUnavailableError):
        groups.join(READERS, ann)
    groups.join(READERS, ann)
    assert members(bench, readers) == {ann}
    bench.fault(call="cloudidentity.memberships.delete", phase="after", error={"code": "UNAVAILABLE"})
    with pytest.raises(CloudUnavailableError):
        groups.leave(READERS, ann)
    groups.leave(READERS, ann)
    assert members(bench, readers) == set()


@pytest.mark.parametrize("verb", ["has", "join", "leave"])
def test_a_group_that_is_not_seen_is_not_taken_for_one_that_is_not_there(groups, ann, verb):
    with pytest.raises(AccessDeniedError) as caught:
        getattr(groups, verb)("unknown@example.com", ann)
    assert "managers of it" in caught.value.user_message
    assert "unknown@example.com" in caught.value.user_message
    assert "(or it may not exist)" in caught.value.detail
    assert "@" not in caught.value.detail


@pytest.mark.usefixtures("readers")
def test_a_group_that_google_says_is_gone_has_no_members(bench, groups, ann):
    gone = {"code": "NOT_FOUND"}
    bench.fault(call="cloudidentity.groups.lookup", error=gone, times=3)
    assert groups.has(READERS, ann) is False
    groups.leave(READERS, ann)
    with pytest.raises(AccessDeniedError, match="404") as caught:
        groups.join(READERS, ann)
    assert "does not exist" in caught.value.user_message
    assert made(bench)[1:] == []


@pytest.mark.parametrize("verb", ["has", "join", "leave"])
def test_who_is_no_manager_is_told_what_an_administrator_must_do(bench, groups, ann, readers, verb):
    bench.control(
        "POST", f"/v1/{readers}/memberships", {"preferredMemberKey": {"id": ann}, "roles": [{"name": "MEMBER"}]}
    )
    calls = {
        "has": [LOOKUP, "cloudidentity.memberships.list"],
        "join": [CREATE],
        "leave": ["cloudidentity.memberships.delete"],
    }
    for call in calls[verb]:
        bench.fault(call=call, error=DENIED)
    with pytest.raises(AccessDeniedError) as caught:
        getattr(groups, verb)(READERS, ann)
    assert "service accounts managers" in caught.value.user_message
    assert members(bench, readers) == {ann}


def test_a_403_for_a_membership_is_settled_by_the_list_of_members(bench, groups, ann, readers):
    others = [account(bench, f"nb-person-{number:04}") for number in range(3)]
    for other in others:
        groups.join(READERS, other)
    bench.fault(call=LOOKUP, error=DENIED, times=0)
    assert groups.has(READERS, ann) is False
    assert groups.has(READERS, others[2].upper()) is True
    groups.leave(READERS, others[0])
    assert members(bench, readers) == set(others[1:])


def test_the_list_is_read_to_its_end(bench, groups, ann, readers, monkeypatch):
    monkeypatch.setattr("shared.cloud.identity.groups._PAGE", 2)
    others = [account(bench, f"nb-person-{number:04}") for number in range(5)]
    for member in (*others, ann):
        groups.join(READERS, member)
    bench.fault(call=LOOKUP, error=DENIED, times=0)
    assert [groups.has(READERS, member) for member in (*others, ann)] == [True] * 6
    assert groups.has(READERS, "nobody@example.com") is False
    assert len(members(bench, readers)) == 6


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize("answer", [{}, {"code": "NOT_FOUND"}])
def test_an_account_that_is_not_known_everywhere_yet_is_tried_again(bench, groups, answer):
    if answer:
        bench.fault(call=CREATE, error=answer)
    with pytest.raises(CloudUnavailableError) as caught:
        groups.join(READERS, f"nb-new-0001@{bench.settings.project}.iam.gserviceaccount.com")
    assert "everywhere yet" in caught.value.user_message
    assert caught.value.retry_after.total_seconds() <= 60


@pytest.mark.usefixtures("readers")
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        ({"code": "INVALID_ARGUMENT", "message": "Invalid role."}, InvalidSpecError),
        ({"code": "ABORTED", "message": "Concurrent change."}, ConflictError),
        ({"code": "UNAVAILABLE"}, CloudUnavailableError),
    ],
)
def test_what_is_none_of_this_stays_what_it_is(bench, groups, ann, error, raised):
    bench.fault(call=CREATE, error=error)
    with pytest.raises(raised):
        groups.join(READERS, ann)
    assert groups.has(READERS, ann) is False


def test_a_service_that_is_off_is_not_blamed_on_the_group(bench, groups, ann):
    text = "Cloud Identity API has not been used in project acme before or it is disabled."
    bench.fault(call="cloudidentity.groups.lookup", error={"code": "PERMISSION_DENIED", "message": text})
    with pytest.raises(SetUpError) as caught:
        groups.has(READERS, ann)
    assert "managers" not in caught.value.user_message
