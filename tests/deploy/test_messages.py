"""Messages to users, deployed by the real gcloud over a secret of somebody else's. Switched on and off: test_personal.py."""

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
