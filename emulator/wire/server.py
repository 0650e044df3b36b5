"""The one loopback port for HTTP/1.1 and gRPC.

Each accepted connection is inspected without reading (MSG_PEEK). A connection with HTTP/2's preface is forwarded to a
gRPC server byte for byte; all others are HTTP/1.1, served here as the proxies are (`streaming`). docs/adr/0029 explains
why no other server is used.
"""

from __future__ import annotations

import gzip
import io
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
from werkzeug.wrappers import Request, Response

from emulator.wire.streaming import App, Body, Handler, PortInUseError, StreamingServer, Tunnel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import WSGIEnvironment

_PREFACE = b"PRI * HTTP/2.0"
_GRPC_WORKERS = 160  # a streaming pull holds a worker as long as it is open
_MAX_UNIX_PATH = 100  # the system's limit is 104 to 108 bytes
_BLOCK = 1 << 16


class Server:
    """A server of `app` over HTTP/1.1 and of the gRPC handlers over HTTP/2, on one port of 127.0.0.1 (`port` 0 = a free one)."""

    def __init__(self, app: App, *, port: int = 0, grpc_handlers: Iterable[Any] = ()) -> None:
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
        """The port on which the server listens."""
        return self._http.port

    def start(self) -> None:
        """Start to serve, in threads of its own."""
        self._grpc.start()
        self._http.start()

    def stop(self) -> None:
        """Stop serving: close all connections and end all threads. Safe to call twice."""
        self._http.stop()
        self._grpc.stop(grace=None).wait()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._remove_folder()

    def _bind_grpc(self) -> tuple[int, Any]:
        """Return `(address family, address)` of the gRPC server: a Unix socket in a private folder, else a loopback port."""
        path = str(self._folder / "grpc.sock")
        if hasattr(socket, "AF_UNIX") and len(path) < _MAX_UNIX_PATH:
            self._grpc.add_insecure_port(f"unix:{path}")
            return int(socket.AF_UNIX), path
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        return int(socket.AF_INET), ("127.0.0.1", port)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _Listener(StreamingServer):
    """The listener that serves HTTP/1.1 itself and forwards HTTP/2 to `backend`."""

    backend: tuple[int, Any]

    def __init__(self, port: int, app: App) -> None:
        super().__init__(app, port=port, handler=_Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _is_http2(request):
            self._splice(request)
        else:
            super().finish_request(request, client_address)

    def _splice(self, client: socket.socket) -> None:
        """Copy bytes between the client and the gRPC server until both sides are done."""
        family, address = self.backend
        with socket.socket(family, socket.SOCK_STREAM) as backend:
            backend.connect(address)
            back = threading.Thread(target=_pump, args=(backend, client), name="grpc-splice", daemon=True)
            back.start()
            _pump(client, backend)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy bytes until the source ends, then shut down the sending side of the target."""
    with suppress(OSError):
        while data := source.recv(_BLOCK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _is_http2(connection: socket.socket) -> bool:
    """Return True if the connection begins with HTTP/2's preface. Wait only for as many bytes as the decision needs."""
    seen = connection.recv(len(_PREFACE), socket.MSG_PEEK)
    if seen and len(seen) < len(_PREFACE) and _PREFACE.startswith(seen):
        seen = connection.recv(len(_PREFACE), socket.MSG_PEEK | socket.MSG_WAITALL)
    return seen == _PREFACE


class _Handler(Handler):
    """A handler that reads and unzips the whole body before it calls the application.

    The application holds the world's lock and must not wait for a client.
    """

    def serve(self, environ: WSGIEnvironment, body: Body) -> Response | Tunnel:
        """Return the application's response to a request whose body was read."""
        raw = body.whole()
        if environ.pop("HTTP_CONTENT_ENCODING", "").lower() == "gzip":
            try:
                raw = gzip.decompress(raw)
            except (OSError, EOFError, zlib.error):
                return Response("The body is not gzip", 400)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(raw), str(len(raw))
        answer = self.server.app(Request(environ))
        if isinstance(answer, Response):
            answer.headers = answer.get_wsgi_headers(environ)
        return answer
