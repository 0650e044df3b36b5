"""Runs JupyterLab in this interpreter and leaves nothing behind. Started by path with the Jupyter environment's own Python.

When the pipe of `argv[1]` breaks, which it does when the embedded cloud is gone, even by SIGKILL, everything that was started here is
ended: kernels and terminals are process groups of their own, and what a cell has put into the background belongs to nobody else.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import threading
from contextlib import suppress

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_ROUNDS = 20


def adopt_orphans() -> None:
    """On Linux, what loses its parent below us becomes our own child, so that it is found in the end. Elsewhere nothing."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """SIGKILL to all below this process, until there is none: one may start another between a look and a kill."""
    psutil = importlib.import_module("psutil")  # ipykernel brings it
    me = psutil.Process()
    for _ in range(_ROUNDS):
        left = [each for each in me.children(recursive=True) if each.status() != psutil.STATUS_ZOMBIE]
        if not left:
            return
        for each in left:
            with suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=0.2)


def _watch(pipe: int) -> None:
    try:
        os.read(pipe, 1)
    finally:
        try:
            end_descendants()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve until told to end."""
    adopt_orphans()
    threading.Thread(target=_watch, args=(int(sys.argv.pop(1)),), daemon=True).start()
    try:
        importlib.import_module("jupyterlab.labapp").main()
    finally:
        end_descendants()


if __name__ == "__main__":
    main()
