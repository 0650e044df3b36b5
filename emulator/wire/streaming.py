"""The HTTP/1.1 server on a loopback port: bodies are streamed, and a connection may become a tunnel, as a proxy needs it.

`server.py` serves the API on top of this, and reads a request's whole body.
"""

from __future__ import annotations

import errno
import io
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from emulator.clock import real_now

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from _typeshed.wsgi import WSGIEnvironment

_log = logging.getLogger(__name__)
_BLOCK = 1 << 16
_LINE = 1024
_MOST_UNREAD = 1 << 20  # the bytes of an unread body that are read to keep the connection
_NO_BODY = {204, 304}
_BACKLOG = 512
_LAST_WORDS_S = 5.0


class PortInUseError(OSError):
    """The error of a port that cannot be bound, usually because another process uses it."""


@dataclass(slots=True)
class Tunnel:
    """A connection that another server has switched to another protocol (101): its headers, its input and its socket."""

    headers: list[tuple[str, str]]
    reader: io.BufferedIOBase
    connection: socket.socket
    close: Callable[[], None]


App = Callable[[Request], Response | Tunnel]


class Body(io.RawIOBase):
    """A request's body as it arrives: with a known length, or in chunks."""

    def __init__(self, source: io.BufferedIOBase, length: int | None, before: Callable[[], None]) -> None:
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._before = before  # tells the client once that the body is wanted
        self._done = length == 0

    def readable(self) -> bool:
        """Return True: the stream is read-only."""
        return True

    def whole(self) -> bytes:
        """Return the whole body at once. Raise `ConnectionError` if it ends early."""
        if self._chunked or self._done:
            return self.read()
        self._before()
        self._before, self._done = _nothing, True
        data = self._source.read(self._left)
        if len(data) < self._left:
            raise ConnectionError("the body ended early")
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer` and return the number of bytes, 0 at the end of the body. One call never reads past the current chunk.

        Raise `ConnectionError` if the body ends early or a chunk has no size.
        """
        view = memoryview(buffer)
        if self._done or not view:
            return 0
        self._before()
        self._before = _nothing
        if self._chunked and self._left == 0 and not self._next_chunk():
            return 0
        data = self._source.read(min(len(view), self._left))
        if not data:
            raise ConnectionError("the body ended early")
        view[: len(data)] = data
        self._left -= len(data)
        if self._left == 0:
            if self._chunked:
                self._source.readline(_LINE)
            else:
                self._done = True
        return len(data)

    def _next_chunk(self) -> bool:
        try:
            self._left = int(self._source.readline(_LINE).split(b";")[0], 16)
        except ValueError as error:
            raise ConnectionError("a chunk has no size") from error
        if self._left < 0:
            raise ConnectionError("a chunk has no size")
        if self._left == 0:
            self._done = True
            while self._source.readline(_BLOCK).strip():
                pass  # trailers
        return not self._done

    def drain(self) -> bool:
        """Read the rest of the body if it is short. Return False if it was not read to its end.

        A client that waits for `100 Continue` does not get it.
        """
        if self._before is not _nothing:
            return self._done
        taken = 0
        while not self._done and taken < _MOST_UNREAD:
            piece = self.read(_BLOCK)
            if not piece:
                break
            taken += len(piece)
        return self._done


def _nothing() -> None:
    """Do nothing: the client was already asked for the body before the first read."""


class _Headers(HTTPMessage):
    """The headers of a request. The content type is hidden from their parser, which would otherwise compile an expression for each upload's boundary."""

    def get_content_type(self) -> str:
        """Return a type without parts. The code reads the content type of a request from the header itself."""
        return "text/plain"

    def get_content_maintype(self) -> str:
        """Return the main type of `get_content_type`."""
        return "text"


class Handler(BaseHTTPRequestHandler):
    """The handler of one HTTP/1.1 connection with keep-alive."""

    MessageClass = _Headers
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body are sent in one packet
    server: StreamingServer

    def finish(self) -> None:
        """Close both directions. If the caller went away before the response was sent, the base class leaves the reading side open."""
        try:
            super().finish()
        finally:
            self.rfile.close()

    def handle_one_request(self) -> None:
        """Serve the next request of the connection; without a valid request, or if the connection fails, close the connection."""
        try:
            self.raw_requestline = self.rfile.readline(_BLOCK + 1)
            if len(self.raw_requestline) > _BLOCK:
                self.requestline, self.request_version, self.command = "", "", ""
                self.send_error(414)
            elif self.raw_requestline and self.parse_request():
                self._serve()
                self.wfile.flush()
                return
            self.close_connection = True
        except OSError:
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Return True without sending `100 Continue` yet: the body is requested when it is read."""
        return True

    def version_string(self) -> str:
        """Return the name of Google's front end."""
        return "Google Frontend"

    def _serve(self) -> None:
        length = self._length()
        if length == _BAD:
            self.close_connection = True
            self.send_error(400, "Bad Content-Length or Transfer-Encoding")
            return
        waits = self.headers.get("Expect", "").lower() == "100-continue"
        body = Body(self.rfile, length, self._invite if waits else _nothing)
        try:
            answer = self.serve(self._environ(length), body)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - one broken request must not end the server; the log has it, the caller a 500
            _log.exception("Request failed in the embedded cloud")
            self.close_connection = True
            self.send_error(500, "The embedded cloud failed; its log has the reason")
            return
        if isinstance(answer, Tunnel):
            self._dig(answer)
            return
        try:
            if not body.drain():
                self.close_connection = True
            self._send(answer)
        finally:
            answer.close()

    def serve(self, environ: WSGIEnvironment, body: Body) -> Response | Tunnel:
        """Return the response to a request; the application reads the body as it arrives."""
        environ["wsgi.input"] = io.BufferedReader(body, _BLOCK)
        return self.server.app(Request(environ))

    def _length(self) -> int | None:
        """Return the length of the body, None if it comes in chunks, or `_BAD`.

        `_BAD` is for requests that have both headers or an invalid header, because they allow request smuggling.
        """
        coding, lengths = self.headers.get_all("Transfer-Encoding", []), self.headers.get_all("Content-Length", [])
        if coding:
            return None if [each.strip().lower() for each in coding] == ["chunked"] and not lengths else _BAD
        if len(set(lengths)) > 1:
            return _BAD
        text = lengths[0].strip() if lengths else "0"
        return int(text) if text.isascii() and text.isdigit() else _BAD

    def _invite(self) -> None:
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()

    def _environ(self, length: int | None) -> WSGIEnvironment:
        """Return the WSGI environment of a request; `RAW_URI` is path and query as they were sent."""
        path, _, query = self.path.partition("?")
        host, port = self.server.server_address[:2]
        environ: WSGIEnvironment = {
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
        if length is not None and "Content-Length" in self.headers:
            environ["CONTENT_LENGTH"] = str(length)
        for key, value in self.headers.items():
            name = key.upper().replace("-", "_")
            if "_" in key:  # WSGI cannot tell such a name from the same name with hyphens
                continue
            if name == "CONTENT_TYPE":
                environ[name] = value
            elif name != "CONTENT_LENGTH":
                held = environ.get(f"HTTP_{name}")
                joint = "; " if name == "COOKIE" else ", "
                environ[f"HTTP_{name}"] = value if held is None else f"{held}{joint}{value}"
        return environ

    def _send(self, answer: Response) -> None:
        self.send_response_only(answer.status_code)
        names = set()
        for key, value in answer.headers.items():
            names.add(key.lower())
            self.send_header(key, value)
        if "date" not in names:
            self.send_header("Date", self.date_time_string())
        has_body = self.command != "HEAD" and answer.status_code not in _NO_BODY
        chunked = has_body and "content-length" not in names and self.request_version >= "HTTP/1.1"
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif has_body and "content-length" not in names:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        for piece in answer.iter_encoded() if has_body else ():
            if piece:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
                self.wfile.flush()
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write no access log: it would contain addresses, and the journal has the calls."""

    def _dig(self, tunnel: Tunnel) -> None:
        """Copy bytes in both directions until one side closes."""
        self.close_connection = True
        try:
            self.send_response_only(101)
            for key, value in tunnel.headers:
                self.send_header(key, value)
            self.end_headers()
            self.wfile.flush()
            back = threading.Thread(target=_pump, args=(tunnel.reader, self.connection), name="tunnel", daemon=True)
            back.start()
            _pump(self.rfile, tunnel.connection)
            back.join()
        finally:
            tunnel.close()


_BAD = -1


def _pump(source: io.BufferedIOBase, target: socket.socket) -> None:
    """Copy until the source ends, then end the target in both directions, because half a WebSocket is of no use."""
    with suppress(OSError, ValueError):
        while data := source.read1(_BLOCK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class StreamingServer(socketserver.ThreadingTCPServer):
    """A server of `app` on one port of 127.0.0.1 (0 = a free one), with a thread for each connection.

    Raise `PortInUseError` if the port cannot be bound.
    """

    allow_reuse_address = sys.platform != "win32"  # on Windows it would let two processes share the port
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(self, app: App, *, port: int = 0, handler: type[Handler] | None = None) -> None:
        self.app = app
        self._guard = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._accepting: threading.Thread | None = None
        try:
            super().__init__(("127.0.0.1", port), handler or Handler)
        except OSError as error:
            reason = error.strerror or "it cannot be bound"
            raise PortInUseError(
                error.errno or errno.EADDRINUSE, f"Port {port} of 127.0.0.1 cannot be used: {reason}"
            ) from error

    @property
    def port(self) -> int:
        """The port on which the server listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Start to serve, in threads of its own."""
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.05,), name="http-accept", daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Close the port and all connections, and wait some seconds for their threads. Safe to call twice."""
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
        """Start a thread for a connection, and register it at once, so that `stop` finds it."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="http-connection", daemon=True
        )
        with self._guard:
            self._open[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end. A caller that went away is not an error."""
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
