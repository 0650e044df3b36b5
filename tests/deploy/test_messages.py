"""Messages to users, deployed by the real gcloud: off by default, switched on, and switched off again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.acme import BUCKET, PROJECT, REGION, account, acme

SETTINGS = f"""\
project: {PROJECT}
zones: [{REGION}-b]
bucket: {BUCKET}
people: {{domains: [acme-analytics.com]}}
"""
MESSAGES = """\
messages:
  from: notebooks@acme-analytics.com
  page: https://notebooks.acme-analytics.com
  smtp: {host: smtp.acme-analytics.com, user: robot}
"""
SECRET = f"projects/{PROJECT}/secrets/mail-password"


@pytest.mark.slow
def test_messages_are_off_by_default_and_come_with_their_settings(tmp_path: Path) -> None:
    with acme(tmp_path) as project:
        settings = project.config / "settings.prod.yaml"
        settings.write_text(SETTINGS)
        project.gcp()
        state = project.admin.state()
        assert [name for name in state["functions"] if "notify" in name] == []
        assert state["secrets"] == {}
        assert f"projects/{PROJECT}/topics/workbench-notifications" not in state["topics"]

        settings.write_text(SETTINGS + MESSAGES)
        made = project.gcp()
        state = project.admin.state()
        assert [name.rpartition("/")[2] for name in state["functions"] if "notify" in name] == ["benchkeeper-notify"]
        reader = f"serviceAccount:{account('notify')}"
        assert state["secrets"][SECRET] == {
            "versions": 0, "iam": [{"role": "roles/secretmanager.secretAccessor", "members": [reader]}],
        }  # fmt: skip
        assert "content of secret mail-password" in made.lines("!")
        project.admin.embedded.secrets.add(SECRET, {"payload": {"data": "c2VjcmV0"}})
        again = project.gcp()
        assert again.writes == []
        assert "content of secret mail-password" not in again.lines("!")

        settings.write_text(SETTINGS)
        off = project.gcp()  # the functions get the settings; nothing is taken away without `destroy`
        assert [write for write in off.writes if "DELETE" in write or "notify" in write] == []
        project.destroy()
        state = project.admin.state()
        assert [name for name in state["functions"] if "notify" in name] == []
        assert f"projects/{PROJECT}/topics/workbench-notifications" not in state["topics"]
        assert state["secrets"] == {}, "made by a deployment, also with a password in it"


@pytest.mark.slow
def test_destroy_leaves_a_secret_of_somebody_else_and_takes_our_access_to_it(tmp_path: Path) -> None:
    with acme(tmp_path) as project:
        (project.config / "settings.prod.yaml").write_text(SETTINGS + MESSAGES)
        secrets = project.admin.embedded.secrets
        secrets.create(
            PROJECT, "mail-password", {"replication": {"automatic": {}}, "labels": {"managed-by": "terraform"}}
        )
        secrets.add(SECRET, {"payload": {"data": "c2VjcmV0"}})
        theirs = {"role": "roles/secretmanager.secretAccessor", "members": ["user:somebody@acme.example"]}
        project.gcp()
        held = project.admin.state()["secrets"][SECRET]["iam"]
        assert [each["members"] for each in held] == [[f"serviceAccount:{account('notify')}"]]
        policy = secrets.policy(SECRET)
        policy.bindings[0]["members"].append(theirs["members"][0])
        gone = project.destroy()
        assert "secret mail-password" in gone.lines("!")
        assert project.admin.state()["secrets"][SECRET] == {"versions": 1, "iam": [theirs]}
