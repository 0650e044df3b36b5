"""The command `benchkeeper demo`: it runs the whole system on this machine, from any installation."""

from __future__ import annotations

from pathlib import Path

import click

from cli.context import stop
from cli.local.options import running_options
from cli.output import PlainCommand


@click.command(cls=PlainCommand)
@running_options
@click.pass_context
def demo(
    context: click.Context,
    port: int,
    speed: float | None,
    data: Path | None,
    hub_port: int | None,
    *,
    no_examples: bool,
) -> None:
    """Run the whole system on this machine, with example people and an embedded cloud.

    No Google account is needed, and no other machine is called. Ctrl-C ends it.
    """
    from cli.local.running import Asked, run  # noqa: PLC0415 - no other command needs the deployment's modules

    asked = Asked(
        called=context.command_path, then="benchkeeper", port=port, hub_port=hub_port, speed=speed, data=data,
        examples=not no_examples,
    )  # fmt: skip
    stop(run(asked))
