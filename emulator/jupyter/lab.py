"""The process of one JupyterLab: start it, wait until it answers, restart it when it dies, and stop it with all its children."""

from __future__ import annotations

import http.client
import json
import logging
import os
import secrets
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emulator.clock import real_now
from emulator.model.notebooks_activity import Kernels
from emulator.wire.proxy import Dial, to_unix

_log = logging.getLogger(__name__)

State = Literal["starting", "running", "down", "ended"]

_LAUNCHER = Path(__file__).with_name("launch.py")
_GRACE_S = 6.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_STEADY_AFTER_S = 30.0
_ANSWER_S = 2.0
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SHELL", "USER", "LOGNAME")
# No requests for news or updates, and only the embedded cloud can stop the server.
_OPTIONS = (
    "--no-browser", "--allow-root", "--ServerApp.allow_remote_access=True", "--ServerApp.quit_button=False",
    "--Application.log_level=WARN", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """The parameters of a JupyterLab: its interpreter, its disk, a short private folder for its socket, its log, and its base URL."""

    python: Path
    disk: Path
    private: Path
    log: Path
    base: str


class Lab:
    """A JupyterLab that is restarted whenever it dies. Only one thread at a time may call `step` and `stop`."""

    def __init__(self, site: Site) -> None:
        self.state: State = "down"
        self.starts = 0
        self._site = site
        self._token = secrets.token_hex(32)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._begun = self._again_at = 0.0
        self._pause = 0.0

    @property
    def pid(self) -> int | None:
        """The id of JupyterLab's process; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def dial(self) -> Dial:
        """The function that connects to JupyterLab. Only users who may open the private folder can connect."""
        return to_unix(str(self._socket))

    @property
    def authorization(self) -> str:
        """The Authorization header that JupyterLab requires."""
        return f"token {self._token}"

    @property
    def _socket(self) -> Path:
        return self._site.private / "s"

    def step(self) -> None:
        """Check the process and take the next step: start it, note that it now answers, or plan its restart after it has died."""
        now = real_now()
        if self.state == "ended":
            return
        if self._process is None:
            if now >= self._again_at:
                self._spawn(now)
        elif (code := self._process.poll()) is not None:
            self._bury(code, now)
        elif self.state == "starting" and self._answers():
            self.state = "running"

    def stop(self) -> None:
        """Stop the JupyterLab, its kernels and all other children: with SIGTERM and, some seconds later, SIGKILL. Safe to call twice."""
        self.state = "ended"
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        self._close_pipe()  # the launcher ends the remaining processes
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            process.kill()
            process.wait()

    def _spawn(self, now: float) -> None:
        read_end, write_end = os.pipe()
        self._site.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._site.log.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        try:
            with self._site.log.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - the Jupyter environment's own interpreter
                    [*self._command(read_end)],
                    cwd=self._site.disk,
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(read_end,),
                    start_new_session=True,
                )
        except OSError:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        self._pipe, self._begun, self.state = write_end, now, "starting"
        self.starts += 1

    def _command(self, pipe: int) -> list[str]:
        return [
            str(self._site.python), "-P", str(_LAUNCHER), str(pipe), *_OPTIONS,
            f"--ServerApp.sock={self._socket}", f"--ServerApp.root_dir={self._site.disk}",
            f"--ServerApp.base_url={self._site.base}",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        """Return the environment variables of the process: Jupyter's, and the few inherited variables that every program needs.

        The process runs users' code, which must not see the other variables of the embedded cloud.
        """
        home, private = self._site.disk, self._site.private
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}  # noqa: TID251 - a child inherits ours
        return {
            **kept,
            "PATH": f"{self._site.python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
            "JUPYTER_DATA_DIR": str(home / ".local" / "share" / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(
                private / "runtime"
            ),  # it has the kernels' keys, which must not be on a disk that is copied
            "IPYTHONDIR": str(home / ".ipython"),
            "JUPYTER_TOKEN": self._token,  # not an argument, because every user of the machine can see arguments
            "PYTHONNOUSERSITE": "1",
        }

    def kernels(self) -> Kernels | None:
        """Return the state of JupyterLab's kernels, as Workbench's idle shutdown reads it; None if JupyterLab does not answer."""
        found = self.listing("kernels")
        if found is None:
            return None
        states = {str(each.get("execution_state")) for each in found}
        return "busy" if "busy" in states else "idle" if states else "none"

    def listing(self, what: str) -> list[dict[str, Any]] | None:
        """Return the JSON objects of the `kernels` or `terminals` (`what`); None if JupyterLab does not answer with a list.

        The call does not change `last_activity`.
        """
        raw = self._ask(f"api/{what}?no_track_activity=1")
        try:
            found = json.loads(raw) if raw is not None else None
        except ValueError:
            return None
        is_list = isinstance(found, list) and all(isinstance(each, dict) for each in found)
        return found if is_list else None

    def _answers(self) -> bool:
        return self._ask("api/status") is not None

    def _ask(self, path: str) -> bytes | None:
        """Return the body of a successful answer of JupyterLab's API, else None."""
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = self.dial()
            connection.sock.settimeout(_ANSWER_S)
            connection.request("GET", f"{self._site.base}{path}", headers={"Authorization": self.authorization})
            answer = connection.getresponse()
            return answer.read() if answer.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _bury(self, code: int, now: float) -> None:
        """Plan the restart: the first restart at once, later restarts after growing pauses, until the process has run steadily."""
        _log.warning("A JupyterLab ended with status %d and will be restarted; the log is %s", code, self._site.log)
        self._process, self.state = None, "down"
        self._close_pipe()
        if now - self._begun > _STEADY_AFTER_S:
            self._pause = 0.0
        self._again_at = now + self._pause
        self._pause = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, self._pause * 2))

    def _close_pipe(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)
