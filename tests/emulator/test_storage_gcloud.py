"""The real gcloud against the embedded Cloud Storage."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

GCLOUD = shutil.which("gcloud")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.gcloud,
    pytest.mark.slow,
]


@pytest.fixture
def gcloud(storage_cloud, tmp_path):
    settings = {
        "CLOUDSDK_CONFIG": str(tmp_path / "config"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "benchkeeper-local",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{storage_cloud.url}/storage/v1/",
        "HOME": str(tmp_path),
    }
    env = {
        "PATH": os.defpath,
        **{
            k: v
            for k, v in os.environ.items()  # noqa: TID251 - what a program needs to start at all
            if k in {"PATH", "SYSTEMROOT", "TEMP"}
        },
        **settings,
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            [GCLOUD, "storage", *words], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_up_list_down_and_away(gcloud, storage_cloud, bucket, tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "one.txt").write_text("one\n")
    big = os.urandom(9 << 20)  # above 8 MiB gcloud uploads resumably
    (tmp_path / "tree" / "sub" / "big").write_bytes(big)

    gcloud("cp", "-r", str(tmp_path / "tree"), f"gs://{bucket.name}/up")
    assert bucket.blob("up/sub/big").download_as_bytes() == big
    methods = [row["method"] for row in storage_cloud.world.journal.listing(mutating_only=False)]
    assert "objects.insert.start" in methods

    listed = gcloud("ls", "-r", f"gs://{bucket.name}/up/**").split()
    assert listed == [f"gs://{bucket.name}/up/one.txt", f"gs://{bucket.name}/up/sub/big"]
    assert gcloud("cat", f"gs://{bucket.name}/up/one.txt") == "one\n"
    gcloud("cp", f"gs://{bucket.name}/up/sub/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == big
    gcloud("rm", "-r", f"gs://{bucket.name}")
    assert storage_cloud.model.buckets.by_name == {}
