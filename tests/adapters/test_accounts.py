"""The people's own service accounts: ensure, share with one person alone, switch off, and IAM's eventual consistency."""

from __future__ import annotations

import pytest
from kit.making import ANA

from shared.cloud.identity.accounts import ACT_AS
from shared.domain.plan.plan import AccountSeen
from shared.domain.things.errors import (
    AccessDeniedError,
    CloudUnavailableError,
    ConflictError,
    InvalidSpecError,
    NotOursError,
    QuotaExhaustedError,
    RateLimitedError,
    Reason,
    SetUpError,
)
from shared.domain.things.identity import AccountId, account_email, account_id_for, parse_email, user_key_for
from shared.domain.things.notebook import Absent

KEY = user_key_for(ANA)
ID = account_id_for(KEY)
OWNER = f"user:{ANA}"
CONFLICT = {
    "code": "ABORTED",
    "message": "There were concurrent policy changes. Please retry the whole read-modify-write.",
}
REFUSALS = [
    ({"code": "PERMISSION_DENIED", "message": "Permission 'iam.serviceAccounts.x' denied"}, AccessDeniedError),
    ({"code": "UNAVAILABLE", "message": "down"}, CloudUnavailableError),
    ({"code": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for limit 'Writes per minute'."}, RateLimitedError),
    ({"code": "INVALID_ARGUMENT", "message": "bad"}, InvalidSpecError),
]
CALLS = {
    "create": ("create", lambda a: a.create(ID, KEY)),
    "get": ("get", lambda a: a.get(ID, KEY)),
    "its policy": ("getIamPolicy", lambda a: a.get(ID, KEY)),
    "share": ("setIamPolicy", lambda a: a.share(ID, ANA)),
    "what is shared": ("getIamPolicy", lambda a: a.share(ID, ANA)),
    "enable": ("enable", lambda a: a.enable(ID)),
    "disable": ("disable", lambda a: a.disable(ID)),
    "delete": ("delete", lambda a: a.delete(ID)),
}


@pytest.fixture
def accounts(bench):
    return bench.deps.accounts


def path(bench, account=ID):
    project = bench.settings.project
    return f"/v1/projects/{project}/serviceAccounts/{account_email(account, project)}"


def raw(bench, account=ID):
    return bench.control("GET", path(bench, account))


def policy(bench):
    return bench.control("POST", f"{path(bench)}:getIamPolicy?options.requestedPolicyVersion=3").get("bindings", [])


def set_policy(bench, *bindings):
    bench.control("POST", f"{path(bench)}:setIamPolicy", {"policy": {"version": 3, "bindings": list(bindings)}})


def binding(*members, role=ACT_AS, **more):
    return {"role": role, "members": list(members), **more}


def by_hand(bench, account=ID, **fields):
    body = {"accountId": account, "serviceAccount": fields}
    return bench.control("POST", f"/v1/projects/{bench.settings.project}/serviceAccounts", body)


def names(bench):
    found = bench.control("GET", f"/v1/projects/{bench.settings.project}/serviceAccounts")
    return [each["email"].partition("@")[0] for each in found.get("accounts", [])]


def methods(bench):
    return [call["method"].removeprefix("serviceAccounts.") for call in bench.calls()]


# --- create and get ---


def test_an_account_is_made_once_and_says_whose_it_is_without_an_address(bench, accounts):
    assert isinstance(accounts.get(ID, KEY), Absent)
    for _ in range(2):
        accounts.create(ID, KEY)
    assert names(bench) == [ID]
    assert accounts.get(ID, KEY) == AccountSeen(is_ours=True, disabled=False, shared_with={})
    made = raw(bench)
    assert KEY in made["description"]
    assert "@" not in made["description"] + made["displayName"]


def test_the_longest_names_fit(bench, accounts):
    key = user_key_for(parse_email(f"{'annabelle-' * 6}x@example.com"))
    account = account_id_for(key)
    accounts.create(account, key)
    assert accounts.get(account, key).is_ours


@pytest.mark.parametrize(
    "description", ["", "of the pipelines", f"Benchkeeper: {KEY}x", "Benchkeeper: ben-0123456789ab"]
)
def test_an_account_that_somebody_else_made_is_left_alone(bench, accounts, description):
    by_hand(bench, description=description)
    before = raw(bench)
    assert not accounts.get(ID, KEY).is_ours
    with pytest.raises(NotOursError) as caught:
        accounts.create(ID, KEY)
    assert "administrator" in caught.value.user_message
    assert raw(bench) == before


def test_a_lost_answer_is_success_at_the_next_try(bench, accounts):
    bench.fault(call="iam.serviceAccounts.create", phase="after", error={"code": "UNAVAILABLE", "message": "lost"})
    with pytest.raises(CloudUnavailableError):
        accounts.create(ID, KEY)
    accounts.create(ID, KEY)
    assert names(bench) == [ID]


def test_an_account_that_iam_does_not_show_yet_is_absent_and_then_in_progress(bench, accounts):
    bench.fault(call="iam.serviceAccounts.create", payload={"lag": {"read_seconds": 7}})
    accounts.create(ID, KEY)
    assert isinstance(accounts.get(ID, KEY), Absent)
    for attempt in (lambda: accounts.create(ID, KEY), lambda: accounts.share(ID, ANA), lambda: accounts.enable(ID)):
        with pytest.raises(CloudUnavailableError, match="cannot be read yet") as caught:
            attempt()
        assert 0 < caught.value.retry_after.total_seconds() <= 60
        assert "@" not in caught.value.detail
    bench.advance(seconds=7)
    accounts.create(ID, KEY)
    accounts.share(ID, ANA)
    assert accounts.get(ID, KEY).shared_with == {ACT_AS: (OWNER,)}


def test_an_account_whose_policy_is_gone_between_the_two_calls_is_absent(bench, accounts):
    accounts.create(ID, KEY)
    bench.fault(call="iam.serviceAccounts.getIamPolicy", error={"code": "NOT_FOUND", "message": "Unknown account"})
    assert isinstance(accounts.get(ID, KEY), Absent)


def test_a_quota_that_is_used_up_is_named(bench, accounts):
    bench.control("POST", "/_emulator/iam", {"quota": 1})
    by_hand(bench, "somebody-elses")
    with pytest.raises(QuotaExhaustedError) as caught:
        accounts.create(ID, KEY)
    assert "service accounts per project" in caught.value.user_message
    assert names(bench) == ["somebody-elses"]
    bench.control("POST", "/_emulator/iam", {"quota": 2})
    accounts.create(ID, KEY)
    assert ID in names(bench)


@pytest.mark.parametrize(("error", "kind"), REFUSALS)
@pytest.mark.parametrize("what", sorted(CALLS))
def test_a_refusal_is_in_its_class_and_names_no_address(bench, accounts, what, error, kind):
    method, act = CALLS[what]
    if what != "create":
        accounts.create(ID, KEY)
    bench.fault(call=f"iam.serviceAccounts.{method}", error=error)
    with pytest.raises(kind) as caught:
        act(accounts)
    assert type(caught.value) is kind
    assert ID in caught.value.detail
    assert "@" not in caught.value.detail


# --- share ---


def test_an_account_is_shared_with_its_owner_and_nobody_else(bench, accounts):
    accounts.create(ID, KEY)
    set_policy(
        bench,
        binding(OWNER, "user:eve@example.com", "group:all@example.com"),
        binding("user:eve@example.com", role="roles/iam.serviceAccountTokenCreator"),
        binding("user:ops@example.com", role="projects/p/roles/own", condition={"title": "t", "expression": "true"}),
    )
    assert accounts.get(ID, KEY).shared_with == {
        ACT_AS: ("group:all@example.com", OWNER, "user:eve@example.com"),
        "roles/iam.serviceAccountTokenCreator": ("user:eve@example.com",),
        "projects/p/roles/own": ("user:ops@example.com",),
    }
    accounts.share(ID, ANA)
    assert policy(bench) == [binding(OWNER)]
    assert accounts.get(ID, KEY).shared_with == {ACT_AS: (OWNER,)}


def test_nobody_is_nobody(bench, accounts):
    accounts.create(ID, KEY)
    accounts.share(ID, ANA)
    accounts.share(ID, None)
    assert policy(bench) == []
    assert accounts.get(ID, KEY).shared_with == {}


@pytest.mark.parametrize("user", [ANA, None])
def test_what_is_so_already_is_not_written_again(bench, accounts, user):
    accounts.create(ID, KEY)
    accounts.share(ID, user)
    bench.cloud.world.journal.clear()
    accounts.share(ID, user)
    assert methods(bench) == ["getIamPolicy"]


def test_an_owner_under_a_condition_is_not_what_is_wanted(bench, accounts):
    accounts.create(ID, KEY)
    set_policy(bench, binding(OWNER, condition={"title": "never", "expression": "false"}))
    accounts.share(ID, ANA)
    assert policy(bench) == [binding(OWNER)]


def test_a_member_is_the_same_in_any_case(bench, accounts):
    accounts.create(ID, KEY)
    set_policy(bench, binding("user:Ana.Silva@Example.com"))
    assert accounts.get(ID, KEY).shared_with == {ACT_AS: (OWNER,)}


def test_a_member_that_was_deleted_can_do_nothing_and_is_dropped(bench, accounts):
    accounts.create(ID, KEY)
    gone = AccountId("robot-of-theirs")
    by_hand(bench, gone)
    set_policy(bench, binding(OWNER, f"serviceAccount:{account_email(gone, bench.settings.project)}"))
    bench.control("DELETE", path(bench, gone))
    assert [member for member in policy(bench)[0]["members"] if member.startswith("deleted:")]
    assert accounts.get(ID, KEY).shared_with == {ACT_AS: (OWNER,)}
    accounts.share(ID, ANA)
    assert policy(bench) == [binding(OWNER)]


def test_a_neighbour_who_writes_between_read_and_write_does_not_stay(bench, accounts):
    accounts.create(ID, KEY)
    rivals = iter(range(3))
    watching = True

    def neighbour():
        nonlocal watching
        # After each of our reads of the policy, before our write of it.
        if watching and methods(bench)[-1:] == ["getIamPolicy"]:
            watching = False
            rival = next(rivals, None)
            if rival is not None:
                set_policy(bench, binding(f"user:rival{rival}@example.com"))
            watching = True

    bench.adapter.around = neighbour
    accounts.share(ID, ANA)
    bench.adapter.around = lambda: None
    assert next(rivals, None) is None
    assert policy(bench) == [binding(OWNER)]
    statuses = [call["status"] for call in bench.calls() if call["method"] == "serviceAccounts.setIamPolicy"]
    assert statuses.count(409) == 3


def test_a_neighbour_who_never_stops_is_a_conflict_for_later(bench, accounts):
    accounts.create(ID, KEY)
    bench.fault(call="iam.serviceAccounts.setIamPolicy", times=5, error=CONFLICT)
    with pytest.raises(ConflictError, match="5 conflicts"):
        accounts.share(ID, ANA)
    assert policy(bench) == []
    accounts.share(ID, ANA)
    assert policy(bench) == [binding(OWNER)]


def test_a_share_whose_answer_is_lost_is_done_at_the_next_try(bench, accounts):
    accounts.create(ID, KEY)
    bench.fault(
        call="iam.serviceAccounts.setIamPolicy", phase="after", error={"code": "UNAVAILABLE", "message": "lost"}
    )
    with pytest.raises(CloudUnavailableError):
        accounts.share(ID, ANA)
    bench.cloud.world.journal.clear()
    accounts.share(ID, ANA)
    assert methods(bench) == ["getIamPolicy"]
    assert policy(bench) == [binding(OWNER)]


@pytest.mark.parametrize("message", [f"User {ANA} does not exist.", f"Invalid user ({ANA})."])
def test_a_person_whom_google_does_not_know_is_said_so_without_the_address(bench, accounts, message):
    accounts.create(ID, KEY)
    bench.fault(call="iam.serviceAccounts.setIamPolicy", error={"code": "INVALID_ARGUMENT", "message": message})
    with pytest.raises(InvalidSpecError) as caught:
        accounts.share(ID, ANA)
    assert "no account with this person's address" in caught.value.user_message
    assert "Cloud Identity" in caught.value.user_message
    assert "@" not in caught.value.detail + caught.value.user_message
    assert policy(bench) == []


def test_a_refusal_to_share_with_nobody_is_not_about_the_person(bench, accounts):
    accounts.create(ID, KEY)
    accounts.share(ID, ANA)
    text = "The role roles/x does not exist."
    bench.fault(call="iam.serviceAccounts.setIamPolicy", error={"code": "INVALID_ARGUMENT", "message": text})
    with pytest.raises(InvalidSpecError, match="The role"):
        accounts.share(ID, None)
    assert policy(bench) == [binding(OWNER)]


def test_a_policy_of_the_organization_about_members_is_named_as_that(bench, accounts):
    accounts.create(ID, KEY)
    text = f"One or more users named in the policy ({ANA}) do not belong to a permitted customer."
    bench.fault(call="iam.serviceAccounts.setIamPolicy", error={"code": "FAILED_PRECONDITION", "message": text})
    with pytest.raises(SetUpError) as caught:
        accounts.share(ID, ANA)
    assert caught.value.reason is Reason.ORGANIZATION_POLICY
    assert "@" not in caught.value.detail + caught.value.user_message


# --- off, on, gone ---


def test_an_account_is_switched_off_and_on_any_number_of_times(accounts):
    accounts.create(ID, KEY)
    for _ in range(2):
        accounts.disable(ID)
    assert accounts.get(ID, KEY).disabled
    for _ in range(2):
        accounts.enable(ID)
    assert not accounts.get(ID, KEY).disabled


def test_what_is_gone_is_disabled_unshared_and_deleted(accounts):
    accounts.disable(ID)
    accounts.share(ID, None)
    accounts.delete(ID)
    accounts.create(ID, KEY)
    for _ in range(2):
        accounts.delete(ID)
    assert isinstance(accounts.get(ID, KEY), Absent)


def test_an_account_that_is_made_again_has_nothing_of_the_old_one(bench, accounts):
    accounts.create(ID, KEY)
    accounts.share(ID, ANA)
    accounts.disable(ID)
    accounts.delete(ID)
    accounts.create(ID, KEY)
    assert accounts.get(ID, KEY) == AccountSeen(is_ours=True, disabled=False, shared_with={})


def test_each_call_needs_exactly_these_permissions(bench, accounts):
    accounts.create(ID, KEY)
    accounts.get(ID, KEY)
    accounts.share(ID, ANA)
    accounts.disable(ID)
    accounts.enable(ID)
    accounts.delete(ID)
    assert {call["permission"] for call in bench.calls()} == {
        f"iam.serviceAccounts.{verb}"
        for verb in ("create", "get", "getIamPolicy", "setIamPolicy", "disable", "enable", "delete")
    }
