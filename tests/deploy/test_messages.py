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
