"""The README's commands, run as they stand there, against the system that its first command starts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.local_run import ROOT, clean_environment, running_local, until

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
# The two commands that start everything: this test is inside the second, and running_local is the first.
ELSEWHERE = {"./deploy.sh local\n", "./tests/run.sh\n"}

pytestmark = pytest.mark.e2e


def test_the_two_commands_are_there():
    assert set(BLOCKS) >= ELSEWHERE
    assert len(BLOCKS) >= 7


@pytest.mark.waits("for the clock of a whole system")
@pytest.mark.timeout(240)
def test_every_example_works_as_it_stands(tmp_path):
    with running_local("--speed", "600") as local:
        until(lambda: local.said("Try it in another terminal"), seconds=120, what="the examples to be ready")
        for block in BLOCKS:
            if block in ELSEWHERE or ("gcloud" in block and shutil.which("gcloud") is None):
                continue
            script = block.replace("http://127.0.0.1:8900", f"http://127.0.0.1:{local.port}")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=ROOT,
                env=clean_environment(
                    BENCHKEEPER_API_ENDPOINT=f"http://127.0.0.1:{local.port}", CLOUDSDK_CONFIG=str(tmp_path / "gcloud")
                ),
                capture_output=True,
                text=True,
                timeout=280,
                check=False,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        listed = local.benchkeeper("list", "--output", "json").stdout
        assert "dana.cruz@example.com" in listed
        assert "eli.novak@example.com" in listed


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_no_link_points_nowhere(path: Path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
