"""The launcher of functions-framework in this interpreter, for one function of the function host.

The host starts this file by its path, with a pipe as `argv[1]`. The pipe first carries the key with which the host calls. Any web page can
make a browser send an event to a loopback port, so requests without the key are refused before the framework sees them. The
pipe breaks when the host is gone, even by SIGKILL; then the whole process group ends.
"""

from __future__ import annotations

import functools
import hmac
import importlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

KEY_LENGTH = 64
HEADER = "X-Emulator-Caller"
_LONGEST_SILENCE_S = 600
_IN_ENVIRON = "HTTP_X_EMULATOR_CALLER"
_REFUSAL = b"This port only accepts calls of the embedded cloud. Publish to the function's topic, or open the hub page's address.\n"


class _Listening(Protocol):
    sock: socket.socket


class _Server(Protocol):
    """The attributes of gunicorn's arbiter, which the hook `when_ready` gets, that this module uses."""

    LISTENERS: list[_Listening]


def locked(app: WSGIApplication, key: str) -> WSGIApplication:
    """Return an application that passes a request to `app` only if it has the key. The key is removed from the request."""

    def only_the_host(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given = str(environ.pop(_IN_ENVIRON, ""))
        if hmac.compare_digest(given.encode("latin-1"), key.encode("latin-1")):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [_REFUSAL]

    return only_the_host


def _wait_for_words(server: _Server) -> None:
    """Let the kernel accept a connection only once data has arrived on it (Linux only).

    Otherwise each idle connection of a browser would hold a thread for minutes.
    """
    for listener in server.LISTENERS if hasattr(socket, "TCP_DEFER_ACCEPT") else ():
        listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _LONGEST_SILENCE_S)


def _watch(pipe: int) -> None:
    try:
        os.read(pipe, 1)
    finally:
        os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Serve until the process gets SIGTERM or the pipe breaks."""
    pipe = int(sys.argv.pop(1))
    key = os.read(pipe, KEY_LENGTH).decode()
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    # The function's own folder, where this process was started, comes before installed packages. An editable package may name a tree
    # with the same modules, and the framework would put the folder after it.
    sys.path.insert(0, str(Path.cwd()))
    framework = importlib.import_module(
        "functions_framework._cli"
    )  # imported here, because other modules import this module only for its constants
    make = framework.create_app

    def create_locked(*arguments: str | None) -> Flask:
        app: Flask = make(*arguments)
        app.wsgi_app = locked(app.wsgi_app, key)  # type: ignore[method-assign,assignment] # Flask's documented place for a middleware
        return app

    names = vars(framework)
    names["create_app"] = create_locked
    names["create_server"] = functools.partial(names["create_server"], when_ready=_wait_for_words)
    framework._cli()  # noqa: SLF001 - the framework's own command line


if __name__ == "__main__":
    main()
