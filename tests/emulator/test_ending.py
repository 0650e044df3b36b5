"""How the embedded cloud's own process ends: by a signal, or with its input."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120  # only a failure uses it up


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, None], ids=["SIGINT", "SIGTERM", "its input"])
def test_it_ends_cleanly_and_leaves_nothing_behind(by, tmp_path):
    command = [sys.executable, "-m", "emulator", "--port", "0", "--data", str(tmp_path), "--until-stdin-closes"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "listens on" in process.stdout.readline()
        assert process.stdin is not None
        if by is None:
            process.stdin.close()
        else:
            process.send_signal(by)
        assert process.stderr is not None
        said = process.stderr.read()  # until it has ended; its input is still open after a signal
        process.wait(timeout=PATIENCE_S)
    assert (process.returncode, said) == (0, "")
