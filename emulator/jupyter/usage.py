"""The CPU time that a JupyterLab and everything below it has used, from /proc: kernels, terminals, and what cells left behind.

Without /proc (macOS), nothing is measured.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
# The fields of /proc/PID/stat after the command's name: ppid, and utime, stime, cutime, cstime (proc(5)).
_PARENT, _TIMES = 1, slice(11, 15)


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    seconds: float


def snapshot() -> dict[int, _Process]:
    """Return all processes by id, with their parent and the CPU seconds of themselves and of their ended children."""
    found: dict[int, _Process] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # a process may end in between
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            found[int(folder.name)] = _Process(int(fields[_PARENT]), sum(map(int, fields[_TIMES])) / _TICKS)
    return found


def cpu_seconds(processes: dict[int, _Process], root: int) -> float:
    """Return the CPU seconds of a process and of all below it."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            total += processes[pid].seconds
        waiting += children.get(pid, [])
    return total
