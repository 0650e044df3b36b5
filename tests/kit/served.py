"""The page over the in-process cloud, served on loopback for a real browser, to one person who is signed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from kit.hub import Hub
from shared.cloud.identity.iap import HEADER
from shared.domain.things.identity import UserEmail

_NAME = "HTTP_" + HEADER.upper().replace("-", "_")


class _Quiet(WSGIRequestHandler):
    """A handler that prints no line for each request."""

    def log(self, *_: Any) -> None:
        return


@contextmanager
def served(hub: Hub, email: UserEmail) -> Iterator[str]:
    """Serve the page as Identity-Aware Proxy does for this person: yield its address."""

    def signed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ[_NAME] = hub.token(email)
        found: Iterable[bytes] = hub.app.wsgi_app(environ, start_response)
        return found

    server = make_server("localhost", 0, signed, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
