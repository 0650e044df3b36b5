"""The launcher of JupyterLab in this interpreter, which leaves no process behind.

The Python of the Jupyter environment starts this file by its path.

The pipe of `argv[1]` breaks when the embedded cloud is gone, even by SIGKILL. Then all processes that were started here are
ended. Kernels and terminals are process groups of their own, and background processes of a cell have no other owner.
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
    """Become the parent of descendants whose own parent ends (on Linux), so that they can be ended later."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """Send SIGKILL to all processes below this one until there are none, in at most twenty rounds.

    One round is not enough, because a process may start another between a check and a kill.
    """
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
    """Run JupyterLab until the process is told to end."""
    adopt_orphans()
    threading.Thread(target=_watch, args=(int(sys.argv.pop(1)),), daemon=True).start()
    try:
        importlib.import_module("jupyterlab.labapp").main()
    finally:
        end_descendants()


if __name__ == "__main__":
    main()
