"""The three forms of `objects.insert`: media, multipart and resumable."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from emulator.errors import ApiError
from emulator.model.storage_rules import check_object_name, invalid
from emulator.wire.http import Call, json_response
from emulator.wire.storage_query import conditions, object_json
from emulator.world import CallSpec, World

if TYPE_CHECKING:
    from emulator.model.storage import Preconditions, StorageModel
    from emulator.model.storage_records import StoredObject

INSERT = CallSpec("storage", "objects.insert", mutates=True, permission="storage.objects.create")
# A resumable upload is one insert, made with its last chunk; its other requests have their own names.
START = CallSpec("storage", "objects.insert.start", permission="storage.objects.create")
CHUNK = CallSpec("storage", "objects.insert.chunk", permission="storage.objects.create")
_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"]+)"|'([^']+)'|([^;\s]+))""", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_QUANTUM = 256 * 1024  # only whole quanta of an unfinished upload are kept
_CANCELLED = 499


@dataclass(slots=True)
class _Session:
    """A resumable upload: its first request, the bytes received so far, and the object once the upload is complete."""

    bucket: str
    body: dict[str, Any]
    conditions: Preconditions
    kms_key: str
    data: bytearray = field(default_factory=bytearray)
    done: StoredObject | None = None

    @property
    def name(self) -> str:
        return str(self.body["name"])


