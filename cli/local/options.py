"""The options of both `./deploy.sh local` and `benchkeeper demo`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.local.ports import HIGHEST

F = TypeVar("F", bound=Callable[..., Any])

_FASTEST = 1_000_000


class Port(click.ParamType[int]):
    """The type of an option that is a port."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the port as a number. Fail unless it is a valid port."""
        text = str(value)
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(HIGHEST)) and 1 <= int(text) <= HIGHEST):
            self.fail(f"{text!r} is not a port: a whole number from 1 to {HIGHEST}, for example 8900.", param, ctx)
        return int(text)


class Speed(click.ParamType[float]):
    """The type of an option that is the speed of the virtual clock."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the speed in virtual seconds per real second. Fail for any text that is not a valid speed."""
        try:
            speed = float(value)
        except ValueError:
            speed = math.nan
        if not 0 < speed <= _FASTEST:
            self.fail(
                f"{value!r} is not a valid speed: a number above 0 and up to {_FASTEST}, for example 60.", param, ctx
            )
        return speed


class Folder(click.ParamType[Path]):
    """The type of an option that is a folder. The folder itself is checked when it is needed."""

    name = "dir"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the folder's path. Fail for an empty name."""
        if not str(value).strip():
            self.fail(
                "the folder's name is empty. Name a folder, or omit the option for a new temporary one.", param, ctx
            )
        return Path(value)


def running_options(command: F) -> F:
    """Return the command with the options `--port`, `--hub-port`, `--speed`, `--data` and `--no-examples`."""
    for option in reversed(_RUNNING):
        command = option(command)
    return command


_RUNNING = (
    click.option("--port", type=Port(), default=8900, show_default=True, help="The port of the embedded cloud, on 127.0.0.1."),
    click.option(
        "--speed", type=Speed(),
        help="Virtual seconds per real second. Default: 60 while an operation is under way, so that a create of four minutes"
        " takes four seconds, else 1.",
    ),
    click.option(
        "--data", type=Folder(),
        help="The folder for the state, which then survives a restart. Default: a new temporary folder.",
    ),
    click.option("--no-examples", is_flag=True, help="Do not add the example people of config/examples/."),
    click.option("--hub-port", type=Port(), help="The port of the sign-in and the hub page. Default: the next port."),
)  # fmt: skip
