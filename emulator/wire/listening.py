"""What the HTTP servers of the embedded cloud share: a port of 127.0.0.1, a thread for each connection, and an end that leaves nothing open."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from emulator.clock import real_now

_log = logging.getLogger(__name__)
_BACKLOG = 512
_LAST_WORDS_S = 5.0


class PortInUseError(OSError):
    """The port is taken by another process."""


class Connection(BaseHTTPRequestHandler):
    """One connection of HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: Listener

    def finish(self) -> None:
        """Close both directions; the base class leaves the reading one open when the caller went away before the answer was out."""
        try:
            super().finish()
        finally:
            self.rfile.close()

    def environ(self) -> dict[str, Any]:
        """Return what WSGI says of a request and both servers know alike; `RAW_URI` is path and query as they were sent."""
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        return {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "SERVER_PROTOCOL": self.request_version,
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "REMOTE_ADDR": str(self.client_address[0]),
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": self.path,
        }

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """No access log: it would have addresses in it, and the journal has the calls."""


class Listener(socketserver.ThreadingTCPServer):
    """Serves one port of 127.0.0.1 (0 = a free one), a thread a connection. Raises `PortInUseError`."""

    allow_reuse_address = sys.platform != "win32"  # there it would let two processes share the port
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(self, port: int, handler: type[Connection]) -> None:
        self._guard = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._accepting: threading.Thread | None = None
        try:
            super().__init__(("127.0.0.1", port), handler)
        except OSError as error:
            reason = error.strerror or "it cannot be bound"
            raise PortInUseError(
                error.errno or errno.EADDRINUSE, f"Port {port} of 127.0.0.1 cannot be used: {reason}"
            ) from error

    @property
    def port(self) -> int:
        """The port that is served."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve, in threads of its own."""
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.05,), name="http-accept", daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait some seconds for their threads. Safe to call twice."""
        if self._accepting is not None:
            self.shutdown()
            self._accepting.join()
            self._accepting = None
        self.server_close()
        with self._guard:
            left = list(self._open.items())
        for connection, _ in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        until = real_now() + _LAST_WORDS_S
        for _, thread in left:
            thread.join(timeout=max(0.0, until - real_now()))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, known to `stop` from the first moment."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="http-connection", daemon=True
        )
        with self._guard:
            self._open[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end. A caller that went away is no news."""
        try:
            self.finish_request(request, client_address)
        except OSError:
            _log.debug("Connection ended early")
        except Exception:  # noqa: BLE001 - one broken connection must not end the server; the log has it
            _log.exception("Request failed in the embedded cloud")
        finally:
            with self._guard:
                self._open.pop(request, None)
            self.shutdown_request(request)
