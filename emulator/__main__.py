"""The program `python -m emulator`: the embedded cloud as a process of its own."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from queue import SimpleQueue

from emulator.app import EmbeddedCloud
from emulator.clock import VirtualClock
from emulator.iap.front import DEFAULT_REGION
from emulator.jupyter.labs import Options
from emulator.keep import BadDataError, Keeper
from emulator.pace import FAST
from emulator.token import FILE_NAME
from emulator.wire.streaming import PortInUseError

_USAGE_ERROR = 2
_HIGHEST_PORT = 65_535


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emulator",
        description="Google Cloud's API shapes on one loopback port: Workbench, Storage, Pub/Sub, Monitoring, Scheduler.",
    )
    parser.add_argument(
        "--port", type=_port, default=8900, help="port on 127.0.0.1; 0 takes a free port (default: 8900)"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        help="virtual seconds per real second; 0 stops the clock"
        f" (default: {FAST:g} while an operation is under way, else 1)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="store the state in DIR/world.json and the functions' output in DIR/logs; without DIR, the state is lost at the end",
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when standard input closes: the cloud then ends with the process that started it, even if that process is killed",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a further name by which containers or other machines call the port; may be given again"
        " (default: only 127.0.0.1, localhost and [::1] are served)",
    )  # fmt: skip
    parser.add_argument("--project", default="benchkeeper-local", help="the project's id (default: benchkeeper-local)")
    front = parser.add_argument_group("the hub page", "Identity-Aware Proxy in front of the function benchkeeper-hub")
    front.add_argument(
        "--hub-port", type=_port, help="port of the sign-in and of the hub page; without this option, neither is served"
    )
    front.add_argument(
        "--hub-region", default=DEFAULT_REGION, help=f"the function's region (default: {DEFAULT_REGION})"
    )
    jupyter = parser.add_argument_group(
        "JupyterLab", "a real JupyterLab for each running environment; needs --hub-port and --data"
    )
    jupyter.add_argument(
        "--jupyter",
        type=Path,
        metavar="PYTHON",
        help="the Python in which JupyterLab is installed (.venv-jupyter/bin/python)",
    )
    jupyter.add_argument(
        "--jupyter-port", type=_port, default=0, help="port of the gateway to the JupyterLabs (default: a free one)"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_HIGHEST_PORT}, not {text!r}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a speed is a number, not {text!r}") from error
    if not 0 <= speed <= 1_000_000:  # noqa: PLR2004 - the range of the control API; refuses NaN
        raise argparse.ArgumentTypeError("a speed is from 0 to 1000000")
    return speed


def _ending_by_signals() -> threading.Event:
    # A thread sets the event: a signal handler that did so would wait for ever if it ran while the main thread is inside Event.wait.
    ending = threading.Event()
    came: SimpleQueue[int] = SimpleQueue()

    def watch() -> None:
        came.get()
        ending.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: came.put(number))
    return ending


def _end_with_input(ending: threading.Event) -> None:
    # Not through sys.stdin: after a signal, a daemon thread that waits in it turns the interpreter's exit into a fatal error.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    ending.set()


def _read(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.jupyter is not None and (asked.hub_port is None or asked.data is None):
        parser.error("--jupyter needs --hub-port, for the sign-in, and --data, for the disks")
    if asked.jupyter is not None and not asked.jupyter.is_file():
        parser.error(f"--jupyter: there is no {asked.jupyter}; give the Python of an environment that has JupyterLab")
    return asked


def _open_fronts(cloud: EmbeddedCloud, asked: argparse.Namespace) -> None:
    """Open the additional ports that the options name: the sign-in page and the gateway to the JupyterLabs."""
    if asked.hub_port is not None:
        cloud.iap.open_at(asked.hub_port, region=asked.hub_region)
    if asked.jupyter is not None:
        data = asked.data.resolve()
        options = Options(python=asked.jupyter.absolute(), folder=data / "jupyter", log_folder=data / "logs")
        cloud.gateway.open_at(asked.jupyter_port, options)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, or until stdin closes if that option is given. Return 0, or 2 if the program cannot start.

    Invalid arguments raise `SystemExit`, with the same status 2.
    """
    asked = _read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    ending = _ending_by_signals()
    logs = asked.data / "logs" if asked.data is not None else None
    clock = VirtualClock(speed=1.0 if asked.speed is None else asked.speed)
    if asked.speed is None:
        clock.begin_pacing()
    cloud = EmbeddedCloud.build(clock=clock, project=asked.project, log_folder=logs, names=asked.allow_host)
    private = None if asked.data is not None else Path(tempfile.mkdtemp(prefix="benchkeeper-"))
    try:
        return _serve(cloud, asked, ending, token_folder=private or asked.data)
    finally:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


def _serve(cloud: EmbeddedCloud, asked: argparse.Namespace, ending: threading.Event, *, token_folder: Path) -> int:
    try:
        keeper = Keeper(cloud.world, asked.data) if asked.data is not None else None
        _open_fronts(cloud, asked)
        cloud.start(asked.port, token_folder=token_folder)
    except PortInUseError as error:
        return _refuse(
            f"{error.strerror}\nGive another port with --port, --hub-port or --jupyter-port; 0 takes a free port."
        )
    except (BadDataError, OSError) as error:
        return _refuse(str(error))
    if keeper is not None:
        keeper.start()
    print(f"Embedded cloud of project {asked.project} listens on {cloud.url}", flush=True)  # noqa: T201 - the caller waits for this line
    if asked.data is None:  # with --data, the manual says where the token is
        print(f"The token for calls that start processes is in {token_folder / FILE_NAME}", flush=True)  # noqa: T201 - a command's own output
    if asked.until_stdin_closes:
        threading.Thread(target=_end_with_input, args=(ending,), daemon=True).start()
    ending.wait()
    cloud.stop()
    if keeper is not None:
        keeper.stop()
    return 0


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)  # noqa: T201 - a command's own output
    return _USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
