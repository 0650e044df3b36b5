"""One loopback port for HTTP/1.1 and gRPC.

Each accepted connection is looked at without reading (MSG_PEEK): HTTP/2's preface goes on to a gRPC server, byte for byte;
everything else is HTTP/1.1, served in place. The HTTP side is ours on top of `http.server`, because Werkzeug's closes every
connection after one answer, and a client that opens a socket a call is several times slower.
"""

from __future__ import annotations

import gzip
import io
import logging
import shutil
import socket
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from emulator.wire.listening import Connection, Listener, PortInUseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_log = logging.getLogger(__name__)
_PREFACE = b"PRI * HTTP/2.0"
_GRPC_WORKERS = 160  # a streaming pull holds one for as long as it lives
_MAX_BODY = 1 << 30
_MAX_UNIX_PATH = 100  # the system's limit is 104 to 108 bytes
_BLOCK = 1 << 16
_NO_BODY = {204, 304}


class _BadRequestError(Exception):
    """The bytes of a request are no HTTP/1.1 that can be served."""


class Server:
    """Serves `app` over HTTP/1.1 and the gRPC handlers over HTTP/2 on one port of 127.0.0.1 (`port` 0 = a free one)."""

    def __init__(self, app: WSGIApplication, *, port: int = 0, grpc_handlers: Iterable[Any] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="benchkeeper-"))
        self._pool = ThreadPoolExecutor(max_workers=_GRPC_WORKERS, thread_name_prefix="grpc")
        self._grpc = grpc.server(
            self._pool,
            handlers=list(grpc_handlers),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
        )
        try:
            self._http = _Listener(port, app)
        except PortInUseError:
            self._remove_folder()
            raise
        self._http.backend = self._bind_grpc()

    @property
    def port(self) -> int:
        """The port that is served."""
        return self._http.port

    def start(self) -> None:
        """Serve, in threads of its own."""
        self._grpc.start()
        self._http.start()

    def stop(self) -> None:
        """Stop serving: close all connections and end all threads. Safe to call twice."""
        self._http.stop()
        self._grpc.stop(grace=None).wait()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._remove_folder()

    def _bind_grpc(self) -> tuple[int, Any]:
        """Where the gRPC server listens: `(address family, address)`; a Unix socket in a private folder, else a loopback port."""
        path = str(self._folder / "grpc.sock")
        if hasattr(socket, "AF_UNIX") and len(path) < _MAX_UNIX_PATH:
            self._grpc.add_insecure_port(f"unix:{path}")
            return int(socket.AF_UNIX), path
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        return int(socket.AF_INET), ("127.0.0.1", port)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _Listener(Listener):
    """HTTP/1.1 is served here; HTTP/2 goes on to `backend`."""

    backend: tuple[int, Any]

    def __init__(self, port: int, app: WSGIApplication) -> None:
        self.app = app
        super().__init__(port, _HttpHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _is_http2(request):
            self._splice(request)
        else:
            super().finish_request(request, client_address)

    def _splice(self, client: socket.socket) -> None:
        """Carry bytes between the client and the gRPC server until both sides are done."""
        family, address = self.backend
        with socket.socket(family, socket.SOCK_STREAM) as backend:
            backend.connect(address)
            back = threading.Thread(target=_pump, args=(backend, client), name="grpc-splice", daemon=True)
            back.start()
            _pump(client, backend)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then tell the target so."""
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _is_http2(connection: socket.socket) -> bool:
    """Return True when the connection begins with HTTP/2's preface; waits for as many bytes as the decision takes."""
    seen = connection.recv(len(_PREFACE), socket.MSG_PEEK)
    if seen and len(seen) < len(_PREFACE) and _PREFACE.startswith(seen):
        seen = connection.recv(len(_PREFACE), socket.MSG_PEEK | socket.MSG_WAITALL)
    return seen == _PREFACE


class _HttpHandler(Connection):
    """HTTP/1.1 with keep-alive in front of a WSGI application. A request's body is read whole before the application runs."""

    server: _Listener

    def handle_one_request(self) -> None:
        """Serve one request of the connection."""
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            try:
                body = self._body()
            except _BadRequestError as error:
                self.close_connection = True
                self.send_error(400, str(error))
                return
            self._run(self._environ(body))
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Send `100 Continue` at once: the client waits for it."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def _body(self) -> bytes:
        """Return the request's body, dechunked and unzipped."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            raw = b"".join(self._chunks())
        else:
            try:
                size = int(self.headers.get("Content-Length") or 0)
            except ValueError as error:
                raise _BadRequestError("Content-Length is no number") from error
            if not 0 <= size <= _MAX_BODY:
                raise _BadRequestError("Content-Length is out of range")
            raw = self.rfile.read(size)
            if len(raw) < size:
                raise ConnectionError("the body ended early")
        if self.headers.get("Content-Encoding", "").lower() != "gzip":
            return raw
        try:
            return gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise _BadRequestError("The body is not gzip") from error

    def _chunks(self) -> Iterable[bytes]:
        total = 0
        while True:
            line = self.rfile.readline(1024).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError as error:
                raise _BadRequestError("Bad chunk size") from error
            if size == 0:
                while self.rfile.readline(65537).strip():
                    pass  # trailers
                return
            total += size
            if total > _MAX_BODY or size < 0:
                raise _BadRequestError("Body too large")
            yield self.rfile.read(size)
            self.rfile.readline(8)

    def _environ(self, body: bytes) -> WSGIEnvironment:
        environ = self.environ() | {
            "wsgi.input": io.BytesIO(body),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "SERVER_SOFTWARE": "benchkeeper-emulator",
            "REQUEST_URI": self.path,
            "CONTENT_LENGTH": str(len(body)),
        }
        skipped = {"content-length", "transfer-encoding", "content-encoding"}
        for key, value in self.headers.items():
            if key.lower() == "content-type":
                environ["CONTENT_TYPE"] = value
            elif key.lower() not in skipped and "_" not in key:
                environ["HTTP_" + key.upper().replace("-", "_")] = value
        return environ

    def _run(self, environ: WSGIEnvironment) -> None:
        answer = _Answer(self)
        try:
            result = self.server.app(environ, answer.start)
            try:
                for data in result:
                    answer.write(data)
                answer.finish()
            finally:
                if hasattr(result, "close"):
                    result.close()
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - one broken handler must not end the server; the log has it, the caller a 500
            _log.exception("Request failed in the embedded cloud")
            self.close_connection = True
            if not answer.sent:
                self.send_error(500, "The embedded cloud failed; its log has the reason")


class _Answer:
    """One WSGI answer on its way out: with the application's Content-Length, else chunked."""

    def __init__(self, handler: _HttpHandler) -> None:
        self._handler = handler
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._chunked = False
        self.sent = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """WSGI's `start_response`."""
        del exc_info
        self._status, self._headers = int(status.split(" ", 1)[0]), headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._send_head()
        if not data or not self._has_body():
            return
        out = self._handler.wfile
        if self._chunked:
            out.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            out.flush()
        else:
            out.write(data)

    def finish(self) -> None:
        """End the body."""
        self._send_head()
        if self._chunked:
            self._handler.wfile.write(b"0\r\n\r\n")

    def _has_body(self) -> bool:
        return self._handler.command != "HEAD" and self._status not in _NO_BODY

    def _send_head(self) -> None:
        if self.sent:
            return
        self.sent = True
        handler = self._handler
        names = {key.lower() for key, _ in self._headers}
        handler.send_response(self._status)
        for key, value in self._headers:
            handler.send_header(key, value)
        if "content-length" not in names and self._has_body():
            self._chunked = handler.request_version >= "HTTP/1.1"
            if self._chunked:
                handler.send_header("Transfer-Encoding", "chunked")
            else:
                handler.close_connection = True
        if handler.close_connection:
            handler.send_header("Connection", "close")
        handler.end_headers()
