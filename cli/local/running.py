"""The run of the whole system on this machine until Ctrl-C, for both `./deploy.sh local` and `benchkeeper demo`.

The folder of `--data` must be writable, and no other run may use it.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from msgspec import Struct
from msgspec.structs import replace

from cli.deploy.data import load_deployment
from cli.local.errors import LocalError
from cli.local.follow import final_rows, follow
from cli.local.jupyter import ensure_jupyter
from cli.local.mails import MailSink
from cli.local.people import offered
from cli.local.ports import HOST, Ports
from cli.local.system import LocalSystem
from cli.output import Terminal, complain, console, print_fleet, say
from shared.cloud.http.clients import Clients
from shared.cloud.publish import publish
from shared.domain.things.errors import BenchkeeperError
from shared.domain.things.identity import UserKey, parse_email, user_key_for
from shared.settings import ENV_MAIL_SINK, ConfigError, Settings, with_sink
from shared.telemetry import SilentLog
from shared.wiring import checked_settings, make_clients, wire

_LOCK = ".lock"
_WAY_OUT = "Name a folder that you may write to, or omit --data for a new temporary one."


@contextmanager
def data_folder(asked: Path | None) -> Iterator[Path]:
    """Yield the folder, created if missing, and lock the folder against a second run.

    Without `asked`, yield a new temporary folder that is removed at the end. Raise `LocalError`, with a remedy, if the
    folder is a file, cannot be created or written, or is locked by another run.
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
        raise LocalError(f"--data {asked} cannot be created: {error.strerror}. {_WAY_OUT}") from error
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


_FOLLOW_LIMIT_S = 600.0
_FAILED, _WRONG_USE = 1, 2


class Asked(Struct, frozen=True, kw_only=True):
    """The options that the user gave. `called` is the command as typed; `then` is how to call `benchkeeper` in another terminal."""

    called: str
    then: str
    port: int
    hub_port: int | None
    speed: float | None
    data: Path | None
    examples: bool
    jupyter_port: int | None = None
    allowed_hosts: tuple[str, ...] = ()
    with_jupyter: bool = False


def run(asked: Asked) -> int:
    """Run the system until Ctrl-C. Return the exit code: 0 ended by the user, 1 failure, 2 bad configuration."""
    if os.name != "posix":
        complain(f"{asked.called} needs Linux or macOS; on Windows run it in WSL.")
        return _FAILED
    try:
        settings = checked_settings(env="local")
        load_deployment(settings)
    except ConfigError as error:
        for fault in error.faults:
            complain(str(fault))
        return _WRONG_USE
    settings = replace(settings, api_endpoint=f"http://{HOST}:{asked.port}")
    try:
        ports = Ports.chosen(asked.port, asked.hub_port, asked.jupyter_port)
        python = ensure_jupyter(say) if asked.with_jupyter else None
        with data_folder(asked.data) as folder:
            stop = _stop_on_signals()
            sink = _mail_sink(ports)
            told = {ENV_MAIL_SINK: f"{sink.smtp_port} {ports.hub}"} if sink is not None else {}
            settings = with_sink(settings, told)
            system = LocalSystem(
                settings, ports, told=told, speed=asked.speed, data=folder, jupyter=python, allowed_hosts=asked.allowed_hosts,
                command=asked.called,
            )  # fmt: skip
            try:
                _run(system, settings, stop, asked, sink)
            finally:
                system.stop()
                if sink is not None:
                    sink.stop()
    except LocalError as error:
        complain(*str(error).split("\n"))
        return _FAILED
    except BenchkeeperError as error:
        complain(str(error))
        return _FAILED
    return 0


def _stop_on_signals() -> threading.Event:
    """Return an event that is set on SIGINT, SIGTERM or SIGHUP, by a thread.

    A handler must not set the event itself, because it could wait for ever: `Event.wait` in the main thread holds the
    event's lock, and the lock is not reentrant. `SimpleQueue.put` may be called in a handler (library reference, queue).
    """
    stop = threading.Event()
    came: SimpleQueue[int] = SimpleQueue()

    def watch() -> None:
        came.get()
        stop.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: came.put(number))
    return stop


def _mail_sink(ports: Ports) -> MailSink | None:
    """Return the started mail sink; None, which switches messages off, if aiosmtpd is not installed."""
    sink = MailSink(ports.jupyter + 1)
    try:
        sink.start()
    except ImportError:
        complain("Mails are not shown: aiosmtpd is not installed. ./deploy.sh local installs it.")
        return None
    return sink


def _run(system: LocalSystem, settings: Settings, stop: threading.Event, asked: Asked, sink: MailSink | None) -> None:
    out = console()
    with out.status("Starting the embedded cloud …"):
        system.start()
    if stop.is_set():
        return
    with out.status("Starting the functions …"):
        system.deploy(offered(settings, examples=asked.examples))
    out.print(f"Benchkeeper is running at {system.url} (project {settings.project}). Ctrl-C ends it.", soft_wrap=True)
    if system.has_page:
        out.print(f"Open {system.hub_url} in a browser, and sign in as one of the example people.", soft_wrap=True)
    if sink is not None:
        out.print(f"Mails to people (shown, never sent): {sink.url}", soft_wrap=True)
    clients = make_clients(settings)
    deps = wire(settings, log=SilentLog(), clients=clients)
    if asked.examples and not stop.is_set():
        people = _publish_examples(settings, clients)
        lines = follow(people, deps, out, stop, limit_s=_FOLLOW_LIMIT_S)
        if not stop.is_set():
            print_fleet(final_rows(lines), out)
            _say_what_next(settings, out, asked.then, system.hub_url if system.has_page else "")
    while not stop.wait(0.5):
        if not system.running():
            raise LocalError(f"The embedded cloud ended. The end of its log ({system.log_file}):\n{system.tail()}")


def _publish_examples(settings: Settings, clients: Clients) -> list[tuple[UserKey, str]]:
    people: list[tuple[UserKey, str]] = []
    for path in sorted((settings.config_dir / "examples").glob("*.json")):
        body = path.read_bytes()
        email = parse_email(json.loads(body)["user"])
        publish(clients, project=settings.project, topic=settings.topic_lifecycle, body=body, attributes={})
        people.append((user_key_for(email), email))
    return people


def _say_what_next(settings: Settings, out: Terminal, then: str, page: str) -> None:
    where = (
        "" if settings.api_endpoint == "http://127.0.0.1:8900" else f"BENCHKEEPER_API_ENDPOINT={settings.api_endpoint} "
    )
    out.print()
    if page:
        out.print(f"The page: {page}", soft_wrap=True)
    out.print("Try it in another terminal:")
    for command in ("list", "show ana.silva@example.com", "publish leaver ana.silva@example.com"):
        out.print(f"  {where}{then} {command}", soft_wrap=True)
