"""The proxy that forwards a request to another server, and its response back: HTTP/1.1 with streamed bodies, and WebSockets."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Request, Response

from emulator.wire.streaming import Tunnel

if TYPE_CHECKING:
    from io import BufferedReader

Dial = Callable[[], socket.socket]

_BLOCK = 1 << 16
_PATIENCE_S = 300.0  # for a response's first byte, and for each piece after it
_SWITCHING = 101
# The hop-by-hop headers of RFC 9110, 7.6.1, and those that older programs send.
_HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "expect"]
)  # fmt: skip


class UpstreamError(Exception):
    """The error of a server that does not listen, or that closed the connection before a whole response head had arrived."""


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose socket is opened by a given function."""

    def __init__(self, dial: Dial) -> None:
        super().__init__("upstream")
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial()
        self.sock.settimeout(_PATIENCE_S)


def to_port(port: int) -> Dial:
    """Return a function that connects to a port of 127.0.0.1."""
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=5)


def to_unix(path: str) -> Dial:
    """Return a function that connects to a Unix socket."""

    def dial() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(path)
        except OSError:
            made.close()
            raise
        return made

    return dial


def target_of(request: Request) -> str:
    """Return path and query of a request as they were sent, even if the request line has an absolute URL."""
    raw = str(request.environ["RAW_URI"])
    if raw.startswith(("http://", "https://")):
        raw = "/" + raw.split("/", 3)[3] if raw.count("/") > 2 else "/"  # noqa: PLR2004 - the slashes of scheme://host/
    return raw


def is_upgrade(request: Request) -> bool:
    """Return True if the caller requests a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def forward(
    request: Request, dial: Dial, *, set_headers: Mapping[str, str], drop: Callable[[str], bool]
) -> Response | Tunnel:
    """Return the response of the server to which `dial` connects.

    `drop` returns True for headers (in lower case) that are not forwarded. `set_headers` replace sent headers; an empty
    value removes the header. Raise `UpstreamError` on a failure before the head of a response has arrived. A later
    failure just ends the connection.
    """
    connection = _Connection(dial)
    try:
        _ask(connection, request, set_headers, drop)
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise UpstreamError(str(error)) from error
    if answer.status == _SWITCHING:
        return _tunnel(connection, answer)
    return _answer(connection, answer, request.method)


def _ask(
    connection: _Connection, request: Request, set_headers: Mapping[str, str], drop: Callable[[str], bool]
) -> None:
    connection.putrequest(request.method, target_of(request), skip_host=True, skip_accept_encoding=True)
    replaced = {name.lower() for name in set_headers}
    named = _named_by_connection(request.headers.get("Connection", ""))
    for name, value in request.headers.items():
        low = name.lower()
        if low not in _HOP_BY_HOP | named | replaced | {"content-length"} and not drop(low):
            connection.putheader(name, value.encode("latin-1"))
    for name, value in set_headers.items():
        if value:
            connection.putheader(name, value.encode())
    if is_upgrade(request):
        connection.putheader("Connection", "Upgrade")
        connection.putheader("Upgrade", "websocket")
    length = request.environ.get("CONTENT_LENGTH")
    if length is not None:
        connection.putheader("Content-Length", length)
        connection.endheaders(_pieces(request))
    elif request.headers.get("Transfer-Encoding"):
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(_pieces(request), encode_chunked=True)
    else:
        connection.endheaders()


def _pieces(request: Request) -> Iterator[bytes]:
    source: BufferedReader = request.environ["wsgi.input"]
    while piece := source.read1(_BLOCK):
        yield piece


def _named_by_connection(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


def _kept(answer: http.client.HTTPResponse) -> Iterable[tuple[str, str]]:
    named = _named_by_connection(answer.headers.get("Connection", ""))
    return [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP | named]


def _answer(connection: _Connection, answer: http.client.HTTPResponse, method: str) -> Response:
    def pieces() -> Iterator[bytes]:
        while piece := answer.read1(_BLOCK):
            yield piece

    made = Response(pieces() if method != "HEAD" else b"", status=answer.status)
    made.headers = Headers(list(_kept(answer)))  # exactly these: a default Content-Type must not be added
    made.call_on_close(answer.close)
    made.call_on_close(connection.close)
    return made


def _tunnel(connection: _Connection, answer: http.client.HTTPResponse) -> Tunnel:
    connection.sock.settimeout(None)

    def close() -> None:
        with suppress(OSError):
            answer.close()
        connection.close()

    headers = [*_kept(answer), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    return Tunnel(headers, answer.fp, connection.sock, close)
