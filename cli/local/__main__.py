"""The program `python -m cli.local`, which `./deploy.sh local` runs once everything is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.local.options import Port, running_options
from cli.local.running import Asked, run
from cli.output import PlainCommand


@click.command(cls=PlainCommand, context_settings={"help_option_names": ["-h", "--help"]})
@running_options
@click.option(
    "--jupyter-port", type=Port(), help="The port of the gateway to the JupyterLabs. Default: the next port after that."
)
@click.option(
    "--allow-host", "allowed_hosts", multiple=True, metavar="NAME",
    help="An additional host name by which a container calls the port; may be repeated. Default: only this machine's own names.",
)  # fmt: skip
@click.option(
    "--with-jupyter", is_flag=True, help="Run a real JupyterLab for each running environment; it is installed once."
)
@click.pass_context
def main(
    context: click.Context,
    port: int,
    speed: float | None,
    data: Path | None,
    hub_port: int | None,
    jupyter_port: int | None,
    allowed_hosts: tuple[str, ...],
    *,
    no_examples: bool,
    with_jupyter: bool,
) -> None:
    """Run the whole system on this machine: the embedded cloud, the functions, the scheduled ticks. Ctrl-C ends it."""
    asked = Asked(
        called=context.command_path, then=".venv/bin/benchkeeper", port=port, hub_port=hub_port, speed=speed, data=data,
        examples=not no_examples, jupyter_port=jupyter_port, allowed_hosts=allowed_hosts, with_jupyter=with_jupyter,
    )  # fmt: skip
    sys.exit(run(asked))


if __name__ == "__main__":
    main(prog_name="./deploy.sh local")
