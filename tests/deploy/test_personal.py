"""What comes with a profile and with settings, as gcloud sets it up, and does not go by itself: personal accounts, messages to users."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_messages import MESSAGES, SECRET
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
    """So do messages to users with their settings, in the same deployments: off by default, switched on, and switched off again."""
    with acme(tmp_path) as project:
        profiles, settings = project.config / "profiles.yaml", project.config / "settings.prod.yaml"
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
        nothing_sends(state)
        assert state["secrets"] == {}

        quiet = settings.read_text(encoding="utf-8")
        project.settings(MESSAGES)
        sending = project.gcp()
        state = project.admin.state()
        assert senders(state) == ["benchkeeper-notify"]
        reader = f"serviceAccount:{account('notify')}"
        assert state["secrets"][SECRET] == {
            "versions": 0, "iam": [{"role": "roles/secretmanager.secretAccessor", "members": [reader]}],
        }  # fmt: skip
        assert "content of secret mail-password" in sending.lines("!")
        project.admin.embedded.secrets.add(SECRET, {"payload": {"data": "c2VjcmV0"}})
        again = project.gcp()
        assert again.writes == []
        assert "content of secret mail-password" not in again.lines("!")

        profiles.write_text(without, encoding="utf-8")
        settings.write_text(quiet, encoding="utf-8")
        less = project.gcp()  # the functions get the settings; nothing is taken away without `destroy`
        assert [write for write in less.writes if "DELETE" in write or "notify" in write] == []
        assert {line for line in less.lines("!") if line.startswith("access")} == {
            "access lifecycle: benchkeeper_accounts on project", "access tick: benchkeeper_accounts on project",
            "access hub: benchkeeper_accounts_look on project", "access tick: benchkeeper_reports on project",
            "access notify: benchkeeper_mails on bucket/records", "access notify: pubsub.publisher on topic/workbench-dead-letter",
        }  # fmt: skip
        assert held(project.admin.state()) >= ACCOUNTS | DATA

        profiles.write_text(without + SCIENTIST, encoding="utf-8")
        project.destroy()
        left = project.admin.state()
        assert not held(left) & (ACCOUNTS | LOOKS | DATA)
        assert left["roles"][OURS]["deleted"]
        nothing_sends(left)
        assert left["secrets"] == {}, "made by a deployment, also with a password in it"


def senders(state: dict[str, Any]) -> list[str]:
    return [name.rpartition("/")[2] for name in state["functions"] if "notify" in name]


def nothing_sends(state: dict[str, Any]) -> None:
    assert senders(state) == []
    assert f"projects/{PROJECT}/topics/workbench-notifications" not in state["topics"]
