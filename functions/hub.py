"""The function `hub`: the page, behind Identity-Aware Proxy. All of its behaviour is in `portal`."""

from __future__ import annotations

import threading
from contextlib import suppress

import flask
import functions_framework
from werkzeug.wrappers import Response

from shared import telemetry
from shared.settings import ConfigError
from shared.wiring import make_clients, process_deps, sign_in, waker

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LOCK = threading.Lock()
_APPS: list[tuple[str, flask.Flask]] = []  # at most one pair (project, application), built by the first request


@functions_framework.http
def hub(request: flask.Request) -> Response:
    """Return the page application's response to this request. If the configuration is broken, return a page that says so."""
    try:
        project, app = _app()
    except ConfigError:  # the faults are in the log already
        from portal.broken import broken_page  # noqa: PLC0415 - imported late, like the application itself

        return broken_page()
    header = request.headers.get("traceparent") or request.headers.get("X-Cloud-Trace-Context")
    with telemetry.trace(header, project):
        return Response.from_app(app, request.environ)


def _app() -> tuple[str, flask.Flask]:
    """Return the project and the application, which is built on first use.

    The application is imported late, because all functions share their files, and only this function needs it.
    """
    with _LOCK:
        if not _APPS:
            from portal.app import create_app  # noqa: PLC0415 - templates and tables cost the other functions' starts nothing
            from portal.deps import portal_deps  # noqa: PLC0415

            _return_large_blocks()
            settings, engine = process_deps("hub")
            clients = make_clients(settings)
            signed = sign_in(settings, clients, clock=engine.clock, log=engine.log)
            deps = portal_deps(settings, engine, sign_in=signed, wake=waker(settings, clients, engine.log))
            _APPS.append((settings.project, create_app(deps)))
        return _APPS[0]


def _return_large_blocks() -> None:
    """Make glibc return free blocks of a megabyte or more to the system at once; with another C library, do nothing.

    Otherwise glibc keeps freed blocks for each thread (the threshold grows up to 32 MB): 20 unused MB at 100,000 users.
    """
    import ctypes  # noqa: PLC0415 - no other function needs it

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)
