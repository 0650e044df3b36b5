"""The folder of `--data`: it must be writable, and no other run may use it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.local.errors import LocalError

_LOCK = ".lock"
_WAY_OUT = "Name a folder that you may write to, or leave --data out for a fresh temporary one."


@contextmanager
def data_folder(asked: Path | None) -> Iterator[Path]:
    """Yield the folder, created if it is missing, and lock it against a second run.

    Without `asked`, yield a new temporary folder that is removed at the end. Raises `LocalError` with the cause and a remedy.
    """
    if asked is None:
        with tempfile.TemporaryDirectory(prefix="benchkeeper-", ignore_cleanup_errors=True) as fresh:
            yield Path(fresh)
        return
    import fcntl  # noqa: PLC0415 - the command line is imported where there is none

    folder = asked.resolve()
    if folder.exists() and not folder.is_dir():
        raise LocalError(f"--data {asked} is a file. {_WAY_OUT}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"--data {asked} cannot be made: {error.strerror}. {_WAY_OUT}") from error
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise LocalError(f"--data {asked} cannot be written: {error.strerror}. {_WAY_OUT}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system releases the lock, however the process ends
        except OSError as error:
            raise LocalError(
                f"--data {asked} is in use by another run. End that one with Ctrl-C, or name another folder."
            ) from error
        yield folder
