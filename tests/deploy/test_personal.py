"""Personal accounts, as gcloud sets them up: rights come with the first profile that needs them and do not go by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kit.acme import PROJECT, account, acme, audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.gcloud, pytest.mark.slow]

GROUP = "scientists-data@acme.example"
ROLES = ["roles/bigquery.dataViewer", "roles/bigquery.jobUser"]
SCIENTIST = f"""
  scientist:
    title: Scientist
    machine_type: n2-standard-8
    identity: personal-service-account
    data_group: {GROUP}
    data_roles: [{", ".join(ROLES)}]
"""
OURS = f"projects/{PROJECT}/roles/benchkeeper_accounts"
ACCOUNTS = {(OURS, f"serviceAccount:{account(name)}") for name in ("lifecycle", "tick")}
LOOKS = {(f"{OURS}_look", f"serviceAccount:{account('hub')}")}
DATA = {(role, f"group:{GROUP}") for role in ROLES}
PERMISSIONS = {
    "iam.serviceAccountKeys.list",
    "iam.serviceAccounts.actAs", "iam.serviceAccounts.create", "iam.serviceAccounts.delete", "iam.serviceAccounts.disable",
    "iam.serviceAccounts.enable", "iam.serviceAccounts.get", "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.setIamPolicy",
}  # fmt: skip


def held(state: dict[str, Any]) -> set[tuple[str, str]]:
    return {(binding["role"], member) for binding in state["project_iam"] for member in binding["members"]}


def test_rights_for_personal_accounts_come_with_a_profile_and_go_with_everything(tmp_path: Path) -> None:
    with acme(tmp_path) as project:
        profiles = project.config / "profiles.yaml"
        without = profiles.read_text(encoding="utf-8")
        profiles.write_text(without + SCIENTIST, encoding="utf-8")
        made = project.gcp()
        state = project.admin.state()
        assert held(state) >= ACCOUNTS | LOOKS | DATA
        assert set(state["roles"][OURS]["includedPermissions"]) == PERMISSIONS
        look = {"iam.serviceAccountKeys.list", "iam.serviceAccounts.get", "iam.serviceAccounts.getIamPolicy"}
        assert set(state["roles"][f"{OURS}_look"]["includedPermissions"]) == look
        assert {f"data {GROUP}: {role}" for role in ROLES} <= set(made.lines("+"))
        assert len(audit(state)) == 2, "the role and what is held on the project is all that is more than without"
        assert project.gcp().writes == []

        profiles.write_text(without, encoding="utf-8")
        less = project.gcp()
        assert {line for line in less.lines("!") if line.startswith("access")} == {
            "access lifecycle: benchkeeper_accounts on project", "access tick: benchkeeper_accounts on project",
            "access hub: benchkeeper_accounts_look on project", "access tick: benchkeeper_reports on project",
        }  # fmt: skip
        assert held(project.admin.state()) >= ACCOUNTS | DATA

        profiles.write_text(without + SCIENTIST, encoding="utf-8")
        project.destroy()
        left = project.admin.state()
        assert not held(left) & (ACCOUNTS | LOOKS | DATA)
        assert left["roles"][OURS]["deleted"]
