"""The manager of the JupyterLabs: one for each running environment. It polls, because states follow from the virtual clock without events.

The CPU time of a JupyterLab and everything below it is read from /proc: kernels, terminals, and processes that cells
left behind. Without /proc (macOS), CPU use counts as zero. A machine with a reporter script gets the text that
config/vm/reporter.py would write, made from the state of the local JupyterLab. The script itself does not run, because
the `/proc` of this machine covers all users' processes. Ages are in real seconds.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.clock import parse_rfc3339, real_now, rfc3339, wall_now
from emulator.errors import ApiError
from emulator.jupyter.folders import Folders, held
from emulator.jupyter.lab import Lab, Site
from emulator.jupyter.places import Place, look
from emulator.model.machine_types import vcpus_of
from emulator.model.notebooks_fleet import Observed

if TYPE_CHECKING:
    from emulator.model.notebooks_activity import Kernels
    from emulator.model.notebooks_fresh import Instance
    from emulator.services import Services


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
    """Return the CPU seconds of a process and of all its descendants."""
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


ATTRIBUTE = "benchkeeper/activity"
EVERY = timedelta(minutes=2)  # as the script's timer
_SCRIPT = "post-startup-script"
_GB = 1024**2  # of the kB in /proc/meminfo


def reports(instance: Instance) -> bool:
    """Return True if the machine has a startup script, which is taken for the reporter."""
    return bool(instance.metadata().get(_SCRIPT))


def report_of(lab: Lab, *, folder: Path, cores: float | None, since: datetime, now: datetime) -> str:
    """Return the report as JSON. `since` is the start of the machine, `now` the virtual time. Unknown fields are left out."""
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
    """Return the used share of the folder's disk in percent, computed as by df; None if the disk cannot be read."""
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return None
    room = disk.used + disk.free
    return None if room <= 0 else -(-100 * disk.used // room)


_log = logging.getLogger(__name__)
_LEAST_S = 0.05  # of real time between two measurements
_LONGEST_SOCKET = 90  # the system's limit is 104 to 108 bytes


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `python -m emulator --jupyter`. `folder` gets the disks, `log_folder` the servers' output."""

    python: Path
    folder: Path
    log_folder: Path
    most: int = 20
    every_real_s: float = 0.5  # the interval of polls


@dataclass(slots=True)
class _Held:
    """A JupyterLab with its last measurement: its real time, its virtual time, and the CPU seconds used until then.

    `reported` is the time of the last report. `responses` counts the responses by code since the last measurement.
    """

    place: Place
    lab: Lab
    at_real: float = 0.0
    at: datetime | None = None
    cpu: float = 0.0
    reported: datetime | None = None
    responses: dict[str, int] = field(default_factory=dict)


class Labs:
    """The manager of all JupyterLabs, with a polling thread. At most `most` JupyterLabs run, because each takes about 75 MiB."""

    def __init__(self, services: Services, options: Options) -> None:
        self._services = services
        self._options = options
        self._folders = Folders(options.folder)
        self._lock = threading.Lock()
        self._turned = threading.Condition(self._lock)
        self._places: dict[str, Place] = {}
        self._held: dict[str, _Held] = {}
        self._leaving: dict[str, threading.Thread] = {}  # by folder: an ending JupyterLab still writes there
        self._private: Path | None = None
        self._serial = 0
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to poll, in a thread."""
        self._private = _private_folder()
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="labs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop all JupyterLabs in parallel. Safe to call twice."""
        self._ending.set()
        with self._lock:
            self._turned.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._lock:
            for host in list(self._held):
                self._let_go(host)
            leaving = list(self._leaving.values())
        for thread in leaving:
            thread.join()
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)
            self._private = None

    def place(self, host: str) -> Place | None:
        """Return the environment of this host as of the last poll; None if no environment has the host."""
        with self._lock:
            return self._places.get(host)

    def lab(self, host: str, *, wait_s: float = 0) -> Lab | None:
        """Return the host's JupyterLab if it answers, else None. If it is starting, wait for it up to `wait_s`."""
        until = real_now() + wait_s
        with self._lock:
            while True:
                found, place = self._held.get(host), self._places.get(host)
                if found is not None and found.lab.state == "running":
                    return found.lab
                left = until - real_now()
                if left <= 0 or place is None or not (found is not None or place.coming) or self._ending.is_set():
                    return None
                self._turned.wait(left)

    @property
    def is_full(self) -> bool:
        """Return True if no further JupyterLab will be started."""
        with self._lock:
            return len(self._held) >= self._options.most

    def holds(self, host: str) -> bool:
        """Return True if the host has a JupyterLab, or one is being started."""
        with self._lock:
            return host in self._held

    def listing(self) -> list[dict[str, Any]]:
        """Return the host, state, pid and number of starts of every JupyterLab, without the tokens."""
        with self._lock:
            return [
                {"host": host, "state": each.lab.state, "pid": each.lab.pid, "starts": each.lab.starts}
                for host, each in sorted(self._held.items())
            ]

    def count(self, host: str, status: int) -> None:
        """Count a response to the owner, as the agent of Google's proxy does."""
        with self._lock:
            found = self._held.get(host)
            if found is not None:
                found.responses[str(status)] = found.responses.get(str(status), 0) + 1

    def measure(self) -> None:
        """Report each notebook's use since the last measurement to Monitoring: CPU, responses, kernels."""
        processes = snapshot()
        with self._lock:
            running = [each for each in self._held.values() if each.lab.state == "running" and each.place.instance]
        for each in running:
            pid, kernels = each.lab.pid, each.lab.kernels()
            if pid is not None:
                self._measure(each, cpu_seconds(processes, pid), kernels)

    def _measure(self, each: _Held, cpu: float, kernels: Kernels | None) -> None:
        now, real = self._services.world.clock.now(), real_now()
        since, cores = each.at, max(0.0, cpu - each.cpu) / max(real - each.at_real, _LEAST_S)
        each.at, each.at_real, each.cpu = now, real, cpu
        with self._lock:
            responses, each.responses = each.responses, {}
        if since is None:
            return
        with self._services.world.lock:
            instance = self._services.notebooks.fleet.instances.get(each.place.instance)
            if instance is None or instance.active_since is None:
                return
            share = cores / vcpus_of(instance.body["gceSetup"]["machineType"])
            observed = Observed(since, min(1.0, share), responses, kernels)
            self._services.notebooks.fleet.observe(instance, observed, until=now)
            active_since, is_due = instance.active_since, each.reported is None or now - each.reported >= EVERY
        if is_due and reports(instance):
            self._report(each, cores, active_since, now)

    def _report(self, each: _Held, cores: float, since: datetime, now: datetime) -> None:
        """Write the guest attribute that the machine's reporter would write."""
        each.reported = now
        folder = self._folders.path(each.place.folder or "")
        said = report_of(each.lab, folder=folder, cores=cores, since=since, now=now)
        _, project, _, zone, _, name = each.place.instance.split("/")
        with self._services.world.lock, suppress(ApiError):  # the machine may have stopped meanwhile
            self._services.guest_attributes.write(project, zone, name, ATTRIBUTE, said)
            self._services.world.touch()

    def _run(self) -> None:
        while not self._ending.wait(self._options.every_real_s):
            try:
                self.turn()
                self.measure()
            except OSError:  # a full disk, or no process left: the next poll tries again
                _log.exception("JupyterLabs could not be started or stopped")

    def turn(self) -> None:
        """Poll once: create and remove folders, and start and stop processes, as the models require."""
        with self._services.world.lock:
            places, now = look(self._services), self._services.world.clock.now()
            disks = held(self._services.notebooks.fleet.disks, now)
        with self._lock:
            self._places = places
            self._leaving = {folder: thread for folder, thread in self._leaving.items() if thread.is_alive()}
            for host, each in list(self._held.items()):
                if not _same(each.place, places.get(host)):
                    self._let_go(host)
            in_use = {*self._leaving}
        clusters = {each.folder for each in places.values() if each.folder is not None}
        self._folders.follow(disks, clusters, in_use=in_use)
        with self._lock:
            for place in places.values():
                self._take_on(place)
            labs = [each.lab for each in self._held.values()]
        for lab in labs:
            lab.step()
        with self._lock:
            self._turned.notify_all()

    def _take_on(self, place: Place) -> None:
        folder = place.folder
        if not place.runs or folder is None or place.host in self._held or folder in self._leaving:
            return
        if len(self._held) >= self._options.most or self._private is None or self._ending.is_set():
            return
        disk = self._folders.path(folder)
        disk.mkdir(parents=True, exist_ok=True)
        self._serial += 1
        log = self._options.log_folder / f"jupyter-{place.host.partition('.')[0]}.log"
        site = Site(self._options.python, disk, self._private / str(self._serial), log, place.base)
        self._held[place.host] = _Held(place, Lab(site))

    def _let_go(self, host: str) -> None:
        """Stop a JupyterLab in a thread of its own, because it takes a second or two."""
        gone = self._held.pop(host)
        thread = threading.Thread(target=gone.lab.stop, name="lab-ends", daemon=True)
        self._leaving[str(gone.place.folder)] = thread
        thread.start()


def _same(before: Place, now: Place | None) -> bool:
    """Return True if both places are the same machine with the same disk, without a stop in between."""
    return now is not None and now.runs and (now.folder, now.life) == (before.folder, before.life)


def _private_folder() -> Path:
    """Return a folder for sockets that only the user can open, with a name short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="benchkeeper-"))
    if len(str(made)) < _LONGEST_SOCKET:
        return made
    made.rmdir()
    return Path(tempfile.mkdtemp(prefix="benchkeeper-", dir="/tmp"))
