"""`python -m cli.local`: what `./deploy.sh local` runs once everything is installed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

import click

from cli.deploy.data import load_deployment
from cli.local.errors import LocalError
from cli.local.follow import final_rows, follow
from cli.local.jupyter import ensure_jupyter
from cli.local.people import offered
from cli.local.ports import HIGHEST, HOST, Ports
from cli.local.system import LocalSystem
from cli.output import PlainCommand, Terminal, complain, console, print_fleet, say
from shared.cloud.clients import Clients
from shared.cloud.publish import publish
from shared.domain.errors import BenchkeeperError
from shared.domain.identity import UserKey, parse_email, user_key_for
from shared.settings import ConfigError, Settings
from shared.telemetry import SilentLog
from shared.wiring import checked_settings, make_clients, wire

_FOLLOW_LIMIT_S = 600.0
_PORT = click.IntRange(1, HIGHEST)


@click.command(cls=PlainCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", type=_PORT, default=8900, show_default=True, help="The one port, on 127.0.0.1.")
@click.option(
    "--speed", type=click.FloatRange(min=0), default=60.0, show_default=True,
    help="Virtual seconds per real second: a create takes four virtual minutes.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path),
    help="Keep the state here, so that it survives a restart. Default: a fresh temporary folder.",
)  # fmt: skip
@click.option("--no-examples", is_flag=True, help="Do not announce the people of config/examples/.")
@click.option("--hub-port", type=_PORT, help="The sign-in and the hub page. Default: the next port.")
@click.option("--jupyter-port", type=_PORT, help="The way to the JupyterLabs. Default: the one after that.")
@click.option(
    "--allow-host", "allowed_hosts", multiple=True, metavar="NAME",
    help="A further name by which a container calls the port; may be given again. Default: this machine's own names alone.",
)  # fmt: skip
@click.option(
    "--with-jupyter", is_flag=True, help="A real JupyterLab for each environment that runs; it is installed once."
)
def main(
    port: int,
    speed: float,
    data: Path | None,
    hub_port: int | None,
    jupyter_port: int | None,
    allowed_hosts: tuple[str, ...],
    *,
    no_examples: bool,
    with_jupyter: bool,
) -> None:
    """Run the whole system on this machine: the embedded cloud, the functions, the scheduled ticks. Ctrl-C ends it."""
    try:
        settings = checked_settings(env="local")
        load_deployment(settings)
    except ConfigError as error:
        for fault in error.faults:
            complain(str(fault))
        sys.exit(2)
    settings = dataclasses.replace(settings, api_endpoint=f"http://{HOST}:{port}")
    try:
        ports = Ports.chosen(port, hub_port, jupyter_port)
        python = ensure_jupyter(say) if with_jupyter else None
    except LocalError as error:
        complain(*str(error).split("\n"))
        sys.exit(1)
    folder = data.resolve() if data is not None else Path(tempfile.mkdtemp(prefix="benchkeeper-"))
    stop = _stop_on_signals()
    system = LocalSystem(settings, ports, speed=speed, data=folder, jupyter=python, allowed_hosts=allowed_hosts)
    code = 0
    try:
        _run(system, settings, stop, examples=not no_examples)
    except LocalError as error:
        complain(*str(error).split("\n"))
        code = 1
    except BenchkeeperError as error:
        complain(str(error))
        code = 1
    finally:
        system.stop()
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop


def _run(system: LocalSystem, settings: Settings, stop: threading.Event, *, examples: bool) -> None:
    out = console()
    with out.status("Starting the embedded cloud …"):
        system.start()
    if stop.is_set():
        return
    with out.status("Starting the functions …"):
        system.deploy(offered(settings, examples=examples))
    out.print(f"Benchkeeper is up at {system.url} (project {settings.project}). Ctrl-C ends it.", soft_wrap=True)
    if system.has_page:
        out.print(f"Open {system.hub_url} in a browser, and sign in as one of the example people.", soft_wrap=True)
    clients = make_clients(settings)
    deps = wire(settings, log=SilentLog(), clients=clients)
    if examples and not stop.is_set():
        people = _publish_examples(settings, clients)
        lines = follow(people, deps, out, stop, limit_s=_FOLLOW_LIMIT_S)
        if not stop.is_set():
            print_fleet(final_rows(lines), out)
            _say_what_next(settings, out)
    while not stop.wait(0.5):
        if not system.running():
            raise LocalError(f"The embedded cloud ended. Its last words ({system.log_file}):\n{system.tail()}")


def _publish_examples(settings: Settings, clients: Clients) -> list[tuple[UserKey, str]]:
    people: list[tuple[UserKey, str]] = []
    for path in sorted((settings.config_dir / "examples").glob("*.json")):
        body = path.read_bytes()
        email = parse_email(json.loads(body)["user"])
        publish(clients, project=settings.project, topic=settings.topic_lifecycle, body=body, attributes={})
        people.append((user_key_for(email), email))
    return people


def _say_what_next(settings: Settings, out: Terminal) -> None:
    where = (
        "" if settings.api_endpoint == "http://127.0.0.1:8900" else f"BENCHKEEPER_API_ENDPOINT={settings.api_endpoint} "
    )
    out.print()
    out.print("Try it in another terminal:")
    for command in ("list", "show ana.silva@example.com", "publish leaver ana.silva@example.com"):
        out.print(f"  {where}.venv/bin/benchkeeper {command}", soft_wrap=True)


if __name__ == "__main__":
    main(prog_name="./deploy.sh local")
