"""The content of objects (`alt=media`): whole, in ranges, or unpacked if it is stored gzipped and the caller does not accept gzip."""

from __future__ import annotations

import gzip
import re
import zlib
from typing import TYPE_CHECKING

from werkzeug.http import http_date
from werkzeug.wrappers import Response

from emulator.clock import parse_rfc3339
from emulator.errors import ApiError

if TYPE_CHECKING:
    from emulator.model.storage_records import StoredObject
    from emulator.wire.http import Call

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def media_response(call: Call, stored: StoredObject) -> Response:
    """Return 200 with the content, or 206 with the requested range. Raise `ApiError` (416) for an impossible range.

    A gzip content that is sent unpacked is sent whole: the range is ignored, as documented.
    """
    content, fields = stored.content, stored.fields
    headers = _headers(stored)
    accepted = call.request.headers.get("Accept-Encoding", "")
    if fields.get("contentEncoding") == "gzip":
        if "gzip" in accepted or "no-transform" in str(fields.get("cacheControl", "")):
            headers["Content-Encoding"] = "gzip"
        else:
            return Response(
                _unpacked(content), headers=headers
            )  # a transcoded response ignores the range, as documented
    elif "contentEncoding" in fields:
        headers["Content-Encoding"] = str(fields["contentEncoding"])
    wanted = _range(call.request.headers.get("Range", ""), len(content))
    if wanted is None:
        return Response(content, headers=headers)
    start, end = wanted
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], status=206, headers=headers)


def _headers(stored: StoredObject) -> dict[str, str]:
    hashes = [f"crc32c={stored.crc32c}"] + ([f"md5={stored.md5}"] if stored.md5 else [])
    resource = stored.resource()
    headers = {
        "Content-Type": str(stored.fields.get("contentType", "application/octet-stream")),
        "ETag": str(resource["etag"]),
        "Last-Modified": http_date(parse_rfc3339(stored.updated)),
        "Accept-Ranges": "bytes",
        "Cache-Control": str(stored.fields.get("cacheControl", "no-cache, no-store, max-age=0, must-revalidate")),
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Storage-Class": str(resource["storageClass"]),
        "X-Goog-Stored-Content-Length": str(len(stored.content)),
        "X-Goog-Stored-Content-Encoding": str(stored.fields.get("contentEncoding", "identity")),
    }
    for key, name in (("contentDisposition", "Content-Disposition"), ("contentLanguage", "Content-Language")):
        if key in stored.fields:
            headers[name] = str(stored.fields[key])
    return headers


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return `(start, end)`, end exclusive; None if no range or no valid range is requested. Raise 416 for an impossible range."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    if start >= size or start >= end:
        raise ApiError(
            "OUT_OF_RANGE", "Request range not satisfiable", http_status=416, reason="requestedRangeNotSatisfiable"
        )
    return start, end


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):  # declared as gzip but is none: the service returns it unchanged
        return content
