"""Where the Google Cloud SDK is installed, and running its `gcloud` in an environment that knows nothing but the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GCLOUD = shutil.which("gcloud")
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Gcloud:
    """The real gcloud with the environment that `AdminCloud.environment` gave."""

    environment: dict[str, str]
    folder: Path

    def run(self, *words: str, stdin: str | None = None) -> Done:
        """Run one command to its end, whatever that is."""
        done = subprocess.run(
            [shutil.which("gcloud", path=self.environment["PATH"]) or "gcloud", *words],
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def __call__(self, *words: str) -> str:
        """What a command printed; an assertion with all it said when it failed."""
        done = self.run(*words)
        assert done.code == 0, f"gcloud {' '.join(words)}\n{done.out}{done.err}"
        return done.out

    def json(self, *words: str) -> Any:
        """What a command printed as JSON."""
        return json.loads(self(*words, "--format=json"))

    def refused(self, *words: str) -> str:
        """What a command that must fail said."""
        done = self.run(*words)
        assert done.code != 0, f"gcloud {' '.join(words)} was to fail\n{done.out}{done.err}"
        return done.err


def plain_environment(**more: str) -> dict[str, str]:
    """What a program needs to start at all, and `more`; nothing of the person's own gcloud settings."""
    kept = {"PATH", "LANG", "SYSTEMROOT", "TEMP", "TMPDIR", "PYTHONDONTWRITEBYTECODE"}
    return {
        "PATH": os.defpath,
        **{k: v for k, v in os.environ.items() if k in kept},  # noqa: TID251 - a child inherits ours
        **more,
    }
