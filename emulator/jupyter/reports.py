"""The reports of machines with a reporter script, made from the state of the local JupyterLab.

Each is the text that config/vm/reporter.py would write.

The script itself does not run, because the `/proc` of this machine covers all users' processes. The fields are the
script's; ages are in real seconds.
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, rfc3339, wall_now

if TYPE_CHECKING:
    from emulator.jupyter.lab import Lab
    from emulator.model.notebooks_fresh import Instance

ATTRIBUTE = "benchkeeper/activity"
EVERY = timedelta(minutes=2)  # as the script's timer
_SCRIPT = "post-startup-script"
_GB = 1024**2  # of the kB in /proc/meminfo


def reports(instance: Instance) -> bool:
    """Return True if the machine has a script that runs after its start."""
    return bool(instance.metadata().get(_SCRIPT))


def report_of(lab: Lab, *, folder: Path, cores: float | None, since: datetime, now: datetime) -> str:
    """Return the report as JSON. `since` is the start of the machine, `now` its clock. Unknown fields are left out."""
    kernels, terminals = lab.listing("kernels"), lab.listing("terminals")
    busy = sum(1 for each in kernels or () if each.get("execution_state") in ("busy", "unknown"))
    parts = {
        "kernels": None if kernels is None else {"busy": busy, "idle": len(kernels) - busy, **_age(kernels)},
        "terminals": None if terminals is None else {"count": len(terminals), **_age(terminals)},
        "cores": None if cores is None else round(cores, 2),
        "killed": _counter("vmstat", "oom_kill"),
        "memory_gb": None if (kb := _counter("meminfo", "MemTotal:")) is None else round(kb / _GB, 1),
        "disk": _fill(folder),
    }
    boot = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{folder.name} {since}"))
    at = rfc3339(now.replace(microsecond=0))
    found = {"v": 1, "at": at, "boot": boot, "up": int((now - since).total_seconds()), **parts}
    return json.dumps({name: value for name, value in found.items() if value is not None}, separators=(",", ":"))


def _age(found: list[dict[str, Any]]) -> dict[str, int]:
    """Return the seconds since the latest `last_activity`, which is in real time; an empty mapping if there is none."""
    ages, now = [], datetime.fromtimestamp(wall_now(), UTC)
    for each in found:
        with suppress(KeyError, TypeError, ValueError):
            ages.append(max(0, int((now - parse_rfc3339(str(each["last_activity"]))).total_seconds())))
    return {"age": min(ages)} if ages else {}


def _counter(name: str, key: str) -> int | None:
    """Return the number behind a key of a file in /proc; None if there is no such file or key."""
    with suppress(OSError, ValueError):
        for line in (Path("/proc") / name).read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == key:
                return int(words[1])
    return None


def _fill(folder: Path) -> int | None:
    """Return the used share of the folder's disk in percent, computed as by df."""
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return None
    room = disk.used + disk.free
    return None if room <= 0 else -(-100 * disk.used // room)