class Uploads:
    """The handlers of the upload routes. Sessions are stored in memory only: after a restart they give 404, and clients start again."""

    def __init__(self, world: World, model: StorageModel) -> None:
        self._world = world
        self._model = model
        self._sessions: dict[str, _Session] = {}

    def insert(self, call: Call) -> Response:
        """Answer `POST /upload/...`, by `uploadType`."""
        kind = call.query("uploadType")
        match kind:
            case "media":
                body = {"contentType": call.request.headers.get("Content-Type") or "application/octet-stream"}
                return self._store(call, self._described(call, body), call.request.get_data())
            case "multipart":
                raw, content, content_type = _parts(call)
                raw.setdefault("contentType", content_type)
                return self._store(call, self._described(call, raw), content)
            case "resumable":
                return self._start(call)
            case _:
                raise invalid(f"Invalid upload type: '{kind}'")

    def resume(self, call: Call) -> Response:
        """Answer `PUT /upload/...&upload_id=`: the next chunk, the last chunk, or a query for the number of stored bytes.

        After the upload is complete, answer with the object.
        """
        session = self._session(call)
        if session.done is not None:
            return json_response(object_json(call, session.done))
        chunk = call.request.get_data()
        start, total, asking = _content_range(call, len(chunk))
        with self._world.lock:
            self._take(session, chunk, start)
            finished = total is not None and len(session.data) >= total
            if asking and not finished:
                return self._world.perform(
                    CHUNK, f"{session.bucket}/{session.name}", call.principal, lambda: _progress(session)
                )
            if finished and total is not None and len(session.data) > total:
                raise invalid(
                    f"Invalid request. The upload has more than the {total} bytes that Content-Range declares."
                )
            if finished:
                return self._finish(call, session)
            del session.data[len(session.data) // _QUANTUM * _QUANTUM :]
            return self._world.perform(
                CHUNK, f"{session.bucket}/{session.name}", call.principal, lambda: _progress(session)
            )

    def cancel(self, call: Call) -> Response:
        """Answer `DELETE /upload/...&upload_id=`: delete the session, with Google's status 499."""
        self._session(call)
        with self._world.lock:
            self._sessions.pop(call.query("upload_id"), None)
        return Response(b"", status=_CANCELLED)

    def _start(self, call: Call) -> Response:
        body = self._described(call, call.json())
        if "contentType" not in body:
            body["contentType"] = call.request.headers.get("X-Upload-Content-Type", "application/octet-stream")
        session = _Session(call.params["bucket"], body, conditions(call), call.query("kmsKeyName"))

        def work() -> str:
            bucket = self._model.buckets.get(session.bucket)
            check_object_name(session.name)
            session.conditions.check(bucket.live.get(session.name))
            upload_id = secrets.token_urlsafe(32)
            self._sessions[upload_id] = session
            return upload_id

        upload_id = self._world.perform(START, f"{session.bucket}/{session.name}", call.principal, work)
        location = f"{call.request.base_url}?uploadType=resumable&upload_id={upload_id}"
        return Response(b"", headers={"Location": location, "X-GUploader-UploadID": upload_id})

    def _session(self, call: Call) -> _Session:
        session = self._sessions.get(call.query("upload_id"))
        if session is None:
            raise ApiError("NOT_FOUND", "Not Found", reason="notFound")
        return session

    @staticmethod
    def _take(session: _Session, chunk: bytes, start: int | None) -> None:
        have = len(session.data)
        if start is None:
            return
        if start > have:
            raise invalid(
                f"Invalid request.  According to the Content-Range header, the upload offset is {start} byte(s), which exceeds "
                f"already uploaded size of {have} byte(s)."
            )
        session.data += chunk[have - start :]

    def _finish(self, call: Call, session: _Session) -> Response:
        _declare(call, session.body)

        def work() -> StoredObject:
            session.done = self._model.insert(
                session.bucket,
                session.name,
                bytes(session.data),
                body=session.body,
                conditions=session.conditions,
                kms_key=session.kms_key,
            )
            session.data = bytearray()
            return session.done

        # If it is refused, the bytes stay: the client sends its last chunk again, and the overlap is skipped.
        stored = self._world.perform(INSERT, f"{session.bucket}/{session.name}", call.principal, work)
        return json_response(object_json(call, stored))

    def _store(self, call: Call, body: dict[str, Any], content: bytes) -> Response:
        _declare(call, body)
        bucket, name = call.params["bucket"], str(body["name"])

        def work() -> StoredObject:
            return self._model.insert(
                bucket, name, content, body=body, conditions=conditions(call), kms_key=call.query("kmsKeyName")
            )

        stored = self._world.perform(INSERT, f"{bucket}/{name}", call.principal, work)
        return json_response(object_json(call, stored))

    @staticmethod
    def _described(call: Call, body: dict[str, Any]) -> dict[str, Any]:
        """Return the object resource of the upload with its final name: the query's `name`, else the resource's."""
        name = call.query("name") or body.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError("INVALID_ARGUMENT", "Required", reason="required")
        encoding = call.query("contentEncoding")
        return body | {"name": name} | ({"contentEncoding": encoding} if encoding else {})


def _declare(call: Call, body: dict[str, Any]) -> None:
    """Add the checksums that the headers declare to the resource."""
    for part in call.request.headers.get("X-Goog-Hash", "").split(","):
        key, _, value = part.strip().partition("=")
        if key in {"crc32c", "md5"} and value:
            body["crc32c" if key == "crc32c" else "md5Hash"] = value
    if "Content-MD5" in call.request.headers:
        body["md5Hash"] = call.request.headers["Content-MD5"]


def _progress(session: _Session) -> Response:
    """Return 308 Resume Incomplete, without a Range header if no bytes are stored."""
    headers = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
    return Response(b"", status=308, headers=headers)


def _content_range(call: Call, size: int) -> tuple[int | None, int | None, bool]:
    """Return `(start, total, asking)` of a chunk of `size` bytes; None for a start or a total that is not given.

    `asking` is True if the request only asks for the number of stored bytes. Raise 400 for an invalid range.
    """
    raw = call.request.headers.get("Content-Range")
    if raw is None:
        return 0, size, False
    match = _CONTENT_RANGE.fullmatch(raw.strip())
    if match is None:
        raise invalid(f"Invalid Content-Range: '{raw}'")
    first, last, total = match.groups()
    whole = None if total == "*" else int(total)
    if first is None:
        return None, whole, True
    if int(last) - int(first) + 1 != size:
        raise invalid(f"Invalid request. Content-Range '{raw}' does not fit the {size} bytes sent.")
    return int(first), whole, False


def _parts(call: Call) -> tuple[dict[str, Any], bytes, str]:
    """Return `(resource, content, content type)` of a multipart/related body; raise 400 if the body is malformed.

    apitools quotes the boundary in `'` and ends lines with a bare LF.
    """
    match = _BOUNDARY.search(call.request.headers.get("Content-Type", ""))
    if match is None:
        raise invalid("Multipart request without a boundary.")
    mark = b"--" + next(group for group in match.groups() if group).encode()
    data = call.request.get_data()
    start = data.find(mark)
    eol = b"\r\n" if data[start + len(mark) :].startswith(b"\r\n") else b"\n"
    pieces = data[start + len(mark) :].split(eol + mark) if start >= 0 else []
    if len(pieces) < 2:  # noqa: PLR2004 - the resource and the content
        raise invalid("Malformed multipart body.")
    _, resource = _headers_and_body(pieces[0], eol)
    headers, content = _headers_and_body(pieces[1], eol)
    try:
        body = json.loads(resource or b"{}")
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", "Parse Error", reason="parseError") from error
    if not isinstance(body, dict):
        raise ApiError("INVALID_ARGUMENT", "Parse Error", reason="parseError")
    return body, content, headers.get("content-type", "application/octet-stream")


def _headers_and_body(piece: bytes, eol: bytes) -> tuple[dict[str, str], bytes]:
    # A part without headers begins directly with its blank line.
    head, found, body = piece.partition(eol + eol)
    if not found:
        raise invalid("Malformed multipart body.")
    headers = {}
    for line in head.decode("latin-1").splitlines():
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    return headers, body
