"""The script that makes docs/pictures/deploy.svg: the output of a deployment after manual changes in the project.

The real gcloud runs against the tests' own administrative cloud: .venv/bin/python docs/pictures/deploy.py (two minutes)
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from frame import save  # noqa: E402 - the path comes first

from tests.kit.acme import BUCKET, PROJECT, REGION, Acme, account, acme  # noqa: E402

_WIDTH = 100


def main() -> None:
    """Deploy, change the project from outside, and record the output of the next deployment."""
    with tempfile.TemporaryDirectory() as folder, acme(Path(folder)) as project:
        project.gcp()
        (project.config / "profiles.yaml").write_text(
            (project.config / "profiles.yaml").read_text().replace("@example.com", "@acme.example")
        )
        p = f"--project={PROJECT}"
        project.gcloud("storage", "buckets", "update", f"gs://{BUCKET}", "--no-versioning", p)
        project.gcloud(
            "pubsub", "subscriptions", "update", "eventarc-benchkeeper-lifecycle", "--clear-dead-letter-policy", p
        )
        project.gcloud("logging", "metrics", "delete", "benchkeeper/dead_letters", p)
        project.gcloud(
            "projects", "remove-iam-policy-binding", PROJECT, f"--member=serviceAccount:{account('tick')}",
            f"--role=projects/{PROJECT}/roles/benchkeeper_sweeps", "--condition=None",
        )  # fmt: skip
        out = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
        out.print(Text(f"$ ./deploy.sh gcp --project {PROJECT} --region {REGION}", style="bold"))
        for line in _seen(project).splitlines():
            out.print(Text.from_ansi(line), soft_wrap=True)
        target = ROOT / "docs" / "pictures" / "deploy.svg"
        save(out, target, title="./deploy.sh gcp")
        sys.stdout.write(f"wrote {target.relative_to(ROOT)}\n")


def _seen(project: Acme) -> str:
    """Return the text of the terminal after the run, without spinners."""
    ours, theirs = pty.openpty()
    words = ["gcp", "--project", PROJECT, "--region", REGION]
    child = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "cli.deploy", *words], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env=project.environment | {"COLUMNS": str(_WIDTH), "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    read, asked = b"", False
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:
            break
        read += part
        if b"[y/N]" in read and not asked:
            os.write(ours, b"y\n")
            asked = True
    child.wait()
    lines = read.decode().replace("\r\n", "\n").split("\n")
    # A spinner draws on its own line and erases it before something is written there.
    lines = [line.rsplit("\x1b[2K", 1)[-1].split("\r")[-1] for line in lines]
    spinning = {line for line in lines if any("\u2800" <= char <= "\u28ff" for char in line)}
    bare = [line for line in lines if line not in spinning]
    return "\n".join(line for line in bare if Text.from_ansi(line).plain.strip())


if __name__ == "__main__":
    main()
