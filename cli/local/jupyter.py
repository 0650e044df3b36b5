"""The installation of JupyterLab in an environment of its own, `.venv-jupyter`, because its dependencies differ from Benchkeeper's."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cli.local.errors import LocalError

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "emulator" / "jupyter" / "requirements.txt"


def ensure_jupyter(say: Callable[[str], None], *, folder: Path = ROOT / ".venv-jupyter") -> Path:
    """Return the path of a Python with JupyterLab. Raise `LocalError` if JupyterLab cannot be installed.

    JupyterLab is installed on first use, and again if the pins changed.
    """
    import fcntl  # noqa: PLC0415 - the command line is imported where there is none

    python, mark, unfinished = folder / "bin" / "python", folder / ".benchkeeper", folder / ".unfinished"
    stamp = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    folder.mkdir(exist_ok=True)
    with (folder / ".benchkeeper.lock").open("w") as lock:  # not `.lock`, which uv locks for itself
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run that is started meanwhile waits for the first
        if python.exists() and mark.exists() and mark.read_text() == stamp:
            return python
        say(f"Installing JupyterLab in {folder.name} (once; about a minute, 250 MB) …")
        if unfinished.exists():  # an interrupted run left an incomplete environment: it is made anew
            for each in folder.iterdir():
                if each.is_dir():
                    shutil.rmtree(each)
        unfinished.touch()
        if not python.exists():
            _run([sys.executable, "-m", "venv", str(folder)], f"{folder.name} could not be created.")
        try:
            _install(python)
        except LocalError:
            unfinished.unlink()  # pip's failed installation is complete enough for another try
            raise
        mark.write_text(stamp)
        unfinished.unlink()
    return python


def _install(python: Path) -> None:
    """Install the pinned packages with uv if uv is installed, in a fifth of pip's time, or else with pip.

    If uv fails, pip is tried, because pip may have settings that uv lacks. Raise `LocalError` if pip fails, too.
    """
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:  # noqa: S603 - fixed arguments
            return
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    _run(
        [*pip, "-r", str(REQUIREMENTS)],
        "JupyterLab could not be installed. Is the package index reachable? Without --with-jupyter it is not needed.",
    )


def _run(command: list[str], trouble: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise LocalError(f"{trouble} Its output:\n{last}")
