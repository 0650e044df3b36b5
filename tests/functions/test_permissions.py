"""Least privilege, derived: every function's whole repertoire over the embedded cloud, against what config/deploy/roles.yaml grants.

Three times: where the profiles give each person a service account (`when: personal_accounts`), where none does, and where the
bill is read (`when: billing_export`).
"""

from __future__ import annotations

import copy
import functools
import re
from string import Template
from typing import Any

import pytest
import yaml
from kit.inprocess import ROOT

from tests.functions.conftest import HUB
from tests.functions.repertoire import BILLED, MAILED, PERSONAL, PLAIN, all_worlds
from tests.functions.watched import Needs, Watched

# What predefined roles hold, by their pages under cloud.google.com/iam/docs/roles-permissions. BigQuery's own list of a dataset's
# readers knows no narrower word than the second: it shows the names and columns of what is in the dataset, too, and that is the
# one view whose rows are read.
PREDEFINED = {
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/bigquery.dataViewer": {"bigquery.tables.getData"},
    "roles/secretmanager.secretAccessor": {"secretmanager.versions.access"},
}
ACCOUNTS = {"lifecycle": "lifecycle", "tick": "tick", "dead_letter": "dead-letter", "notify": "notify", HUB: "hub"}
NAMES = {
    "project": "benchkeeper-local",
    "region": "europe-west1",
    "bucket": "benchkeeper-local",
    "topic_lifecycle": "workbench-lifecycle",
    "topic_directory": "workbench-directory",
    "topic_operator": "workbench-operator",
    "topic_wake": "workbench-wake",
    "topic_tick": "workbench-tick",
    "topic_dead_letter": "workbench-dead-letter",
    "topic_notifications": "workbench-notifications",
}
HOLDS: dict[str, set[str]] = {
    PERSONAL: {"personal_accounts"},
    PLAIN: set(),
    BILLED: {"billing_export"},
    MAILED: {"messages"},
}

# setting -> function -> what it needs
Derived = dict[str, dict[str, Needs]]


def roles_file() -> dict[str, Any]:
    """What the file says, anew for each who asks: some change it."""
    return copy.deepcopy(_parsed())


