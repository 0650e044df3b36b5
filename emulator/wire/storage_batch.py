"""The batch API `/batch/storage/v1`: up to 100 calls in one multipart/mixed request, each answered as a single call would be."""

from __future__ import annotations

import secrets
from email.message import Message
from email.parser import BytesParser
from http.client import responses
from typing import TYPE_CHECKING

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from emulator.model.storage_rules import invalid

if TYPE_CHECKING:
    from emulator.wire.http import Call, HttpFront

_MAX_CALLS = 100


def batch(call: Call, front: HttpFront) -> Response:
    """Answer a batch: run its calls one after another on `front`. Raise `ApiError` (400) for a malformed or too long batch."""
    head = f"Content-Type: {call.request.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + call.request.get_data())
    if not message.is_multipart():
        raise invalid("A batch is a multipart/mixed request.")
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if len(parts) > _MAX_CALLS:
        raise invalid(f"The batch request has {len(parts)} calls; at most {_MAX_CALLS} are allowed.")
    mark = f"batch_{secrets.token_hex(12)}"
    out = b"".join(b"--" + mark.encode() + b"\r\n" + _answer(call, part, front) + b"\r\n" for part in parts)
    return Response(out + f"--{mark}--\r\n".encode(), content_type=f"multipart/mixed; boundary={mark}")


def _answer(call: Call, part: Message, front: HttpFront) -> bytes:
    response = front.respond(_request(call, part))
    body = response.get_data()
    name = str(part.get("Content-ID", "")).strip().strip("<>")
    lines = ["Content-Type: application/http", f"Content-ID: <response-{name}>", ""]
    lines.append(f"HTTP/1.1 {response.status_code} {responses.get(response.status_code, 'Unknown')}")
    lines += [f"{key}: {value}" for key, value in response.headers.items() if key.lower() != "content-length"]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def _request(call: Call, part: Message) -> Request:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    line, _, rest = raw.lstrip().partition(b"\n")
    words = line.decode("latin-1").split()
    if len(words) < 2:  # noqa: PLR2004 - method and target
        raise invalid("A part of a batch begins with its request line.")
    inner = BytesParser().parsebytes(rest)
    body = inner.get_payload(decode=True)
    headers = {key: value for key, value in inner.items() if key.lower() not in {"content-length", "host"}}
    outer = call.request.headers.get("Authorization")
    if outer is not None:
        headers.setdefault("Authorization", outer)
    target = words[1]
    if target.startswith(("http://", "https://")):
        target = "/" + "/".join(target.split("/")[3:])
    builder = EnvironBuilder(
        path=target,
        base_url=call.request.host_url,
        method=words[0],
        headers=list(headers.items()),
        data=body if isinstance(body, bytes) else b"",
    )
    try:
        return builder.get_request()
    finally:
        builder.close()
