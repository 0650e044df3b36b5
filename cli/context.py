"""The common parts of all commands: settings, dependencies, and the exit codes for errors."""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import click
from msgspec import Struct

from cli.output import complain, forget_output
from shared.cloud.http.clients import Clients
from shared.domain.things.errors import BenchkeeperError, CloudUnavailableError, PermanentError
from shared.engine.ports.deps import Deps
from shared.settings import ConfigError, Settings, load_settings
from shared.telemetry import SilentLog
from shared.wiring import make_clients, wire

F = TypeVar("F", bound=Callable[..., Any])

FAILED, WRONG_USE = 1, 2


class Day(click.ParamType[Any]):
    """The option type for a day or, with `times`, also a time in UTC. The value is a naive datetime, as with click's own type."""

    name = "day"

    def __init__(self, *, times: bool = False) -> None:
        self._forms = ["%Y-%m-%d", *(["%Y-%m-%dT%H:%M:%SZ"] if times else [])]
        self._example = "2026-11-30" + (" or 2026-11-30T08:00:00Z" if times else "")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the day. For an invalid text, fail with an example of a valid one."""
        try:
            return click.DateTime(self._forms).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is not a day. Write it as {self._example}.", param, ctx)


class App(Struct):
    """The context of all commands: the settings, clients and dependencies, built when a command needs them."""

    env: str | None
    _settings: Settings | None = None
    _clients: Clients | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the chosen environment."""
        if self._settings is None:
            self._settings = load_settings(env=self.env)
        return self._settings

    @property
    def clients(self) -> Clients:
        """The Google clients of the chosen environment. Raise `CloudUnavailableError` if the embedded cloud is not running."""
        if self._clients is None:
            _refuse_silence(self.settings)
            self._clients = make_clients(self.settings)
        return self._clients

    @property
    def deps(self) -> Deps:
        """The engine's dependencies, built from the settings and the clients."""
        return wire(self.settings, log=SilentLog(), clients=self.clients, strict=True)


def _refuse_silence(settings: Settings) -> None:
    """Raise `CloudUnavailableError` if the settings name an embedded cloud, and nothing listens at its address.

    Without this check, the clients would retry for two minutes.
    """
    if settings.api_endpoint is None:
        return
    if not answers(settings.api_endpoint):
        raise CloudUnavailableError(
            user_message=f"Nothing answers on {settings.api_endpoint}. Start the embedded cloud with ./deploy.sh local, or choose another "
            "endpoint (BENCHKEEPER_API_ENDPOINT) or environment (--env).",
            detail="nothing listens",
        )


def answers(endpoint: str) -> bool:
    """Return True if a server accepts connections at `endpoint`, a URL."""
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=5).close()
    except OSError:
        return False
    return True


pass_app = click.make_pass_decorator(App)


def guarded(command: F) -> F:
    """Return the command, with the product's errors turned into a sentence on stderr and an exit code.

    The code is 1 for a failure or a file error, 2 for a faulty configuration. A closed pipe is left to click: its error
    is raised.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            for fault in error.faults:
                complain(str(fault))
            stop(WRONG_USE)
        except PermanentError as error:
            complain(error.user_message)
            stop(FAILED)
        except BenchkeeperError as error:
            complain(f"{error.user_message} ({error.detail})")
            stop(FAILED)
        except OSError as error:
            if error.errno is None or error.errno == errno.EPIPE:
                raise  # no fault of a file; click ends quietly where a reader went away
            what = "The output" if error.filename is None else str(error.filename)
            if error.filename is None:
                forget_output()
            complain(f"{what} cannot be written or read: {error.strerror}.")
            stop(FAILED)

    return run  # type: ignore[return-value]  # functools.wraps keeps the signature


def stop(code: int) -> NoReturn:
    """End the command with this exit code, by raising click's `Exit`."""
    raise click.exceptions.Exit(code)


def output_option(*formats: str) -> Callable[[F], F]:
    """Return the option `--output`. The first format is the default; without `formats`, text and json are offered."""
    return click.option(
        "--output", "-o", type=click.Choice(formats or ("text", "json")), default=(formats or ("text",))[0],
        show_default=True, help="The output format.",
    )  # fmt: skip