@functools.cache
def _parsed() -> dict[str, Any]:
    text = (ROOT / "config" / "deploy" / "roles.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(Template(text).substitute(NAMES))


def grants_to(raw: dict[str, Any], account: str, setting: str) -> list[dict[str, str]]:
    """The grants that are made to an account in this setting."""
    return [
        grant
        for grant in raw["grants"]
        if grant["to"] == f"account/{account}" and {grant.get("when")} - {None} <= HOLDS[setting]
    ]


def granted(raw: dict[str, Any], account: str, setting: str) -> set[tuple[str, str]]:
    """(permission, on what) of everything that the account is given."""
    found = set()
    for grant in grants_to(raw, account, setting):
        kind, _, name = grant["role"].partition("/")
        held = raw["roles"][name]["permissions"] if kind == "custom" else PREDEFINED[grant["role"]]
        found |= {(permission, grant["on"]) for permission in held}
    return found


def differences(raw: dict[str, Any], derived: Derived) -> list[str]:
    """What is granted and not needed, or needed and not granted, with the calls; empty when it is exact."""
    faults = []
    for setting, (target, account) in ((s, pair) for s in HOLDS for pair in ACCOUNTS.items()):
        have, needed = granted(raw, account, setting), derived[setting][target]
        faults += [
            f"{account} {setting}: {permission} on {where} is granted and no call needs it"
            for permission, where in sorted(have - set(needed))
        ]
        faults += [
            f"{account} {setting}: {permission} on {where} is missing for {', '.join(sorted(needed[permission, where]))}"
            for permission, where in sorted(set(needed) - have)
        ]
    return faults


@pytest.fixture(scope="module")
def worlds(clients) -> dict[str, Watched]:
    return all_worlds(clients)


@pytest.fixture(scope="module")
def derived(worlds) -> Derived:
    return {setting: world.needed for setting, world in worlds.items()}


def test_each_function_may_do_exactly_what_its_calls_need(derived):
    assert differences(roles_file(), derived) == []


WORKBENCH = {
    "CreateInstance",
    "DeleteInstance",
    "ResetInstance",  # ResizeDisk is missing: it needs the right of UpdateInstance, and a profile with a larger disk
    "StartInstance",
    "StopInstance",
    "GetInstance",
    "GetOperation",
    "ListOperations",
    "ListInstances",
    "RestoreInstance",
    "UpdateInstance",
}


@pytest.mark.parametrize("setting", HOLDS)
def test_the_repertoire_reaches_every_call_of_the_notebooks_that_the_product_has(derived, setting):
    expected = {f"notebooks.{call}" for call in WORKBENCH}
    for target in ("lifecycle", "tick"):
        calls = {call for found in derived[setting][target].values() for call in found}
        assert {call for call in calls if call.startswith("notebooks.")} == expected


CLUSTERS = {"CreateCluster", "DeleteCluster", "GetCluster", "ListClusters", "GetOperation"}
LEAVERS = {"ListSessions", "TerminateSession", "GetSession"}
SESSIONS = {f"{verb}SessionTemplate{'s' * (verb == 'List')}" for verb in ("Create", "Delete", "Get", "List", "Update")}


@pytest.mark.parametrize("setting", HOLDS)
def test_the_repertoire_reaches_every_call_of_dataproc_that_the_product_has(derived, setting):
    expected = {
        "lifecycle": CLUSTERS | LEAVERS,
        "tick": CLUSTERS | LEAVERS | SESSIONS | {"ListJobs"},
        "dead_letter": set(),
        HUB: {"ListClusters", "GetOperation", "ListSessions"},
    }
    for target, calls in expected.items():
        found = {call for calls in derived[setting][target].values() for call in calls}
        assert {call for call in found if call.startswith("dataproc.")} == {f"dataproc.{call}" for call in calls}


@pytest.mark.parametrize("target", ["lifecycle", "tick"])
def test_a_cluster_runs_as_its_owners_account_or_as_the_one_for_all(derived, target):
    act_as, create = "iam.serviceAccounts.actAs", "dataproc.CreateCluster"
    for setting, needed in derived.items():
        assert create in needed[target][act_as, "cluster-accounts"]
        assert (create in needed[target].get((act_as, "project"), set())) == (setting == PERSONAL)


def test_groups_are_touched_only_for_people_with_an_account(worlds):
    for target in ("lifecycle", "tick"):
        assert {"memberships.create", "memberships.delete"} <= worlds[PERSONAL].of_groups[target]
        assert not {"memberships.create", "memberships.delete"} & worlds[PLAIN].of_groups[target]
    assert worlds[PERSONAL].of_groups["dead_letter"] == set()


@pytest.mark.parametrize("setting", [PERSONAL, PLAIN])
def test_whoever_takes_up_a_wish_asks_the_directory_who_is_an_administrator(worlds, setting):
    """No role of IAM lets it: docs/operations.md, Who is an administrator."""
    for target in ("lifecycle", "tick"):
        assert {call.rpartition(".")[2] for call in worlds[setting].of_groups[target]} >= {"lookup"}


@pytest.mark.parametrize("setting", HOLDS)
def test_the_page_only_looks_but_for_its_wishes_and_who_is_woken(derived, worlds, setting):
    written = {("storage.objects.create", "bucket/inbox"), ("pubsub.topics.publish", "topic/workbench-wake")}
    assert written <= set(derived[setting][HUB])
    elsewhere = {permission for permission, where in set(derived[setting][HUB]) - written}
    assert elsewhere
    assert {permission.rpartition(".")[2] for permission in elsewhere} <= {"get", "list", "getIamPolicy"}
    # Who is an administrator it asks Google's directory, which no role of IAM lets it.
    assert {call.rpartition(".")[2] for call in worlds[setting].of_groups[HUB]} == {"lookup"}


def permissions_of_roles() -> list[tuple[str, str]]:
    raw = roles_file()
    return [(name, permission) for name, role in raw["roles"].items() for permission in role["permissions"]]


@pytest.mark.parametrize(("role", "permission"), permissions_of_roles())
def test_a_permission_that_is_taken_away_is_missed_by_name(derived, role, permission):
    raw = roles_file()
    raw["roles"][role]["permissions"].remove(permission)
    held = [
        (account, setting)
        for account in ACCOUNTS.values()
        for setting in HOLDS
        for grant in grants_to(raw, account, setting)
        if grant["role"] == f"custom/{role}"
    ]
    new = set(differences(raw, derived)) - set(differences(roles_file(), derived))
    assert len(new) == len(held) > 0
    assert all(f"{permission} on " in fault and " is missing for " in fault for fault in new)


@pytest.mark.parametrize(
    "permission", ["storage.objects.setIamPolicy", "compute.instances.get", "notebooks.instances.upgrade"]
)
@pytest.mark.parametrize("role", sorted(roles_file()["roles"]))
def test_a_permission_too_many_is_found_by_name(derived, role, permission):
    raw = roles_file()
    raw["roles"][role]["permissions"].append(permission)
    assert any(f"{permission} on " in fault and "no call needs it" in fault for fault in differences(raw, derived))


def test_a_grant_on_more_than_is_used_is_found(derived):
    raw = roles_file()
    wide = next(grant for grant in raw["grants"] if grant["on"] == "bucket/records")
    wide["on"] = "project"
    faults = differences(raw, derived)
    assert any("storage.objects.create on project is granted and no call needs it" in fault for fault in faults)
    assert any(
        "storage.objects.create on bucket/records is missing for storage.objects.insert" in fault for fault in faults
    )


def test_a_grant_that_is_left_out_is_missed(derived):
    raw = roles_file()
    for index, grant in enumerate(raw["grants"]):
        if grant["to"].partition("/")[2] in ACCOUNTS.values():
            less = {**raw, "grants": [g for i, g in enumerate(raw["grants"]) if i != index]}
            assert any("is missing for" in fault for fault in differences(less, derived)), grant


def test_a_grant_without_its_condition_is_found(derived):
    raw = roles_file()
    for index, grant in enumerate(raw["grants"]):
        if "when" not in grant:
            continue
        wide = {**raw, "grants": copy.deepcopy(raw["grants"])}
        condition = wide["grants"][index].pop("when")
        faults = differences(wide, derived)
        assert all(fault.endswith("is granted and no call needs it") for fault in faults)
        where = {setting for setting in HOLDS if any(f" {setting}: " in fault for fault in faults)}
        assert where == {setting for setting in HOLDS if condition not in HOLDS[setting]}


def test_the_file_is_whole_and_has_nothing_that_is_not_used():
    raw = roles_file()
    assert set(raw) == {"roles", "grants", "withdrawn"}
    for name, role in raw["roles"].items():
        assert re.fullmatch(r"[A-Za-z0-9_.]{3,64}", name)
        assert set(role) == {"title", "description", "permissions"}
        assert len(role["title"]) <= 100
        assert len(role["description"]) <= 256  # IAM's limit
        assert role["permissions"] == sorted(set(role["permissions"]))
        assert all(re.fullmatch(r"[a-z]+\.[A-Za-z]+\.[A-Za-z]+", permission) for permission in role["permissions"])
    used = {grant["role"] for grant in raw["grants"] if grant["role"].startswith("custom/")}
    assert used == {f"custom/{name}" for name in raw["roles"]}
    assert all(set(grant) - {"when", "prefix", "all_but"} == {"to", "role", "on"} for grant in raw["grants"])
    assert {grant["when"] for grant in raw["grants"] if "when" in grant} == set().union(*HOLDS.values())
    assert len({tuple(sorted(grant.items())) for grant in raw["grants"]}) == len(raw["grants"])
