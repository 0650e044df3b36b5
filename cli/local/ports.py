"""The ports of the local system, all on 127.0.0.1."""

from __future__ import annotations

import errno
import socket

from msgspec import Struct

from cli.local.errors import LocalError

HOST = "127.0.0.1"
HIGHEST = 65_535
_FIRST_OPEN = 1024  # lower ports are for root only
_SUGGESTED = 8950
_STEP = 10


class Ports(Struct, frozen=True):
    """The ports: `cloud` serves the APIs, `hub` the sign-in and the hub page, `jupyter` the gateway to the JupyterLabs."""

    cloud: int
    hub: int
    jupyter: int

    @classmethod
    def chosen(cls, cloud: int, hub: int | None, jupyter: int | None) -> Ports:
        """Return the three ports. Raise `LocalError` if two are the same or a number is too high.

        A hub port that is not given is `cloud` + 1. A Jupyter port that is not given follows the higher of the other
        two.
        """
        first = hub if hub is not None else cloud + 1
        made = cls(cloud, first, jupyter if jupyter is not None else max(cloud, first) + 1)
        ports = (made.cloud, made.hub, made.jupyter)
        if len(set(ports)) < len(ports) or max(ports) > HIGHEST:
            raise LocalError(
                f"The ports {ports} are not valid: three different numbers up to {HIGHEST} are needed. Give --port, --hub-port, --jupyter-port."
            )
        return made

    def refuse_used(self, *, with_jupyter: bool, command: str) -> None:
        """Raise `LocalError` for the first port that cannot be opened; the gateway's port is only tried with `with_jupyter`.

        `command` is the command that the user called, for the advice in the error.
        """
        _refuse_used_port(self.cloud, f"{command} --port")
        _refuse_used_port(self.hub, f"{command} --hub-port")
        if with_jupyter:
            _refuse_used_port(self.jupyter, f"{command} --jupyter-port")


def _refuse_used_port(port: int, option: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = _free_beside(port)
            what = (
                "is in use. End the program that uses it, or"
                if error.errno == errno.EADDRINUSE
                else f"cannot be opened ({error.strerror}):"
            )
            raise LocalError(f"Port {port} of {HOST} {what} choose another: {option} {other}") from error


def _free_beside(port: int) -> int:
    """Return a free port with two more free ports after it, for the hub page and the gateway; a fixed port if none is found."""
    first = port + _STEP if _FIRST_OPEN <= port < HIGHEST - 2 * _STEP else _SUGGESTED
    for other in range(first, min(first + 50 * _STEP, HIGHEST - 2), _STEP):
        if all(_is_free(each) for each in (other, other + 1, other + 2)):
            return other
    return _SUGGESTED


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((HOST, port)) != 0
