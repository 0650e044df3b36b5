"""The process of one function: start it, wait until it listens, restart it when it dies, and stop it with all its children."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from emulator.clock import real_now
from emulator.errors import ApiError
from emulator.host_launch import HEADER, KEY_LENGTH

State = Literal["starting", "running", "crashed", "stopped"]

_START_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.02
_GRACE_S = 10.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_STEADY_AFTER_S = 30.0
_KEPT_LINES = 20

# `-P` keeps the current folder off sys.path: the framework itself appends the source's folder at the end, which is the order in
# production.
_LAUNCHER = Path(__file__).with_name("host_launch.py")


@dataclass(frozen=True, slots=True)
class Launch:
    """The parameters of a start: `environment` is added to the environment of this process; `source` is an absolute folder with a main.py."""

    name: str
    source: str
    entry_point: str
    signature: str
    environment: dict[str, str]


Heard = Callable[[str, str], None]  # takes a function's name and a line of its output


class FunctionProcess:
    """A function with a process that is restarted whenever it dies. Thread-safe."""

    def __init__(self, launch: Launch, *, log_folder: Path | None, heard: Heard | None = None) -> None:
        self._launch = launch
        self._heard = heard
        self._log_folder = log_folder
        self._key = secrets.token_hex(KEY_LENGTH // 2)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._port = 0
        self._state: State = "starting"
        self._restarts = 0
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: threading.Thread | None = None
        self._keeper: threading.Thread | None = None

    @property
    def url(self) -> str | None:
        """The URL on which the process listens, None while it does not listen."""
        return f"http://127.0.0.1:{self._port}/" if self._state == "running" else None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the process's port requires; `describe` never shows them."""
        return {HEADER: self._key}

    def describe(self) -> dict[str, Any]:
        """Return the process's url, pid, restarts and state, and the last lines of its output."""
        with self._lock:
            return {
                "url": self.url,
                "pid": self._process.pid if self._process is not None else None,
                "restarts": self._restarts,
                "state": self._state,
                "output": list(self._lines),
            }

    def start(self) -> None:
        """Start the process and return when it accepts connections.

        Raise FAILED_PRECONDITION if the process ends before that, or does not listen within a minute.
        """
        self._spawn()
        if not self._wait_until_listening():
            self.stop()
            output = "\n".join(self._lines)
            raise ApiError("FAILED_PRECONDITION", f"Function {self._launch.name} did not start:\n{output}")
        self._keeper = threading.Thread(target=self._keep, name=f"keep-{self._launch.name}", daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Stop the process group with SIGTERM and, after ten seconds at most, SIGKILL. Return when the process has ended; safe to call twice."""
        self._stopping.set()
        with self._lock:
            self._state = "stopped"
            process = self._process
        if process is not None:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        if self._keeper is not None:
            self._keeper.join(timeout=_GRACE_S)
        self._release()

    def _spawn(self) -> None:
        launch = self._launch
        read_end, write_end = os.pipe()
        os.write(
            write_end, self._key.encode()
        )  # the key is not in the environment, because the function's own children would inherit it
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            sys.executable, "-P", str(_LAUNCHER), str(read_end),
            "--host", "127.0.0.1", "--port", str(port), "--target", launch.entry_point,
            "--source", str(Path(launch.source) / "main.py"), "--signature-type", launch.signature,
        ]  # fmt: skip
        environment = {**os.environ, **launch.environment, "PORT": str(port)}  # noqa: TID251 - a child inherits ours
        try:
            with self._lock:
                if self._stopping.is_set():
                    os.close(write_end)
                    return
                self._process = subprocess.Popen(  # noqa: S603 - our interpreter; the source is the user's own code
                    command,
                    cwd=launch.source,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(read_end,),
                    start_new_session=True,
                )
                self._pipe, self._port, self._state = write_end, port, "starting"
                output = self._process.stdout
        finally:
            os.close(read_end)
        self._reader = threading.Thread(target=self._read, args=(output,), name=f"log-{launch.name}", daemon=True)
        self._reader.start()

    def _wait_until_listening(self) -> bool:
        until = real_now() + _START_PATIENCE_S
        while real_now() < until and not self._stopping.is_set():
            process = self._process
            if process is None or process.poll() is not None:
                return False
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                with self._lock:
                    if self._state == "starting":
                        self._state = "running"
                return True
            self._stopping.wait(_LOOK_EVERY_S)
        return False

    def _keep(self) -> None:
        """Restart the process whenever it dies.

        The first restart is at once. Each further restart waits longer, until the process has run steadily.
        """
        pause = 0.0
        while True:
            begun = real_now()
            process = self._process
            if process is None:
                return
            code = process.wait()
            _signal_group(process.pid, signal.SIGKILL)  # its worker, if only the master died
            if self._stopping.is_set():
                return
            with self._lock:
                self._state = "crashed"
                self._restarts += 1
            self._release()
            self._say(f"ended with status {code} and is restarted. Its last lines:", *list(self._lines)[-5:])
            if real_now() - begun > _STEADY_AFTER_S:
                pause = 0.0
            if self._stopping.wait(pause):
                return
            pause = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, pause * 2))
            self._spawn()
            self._wait_until_listening()

    def _release(self) -> None:
        """Release the resources of an ended process."""
        with self._lock:
            process, self._process = self._process, None
            pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)
        if self._reader is not None:
            self._reader.join(timeout=5)
        if process is not None and process.stdout is not None:
            process.stdout.close()

    def _read(self, output: IO[bytes] | None) -> None:
        """Copy the output line by line and unchanged, so that a structured log line stays one JSON object."""
        if output is None:
            return
        log = None
        if self._log_folder is not None:
            self._log_folder.mkdir(parents=True, exist_ok=True)
            log = (self._log_folder / f"{self._launch.name}.log").open("ab", buffering=0)
        try:
            for line in output:
                text = line.decode(errors="replace").rstrip("\n")
                self._lines.append(text)
                if self._heard is not None:
                    self._heard(self._launch.name, text)
                if log is not None:
                    log.write(line)
                else:
                    self._say(text)
        finally:
            if log is not None:
                log.close()

    def _say(self, *lines: str) -> None:
        for line in lines:
            sys.stderr.write(f"[{self._launch.name}] {line}\n")
        sys.stderr.flush()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
