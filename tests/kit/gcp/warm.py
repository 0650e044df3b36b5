"""The real gcloud without its start: a `gcloud` for the PATH whose commands run in forks of a process that has it imported.

A command of gcloud takes 0.9 s here, 0.75 s of it imports; a fork 0.04 s of processor time, as it finds its command's parser made. What
runs is the same `gcloud_main`, with the caller's arguments, environment, folder and standard files. One server a test process, started when it is first wanted, ended with it.
"""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from emulator.admin.catalog import sdk_root
from tests.kit.gcp import sdk

_HERE = Path(__file__).parent
_OFF = "BENCHKEEPER_COLD_GCLOUD"
_PATIENCE_S = 10


def warm_path() -> str | None:
    """The folder to put first on the PATH; None when it is switched off or the SDK has no Python of its own."""
    if os.environ.get(_OFF):  # noqa: TID251 - a switch for whoever runs the tests
        return None
    return _start()


@functools.cache
def _start() -> str | None:
    python = sdk_root() / "platform/bundledpythonunix/bin/python3"
    if not python.is_file():
        return None
    folder = Path(tempfile.mkdtemp(prefix="gcloud-"))
    listens, lib = folder / "socket", sdk_root() / "lib"
    process = subprocess.Popen(
        [str(python), str(_HERE / "warm_server.py"), str(lib), str(listens)],
        env=sdk.plain_environment(
            CLOUDSDK_CONFIG=str(folder / "config"),
            CLOUDSDK_CORE_DISABLE_FILE_LOGGING="true",
            CLOUDSDK_PYTHON_SITEPACKAGES="1",
            HOME=str(folder),
        ),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_end, process, folder)
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        return None
    client = shlex.join([str(python), "-S", "-E", "-s", str(_HERE / "warm_client.py"), str(listens)])
    program = folder / "bin/gcloud"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
    program.chmod(0o755)
    return str(program.parent)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
